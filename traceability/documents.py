"""Step 4 of 9: is this a whole EPCIS document, JSON-LD or XML, and what do its events name?

One bad event makes a bad document: it is one statement, and nobody signed a part of it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from keys.envelope import PAYLOAD_SIZE_MAX
from keys.errors import Fault
from traceability.epcis.formats import parse_time
from traceability.epcis.validate import read_json, validate_document
from traceability.errors import EventRejected
from traceability.names import names_v1, pack_names
from traceability.readers import FROM_XML, TYP_DOCUMENT, Content, is_xml


class NamedDocument(NamedTuple):
    """As much of a valid document as is needed to put it in order."""

    creation_time: datetime | None  # aware; query results need not say it
    names: bytes  # as pack_names gives them


def read_named_document(payload: bytes, *, now: datetime | None) -> NamedDocument:
    """The time and the names of a payload of typ "epcis-document+jws", if all of it is valid.

    now  as in validate.validate_event

    Raises EventRejected, with every fault of the document and of each of its events. About 12 µs an event of
    JSON-LD, 100 µs of XML.
    """
    content = read_document_content(payload, now=now)
    created = content.value.get("creationDate")
    return NamedDocument(
        None if created is None else parse_time(created), pack_names(names_v1(TYP_DOCUMENT, content.value))
    )


def read_document_content(payload: bytes, *, now: datetime | None = None) -> Content:
    """A valid document. Arguments and errors as above."""
    if is_xml(payload):
        return _read_xml(payload, now)
    value = read_json(payload)
    _require_none(validate_document(value, now=now))
    return Content(TYP_DOCUMENT, value, None)


def _read_xml(payload: bytes, now: datetime | None) -> Content:
    from traceability.epcis_xml import XmlRefused, read_document

    try:
        document = read_document(payload, size_max=PAYLOAD_SIZE_MAX, now=now)
    except XmlRefused as refused:
        raise EventRejected([refused]) from refused
    _require_none(document.faults)
    value: dict[str, Any] = document.as_json()
    return Content(TYP_DOCUMENT, value, FROM_XML)


def _require_none(faults: list[Fault] | tuple[Fault, ...]) -> None:
    if faults:
        raise EventRejected(faults)
