"""Step 8 of 9: a query as it is run: filters that all must hold, an order, and how much of it is wanted.

Values are normalised when the query is read, so two spellings of one query are one Query, and `digest` binds
a page token to it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Literal, TypeAlias

from traceability.queries.patterns import Wanted
from traceability.queries.spelling import Key, number_text

PER_PAGE_DEFAULT = 30  # EPCIS 2.0
PER_PAGE_MAX = 1000


class Family(Enum):
    """What a filter looks at. The value is stable: it is part of the digest."""

    EVENT_TYPE = "eventType"
    EVENT_TIME = "eventTime"
    RECORD_TIME = "recordTime"
    ACTION = "action"
    BIZ_STEP = "bizStep"
    DISPOSITION = "disposition"
    PERSISTENT_SET = "persistentDisposition_set"
    PERSISTENT_UNSET = "persistentDisposition_unset"
    READ_POINT = "readPoint"
    BIZ_LOCATION = "bizLocation"
    BIZ_TRANSACTION = "bizTransaction"  # key: the type
    SOURCE = "source"  # key: the type
    DESTINATION = "destination"  # key: the type
    TRANSFORMATION_ID = "transformationID"
    MATCH = "match"  # key: epc, parentID, anyEPC, epcClass…
    QUANTITY = "quantity"  # key: the unit, "" for any
    EVENT_ID = "eventID"
    ERROR_DECLARATION = "errorDeclaration"
    ERROR_TIME = "errorDeclarationTime"
    ERROR_REASON = "errorReason"
    CORRECTIVE_EVENT_ID = "correctiveEventID"
    SENSOR_LIST = "sensorElementList"
    SENSOR_TIME = "sensorTime"  # key: time, startTime, endTime
    SENSOR_WORD = "sensorWord"  # key: type
    SENSOR_URI = "sensorUri"  # key: deviceID, bizRules, uriValue…
    SENSOR_TEXT = "sensorText"  # key: stringValue, hexBinaryValue
    SENSOR_BOOLEAN = "sensorBoolean"  # key: booleanValue
    SENSOR_NUMBER = "sensorNumber"  # key: value, minValue… percRank; unit in `unit`
    EXTENSION = "extension"  # key: the field's full name
    HAS_ATTRIBUTE = "hasAttribute"  # key: the field whose value has master data
    EQUALS_ATTRIBUTE = "equalsAttribute"  # key as above, `unit` is the attribute


class Scope(Enum):
    """In which object an extension's field stands."""

    EVENT = ""
    ILMD = "ILMD"
    ERROR_DECLARATION = "ERROR_DECLARATION"
    SENSOR_ELEMENT = "SENSORELEMENT"
    SENSOR_METADATA = "SENSORMETADATA"
    SENSOR_REPORT = "SENSORREPORT"
    READ_POINT = "readPoint"
    BIZ_LOCATION = "bizLocation"


Operator = Literal["EQ", "GT", "GE", "LT", "LE", "EXISTS", "WD"]
# An extension's EQ is by any of several keys; its other comparisons are with one number or one instant.
Value: TypeAlias = "str | bool | Decimal | datetime | Wanted | frozenset[Key]"


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition. It holds if any of its values does."""

    parameter: str  # the name as it was given
    family: Family
    operator: Operator
    values: tuple[Value, ...] = ()
    key: str = ""
    unit: str = ""
    scope: Scope = Scope.EVENT
    inner: bool = False

    def describe(self) -> list[object]:
        """What makes it this filter and no other, as JSON; not how it was spelled."""
        values = sorted(_describe(value) for value in self.values)
        return [
            self.family.value, self.operator, self.key, self.unit, self.scope.value, self.inner, values
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class OrderBy:
    """eventTime, recordTime, or an extension's field. Events without the field come last."""

    field: str = "recordTime"
    scope: Scope = Scope.EVENT
    inner: bool = False
    descending: bool = False

    @property
    def by_extension(self) -> bool:
        return self.field not in ("eventTime", "recordTime")


@dataclass(frozen=True, slots=True)
class Query:
    """A whole query. Without orderBy, events come in the order in which they were recorded."""

    filters: tuple[Filter, ...] = ()
    order: OrderBy = field(default_factory=OrderBy)
    event_count_limit: int | None = None
    max_event_count: int | None = None
    per_page: int = PER_PAGE_DEFAULT
    next_page_token: str | None = None

    @property
    def digest(self) -> bytes:
        """16 bytes that are the same for every spelling of the query, and for every page of it."""
        described = [
            sorted((one.describe() for one in self.filters), key=json.dumps),
            [self.order.field, self.order.scope.value, self.order.inner, self.order.descending],
            self.event_count_limit,
            self.max_event_count,
        ]
        return hashlib.sha256(json.dumps(described, separators=(",", ":")).encode()).digest()[:16]


def _describe(value: Value) -> str:
    if isinstance(value, Wanted):
        return f"{value.name or ''} {value.pattern.pattern if value.pattern else ''}"
    if isinstance(value, frozenset):
        return json.dumps(sorted(value))
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return number_text(value)
    return str(value)
