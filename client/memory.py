"""Step 1 of 9, the partner's memory of a log. After a receipt verified, before the outbox lets go.

A log's signature says nothing about what the same log told somebody else, or told us yesterday. So the
largest checkpoint ever seen is remembered, and each new one is held against it: another root for a
size already seen is two signed, contradicting histories; a smaller size is history taken back. Both
raise, with the two notes as evidence. A larger one is believed for now, and proved by a consistency
proof as soon as the ledger can be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from client import merkle
from client.errors import LogForked, LogRolledBack, ReceiptMalformed, ReceiptRefuted, ReceiptUnverifiable
from client.receipts import SeenCheckpoint

# A ledger that never proves its growth is not given credit for ever.
UNPROVED_MAX = 64


class CheckpointMemory:
    """The checkpoints of one log, in one outbox. Calls belong inside the outbox's transactions."""

    def __init__(self, connection: Any, origin: str) -> None:
        self._connection = connection
        self._origin = origin

    def _select(self, where: str) -> list[SeenCheckpoint]:
        rows = self._connection.execute(
            f"SELECT tree_size, root_hash, note FROM checkpoints WHERE {where}"  # noqa: S608 - ours, below
        )
        return [SeenCheckpoint(self._origin, size, bytes(root), bytes(text)) for size, root, text in rows]

    def find_largest(self) -> SeenCheckpoint | None:
        """The largest checkpoint ever accepted."""
        return next(iter(self._select("1 ORDER BY tree_size DESC LIMIT 1")), None)

    def find_step(self) -> tuple[SeenCheckpoint, SeenCheckpoint] | None:
        """The next growth that wants a proof: from the newest proved checkpoint to the one after it."""
        proved = next(iter(self._select("proved = 1 ORDER BY tree_size DESC LIMIT 1")), None)
        unproved = next(iter(self._select("proved = 0 ORDER BY tree_size LIMIT 1")), None)
        return (proved, unproved) if proved and unproved else None

    def observe(self, seen: SeenCheckpoint, at: datetime) -> None:
        """Remember a verified checkpoint, or raise what is wrong with it.

        Raises LogForked (same size, other root), LogRolledBack (smaller than one seen before) or
        ReceiptUnverifiable (too much growth without any proof). Nothing is remembered then.
        """
        largest = self.find_largest()
        if largest is None:
            # The first one is taken on the log key's word: there is nothing yet to hold it against.
            self._insert(seen, at, proved=True)
            return
        same = next((c for c in self._select("1") if c.tree_size == seen.tree_size), None)
        if same is not None and same.root_hash != seen.root_hash:
            raise LogForked(
                "log.fork",
                f"{self._origin} signed two different trees of {seen.tree_size} entries: "
                "its history exists in two versions",
                first=same.note,
                second=seen.note,
            )
        if seen.tree_size < largest.tree_size:
            raise LogRolledBack(
                "log.rollback",
                f"{self._origin} showed {largest.tree_size} entries before and shows {seen.tree_size} now",
                first=largest.note,
                second=seen.note,
            )
        if same is not None:
            return
        unproved = self._connection.execute("SELECT count(*) FROM checkpoints WHERE proved = 0").fetchone()[0]
        if unproved >= UNPROVED_MAX:
            raise ReceiptUnverifiable(
                "log.growth-unproved",
                f"{self._origin} grew {unproved} times and never proved that it only added entries",
            )
        self._insert(seen, at, proved=False)

    def prove_step(self, older: SeenCheckpoint, newer: SeenCheckpoint, path: Sequence[bytes]) -> None:
        """Accept the growth from older to newer, or raise LogForked: the path does not join them."""
        try:
            merkle.verify_consistency(
                older.tree_size, newer.tree_size, older.root_hash, newer.root_hash, path
            )
        except (ReceiptRefuted, ReceiptMalformed) as e:
            raise LogForked(
                "log.inconsistent",
                f"{self._origin} cannot show that its {newer.tree_size} entries begin with the "
                f"{older.tree_size} seen before: {e.detail}",
                first=older.note,
                second=newer.note,
            ) from e
        self._connection.execute("UPDATE checkpoints SET proved = 1 WHERE tree_size = ?", (newer.tree_size,))
        self._connection.execute("DELETE FROM checkpoints WHERE tree_size < ?", (newer.tree_size,))

    def _insert(self, seen: SeenCheckpoint, at: datetime, *, proved: bool) -> None:
        self._connection.execute(
            "INSERT INTO checkpoints (tree_size, root_hash, note, seen_at, proved) VALUES (?, ?, ?, ?, ?)",
            (seen.tree_size, seen.root_hash, seen.note, at.isoformat(), int(proved)),
        )
