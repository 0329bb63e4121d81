"""The partner's commands as a stranger runs them: what they print, and how they end."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import tt_keys
from click.testing import CliRunner, Result
from tt_ledger_server import LedgerServer

from client.errors import LineFault
from client.outbox import Outbox
from client.receipts import verify_receipt
from keys import envelope
from keys.errors import Malformed
from keys.files import read_private_key, write_private_key
from ledger import entry as entry_format
from tallystick.commands import partner_console
from tallystick.commands.partner import COMMANDS
from tallystick.commands.partner_send import refused_lines

PASSPHRASE = "correct horse"
ORIGIN = tt_keys.ORIGIN
GROUP = click.Group("tallystick", commands=COMMANDS)
OUTBOX = "tallystick-outbox.sqlite"


@pytest.fixture
def server() -> Iterator[LedgerServer]:
    server = LedgerServer().start()
    yield server
    server.stop()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A partner's working folder, with the passphrase in the environment and two events."""
    monkeypatch.chdir(tmp_path)
    # What stretching a passphrase costs is for the keys' own tests.
    monkeypatch.setattr("keys.files.SCRYPT_COST", 2)
    monkeypatch.setenv("TALLYSTICK_PASSPHRASE", PASSPHRASE)
    for name in ("URL", "KEY", "ORIGIN", "LOG_KEY", "OUTBOX"):
        monkeypatch.delenv(f"TALLYSTICK_{name}", raising=False)
    write_private_key("acme.key", tt_keys.ed25519_key("acme 1"), PASSPHRASE.encode())
    write_private_key("registrar.key", tt_keys.registrar_key(), PASSPHRASE.encode())
    events = tmp_path / "events"
    events.mkdir()
    for number in (2, 10):
        (events / f"{number}.json").write_bytes(b'{\n  "type": "ObjectEvent", "n": %d\n}\n' % number)
    return tmp_path


