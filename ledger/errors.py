"""LedgerError
├─ ProofMalformed    the proof cannot be read: blame the sender
├─ ProofRefuted      it reads well and is false: raise the alarm
├─ EntryMalformed    the entry's bytes are not an entry
├─ DatabaseMalformed the configured address of the database cannot be read
├─ NotInLog          no such position, tile or size in this log
├─ HeadMoved         someone appended first: read the head and retry
├─ ClockBehind       our clock runs behind the head: nothing is recorded until it is right
├─ ReadOnly          this writer must not append (a restored backup, a second writer): it says why
├─ StoreFailed       the database did not do it, for sure
│  ├─ KeyTaken       one of the statements stands in the ledger already: look which, and append the others
│  └─ RecordDamaged  what stands there already cannot be read: its operator must look, its sender may wait
└─ OutcomeUnknown    nobody can say yet whether the append happened: ask again, a duplicate is answered
"""

from __future__ import annotations

from keys.errors import Fault, Malformed, NotYet, Refused, Refuted, Unverifiable


class LedgerError(Fault):
    """Anything the ledger's room raises on purpose."""


class ProofMalformed(LedgerError, Malformed):
    """No tree has such a proof."""


class ProofRefuted(LedgerError, Refuted):
    """The proof leads elsewhere."""


class EntryMalformed(LedgerError, Malformed):
    """Not the canonical bytes of an entry."""


class DatabaseMalformed(LedgerError, Malformed):
    """Neither a path nor a URL of a database that is known."""


class NotInLog(LedgerError, Unverifiable):
    """The log holds no such thing (yet)."""


class HeadMoved(LedgerError, NotYet):
    """Compare-and-swap lost."""


class ClockBehind(LedgerError, NotYet):
    """recorded_at would decrease by more than the tolerance."""


class ReadOnly(LedgerError, Refused):
    """This process must not append."""


class StoreFailed(LedgerError, NotYet):
    """Nothing was written, and that is known."""


class KeyTaken(StoreFailed):
    """A unique key that was to be written is there already."""


class RecordDamaged(StoreFailed):
    """An entry that this append depends on is not what was written. No word against who sent it."""


class OutcomeUnknown(LedgerError, NotYet):
    """The database broke off in the middle, and cannot be asked either."""
