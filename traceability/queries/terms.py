"""Step 8 of 9: what an index knows of an event: a set of 64-bit terms, and which of them a query asks for.

The promise: an event that answers a query has, of each group that `groups_of` gives, at least one term. The
opposite need not hold, for terms are hashes and some filters compare numbers: `matches` has the last word.

Terms are private to one projection and may change with TERMS_VERSION; a projection is then built again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from traceability.errors import QueryTooComplex
from traceability.queries.families import SENSOR_NUMBERS, SENSOR_URIS
from traceability.queries.masterdata import DESCENDANTS_MAX, NOTHING_KNOWN, MasterData
from traceability.queries.matches import EPC_FIELDS, TRANSACTIONS, Look, items, member, strings, text
from traceability.queries.model import Family, Filter, Query, Scope
from traceability.queries.patterns import Wanted, class_of, class_of_identifier, narrowings
from traceability.queries.spelling import (
    STANDARD_PREFIXES,
    Prefixes,
    identity,
    keys_of,
    leaves,
    prefixes_of,
    word_forms,
)
from traceability.remembered import remembered, remembered_pair

TERMS_VERSION = 1
TERMS_CACHED = 65_536
CLASSES_CACHED = 16_384

# An event that has no others needs no second look.
_PLAIN_FIELDS = {
    *(
        "@context",
        "type",
        "eventTime",
        "recordTime",
        "eventTimeZoneOffset",
        "action",
        "bizStep",
        "disposition",
    ),
    *(
        "readPoint",
        "bizLocation",
        "epcList",
        "parentID",
        "childEPCs",
        "inputEPCList",
        "outputEPCList",
        "eventID",
    ),
    *("quantityList", "bizTransactionList", "sourceList", "destinationList", "certificationInfo"),
}
_NEVER = datetime.min.replace(tzinfo=UTC)
_LISTS = ("epcList", "childEPCs", "inputEPCList", "outputEPCList")
_QUANTITIES = EPC_FIELDS["anyEPCClass"]


@remembered_pair(TERMS_CACHED)
def term(family: str, value: str) -> int:
    """The unsigned 64-bit term of one property."""
    return fresh_term(family, value)


def fresh_term(family: str, value: str) -> int:
    """The same, for values that seldom come back and would only crowd the cache."""
    return int.from_bytes(
        hashlib.blake2b(f"{family}\0{value}".encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )


def terms_of(event: Mapping[str, Any], event_id: str | None = None) -> set[int]:
    """The terms of one event. Total. About 10 µs for a plain one.

    event_id  the one assigned to it, where the event itself has none
    """
    prefixes = prefixes_of(event.get("@context"))
    is_plain = prefixes is STANDARD_PREFIXES
    is_bare = True  # neither of its places has a field of an extension
    found: set[int] = set()
    for family in ("type", "bizStep", "disposition"):
        value = event.get(family)
        if type(value) is str:
            found.update(
                _plain_word_terms(family, value) if is_plain else _word_terms(family, value, prefixes)
            )
    action = event.get("action")
    if type(action) is str:
        found.add(term("action", action))
    for family in ("readPoint", "bizLocation"):
        place = event.get(family)
        if type(place) is not dict:
            continue
        is_bare = is_bare and len(place) == 1
        value = place.get("id")
        if type(value) is str:
            found.update(
                _plain_place_terms(family, value) if is_plain else _place_terms(family, value, prefixes)
            )
    value = event.get("eventID")
    if type(value) is str:
        found.add(fresh_term("eventID", value))
    elif event_id is not None:
        found.add(fresh_term("eventID", event_id))
    classes: set[str] = set()
    for field in _LISTS:
        identifiers = event.get(field)
        if type(identifiers) is list:
            classes.update([class_of_identifier(one) for one in identifiers if type(one) is str])
    parent = event.get("parentID")
    if type(parent) is str:
        classes.add(class_of_identifier(parent))
    for field in _QUANTITIES:
        if field in event:
            for one in items(event[field]):
                if type(one) is dict:
                    _add_quantity(one, classes, found)
    for class_name in classes:
        found.update(_class_terms(class_name))
    for kind, (list_name, item_name) in TRANSACTIONS.items():
        if list_name in event:
            found.update(_transaction_terms(kind.value, items(event[list_name]), item_name, prefixes))
    if is_bare and _PLAIN_FIELDS.issuperset(event):
        return found
    look = Look(event, _NEVER, None, NOTHING_KNOWN)
    if not _PLAIN_FIELDS.issuperset(event):
        found.update(_rare_terms(event, look))
    for scope in (Scope.READ_POINT, Scope.BIZ_LOCATION):
        found.update(_field_terms(look, scope))
    return found


def groups_of(query: Query, master: MasterData = NOTHING_KNOWN) -> list[set[int]]:
    """For each filter that an index can help with, the terms of which an answer has at least one.

    MATCH_ by exact names gives none here: names_of() does. Raises QueryTooComplex where a place has too many
    places below it.
    """
    groups = []
    for one in query.filters:
        group = _group(one, master)
        if group is not None:
            groups.append(group)
    return groups


def names_of(one: Filter) -> list[str] | None:
    """The exact names of which an answer names at least one, if that is all that this filter accepts."""
    if one.family is not Family.MATCH:
        return None
    names: list[str] = []
    for value in one.values:
        if not isinstance(value, Wanted) or value.name is None or value.pattern is not None:
            return None
        names.append(value.name)
    return names


@remembered(CLASSES_CACHED)
def _class_terms(class_name: str) -> tuple[int, ...]:
    return tuple(
        fresh_term(family, value) for family, value in (*narrowings(class_name), ("named", class_name))
    )


def _place_terms(family: str, identifier: str, prefixes: Prefixes) -> tuple[int, ...]:
    name = identity(identifier, prefixes)
    whole, extension, _ = name.partition("/254/")
    return (term(family, name), term("within " + family, whole if extension else name))


@remembered_pair(TERMS_CACHED)
def _plain_place_terms(family: str, identifier: str) -> tuple[int, ...]:
    return _place_terms(family, identifier, STANDARD_PREFIXES)


def _word_terms(family: str, value: str, prefixes: Prefixes) -> tuple[int, ...]:
    return tuple(term(family, form) for form in word_forms(value, prefixes))


@remembered_pair(CLASSES_CACHED)
def _plain_word_terms(family: str, value: str) -> tuple[int, ...]:
    return _word_terms(family, value, STANDARD_PREFIXES)


def _transaction_terms(kind: str, listed: list[Any], item_name: str, prefixes: Prefixes) -> Iterator[int]:
    for one in listed:
        value = one.get(item_name) if type(one) is dict else None
        if type(value) is str:
            name = identity(value, prefixes)
            for form in word_forms(text(one.get("type")) or "", prefixes):
                yield fresh_term(f"{kind}:{form}", name)


def _add_quantity(one: Mapping[str, Any], classes: set[str], found: set[int]) -> None:
    identifier = one.get("epcClass")
    if isinstance(identifier, str):
        classes.add(class_of_identifier(identifier))
    if "quantity" in one:
        found.add(term("quantity", ""))
        found.add(term("quantity", text(one.get("uom")) or ""))


def _rare_terms(event: Mapping[str, Any], look: Look) -> Iterator[int]:
    transformation = text(event.get("transformationID"))
    if transformation is not None:
        yield fresh_term("transformationID", identity(transformation, look.prefixes))
    persistent = event.get("persistentDisposition")
    for which in ("set", "unset"):
        yield from (term(f"persistentDisposition_{which}", value) for value in look.words(persistent, which))
    declaration = event.get("errorDeclaration")
    if declaration is not None:
        yield term("errorDeclaration", "")
        yield from (term("errorReason", value) for value in look.words(declaration, "reason"))
        for value in strings(member(declaration, "correctiveEventIDs")):
            yield fresh_term("correctiveEventID", value)
    if event.get("sensorElementList") is not None:
        yield from _sensor_terms(event, look)
    for scope in (Scope.EVENT, Scope.ILMD, Scope.ERROR_DECLARATION):
        yield from _field_terms(look, scope)


def _sensor_terms(event: Mapping[str, Any], look: Look) -> Iterator[int]:
    if items(event["sensorElementList"]):
        yield term("sensorElementList", "")
    for part in (*look.containers(Scope.SENSOR_METADATA), *look.containers(Scope.SENSOR_REPORT)):
        if not isinstance(part, dict):
            continue
        for name in ("time", "startTime", "endTime"):
            if name in part:
                yield term("sensor", name)
        yield from (term("sensor type", value) for value in look.words(part, "type"))
        for name in SENSOR_URIS:
            for value in strings(part.get(name)):
                yield fresh_term(f"sensor {name}", identity(value, look.prefixes))
        for value in strings(part.get("stringValue")):
            yield fresh_term("sensor stringValue", value)
        for value in strings(part.get("hexBinaryValue")):
            yield fresh_term("sensor hexBinaryValue", value.lower())
        if isinstance(part.get("booleanValue"), bool):
            yield term("sensor booleanValue", str(part["booleanValue"]))
        for name in SENSOR_NUMBERS:
            if name in part:
                yield term("sensor", name)
                yield term(f"sensor {name}", text(part.get("uom")) or "")
    for scope in (Scope.SENSOR_ELEMENT, Scope.SENSOR_METADATA, Scope.SENSOR_REPORT):
        yield from _field_terms(look, scope)


def _field_terms(look: Look, scope: Scope) -> Iterator[int]:
    for inner in (False, True):
        where = f"{scope.value} {inner} "
        for full, spelled, value in look.fields(scope, inner):
            for name in (full,) if full == spelled else (full, spelled):
                yield term("field", where + name)
                for leaf in leaves(value):
                    for kind, key in keys_of(leaf):
                        yield fresh_term(f"field {where}{name}", f"{kind} {key}")


def _group(one: Filter, master: MasterData) -> set[int] | None:
    family = one.family
    if family is Family.MATCH:
        return _match_group(one)
    if family in (Family.READ_POINT, Family.BIZ_LOCATION):
        return _place_group(one, master)
    if family is Family.EXTENSION:
        where = f"{one.scope.value} {one.inner} {one.key}"
        if one.operator != "EQ":
            return {term("field", where)}
        return {
            fresh_term(f"field {where}", f"{kind} {key}")
            for value in one.values
            if isinstance(value, frozenset)
            for kind, key in value
        }
    if family in (Family.BIZ_TRANSACTION, Family.SOURCE, Family.DESTINATION):
        return _all(f"{family.value}:{one.key}", one.values)
    if family is Family.QUANTITY:
        return {term("quantity", one.unit)}
    if family is Family.SENSOR_NUMBER:
        return {term(f"sensor {one.key}", one.unit) if one.unit else term("sensor", one.key)}
    if family is Family.SENSOR_TIME:
        return {term("sensor", one.key)}
    if family in (Family.SENSOR_WORD, Family.SENSOR_URI, Family.SENSOR_TEXT, Family.SENSOR_BOOLEAN):
        return _all(f"sensor {one.key}", one.values)
    if family in (Family.ERROR_DECLARATION, Family.ERROR_TIME):
        return {term("errorDeclaration", "")}
    if family is Family.SENSOR_LIST:
        return {term("sensorElementList", "")}
    if family is Family.EVENT_TYPE:
        return _all("type", one.values)
    if family in _BY_VALUE:
        return _all(family.value, one.values)
    return None  # times have columns of their own; attributes of master data change, and are asked for


_BY_VALUE = frozenset(
    (
        Family.ACTION,
        Family.BIZ_STEP,
        Family.DISPOSITION,
        Family.PERSISTENT_SET,
        Family.PERSISTENT_UNSET,
        Family.TRANSFORMATION_ID,
        Family.EVENT_ID,
        Family.ERROR_REASON,
        Family.CORRECTIVE_EVENT_ID,
    )
)


def _all(family: str, values: Iterable[object]) -> set[int]:
    return {fresh_term(family, str(value)) for value in values if not isinstance(value, Decimal)}


def _match_group(one: Filter) -> set[int] | None:
    if names_of(one) is not None:
        return None
    group = set()
    for value in one.values:
        assert isinstance(value, Wanted), "MATCH_ has no other values"
        if value.narrow is not None:
            group.add(fresh_term(*value.narrow))
        if value.name is not None:
            # Beside patterns, an exact name is looked for among its class, or its company's things.
            class_name = class_of(value.name)
            closest = sorted(narrowings(class_name) or (("named", class_name),))[0]
            group.add(fresh_term(*closest))
    return group


def _place_group(one: Filter, master: MasterData) -> set[int]:
    family = one.family.value
    group = _all(family, one.values)
    if one.operator == "EQ":
        return group
    for value in one.values:
        below = master.descendants(str(value))
        if len(below) >= DESCENDANTS_MAX:
            raise QueryTooComplex(
                "query.complex",
                f"{one.parameter}: {value} has {DESCENDANTS_MAX} or more places below it",
                fix="ask for some of the places below it",
            )
        for place in (str(value), *below):
            group.add(term("within " + family, place))
            group.add(term(family, place))
    return group
