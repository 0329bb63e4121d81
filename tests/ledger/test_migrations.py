"""Migrated and made anew are one schema, on each database."""

from __future__ import annotations

import re
import threading

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import IntegrityError
from tt_store import GENESIS, ORIGIN, SIGNER, LedgerFolder, add, assert_sound

from anchoring import schema as anchoring_schema
from ledger.audit import audit
from ledger.errors import StoreFailed
from ledger.store import schema
from ledger.store.opening import open_writer
from tallystick import migrations

# Everything of a PostgreSQL schema that DDL can say, as the database itself would write it.
POSTGRES_SHAPE = """
SELECT 'column', c.relname || '.' || a.attname,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage, a.attidentity,
                 pg_get_expr(d.adbin, d.adrelid), a.attnum)
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND c.relname NOT LIKE 'alembic_%%'
UNION ALL
SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid <> 0
   AND conname <> 'alembic_version_pkc'
UNION ALL
SELECT 'index', indexname::text, indexdef
  FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'
UNION ALL
SELECT 'trigger', tgname::text, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'function', proname::text, pg_get_functiondef(oid)
  FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT 'relation', relname::text, concat_ws(' ', relkind, relpersistence, reloptions)
  FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'alembic_%%'
"""


@pytest.fixture(params=["sqlite", "postgres"])
def make_store(request, tmp_path):
    """Opens writers of new, empty databases."""
    opened = []

    def make():
        if request.param == "sqlite":
            database = tmp_path / f"{len(opened)}.db"
        else:
            database = request.getfixturevalue("postgres").new_database()
        opened.append(open_writer(database))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(make_store):
    return make_store()


def shape(engine) -> dict[tuple[str, str], str | None]:
    query = "SELECT type, name, sql FROM sqlite_master WHERE tbl_name <> 'alembic_version'"
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            query = POSTGRES_SHAPE
        rows = connection.exec_driver_sql(query).all()
    return {(kind, name): re.sub(r"\s+", " ", sql) if sql else None for kind, name, sql in rows}


def test_migrations_give_exactly_the_schema_that_the_code_asks_for(make_store):
    migrated, fresh = make_store(), make_store()
    migrations.upgrade(migrated.engine)
    with fresh.engine.begin() as connection:
        schema.create_all(connection)
        anchoring_schema.create_all(connection)
    assert shape(migrated.engine) == shape(fresh.engine)
    assert len(shape(migrated.engine)) > 20


def test_migrating_twice_changes_nothing(store):
    migrations.upgrade(store.engine)
    once = shape(store.engine)
    migrations.upgrade(store.engine)
    assert shape(store.engine) == once


def test_servers_that_start_at_once_migrate_once(postgres):
    url = postgres.new_database()
    stores = [open_writer(url) for _ in range(4)]
    faults: list[BaseException] = []

    def upgrade(store) -> None:
        try:
            migrations.upgrade(store.engine)
        except BaseException as e:
            faults.append(e)

    threads = [threading.Thread(target=upgrade, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert stores[0].read_head() is None
    for store in stores:
        store.close()


def test_an_interrupted_migration_leaves_nothing_behind(store):
    with store.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE tile_edges (in_the_way INTEGER)")
    before = shape(store.engine)
    with pytest.raises(StoreFailed) as fault:
        migrations.upgrade(store.engine)
    assert fault.value.code == "store.schema"
    assert shape(store.engine) == before


def test_a_database_of_a_newer_version_is_not_touched(store):
    migrations.upgrade(store.engine)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    before = shape(store.engine)
    with pytest.raises(StoreFailed, match="newer version"):
        migrations.upgrade(store.engine)
    assert shape(store.engine) == before


def test_the_ledger_is_not_migrated_away(store):
    migrations.upgrade(store.engine, "0001")
    config = Config()
    config.set_main_option("script_location", str(migrations.__path__[0]))
    config.set_main_option("path_separator", "os")
    with store.engine.begin() as connection:
        config.attributes["connection"] = connection
        with pytest.raises(RuntimeError, match="not taken back"):
            command.downgrade(config, "base")
    assert any(name.startswith("entries") for _, name in shape(store.engine))


# --- ledgers of the first versions ----------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path):
    """300 entries, written by many appends and few."""
    folder = LedgerFolder(tmp_path)
    log = folder.log()
    log.create(GENESIS)
    add(log, *range(1, 150), names=[(0, 7)])
    add(log, "key", kind="key")
    for label in range(151, 200):
        folder.clock.advance(1)
        add(log, label)
    add(log, *range(200, 300))
    yield folder
    folder.close()


def write_singly(store, entries, statements, source) -> None:
    """The ledger as the first version kept it: a row for each; None has no row."""
    marks = {"sqlite": "?", "postgresql": "%s"}
    with source.engine.connect() as connection:
        tables = {
            table: connection.exec_driver_sql(f"SELECT * FROM {table}").all()
            for table in ("head", "unique_keys", "tiles", "tile_edges")
        }
    tables["entries"] = [pair for pair in enumerate(entries) if pair[1] is not None]
    tables["statements"] = [pair for pair in enumerate(statements) if pair[1] is not None]
    with store.engine.begin() as connection:
        name = connection.dialect.name
        if name == "postgresql":
            connection.exec_driver_sql("ALTER TABLE entries DISABLE TRIGGER USER")
        else:
            (end,) = connection.exec_driver_sql(
                "SELECT sql FROM sqlite_master WHERE name = 'entries_at_the_end'"
            ).one()
            connection.exec_driver_sql("DROP TRIGGER entries_at_the_end")
        for table, rows in tables.items():
            values = ", ".join([marks[name]] * len(rows[0]))
            connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({values})", [tuple(row) for row in rows])
        if name == "postgresql":
            connection.exec_driver_sql("ALTER TABLE entries ENABLE TRIGGER USER")
        else:
            connection.exec_driver_sql(end)


def test_a_ledger_of_single_rows_is_the_same_ledger_afterwards_and_goes_on(make_store, ledger):
    source, store = ledger.opened[0], make_store()
    entries, statements = source.read_entries(0, 300), source.read_statements(0, 300)
    migrations.upgrade(store.engine, "0002")
    write_singly(store, entries, statements, source)
    migrations.upgrade(store.engine)
    assert store.read_entries(0, 300) == entries
    assert store.read_statements(0, 300) == statements
    assert [store.read_statement(seq) for seq in range(300)] == statements
    assert_sound(store, size=300)
    log = ledger.log(store)
    assert add(log, 7, "new", 199) == [7, 300, 199]
    assert_sound(store, size=301)
    assert audit(store, [SIGNER.verifier], ORIGIN).findings == ()
    with pytest.raises(IntegrityError), store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM entries")


def test_what_was_gone_or_altered_stays_so_at_its_place(make_store, ledger):
    source, store = ledger.opened[0], make_store()
    entries: list[bytes | None] = [*source.read_entries(0, 300)]
    statements = source.read_statements(0, 300)
    for seq in (0, 70, 71, 130, 299):
        entries[seq] = statements[seq] = None
    entries[64] = b""
    for seq in (100, 160, 161):
        entries[seq], statements[seq] = b"altered %d" % seq, b"" if seq == 160 else b"a.b.c"
    migrations.upgrade(store.engine, "0002")
    write_singly(store, entries, statements, source)
    migrations.upgrade(store.engine)
    assert store.read_entries(0, 300) == [entry or b"" for entry in entries]
    assert store.read_statements(0, 300) == statements
    assert [store.read_statement(seq) for seq in range(300)] == statements
