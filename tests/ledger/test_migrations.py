"""Migrated and made anew are one schema, on each database."""

from __future__ import annotations

import re
import threading

import pytest
from alembic import command
from alembic.config import Config

from anchoring import schema as anchoring_schema
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
