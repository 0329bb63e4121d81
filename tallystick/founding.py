"""`tallystick init`: found a ledger. Keys, genesis as entry 0, the operator's registration as entry 1.

The registrar's key and the log's key are two keys: the registrar decides who may speak and belongs
offline, the log's key signs checkpoints and must be at hand.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from intake.gate import LocalGate
from intake.sequencer import Sequencer
from intake.service import Intake, submit_own
from keys import algorithms, key_statements
from keys.errors import Refused
from keys.files import write_private_key
from keys.note import NoteSigner
from keys.registry import Registry
from ledger import entry as entry_format
from ledger.highwater import HighWater
from ledger.log import Log
from ledger.store.opening import Database, Writer, open_reader, open_writer, parse_database
from tallystick import migrations
from tallystick.config import CONFIG_NAME, Authority
from verifier.trust import write_trust

PRIVATE_FOLDER_MODE = 0o700
PRIVATE_FILE_MODE = 0o600
DEFAULT_DATABASE = "ledger.db"


@dataclass(frozen=True, slots=True)
class Founded:
    """What a founder wants to see, and what verifiers pin."""

    folder: Path
    origin: str
    genesis_leaf_hash: bytes  # 32 bytes
    log_vkey: str
    registrar_kid: str
    operator_kid: str


def found(
    folder: Path,
    *,
    origin: str,
    base_url: str,
    registrar_name: str,
    operator_name: str,
    passphrase: bytes,
    public_read: bool,
    interval_s: float,
    every_entries: int,
    authorities: tuple[Authority, ...] = (),
    database: str | None = None,
) -> Founded:
    """Make a ledger in an empty or new folder.

    database  where it is kept, if not in a file there: as `database` in tallystick.toml

    Raises Refused if there is one already: entry 0 is written once. DatabaseMalformed, StoreFailed.
    """
    if (folder / CONFIG_NAME).exists():
        raise Refused("init.exists", f"{folder} holds a ledger already")
    address = parse_database(database or DEFAULT_DATABASE, folder)
    for part in (folder, folder / "keys"):
        part.mkdir(mode=PRIVATE_FOLDER_MODE, parents=True, exist_ok=True)
    store = open_writer(address)
    try:
        migrations.upgrade(store.engine)
        if store.read_head() is not None:
            raise Refused("init.exists", f"the database {address} holds a ledger already")
        founded = _found(
            store,
            address,
            folder,
            origin=origin,
            registrar_name=registrar_name,
            operator_name=operator_name,
            passphrase=passphrase,
            public_read=public_read,
        )
    finally:
        store.close()
    text = render_config(origin, base_url, interval_s, every_entries, authorities, database)
    with open(folder / CONFIG_NAME, "x", encoding="utf-8", opener=_private) as file:
        file.write(text)
    return founded


def _found(
    store: Writer,
    address: Database,
    folder: Path,
    *,
    origin: str,
    registrar_name: str,
    operator_name: str,
    passphrase: bytes,
    public_read: bool,
) -> Founded:
    """Keys, the first two entries and the trust folder."""
    registrar, log_key, operator = (algorithms.generate("Ed25519") for _ in range(3))
    for name, key in (("registrar", registrar), ("log", log_key), ("operator", operator)):
        write_private_key(folder / "keys" / f"{name}.pem", key, passphrase)
    signer = NoteSigner.from_private_key(origin, log_key)
    genesis = key_statements.genesis_statement(
        registrar,
        origin=origin,
        registrar_party="registrar",
        registrar_name=registrar_name,
        log_keys=[signer.vkey],
        read="public" if public_read else "none",
        created_at=datetime.now(UTC),
    )
    log = Log(store, [signer], origin, lambda: datetime.now(UTC), HighWater(folder / "high-water"))
    log.open()
    leaf = entry_format.leaf_hash(log.create(genesis).placed[0].entry)
    reader = open_reader(address)
    intake = Intake(reader, LocalGate(Sequencer(log)), lambda: datetime.now(UTC))
    register_operator(intake, Registry.from_genesis(genesis), registrar, operator, operator_name)
    reader.close()
    write_trust(
        folder / "trust", origin=origin, genesis_leaf_hash=leaf, log_vkeys=[signer.vkey], tsa_roots={}
    )
    return Founded(folder, origin, leaf, signer.vkey, registrar.public.kid, operator.public.kid)


def register_operator(
    intake: Intake,
    state: Registry,
    registrar: algorithms.PrivateKey,
    operator: algorithms.PrivateKey,
    name: str,
) -> int:
    """Register the key that signs anchors; returns its entry's position."""
    possession = key_statements.possession_statement(
        operator, origin=state.origin, party="operator", purpose="register"
    )
    statement = key_statements.register_statement(
        registrar,
        origin=state.origin,
        party="operator",
        name=name,
        roles=["operator"],
        possession=possession,
        previous=None,
    )
    return submit_own(intake, statement, "key+jws")


def _private(path: str, flags: int) -> int:
    """Open a file that only its owner reads: the database's URL in it may hold a password."""
    return os.open(path, flags, PRIVATE_FILE_MODE)


def render_config(
    origin: str,
    base_url: str,
    interval_s: float,
    every_entries: int,
    authorities: tuple[Authority, ...],
    database: str | None = None,
) -> str:
    """The text of tallystick.toml. Strings here hold no quote and no backslash: the caller checked."""
    lines = [
        f'origin = "{origin}"',
        f'base_url = "{base_url}"',
        # A JSON string is a TOML string.
        *([f"database = {json.dumps(database)}"] if database is not None else []),
        "",
        "[keys]",
        'log = "file:keys/log.pem"',
        'operator = "file:keys/operator.pem"',
        "# keys/registrar.pem registers and revokes parties: once the ledger runs, keep it offline.",
        "",
        "[anchoring]",
        f"interval_s = {interval_s:g}",
        f"every_entries = {every_entries}",
    ]
    if not authorities:
        lines += [
            "",
            "# Time-stamp authorities (RFC 3161): without one, nobody outside bears witness to the order.",
            "# `roots` is the authority's root certificate in PEM, which you publish with trust/.",
            "# [[anchoring.authorities]]",
            '# name = "authority-of-your-choice"',
            '# url = "https://tsa.example/tsr"',
            '# roots = "trust/tsa/authority-of-your-choice.pem"',
        ]
    for authority in authorities:
        lines += [
            "",
            "[[anchoring.authorities]]",
            f'name = "{authority.name}"',
            f'url = "{authority.url}"',
            f'roots = "{authority.roots}"',
        ]
    return "\n".join(lines) + "\n"
