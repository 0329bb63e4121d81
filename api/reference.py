"""Step 2 of 9: what this server serves, told by itself.

GET /openapi.json    for machines: an OpenAPI 3.1 document
GET /docs/api        for people: the same as a page, which needs no network and no script
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import orjson
from flask import Blueprint, Response, render_template
from markupsafe import Markup

from api import headers, openapi
from api.openapi.view import view
from api.requests import read_arguments
from api.services import Services

PAGES = Path(__file__).with_name("pages")
JSON = "application/json"
HTML = "text/html; charset=utf-8"


def blueprint(services: Services) -> Blueprint:
    reference = Blueprint("reference", __name__)

    # Put together when somebody asks for the first time: a worker starts without it.
    @cache
    def document() -> bytes:
        return orjson.dumps(openapi.build(services))

    @cache
    def page() -> tuple[bytes, str]:
        # Ours, from beside this file, and not escaped.
        style = Markup((PAGES / "page.css").read_text() + (PAGES / "reference.css").read_text())  # noqa: S704
        shown = view(orjson.loads(document()))
        body = render_template(
            "reference.html", title="The API", style=style, origin=services.origin, view=shown
        )
        return body.encode(), headers.page_policy_of(style)

    @reference.get("/openapi.json")
    def show_document() -> Response:
        read_arguments()
        return headers.tagged(document(), JSON, headers.REVALIDATE)

    @reference.get("/docs/api")
    def show_page() -> Response:
        read_arguments()
        body, policy = page()
        response = headers.tagged(body, HTML, headers.REVALIDATE)
        response.headers["Content-Security-Policy"] = policy
        return response

    return reference
