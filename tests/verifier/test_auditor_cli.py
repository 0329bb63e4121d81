"""Promises of `tallystick verify` and `tallystick audit`: words, JSON, exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import tt_rows
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import Encoding
from tt_epcis import object_event
from tt_evidence import OTHER_PACK, PACK, World, identity, make_world, store_in_sqlite
from tt_long_ledger import make_long_world

from ledger import checkpoint as checkpoints
from ledger import proof
from ledger.checkpoint import Checkpoint
from tallystick.commands import auditor
from verifier import bundle as bundles
from verifier import ledger_audit
from verifier.trust import write_trust

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Bench:
    """A folder with everything an auditor was given."""

    folder: Path
    world: World

    @property
    def trust(self) -> str:
        return str(self.folder / "trust")

    def file(self, name: str, data: bytes) -> str:
        path = self.folder / name
        path.write_bytes(data)
        return str(path)


def pin(world: World, folder: Path) -> None:
    genesis = world.trust().genesis
    assert genesis is not None
    write_trust(
        folder,
        origin=world.origin,
        genesis_leaf_hash=genesis.leaf_hash,
        log_vkeys=[world.verifiers[0].vkey],
        tsa_roots={"dev": identity("tsa").root_pem},
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("auditor")
    world = make_world()
    pin(world, folder / "trust")
    store_in_sqlite(world, folder / "ledger.db")
    (folder / "evidence.json").write_bytes(world.bundle())
    return Bench(folder, world)


@pytest.fixture
def bench(made: Bench, tmp_path: Path) -> Bench:
    return Bench(tmp_path, made.world)


def run(*arguments: str) -> Result:
    commands = {command.name or "": command for command in auditor.COMMANDS}
    return CliRunner().invoke(click.Group(commands=commands), list(arguments))


def test_the_commands_are_verify_and_audit() -> None:
    assert [command.name for command in auditor.COMMANDS] == ["verify", "audit"]


def test_valid_evidence_exits_0_and_says_what_was_and_was_not_checked(made: Bench) -> None:
    result = run("verify", "--trust", made.trust, str(made.folder / "evidence.json"))
    assert result.exit_code == 0, result.output
    assert "VALID  Everything that was checked holds." in result.output
    assert "What was not checked" in result.output
    assert "Signed by Acme (acme)" in result.output
    assert not any(line != line.rstrip() for line in result.output.splitlines())
    assert "Merkle" not in result.output


@pytest.mark.parametrize(("asked", "width"), [("60", 60), ("9", 40), ("wide", 100), ("", 100)])
def test_text_is_as_wide_as_columns_says_and_cuts_nothing_off(
    made: Bench, monkeypatch: pytest.MonkeyPatch, asked: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", asked)
    result = run("verify", "--trust", made.trust, str(made.folder / "evidence.json"))
    assert result.exit_code == 0
    said = result.output.partition("  about")[2]
    assert max(map(len, said.splitlines())) <= width
    assert "…" not in said
    assert "/01/09521141123454/21/100orwhatitwaspackedin." in "".join(said.split())


@pytest.mark.parametrize("url", ["nonsense", "ftp://ledger.example", "http://", "http://user@ledger.example"])
def test_what_is_no_address_is_wrong_usage(url: str) -> None:
    result = run("audit", "--url", url)
    assert result.exit_code == 2
    assert "is no http or https address" in result.output


def test_json_is_one_object(made: Bench) -> None:
    result = run("verify", "--json", "--trust", made.trust, str(made.folder / "evidence.json"))
    value = json.loads(result.output)
    assert (value["verdict"], value["exit_code"], result.exit_code) == ("VALID", 0, 0)
    assert value["reports"][0]["file"].endswith("evidence.json")
    result = run("audit", "--json", "--trust", made.trust, "--database", str(made.folder / "ledger.db"))
    value = json.loads(result.output)
    assert (value["verdict"], value["facts"]["signatures_checked"], value["faulty_entries"]) == (
        "VALID",
        17,
        [],
    )


def test_no_trust_exits_3(made: Bench) -> None:
    assert run("verify", str(made.folder / "evidence.json")).exit_code == 3
    assert run("audit", "--database", str(made.folder / "ledger.db")).exit_code == 3


def test_a_changed_byte_exits_1(made: Bench, bench: Bench) -> None:
    raw = bytearray((made.folder / "evidence.json").read_bytes())
    raw[5000] ^= 1
    result = run("verify", "--trust", made.trust, bench.file("e.json", bytes(raw)))
    assert result.exit_code == 1
    assert "INVALID" in result.output


def test_a_file_that_is_something_else_exits_1_and_not_with_a_traceback(made: Bench, bench: Bench) -> None:
    for data in (b"", b"\x89PNG\r\n\x1a\n", b"{}", b"c2sp.org/tlog-proof@v1\n"):
        result = run("verify", "--trust", made.trust, bench.file("x", data))
        assert (result.exit_code, isinstance(result.exception, SystemExit)) == (1, True)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_file_whose_name_is_not_text_is_read_and_named(
    made: Bench, bench: Bench, options: tuple[str, ...]
) -> None:
    for data in ((made.folder / "evidence.json").read_bytes(), made.world.statements[6] or b""):
        file = bench.file("\udcff\udc9b31m.json", data)
        result = run("verify", *options, "--trust", made.trust, file)
        assert result.exit_code in (0, 3), result.output
        assert "udcff" in result.output


def test_an_address_that_no_resolver_takes_is_not_a_traceback(made: Bench) -> None:
    for host in ("[::1", "a" * 300 + ".example", "ledger.example:port"):
        result = run("audit", "--trust", made.trust, "--url", f"http://{host}")
        assert result.exit_code in (2, 3)
        assert isinstance(result.exception, SystemExit)


def test_a_certificate_that_is_no_root_is_a_fault_of_the_trust_directory(made: Bench, bench: Bench) -> None:
    folder = bench.folder / "trust of a signer"
    shutil.copytree(made.trust, folder)
    pem = identity("tsa").certificate.public_bytes(Encoding.PEM)
    (folder / "tsa" / "dev.pem").write_bytes(pem)
    for arguments in (
        ("verify", str(made.folder / "evidence.json")),
        ("audit", "--database", str(made.folder / "ledger.db")),
    ):
        result = run(arguments[0], "--trust", str(folder), *arguments[1:])
        assert result.exit_code == 2
        assert "token.roots" in result.output or "trust.tsa" in result.output


def test_another_product_in_hand_exits_1(made: Bench) -> None:
    evidence_file = str(made.folder / "evidence.json")
    assert run("verify", "--trust", made.trust, "--epc", PACK, evidence_file).exit_code == 0
    assert run("verify", "--trust", made.trust, "--epc", OTHER_PACK, evidence_file).exit_code == 1


def test_a_fresh_event_exits_4(bench: Bench) -> None:
    world = make_world()
    pin(world, bench.folder / "trust")
    world.event("pharmacy", object_event(PACK, bizStep="inspecting"))
    store_in_sqlite(world, bench.folder / "fresh.db")
    database = str(bench.folder / "fresh.db")
    assert run("verify", "--trust", bench.trust, bench.file("e.json", world.bundle())).exit_code == 4
    assert run("audit", "--trust", bench.trust, "--database", database).exit_code == 4


def test_usage_errors_exit_2(made: Bench, bench: Bench) -> None:
    evidence_file, database = str(made.folder / "evidence.json"), str(made.folder / "ledger.db")
    (bench.folder / "empty").mkdir()
    for arguments in (
        ("verify",),
        ("verify", "missing.json"),
        ("verify", "--trust", str(bench.folder / "missing"), evidence_file),
        ("verify", "--epc", "urn:epc:id:sgtin:nonsense", evidence_file),
        ("verify", "--trust", str(bench.folder / "empty"), evidence_file),
        ("audit",),
        ("audit", "--database", database, "--url", "http://127.0.0.1:9"),
        ("audit", "--database", str(bench.folder / "missing.db")),
    ):
        assert run(*arguments).exit_code == 2, arguments


def test_a_receipt_finds_its_statement_among_the_files(made: Bench, bench: Bench) -> None:
    world = made.world
    receipt_file = bench.file("r.tlog-proof", proof.render(world.receipt(6)))
    statement_file = bench.file("r.jws", world.statements[6] or b"")
    result = run("verify", "--json", "--trust", made.trust, receipt_file, statement_file)
    (report,) = json.loads(result.output)["reports"]
    assert result.exit_code == 3
    assert {check["name"] for check in report["checks"] if check["outcome"] == "ok"} >= {
        "statement",
        "inclusion",
    }
    # A statement alone is nobody's receipt.
    other = bench.file("other.jws", world.statements[7] or b"")
    result = run("verify", "--json", "--trust", made.trust, receipt_file, other)
    assert [report["kind"] for report in json.loads(result.output)["reports"]] == ["receipt", "statement"]
    assert result.exit_code == 3


def test_the_worst_file_decides(made: Bench, bench: Bench) -> None:
    good = str(made.folder / "evidence.json")
    receipt_file = bench.file("r.tlog-proof", proof.render(made.world.receipt(6)))
    broken = bench.file("broken.json", b"{}")
    assert run("verify", "--trust", made.trust, good, receipt_file).exit_code == 3
    result = run("verify", "--trust", made.trust, good, receipt_file, broken)
    assert result.exit_code == 1
    assert "All 3 together: INVALID" in result.output


def test_two_files_of_two_histories_exit_5(made: Bench, bench: Bench) -> None:
    """Each file is in order; together they convict the ledger."""
    other = make_world()
    other.entries[15] = other.entries[15].replace(b"12:00:16.0", b"12:00:16.5")
    other.entries[16] = other.entries[16].replace(b"12:00:17.0", b"12:00:17.5")
    other.rebuild()
    first = bench.file("a.tlog-proof", proof.render(made.world.receipt(6)))
    second = bench.file("b.tlog-proof", proof.render(other.receipt(6)))
    result = run("verify", "--trust", made.trust, first, second)
    assert result.exit_code == 5
    assert "different histories" in result.output.replace("\n", " ").replace("  ", "")


def test_a_valid_ledger_exits_0(made: Bench) -> None:
    result = run("audit", "--trust", made.trust, "--database", str(made.folder / "ledger.db"))
    assert result.exit_code == 0, result.output
    assert "All signatures (17) are good" in result.output


def test_one_altered_byte_in_the_database_names_exactly_that_entry(made: Bench, bench: Bench) -> None:
    store_in_sqlite(made.world, bench.folder / "altered.db")
    statement = bytearray(made.world.statements[9] or b"")
    statement[400] ^= 1
    tt_rows.alter_statement(bench.folder / "altered.db", 9, bytes(statement))
    result = run("audit", "--trust", made.trust, "--database", str(bench.folder / "altered.db"))
    assert result.exit_code == 1
    assert "Faulty: entry 9." in result.output


def test_a_kept_checkpoint_that_contradicts_exits_5(made: Bench, bench: Bench) -> None:
    world = made.world
    database = str(made.folder / "ledger.db")
    honest = bench.file("kept", world.sign_at(12))
    forked = bench.file("forked", checkpoints.sign(Checkpoint(world.origin, 12, bytes(32)), *world.signers))
    common = ("audit", "--trust", made.trust, "--database", database, "--checkpoint")
    assert run(*common, honest).exit_code == 0
    assert run(*common, forked).exit_code == 5


def test_a_file_that_is_no_database_exits_3(made: Bench, bench: Bench) -> None:
    result = run("audit", "--trust", made.trust, "--database", bench.file("x.db", b"not a database" * 100))
    assert (result.exit_code, isinstance(result.exception, SystemExit)) == (3, True)
    result = run("audit", "--trust", made.trust, "--url", "http://127.0.0.1:1/", "--json")
    assert result.exit_code == 3


def test_an_interrupt_exits_130(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ledger_audit, "audit", interrupt)
    assert run("audit", "--database", str(made.folder / "ledger.db")).exit_code == 130


def test_what_a_file_says_cannot_steer_the_terminal(made: Bench, bench: Bench) -> None:
    evil = bundles.parse((made.folder / "evidence.json").read_bytes())
    from dataclasses import replace

    raw = bundles.render(replace(evil, subject="raw:\x1b[2J\x1b]0;owned\x07 VALID"))
    result = run("verify", "--trust", made.trust, bench.file("e.json", raw))
    assert "\x1b" not in result.output
    assert "\x07" not in result.output
    assert result.exit_code == 1


def test_progress_is_shown_on_a_terminal_only(made: Bench) -> None:
    script = "from tallystick.commands import auditor; auditor.audit(standalone_mode=True)"
    command = [
        sys.executable,
        "-c",
        script,
        "--database",
        str(made.folder / "ledger.db"),
        "--trust",
        made.trust,
    ]
    piped = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (piped.returncode, piped.stderr) == (0, "")
    master, slave = os.openpty()
    shown = subprocess.run(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=slave,
        timeout=60,
        check=False,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(slave)
    seen = os.read(master, 65_536).decode()
    os.close(master)
    assert shown.returncode == 0
    assert "Checking" in seen


def test_help_names_every_exit_code() -> None:
    for command in ("verify", "audit"):
        text = run(command, "--help").output
        assert all(f"{code} " in text for code in (0, 1, 2, 3, 4, 5, 130))


def test_an_audit_can_leave_signatures_out_and_then_never_says_valid(made: Bench) -> None:
    database = str(made.folder / "ledger.db")
    result = run("audit", "--trust", made.trust, "--database", database, "--structure-only")
    assert result.exit_code == 3, result.output
    assert "UNKNOWN-KEY" in result.output
    assert "No signature of a statement was checked" in result.output
    assert " VALID" not in result.output


def test_an_audit_goes_on_from_its_state_file(bench: Bench) -> None:
    world = make_long_world()
    pin(world, bench.folder / "trust")
    store_in_sqlite(world, bench.folder / "long.db")
    common = (
        "audit",
        "--trust",
        bench.trust,
        "--database",
        str(bench.folder / "long.db"),
        "--processes",
        "2",
    )
    whole = run(*common)
    assert whole.exit_code == 1  # its log took three statements that it should not have taken
    state = bench.folder / "state.json"
    assert run(*common, "--resume", str(state), "--structure-only").exit_code == 3
    assert state.exists()
    again = run(*common, "--resume", str(state), "--structure-only")
    assert "first 1,280 entries" in again.output.replace("\n     ", "")
    other = run(*common, "--resume", str(state))
    assert "About the state file" in other.output
    assert other.exit_code == 1
    diary = bench.file("diary.txt", b"Dear diary")
    refused = run(*common, "--resume", diary)
    assert (refused.exit_code, Path(diary).read_bytes()) == (2, b"Dear diary")
    nowhere = run(*common, "--resume", str(bench.folder / "missing" / "state.json"), "--structure-only")
    assert nowhere.exit_code == 2
