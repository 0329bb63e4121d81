"""Step 8 of 9: one event as people ask about it: what, when, where, why, under canonical names.

An Event is a view: it holds the value that was signed and computes the rest when asked, so that reading one
on the way in costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from traceability.epcis import vocabulary as words
from traceability.epcis.formats import parse_time
from traceability.gs1.canonical import judge
from traceability.namespaces import Extension, Namespaces


class Named(NamedTuple):
    """An identifier as the event spells it, and the canonical name of what it means."""

    original: str
    name: str


class Quantity(NamedTuple):
    """So much of one class. Without a unit it counts pieces; without a quantity it is an unknown amount."""

    epc_class: Named
    quantity: int | float | None
    uom: str | None


class Party(NamedTuple):
    """A source or destination."""

    type: str
    id: Named


class BizTransaction(NamedTuple):
    """A business document that the event belongs to. CBV lets the type be left out."""

    type: str | None
    id: Named


class ErrorDeclaration(NamedTuple):
    """That an earlier event of the same eventID was wrong, since when that is known, and why."""

    declaration_time: datetime
    reason: str | None
    corrective_event_ids: tuple[str, ...]
    extensions: tuple[Extension, ...]


@dataclass(frozen=True, slots=True)
class SensorReport:
    """One reading."""

    value: Mapping[str, Any]  # as it was read
    metadata: Mapping[str, Any]  # of its sensor element
    extensions: tuple[Extension, ...]

    @property
    def type(self) -> str | None:
        return words.MEASUREMENT_TYPE.word(self.value["type"]) if "type" in self.value else None

    @property
    def exception(self) -> str | None:
        return words.SENSOR_ALERT.word(self.value["exception"]) if "exception" in self.value else None

    @property
    def component(self) -> str | None:
        return words.COMPONENT.word(self.value["component"]) if "component" in self.value else None

    def said(self, field: str) -> Any:
        """The value of a field of the reading, or else of its element: time, deviceID, bizRules, …"""
        return self.value.get(field, self.metadata.get(field))


@dataclass(frozen=True, slots=True)
class SensorElement:
    """Readings that share what is said about how they were taken."""

    metadata: Mapping[str, Any]
    reports: tuple[SensorReport, ...]
    extensions: tuple[Extension, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """A valid EPCIS event. Lists are empty and texts None where the event does not say."""

    value: Mapping[str, Any]  # the event itself, as it was read; never altered
    document_context: Any = None  # the @context of the document around it, if it came in one
    derived_from: str | None = None  # "xml" where the value was read from bytes that say it otherwise

    @property
    def bare_value(self) -> dict[str, Any]:
        """The event as it stands for itself: with the @context of its document, and then its own."""
        outer, own = self.document_context, self.value.get("@context")
        if outer is None or outer == own:
            return dict(self.value)
        if own is None:
            return {**self.value, "@context": outer}
        return {**self.value, "@context": _joined(_listed(outer), _listed(own))}

    @property
    def type(self) -> str:
        return str(self.value["type"])

    @property
    def event_time(self) -> datetime:
        moment = parse_time(self.value["eventTime"])
        assert moment is not None, "only validated events become Events"
        return moment

    @property
    def event_time_zone_offset(self) -> str:
        return str(self.value["eventTimeZoneOffset"])

    @property
    def event_id(self) -> str | None:
        return self.value.get("eventID")

    @property
    def action(self) -> str | None:
        return self.value.get("action")

    @property
    def biz_step(self) -> str | None:
        """The bare word where it is one of the standard's, however spelled; else the URI as it stands."""
        return _word(words.BIZ_STEP, self.value.get("bizStep"))

    @property
    def disposition(self) -> str | None:
        return _word(words.DISPOSITION, self.value.get("disposition"))

    @property
    def persistent_dispositions_set(self) -> tuple[str, ...]:
        """Dispositions that hold from here on, beside whatever `disposition` says, until they are unset."""
        return self._dispositions("set")

    @property
    def persistent_dispositions_unset(self) -> tuple[str, ...]:
        """Those that no longer hold from here on."""
        return self._dispositions("unset")

    @property
    def is_error_declaration(self) -> bool:
        """Whether the event says of an earlier one, by its eventID, that it was wrong."""
        return "errorDeclaration" in self.value

    @property
    def error_declaration(self) -> ErrorDeclaration | None:
        said = self.value.get("errorDeclaration")
        if said is None:
            return None
        moment = parse_time(said["declarationTime"])
        assert moment is not None, "only validated events become Events"
        return ErrorDeclaration(
            moment,
            _word(words.ERROR_REASON, said.get("reason")),
            tuple(said.get("correctiveEventIDs", ())),
            self.namespaces.extensions(said, _DECLARATION_FIELDS),
        )

    @property
    def certifications(self) -> tuple[str, ...]:
        """Addresses of certificates that cover the event."""
        said = self.value.get("certificationInfo", ())
        return (said,) if isinstance(said, str) else tuple(said)

    @property
    def transformation_id(self) -> Named | None:
        """What joins transformations whose inputs and outputs are told in several events."""
        return _named(self.value.get("transformationID"))

    @property
    def biz_transactions(self) -> tuple[BizTransaction, ...]:
        return tuple(
            BizTransaction(
                _word(words.BIZ_TRANSACTION_TYPE, said.get("type")),
                Named(said["bizTransaction"], judge(said["bizTransaction"])[0]),
            )
            for said in self.value.get("bizTransactionList", ())
        )

    @property
    def sensor_elements(self) -> tuple[SensorElement, ...]:
        names = self.namespaces
        elements = []
        for said in self.value.get("sensorElementList", ()):
            metadata = said.get("sensorMetadata") or {}
            reports = tuple(
                SensorReport(report, metadata, names.extensions(report, _REPORT_FIELDS))
                for report in said["sensorReport"]
            )
            elements.append(SensorElement(metadata, reports, names.extensions(said, _ELEMENT_FIELDS)))
        return tuple(elements)

    @property
    def namespaces(self) -> Namespaces:
        """What the prefixes of the event's own fields mean, by its @context and its document's."""
        return Namespaces(self.document_context, self.value.get("@context"))

    @property
    def extensions(self) -> tuple[Extension, ...]:
        """Fields of the event itself that are not the standard's. Those of its parts:
        `event.namespaces.extensions(event.ilmd)`.
        """
        names = self.namespaces
        return tuple(
            Extension(*names.split(name), name, value) for name, value in self.value.items() if ":" in name
        )

    @property
    def epcs(self) -> tuple[Named, ...]:
        return self._names("epcList")

    @property
    def parent(self) -> Named | None:
        return _named(self.value.get("parentID"))

    @property
    def children(self) -> tuple[Named, ...]:
        return self._names("childEPCs")

    @property
    def inputs(self) -> tuple[Named, ...]:
        return self._names("inputEPCList")

    @property
    def outputs(self) -> tuple[Named, ...]:
        return self._names("outputEPCList")

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        return self._quantities("quantityList")

    @property
    def child_quantities(self) -> tuple[Quantity, ...]:
        return self._quantities("childQuantityList")

    @property
    def input_quantities(self) -> tuple[Quantity, ...]:
        return self._quantities("inputQuantityList")

    @property
    def output_quantities(self) -> tuple[Quantity, ...]:
        return self._quantities("outputQuantityList")

    @property
    def read_point(self) -> Named | None:
        return _named((self.value.get("readPoint") or {}).get("id"))

    @property
    def biz_location(self) -> Named | None:
        return _named((self.value.get("bizLocation") or {}).get("id"))

    @property
    def sources(self) -> tuple[Party, ...]:
        return self._parties("sourceList", "source")

    @property
    def destinations(self) -> tuple[Party, ...]:
        return self._parties("destinationList", "destination")

    @property
    def ilmd(self) -> Mapping[str, Any]:
        return self.value.get("ilmd") or {}

    def _names(self, field: str) -> tuple[Named, ...]:
        return tuple(Named(item, judge(item)[0]) for item in self.value.get(field, ()))

    def _quantities(self, field: str) -> tuple[Quantity, ...]:
        return tuple(
            Quantity(Named(q["epcClass"], judge(q["epcClass"])[0]), q.get("quantity"), q.get("uom"))
            for q in self.value.get(field, ())
        )

    def _dispositions(self, change: str) -> tuple[str, ...]:
        changes = self.value.get("persistentDisposition") or {}
        return tuple(words.DISPOSITION.word(text) for text in changes.get(change, ()))

    def _parties(self, field: str, member: str) -> tuple[Party, ...]:
        return tuple(
            Party(words.SOURCE_DEST_TYPE.word(p["type"]), Named(p[member], judge(p[member])[0]))
            for p in self.value.get(field, ())
        )


def _listed(value: Any) -> list[Any]:
    return value if type(value) is list else [value]


def _joined(outer: list[Any], own: list[Any]) -> list[Any]:
    """Both, each part once, as the schema asks: objects where they overrule, in the last place."""
    linked = [part for part in outer if type(part) is str]
    own = [part for part in own if type(part) is not str or part not in linked]
    return [*(part for part in outer if part not in own), *own]


def _named(identifier: str | None) -> Named | None:
    return None if identifier is None else Named(identifier, judge(identifier)[0])


def _word(vocabulary: words.Vocabulary, text: str | None) -> str | None:
    return None if text is None else vocabulary.word(text)


_DECLARATION_FIELDS = frozenset(("declarationTime", "reason", "correctiveEventIDs"))
_ELEMENT_FIELDS = frozenset(("sensorMetadata", "sensorReport"))
_REPORT_FIELDS = frozenset(words.SENSOR_REPORT_FIELDS)
