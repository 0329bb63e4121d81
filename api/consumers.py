"""Step 9 of 9, seen from a phone: the page behind the code on a pack.

    GET /                                        look up a pack by hand
    GET /find?gtin=&serial=                      from the form to the pack's own address
    GET /<key>/<value>[/…]                       the thing's GS1 Digital Link, as /01/<gtin>/21/<serial>

Errors on these paths are pages too: whoever holds a pack has no use for a problem detail.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlencode

from flask import Blueprint, Response, render_template, request
from markupsafe import Markup

from api import headers, notices, story
from api.errors import NothingHere, RecordDamaged, Withheld
from api.journey import signer_of, steps_of
from api.notices import Notice
from api.packs import Examined, Packs, file_name
from api.printed import KEYS, is_class, link_of, parts_of_path, printed
from api.problems import BAD_REQUEST, NOT_FOUND, OK, SEE_OTHER, SERVICE_UNAVAILABLE, status_of
from api.questions import Pack
from api.services import Services
from keys.errors import Fault, Malformed, NotYet
from traceability.consumer import product_facts
from traceability.gs1 import parse_digital_link
from verifier.errors import NoEvidence

PAGES = Path(__file__).with_name("pages")
HTML = "text/html; charset=utf-8"
QUOTED_KEYS = ",".join(f'"{key}"' for key in KEYS)
TYPED_LENGTH_MAX = 64  # of a number typed into the form: 14 digits and 20 characters, with blanks


def blueprint(services: Services, packs: Packs) -> Blueprint:
    consumers = Blueprint("consumers", __name__)
    # Ours, from beside this file, and the one thing in a page that is not escaped.
    style = Markup((PAGES / "page.css").read_text(encoding="utf-8"))  # noqa: S704
    icon = (PAGES / "icon.svg").read_bytes()
    policy = headers.page_policy_of(style)

    def page(template: str, status: int, *, title: str, **values: object) -> Response:
        body = render_template(template, title=title, style=style, origin=services.origin, **values)
        response = Response(body, status=status, content_type=HTML)
        response.headers["Content-Security-Policy"] = policy
        return response

    def notice(shown: Notice, status: int, gtin: str = "", serial: str = "") -> Response:
        return page(
            "notice.html",
            status,
            title=shown.headline,
            notice=shown,
            form_title="Try again",
            gtin=gtin,
            serial=serial,
        )

    @consumers.get("/")
    def landing() -> Response:
        return page(
            "landing.html", OK, title="Look up a pack", form_title="Look up a pack", gtin="", serial=""
        )

    @consumers.get("/icon.svg")
    def show_icon() -> Response:
        response = Response(icon, content_type="image/svg+xml")
        response.headers["Cache-Control"] = "public, max-age=86400"
        return response

    @consumers.get("/find")
    def find() -> Response:
        gtin = "".join(request.args.get("gtin", "")[:TYPED_LENGTH_MAX].split())
        serial = request.args.get("serial", "")[:TYPED_LENGTH_MAX].strip()
        # What is printed on the pack is often typed with it: (01)…, PC: …, (21)…, SN: …
        gtin = _without(gtin, "(01)", "PC:", "PC", "GTIN:", "GTIN")
        serial = _without(serial, "(21)", "SN:", "S/N:", "SN ", "S/N ")
        try:
            link = parse_digital_link(link_of((("01", gtin), ("21", serial))), short_gtin=True)
        except Malformed as fault:
            return notice(_malformed(fault), BAD_REQUEST, gtin, serial)
        response = Response(status=SEE_OTHER)
        response.headers["Location"] = _path(link.key[1], link.qualifiers[-1][1])
        return response

    @consumers.get(f"/<any({QUOTED_KEYS}):key>/<path:value>")
    def thing(key: str, value: str) -> Response:
        parts = parts_of_path(key, value)
        gtin, serial = (dict(parts).get(ai, "")[:TYPED_LENGTH_MAX] for ai in ("01", "21"))
        try:
            epc = packs.canonical(link_of(parts))
        except Malformed as fault:
            return notice(_malformed(fault), BAD_REQUEST, gtin, serial)
        facts = printed(epc)
        gtin = parse_digital_link(epc).key[1] if key == "01" else ""
        if is_class(epc):
            return notice(notices.product_only(facts), NOT_FOUND, gtin)
        try:
            examined = packs.examine(epc)
        except NothingHere:
            return notice(notices.unknown(facts), NOT_FOUND, gtin, serial)
        except Withheld as fault:
            return notice(notices.withheld(facts), status_of(fault), gtin, serial)
        except RecordDamaged as fault:
            return notice(notices.damaged(facts), status_of(fault), gtin, serial)
        except NoEvidence:
            return notice(notices.too_long(facts), OK, gtin, serial)
        except NotYet:
            return notice(notices.unavailable(), SERVICE_UNAVAILABLE, gtin, serial)
        told = story.tell(
            _pack(examined),
            now=services.clock(),
            steps_max=services.limits.timeline_items_max,
            evidence_path="/evidence?" + urlencode({"epc": epc}),
            evidence_name=file_name(epc),
        )
        return page("pack.html", OK, title=told.headline, page=told)

    return consumers


def _pack(examined: Examined) -> Pack:
    found = examined.history
    return Pack(
        facts=product_facts(found),
        signers={item.seq: signer_of(item.statement_bytes, examined.registry) for item in found.items},
        erased=found.withheld,
        steps=steps_of(found.items, examined.registry),
        report=examined.report,
    )


def _path(gtin: str, serial: str) -> str:
    return f"/01/{gtin}/21/{quote(serial, safe='')}"


def _without(text: str, *prefixes: str) -> str:
    for prefix in prefixes:
        if text.upper().startswith(prefix):
            return text[len(prefix) :].strip()
    return text


def _malformed(fault: Fault) -> Notice:
    return notices.malformed(fault.detail, check_digit=fault.code == "gs1.check-digit")
