"""TraceabilityError: what this room can say no with. All of them are faults of keys.errors.
├─ IdentifierMalformed  a GS1 identifier that breaks GS1's rules (check digit, length, characters)
│  └─ NotGs1            a string that does not claim to be one: it may still be somebody's private name
├─ EventUnhashable      the event hash of CBV 2.0 is not defined for this value; .pointer says why not
├─ EventRejected        the payload is not a valid event; .faults has every reason, each with its pointer
└─ NoReader             no reader is registered for the statement's typ: say so, decide nothing
"""

from __future__ import annotations

from collections.abc import Sequence

from keys.errors import Fault, Malformed, Unverifiable


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
