"""Step 7 of 9: how anchoring's own tables are reached, and how their times are written.

Every error of the database leaves here as RoundsFailed. Whether anything was written may then be
unknown; the next look at the tables tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from anchoring.errors import RoundsFailed

ERROR_LENGTH_MAX = 1_000  # characters of an error that are kept
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that only reads."""
    # DEFERRED is for the ledger's own SQLite engine, which otherwise takes the write lock at once.
    with _translated(), engine.connect().execution_options(begin="DEFERRED") as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction, committed at the end."""
    with _translated(), engine.begin() as connection:
        yield connection


def to_microseconds(moment: datetime) -> int:
    """Since 1970, as the tables hold it."""
    return (moment - _EPOCH) // _MICROSECOND


def to_datetime(microseconds: int) -> datetime:
    """Aware UTC, from what the tables hold."""
    return _EPOCH + microseconds * _MICROSECOND


def span(seconds: float) -> int:
    """A span of time in microseconds."""
    return round(seconds * 1_000_000)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        # The driver's own words: SQLAlchemy's would repeat the statement with its values.
        reason = getattr(error, "orig", None) or type(error).__name__
        detail = f"the anchoring tables could not be used: {reason}"[:ERROR_LENGTH_MAX]
        raise RoundsFailed("anchor.store", detail) from error
