"""ClientError
├─ InputMalformed       what was handed in is nothing that can be signed or sent: fix the file
├─ OutboxMalformed      the file is no outbox of ours, or of a newer version
├─ OutboxBusy           another process is sending from this outbox: let it finish
├─ OutboxFull           too much is waiting: send first
├─ OutboxStopped        the queue was stopped for a reason that a person must look at
├─ AnswerMalformed      the server's answer cannot be read: probably no ledger lives there
├─ RequestRefused       the server read the request and said no; it says where and why
├─ LedgerUnreachable    no answer, or "later": what waits is safe, try again
├─ ReceiptMalformed     the receipt cannot be read
├─ ReceiptRefuted       the receipt reads well and is false: raise the alarm
├─ ReceiptUnverifiable  nobody we know signed it
├─ LogForked            one log, two histories, both signed: raise the alarm
└─ LogRolledBack        the log shows less than it showed before: raise the alarm
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keys.errors import Fault, Malformed, NotYet, Refused, Refuted, Unverifiable


class ClientError(Fault):
    """Anything the partner's side raises on purpose."""


class InputMalformed(ClientError, Malformed):
    """Not a file that can be signed or sent."""


class OutboxMalformed(ClientError, Malformed):
    """Not an outbox, or not this ledger's."""


class OutboxBusy(ClientError, NotYet):
    """One sender at a time."""


class OutboxFull(ClientError, NotYet):
    """A named bound was reached."""


class OutboxStopped(ClientError, Refused):
    """Stopped loudly, and only a person lifts it.

    alarm_code  the code of what stopped it
    """

    def __init__(self, detail: str, alarm_code: str) -> None:
        super().__init__("outbox.stopped", detail)
        self.alarm_code = alarm_code


class AnswerMalformed(ClientError, Malformed):
    """The answer is not what a ledger says."""


@dataclass(frozen=True, slots=True)
class LineFault:
    """One fault of one statement, as the server named it."""

    line: int | None  # position in the request, from 0; None: the request as a whole
    code: str
    detail: str
    pointer: str = ""
    fix: str = ""  # how to put it right, where the server knows

    def __str__(self) -> str:
        where = f" at {self.pointer}" if self.pointer else ""
        fix = f" ({self.fix})" if self.fix else ""
        return f"{self.code}{where}: {self.detail}{fix}"


class RequestRefused(ClientError, Refused):
    """The server understood and declined.

    status  the HTTP status, for a person to read
    faults  one or more per faulty line; never empty
    """

    def __init__(self, status: int, faults: Sequence[LineFault]) -> None:
        first = faults[0]
        super().__init__(first.code, first.detail, first.pointer)
        self.status = status
        self.faults = tuple(faults)


class LedgerUnreachable(ClientError, NotYet):
    """Down, too slow, or busy.

    retry_after_s  how long the server asked us to wait, if it did
    """

    def __init__(self, code: str, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(code, detail)
        self.retry_after_s = retry_after_s


class ReceiptMalformed(ClientError, Malformed):
    """No receipt at all."""


class ReceiptRefuted(ClientError, Refuted):
    """A false receipt."""


class ReceiptUnverifiable(ClientError, Unverifiable):
    """Not signed by the log we pinned."""


class LogForked(ClientError, Refuted):
    """Two signed checkpoints that cannot both be true.

    first, second  the two signed notes, exactly as they were received: keep them, show them
    """

    def __init__(self, code: str, detail: str, *, first: bytes, second: bytes) -> None:
        super().__init__(code, detail)
        self.first = first
        self.second = second


class LogRolledBack(LogForked):
    """The later of two signed checkpoints is the smaller one."""
