"""IntakeError
├─ Busy                too much at once, or the sequencer is away: the same statement may be sent again
├─ KindNotTaken        this door does not take statements of that class
└─ NotAllowed          the key is good and its party may not say this
"""

from __future__ import annotations

from keys.errors import Fault, NotYet, Refused

RETRY_AFTER_S = 1  # long enough for a sequencer to be started again, short enough to be polite


class IntakeError(Fault):
    """Anything intake raises on purpose that keys, traceability or ledger did not raise before."""


class Busy(IntakeError, NotYet):
    """Nothing is wrong with the statement. Sending it again is safe: a duplicate gets the first receipt."""

    def __init__(self, code: str, detail: str, retry_after_s: int = RETRY_AFTER_S) -> None:
        super().__init__(code, detail)
        self.retry_after_s = retry_after_s


class KindNotTaken(IntakeError, Refused):
    """For example an anchor statement sent to the partners' door."""


class NotAllowed(IntakeError, Refused):
    """Authority, not authenticity, is missing."""
