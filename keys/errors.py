"""Fault
├─ Malformed      it cannot be read, or breaks a format's rule: blame the sender
├─ Refuted        it reads well and is false: raise the alarm
├─ Unverifiable   a key or record is missing: say so, decide nothing
├─ NotYet         right, but too early: try again later
└─ Refused        well-formed, true, and not allowed here

The four promised causes (and the plain "not allowed") are the roots that every room's own errors
derive from, so a caller can always tell which of them it has, whatever room it came from.
"""

from __future__ import annotations


class Fault(Exception):
    """One exact reason why something was not accepted.

    code     stable, dotted, lower case: "jws.header.crit"; programs may rely on it
    detail   one English sentence with what was seen and what was expected; never a secret
    pointer  RFC 6901 JSON pointer to the fault within the document judged; "" is the whole
    """

    def __init__(self, code: str, detail: str, pointer: str = "") -> None:
        super().__init__(f"{code}: {detail}" if not pointer else f"{code} at {pointer}: {detail}")
        self.code = code
        self.detail = detail
        self.pointer = pointer


class Malformed(Fault):
    """It cannot be read."""


class Refuted(Fault):
    """It reads well and is false."""


class Unverifiable(Fault):
    """Something needed to decide is missing."""


class NotYet(Fault):
    """Nothing is wrong, but it is too early."""


class Refused(Fault):
    """It is well-formed and true, and still not allowed."""
