"""A database is named by a path, a URL or a variable; what a URL holds is never repeated."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from sqlalchemy import URL

from keys.errors import Malformed
from ledger.errors import DatabaseMalformed
from ledger.store.opening import is_shared, parse_database

SECRET = "swordfish"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("ledger.db", "/folder/ledger.db"),
        ("/elsewhere/ledger.db", "/elsewhere/ledger.db"),
        ("sqlite:///ledger.db", "/folder/ledger.db"),
        ("sqlite:////elsewhere/ledger.db", "/elsewhere/ledger.db"),
    ],
)
def test_a_path_is_a_sqlite_file(text, path):
    database = parse_database(text, Path("/folder"))
    assert database == Path(path)
    assert not is_shared(database)


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "postgresql", "postgres"])
def test_a_url_is_a_postgresql_database(scheme):
    database = parse_database(f"{scheme}://me:sword%2Ffish@db.example:5433/ledger?sslmode=verify-full")
    assert isinstance(database, URL)
    assert is_shared(database)
    assert (database.drivername, database.password) == ("postgresql+psycopg", "sword/fish")
    assert (database.host, database.port, database.database) == ("db.example", 5433, "ledger")
    for shown in (str(database), repr(database), f"{database}"):
        assert "fish" not in shown
        assert "db.example" in shown
    assert pickle.loads(pickle.dumps(database)) == database


def test_a_variable_names_either(monkeypatch):
    monkeypatch.setenv("THE_LEDGER", "postgresql://db.example/ledger")
    assert parse_database("env:THE_LEDGER") == parse_database("postgresql://db.example/ledger")
    monkeypatch.setenv("THE_LEDGER", "x.db")
    assert parse_database("env:THE_LEDGER", Path("/folder")) == Path("/folder/x.db")
    monkeypatch.delenv("THE_LEDGER")
    with pytest.raises(DatabaseMalformed, match="THE_LEDGER"):
        parse_database("env:THE_LEDGER")


@pytest.mark.parametrize(
    "text",
    [
        f"mysql://me:{SECRET}@db.example/ledger",
        f"postgresql+asyncpg://me:{SECRET}@db.example/ledger",
        f"postgresql://me:{SECRET}@fish@db.example/ledger",  # an @ that is not escaped
        f"postgresql://me:fish@db.example:{SECRET}/ledger",
        f"postgresql://me:{SECRET}@db.example",
        f"postgresql://db.example/ledger?password={SECRET}",
        f"postgresql://db.example/ledger?sslpassword={SECRET}",
        f"postgresql://a.example {SECRET}/ledger",
        f"sqlite:///ledger.db?key={SECRET}",
        f"sqlite://{SECRET}/ledger.db",
        f"://{SECRET}",
        "sqlite://",
    ],
)
def test_what_cannot_be_used_is_refused_and_not_repeated(text):
    with pytest.raises(Malformed) as fault:
        parse_database(text)
    assert SECRET not in str(fault.value)
    assert "fish" not in repr(fault.value)
    assert fault.value.__cause__ is None
    assert fault.value.__suppress_context__ or fault.value.__context__ is None
