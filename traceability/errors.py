"""TraceabilityError: what this room can say no with. All of them are faults of keys.errors.
├─ IdentifierMalformed  a GS1 identifier that breaks GS1's rules (check digit, length, characters)
│  └─ NotGs1            a string that does not claim to be one: it may still be somebody's private name
├─ EventUnhashable      the event hash of CBV 2.0 is not defined for this value; .pointer says why not
├─ EventRejected        the payload is not a valid event; .faults has every reason, each with its pointer
├─ NoReader             no reader is registered for the statement's typ: say so, decide nothing
├─ QueryParameterFault  one thing wrong with one parameter of an EPCIS query; its pointer names it
│  └─ QueryTokenFault   a page token that is forged, expired, or of another query
├─ QueryRejected        a query with such faults; .faults has them all
├─ QueryTooLarge        more events match than the query said it would take
├─ QueryTooComplex      to answer it, more would have to be read than one question may cost
└─ NoSuchQuery, QueryNameTaken   of the names under which queries are kept

What EPCIS calls an error is the attribute `epcis_exception`; the HTTP layer gives it its number.
"""

from __future__ import annotations

from collections.abc import Sequence

from keys.errors import Fault, Malformed, Refused, Unverifiable


class IdentifierMalformed(Malformed):
    """A GS1 identifier breaks a rule of GS1's.

    place  (first character, how many) of what is wrong in the text that was read, where that is known
    """

    def __init__(
        self, code: str, detail: str, pointer: str = "", *, place: tuple[int, int] | None = None
    ) -> None:
        super().__init__(code, detail, pointer)
        self.place = place


class NotGs1(IdentifierMalformed):
    """The string is no GS1 identifier and does not claim to be one."""


class EventFault(Malformed):
    """One thing wrong with an event: pointer into it, what is wrong, and how to put it right."""

    def __init__(self, code: str, detail: str, pointer: str = "", fix: str = "") -> None:
        super().__init__(code, detail, pointer)
        self.fix = fix


class EventRejected(Malformed):
    """The payload is not a valid EPCIS event. `faults` is never empty; the first one speaks for all."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        first = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(first.code, first.detail + more, first.pointer)
        self.faults: tuple[Fault, ...] = tuple(faults)


class EventUnhashable(Malformed):
    """There is no event hash of this value: it has no type or time, or a name without a namespace."""


class NoReader(Unverifiable):
    """Nothing here can turn this class of statement into events."""


class QueryParameterFault(Malformed):
    """One thing wrong with one parameter: what is wrong, and how to put it right."""

    epcis_exception = "QueryParameterException"

    def __init__(self, code: str, detail: str, parameter: str = "", fix: str = "") -> None:
        pointer = "/" + parameter.replace("~", "~0").replace("/", "~1") if parameter else ""
        super().__init__(code, detail, pointer)
        self.fix = fix


class QueryTokenFault(QueryParameterFault):
    """The page token is not one of ours, is too old, or belongs to another query."""


class QueryRejected(Malformed):
    """The query cannot be run as it is. `faults` is never empty; the first one speaks for all."""

    epcis_exception = "QueryParameterException"

    def __init__(self, faults: Sequence[QueryParameterFault]) -> None:
        first = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(first.code, first.detail + more, first.pointer)
        self.faults: tuple[QueryParameterFault, ...] = tuple(faults)
        self.fix = first.fix


class QueryTooLarge(Refused):
    """More events match than maxEventCount allows."""

    epcis_exception = "QueryTooLargeException"


class QueryTooComplex(Refused):
    """Nothing is wrong with the query, but answering it would cost more than one question may."""

    epcis_exception = "QueryTooComplexException"

    def __init__(self, code: str, detail: str, fix: str = "") -> None:
        super().__init__(code, detail)
        self.fix = fix


class NoSuchQuery(Unverifiable):
    """No query is kept under this name."""

    epcis_exception = "NoSuchNameException"


class QueryNameTaken(Refused):
    """A query is kept under this name already."""

    epcis_exception = "ResourceAlreadyExistsException"
