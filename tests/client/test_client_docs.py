"""What the partner's pages show is run."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import tt_keys
from click.testing import CliRunner
from tt_ledger_server import LedgerServer

from client import sqlite
from client.memory import UNPROVED_MAX
from client.outbox import WAITING_MAX, Draft, Outbox
from client.receipts import RECEIPT_SIZE_MAX, parse_log_keys, verify_receipt
from keys import envelope
from keys.files import write_private_key
from tallystick.commands.partner import COMMANDS
from tallystick.commands.partner_outbox import _row_members

DOCS = Path(__file__).resolve().parents[2] / "docs"


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def server() -> Iterator[LedgerServer]:
    server = LedgerServer().start()
    yield server
    server.stop()


def test_the_first_day_goes_as_the_page_shows(
    server: LedgerServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("keys.files.SCRYPT_COST", 2)
    monkeypatch.setenv("TALLYSTICK_PASSPHRASE", "a passphrase")
    write_private_key("registrar.key", tt_keys.registrar_key(), b"a passphrase")
    Path("events").mkdir()
    for number in (9, 10):
        Path(f"events/{number}.json").write_bytes(b'{"n":%d}' % number)

    group = click.Group("tallystick", commands=COMMANDS)
    session = "".join(_blocks("client.md", "console"))
    steps = re.split(r"^\$ tallystick ", session, flags=re.MULTILINE)[1:]
    assert len(steps) >= 8
    for step in steps:
        command, _, shown = step.partition("\n")
        command = command.replace("$LEDGER_KEY", server.vkey).replace("$LEDGER", server.url)
        result = CliRunner().invoke(group, shlex.split(command))
        assert result.exit_code == 0, result.output
        pattern = ".*".join(map(re.escape, shown.split("…")))
        assert re.fullmatch(pattern, result.output, re.DOTALL), result.output


def test_the_outbox_pages_line_is_true() -> None:
    (shown,) = _blocks("formats/outbox.md", "json")
    row = json.loads(shown)
    statement, receipt, _life = _blocks("formats/outbox.md", "text")
    raw = statement.strip().encode()
    parsed = envelope.parse(raw)
    assert (row["digest"], row["kid"], row["typ"]) == (
        hashlib.sha256(raw).hexdigest(),
        parsed.kid,
        parsed.typ,
    )
    (vkey,) = re.findall(r"ledger's key `([^`]+)`", (DOCS / "formats/outbox.md").read_text())
    checked = verify_receipt(
        receipt.encode(), statement=raw, origin=parsed.aud[0], verifiers=parse_log_keys([vkey])
    )
    assert checked.seq == row["seq"]


def test_the_outbox_pages_line_has_the_members_of_a_line(tmp_path: Path) -> None:
    (shown,) = _blocks("formats/outbox.md", "json")
    with Outbox.open(tmp_path / "o", origin=tt_keys.ORIGIN) as outbox:
        raw = envelope.sign(tt_keys.ed25519_key("a"), typ="a+jws", aud=tt_keys.ORIGIN, payload=b"{}")
        list(outbox.enqueue([Draft("a.jws", statement=raw)]))
        assert list(_row_members(outbox.read_rows()[0])) == list(json.loads(shown))


def test_the_outbox_pages_schema_is_the_files() -> None:
    (shown,) = _blocks("formats/outbox.md", "sql")
    assert shown == sqlite._SCHEMA.lstrip("\n")


def test_the_outbox_pages_bounds_are_those_of_the_code() -> None:
    text = (DOCS / "formats/outbox.md").read_text()
    assert f"{WAITING_MAX:,} waiting lines, 1 MiB a payload" in text
    assert f"{envelope.STATEMENT_SIZE_MAX:,} bytes a statement, 64 KiB a receipt" in text
    assert (RECEIPT_SIZE_MAX, UNPROVED_MAX, envelope.PAYLOAD_SIZE_MAX) == (65_536, 64, 1 << 20)
