"""Step 7 of 9: who may work on a round. One at a time, however many processes and machines there are.

A lease is a row with a holder and an end. Whoever dies with it delays the others until that end; whoever
sleeps past it finds out at the next transaction, and has written nothing in between.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from anchoring.database import ERROR_LENGTH_MAX, reading, span, to_microseconds, writing
from anchoring.errors import RoundsFailed
from anchoring.schema import anchor_lease


class LeaseLost(Exception):
    """Another process took over."""


class Lease:
    """The right to work on rounds, as one object of one process holds it or not."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], lease_s: float) -> None:
        self._engine = engine
        self._clock = clock
        self._lease_s = lease_s
        self._id = secrets.token_hex(16)

    @property
    def _holder(self) -> str:
        # With the process: a fork would otherwise share the lease of its parent.
        return f"{self._id}-{os.getpid()}"

    def claim(self) -> bool:
        """Take the lease if it is free, expired or ours."""
        now, lease = self._now(), span(self._lease_s)
        free = or_(
            anchor_lease.c.holder.is_(None),
            anchor_lease.c.holder == self._holder,
            anchor_lease.c.expires_at <= now,
            # Further ahead than any lease: the clock was moved back, and the holder may be long gone.
            anchor_lease.c.expires_at > now + 2 * lease,
        )
        values = {"holder": self._holder, "expires_at": now + lease}
        with writing(self._engine) as connection:
            if connection.execute(update(anchor_lease).where(free).values(values)).rowcount == 1:
                return True
        return self._insert(values)

    def _insert(self, values: dict[str, Any]) -> bool:
        """The first claim ever makes the row; of two first ones, one is refused by the database."""
        with reading(self._engine) as connection:
            if connection.execute(select(anchor_lease.c.id)).first() is not None:
                return False
        try:
            with writing(self._engine) as connection:
                connection.execute(insert(anchor_lease).values(id=1, **values))
        except RoundsFailed as error:
            if isinstance(error.__cause__, IntegrityError):
                return False
            raise
        return True

    def release(self) -> None:
        """Give it back, if it is ours."""
        with writing(self._engine) as connection:
            mine = anchor_lease.c.holder == self._holder
            connection.execute(update(anchor_lease).where(mine).values(holder=None))

    def note(self, error: str | None) -> None:
        """Keep why no round can be started, where status() finds it; written on change, not every tick."""
        text = None if error is None else error[:ERROR_LENGTH_MAX]
        with reading(self._engine) as connection:
            row = connection.execute(select(anchor_lease.c.last_error)).one_or_none()
        if row is None:
            if text is not None:
                self._insert({"holder": None, "expires_at": 0, "last_error": text})
        elif row.last_error != text:
            with writing(self._engine) as connection:
                connection.execute(update(anchor_lease).values(last_error=text))

    @contextmanager
    def holding(self) -> Iterator[Connection]:
        """A transaction in which the lease is ours, and renewed; LeaseLost otherwise.

        A process that slept through its lease's end wakes up here, and must not write over what its
        successor did. The update also makes this a writing transaction from its first statement on.
        """
        with writing(self._engine) as connection:
            renewed = connection.execute(
                update(anchor_lease)
                .where(anchor_lease.c.holder == self._holder)
                .values(expires_at=self._now() + span(self._lease_s))
            )
            if renewed.rowcount != 1:
                raise LeaseLost
            yield connection

    def _now(self) -> int:
        return to_microseconds(self._clock())
