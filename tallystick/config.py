"""What an operator decides about one ledger, read from `tallystick.toml` in the ledger's folder.

    origin = "ledger.example/demo"
    base_url = "http://127.0.0.1:8080"
    database = "ledger.db"                            # or "postgresql+psycopg://…", or "env:NAME"
    replica = "postgresql+psycopg://…"                # asked first by what only reads

    [keys]
    log = "file:keys/log.pem"
    operator = "file:keys/operator.pem"

    [subscriptions]
    allow_private = ["10.20.0.0/16"]                  # where else than to public addresses they may be sent

    [capture]
    events_max = 10000                                # in one job of POST /capture
    size_max = 16777216                               # bytes of one
    keep_s = 604800                                   # how long a finished one can be asked for

    [anchoring]
    interval_s = 600
    every_entries = 10000

    [[anchoring.authorities]]
    name = "freetsa"
    url = "https://tsa.example/tsr"
    roots = "trust/tsa/example.pem"

Paths are relative to the folder of the file. Unknown members are refused: a misspelt safety setting
must not become a default in silence. A database's URL may hold a password; no message repeats it.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from keys.errors import Malformed
from ledger.errors import DatabaseMalformed
from ledger.store.opening import Database, parse_database
from subscriptions.targets import TargetRules

DATABASE_VARIABLE = "TALLYSTICK_DATABASE"  # stands above the file's `database`
CONFIG_NAME = "tallystick.toml"


class ConfigError(Malformed):
    """The configuration cannot be used as it is; the message names the member."""


@dataclass(frozen=True, slots=True)
class Authority:
    """One RFC 3161 time-stamp authority, and the root certificates that it is held to."""

    name: str
    url: str
    roots: Path


@dataclass(frozen=True, slots=True)
class Anchoring:
    """interval_s: between rounds; every_entries: a round early, once so many entries are new."""

    interval_s: float = 600.0
    every_entries: int = 10_000
    timeout_s: float = 10.0
    authorities: tuple[Authority, ...] = ()


@dataclass(frozen=True, slots=True)
class Capture:
    """Limits of one capture job, and how long its outcome is kept."""

    events_max: int = 10_000
    size_max: int = 16 * 1024 * 1024
    keep_s: float = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Config:
    """One ledger's configuration; every path absolute."""

    folder: Path
    origin: str
    base_url: str
    database: Database
    replica: URL | None
    high_water: Path
    trust: Path
    log_key: str
    operator_key: str
    anchoring: Anchoring = field(default_factory=Anchoring)
    capture: Capture = field(default_factory=Capture)
    targets: TargetRules = field(default_factory=TargetRules)


