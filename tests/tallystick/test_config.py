"""A setting that is misspelt, missing or of the wrong type is refused with its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.config import ConfigError, load, parse

GOOD = {"origin": "ledger.example/x", "base_url": "http://127.0.0.1:8080"}


def test_defaults_are_relative_to_the_folder() -> None:
    config = parse(GOOD, Path("/somewhere"))
    assert config.database == Path("/somewhere/ledger.db")
    assert config.log_key == "file:/somewhere/keys/log.pem"
    assert config.anchoring.authorities == ()


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"orgin": "x"}, "/orgin"),
        ({"origin": ""}, "/origin"),
        ({"origin": 7}, "/origin"),
        ({"keys": {"logs": "file:x"}}, "/keys/logs"),
        ({"keys": []}, "/keys"),
        ({"anchoring": {"interval_s": 0}}, "/anchoring/interval_s"),
        ({"anchoring": {"interval_s": True}}, "/anchoring/interval_s"),
        ({"subscriptions": {"allow_privates": []}}, "/subscriptions/allow_privates"),
        ({"subscriptions": {"allow_private": "10.0.0.0/8"}}, "/subscriptions/allow_private"),
        ({"subscriptions": {"allow_private": ["10.0.0.1/8"]}}, "/subscriptions/allow_private"),
        ({"subscriptions": {"allow_private": [10]}}, "/subscriptions/allow_private"),
        ({"anchoring": {"authorities": {}}}, "/anchoring/authorities"),
        ({"anchoring": {"authorities": [{"name": "a", "uri": "b"}]}}, "/anchoring/authorities/uri"),
    ],
)
def test_a_bad_setting_is_refused_by_name(change: dict[str, object], pointer: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse({**GOOD, **change}, Path("/somewhere"))
    assert caught.value.pointer == pointer


URL_OF_A_DATABASE = "postgresql+psycopg://me:swordfish@db.example/ledger"


def test_a_database_and_its_replica_may_be_urls() -> None:
    config = parse(
        {**GOOD, "database": URL_OF_A_DATABASE, "replica": URL_OF_A_DATABASE.replace("db.", "replica.")},
        Path("/somewhere"),
    )
    assert config.replica is not None
    assert config.replica.host == "replica.example"
    assert "swordfish" not in repr(config)


@pytest.mark.parametrize(
    "change",
    [
        {"database": ["postgresql://me:swordfish@db.example/ledger"]},
        {"database": "mysql://me:swordfish@db.example/ledger"},
        {"database": "postgresql://me:swordfish@here@db.example/ledger"},
        {"database": "postgresql://db.example/ledger?password=swordfish"},
        {"replica": URL_OF_A_DATABASE},
        {"database": URL_OF_A_DATABASE, "replica": "swordfish.db"},
    ],
)
def test_a_database_that_cannot_be_used_is_refused_and_not_repeated(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse({**GOOD, **change}, Path("/somewhere"))
    assert caught.value.pointer in ("/database", "/replica")
    assert "swordfish" not in str(caught.value)


def test_the_environment_stands_above_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tallystick.toml").write_text('origin = "x"\nbase_url = "http://x"\ndatabase = "a.db"\n')
    assert load(tmp_path).database == tmp_path / "a.db"
    monkeypatch.setenv("TALLYSTICK_DATABASE", "b.db")
    assert load(tmp_path).database == tmp_path / "b.db"


def test_keys_elsewhere_than_in_files_pass_as_they_are() -> None:
    assert parse({**GOOD, "keys": {"log": "env:LOG_KEY"}}, Path("/somewhere")).log_key == "env:LOG_KEY"


def test_a_folder_without_ledger_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tallystick init"):
        load(tmp_path)
