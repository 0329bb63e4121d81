"""Fault
├─ SubscriptionRejected   what the subscriber asked for cannot be done: each thing wrong, with its place
├─ NoSuchSubscription     there is none with this id, or none any more
└─ TargetRefused          the address is not one that this server sends to

What EPCIS calls an error is the attribute `epcis_exception`; the HTTP layer gives it its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keys.errors import Malformed, Refused, Unverifiable


@dataclass(frozen=True, slots=True)
class ControlFault:
    """One thing wrong: where, what, and how to put it right."""

    code: str
    detail: str
    pointer: str
    fix: str = ""


class SubscriptionRejected(Malformed):
    """`faults` is never empty; the first one speaks for all."""

    epcis_exception = "SubscriptionControlsException"

    def __init__(self, faults: Sequence[ControlFault]) -> None:
        first = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(first.code, first.detail + more, first.pointer)
        self.faults = tuple(faults)


class NoSuchSubscription(Unverifiable):
    """Deleted, or never made."""

    epcis_exception = "NoSuchResourceException"


class TargetRefused(Refused):
    """No byte was sent there."""
