"""Step 6 of 9: what an audit reads, and what it says. Below ledger.arbiter and ledger.audit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from keys.errors import Fault, Malformed, NotYet, Unverifiable

# Where a finding sends people: to the sender, to the alarm, to look for what is missing, to wait.
Cause = Literal["malformed", "refuted", "unverifiable", "notyet"]


class LedgerReader(Protocol):
    """Whatever an auditor reads a ledger from: a database, a URL, a folder, a test's lists."""

    def read_checkpoint(self) -> bytes:
        """Give the newest signed checkpoint. Raises NotInLog if there is none."""
        ...  # pragma: no cover

    def read_entries(self, start: int, end: int) -> Sequence[bytes]:
        """Give entries start <= seq < end; fewer only where the log ends; b"" for one that is gone."""
        ...  # pragma: no cover

    def read_statements(self, start: int, end: int) -> Sequence[bytes | None]:
        """Give statements start <= seq < end; None for one that is erased, withheld or gone."""
        ...  # pragma: no cover

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        """Give the first `width` hashes of a tile, width * 32 bytes. Raises NotInLog."""
        ...  # pragma: no cover


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, missing or not decidable, and where."""

    seq: int | None  # the entry at fault; None if it is a tile, a checkpoint or the whole
    code: str  # stable, dotted: "entry.altered"
    detail: str  # one sentence with what was seen and what was expected
    cause: Cause
    tile: str | None = None  # the tile at fault, as in its address: "0/x001/234"


Report = Callable[[Finding], None]


def cause_of(fault: Fault) -> Cause:
    """Say where a fault sends people."""
    if isinstance(fault, Malformed):
        return "malformed"
    if isinstance(fault, Unverifiable):
        return "unverifiable"
    return "notyet" if isinstance(fault, NotYet) else "refuted"


def finding_of(fault: Fault, seq: int | None = None) -> Finding:
    """Turn a fault into a finding."""
    return Finding(seq=seq, code=fault.code, detail=fault.detail, cause=cause_of(fault))
