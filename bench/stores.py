"""The two places a ledger is kept in, made new for a run and gone after it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from bench.server import Server

VARIABLE = "TALLYSTICK_BENCH_DATABASE"  # keeps a password out of command lines
SUPPORT = Path(__file__).parent.parent / "tests" / "support"


class Missing(Exception):
    """This store cannot be had here; the message says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """One new ledger's store.

    database    what `--database` takes
    postmaster  the process whose children serve it, for PostgreSQL
    """

    name: str
    database: str
    postmaster: int | None
    _url: str | None = None

    def size_bytes(self) -> int:
        """How large it is: of SQLite all its pages, also those that are in the WAL still."""
        if self._url is None:
            from ledger.store.sqlite import dbapi

            with contextlib.closing(dbapi.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
                (count,) = connection.execute("PRAGMA page_count").fetchone()
                (size,) = connection.execute("PRAGMA page_size").fetchone()
                # Pages that a merge has left are used again: they are no event's.
                (free,) = connection.execute("PRAGMA freelist_count").fetchone()
                return (int(count) - int(free)) * int(size)
        with psycopg.connect(self._url) as connection:
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            return int(row[0]) if row else 0


@contextmanager
def sqlite(folder: Path) -> Iterator[Place]:
    yield Place("sqlite", str(folder / "ledger" / "ledger.db"), None)


@contextmanager
def postgresql(folder: Path) -> Iterator[Place]:
    """A PostgreSQL of its own, as the tests start one: it syncs, and listens on a socket file only."""
    sys.path.insert(0, str(SUPPORT))
    import tt_postgres

    binaries = tt_postgres.find_binaries()
    if binaries is None:
        raise Missing("there is no PostgreSQL 15 or newer here (`make postgres` installs Debian's)")
    cluster: Any = tt_postgres.make_cluster(binaries)
    try:
        url = cluster.new_database()
        os.environ[VARIABLE] = url.render_as_string(hide_password=False)
        plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
        yield Place("postgresql", f"env:{VARIABLE}", cluster.process.pid, plain)
    finally:
        os.environ.pop(VARIABLE, None)
        cluster.stop()


STORES = {"sqlite": sqlite, "postgresql": postgresql}


def serve(place: Place, folder: Path, workers: int) -> Server:
    """The real server over it, not started yet."""
    database = None if place.name == "sqlite" else place.database
    return Server(folder / "ledger", workers=workers, database=database)
