"""Strangers' code agrees: what the ledger writes verifies with the Go libraries that other such logs use.

The small Go program in tlogverify/ reads a checkpoint, receipts, tiles and a consistency proof. Where there
is no `go`, or its modules cannot be fetched, there is nothing to compare with.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tt_keys import witness_signer
from tt_ledger import ORIGIN, START, MemoryLedger, build_ledger, log_signer, sample_statements

from keys import note
from ledger import proof, tiles
from ledger.audit import LedgerReader
from ledger.checkpoint import parse_unverified
from ledger.log import Log, Pending
from ledger.store import schema
from ledger.store.sqlite import open_writer

SOURCE = Path(__file__).parent / "tlogverify"
BUILD_TIMEOUT_S = 180.0
RUN_TIMEOUT_S = 30.0

Judge = Callable[[Path], str]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """What the Go program prints about a folder; its last line says what was refuted, if anything was."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("there is no go here")
    binary = tmp_path_factory.mktemp("go") / "tlogverify"
    try:
        built = subprocess.run(
            [go, "build", "-o", binary, "."],
            cwd=SOURCE,
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT_S,
        )
        problem = built.stderr.strip() if built.returncode else ""
    except subprocess.TimeoutExpired:
        problem = f"go build took over {BUILD_TIMEOUT_S:.0f} s"
    if problem:
        reason = f"the Go program cannot be built, perhaps for want of its modules: {problem[-300:]}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)

    def run(folder: Path) -> str:
        done = subprocess.run([binary, folder], capture_output=True, text=True, timeout=RUN_TIMEOUT_S)
        assert done.stderr == ""
        assert (done.returncode == 0) is ("refuted" not in done.stdout), done.stdout
        return done.stdout

    return run


def cosigned(raw: bytes) -> bytes:
    text = note.parse(raw)
    line = witness_signer().sign_cosignature(text.text, 1_800_000_000)
    return note.render(note.Note(text.text, (*text.signatures, line)))


def export(ledger: LedgerReader, folder: Path, *, old_checkpoint: bytes | None = None) -> Path:
    """Everything a stranger may have of a ledger, as files: the way tlog-tiles serves it, and receipts."""
    raw = cosigned(ledger.read_checkpoint())
    size = parse_unverified(raw).tree_size
    files: dict[str, bytes] = {
        "vkey": log_signer().vkey.encode(),
        "witness": witness_signer().vkey.encode(),
        "origin": ORIGIN.encode(),
        "checkpoint": raw,
    }
    for level in range(tiles.level_count(size)):
        for index in range((size >> 8 * (level + 1)) + 1):
            if width := tiles.width_at(level, index, size):
                path = tiles.render_path(tiles.TilePath(level, index, width))
                files[f"tile/{path}"] = ledger.read_tile(level, index, width)
                if level == 0:
                    rows = ledger.read_entries(index * 256, index * 256 + width)
                    path = tiles.render_path(tiles.TilePath(None, index, width))
                    files[f"tile/{path}"] = tiles.render_bundle(rows)
    for seq in sorted({0, 1, size // 2, size - 2, size - 1} & set(range(size))):
        entry, statement = ledger.read_entries(seq, seq + 1)[0], ledger.read_statements(seq, seq + 1)[0]
        receipt = proof.TlogProof(entry, seq, tuple(tiles.inclusion_path(ledger, seq, size)), raw)
        files[f"receipts/{seq}.tlog-proof"] = proof.render(receipt)
        files[f"receipts/{seq}.jws"] = statement or b""
    if old_checkpoint is not None:
        old_size = parse_unverified(old_checkpoint).tree_size
        path = tiles.consistency_path(ledger, old_size, size)
        files["old-checkpoint"] = cosigned(old_checkpoint)
        files["consistency"] = b"".join(b64encode(hash_) + b"\n" for hash_ in path)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def big() -> MemoryLedger:
    return build_ledger(sample_statements(700))


@pytest.mark.parametrize(("size", "old_size"), [(1, 1), (2, 1), (255, 7), (256, 255), (257, 256), (700, 513)])
def test_go_agrees_at_every_shape_of_tree(
    judge: Judge, big: MemoryLedger, tmp_path: Path, size: int, old_size: int
) -> None:
    ledger = build_ledger(sample_statements(size))
    said = judge(export(ledger, tmp_path, old_checkpoint=big.sign_at(old_size)))
    assert f"ok checkpoint of size {size}\n" in said
    assert f"ok consistency from {old_size} to {size}\n" in said
    assert f"ok {size - 1}.tlog-proof at {size - 1} of {size}\n" in said
    assert said.count("ok tile/0/") == (size + 255) // 256


def test_go_agrees_with_what_the_database_serves(judge: Judge, tmp_path: Path) -> None:
    store = open_writer(tmp_path / "ledger.db")
    with store.engine.begin() as connection:
        schema.create_all(connection)
    now = [START]
    log = Log(store, [log_signer()], ORIGIN, lambda: now[0], None)
    log.open()
    log.create(b"statement 0")
    for start in range(1, 600, 100):
        now[0] += timedelta(seconds=1)
        statements = sample_statements(600)[start : start + 100]
        log.append([Pending(kind, raw, b"unique " + raw) for kind, raw in statements], expected=log.head)
        if start == 1:
            old = log.head.checkpoint
    now[0] += timedelta(seconds=2)
    log.publish_if_due()
    said = judge(export(store, tmp_path / "files", old_checkpoint=old))
    store.close()
    assert "ok checkpoint of size 600\n" in said
    assert "ok consistency from 101 to 600\n" in said


@pytest.mark.parametrize(
    "name",
    [
        "vkey",
        "witness",
        "origin",
        "checkpoint",
        "old-checkpoint",
        "consistency",
        "tile/0/002.p/188",
        "tile/1/000.p/2",
        "tile/entries/001",
        "receipts/350.tlog-proof",
        "receipts/350.jws",
    ],
)
def test_go_refutes_what_we_refute(judge: Judge, big: MemoryLedger, tmp_path: Path, name: str) -> None:
    folder = export(big, tmp_path, old_checkpoint=big.sign_at(513))
    file = folder / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert judge(folder).splitlines()[-1].startswith("refuted ")


def test_go_refutes_a_checkpoint_without_its_witness(judge: Judge, big: MemoryLedger, tmp_path: Path) -> None:
    folder = export(big, tmp_path)
    (folder / "checkpoint").write_bytes(big.read_checkpoint())
    assert "refuted checkpoint: 1 good signature lines" in judge(folder)
