"""Step 4 of 9: master data of an XML document, as the records that JSON gives.

Source: EPCIS 2.0, section 9.4 (EPCISMasterData, VocabularyList); EPCIS 1.2, section 9.5.
"""

from __future__ import annotations

from typing import Any

from traceability.epcis_xml.events import Reading, read_extension
from traceability.epcis_xml.parse import TEXT_MAX
from traceability.master_data import MasterDataRecord


def read_xml(vocabulary_list: Any, pointer: str, reading: Reading) -> tuple[MasterDataRecord, ...]:
    """The records of a <VocabularyList>; what is wrong is noted in reading.faults."""
    found: list[MasterDataRecord] = []
    index = -1
    for vocabulary in vocabulary_list.iterchildren("Vocabulary"):
        index += 1
        here = f"{pointer}/{index}"
        kind = vocabulary.get("type")
        if not kind or len(kind) > TEXT_MAX:
            reading.add(
                "epcis.master-data", vocabulary, here, "a <Vocabulary> says its type", 'Say type="…".'
            )
            continue
        place = -1
        for elements in vocabulary.iterchildren("VocabularyElementList"):
            for element in elements.iterchildren("VocabularyElement"):
                place += 1
                where = f"{here}/vocabularyElementList/{place}"
                record = _xml_record(kind, element, where, reading)
                if record is not None:
                    found.append(record)
    return tuple(found)


def _xml_record(kind: str, element: Any, pointer: str, reading: Reading) -> MasterDataRecord | None:
    name = element.get("id")
    if not name or len(name) > TEXT_MAX:
        reading.add("epcis.master-data", element, pointer, "a <VocabularyElement> says its id", 'Say id="…".')
        return None
    attributes = []
    for attribute in element.iterchildren("attribute"):
        value: Any = (attribute.text or "").strip()
        if len(value) > TEXT_MAX:
            reading.add("xml.text", attribute, pointer, "a value longer than is read", "Shorten it.")
            value = ""
        if len(attribute):
            inner: dict[str, Any] = {}
            for child in attribute:
                read_extension(child, inner, pointer, reading, 1)
            value = inner
        attributes.append((attribute.get("id", "")[:TEXT_MAX], value))
    children = [
        (child.text or "").strip()[:TEXT_MAX]
        for part in element.iterchildren("children")
        for child in part.iterchildren("id")
    ]
    return MasterDataRecord(kind, name, tuple(attributes), tuple(children), pointer)
