"""docs/formats/database.md shows what a database holds; here it is made and looked into."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError
from tt_store import GENESIS, LedgerFolder, pending

from ledger import highwater
from ledger.highwater import HighWater
from ledger.store import schema
from tallystick import config as configuration

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats" / "database.md"


@pytest.fixture
def folder(tmp_path):
    folder = LedgerFolder(tmp_path)
    fill(folder)
    yield folder
    folder.close()


def fill(folder: LedgerFolder) -> None:
    log = folder.log()
    log.create(GENESIS)
    folder.clock.advance(0.123456)
    items = [
        *pending("a", names=[(0, 4611686018427387904), (0, -7)]),
        *pending("k", kind="key"),
        *pending("b", names=[(0, -7)]),
    ]
    log.append(items, expected=log.head)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    found = []
    for block in blocks("console"):
        if "psql" in block:
            continue
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            match = re.fullmatch(r'sqlite3 (?:-readonly )?ledger\.db "(.*)"', command)
            assert match, command
            found.append((match[1], output.strip()))
    return found


def shown(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def test_every_query_of_the_page_answers_as_the_page_says(folder):
    queries = [(sql, output) for sql, output in commands() if sql.startswith("SELECT")]
    assert len(queries) == 6
    with folder.opened[0].engine.connect() as connection:
        for sql, output in queries:
            rows = connection.exec_driver_sql(sql).all()
            assert "\n".join("|".join(map(shown, row)) for row in rows).strip() == output


def test_the_entries_of_the_page_are_what_the_rows_hold(folder):
    (lines,) = blocks("jsonl")
    assert folder.opened[0].read_entries(0, 4) == lines.encode().splitlines()
    assert folder.opened[0].read_statement(0) == GENESIS


def test_every_change_of_the_page_is_refused_as_the_page_says(folder):
    changes = [(sql, output) for sql, output in commands() if not sql.startswith("SELECT")]
    assert len(changes) == 4
    for sql, output in changes:
        with pytest.raises(DBAPIError) as refused, folder.opened[0].engine.begin() as connection:
            connection.exec_driver_sql(sql)
        assert str(refused.value.orig) == output


def test_the_page_names_every_table_and_no_other():
    rows = re.findall(r"^\| `(\w+)` \| .* \| .* \|$", PAGE.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(schema.metadata.tables)


def test_the_mark_of_the_page_is_the_mark_of_this_ledger(folder, tmp_path):
    (slot,) = blocks("text")
    written = tmp_path / "from the page"
    written.write_bytes(slot.strip().encode().ljust(highwater.SLOT_SIZE - 1) + b"\n")
    assert HighWater(written).read() == HighWater(folder.high_water).read()
    assert folder.high_water.read_bytes().startswith(slot.strip().encode() + b" ")


@pytest.mark.parametrize("change", [("4", "5"), ("epcis", "epcos"), (" ", "  ")])
def test_a_changed_mark_is_not_read(tmp_path, change):
    (slot,) = blocks("text")
    changed = slot.strip().replace(*change, 1).encode()
    written = tmp_path / "from the page"
    written.write_bytes(changed.ljust(highwater.SLOT_SIZE - 1) + b"\n")
    with pytest.raises(highwater.HighWaterDamaged):
        HighWater(written).read()


# --- PostgreSQL ----------------------------------------------------------------------------------


@pytest.fixture
def on_postgres(postgres, tmp_path):
    folder = LedgerFolder(tmp_path, postgres.new_database())
    fill(folder)
    yield folder
    folder.close()


def psql_commands() -> list[tuple[str, str]]:
    (block,) = [block for block in blocks("console") if "psql" in block]
    return [
        re.fullmatch(r'\$ psql ledger -Atc "(.*)"\n(.*)', part.strip(), re.DOTALL).groups()
        for part in re.split(r"^(?=\$ )", block, flags=re.MULTILINE)
        if part
    ]


def test_postgresql_answers_and_refuses_as_the_page_says(on_postgres):
    assert len(psql_commands()) == 5
    for sql, output in psql_commands():
        with on_postgres.opened[0].engine.connect() as connection:
            if sql.startswith("SELECT"):
                rows = connection.exec_driver_sql(sql).all()
                assert "\n".join("|".join(map(shown, row)) for row in rows) == output
                continue
            with pytest.raises(DBAPIError) as refused:
                connection.exec_driver_sql(sql)
            assert str(refused.value.orig).splitlines()[0] == output


def test_the_configuration_of_the_page_is_one(tmp_path):
    (text,) = blocks("toml")
    config = configuration.parse(tomllib.loads(text), tmp_path)
    assert (config.database.host, config.replica.host) == ("db.example", "replica.example")
    assert config.database.query["sslmode"] == "verify-full"
