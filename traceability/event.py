"""Step 8 of 9: one event as people ask about it: what, when, where, why, under canonical names.

An Event is a view: it holds the value that was signed and computes the rest when asked, so that reading one
on the way in costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from traceability.epcis.formats import parse_time
from traceability.gs1.canonical import judge

# bizStep, disposition and their like in every spelling that CBV has had.
_CBV_WORD = re.compile(
    r"(?:urn:epcglobal:cbv:(?:bizstep|disp|btt|sdt|er):"
    r"|(?:https?://(?:ref|ns)\.gs1\.org/cbv/|cbv:)(?:BizStep|Disp|BTT|SDT|ER)-)([A-Za-z_]+)"
)


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


@dataclass(frozen=True, slots=True)
class Event:
    """A valid EPCIS event. Lists are empty and texts None where the event does not say."""

    value: Mapping[str, Any]  # the event itself, as it was read; never altered
    document_context: Any = None  # the @context of the document around it, if it came in one

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
        return _word(self.value.get("bizStep"))

    @property
    def disposition(self) -> str | None:
        return _word(self.value.get("disposition"))

    @property
    def persistent_dispositions_set(self) -> tuple[str, ...]:
        """Dispositions that hold from here on, beside whatever `disposition` says, until they are unset."""
        changes = self.value.get("persistentDisposition") or {}
        return tuple(_word(text) or "" for text in changes.get("set", ()))

    @property
    def is_error_declaration(self) -> bool:
        """Whether the event says of an earlier one, by its eventID, that it was wrong."""
        return "errorDeclaration" in self.value

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

    def _parties(self, field: str, member: str) -> tuple[Party, ...]:
        return tuple(
            Party(_word(p["type"]) or "", Named(p[member], judge(p[member])[0]))
            for p in self.value.get(field, ())
        )


def _named(identifier: str | None) -> Named | None:
    return None if identifier is None else Named(identifier, judge(identifier)[0])


def _word(text: str | None) -> str | None:
    match = _CBV_WORD.fullmatch(text) if text is not None else None
    return match[1] if match else text
