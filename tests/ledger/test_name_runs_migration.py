"""An old ledger's names, a row each, become runs: nothing is lost, and merging goes on from there."""

from __future__ import annotations

import random

import pytest

from ledger.store.opening import open_writer
from tallystick import migrations

HOT = -(2**62) + 5
HEAD = (
    "INSERT INTO head (id, tree_size, root_hash, last_leaf_hash, keys_seq, checkpoint, published, events)"
    " VALUES (1, {size}, {zero}, {zero}, 0, {zero}, {zero}, {size})"
)


@pytest.fixture(params=["sqlite", "postgres"])
def store(request, tmp_path):
    is_sqlite = request.param == "sqlite"
    store = open_writer(
        tmp_path / "old.db" if is_sqlite else request.getfixturevalue("postgres").new_database()
    )
    yield store
    store.close()


def old_row(key: int, seq: int, ordinal: int, *, is_sqlite: bool) -> tuple[int, int, int, int]:
    if is_sqlite:
        return seq >> 13, key, seq, ordinal
    return seq >> 17 << 40 | (key >> 24 & (1 << 40) - 1), seq, ordinal, key & (1 << 24) - 1


def test_names_of_an_old_ledger_are_found_after_the_migration(store):
    migrations.upgrade(store.engine, "0002")
    is_sqlite = store.engine.dialect.name == "sqlite"
    chance = random.Random(7)
    size = 300_000
    places = {HOT: [(seq, ordinal) for seq in range(1, size, 97) for ordinal in (0, 3)]}
    for _ in range(300):
        key = chance.choice((1, -1)) * chance.getrandbits(63)
        places[key] = sorted({(chance.randrange(size), chance.choice((0, 0, 7))) for _ in range(3)})
    places.update({key: [(size - 1, 0)] for key in (-(2**63), 2**63 - 1, 0, -1)})
    rows = [old_row(key, *place, is_sqlite=is_sqlite) for key, members in places.items() for place in members]
    mark = "?" if is_sqlite else "%s"
    with store.engine.begin() as connection:
        zero = "x'00'" if is_sqlite else "'\\x00'::bytea"
        connection.exec_driver_sql(HEAD.format(size=size, zero=zero))
        connection.exec_driver_sql(f"INSERT INTO names VALUES ({mark}, {mark}, {mark}, {mark})", rows)
    migrations.upgrade(store.engine)
    for key, members in places.items():
        assert store.find_name(key, limit=10_000) == members
    assert (
        store.find_name(HOT, after=places[HOT][3000], limit=5, descending=True)
        == places[HOT][2995:3000][::-1]
    )
    assert store.find_name(HOT + 1, limit=10) == []


def test_an_old_ledger_without_names_is_migrated(store):
    migrations.upgrade(store.engine, "0002")
    migrations.upgrade(store.engine)
    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM name_runs").scalar() == 0
