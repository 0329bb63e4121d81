"""Step 4 of 9: master data in a document's header, as plain records that a store can keep.

Source: EPCIS 2.0, section 9.4 (EPCISMasterData, VocabularyList) and JSON schema, epcisHeader.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keys.errors import Fault
from traceability.errors import EventFault


@dataclass(frozen=True, slots=True)
class MasterDataRecord:
    """What a document's sender says about one place, party, class of products or other thing."""

    type: str  # the vocabulary: "urn:epcglobal:epcis:vtype:Location"
    id: str  # "urn:epc:id:sgln:0037000.00729.0"
    attributes: tuple[tuple[str, Any], ...]  # (attribute id, text or object), in document order
    children: tuple[str, ...]  # ids of what lies within it
    pointer: str  # into the JSON document, or the one derived from XML


def read_json(document: Any) -> tuple[tuple[MasterDataRecord, ...], list[Fault]]:
    """(records, faults) of a JSON document's epcisHeader, and of a query result's vocabularyList."""
    faults: list[Fault] = []
    found: list[MasterDataRecord] = []
    for value, pointer in _vocabulary_lists(document):
        for index, vocabulary in enumerate(_array(value, pointer, faults)):
            here = f"{pointer}/{index}"
            if not isinstance(vocabulary, dict) or not isinstance(vocabulary.get("type"), str):
                faults.append(_fault("a vocabulary is an object that says its type", here))
                continue
            elements = _array(vocabulary.get("vocabularyElementList", []), here, faults)
            for place, element in enumerate(elements):
                where = f"{here}/vocabularyElementList/{place}"
                record = _record(vocabulary["type"], element, where, faults)
                if record is not None:
                    found.append(record)
    return tuple(found), faults


def _vocabulary_lists(document: Any) -> Iterator[tuple[Any, str]]:
    if not isinstance(document, dict):
        return
    header = document.get("epcisHeader")
    data = header.get("epcisMasterData") if isinstance(header, dict) else None
    if isinstance(data, dict) and "vocabularyList" in data:
        yield data["vocabularyList"], "/epcisHeader/epcisMasterData/vocabularyList"
    value: Any = document
    pointer = ""
    for name in ("epcisBody", "queryResults", "resultsBody"):
        value = value.get(name) if isinstance(value, dict) else None
        pointer += "/" + name
    if isinstance(value, dict) and "vocabularyList" in value:
        yield value["vocabularyList"], pointer + "/vocabularyList"


def _array(value: Any, pointer: str, faults: list[Fault]) -> list[Any]:
    if isinstance(value, list):
        return value
    faults.append(_fault("a list of the standard's master data is an array", pointer))
    return []


def _fault(detail: str, pointer: str) -> EventFault:
    return EventFault("epcis.master-data", detail, pointer, "Compare with EPCIS 2.0, section 9.4.")


def _record(kind: str, element: Any, pointer: str, faults: list[Fault]) -> MasterDataRecord | None:
    if not isinstance(element, dict) or not isinstance(element.get("id"), str):
        faults.append(_fault("a vocabulary element is an object that says its id", pointer))
        return None
    attributes = []
    for index, attribute in enumerate(_array(element.get("attributes", []), pointer, faults)):
        if isinstance(attribute, dict) and isinstance(attribute.get("id"), str):
            attributes.append((attribute["id"], attribute.get("attribute", "")))
        else:
            faults.append(
                _fault("an attribute is an object that says its id", f"{pointer}/attributes/{index}")
            )
    children = []
    for index, child in enumerate(_array(element.get("children", []), pointer, faults)):
        if isinstance(child, str):
            children.append(child)
        else:
            faults.append(_fault("a child is named by its id", f"{pointer}/children/{index}"))
    return MasterDataRecord(kind, element["id"], tuple(attributes), tuple(children), pointer)


def as_json(records: tuple[MasterDataRecord, ...]) -> list[dict[str, Any]]:
    """The records as the vocabularyList of a JSON document, each vocabulary once, in order."""
    lists: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        element: dict[str, Any] = {"id": record.id}
        if record.attributes:
            element["attributes"] = [{"id": name, "attribute": value} for name, value in record.attributes]
        if record.children:
            element["children"] = list(record.children)
        lists.setdefault(record.type, []).append(element)
    return [{"type": kind, "vocabularyElementList": elements} for kind, elements in lists.items()]
