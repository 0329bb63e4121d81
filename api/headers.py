"""Step 2 of 9, on the way back: what every response tells a browser not to do.

No script runs, nothing is fetched from elsewhere, nothing is framed, no cookie is ever set, and no
address is passed on to the next site: a pack's address holds its serial number.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from http import HTTPStatus
from typing import cast

from flask import Flask, Response, request

# A log's resources never change under one path. A year is the longest that caches are asked to keep.
IMMUTABLE = "public, max-age=31536000, immutable"
# The checkpoint moves every second: ask again each time.
REVALIDATE = "no-cache"
NEVER = "no-store"

API_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=(), interest-cohort=()",
    "X-Robots-Tag": "noindex, nofollow",
    # A server adds its own name and version where none is given.
    "Server": "tallystick",
}

TRANSPORT_MAX_AGE_S = 63_072_000  # two years


def page_policy(style_hash: str) -> str:
    """The policy of a page: the one style sheet with this hash, our icon, and forms to ourselves."""
    return (
        f"default-src 'none'; style-src '{style_hash}'; img-src 'self'; base-uri 'none'; form-action 'self';"
        " frame-ancestors 'none'"
    )


def page_policy_of(style: str) -> str:
    """The policy of a page with this style sheet in it."""
    return page_policy(f"sha256-{b64encode(sha256(style.encode()).digest()).decode()}")


def tagged(body: bytes, content_type: str, cache_control: str) -> Response:
    """An answer with an ETag of its bytes; 304 to whoever has these already."""
    response = Response(body, content_type=content_type)
    response.headers["Cache-Control"] = cache_control
    response.set_etag(sha256(body).hexdigest()[:32])
    return cast(Response, response.make_conditional(request))


def on_every_answer(base_url: str) -> dict[str, str]:
    """What goes on every answer that does not say otherwise itself, by name."""
    defaults = {**_ALWAYS, "Content-Security-Policy": API_POLICY, "Cache-Control": NEVER}
    if base_url.startswith("https://"):
        defaults["Strict-Transport-Security"] = f"max-age={TRANSPORT_MAX_AGE_S}"
    return defaults


def register(app: Flask, base_url: str) -> None:
    """Put the headers on every response, errors included."""
    wanted = [(name.lower(), name, value) for name, value in on_every_answer(base_url).items()]

    @app.after_request
    def add_headers(response: Response) -> Response:
        headers = response.headers
        # One look at what is there already: this is on the way of every answer, and setdefault() on
        # each name costs as much as verifying a signature.
        present = {name.lower() for name, _ in headers}
        headers.extend([(name, value) for lower, name, value in wanted if lower not in present])
        if request.method == "OPTIONS" and response.status_code == HTTPStatus.OK:
            headers["Content-Length"] = "0"
        if response.mimetype == "text/html" and response.is_sequence and not any(response.response):
            del headers["Content-Type"]  # Flask's own, of nothing
        return response
