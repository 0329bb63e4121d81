"""A log of events for tests of the projection, and one ready to be asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tt_epcis import PaperLedger
from tt_ledger import chain_entries

from ledger.store.protocol import Head
from projection.engine import Engine
from projection.projector import Projector
from projection.store import open_reader, open_writer
from traceability.history import Place

START = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)
KEY = b"page tokens' key of these tests "


class PaperLog(PaperLedger):
    """As much of a ledger as the projection follows. Entry i is recorded i seconds after START."""

    def __init__(self, events: Iterable[dict[str, Any]] = ()) -> None:
        super().__init__(events)
        self._chained: list[bytes] = []

    @property
    def chained(self) -> list[bytes]:
        if len(self._chained) != len(self.statements):
            self._chained = chain_entries((("event", raw or b"") for raw in self.statements), START)
        return self._chained

    def read_head(self) -> Head:
        size = len(self.statements)
        return Head(size, b"r" * 32, b"l" * 32, 0, START, b"", b"", None, size)

    def read_entries(self, start: int, end: int) -> list[bytes]:
        return self.chained[start:end]

    def read_statements(self, start: int, end: int) -> list[bytes | None]:
        self.statements_read += max(0, min(end, len(self.statements)) - start)
        return self.statements[start:end]

    def find_name(
        self, key: int, *, after: Place | None = None, limit: int, descending: bool = False
    ) -> list[Place]:
        return super().find_name(key, after=after, limit=limit)


def recorded(seq: int) -> datetime:
    """When entry `seq` of a PaperLog was recorded."""
    return START + timedelta(seconds=seq)


@dataclass
class Asked:
    """A log with its projection in a folder."""

    folder: Path
    log: PaperLog
    now: datetime = START
    closers: list[Any] = field(default_factory=list)

    @property
    def database(self) -> Path:
        return self.folder / "ledger.db"

    def projector(self, **options: Any) -> Projector:
        writer = open_writer(self.database)
        self.closers.append(writer)
        return Projector(self.log, writer, **options)

    def engine(self, **options: Any) -> Engine:
        reader = open_reader(self.database)
        self.closers.append(reader)
        return Engine(self.log, reader, KEY, clock=lambda: self.now, **options)

    def close(self) -> None:
        while self.closers:
            self.closers.pop().close()


def anyone(typ: str) -> bool:
    """May read everything."""
    return True
