"""PostgreSQL itself: what it refuses, what each session asks of it, and what never leaves a message."""

from __future__ import annotations

import threading

import pytest
import tt_postgres
import tt_store
from sqlalchemy.exc import DBAPIError, IntegrityError
from tt_store import LedgerFolder, add, pending

from ledger.errors import StoreFailed
from ledger.store import postgres as store_module
from ledger.store.opening import open_reader, open_writer


@pytest.fixture
def folder(postgres, tmp_path):
    folder = LedgerFolder(tmp_path, postgres.new_database())
    yield folder
    folder.close()


@pytest.fixture
def filled(folder):
    log = folder.log()
    log.create(tt_store.GENESIS)
    add(log, *range(1, 300))
    return folder


# --- append-only ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = '' WHERE first_seq = 1",
        "UPDATE entries SET first_seq = 1000 WHERE first_seq = 257",
        "UPDATE entries SET count = 1",
        "DELETE FROM entries WHERE first_seq = 257",
        "DELETE FROM entries",
        "TRUNCATE entries",
        "INSERT INTO entries VALUES (1, 64, '') ON CONFLICT (first_seq) DO UPDATE SET body = ''",
        "INSERT INTO entries VALUES (5, 1, '')",
        "INSERT INTO entries VALUES (299, 1, '')",
        "INSERT INTO entries VALUES (301, 1, '')",
        "INSERT INTO entries VALUES (300, 1, ''), (302, 1, '')",
        "INSERT INTO entries VALUES (300, 2, ''), (301, 1, '')",
        "INSERT INTO entries VALUES (-1, 1, '')",
        "INSERT INTO entries VALUES (300, 0, '')",
        "INSERT INTO entries VALUES (300, 65, '')",
        "COPY entries FROM PROGRAM 'echo 400,1,'",
        "UPDATE statements SET body = '' WHERE first_seq = 1",
        "UPDATE statements SET body = body",
        "DELETE FROM statements WHERE first_seq = 1",
        "TRUNCATE statements",
        "INSERT INTO statements VALUES (1, 64, '') ON CONFLICT (first_seq) DO UPDATE SET body = ''",
        "INSERT INTO statements VALUES (5, 1, '')",
        "INSERT INTO statements VALUES (299, 2, '')",
        "INSERT INTO statements VALUES (300, 2, ''), (301, 1, '')",
        "INSERT INTO statements VALUES (300, 65, '')",
        "UPDATE unique_keys SET seq = 7",
        "DELETE FROM unique_keys",
        "TRUNCATE unique_keys",
        "UPDATE tiles SET hashes = ''",
        "DELETE FROM tiles",
        "INSERT INTO tiles VALUES (0, 0, '')",
        "UPDATE head SET tree_size = 299",
        "UPDATE head SET root_hash = ''",
        "UPDATE head SET id = 2",
        "DELETE FROM head",
        "TRUNCATE head",
        "INSERT INTO head SELECT * FROM head",
    ],
)
def test_the_database_refuses_to_change_what_was_promised(filled, statement):
    store = filled.opened[0]
    before = store.read_head()
    statement = statement.replace("'echo 400,1,'", "'echo 400,1,' (FORMAT CSV)")
    with pytest.raises(IntegrityError), store.engine.begin() as connection:
        connection.exec_driver_sql(statement)
    assert store.read_head() == before
    tt_store.assert_sound(store, size=300)


# --- sessions ------------------------------------------------------------------------------------


def setting(engine, name: str) -> str:
    with engine.connect() as connection:
        return connection.exec_driver_sql(f"SHOW {name}").scalar_one()


def test_commits_are_durable_whatever_the_server_says(filled):
    # The cluster of these tests has synchronous_commit = off in its configuration.
    with filled.opened[0].engine.connect() as connection:
        query = "SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'"
        assert connection.exec_driver_sql(query).scalar_one() == "off"
    assert setting(filled.opened[0].engine, "synchronous_commit") == "on"


def test_standbys_that_are_waited_for_more_are_waited_for_still(postgres, filled):
    with postgres.connect() as connection:
        connection.execute(
            f"ALTER DATABASE {filled.address.database} SET synchronous_commit = 'remote_apply'"
        )
    store = open_writer(filled.address)
    assert setting(store.engine, "synchronous_commit") == "remote_apply"
    store.close()


def test_no_session_waits_for_ever(filled):
    reader = filled.reader()
    for engine in (filled.opened[0].engine, reader.engine):
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            assert setting(engine, name) not in ("0", "0s", "")
    reader.close()


def test_a_reader_cannot_write(filled):
    reader = filled.reader()
    with pytest.raises(DBAPIError, match="read-only"), reader.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE head SET published = ''")
    reader.close()