def load(folder: Path) -> Config:
    """Read the configuration of the ledger in this folder. Raises ConfigError."""
    path = folder / CONFIG_NAME
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(
            "config.missing", f"{path} does not exist; `tallystick init` makes a ledger"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("config.toml", f"{path}: {error}") from error
    if DATABASE_VARIABLE in os.environ:
        document["database"] = os.environ[DATABASE_VARIABLE]
    return parse(document, folder.absolute())


def parse(document: dict[str, Any], folder: Path) -> Config:
    """Check and complete a configuration document."""
    known = {"origin", "base_url", "database", "replica", "high_water", "trust"}
    tables = {"keys", "anchoring", "capture", "subscriptions"}
    _refuse_unknown(document, known | tables, "")
    keys = _table(document, "keys", {"log", "operator"})
    subscriptions = _table(document, "subscriptions", {"allow_private"})
    anchoring = _table(document, "anchoring", {"interval_s", "every_entries", "timeout_s", "authorities"})
    default = Anchoring()
    capture = _table(document, "capture", {"events_max", "size_max", "keep_s"})
    database = _database(document, "database", folder)
    return Config(
        folder=folder,
        origin=_text(document, "origin"),
        base_url=_text(document, "base_url").rstrip("/"),
        database=database,
        replica=_replica(document, folder, database),
        high_water=folder / _text(document, "high_water", "high-water"),
        trust=folder / _text(document, "trust", "trust"),
        log_key=_key_uri(_text(keys, "log", "file:keys/log.pem"), folder),
        operator_key=_key_uri(_text(keys, "operator", "file:keys/operator.pem"), folder),
        anchoring=Anchoring(
            interval_s=_positive(anchoring, "interval_s", default.interval_s),
            every_entries=int(_positive(anchoring, "every_entries", default.every_entries)),
            timeout_s=_positive(anchoring, "timeout_s", default.timeout_s),
            authorities=tuple(
                Authority(_text(table, "name"), _text(table, "url"), folder / _text(table, "roots"))
                for table in _authority_tables(anchoring)
            ),
        ),
        capture=_capture(capture),
        targets=_targets(subscriptions),
    )


def _targets(table: dict[str, Any]) -> TargetRules:
    networks = table.get("allow_private", [])
    if not isinstance(networks, list) or not all(isinstance(one, str) for one in networks):
        raise ConfigError(
            "config.type", "allow_private must be an array of strings", "/subscriptions/allow_private"
        )
    try:
        return TargetRules.of(networks)
    except ValueError as error:
        raise ConfigError(
            "config.network", f"allow_private: {error}", "/subscriptions/allow_private"
        ) from error


def _capture(table: dict[str, Any]) -> Capture:
    default = Capture()
    size_max = int(_positive(table, "size_max", default.size_max, "capture"))
    if size_max > default.size_max:
        # No request brings more than that, so a larger announcement could not be kept.
        raise ConfigError(
            "config.type", f"size_max is {size_max}; at most {default.size_max}", "/capture/size_max"
        )
    return Capture(
        events_max=int(_positive(table, "events_max", default.events_max, "capture")),
        size_max=size_max,
        keep_s=_positive(table, "keep_s", default.keep_s, "capture"),
    )


def _database(document: dict[str, Any], name: str, folder: Path) -> Database:
    value = document.get(name, "ledger.db")
    if not isinstance(value, str) or not value:  # not repeated: it may hold a password
        raise ConfigError("config.type", f"{name} must be a non-empty string", f"/{name}")
    try:
        return parse_database(value, folder)
    except DatabaseMalformed as error:
        raise ConfigError("config.database", error.detail, f"/{name}") from None


def _replica(document: dict[str, Any], folder: Path, database: Database) -> URL | None:
    if "replica" not in document:
        return None
    replica = _database(document, "replica", folder)
    if not isinstance(replica, URL) or not isinstance(database, URL):
        raise ConfigError(
            "config.replica", "only a PostgreSQL database has a replica: give its URL", "/replica"
        )
    return replica


def _authority_tables(anchoring: dict[str, Any]) -> list[dict[str, Any]]:
    tables = anchoring.get("authorities", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(
            "config.type", "anchoring.authorities must be an array of tables", "/anchoring/authorities"
        )
    for table in tables:
        _refuse_unknown(table, {"name", "url", "roots"}, "/anchoring/authorities")
    return tables


def _table(document: dict[str, Any], name: str, known: set[str]) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError("config.type", f"{name} must be a table", f"/{name}")
    _refuse_unknown(table, known, f"/{name}")
    return table


def _refuse_unknown(table: dict[str, Any], known: set[str], pointer: str) -> None:
    for name in table:
        if name not in known:
            raise ConfigError(
                "config.unknown",
                f"{name} is not a setting; known here: {', '.join(sorted(known))}",
                f"{pointer}/{name}",
            )


def _text(table: dict[str, Any], name: str, default: str | None = None) -> str:
    value = table.get(name, default)
    if not isinstance(value, str) or not value:
        raise ConfigError("config.type", f"{name} must be a non-empty string, and is {value!r}", f"/{name}")
    return value


def _positive(table: dict[str, Any], name: str, default: float, where: str = "anchoring") -> float:
    value = table.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise ConfigError(
            "config.type", f"{name} must be a positive number, and is {value!r}", f"/{where}/{name}"
        )
    return value


def _key_uri(uri: str, folder: Path) -> str:
    """Make the path of a file: URI absolute; other schemes pass as they are."""
    scheme, _, rest = uri.partition(":")
    return f"file:{folder / rest}" if scheme == "file" else uri
