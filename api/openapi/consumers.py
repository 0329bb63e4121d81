"""Step 9 of 9, described: the pages that a phone opens."""

from __future__ import annotations

from api.epcis_headers import JSON_TYPES
from api.epcis_root import TOP
from api.event_queries import CONTEXT
from api.openapi.epcis import NEGOTIATED, spoken
from api.openapi.parts import (
    PAGE,
    Group,
    Json,
    Route,
    answer,
    content,
    headers,
    in_path,
    query,
    schema,
    text,
)
from api.printed import KEYS
from api.services import Limits
from traceability.gs1.digital_link import LINK_LENGTH_MAX

GROUP = Group(
    "Consumers",
    "Pages for whoever holds a pack, at its GS1 Digital Link. They run no script, set no cookie and load"
    " nothing."
    " Errors on these paths are pages too.",
)

HTML = "text/html"
_NAMES = {
    "00": ("Sscc", "a shipping unit (SSCC)", "395201230000000019"),
    "01": ("Gtin", "a product, lot or pack (GTIN)", "09520123456788/21/1000000042"),
    "253": ("Gdti", "a document (GDTI)", "9520123456788A1"),
    "255": ("Gcn", "a coupon (GCN)", "9520123456788123"),
    "401": ("Ginc", "a consignment (GINC)", "9520123A1"),
    "402": ("Gsin", "a shipment (GSIN)", "95201234567897508"),
    "414": ("Place", "a place (GLN)", "9520123456788"),
    "415": ("Payee", "an invoicing party (GLN)", "9520123456788/8020/A1"),
    "417": ("Party", "a party (GLN)", "9520123456788"),
    "8003": ("Grai", "a returnable asset (GRAI)", "09520123456788A1"),
    "8004": ("Giai", "an asset (GIAI)", "9520123A1"),
    "8006": ("Itip", "a piece of a product (ITIP)", "095201234567880102/21/1"),
    "8010": ("Cpid", "a part (CPID)", "9520123A1/8011/1"),
    "8013": ("Gmn", "a model (GMN)", "9520123A1"),
    "8017": ("GsrnProvider", "a provider of a service (GSRN)", "952012345678900000"),
    "8018": ("GsrnRecipient", "a recipient of a service (GSRN)", "952012345678900000"),
}


def routes(_: Limits, *, is_epcis: bool) -> list[Route]:
    """is_epcis: whether `/` is the top of EPCIS's resources too."""
    return [
        Route(
            "/",
            "get",
            "lookUp",
            "Look up a pack by hand",
            "Who accepts JSON and no HTML gets EPCIS's collection of top-level resources instead."
            if is_epcis
            else "",
            NEGOTIATED if is_epcis else (),
            answers={"200": _top() if is_epcis else answer("A form.", HTML, PAGE)},
            problems={400: "", 406: ""} if is_epcis else {},
        ),
        Route(
            "/find",
            "get",
            "find",
            "From the form to the pack's own address",
            parameters=[
                query("gtin", "The product number, as it was typed.", text(), example="09520123456788"),
                query("serial", "The serial number, as it was typed.", text(), example="1000000042"),
            ],
            answers={
                "303": answer("The pack's address.", headers=headers("Location")),
                "400": answer("A page that says what is wrong with the numbers.", HTML, PAGE),
            },
        ),
        *(_thing(key) for key in KEYS),
        Route(
            "/icon.svg",
            "get",
            "readIcon",
            "The icon",
            answers={
                "200": answer("The icon.", "image/svg+xml", text(), headers=headers("Cache-Control")),
            },
        ),
    ]


def _top() -> Json:
    """What `/` answers with: what `Accept` prefers."""
    found = answer("A form, or the collection.", HTML, PAGE, headers=spoken())
    listed = content(schema("Collection"), {"@context": [CONTEXT], "type": "Collection", "member": list(TOP)})
    found["content"] |= dict.fromkeys(JSON_TYPES, listed)
    return found


def _thing(key: str) -> Route:
    name, what, example = _NAMES[key]
    return Route(
        f"/{key}/{{value}}",
        "get",
        f"show{name}",
        f"The page of {what}",
        "The path is the thing's GS1 Digital Link: the key's value, and qualifiers behind it. Attributes"
        " in the query"
        " are allowed and make no difference.",
        [
            in_path(
                "value",
                f"The value of application identifier {key}, and qualifiers with theirs.",
                text(minLength=1, maxLength=LINK_LENGTH_MAX),
                example,
            )
        ],
        answers={
            "200": answer("What the ledger holds about it, and what of that was checked.", HTML, PAGE),
            "400": answer("It breaks GS1's rules; the page says how.", HTML, PAGE),
            "403": answer("This ledger's policy does not open its events to you.", HTML, PAGE),
            "404": answer("The ledger holds nothing about it.", HTML, PAGE),
            "500": answer("What is stored here is not what was written.", HTML, PAGE),
            "503": answer("Not now.", HTML, PAGE),
        },
    )
