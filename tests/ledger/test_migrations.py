"""Migrated and made anew are one schema."""

from __future__ import annotations

import re

import pytest
from alembic import command
from alembic.config import Config

from anchoring import schema as anchoring_schema
from ledger.errors import StoreFailed
from ledger.store import schema
from ledger.store.sqlite import open_writer
from tallystick import migrations


@pytest.fixture
def store(tmp_path):
    store = open_writer(tmp_path / "ledger.db")
    yield store
    store.close()


def shape(engine) -> dict[tuple[str, str], str | None]:
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT type, name, sql FROM sqlite_master WHERE tbl_name <> 'alembic_version'"
        ).all()
    return {(kind, name): re.sub(r"\s+", " ", sql) if sql else None for kind, name, sql in rows}


def test_migrations_give_exactly_the_schema_that_the_code_asks_for(store, tmp_path):
    migrations.upgrade(store.engine)
    fresh = open_writer(tmp_path / "fresh.db")
    with fresh.engine.begin() as connection:
        schema.create_all(connection)
        anchoring_schema.create_all(connection)
    assert shape(store.engine) == shape(fresh.engine)
    fresh.close()


def test_migrating_twice_changes_nothing(store):
    migrations.upgrade(store.engine)
    once = shape(store.engine)
    migrations.upgrade(store.engine)
    assert shape(store.engine) == once


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
    assert ("table", "entries") in shape(store.engine)
