"""The database's shape over time, by Alembic. Run by the writer before it opens the log.

Each file under versions/ is history and is not edited once it has been released: it repeats the
tables as they were on that day. A test proves that all of them together give exactly what
ledger.store.schema and anchoring.schema ask for now.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ledger.errors import StoreFailed

_LOCK = 0x7461_6C6C_7973  # any number that no other program takes


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the database's tables to the newest shape, in one transaction; cheap if they have it.

    Raises StoreFailed if it cannot be done: nothing has changed then.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                # Several servers may start at once: the second one finds it done.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except CommandError as e:
        raise StoreFailed(
            "store.schema", f"a newer version of this program has been at this database: {e}"
        ) from e
    except SQLAlchemyError as e:
        reason = e.orig if isinstance(e, DBAPIError) else type(e).__name__
        raise StoreFailed("store.schema", f"the tables could not be brought up to date: {reason}") from e
