"""Step 8 of 9: the facts about one product that a consumer asks for, from its events and nothing else.

What no event says is None or UNKNOWN: a missing fact is never filled in. Each fact carries the position of
the entry it comes from, so that whoever shows it can say who said so, and prove it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Any

from traceability.errors import IdentifierMalformed
from traceability.gs1.digital_link import parse_digital_link, render_digital_link
from traceability.history import History, HistoryItem


class State(Enum):
    """Where a product stands in its life. The value is how a page may call it."""

    UNKNOWN = "unknown"
    ACTIVE = "in circulation"
    IN_TRANSIT = "on its way"
    ON_SALE = "ready for sale"
    RESERVED = "set aside"
    RETURNED = "returned"
    WITHHELD = "not for sale"
    DAMAGED = "damaged"
    RECALLED = "recalled"
    EXPIRED = "expired"
    STOLEN = "reported stolen"
    DISPENSED = "dispensed"
    SOLD = "sold"
    CONSUMED = "used up in making something else"
    DECOMMISSIONED = "taken out of circulation"
    DESTROYED = "destroyed"


# After these the number has done its service: whatever carries it later is another thing, or a copy.
ENDED = frozenset((State.DISPENSED, State.SOLD, State.CONSUMED, State.DECOMMISSIONED, State.DESTROYED))
# Nobody should use a product in one of these.
UNSAFE = frozenset((State.RECALLED, State.EXPIRED, State.STOLEN, State.DAMAGED, State.DESTROYED))

_BY_DISPOSITION = {
    "active": State.ACTIVE,
    "in_progress": State.ACTIVE,
    "conformant": State.ACTIVE,
    "available": State.ACTIVE,
    "encoded": State.ACTIVE,
    "in_transit": State.IN_TRANSIT,
    "sellable_accessible": State.ON_SALE,
    "sellable_not_accessible": State.ACTIVE,
    "reserved": State.RESERVED,
    "returned": State.RETURNED,
    "non_sellable_other": State.WITHHELD,
    "non_conformant": State.WITHHELD,
    "unavailable": State.WITHHELD,
    "needs_replacement": State.WITHHELD,
    "damaged": State.DAMAGED,
    "recalled": State.RECALLED,
    "expired": State.EXPIRED,
    "stolen": State.STOLEN,
    "dispensed": State.DISPENSED,
    "retail_sold": State.SOLD,
    "inactive": State.DECOMMISSIONED,
    "disposed": State.DESTROYED,
    "destroyed": State.DESTROYED,
}
_BY_STEP = {
    "dispensing": State.DISPENSED,
    "retail_selling": State.SOLD,
    "decommissioning": State.DECOMMISSIONED,
    "killing": State.DECOMMISSIONED,
    "destroying": State.DESTROYED,
    "shipping": State.IN_TRANSIT,
    "commissioning": State.ACTIVE,
}
_BIRTHS = frozenset(("commissioning", "creating_class_instance", "encoding"))

SAID_LENGTH_MAX = 200  # a label has room for less; longer is not meant for people

_LOT = ("lotNumber", "hasBatchLotNumber")
_EXPIRY = ("itemExpirationDate", "expirationDate", "sellByDate")
_DESCRIPTION = ("descriptionShort", "productName", "regulatedProductName")
_VOCABULARIES = (
    "cbvmda:",
    "gs1:",
    "urn:epcglobal:cbv:mda:",
    "https://gs1.org/voc/",
    "https://ref.gs1.org/voc/",
    "https://www.gs1.org/voc/",
)


@dataclass(frozen=True, slots=True)
class Sighting:
    """One event about the product, as a timeline shows it. The emitter's clock says when."""

    seq: int
    ordinal: int
    time: datetime
    type: str
    biz_step: str | None
    disposition: str | None
    read_point: str | None  # canonical name of the place
    via: tuple[str, ...]  # the boxes it was seen in, () if the event names the product itself


@dataclass(frozen=True, slots=True)
class Said:
    """A fact, and the entry that says it; seq is None where the name itself says it."""

    text: str
    seq: int | None


@dataclass(frozen=True, slots=True)
class ProductFacts:
    """What the events say about one product. None where they do not say."""

    name: str
    gtin: str | None
    serial: str | None
    lot: Said | None
    expiry: date | None
    expiry_seq: int | None
    description: Said | None
    commissioned: Sighting | None  # the first event that brought it into being
    commissioned_again: tuple[Sighting, ...]  # a number is given once: more than one birth is a warning
    last_seen: Sighting | None  # the latest by the emitters' clocks
    state: State
    state_seq: int | None  # the entry that put it into this state
    alarms: tuple[tuple[State, Sighting], ...]  # every event that called it unsafe, even if others followed
    ended: Sighting | None  # when it was dispensed, sold, used up, taken out or destroyed
    after_end: tuple[Sighting, ...]  # seen again though it had ended: a warning
    sightings: tuple[Sighting, ...]  # all, in the order of the log

    def is_expired(self, today: date) -> bool:
        """Whether the expiry date has passed; False where it is unknown, so ask `expiry` too."""
        return self.expiry is not None and self.expiry < today


