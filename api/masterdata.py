"""Step 2 of 9: master data that stood in the headers of signed documents: EPCIS's SimpleMasterDataQuery.

    GET /masterdata?vocabularyName=…&EQ_name=…&WD_name=…&HASATTR=…&EQATTR_<attribute>=…

Each vocabulary element has `tallystick:seq`: the entry that says it. `GET /statements/<seq>` brings the
document as its party signed it, `GET /receipts/<seq>` that it is in the log.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson
from flask import Blueprint, Response, request

from api.epcis_headers import JSON_TYPES, link_next, media_type, negotiated, query_string
from api.event_queries import NEVER_TRANSLATES, EventQueries, declare, masterdata_document
from api.reading import Reading
from projection.vocabularies import Element, find_elements
from traceability.queries.masterdata_query import parse_masterdata

PATH = "/masterdata"


def blueprint(
    queries: EventQueries, reading: Reading, base_url: str, clock: Callable[[], datetime]
) -> Blueprint:
    masterdata = Blueprint("masterdata", __name__)

    negotiated(masterdata)

    @masterdata.get(PATH)
    def ask() -> Response:
        kind = media_type(*JSON_TYPES)
        query = parse_masterdata(query_string(), extensions=request.headers.get("GS1-Extensions", ""))
        page = find_elements(queries.engine, query, lambda typ: reading.may_read_typ(typ, None))
        vocabularies: dict[str, list[dict[str, Any]]] = {}
        for element in page.elements:
            vocabularies.setdefault(element.type, []).append(_shown(element))
        response = Response(orjson.dumps(masterdata_document(vocabularies, clock())), content_type=kind)
        response.headers["Tallystick-Covered"] = str(page.covered)
        response.headers["GS1-EPC-Format"] = NEVER_TRANSLATES  # each element is as it was signed
        if page.next_token is not None and page.expires_at is not None:
            link_next(response, base_url + PATH, page.next_token, page.expires_at)
        return response

    return masterdata


def _shown(element: Element) -> dict[str, Any]:
    shown = {**element.value, "tallystick:seq": element.seq}
    if element.context is not None:
        shown["@context"] = element.context
    declare(shown)
    return shown
