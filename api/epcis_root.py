"""Step 2 of 9: `/`, for machines the top of EPCIS's resources and for people the page that looks up a pack.

    GET / with Accept: application/json     {"type": "Collection", "member": ["queries", "capture", …]}
    OPTIONS /                               versions and formats that are spoken

Who does not say what it reads is shown the page. Source: EPCIS 2.0, REST binding, TopLevelResourceCollection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from flask import Blueprint, Response, make_response

from api.epcis_headers import JSON_TYPES, media_type, negotiated
from api.event_queries import collection
from projection.resources import KINDS

TOP = ("queries", "capture", "events", *KINDS)
HTML = "text/html"


def blueprint(page: Callable[[], Any]) -> Blueprint:
    """page: what people are shown."""
    root = Blueprint("epcis_root", __name__)

    negotiated(root, types=(HTML, *JSON_TYPES))

    @root.get("/")
    def top() -> Response:
        kind = media_type(HTML, *JSON_TYPES)
        if kind == HTML:
            response = make_response(page())
        else:
            response = Response(orjson.dumps(collection(TOP)), content_type=kind)
        response.headers.add("Vary", "Accept")
        return response

    return root