def product_facts(history: History) -> ProductFacts:
    """The facts about history.name. Pure; an event that declares an error counts for nothing.

    What comes first is by the emitters' clocks, for an event may arrive late; but what was said of the
    product when it came into being stands, and nothing later overrules it.
    """
    items = sorted((item for item in history.items if not item.event.is_error_declaration), key=_by_time)
    own = [item for item in items if not item.via]
    births = [item for item in own if _is_birth(item, history.name)]
    described = births + [item for item in own if item not in births]
    gtin, serial, lot_of_name = _parts_of(history.name)
    expiry = _find_said(described, _EXPIRY, lambda text: _date(text) is not None)
    life = _Life()
    for item in items:
        life.live_through(item, history.name)
    return ProductFacts(
        name=history.name,
        gtin=gtin,
        serial=serial,
        lot=Said(lot_of_name, None) if lot_of_name else _find_said(described, _LOT),
        expiry=_date(expiry.text) if expiry else None,
        expiry_seq=expiry.seq if expiry else None,
        description=_find_said(described, _DESCRIPTION),
        commissioned=_sighting(births[0]) if births else None,
        commissioned_again=tuple(_sighting(item) for item in births[1:]),
        last_seen=_sighting(items[-1]) if items else None,
        state=life.state,
        state_seq=life.state_seq,
        alarms=tuple(life.alarms),
        ended=_sighting(life.end) if life.end is not None else None,
        after_end=tuple(_sighting(item) for item in life.after_end),
        sightings=tuple(_sighting(item) for item in history.items),
    )


def class_names(facts: ProductFacts) -> tuple[str, ...]:
    """The canonical names of the lot and the product type: a recall names those, seldom the pack."""
    if facts.gtin is None:
        return ()
    product = render_digital_link("01", facts.gtin)
    lot = (render_digital_link("01", facts.gtin, ("10", facts.lot.text)),) if facts.lot else ()
    return (*(name for name in (*lot, product) if name != facts.name),)


class _Life:
    """The state a product is in, event by event."""

    def __init__(self) -> None:
        self.state = State.UNKNOWN
        self.state_seq: int | None = None
        self.end: HistoryItem | None = None
        self.after_end: list[HistoryItem] = []
        self.alarms: list[tuple[State, Sighting]] = []

    def live_through(self, item: HistoryItem, name: str) -> None:
        new = _state_after(item, name)
        alarm = new if new in UNSAFE else _lasting_alarm(item)
        if alarm is not None:
            self.alarms.append((alarm, _sighting(item)))
            new = alarm
        if self.end is not None and new is not State.RETURNED:
            # A recall reaches people after they bought; anything else should not happen to it any more.
            if alarm is not None and alarm not in ENDED:
                self.state, self.state_seq = alarm, item.seq
            elif not item.via:
                self.after_end.append(item)
            return
        if new is not None:
            self.state, self.state_seq = new, item.seq
            self.end = item if new in ENDED else None


def _state_after(item: HistoryItem, name: str) -> State | None:
    event = item.event
    if event.type == "TransformationEvent" and any(named.name == name for named in event.inputs):
        return State.CONSUMED
    # What a box is called when its number is retired says nothing of what was in it; what happens to it does.
    state = _BY_STEP.get(event.biz_step or "") or _BY_DISPOSITION.get(event.disposition or "")
    if item.via and state in ENDED and state is not State.DESTROYED:
        return None
    if event.disposition is not None and _BY_DISPOSITION.get(event.disposition) in UNSAFE:
        return _BY_DISPOSITION[event.disposition]
    return state


def _lasting_alarm(item: HistoryItem) -> State | None:
    for word in item.event.persistent_dispositions_set:
        if (state := _BY_DISPOSITION.get(word)) in UNSAFE:
            return state
    return None


def _is_birth(item: HistoryItem, name: str) -> bool:
    event = item.event
    if event.type == "TransformationEvent":
        outputs = (*event.outputs, *(quantity.epc_class for quantity in event.output_quantities))
        return any(named.name == name for named in outputs)
    return (
        event.type == "ObjectEvent"
        and event.action == "ADD"
        and (event.biz_step in _BIRTHS or not event.biz_step)
    )


def _by_time(item: HistoryItem) -> tuple[datetime, int, int]:
    return item.event.event_time, item.seq, item.ordinal


def _sighting(item: HistoryItem) -> Sighting:
    event = item.event
    place = event.read_point or event.biz_location
    return Sighting(
        item.seq,
        item.ordinal,
        event.event_time,
        event.type,
        event.biz_step,
        event.disposition,
        place.name if place else None,
        item.via,
    )


def _find_said(
    items: Iterable[HistoryItem], fields: tuple[str, ...], accept: Callable[[str], bool] = bool
) -> Said | None:
    for item in items:
        for field in fields:
            for vocabulary in _VOCABULARIES:
                text = _text(item.event.ilmd.get(vocabulary + field))
                if text is not None and accept(text):
                    return Said(text[:SAID_LENGTH_MAX], item.seq)
    return None


def _text(value: Any) -> str | None:
    if isinstance(value, Mapping):  # JSON-LD's long form
        value = value.get("@value")
    return value if isinstance(value, str) else None


def _date(text: str) -> date | None:
    """The day of "2028-03-01" or of a date and time; its own zone's day, for so it is printed on the pack."""
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None


def _parts_of(name: str) -> tuple[str | None, str | None, str | None]:
    """(GTIN, serial, lot) as far as the name holds them."""
    try:
        link = parse_digital_link(name)
    except IdentifierMalformed:
        return None, None, None
    if link.key[0] != "01":
        return None, None, None
    qualifiers = dict(link.qualifiers)
    return link.key[1], qualifiers.get("21") or qualifiers.get("235"), qualifiers.get("10")
