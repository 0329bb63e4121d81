"""Step 8 of 9: what is known of places and other things besides events: attributes, and which lies in which.

Read from the headers of EPCIS documents, kept by the projection, asked for by WD_, HASATTR_ and EQ_ATTR_.
Source: EPCIS 2.0, sections 6.5 and 9.5 (vocabulary, vocabularyElement, attribute, children).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from traceability.queries.families import attribute_name
from traceability.queries.spelling import identity, prefixes_of

DESCENDANTS_MAX = 10_000  # places below one; more is a mistake, or an attack
ELEMENTS_MAX = 100_000  # in one document


@dataclass(frozen=True, slots=True)
class Record:
    """One vocabulary element: its type, its canonical name, its attributes by full name, and its children."""

    type: str
    id: str
    attributes: Mapping[str, tuple[str, ...]]
    children: tuple[str, ...] = ()


class MasterData(Protocol):
    """Where a query finds master data. Names are canonical ones."""

    def attributes(self, name: str) -> Mapping[str, tuple[str, ...]]:
        """Attributes by full name; empty where nothing is known."""
        ...

    def descendants(self, name: str) -> frozenset[str]:
        """All places directly or indirectly within this one, at most DESCENDANTS_MAX; not itself."""
        ...


@dataclass(slots=True)
class Records:
    """Master data in memory: a later record of a thing stands above an earlier one."""

    by_id: dict[str, Record] = field(default_factory=dict)

    def add(self, records: Iterable[Record]) -> None:
        for record in records:
            self.by_id[record.id] = record

    def attributes(self, name: str) -> Mapping[str, tuple[str, ...]]:
        record = self.by_id.get(name)
        return {} if record is None else record.attributes

    def descendants(self, name: str) -> frozenset[str]:
        found: dict[str, None] = {}
        left = [name]
        while left and len(found) < DESCENDANTS_MAX:
            record = self.by_id.get(left.pop())
            for child in record.children if record is not None else ():
                # A hierarchy that goes round is a lie or a mistake; going round once is enough.
                if child not in found and child != name:
                    found[child] = None
                    left.append(child)
        return frozenset(found)


NOTHING_KNOWN: MasterData = Records()


def records_of(document: Any) -> Iterator[Record]:
    """The master data in a document's header. Total: what has not the standard's form is passed over."""
    for record, _ in elements_of(document):
        yield record


def elements_of(document: Any) -> Iterator[tuple[Record, dict[str, Any]]]:
    """The same, each record with the vocabulary element as the document has it."""
    header = document.get("epcisHeader") if isinstance(document, dict) else None
    masterdata = header.get("epcisMasterData") if isinstance(header, dict) else None
    vocabularies = masterdata.get("vocabularyList") if isinstance(masterdata, dict) else None
    if not isinstance(vocabularies, list):
        return
    prefixes = prefixes_of(document.get("@context"))
    left = ELEMENTS_MAX
    for vocabulary in vocabularies:
        elements = vocabulary.get("vocabularyElementList") if isinstance(vocabulary, dict) else None
        for element in elements if isinstance(elements, list) else ():
            if left == 0:
                return
            if isinstance(element, dict) and isinstance(element.get("id"), str):
                left -= 1
                yield (
                    Record(
                        str(vocabulary.get("type", "")),
                        identity(element["id"], prefixes),
                        _attributes(element.get("attributes"), prefixes),
                        tuple(
                            identity(child, prefixes)
                            for child in _list(element.get("children"))
                            if isinstance(child, str)
                        ),
                    ),
                    element,
                )


def _attributes(attributes: Any, prefixes: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for attribute in _list(attributes):
        if isinstance(attribute, dict) and isinstance(attribute.get("id"), str):
            value = attribute.get("attribute")
            if isinstance(value, bool | int | float):
                value = str(value).lower()
            if value is not None:
                # What is no single value is there, and equal to nothing.
                name = attribute_name(attribute["id"], prefixes)
                found[name] = (*found.get(name, ()), *((value,) if isinstance(value, str) else ()))
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
