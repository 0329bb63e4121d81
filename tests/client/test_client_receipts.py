"""A receipt is believed only if every one of its claims holds."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace

import pytest
import tt_keys
from hypothesis import given, settings
from hypothesis import strategies as st
from tt_ledger_server import MemoryLedger

from client.errors import ReceiptMalformed, ReceiptRefuted, ReceiptUnverifiable
from client.receipts import ReceiptChecker, kind_of_typ, parse_entry, parse_log_keys
from keys import envelope, note
from keys.errors import Fault
from ledger import entry as entry_format
from ledger.errors import EntryMalformed

KEY = tt_keys.ed25519_key("acme 1")


def _make_ledger() -> MemoryLedger:
    ledger = MemoryLedger()
    ledger.register(KEY, "acme")
    for n in range(5):
        raw = envelope.sign(
            KEY, typ="epcis-event+jws", aud=ledger.origin, payload=b'{"n":%d}' % n, nonce=bytes(16)
        )
        ledger.record(ledger.judge(raw))
    return ledger


LEDGER = _make_ledger()
SEQ = 4
RECEIPT = LEDGER.receipt(SEQ)
DIGEST = envelope.parse(LEDGER.statements[SEQ]).digest


def _checker() -> ReceiptChecker:
    return ReceiptChecker(parse_log_keys([LEDGER.signer.vkey]), LEDGER.origin)


def test_a_true_receipt_says_where_and_when() -> None:
    receipt = _checker().check(RECEIPT, statement_digest=DIGEST)
    assert (receipt.entry.seq, receipt.entry.kind, receipt.checkpoint.tree_size) == (SEQ, "event", 7)
    assert receipt.entry.recorded_at == entry_format.parse(LEDGER.entries[SEQ]).recorded_at
    assert receipt.checkpoint.note == LEDGER.checkpoint()


def test_a_key_statements_receipt_is_of_kind_key() -> None:
    digest = envelope.parse(LEDGER.statements[1]).digest
    _checker().check(LEDGER.receipt(1), statement_digest=digest, kind="key")
    with pytest.raises(ReceiptRefuted, match="kind"):
        _checker().check(LEDGER.receipt(1), statement_digest=digest)


def test_anothers_receipt_is_refuted() -> None:
    with pytest.raises(ReceiptRefuted, match="another statement"):
        _checker().check(LEDGER.receipt(SEQ + 1), statement_digest=DIGEST)


def test_another_logs_key_proves_nothing() -> None:
    stranger = note.NoteSigner.from_private_key(LEDGER.origin, tt_keys.ed25519_key("stranger"))
    with pytest.raises(ReceiptUnverifiable):
        ReceiptChecker([stranger.verifier], LEDGER.origin).check(RECEIPT, statement_digest=DIGEST)


def test_another_origin_under_the_same_key_proves_nothing() -> None:
    with pytest.raises(ReceiptUnverifiable, match="not ours"):
        ReceiptChecker([LEDGER.signer.verifier], "ledger.example/staging").check(
            RECEIPT, statement_digest=DIGEST
        )


def test_a_witness_key_is_no_log_key() -> None:
    with pytest.raises(ReceiptMalformed, match="witness"):
        parse_log_keys([tt_keys.witness_signer().vkey])


def test_a_checkpoint_with_extension_lines_is_refused() -> None:
    raw = note.sign(f"{LEDGER.origin}\n1\n{base64.b64encode(bytes(32)).decode()}\nmore\n", LEDGER.signer)
    with pytest.raises(ReceiptMalformed, match="three lines"):
        _checker().open_checkpoint(raw)


def _line(number: int, change: Callable[[bytes], bytes]) -> bytes:
    lines = RECEIPT.split(b"\n")
    lines[number] = change(lines[number])
    return b"\n".join(lines)


DAMAGED = {
    "another header": _line(0, lambda line: line.replace(b"v1", b"v2")),
    "no extra": RECEIPT.replace(RECEIPT.split(b"\n")[1] + b"\n", b""),
    "extra without padding": _line(1, lambda line: line.rstrip(b"=")),
    "extra with an altered time": _line(
        1, lambda line: b"extra " + base64.b64encode(base64.b64decode(line[6:]).replace(b"2026", b"2025"))
    ),
    "index with a leading zero": _line(2, lambda line: line.replace(b" ", b" 0")),
    "another index": _line(2, lambda _line: b"index 5"),
    "index beyond the tree": _line(2, lambda _line: b"index 7"),
    "negative index": _line(2, lambda _line: b"index -1"),
    "index in other digits": _line(2, lambda _line: "index ٤".encode()),
    "short hash": _line(3, lambda _line: base64.b64encode(bytes(31))),
    "other hash": _line(3, lambda _line: base64.b64encode(bytes(32))),
    "one hash less": RECEIPT.replace(RECEIPT.split(b"\n")[3] + b"\n", b""),
    "swapped hashes": b"\n".join([*(p := RECEIPT.split(b"\n"))[:3], p[4], p[3], *p[5:]]),
    "carriage returns": RECEIPT.replace(b"\n", b"\r\n"),
    "another size": RECEIPT.replace(b"\n7\n", b"\n8\n"),
    "no signature": RECEIPT[: RECEIPT.rindex("—".encode())],
    "cut short": RECEIPT[:-20],
    "nothing": b"",
    "endless": RECEIPT + b"x" * 100_000,
}


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_receipt_never_verifies(damaged: bytes) -> None:
    with pytest.raises((ReceiptMalformed, ReceiptRefuted, ReceiptUnverifiable)):
        _checker().check(damaged, statement_digest=DIGEST)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(RECEIPT) - 1), st.integers(1, 255))
def test_no_changed_byte_is_overlooked(position: int, flip: int) -> None:
    changed = bytearray(RECEIPT)
    changed[position] ^= flip
    with pytest.raises(Fault):
        _checker().check(bytes(changed), statement_digest=DIGEST)


ENTRIES = [
    LEDGER.entries[0],
    LEDGER.entries[SEQ],
    LEDGER.entries[SEQ].replace(b'"seq"', b' "seq"'),
    LEDGER.entries[SEQ].replace(b"Z", b"z"),
    LEDGER.entries[SEQ].replace(b'"kind":"event"', b'"kind":"novel-kind"'),
    LEDGER.entries[SEQ].replace(b'"kind":"event"', b'"kind":"Event"'),
    LEDGER.entries[SEQ].replace(b'"seq":4', b'"seq":04'),
    LEDGER.entries[SEQ].replace(b'"keys":1', b'"keys":4'),
    LEDGER.entries[SEQ].replace(b"2026-11-20", b"2026-02-30"),
    LEDGER.entries[SEQ].replace(b"T12:", b"T24:"),
    LEDGER.entries[SEQ] + b"\n",
    LEDGER.entries[0].replace(b'"prev":"AA', b'"prev":"AB'),
    LEDGER.entries[SEQ].replace(b'"seq":4', b'"seq":0').replace(b'"keys":1', b'"keys":0'),
    LEDGER.entries[SEQ].replace(b'"seq":4', b'"seq":9007199254740992'),
    LEDGER.entries[SEQ].replace(b"2026-", b"0000-"),
    LEDGER.entries[SEQ].replace(b":00.", b":60."),
    b"{}",
]


@pytest.mark.parametrize("data", ENTRIES)
def test_entries_are_read_as_the_ledger_reads_them(data: bytes) -> None:
    try:
        expected = entry_format.parse(data)
    except EntryMalformed:
        with pytest.raises(ReceiptMalformed):
            parse_entry(data)
        return
    read = parse_entry(data)
    assert (read.seq, read.kind, read.recorded_at, read.prev, read.statement_digest, read.keys_seq) == (
        expected.seq,
        expected.kind,
        expected.recorded_at,
        expected.prev,
        expected.statement,
        expected.keys,
    )


STATEMENT_CLASSES = (
    *("epcis-event+jws", "epcis-document+jws", "key+jws", "genesis+jws", "anchor+jws", "erasure+jws"),
    "anything+jws",
)


@pytest.mark.parametrize("typ", STATEMENT_CLASSES)
@pytest.mark.parametrize("kind", entry_format.KINDS)
def test_client_and_verifier_agree_which_kind_a_class_stands_under(typ: str, kind: str) -> None:
    from verifier.statements import require_kind

    statement = envelope.parse(envelope.sign(KEY, typ=typ, aud=LEDGER.origin, payload=b"{}"))
    entry = replace(entry_format.parse(LEDGER.entries[SEQ]), kind=kind)
    try:
        require_kind(entry, statement)
        fits = True
    except Fault:
        fits = False
    assert fits is (kind_of_typ(typ) == kind)
