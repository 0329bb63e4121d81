"""Step 2 of 9: what all of EPCIS 2.0's resources say and ask in headers: versions, formats, pages, OPTIONS.

Source: EPCIS 2.0, REST binding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from flask import Blueprint, Response, request

from api.errors import NotAcceptable, QueryMalformed, RequestMalformed
from api.event_queries import JSON_LD, NEVER_TRANSLATES, XML_URN, XML_WEB
from api.problems import BAD_REQUEST, NO_CONTENT
from traceability.queries.parameters import parse_url
from traceability.translation import ALWAYS_DIGITAL_LINK, ALWAYS_URN

Header = Callable[[str], "str | None"]

VERSION = "2.0.0"
FORMATS = ("No_Preference", NEVER_TRANSLATES, ALWAYS_DIGITAL_LINK, ALWAYS_URN)
# Words are kept as JSON has them, and XML has no bare words: each is translated in one way or the other.
XML_FORMATS = ("No_Preference", XML_URN, XML_WEB)
JSON_TYPES = (JSON_LD, "application/json")
XML_TYPES = ("application/xml", "text/xml")

_CAPABILITIES = {
    "GS1-EPCIS-Version": VERSION,
    "GS1-EPCIS-Min": VERSION,
    "GS1-EPCIS-Max": VERSION,
    "GS1-CBV-Version": VERSION,
    "GS1-CBV-Min": VERSION,
    "GS1-CBV-Max": VERSION,
    "GS1-Vendor-Version": "tallystick-1",
}


def _nothing_more() -> Mapping[str, str]:
    return {}


def negotiated(
    blueprint: Blueprint,
    more: Callable[[], Mapping[str, str]] = _nothing_more,
    types: Sequence[str] = JSON_TYPES,
) -> None:
    """Let a blueprint refuse versions and formats that are not spoken here, and announce those that are.

    more   headers besides, of every answer
    types  media types that some of its routes answer in
    """

    @blueprint.before_request
    def require_spoken() -> None:
        negotiate(request.headers.get)
        media_type(*types)

    @blueprint.after_request
    def announce(response: Response) -> Response:
        for name, value in {**_CAPABILITIES, **more()}.items():
            response.headers.setdefault(name, value)
        if response.mimetype in JSON_TYPES and request.accept_mimetypes:
            # Of two that are equally welcome, the one that it is already.
            welcome = request.accept_mimetypes.best_match((response.mimetype, *JSON_TYPES))
            response.content_type = welcome or response.mimetype
        is_options = request.method == "OPTIONS"
        if is_options and response.status_code < BAD_REQUEST:
            response.status_code = NO_CONTENT
        # As OPTIONS, and where what was wanted is refused: all that is spoken.
        spoken = is_options or response.status_code >= BAD_REQUEST
        response.headers.setdefault("GS1-EPC-Format", ", ".join(FORMATS) if spoken else epc_format())
        if spoken:
            response.headers.setdefault("GS1-CBV-XML-Format", ", ".join(XML_FORMATS))
        return response


def negotiate(header: Header) -> str:
    """Judge versions and formats of a request; the epc_format(). Raises NotAcceptable, RequestMalformed."""
    _require_version(header, "EPCIS")
    _require_version(header, "CBV")
    return _epc_format(header)


def epc_format() -> str:
    """How identifiers are to be spelled in the answer. Raises NotAcceptable."""
    return _epc_format(request.headers.get)


def _epc_format(header: Header) -> str:
    wanted = header("GS1-EPC-Format") or "No_Preference"
    if wanted not in FORMATS:
        raise NotAcceptable(
            "epcis.format", f"GS1-EPC-Format {wanted[:40]!r} is not served here; {', '.join(FORMATS)} are"
        )
    return NEVER_TRANSLATES if wanted == "No_Preference" else wanted


def xml_format() -> str:
    """How CBV words are to be spelled in an answer in XML: XML_URN or XML_WEB. Raises NotAcceptable."""
    wanted = request.headers.get("GS1-CBV-XML-Format") or "No_Preference"
    if wanted not in XML_FORMATS:
        raise NotAcceptable(
            "epcis.format",
            f"GS1-CBV-XML-Format {wanted[:40]!r} is not served in XML; {', '.join(XML_FORMATS)} are",
        )
    return XML_URN if wanted == "No_Preference" else wanted


def media_type(*offered: str) -> str:
    """The one of the media types offered that the request likes best. Raises NotAcceptable.

    The first one where it says nothing, or likes several as much.
    """
    accepted = request.accept_mimetypes
    if not accepted:
        return offered[0]
    best: str | None = accepted.best_match(offered)
    if best is None:
        raise NotAcceptable(
            "epcis.accept", f"answers here are in {' or '.join(offered)}, and Accept takes none of them"
        )
    return best


def query_string() -> str:
    """What stands behind the path's ?."""
    return request.query_string.decode("latin-1")


def paging() -> tuple[int, str | None]:
    """perPage and nextPageToken of a listing, which takes nothing else."""
    query = parse_url(query_string())
    if query.filters or query.max_event_count or query.event_count_limit or query.order.descending:
        raise QueryMalformed(
            "epcis.parameters",
            "a listing takes perPage and nextPageToken, and nothing else",
            fix="leave the other parameters out",
        )
    return query.per_page, query.next_page_token


def link_next(response: Response, address: str, token: str, expires_at: int) -> None:
    """Where the next page is: the same question, with the token."""
    kept = [part for part in query_string().split("&") if part and not part.startswith("nextPageToken=")]
    # What a URL cannot hold as it stands (a |, a space) came as it pleased, and goes out escaped.
    question = quote(
        "&".join([*kept, f"nextPageToken={token}"]), safe="&=%+:/?#[]@!$'()*,;~-._", encoding="latin-1"
    )
    response.headers["Link"] = f'<{address}?{question}>; rel="next"'
    response.headers["GS1-Next-Page-Token-Expires"] = (
        datetime.fromtimestamp(expires_at, UTC).isoformat().replace("+00:00", "Z")
    )


def _require_version(header: Header, what: str) -> None:
    """Refuse a request that wants another version than ours, or a range without it."""
    least = _version(header(f"GS1-{what}-Min"), what)
    most = _version(header(f"GS1-{what}-Max"), what)
    said = _version(header(f"GS1-{what}-Version"), what)
    ours = _version(VERSION, what)
    assert ours is not None
    if (least and ours < least) or (most and ours[: len(most)] > most) or (said and said[:1] != ours[:1]):
        raise NotAcceptable(
            "epcis.version", f"{what} {VERSION} is spoken here, and the request asks for another"
        )


def _version(text: str | None, what: str) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = text.strip().split(".")
    if not 1 <= len(parts) <= 4 or not all(
        part.isascii() and part.isdigit() and len(part) < 6 for part in parts
    ):
        raise RequestMalformed("epcis.version", f"{text[:40]!r} is no version of {what}; {VERSION} is one")
    return tuple(int(part) for part in parts)