def test_readers_see_whole_appends_only_and_are_not_held_up(filled):
    store, reader = filled.opened[0], filled.reader()
    log = filled.log(store)
    stop = threading.Event()
    faults: list[BaseException] = []

    def read() -> None:
        while not stop.is_set():
            try:
                head = reader.read_head()
                assert len(reader.read_entries(290, head.tree_size)) == head.tree_size - 290
                assert (head.tree_size - 300) % 5 == 0
                full, partial = divmod(head.tree_size, 256)
                assert len(reader.read_tile(0, full, partial)) == 32 * partial if partial else True
                assert len(reader.read_tile(1, 0, full)) == 32 * full
            except BaseException as e:
                faults.append(e)
                return

    thread = threading.Thread(target=read)
    thread.start()
    for i in range(60):
        add(log, *(f"{i}.{j}" for j in range(5)))
    stop.set()
    thread.join()
    assert faults == []
    reader.close()


def test_a_server_that_does_not_sync_is_refused_for_writing(filled, monkeypatch):
    real = store_module.require_server
    asked = []

    def not_syncing(connection, *, durable):
        asked.append(durable)
        connection.exec_driver_sql("SELECT 1")
        return real(NotSyncing(connection), durable=durable)

    monkeypatch.setattr(store_module, "require_server", not_syncing)
    with pytest.raises(StoreFailed) as fault:
        open_writer(filled.address)
    assert fault.value.code == "store.durability"
    assert asked == [True]


class NotSyncing:
    """A connection to a server with fsync=off."""

    def __init__(self, connection) -> None:
        self.connection = connection.connection

    def exec_driver_sql(self, sql):
        assert sql == "SHOW fsync"
        return self

    def scalar_one(self):
        return "off"


def test_a_server_that_is_too_old_is_refused(filled, monkeypatch):
    monkeypatch.setattr("ledger.store.postgres_connection.SERVER_VERSION_MIN", 990_000)
    with pytest.raises(StoreFailed) as fault:
        open_writer(filled.address)
    assert fault.value.code == "store.version"


# --- secrets -------------------------------------------------------------------------------------


def messages_of(fault: BaseException) -> str:
    said = ""
    seen: BaseException | None = fault
    while seen is not None:
        said += f"{seen!s} {seen!r} {seen.__notes__ if hasattr(seen, '__notes__') else ''}"
        seen = seen.__cause__ or seen.__context__
    return said


def test_no_failure_says_the_password(filled, caplog, tmp_path):
    address = filled.address
    wrong = address.set(password="another-secret")
    for target, secret in (
        (wrong, "another-secret"),
        (address.set(host="/nowhere", query={}), tt_postgres.PASSWORD),
        (address.set(query={"host": str(tmp_path)}), tt_postgres.PASSWORD),
        (address.set(database="elsewhere"), tt_postgres.PASSWORD),
    ):
        for use in (lambda: open_reader(target).read_head(), lambda: open_writer(target)):  # noqa: B023
            with pytest.raises(StoreFailed) as fault:
                use()
            assert secret not in messages_of(fault.value)
    store = open_writer(address)
    for shown in (str(store.engine), repr(store.engine.url), str(address), repr(address), f"{address}"):
        assert tt_postgres.PASSWORD not in shown
        assert "sword" not in shown
    store.close()
    assert tt_postgres.PASSWORD not in caplog.text


def test_a_driver_that_repeats_the_password_is_not_repeated(filled):
    target = filled.address.update_query_dict({"sslmode": tt_postgres.PASSWORD})
    with pytest.raises(StoreFailed, match="sslmode") as fault:
        open_reader(target).read_head()
    assert tt_postgres.PASSWORD not in str(fault.value)


@pytest.mark.parametrize("has_names", [True, False])
@pytest.mark.parametrize("count", [1, 64, 65, 400])
def test_few_and_many_are_written_alike(folder, count, has_names):
    """One row of each table in one statement, more of them by COPY: what is read back is the same."""
    log = folder.log()
    log.create(tt_store.GENESIS)
    items = [*pending(*range(count), names=[(0, -1), (3, 5)] if has_names else [])]
    placed = log.append(items, expected=log.head).placed
    assert list(log.store.read_statements(1, count + 1)) == [item.statement for item in items]
    assert list(log.store.read_entries(1, count + 1)) == [place.entry for place in placed]
    assert log.store.find_name(-1, limit=1000) == [(seq, 0) for seq in range(1, has_names * count + 1)]
    assert log.store.find_unique([item.unique_key for item in items]) == {
        item.unique_key: seq for seq, item in enumerate(items, 1)
    }
    tt_store.assert_sound(log.store, size=count + 1)