def _run(*arguments: str, code: int = 0, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(GROUP, list(arguments), input=stdin)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def _json(result: Result) -> Any:
    return json.loads(result.stdout)


def _told(server: LedgerServer) -> list[str]:
    return ["--url", server.url, "--log-key", server.vkey]


def _register(server: LedgerServer) -> None:
    server.ledger.register(tt_keys.ed25519_key("acme 1"), "acme")


def _events(server: LedgerServer) -> list[bytes]:
    pairs = zip(server.ledger.entries, server.ledger.statements, strict=True)
    return [envelope.parse(raw).payload for data, raw in pairs if entry_format.parse(data).kind == "event"]


# A whole first day -------------------------------------------------------------------------------


def test_from_no_key_to_checked_receipts(server: LedgerServer, desk: Path) -> None:
    made = _json(_run("keygen", "--out", "new.key", "--json"))
    _run("request", "--key", "new.key", "--party", "acme", "--log-key", server.vkey, "--out", "acme.request")
    registered = _run(
        "register", "acme.request", "--name", "Acme Pharma", "--key", "registrar.key", *_told(server)
    )
    assert f"key {made['kid']} of acme: registered, at position 1 of {ORIGIN}" in registered.stdout
    assert "receipt was checked" in registered.stdout

    sent = _run("send", "events", "--key", "new.key", *_told(server))
    assert "2 events kept in tallystick-outbox.sqlite" in sent.stdout
    assert f"2 events, each with a checked receipt: positions 2 to 3 of {ORIGIN}" in sent.stdout
    assert _events(server) == [(desk / "events" / name).read_bytes() for name in ("2.json", "10.json")]

    _run("outbox", "export", "proofs")
    for seq in (2, 3):
        statement = (desk / f"proofs/000000000{seq}.jws").read_bytes()
        receipt = (desk / f"proofs/000000000{seq}.tlog-proof").read_bytes()
        verifiers = [server.ledger.signer.verifier]
        checked = verify_receipt(receipt, statement=statement, origin=ORIGIN, verifiers=verifiers)
        assert checked.seq == seq


def test_the_outbox_remembers_what_it_was_told(server: LedgerServer, desk: Path) -> None:
    _register(server)
    _run("send", "events", "--key", "acme.key", *_told(server))
    (desk / "events/11.json").write_bytes(b'{"n":11}')
    result = _json(_run("send", "events", "--json"))
    assert result["queued"] == {"new": 1, "known": 2, "refused_before": 0}
    assert (result["ok"], result["receipted"], result["waiting"]) == (True, 1, 0)


# keygen, request ---------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["Ed25519", "ES256"])
def test_keygen_makes_a_private_encrypted_key(desk: Path, alg: str) -> None:
    made = _json(_run("keygen", "--out", "k", "--alg", alg, "--json"))
    key = read_private_key("k", PASSPHRASE.encode())
    assert (made["kid"], made["jwk"], made["alg"]) == (key.public.kid, dict(key.public.jwk), alg)
    assert stat.S_IMODE((desk / "k").stat().st_mode) == 0o600


def test_keygen_never_writes_over_a_key(desk: Path) -> None:
    before = (desk / "acme.key").read_bytes()
    result = _run("keygen", "--out", "acme.key", code=2)
    assert "exists already" in result.stderr
    assert (desk / "acme.key").read_bytes() == before


@pytest.mark.usefixtures("desk")
def test_a_wrong_passphrase_is_said_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYSTICK_PASSPHRASE", "wrong horse")
    result = _run("request", "--key", "acme.key", "--party", "acme", "--origin", ORIGIN, code=3)
    assert "[key.passphrase]" in result.stderr
    assert "wrong horse" not in result.output


# register, rotate, revoke ------------------------------------------------------------------------


def _request(server: LedgerServer, key: str, *more: str) -> str:
    _run(
        "request", "--key", key, "--party", "acme", "--log-key", server.vkey, "--out", f"{key}.request", *more
    )
    return f"{key}.request"


def _rotate_and_revoke_keys(server: LedgerServer) -> str:
    _register(server)
    return _json(_run("keygen", "--out", "next.key", "--json"))["kid"]


@pytest.mark.usefixtures("desk")
def test_registering_again_adds_nothing(server: LedgerServer) -> None:
    _register(server)
    arguments = [
        "register",
        _request(server, "acme.key"),
        "--name",
        "A",
        "--key",
        "registrar.key",
        *_told(server),
    ]
    assert "stands on ledger.example/epcis already, at position 1" in _run(*arguments).stdout
    assert _json(_run(*arguments, "--json"))["already"] is True
    assert len(server.ledger.entries) == 2


@pytest.mark.usefixtures("desk")
def test_a_registration_whose_answer_was_lost_is_found_again(server: LedgerServer) -> None:
    server.drops_after_commit = 1
    arguments = [
        "register",
        _request(server, "acme.key"),
        "--name",
        "A",
        "--key",
        "registrar.key",
        *_told(server),
    ]
    _run(*arguments)
    assert len(server.ledger.entries) == 2


@pytest.mark.usefixtures("desk")
def test_keys_are_rotated_and_revoked(server: LedgerServer) -> None:
    kid = _rotate_and_revoke_keys(server)
    request = _request(server, "next.key", "--rotate")
    rotated = _json(_run("rotate", request, "--key", "acme.key", "--json", "--receipt", "r", *_told(server)))
    assert (rotated["seq"], rotated["receipt_checked"]) == (2, True)
    statement, receipt = server.ledger.statements[2], Path("r").read_bytes()
    verifiers = [server.ledger.signer.verifier]
    assert verify_receipt(receipt, statement=statement, origin=ORIGIN, verifiers=verifiers).seq == 2
    revoked = _run(
        "revoke", kid, "--reason", "compromised", "--invalid-since", "2026-11-01", "--key", "registrar.key",
        *_told(server),
    )  # fmt: skip
    assert "revoked, at position 3" in revoked.stdout
    record = server.ledger.registry.keys[kid]
    assert (record.ended_cause, record.reason) == ("revoked", "compromised")
    assert record.invalid_since is not None
    assert record.invalid_since.isoformat() == "2026-11-01T00:00:00+00:00"


@pytest.mark.usefixtures("desk")
def test_requests_that_do_not_hold_are_not_signed_around(server: LedgerServer) -> None:
    request = _request(server, "acme.key")
    raw = Path(request).read_bytes()
    Path("altered").write_bytes(raw.replace(b".", b".A", 1))
    Path("garbage").write_bytes(b"please register me")
    shared = ["--name", "A", "--key", "registrar.key", "--url", server.url]
    for name in ("altered", "garbage"):
        assert "[request.file]" in _run("register", name, *shared, "--origin", ORIGIN, code=2).stderr
    assert "[request.origin]" in _run("register", request, *shared, "--origin", "other", code=2).stderr
    _request(server, "acme.key", "--rotate")
    assert "[request.purpose]" in _run("register", request, *shared, "--origin", ORIGIN, code=2).stderr
    assert len(server.ledger.entries) == 1


@pytest.mark.usefixtures("desk")
def test_a_registration_by_the_wrong_key_is_refused_in_one_line(server: LedgerServer) -> None:
    _run("keygen", "--out", "x.key")
    request = _request(server, "x.key")
    result = _run("register", request, "--name", "A", "--key", "acme.key", *_told(server), code=3)
    assert "is not registered" in result.stderr
    assert result.stderr.count("\n") <= 2 + 2  # what keygen and request had to say is not in it


# sign --------------------------------------------------------------------------------------------


def test_sign_puts_a_statement_beside_each_event_once(desk: Path) -> None:
    _run("sign", "events", "--key", "acme.key", "--origin", ORIGIN)
    first = (desk / "events/2.jws").read_bytes()
    statement = envelope.parse(first.removesuffix(b"\n"))
    envelope.verify(statement, tt_keys.ed25519_key("acme 1").public)
    assert statement.payload == (desk / "events/2.json").read_bytes()
    again = _run("sign", "events", "--key", "acme.key", "--origin", ORIGIN)
    assert "2 files had been signed before" in again.stderr
    assert (desk / "events/2.jws").read_bytes() == first
    (desk / "events/2.json").write_bytes(b"{}")
    _run("sign", "events", "--key", "acme.key", "--origin", ORIGIN, code=2)
    assert (desk / "events/2.jws").read_bytes() == first


@pytest.mark.usefixtures("desk")
def test_sign_to_send_by_pipe(server: LedgerServer) -> None:
    _register(server)
    lines = b'{"n":1}\n\n{"n":2}\r\n{"n":3}'
    signed = _run("sign", "-", "--key", "acme.key", "--origin", ORIGIN, stdin=lines).stdout_bytes
    _run("send", "-", *_told(server), stdin=signed)
    assert _events(server) == [b'{"n":1}', b'{"n":2}', b'{"n":3}']


# send --------------------------------------------------------------------------------------------


def test_a_ledger_that_is_down_leaves_everything_safe(server: LedgerServer, desk: Path) -> None:
    _register(server)
    server.stop()
    result = _run("send", "events", "--key", "acme.key", "--patience", "0", *_told(server), code=3)
    assert "2 events, safe in" in result.stdout
    assert result.stderr.count("\n") == 1
    assert "run the same command again later" in result.stderr
    server.start()
    _run("send")
    assert len(_events(server)) == 2


def test_a_url_that_never_worked_does_not_replace_one_that_did(server: LedgerServer, desk: Path) -> None:
    _register(server)
    _run("send", "events/2.json", "--key", "acme.key", *_told(server))
    _run("send", "events", "--url", "http://127.0.0.1:9", "--patience", "0", code=3)
    _run("send")
    assert len(_events(server)) == 2


def test_several_faults_of_one_event_stand_on_lines_of_their_own() -> None:
    faults = [LineFault(0, f"epcis.{n}", "is wrong", fix="Right it.") for n in range(12)]
    shown = list(refused_lines("7.json", faults))
    assert shown[0] == "7.json: 12 faults"
    assert shown[1].strip() == "epcis.0: is wrong (Right it.)"
    assert shown[-1].strip() == "and 2 more (--json shows all)"
    assert list(refused_lines("7.json", faults[:1])) == ["7.json: epcis.0: is wrong (Right it.)"]


def test_refused_events_are_named_with_their_fault(server: LedgerServer, desk: Path) -> None:
    _register(server)
    server.refuse = lambda s: (
        Malformed("gs1.check-digit", "is 4", "/epcList/0") if b"10" in s.payload else None
    )
    arguments = ["send", "events", "--key", "acme.key", *_told(server)]
    result = _run(*arguments, code=3)
    assert "refused  events/10.json: gs1.check-digit at /epcList/0: is 4" in result.stdout
    assert "1 event, each with a checked receipt: position 2" in result.stdout
    again = _run(*arguments, code=3)
    assert "1 of these events was refused before" in again.stdout
    listed = _run("outbox", "list", "--state", "refused", "--json").stdout.splitlines()
    assert [json.loads(line)["faults"][0]["pointer"] for line in listed] == ["/epcList/0"]
    server.refuse = lambda _statement: None
    assert "1 statement waiting again" in _run("outbox", "retry").stdout
    assert _json(_run("send", "--json"))["receipted"] == 1


@pytest.mark.usefixtures("desk")
def test_an_unregistered_key_says_what_to_do(server: LedgerServer) -> None:
    result = _run("send", "events", "--key", "acme.key", *_told(server), code=3)
    assert "tallystick register" in result.stderr
    assert "[key.unknown]" in result.stderr


@pytest.mark.usefixtures("desk")
def test_a_false_receipt_ends_with_1_and_a_stopped_outbox(server: LedgerServer) -> None:
    _register(server)
    server.twist_receipt = lambda _receipt: server.ledger.receipt(0)
    result = _run("send", "events", "--key", "acme.key", *_told(server), code=1)
    assert "does not verify" in result.stderr
    assert "STOPPED" in _run("outbox", "status", code=3).stdout
    _run("send", code=3)
    assert "receipt.statement" in _run("outbox", "export", "evidence").stdout
    assert Path("evidence/alarm-1-first.txt").read_bytes() == server.ledger.receipt(0)
    server.twist_receipt = lambda receipt: receipt
    _run("outbox", "resume")
    _run("send")
    assert len(_events(server)) == 2


@pytest.mark.usefixtures("desk")
def test_a_rollback_ends_with_5(server: LedgerServer) -> None:
    _register(server)
    _run("send", "events", "--key", "acme.key", *_told(server))
    server.ledger.rewind(2)
    Path("more.jsonl").write_bytes(b'{"n":1}\n')
    result = _run("send", "more.jsonl", code=5)
    assert "showed 4 entries before and shows 3 now" in result.stderr
    _run("outbox", "status", code=5)
    assert _json(_run("send", "--json", code=5))["error"]["code"] == "outbox.stopped"


def test_one_bad_file_is_said_before_anything_is_signed(server: LedgerServer, desk: Path) -> None:
    bad = {
        "dup.json": b'{"a":1,"a":2}',
        "list.json": b"[]",
        "bom.json": b"\xef\xbb\xbf{}",
        "nan.json": b'{"a":NaN}',
        "doc.json": b'{"type":"EPCISDocument"}',
        "empty.json": b"",
        "other.jws": envelope.sign(tt_keys.ed25519_key("x"), typ="a+jws", aud="elsewhere", payload=b"{}"),
        "long.jsonl": b"{" + b" " * 1_600_000 + b"}",
    }
    for name, content in bad.items():
        (desk / name).write_bytes(content)
        result = _run("send", "events", name, "--key", "acme.key", *_told(server), code=2)
        assert name in result.stderr
        assert result.stderr.count("\n") == 1
    with Outbox.open(desk / OUTBOX) as outbox:
        kept = [row.source for row in outbox.read_rows()]
    # Only what was signed elsewhere is looked into as it is queued; the two events before it stay.
    assert kept in ([], ["events/2.json", "events/10.json"])
    assert server.requests == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["send", "events"], "--log-key"),
        (["send", "events", "--origin", ORIGIN], "--url"),
        (["send", "events", "--origin", ORIGIN, "--url", "http://x"], "verifier key"),
        (["send", "events", "--origin", ORIGIN, "--queue-only"], "--key"),
        (["send", "--log-key", "rubbish", "--url", "http://x", "events"], "no verifier key"),
        (["send", "nowhere", "--origin", ORIGIN, "--queue-only"], "does not exist"),
        (["send", "acme.key", "--origin", ORIGIN, "--queue-only"], "neither .json"),
        (["send", "empty", "--origin", ORIGIN, "--queue-only"], "holds no .json"),
        (["send"], "there is no outbox"),
        (["outbox", "status"], "there is no outbox"),
        (["outbox", "list", "--outbox", "acme.key"], "not a usable outbox"),
    ],
)
def test_a_call_that_cannot_work_says_why_in_one_line(desk: Path, arguments: list[str], said: str) -> None:
    (desk / "empty").mkdir()
    result = _run(*arguments, code=2)
    assert said in result.stderr
    assert result.stderr.startswith("tallystick: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.usefixtures("desk")
def test_json_errors_are_objects() -> None:
    error = _json(_run("send", "--json", code=2))["error"]
    assert error["code"] == "outbox.missing"
    assert error["advice"]


@pytest.mark.usefixtures("desk")
def test_queue_only_sends_nothing(server: LedgerServer) -> None:
    _register(server)
    result = _run("send", "events", "--key", "acme.key", "--queue-only", *_told(server))
    assert server.requests == []
    assert "2 events kept" in result.stdout
    assert "waiting   2" in _run("outbox", "status").stdout
    _run("send")
    assert "receipts  2" in _run("outbox", "status").stdout


@pytest.mark.usefixtures("desk")
def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tallystick.commands.partner_keys.load_key", interrupt)
    result = _run("request", "--key", "acme.key", "--party", "a", "--origin", ORIGIN, code=130)
    assert "run the same command again" in result.stderr


def test_every_command_explains_itself() -> None:
    for command in COMMANDS:
        assert command.help
        assert "--help" in _run(command.name or "", "--help").stdout
        assert isinstance(partner_console.find_advice("no.such.code"), str)
