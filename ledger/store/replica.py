"""Step 6 of 9: a ledger and a copy of it that follows. Over ledger.store.postgres, or any two stores.

A replica is asked first, and believed only as far as it has come: for what it does not have yet, and for what
would be older than something that was shown already, the primary is asked. A replica that lags, or is gone,
costs time and never an answer. What the primary alone can answer is StoreFailed while it is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Lock
from typing import Any, TypeVar

from ledger.errors import NotInLog, StoreFailed
from ledger.store.protocol import Head, LedgerStore

T = TypeVar("T")

REST_S = 5.0  # how long a replica that failed is left alone


class ReplicaReader:
    """A LedgerStore that answers from the replica what the replica can answer.

    engine  the primary's, for neighbours that keep tables of their own there
    """

    def __init__(
        self,
        primary: LedgerStore,
        replica: LedgerStore,
        engine: Any,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = engine
        self._primary = primary
        self._replica = replica
        self._monotonic = monotonic
        self._rests_until: float | None = None
        self._is_known = False  # whether the replica was seen to hold this ledger
        self._guard = Lock()
        self._shown_size = 0
        self._shown_at: datetime | None = None

    def read_checkpoint(self) -> bytes:
        head = self.read_head()
        if head is None:
            raise NotInLog("store.empty", "the ledger has no genesis yet, so no checkpoint")
        return head.checkpoint

    def read_head(self) -> Head | None:
        head = self._ask(lambda store: store.read_head(), self._is_news)
        if head is not None:
            with self._guard:
                self._shown_size = max(self._shown_size, head.tree_size)
                if self._shown_at is None or (head.published_at or self._shown_at) > self._shown_at:
                    self._shown_at = head.published_at
        return head

    def read_entry(self, seq: int) -> bytes:
        return self._ask(lambda store: store.read_entry(seq))

    def read_statement(self, seq: int) -> bytes | None:
        return self._ask(lambda store: store.read_statement(seq))

    def read_entries(self, start: int, end: int) -> Sequence[bytes]:
        return self._ask(lambda store: store.read_entries(start, end), lambda held: len(held) >= end - start)

    def read_statements(self, start: int, end: int) -> Sequence[bytes | None]:
        return self._ask(
            lambda store: store.read_statements(start, end), lambda held: len(held) >= end - start
        )

    def read_records(self, seqs: Sequence[int]) -> list[tuple[bytes, bytes | None]]:
        return self._ask(lambda store: store.read_records(seqs))

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        return self._ask(lambda store: store.read_tile(level, index, width))

    def find_unique(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        # "Not taken" must be true now, not a moment ago.
        return self._primary.find_unique(keys)

    def find_name(
        self,
        key: int,
        *,
        after: tuple[int, int] | None = None,
        limit: int,
        descending: bool = False,
    ) -> list[tuple[int, int]]:
        return self._ask_if_level(
            lambda store: store.find_name(key, after=after, limit=limit, descending=descending)
        )

    def read_key_records(self, after_seq: int) -> list[tuple[int, bytes, bytes]]:
        return self._ask_if_level(lambda store: store.read_key_records(after_seq))

    def close(self) -> None:
        self._replica.close()
        self._primary.close()

    def _is_news(self, head: Head | None) -> bool:
        """Time runs one way: no head is shown that is older than one shown before."""
        if head is None or head.tree_size < self._shown_size:
            return False
        return self._shown_at is None or (
            head.published_at is not None and head.published_at >= self._shown_at
        )

    def _ask_if_level(self, do: Callable[[LedgerStore], T]) -> T:
        """For answers that do not show what they lack: only of a replica that has all we have shown."""

        def ask(store: LedgerStore) -> T:
            if store is self._replica and not self._is_news(store.read_head()):
                raise NotInLog("store.replica.behind", "the replica is behind what was shown")
            return do(store)

        return self._ask(ask)

    def _ask(self, do: Callable[[LedgerStore], T], is_enough: Callable[[T], bool] | None = None) -> T:
        if self._is_resting():
            return do(self._primary)
        try:
            self._require_same_ledger()
            found = do(self._replica)
        except NotInLog:
            return do(self._primary)
        except StoreFailed as failed:
            if failed.code == "store.replica.other":
                raise
            self._rests_until = self._monotonic() + REST_S
            return do(self._primary)
        return found if is_enough is None or is_enough(found) else do(self._primary)

    def _is_resting(self) -> bool:
        return self._rests_until is not None and self._monotonic() < self._rests_until

    def _require_same_ledger(self) -> None:
        """A copy of another ledger would answer everything, and wrongly."""
        if self._is_known:
            return
        ours = self._primary.read_entry(0)
        if self._replica.read_entry(0) != ours:
            raise StoreFailed("store.replica.other", "the replica holds another ledger than the database")
        self._is_known = True
