"""Step 8 of 9: whether one event answers a query. The specification, slow and obvious.

All else is held to it: an index may be as clever as it likes; what it proposes is asked here before it is
shown.
Source: EPCIS 2.0, section 8.2.7.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from traceability.epcis.formats import parse_time
from traceability.gs1.canonical import judge
from traceability.queries.masterdata import NOTHING_KNOWN, MasterData
from traceability.queries.model import Family, Filter, Operator, OrderBy, Query, Scope
from traceability.queries.patterns import Wanted
from traceability.queries.spelling import (
    Prefixes,
    fields_of,
    identity,
    inner_fields_of,
    keys_of,
    leaves,
    number,
    prefixes_of,
    word,
    word_forms,
)

EPC_FIELDS: Mapping[str, tuple[str, ...]] = {
    "epc": ("epcList", "childEPCs"),
    "parentID": ("parentID",),
    "inputEPC": ("inputEPCList",),
    "outputEPC": ("outputEPCList",),
    "anyEPC": ("epcList", "childEPCs", "parentID", "inputEPCList", "outputEPCList"),
    "epcClass": ("quantityList", "childQuantityList"),
    "inputEPCClass": ("inputQuantityList",),
    "outputEPCClass": ("outputQuantityList",),
    "anyEPCClass": ("quantityList", "childQuantityList", "inputQuantityList", "outputQuantityList"),
}
QUANTITY_FIELDS = EPC_FIELDS["anyEPCClass"]
TRANSACTIONS = {
    Family.BIZ_TRANSACTION: ("bizTransactionList", "bizTransaction"),
    Family.SOURCE: ("sourceList", "source"),
    Family.DESTINATION: ("destinationList", "destination"),
}
SENSOR_IN_METADATA = frozenset(
    ("time", "startTime", "endTime", "deviceID", "dataProcessingMethod", "bizRules")
)
_Comparable = TypeVar("_Comparable", Decimal, datetime)


def matches(
    query: Query,
    event: Mapping[str, Any],
    recorded_at: datetime,
    *,
    event_id: str | None = None,
    master: MasterData = NOTHING_KNOWN,
) -> bool:
    """Whether every filter of the query holds for this event.

    event        the event's value, as it was signed
    recorded_at  when the ledger recorded it: what EPCIS calls recordTime
    event_id     the one assigned to it, where the event itself has none
    """
    look = Look(event, recorded_at, event_id, master)
    return all(holds(one, look) for one in query.filters)


class Look:
    """One event as filters look at it. Total: an event with holes in it answers fewer filters."""

    def __init__(
        self, event: Mapping[str, Any], recorded_at: datetime, event_id: str | None, master: MasterData
    ) -> None:
        self.event = event
        self.prefixes: Prefixes = prefixes_of(event.get("@context"))
        self.recorded_at = recorded_at
        self.event_id = text(event.get("eventID")) or event_id
        self.master = master

    def word(self, name: str) -> str | None:
        value = self.event.get(name)
        return word(value, self.prefixes) if isinstance(value, str) else None

    def words(self, container: Any, name: str) -> list[str]:
        """Every form of every word in a field, which may be a list."""
        return [form for one in strings(member(container, name)) for form in word_forms(one, self.prefixes)]

    def place(self, name: str) -> str | None:
        value = text(member(self.event.get(name), "id"))
        return None if value is None else identity(value, self.prefixes)

    def sensor_parts(self, name: str) -> Iterator[Any]:
        """The objects of sensor elements in which this attribute can stand."""
        if name in SENSOR_IN_METADATA:
            yield from self.containers(Scope.SENSOR_METADATA)
        yield from self.containers(Scope.SENSOR_REPORT)

    def containers(self, scope: Scope) -> Iterator[Any]:
        """The objects that a scope of extension fields means."""
        if scope is Scope.EVENT:
            yield self.event
        elif scope is Scope.ILMD:
            yield self.event.get("ilmd")
        elif scope is Scope.ERROR_DECLARATION:
            yield self.event.get("errorDeclaration")
        elif scope in (Scope.READ_POINT, Scope.BIZ_LOCATION):
            yield self.event.get(scope.value)
        else:
            for element in items(self.event.get("sensorElementList")):
                if scope is Scope.SENSOR_ELEMENT:
                    yield element
                elif scope is Scope.SENSOR_METADATA:
                    yield member(element, "sensorMetadata")
                else:
                    yield from items(member(element, "sensorReport"))

    def fields(self, scope: Scope, inner: bool) -> Iterator[tuple[str, str, Any]]:
        """(full name, name as spelled, value) of extension fields."""
        read = inner_fields_of if inner else fields_of
        for container in self.containers(scope):
            yield from read(container, self.prefixes)

    def field_values(self, name: str, scope: Scope, inner: bool) -> Iterator[Any]:
        for full, spelled, value in self.fields(scope, inner):
            if name in (full, spelled):
                yield value

    def transactions(self, family: Family) -> Iterator[tuple[str, str]]:
        """(type, canonical name) of business transactions, sources or destinations."""
        list_name, item_name = TRANSACTIONS[family]
        for one in items(self.event.get(list_name)):
            value = text(member(one, item_name))
            if value is not None:
                name = identity(value, self.prefixes)
                for form in word_forms(text(member(one, "type")) or "", self.prefixes):
                    yield form, name

    def names(self, fields: tuple[str, ...]) -> Iterator[str]:
        """Canonical names of all EPCs or classes in these fields."""
        for field in fields:
            value = self.event.get(field)
            for one in value if isinstance(value, list) else (value,):
                identifier = one if isinstance(one, str) else text(member(one, "epcClass"))
                if identifier is not None:
                    yield judge(identifier)[0]

    def quantities(self) -> Iterator[tuple[Decimal, str]]:
        """(quantity, unit) of every quantity element that says how much."""
        for field in QUANTITY_FIELDS:
            for one in items(self.event.get(field)):
                figure = number(member(one, "quantity"))
                if figure is not None:
                    yield figure, text(member(one, "uom")) or ""

    def attributed(self, field: str) -> Iterator[str]:
        """Canonical names of the values of a field for which there may be master data."""
        if field in ("readPoint", "bizLocation"):
            name = self.place(field)
            if name is not None:
                yield name
        elif field in ("bizStep", "disposition"):
            value = text(self.event.get(field))
            if value is not None:
                yield identity(value, self.prefixes)
        elif field in ("source", "destination", "bizTransaction"):
            yield from (name for _, name in self.transactions(Family(field)))
        elif field in ("epc", "epcClass"):
            yield from self.names(EPC_FIELDS["anyEPC" if field == "epc" else "anyEPCClass"])
        else:
            for value in self.field_values(field, Scope.EVENT, inner=False):
                yield from (identity(one, self.prefixes) for one in leaves(value) if isinstance(one, str))


def holds(one: Filter, look: Look) -> bool:
    """Whether one filter holds: at least one of its values does, for at least one thing that it looks at."""
    return _HOLDS[one.family](one, look)


def sort_value(order: OrderBy, look: Look) -> tuple[int, Decimal | str] | None:
    """What an event is ordered by where that is an extension's field; None if it has no such field.

    Numbers stand before times and texts; texts are ordered by their UTF-8 bytes, which is the order of code
    points.
    """
    for value in look.field_values(order.field, order.scope, order.inner):
        for leaf in leaves(value):
            figure = number(leaf)
            if figure is not None:
                return 0, figure
            moment = parse_time(leaf) if isinstance(leaf, str) and len(leaf) < 64 else None
            return 1, moment.isoformat() if moment is not None else str(leaf)
    return None


def within(place: str, wanted_place: str) -> bool:
    """Whether a place is another one, or in it by its SGLN: a GLN with an extension lies in the GLN."""
    return place == wanted_place or (
        place.startswith(wanted_place + "/254/") and wanted_place.startswith("https://id.gs1.org/414/")
    )


def text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def member(container: Any, name: str) -> Any:
    return container.get(name) if isinstance(container, dict) else None


def items(value: Any) -> list[Any]:
    """The members of a list; one that is no list is a list of itself."""
    return value if isinstance(value, list) else [] if value is None else [value]


def strings(value: Any) -> list[str]:
    return [one for one in items(value) if isinstance(one, str)]


def _compare(operator: Operator, left: _Comparable, right: _Comparable) -> bool:
    if operator == "EQ":
        return left == right
    if operator == "GT":
        return left > right
    if operator == "GE":
        return left >= right
    if operator == "LT":
        return left < right
    assert operator == "LE", operator
    return left <= right


def _moment(one: Filter, value: Any) -> bool:
    moment = parse_time(value) if isinstance(value, str) else value
    wanted_moment = one.values[0]
    if not isinstance(moment, datetime) or not isinstance(wanted_moment, datetime):
        return False
    return _compare(one.operator, moment, wanted_moment)


def _figure(one: Filter, figure: Decimal | None) -> bool:
    return figure is not None and any(
        _compare(one.operator, figure, value) for value in one.values if isinstance(value, Decimal)
    )


def _event_type(one: Filter, look: Look) -> bool:
    return any(form in one.values for form in look.words(look.event, "type"))


def _event_time(one: Filter, look: Look) -> bool:
    return _moment(one, look.event.get("eventTime"))


def _record_time(one: Filter, look: Look) -> bool:
    return _moment(one, look.recorded_at)


def _action(one: Filter, look: Look) -> bool:
    return look.event.get("action") in one.values


def _word(one: Filter, look: Look) -> bool:
    return any(form in one.values for form in look.words(look.event, one.family.value))


def _persistent(one: Filter, look: Look) -> bool:
    which = "set" if one.family is Family.PERSISTENT_SET else "unset"
    return any(value in one.values for value in look.words(look.event.get("persistentDisposition"), which))


def _place(one: Filter, look: Look) -> bool:
    place = look.place(one.family.value)
    if place is None:
        return False
    if one.operator == "EQ":
        return place in one.values
    for value in one.values:
        assert isinstance(value, str), "places are read as names"
        if within(place, value) or any(within(place, part) for part in look.master.descendants(value)):
            return True
    return False


def _transaction(one: Filter, look: Look) -> bool:
    return any(typ == one.key and name in one.values for typ, name in look.transactions(one.family))


def _transformation(one: Filter, look: Look) -> bool:
    value = text(look.event.get("transformationID"))
    return value is not None and identity(value, look.prefixes) in one.values


def _match(one: Filter, look: Look) -> bool:
    return any(
        value.covers(name)
        for name in look.names(EPC_FIELDS[one.key])
        for value in one.values
        if isinstance(value, Wanted)
    )


def _quantity(one: Filter, look: Look) -> bool:
    return any(_figure(one, figure) for figure, unit in look.quantities() if one.unit in ("", unit))


def _event_id(one: Filter, look: Look) -> bool:
    return look.event_id is not None and look.event_id in one.values


def _error_declaration(one: Filter, look: Look) -> bool:
    return look.event.get("errorDeclaration") is not None


def _error_time(one: Filter, look: Look) -> bool:
    return _moment(one, member(look.event.get("errorDeclaration"), "declarationTime"))


def _error_reason(one: Filter, look: Look) -> bool:
    return any(value in one.values for value in look.words(look.event.get("errorDeclaration"), "reason"))


def _corrective(one: Filter, look: Look) -> bool:
    declared = strings(member(look.event.get("errorDeclaration"), "correctiveEventIDs"))
    return any(value in one.values for value in declared)


def _sensor_list(one: Filter, look: Look) -> bool:
    return bool(items(look.event.get("sensorElementList")))


def _sensor_time(one: Filter, look: Look) -> bool:
    return any(
        _moment(one, value) for part in look.sensor_parts(one.key) for value in strings(member(part, one.key))
    )


def _sensor_word(one: Filter, look: Look) -> bool:
    return any(
        value in one.values for part in look.sensor_parts(one.key) for value in look.words(part, one.key)
    )


def _sensor_uri(one: Filter, look: Look) -> bool:
    return any(
        identity(value, look.prefixes) in one.values
        for part in look.sensor_parts(one.key)
        for value in strings(member(part, one.key))
    )


def _sensor_text(one: Filter, look: Look) -> bool:
    return any(
        (value.lower() if one.key == "hexBinaryValue" else value) in one.values
        for part in look.sensor_parts(one.key)
        for value in strings(member(part, one.key))
    )


def _sensor_boolean(one: Filter, look: Look) -> bool:
    return any(
        isinstance(member(part, one.key), bool) and member(part, one.key) in one.values
        for part in look.sensor_parts(one.key)
    )


def _sensor_number(one: Filter, look: Look) -> bool:
    return any(
        _figure(one, number(member(part, one.key)))
        for part in look.sensor_parts(one.key)
        if one.unit in ("", member(part, "uom"))
    )


def _extension(one: Filter, look: Look) -> bool:
    found = look.field_values(one.key, one.scope, one.inner)
    if one.operator == "EXISTS":
        return any(True for _ in found)
    return any(_leaf(one, leaf) for value in found for leaf in leaves(value))


def _leaf(one: Filter, leaf: str | int | float | bool) -> bool:
    if one.operator == "EQ":
        keys = frozenset(keys_of(leaf))
        return any(keys & value for value in one.values if isinstance(value, frozenset))
    bound = one.values[0]
    if isinstance(bound, Decimal):
        return _figure(one, number(leaf))
    return isinstance(leaf, str) and _moment(one, leaf)


def _has_attribute(one: Filter, look: Look) -> bool:
    return any(
        value in look.master.attributes(name) for name in look.attributed(one.key) for value in one.values
    )


def _equals_attribute(one: Filter, look: Look) -> bool:
    return any(
        frozenset(keys_of(found)) & value
        for name in look.attributed(one.key)
        for found in look.master.attributes(name).get(one.unit, ())
        for value in one.values
        if isinstance(value, frozenset)
    )


_HOLDS = {
    Family.EVENT_TYPE: _event_type,
    Family.EVENT_TIME: _event_time,
    Family.RECORD_TIME: _record_time,
    Family.ACTION: _action,
    Family.BIZ_STEP: _word,
    Family.DISPOSITION: _word,
    Family.PERSISTENT_SET: _persistent,
    Family.PERSISTENT_UNSET: _persistent,
    Family.READ_POINT: _place,
    Family.BIZ_LOCATION: _place,
    Family.BIZ_TRANSACTION: _transaction,
    Family.SOURCE: _transaction,
    Family.DESTINATION: _transaction,
    Family.TRANSFORMATION_ID: _transformation,
    Family.MATCH: _match,
    Family.QUANTITY: _quantity,
    Family.EVENT_ID: _event_id,
    Family.ERROR_DECLARATION: _error_declaration,
    Family.ERROR_TIME: _error_time,
    Family.ERROR_REASON: _error_reason,
    Family.CORRECTIVE_EVENT_ID: _corrective,
    Family.SENSOR_LIST: _sensor_list,
    Family.SENSOR_TIME: _sensor_time,
    Family.SENSOR_WORD: _sensor_word,
    Family.SENSOR_URI: _sensor_uri,
    Family.SENSOR_TEXT: _sensor_text,
    Family.SENSOR_BOOLEAN: _sensor_boolean,
    Family.SENSOR_NUMBER: _sensor_number,
    Family.EXTENSION: _extension,
    Family.HAS_ATTRIBUTE: _has_attribute,
    Family.EQUALS_ATTRIBUTE: _equals_attribute,
}
