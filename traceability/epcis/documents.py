"""Step 4 of 9: what stands around the events of a document: header, master data, body.

Called by validate.py, which knows what an event is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from traceability.epcis import vocabulary as words
from traceability.epcis.checks import (
    Check,
    array_of,
    check_identifier,
    check_string,
    check_time,
    check_uri,
    is_string,
    object_of,
)
from traceability.epcis.fields import check_context
from traceability.epcis.run import Run, kind_of

_VERSION = re.compile(r"[0-9]+(?:\.[0-9]+)*")

CheckEvent = Callable[[Any, str, Run], None]


def document_checks(check_event: CheckEvent) -> dict[str, Check]:
    """What check_document needs, by type of document.

    check_event  adds what is wrong with an event to a run, given the event's pointer
    """
    return {"EPCISDocument": _document(check_event), "EPCISQueryDocument": _query_document(check_event)}


def check_document(document: Any, run: Run, checks: dict[str, Check]) -> None:
    """Add what is wrong with a document to a run, which stands within the document's own @context."""
    document_type = document.get("type") if type(document) is dict else None
    check = checks.get(document_type) if type(document_type) is str else None
    if check is None:
        seen = kind_of(document if type(document) is not dict else document_type)
        run.add(
            "epcis.type",
            "/type" if type(document) is dict and "type" in document else "",
            f"a document is an object of type EPCISDocument or EPCISQueryDocument; this is {seen}",
            f'Say "type": "{words.DOCUMENT_TYPES[0]}".',
        )
    else:
        check(document, "", run)


def _check_version(value: Any, pointer: str, run: Run) -> None:
    if is_string(value, pointer, run) and not _VERSION.fullmatch(value):
        run.add("epcis.version", pointer, f"{value[:40]!r} is no version", "Write it as 2.0.")


def _check_type(value: Any, pointer: str, run: Run) -> None:
    """Looked at before everything else."""


def _check_attribute_value(value: Any, pointer: str, run: Run) -> None:
    if type(value) not in (str, int, float, dict):
        run.add(
            "epcis.kind",
            pointer,
            f"expected a string, a number or an object, not {kind_of(value)}",
            "Give the attribute's value as one of these.",
        )


_attribute = object_of(
    {"id": check_uri, "attribute": _check_attribute_value},
    required=("id",),
    extensions="any",
    what="an attribute",
)
_vocabulary_element = object_of(
    {"id": check_identifier, "attributes": array_of(_attribute), "children": array_of(check_identifier)},
    required=("id",),
    extensions="any",
    what="a vocabulary element",
)
_vocabulary_list = array_of(
    object_of(
        {"type": check_uri, "vocabularyElementList": array_of(_vocabulary_element)},
        required=("type",),
        extensions="any",
        what="a vocabulary",
    )
)
_header = object_of(
    {
        "epcisMasterData": object_of(
            {"vocabularyList": _vocabulary_list}, extensions="any", what="master data"
        )
    },
    extensions="named",
    what="the header",
)
_COMMON: dict[str, Check] = {
    "@context": check_context,
    "id": check_uri,
    "type": _check_type,
    "schemaVersion": _check_version,
    "creationDate": check_time,
}


def _document(check_event: CheckEvent) -> Check:
    body = object_of(
        {"eventList": array_of(check_event)}, required=("eventList",), extensions="any", what="epcisBody"
    )
    return object_of(
        {
            **_COMMON,
            **dict.fromkeys(("instanceIdentifier", "sender", "receiver"), check_string),
            "epcisHeader": _header,
            "epcisBody": body,
        },
        required=("@context", "schemaVersion", "creationDate", "epcisBody"),
        extensions="named",
        what="an EPCISDocument",
    )


def _query_document(check_event: CheckEvent) -> Check:
    results_body = object_of(
        {"eventList": array_of(check_event), "vocabularyList": _vocabulary_list},
        required=("eventList",),
        extensions="named",
        what="resultsBody",
    )
    results = object_of(
        {"queryName": check_string, "subscriptionID": check_string, "resultsBody": results_body},
        required=("queryName", "resultsBody"),
        extensions="named",
        what="queryResults",
    )
    body = object_of(
        {"queryResults": results}, required=("queryResults",), extensions="named", what="epcisBody"
    )
    return object_of(
        {**_COMMON, "epcisBody": body},
        required=("@context", "epcisBody"),
        extensions="named",
        what="an EPCISQueryDocument",
    )
