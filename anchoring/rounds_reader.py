"""Step 7 of 9: what is known about rounds. Any process may ask; anchoring.rounds does the work.

Which anchor covers an entry, whether anchoring is late and why: read from anchoring's tables, over a
connection that needs no right to write.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, select

from anchoring import batch, record
from anchoring.database import reading, span, to_datetime, to_microseconds
from anchoring.schema import anchor_lease, anchor_leaves, anchor_rounds, anchor_tokens

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Policy:
    """When a round is due, and how patiently it is tried."""

    interval_s: float = 3_600.0  # between rounds while something new is published
    idle_interval_s: float = 86_400.0  # between rounds while nothing is: a daily sign of life
    every_entries: int | None = None  # sooner than the interval, once so many new entries are published
    tokens_min: int = 1  # authorities that must have answered before the round goes on
    backoff_s: float = 10.0  # after the first failure, doubled with each further one
    backoff_max_s: float = 3_600.0
    # Longer than any step outside may take: an authority's timeout, or an append to a busy ledger.
    lease_s: float = 120.0
    # How far an authority's clock may be from ours. One that is further off would, to an auditor, prove
    # that our entries lie about their time (verifier.anchors allows a minute).
    clock_tolerance_s: float = 30.0


@dataclass(frozen=True, slots=True)
class AuthorityStatus:
    """How one authority did in the newest round."""

    name: str
    stamped_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """For /readyz, metrics and people."""

    anchored_size: int | None  # tree size of the newest finished round
    anchored_at: datetime | None  # when an authority saw that checkpoint: the token's genTime
    anchor_seq: int | None  # its anchor entry
    pending: bool  # a round is under way
    pending_size: int | None
    pending_since: datetime | None
    attempts: int  # failed ones of the round under way
    next_attempt_at: datetime | None
    late: bool  # a round failed at least once and is not finished, or none was finished when one was due
    last_error: str | None
    authorities: tuple[AuthorityStatus, ...]


# The one row that is under way, if any, and the newest that is not.
UNFINISHED = select(anchor_rounds).where(anchor_rounds.c.unfinished == 1)
NEWEST_FINISHED = (
    select(anchor_rounds)
    .where(anchor_rounds.c.unfinished.is_(None))
    .order_by(anchor_rounds.c.id.desc())
    .limit(1)
)


def tokens_of(round_id: int) -> Any:
    """The query for what each authority gave in this round."""
    return (
        select(anchor_tokens).where(anchor_tokens.c.round_id == round_id).order_by(anchor_tokens.c.authority)
    )


def leaves_of(round_id: int) -> Any:
    """The query for the batch's checkpoints, in order."""
    return (
        select(anchor_leaves.c.checkpoint)
        .where(anchor_leaves.c.round_id == round_id)
        .order_by(anchor_leaves.c.position)
    )


def read_record(connection: Connection, round_id: int, position: int) -> record.AnchorRecord:
    """The record for one position of a round's batch, with the tokens there are."""
    texts = connection.execute(leaves_of(round_id)).scalars().all()
    tokens = [row for row in connection.execute(tokens_of(round_id)) if row.token is not None]
    made = batch.build([text.encode() for text in texts])
    return record.AnchorRecord(
        checkpoint=texts[position],
        index=position,
        batch_size=len(texts),
        path=made.paths[position],
        root=made.root,
        # An authority that was renamed while the round was open could make them too many.
        timestamps=tuple(
            record.Timestamp(row.authority, bytes(row.token)) for row in tokens[: record.TIMESTAMPS_MAX]
        ),
    )


class RoundsReader:
    """What any process may ask; a connection that can only read is enough."""

    def __init__(self, engine: Engine, clock: Clock, policy: Policy | None = None) -> None:
        self._engine = engine
        self._clock = clock
        self.policy = policy or Policy()

    def find_anchor_covering(self, seq: int) -> int | None:
        """The anchor entry of the earliest finished round whose checkpoint holds entry seq."""
        query = (
            select(anchor_rounds.c.seq)
            .where(anchor_rounds.c.unfinished.is_(None), anchor_rounds.c.tree_size > seq)
            .order_by(anchor_rounds.c.tree_size, anchor_rounds.c.id)
            .limit(1)
        )
        with self._reading() as connection:
            found = connection.execute(query).scalar_one_or_none()
        return None if found is None else int(found)

    def read_record(self, round_id: int, position: int = 0) -> record.AnchorRecord:
        """The evidence of one round for the log at this position of its batch; 0 is our own ledger."""
        with self._reading() as connection:
            return read_record(connection, round_id, position)

    def status(self) -> Status:
        """How anchoring stands. Reads a few rows; asks nobody."""
        with self._reading() as connection:
            last = connection.execute(NEWEST_FINISHED).one_or_none()
            open_ = connection.execute(UNFINISHED).one_or_none()
            newest = open_ or last
            authorities = () if newest is None else connection.execute(tokens_of(newest.id)).all()
            stuck = connection.execute(select(anchor_lease.c.last_error)).scalar_one_or_none()
        error = (open_.last_error if open_ is not None else None) or stuck
        return Status(
            anchored_size=None if last is None else last.tree_size,
            anchored_at=None if last is None else to_datetime(last.stamped_at),
            anchor_seq=None if last is None else last.seq,
            pending=open_ is not None,
            pending_size=None if open_ is None else open_.tree_size,
            pending_since=None if open_ is None else to_datetime(open_.started_at),
            attempts=0 if open_ is None else open_.attempts,
            next_attempt_at=None if open_ is None else to_datetime(open_.next_attempt_at),
            late=error is not None or self._is_overdue(open_, last),
            last_error=error,
            authorities=tuple(
                AuthorityStatus(
                    row.authority,
                    None if row.stamped_at is None else to_datetime(row.stamped_at),
                    row.last_error,
                )
                for row in authorities
            ),
        )

    def _is_overdue(self, open_: Row[Any] | None, last: Row[Any] | None) -> bool:
        """Nobody failed, but nobody finished either: the process that should tick may be gone."""
        now, policy = self._now(), self.policy
        if open_ is not None:
            return bool(now - open_.started_at > span(policy.interval_s))
        if last is None:
            return False
        return bool(now - last.finished_at > span(policy.idle_interval_s + policy.interval_s))

    def _now(self) -> int:
        return to_microseconds(self._clock())

    def _reading(self) -> AbstractContextManager[Connection]:
        return reading(self._engine)
