"""Step 8 of 9: when a scheduled subscription runs (EPCIS 2.0, QuerySchedule). Times are UTC.

    {"hour": "6,18", "minute": "[0-2]", "dayOfWeek": "[1-5]"}     1 is Monday, 7 is Sunday

A field is a list of numbers and ranges; all fields must match. Fields left out below the smallest one given
are at their least (so an hour alone means minute 0 and second 0), those above match always. The patterns
in GS1's own OpenAPI file are of a dialect that no JSON schema reads, and of ranges such as [0-59] that
match one digit; this follows the standard's text.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from subscriptions.errors import ControlFault, SubscriptionRejected

# From the largest to the smallest: (name, least, most). Days have two names, which stand side by side.
FIELDS = (
    ("month", 1, 12),
    ("dayOfMonth", 1, 31),
    ("dayOfWeek", 1, 7),
    ("hour", 0, 23),
    ("minute", 0, 59),
    ("second", 0, 59),
)
NAMES = frozenset(name for name, _, _ in FIELDS)
FIELD_LENGTH_MAX = 256
# 29 February on one weekday: at most 12 years apart within 28, and 40 around 2100.
_DAYS_MAX = 41 * 366
_ELEMENT = re.compile(r"([0-9]{1,2})|\[([0-9]{1,2})-([0-9]{1,2})\]")


@dataclass(frozen=True, slots=True)
class Schedule:
    """The values that each field may have. `given` is as the subscriber wrote it."""

    given: tuple[tuple[str, str], ...]
    months: frozenset[int]
    days: frozenset[int]
    weekdays: frozenset[int]
    hours: tuple[int, ...]
    minutes: tuple[int, ...]
    seconds: tuple[int, ...]

    def next_after(self, moment: datetime) -> datetime | None:
        """The first run after this moment, in whole seconds; None if there is never one.

        moment  aware; at most 41 years are searched, 15 ms where there is nothing to find
        """
        start = moment.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        day = start.date()
        within = self._first_time(start.time())
        if within is not None and self._has_day(day):
            return datetime.combine(day, within, UTC)
        first = time(self.hours[0], self.minutes[0], self.seconds[0])
        for _ in range(_DAYS_MAX):
            if day == date.max:
                return None
            day += timedelta(days=1)
            if self._has_day(day):
                return datetime.combine(day, first, UTC)
        return None

    def _has_day(self, day: date) -> bool:
        return day.month in self.months and day.day in self.days and day.isoweekday() in self.weekdays

    def _first_time(self, least: time) -> time | None:
        """The first time of a day that is not before this one."""
        for hour in self.hours:
            if hour < least.hour:
                continue
            for minute in self.minutes:
                if (hour, minute) < (least.hour, least.minute):
                    continue
                for second in self.seconds:
                    if (hour, minute, second) >= (least.hour, least.minute, least.second):
                        return time(hour, minute, second)
        return None


def parse_schedule(given: Mapping[str, Any], pointer: str = "/schedule") -> Schedule:
    """Read a schedule. Raises SubscriptionRejected with every fault.

    given    field to text; a bare number is taken for its text
    pointer  of what holds the fields
    """
    faults = [
        ControlFault(
            "schedule.unknown",
            f"{name[:40]!r} is no field of a schedule",
            f"{pointer}/{_escaped(name)}",
            "second, minute, hour, dayOfMonth, month and dayOfWeek are",
        )
        for name in given
        if name not in NAMES
    ]
    values: dict[str, frozenset[int]] = {}
    texts: dict[str, str] = {}
    for name, least, most in FIELDS:
        if name in given:
            try:
                texts[name] = _text(given[name])
                values[name] = _parse_field(texts[name], least, most)
            except ValueError as error:
                faults.append(
                    ControlFault(f"schedule.{name}", f"{name}: {error}", f"{pointer}/{name}", _fix(name))
                )
    if not given:
        faults.append(
            ControlFault("schedule.empty", "a schedule names at least one field", pointer, '{"minute": "0"}')
        )
    if faults:
        raise SubscriptionRejected(faults)
    schedule = _completed(values, tuple(texts.items()))
    if not _ever(schedule):
        raise SubscriptionRejected(
            [
                ControlFault(
                    "schedule.never", "no month of these has such a day", pointer, "another dayOfMonth"
                )
            ]
        )
    return schedule


def _completed(values: Mapping[str, frozenset[int]], given: tuple[tuple[str, str], ...]) -> Schedule:
    smallest = max(index for index, (name, _, _) in enumerate(FIELDS) if name in values)
    full: dict[str, frozenset[int]] = {}
    for index, (name, least, most) in enumerate(FIELDS):
        # A weekday says which day as well as a day of the month does, and is never set by default.
        below = index > smallest and name != "dayOfWeek"
        full[name] = values.get(name, frozenset((least,) if below else range(least, most + 1)))
    return Schedule(
        given,
        full["month"],
        full["dayOfMonth"],
        full["dayOfWeek"],
        tuple(sorted(full["hour"])),
        tuple(sorted(full["minute"])),
        tuple(sorted(full["second"])),
    )


def _ever(schedule: Schedule) -> bool:
    # 2024 is a leap year: what it does not have, no year has.
    return any(
        day <= calendar.monthrange(2024, month)[1] for month in schedule.months for day in schedule.days
    )


def _text(value: Any) -> str:
    if type(value) is int:
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"a string is wanted, not {type(value).__name__}")
    return value


def _parse_field(text: str, least: int, most: int) -> frozenset[int]:
    if not 0 < len(text) <= FIELD_LENGTH_MAX:
        raise ValueError(f"{len(text)} characters; 1 to {FIELD_LENGTH_MAX} are wanted")
    found: set[int] = set()
    for element in text.split(","):
        match = _ELEMENT.fullmatch(element)
        if match is None:
            raise ValueError(f"{element[:40]!r} is neither a number nor a range such as [1-5]")
        low = int(match[1] or match[2])
        high = int(match[1] or match[3])
        if not least <= low <= high <= most:
            raise ValueError(f"{element} is not within {least} to {most}, lower end first")
        found.update(range(low, high + 1))
    return frozenset(found)


def _fix(name: str) -> str:
    return {
        "second": '"0,30"',
        "minute": '"0,[30-35]"',
        "hour": '"[6-18]"',
        "dayOfMonth": '"1,15"',
        "month": '"[1-6],12"',
        "dayOfWeek": '"[1-5]": Monday to Friday',
    }[name]


def _escaped(name: str) -> str:
    return name[:40].replace("~", "~0").replace("/", "~1")
