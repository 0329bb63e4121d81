"""Step 1 of 9: a document's events one by one, for a partner who wants a statement of each (--split).

What is signed then is written here and not by whoever wrote the document: each event as JSON-LD, with all of
the document's @context. The same document gives the same bytes each time, so what was sent is known again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from client.errors import InputMalformed
from client.inputs import ANY, TYP_DOCUMENT, TYP_EVENT
from client.outbox import Draft
from keys import strict_json
from keys.envelope import PAYLOAD_SIZE_MAX
from traceability.documents import read_document_content
from traceability.errors import EventRejected
from traceability.readers import is_xml

_DOCUMENTS = ("EPCISDocument", "EPCISQueryDocument")


def typ_of_options(typ: str, document: bool, split: bool) -> tuple[str, str]:
    """(the class that is signed, what is read) for these options. Raises InputMalformed."""
    if document and split:
        raise InputMalformed("input.options", "--document signs it whole, --split its events: choose one")
    if document:
        return TYP_DOCUMENT, TYP_DOCUMENT
    return (TYP_EVENT, ANY) if split else (typ, typ)


def split_drafts(drafts: Iterable[Draft]) -> Iterator[Draft]:
    """The same, each document replaced by its events: "7.xml#0", "7.xml#1"…

    Raises InputMalformed for a document that is not valid, naming its first fault.
    """
    for draft in drafts:
        if draft.payload is None or not _is_document(draft.payload):
            yield draft
            continue
        try:
            content = read_document_content(draft.payload)
        except EventRejected as rejected:
            raise InputMalformed(
                rejected.code, f"{draft.source}: {rejected.detail}", rejected.pointer
            ) from rejected
        for ordinal, event in content.bare_events():
            yield Draft(f"{draft.source}#{ordinal}", payload=orjson.dumps(event))


def _is_document(payload: bytes) -> bool:
    if is_xml(payload):
        return True
    value: Any = strict_json.loads(payload, size_max=PAYLOAD_SIZE_MAX)
    return isinstance(value, dict) and value.get("type") in _DOCUMENTS
