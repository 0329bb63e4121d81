"""Step 2 of 9: what came unsigned, and how its sender would sign it. Nothing else can be taken here.

A partner's first request is plain EPCIS, as their system sends it everywhere else. It is refused with
everything that is needed for the second one: the command, the header to produce, and the request.
"""

from __future__ import annotations

from typing import Any

from api.errors import MediaTypeNotTaken, RequestMalformed
from intake.authority import DOCUMENT_TYP, EVENT_TYP

JOSE = "application/jose"
_JSON = ("application/json", "application/ld+json")
_XML = ("application/xml", "text/xml")
_BEFORE = b"\xef\xbb\xbf \t\r\n"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
CODE = "statement.unsigned"
FIX = (
    "Sign its exact bytes with your registered key, and send the JWS (RFC 7515, compact): the command in"
    " `example` does both, and its header and request show what to build yourself."
)


class UnsignedType(MediaTypeNotTaken):
    """The body says itself that it is not signed."""

    def __init__(self, given: str, origin: str, base_url: str, path: str) -> None:
        super().__init__(
            CODE,
            f"a body of type {given[:80]!r} is not signed; only signed statements are recorded here",
            (JOSE, "application/vnd.tallystick.jws-lines"),
        )
        self.fix = FIX
        self.example = example(given, origin, base_url, path)


class UnsignedBody(RequestMalformed):
    """The body says that it is signed, and is plain JSON or XML."""

    def __init__(self, kind: str, origin: str, base_url: str, path: str) -> None:
        super().__init__(CODE, f"the body is plain {kind}, and not a signed statement (a JWS)")
        self.fix = FIX
        self.example = example(f"application/{kind.lower()}", origin, base_url, path)


def is_unsigned_type(media_type: str) -> bool:
    """Whether events come unsigned in this type."""
    if media_type == "application/jose+json":
        return False  # signed, in the form of JWS that is not read here
    return media_type in _JSON or media_type in _XML or media_type.endswith(("+xml", "+json"))


def kind_of(body: bytes) -> str | None:
    """JSON or XML, if a body is plainly one of them: neither begins as a JWS does."""
    head = body[:256].lstrip(_BEFORE)
    if head.startswith((b"{", b"[")):
        return "JSON"
    return "XML" if head.startswith(b"<") or body.startswith(_UTF_16) else None


def example(media_type: str, origin: str, base_url: str, path: str) -> dict[str, Any]:
    """How to sign and send it, ready to be copied."""
    is_xml = media_type in _XML or media_type.endswith("xml")
    file = "capture.xml" if is_xml else "capture.json"
    one_event = path == "/events"
    option = "" if one_event else " --document"
    return {
        "command": f"tallystick send{option} {'event.json' if one_event else file} --url {base_url}"
        f" --key your.key --log-key '{origin}+…'",
        "header": {
            "alg": "Ed25519",
            "kid": "<RFC 7638 thumbprint of your registered key>",
            "typ": EVENT_TYP if one_event else DOCUMENT_TYP,
            "aud": origin,
            "nonce": "<16 random bytes in base64url>",
        },
        "statement": "base64url(header) . base64url(the file's exact bytes) . base64url(signature over both)",
        "request": f"POST {path}\nContent-Type: {JOSE}\n\n<statement>",
    }
