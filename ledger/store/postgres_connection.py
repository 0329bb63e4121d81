"""Step 6 of 9: how PostgreSQL is reached, and what each session is told. Below ledger.store.postgres.

Every session asks for durable commits, bounds its waiting, and takes rows in binary. Whatever the driver says
leaves here without a password: an error may be shown to anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from ledger.errors import StoreFailed

T = TypeVar("T")

SERVER_VERSION_MIN = 150_000
CONNECT_TIMEOUT_S = 5
POOL_TIMEOUT_S = 30.0
STATEMENT_TIMEOUT_S = 60
LOCK_TIMEOUT_S = 10  # a head that is locked longer than this is not a busy moment but a fault
# A writer that froze in the middle of an append must not hold up those on other machines.
IDLE_IN_TRANSACTION_TIMEOUT_S = 10
APPLICATION_NAME = "tallystick"

_SESSION = """SELECT
    set_config('synchronous_commit',
        CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END,
        false),
    set_config('statement_timeout', %s, false),
    set_config('lock_timeout', %s, false),
    set_config('idle_in_transaction_session_timeout', %s, false),
    set_config('default_transaction_read_only', %s, false),
    set_config('jit', 'off', false)"""


class BinaryCursor(psycopg.Cursor[Any]):
    """Takes rows in binary: as text, each byte of a statement would travel as two."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.format = psycopg.pq.Format.BINARY


def make_engine(
    url: URL, *, connections: int, read_only: bool, connect_timeout_s: int = CONNECT_TIMEOUT_S
) -> Engine:
    """An engine whose sessions are set up as above. Nothing is connected yet.

    read_only  every statement is a transaction of its own, and none may write
    """
    defaults: dict[str, Any] = {
        "connect_timeout": connect_timeout_s,
        "application_name": APPLICATION_NAME,
        # A machine that is gone says nothing: asked every few seconds, it is known to be gone within 30.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 4,
    }
    engine = create_engine(
        url,
        connect_args={
            "client_encoding": "utf8",
            "cursor_factory": BinaryCursor,
            **{name: value for name, value in defaults.items() if name not in url.query},
        },
        pool_size=connections,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        hide_parameters=True,
        **({"isolation_level": "AUTOCOMMIT"} if read_only else {}),
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: psycopg.Connection[Any], _: Any) -> None:
        connection.autocommit = True
        milliseconds = [
            str(int(1000 * seconds))
            for seconds in (STATEMENT_TIMEOUT_S, LOCK_TIMEOUT_S, IDLE_IN_TRANSACTION_TIMEOUT_S)
        ]
        connection.execute(_SESSION, (*milliseconds, "on" if read_only else "off"))
        connection.autocommit = read_only

    return engine


def require_server(connection: Connection, *, durable: bool) -> None:
    """Raise StoreFailed for a server that is too old, or, where it is to be durable, does not sync."""
    version = raw(connection).info.server_version
    if version < SERVER_VERSION_MIN:
        raise StoreFailed("store.version", f"this is PostgreSQL {version // 10_000}; 15 or newer is needed")
    if durable and connection.exec_driver_sql("SHOW fsync").scalar_one() != "on":
        raise StoreFailed(
            "store.durability", "this PostgreSQL runs with fsync=off: what it acknowledges, a power cut takes"
        )


def raw(connection: Connection) -> psycopg.Connection[Any]:
    """The driver's own connection, for what Core has no words for: COPY and pipelines."""
    driver: psycopg.Connection[Any] | None = connection.connection.driver_connection
    if driver is None:  # never: it is checked out
        raise StoreFailed("store.connection", "there is no connection")
    return driver


def reading(engine: Engine, do: Callable[[Connection], T]) -> T:
    """Read, and once again on a fresh connection where the first one had died in the pool.

    Raises StoreFailed.
    """
    try:
        with engine.connect() as connection:
            return do(connection)
    except DBAPIError as e:
        if not e.connection_invalidated:
            raise failed("read", e, engine) from e
    except SQLAlchemyError as e:
        raise failed("read", e, engine) from e
    with translated("read", engine), engine.connect() as connection:
        return do(connection)


@contextmanager
def translated(action: str, engine: Engine) -> Iterator[None]:
    """Turn the database's errors into StoreFailed."""
    try:
        yield
    except (SQLAlchemyError, psycopg.Error) as e:
        raise failed(action, e, engine) from e


def failed(action: str, error: Exception, engine: Engine) -> StoreFailed:
    return StoreFailed(f"store.{action}", f"the database did not {action}: {reason(error, engine)}")


def reason(error: Exception, engine: Engine) -> str:
    """The driver's own words on one line, without the password, should they hold it."""
    origin = error.orig if isinstance(error, DBAPIError) else error
    text = " ".join(str(origin).split()) or type(origin).__name__
    if isinstance(error, IntegrityError) or isinstance(origin, psycopg.IntegrityError):
        text = f"it would break a rule of the tables ({text})"
    password = engine.url.password
    return text.replace(str(password), "***") if password else text
