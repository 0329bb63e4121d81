"""Step 6 of 9, seen from outside: reads that several blueprints share, with the rule for each.

What the head does not cover is not in the log. Payloads pass intake.authority.may_read, all of them, here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from api.errors import Erased, NothingHere, RecordDamaged, Withheld
from api.services import Services
from intake import authority, disclosure
from keys.errors import Malformed, NotYet, Refuted
from ledger.store.protocol import Head


class Empty(NotYet):
    """The ledger has no genesis yet."""


@contextmanager
def stored() -> Iterator[None]:
    """Around everything that reads what is stored: what is wrong there is not the caller's doing."""
    try:
        yield
    except RecordDamaged:
        raise
    except (Malformed, Refuted) as fault:
        raise RecordDamaged("record.damaged", f"the stored record does not hold: {fault.detail}") from fault


class Reading:
    """One server's view of its ledger."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.reader = services.reader

    def head(self) -> Head:
        """The newest committed state. Raises Empty before genesis."""
        head = self.reader.read_head()
        if head is None:
            raise Empty("ledger.empty", "this ledger has no genesis entry yet")
        return head

    def published_checkpoint(self) -> bytes:
        """The newest checkpoint that was shown to the world."""
        published = self.head().published
        if not published:
            raise Empty("ledger.unpublished", "no checkpoint of this ledger has been published yet")
        return published

    def require_in_log(self, seq: int) -> None:
        """Raise NothingHere unless the log holds this position."""
        tree_size = self.head().tree_size
        if seq >= tree_size:
            raise NothingHere(
                "log.position", f"the log has {tree_size} entries, 0 to {tree_size - 1}; there is no {seq}"
            )

    def entry(self, seq: int) -> bytes:
        """One entry's bytes."""
        self.require_in_log(seq)
        return self.reader.read_entry(seq)

    def entries(self, start: int, end: int) -> Sequence[bytes]:
        """Entries start <= seq < end, all of them within the log; b"" for one whose row is gone.

        A gap keeps its place, so that an auditor who reads on can name it.
        """
        found = self.reader.read_entries(start, end)
        if len(found) != end - start:
            raise RecordDamaged("record.damaged", f"entries {start} to {end - 1} cannot all be read here")
        return found

    def statement(self, seq: int, caller: str | None) -> bytes:
        """One statement as it was signed. Raises NothingHere, Erased or Withheld."""
        self.require_in_log(seq)
        raw = self.reader.read_statement(seq)
        if raw is None:
            raise Erased(
                "statement.erased",
                f"the content of entry {seq} is no longer kept; its digest is in the entry",
            )
        if not self.may_read_typ(disclosure.typ_of(raw), caller):
            raise Withheld(
                "statement.withheld", f"this ledger's policy does not open the content of entry {seq} to you"
            )
        return raw

    def shown(self, statements: Iterable[bytes | None], caller: str | None) -> Iterator[bytes | None]:
        """The same statements, None for each that is erased or that this caller may not see."""
        return disclosure.shown(self._policy(), statements, caller)

    def may_read_typ(self, typ: str, caller: str | None) -> bool:
        """Whether this caller may see payloads of this class at all."""
        return authority.may_read(self._policy(), caller, typ)

    def _policy(self) -> Mapping[str, Any]:
        return disclosure.policy_in_force(self._services.intake.registry, self.reader)
