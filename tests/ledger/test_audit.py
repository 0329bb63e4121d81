"""Audits: what was altered is named, and nothing else."""

from __future__ import annotations

import random
import re
import time
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tt_ledger import ORIGIN, MemoryLedger, build_ledger, chain_entries, log_signer, sample_statements

from keys.errors import NotYet
from ledger import audit as auditing
from ledger import checkpoint as checkpoints
from ledger import entry as entries
from ledger.audit import AuditReport, Finding, audit, audit_range
from ledger.checkpoint import Checkpoint
from ledger.entry import Entry
from ledger.errors import StoreFailed
from ledger.tiles import TilePath, render_path, width_at
from ledger.walk import expect_state

SIZES = (1, 2, 3, 255, 256, 257, 300, 513)


@pytest.fixture(scope="module")
def honest() -> dict[tuple[int, bool], MemoryLedger]:
    """One ledger for each size, with its last tile kept or derived. Tests put back what they alter."""
    return {
        (size, derived): build_ledger(sample_statements(size), derives_last_tile=derived)
        for size in SIZES
        for derived in (False, True)
    }


@pytest.fixture(scope="module")
def large() -> MemoryLedger:
    """Three levels of tiles."""
    return build_ledger(sample_statements(66_000, key_every=1000))


def run(ledger: MemoryLedger, **options: object) -> AuditReport:
    return audit(ledger, ledger.verifiers, ledger.origin, **options)  # type: ignore[arg-type]


def found(report: AuditReport) -> list[tuple[int | None, str, str | None]]:
    assert report.findings_count == len(report.findings)
    return [(finding.seq, finding.code, finding.tile) for finding in report.findings]


@contextmanager
def altered(rows: list | dict, key: object, value: object) -> Iterator[None]:
    before = rows[key]
    rows[key] = value
    try:
        yield
    finally:
        rows[key] = before


def flip(data: bytes, place: int, bit: int = 0) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)


# An honest ledger.


@pytest.mark.parametrize("derived", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_an_honest_ledger_is_clean(honest: dict, size: int, derived: bool) -> None:
    ledger = honest[size, derived]
    report = run(ledger)
    assert report.is_clean
    assert report.is_signed
    assert report.checkpoint is not None
    assert (report.checkpoint.tree_size, report.checkpoint.root_hash) == (size, ledger.root)
    assert (report.entries_checked, report.statements_checked) == (size, size)
    assert report.keys_seqs == tuple(range(0, size, 7))


def test_an_empty_log_is_clean() -> None:
    report = run(build_ledger([]))
    assert report.is_clean
    assert report.entries_checked == 0


def test_progress_and_records_come_in_log_order(honest: dict) -> None:
    ledger = honest[513, False]
    steps: list[tuple[int, int]] = []
    seen: list[tuple[int, Entry, bytes | None]] = []

    def on_record(seq: int, entry: Entry, statement: bytes | None) -> Iterable[Finding]:
        seen.append((seq, entry, statement))
        return [Finding(seq, "test.odd", "an odd one", "refuted")] if seq == 77 else []

    report = run(
        ledger, on_record=on_record, progress=lambda done, total: steps.append((done, total)), chunk=256
    )
    assert steps == [(256, 513), (512, 513), (513, 513)]
    assert [(seq, entry.seq) for seq, entry, _ in seen] == [(seq, seq) for seq in range(513)]
    assert [statement for _, _, statement in seen] == ledger.statements
    assert found(report) == [(77, "test.odd", None)]


@pytest.mark.parametrize("chunk", [1, 256, 300, 100_000])
def test_the_chunk_makes_no_difference(honest: dict, chunk: int) -> None:
    ledger = honest[513, False]
    with altered(ledger.statements, 256, b"another"):
        assert found(run(ledger, chunk=chunk)) == [(256, "statement.altered", None)]


def test_memory_holds_a_chunk_and_no_more(large: MemoryLedger) -> None:
    longest = 0

    class Watched(MemoryLedger):
        def __init__(self) -> None:
            self.__dict__ = large.__dict__

        def read_entries(self, start: int, end: int) -> Sequence[bytes]:
            nonlocal longest
            longest = max(longest, end - start)
            return super().read_entries(start, end)

        def read_statements(self, start: int, end: int) -> Sequence[bytes | None]:
            nonlocal longest
            longest = max(longest, end - start)
            return super().read_statements(start, end)

    assert run(Watched(), chunk=1024).is_clean
    assert longest == 1024


# One alteration, one finding.


def places(size: int) -> list[int]:
    return sorted({seq for seq in (0, 1, size // 2, 254, 255, 256, size - 2, size - 1) if 0 <= seq < size})


@pytest.mark.parametrize("derived", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_an_altered_statement_is_named(honest: dict, size: int, derived: bool) -> None:
    ledger = honest[size, derived]
    for seq in places(size):
        with altered(ledger.statements, seq, flip(ledger.statements[seq], 3)):
            report = run(ledger)
            assert found(report) == [(seq, "statement.altered", None)]
            assert report.findings[0].cause == "refuted"
            assert (report.entries_checked, report.statements_checked) == (size, size - 1)


@pytest.mark.parametrize("derived", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_an_altered_entry_is_named(honest: dict, size: int, derived: bool) -> None:
    ledger = honest[size, derived]
    chosen = random.Random(size)
    for seq in places(size):
        entry = ledger.entries[seq]
        for _ in range(4):
            with altered(ledger.entries, seq, flip(entry, chosen.randrange(len(entry)), chosen.randrange(8))):
                report = run(ledger)
                assert found(report) == [(seq, "entry.altered", None)]
                assert report.findings[0].cause == "refuted"


@pytest.mark.parametrize(("size", "derived"), [(3, False), (3, True), (257, True)])
def test_every_byte_of_an_entry_is_held_fast(honest: dict, size: int, derived: bool) -> None:
    ledger = honest[size, derived]
    for seq in (size - 3, size - 2, size - 1):
        for place in range(0, len(ledger.entries[seq]), 1 if size == 3 else 9):
            with altered(ledger.entries, seq, flip(ledger.entries[seq], place)):
                assert found(run(ledger)) == [(seq, "entry.altered", None)]


@pytest.mark.parametrize("derived", [False, True])
@pytest.mark.parametrize("member", ["kind", "recorded_at", "prev", "statement", "keys", "seq"])
def test_a_well_formed_alteration_is_named(honest: dict, member: str, derived: bool) -> None:
    ledger = honest[300, derived]
    for seq in (7, 141, 255, 256, 298, 299):
        entry = entries.parse(ledger.entries[seq])
        other = {
            "kind": "anchor",
            "recorded_at": entry.recorded_at + timedelta(microseconds=1),
            "prev": sha256(b"").digest(),
            "statement": sha256(b"").digest(),
            "keys": 1,
            "seq": seq + 1,
        }[member]
        with altered(ledger.entries, seq, entries.render(replace(entry, **{member: other}))):
            assert found(run(ledger)) == [(seq, "entry.altered", None)]


@pytest.mark.parametrize("derived", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_an_altered_tile_is_named(honest: dict, size: int, derived: bool) -> None:
    ledger = honest[size, derived]
    chosen = random.Random(size)
    for level, index in list(ledger.tiles):
        tile = ledger.tiles[level, index]
        name = render_path(TilePath(level, index, len(tile) // 32))
        for place in (0, len(tile) - 1, chosen.randrange(len(tile))):
            with altered(ledger.tiles, (level, index), flip(tile, place)):
                assert found(run(ledger)) == [(None, "tile.altered", name)]
        with altered(ledger.tiles, (level, index), bytes(len(tile))):
            assert found(run(ledger)) == [(None, "tile.altered", name)]


def test_an_altered_tile_of_a_higher_level_is_named(large: MemoryLedger) -> None:
    assert width_at(2, 0, 66_000) == 1
    for (level, index), name in {(2, 0): "2/000.p/1", (1, 0): "1/000", (1, 1): "1/001.p/1"}.items():
        with altered(large.tiles, (level, index), flip(large.tiles[level, index], 5)):
            report = run(large)
            assert found(report) == [(None, "tile.altered", name)]
            assert report.entries_checked == 66_000


def test_an_entry_deep_in_a_large_log_is_named(large: MemoryLedger) -> None:
    for seq in (0, 4096, 65_535, 65_999):
        with altered(large.entries, seq, flip(large.entries[seq], 60)):
            assert found(run(large)) == [(seq, "entry.altered", None)]


@pytest.mark.parametrize("form", ["gone", "short", "long"])
def test_a_tile_that_cannot_be_read_is_named_and_rebuilt(large: MemoryLedger, form: str) -> None:
    for key, name in {(2, 0): "2/000.p/1", (1, 0): "1/000"}.items():
        tile = large.tiles[key]
        with altered(large.tiles, key, {"gone": b"", "short": tile[:-1], "long": tile + tile}[form]):
            report = run(large)
            assert found(report) == ([] if form == "long" else [(None, "tile.missing", name)])
            assert report.entries_checked == 66_000


# Removed, inserted, moved.


@pytest.mark.parametrize("derived", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("leaves_gap", [True, False])
def test_a_removed_entry_is_named(honest: dict, size: int, derived: bool, leaves_gap: bool) -> None:
    ledger = honest[size, derived]
    for seq in places(size):
        entry = ledger.entries[seq]
        if leaves_gap:
            ledger.entries[seq] = b""
        else:
            del ledger.entries[seq]
        try:
            report = run(ledger)
        finally:
            if leaves_gap:
                ledger.entries[seq] = entry
            else:
                ledger.entries.insert(seq, entry)
        assert found(report) == [(seq, "entry.missing", None)]
        assert report.entries_checked == size - 1


def test_a_reader_that_leaves_gaps_out_misplaces_nobody(honest: dict) -> None:
    ledger = honest[513, False]
    gone = {5, 6, 300, 512}

    class Gapped(MemoryLedger):
        def __init__(self) -> None:
            self.__dict__ = ledger.__dict__

        def read_entries(self, start: int, end: int) -> Sequence[bytes]:
            return [entry for seq, entry in enumerate(self.entries[start:end], start) if seq not in gone]

        def read_statements(self, start: int, end: int) -> Sequence[bytes | None]:
            return [body for seq, body in enumerate(self.statements[start:end], start) if seq not in gone]

    report = run(Gapped())
    assert found(report) == [
        (5, "entry.missing", None),
        (300, "entry.missing", None),
        (512, "entry.missing", None),
    ]
    assert "entries 5 to 6" in report.findings[0].detail


@pytest.mark.parametrize("derived", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_an_inserted_entry_is_named(honest: dict, size: int, derived: bool) -> None:
    ledger = honest[size, derived]
    for seq in places(size):
        for row in (
            b"not an entry",
            entries.render(replace(entries.parse(ledger.entries[seq]), keys=0, kind="anchor")),
        ):
            ledger.entries.insert(seq, row)
            try:
                report = run(ledger)
            finally:
                del ledger.entries[seq]
            assert found(report) == [(seq, "entry.inserted", None)]
            assert report.entries_checked == size


@pytest.mark.parametrize("seq", [1, 100, 254, 255, 256, 298])
@pytest.mark.parametrize("derived", [False, True])
def test_swapped_entries_are_both_named(honest: dict, seq: int, derived: bool) -> None:
    ledger = honest[300, derived]
    rows = ledger.entries
    rows[seq], rows[seq + 1] = rows[seq + 1], rows[seq]
    try:
        report = run(ledger)
    finally:
        rows[seq], rows[seq + 1] = rows[seq + 1], rows[seq]
    assert found(report) == [(seq, "entry.altered", None), (seq + 1, "entry.altered", None)]


def test_an_entry_moved_far_is_named_where_it_was_and_where_it_is(honest: dict) -> None:
    ledger = honest[513, False]
    ledger.entries.insert(400, ledger.entries.pop(100))
    ledger.statements.insert(400, ledger.statements.pop(100))
    try:
        report = run(ledger)
    finally:
        ledger.entries.insert(100, ledger.entries.pop(400))
        ledger.statements.insert(100, ledger.statements.pop(400))
    assert found(report) == [(100, "entry.missing", None), (401, "entry.inserted", None)]
    assert (report.entries_checked, report.statements_checked) == (512, 512)


def test_a_cut_off_tail_is_named(honest: dict) -> None:
    ledger = honest[513, False]
    tail = ledger.entries[400:]
    del ledger.entries[400:]
    try:
        report = run(ledger)
    finally:
        ledger.entries += tail
    assert found(report) == [(400, "entry.missing", None)]
    assert "entries 400 to 512" in report.findings[0].detail


def test_entries_that_no_checkpoint_covers_are_named() -> None:
    ledger = build_ledger(sample_statements(10))
    ledger.entries.append(chain_entries(sample_statements(11))[10])
    report = run(ledger)
    assert found(report) == [(10, "entry.unsigned", None)]
    assert report.findings[0].cause == "notyet"


def test_a_ledger_that_grows_meanwhile_is_clean() -> None:
    now, later = build_ledger(sample_statements(10)), build_ledger(sample_statements(11))
    answers = iter([now.checkpoint, later.checkpoint])
    later.read_checkpoint = lambda: next(answers)  # type: ignore[method-assign]
    report = run(later)
    assert report.is_clean
    assert report.entries_checked == 10


# Several at once.


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_several_altered_entries_are_all_named_and_no_others(honest: dict, data: st.DataObject) -> None:
    ledger = honest[513, False]
    flips = data.draw(
        st.dictionaries(
            st.integers(0, 512), st.tuples(st.integers(0, 150), st.integers(0, 7)), min_size=1, max_size=6
        )
    )
    before = ledger.entries.copy()
    for seq, (place, bit) in flips.items():
        ledger.entries[seq] = flip(before[seq], place, bit)
    try:
        report = run(ledger)
    finally:
        ledger.entries[:] = before
    assert [finding.seq for finding in report.findings] == sorted(flips)


def test_an_entry_and_its_tile_are_told_apart(honest: dict) -> None:
    ledger = honest[513, False]
    for entry_at, hash_at in ((5, 9), (9, 5), (5, 5), (255, 255), (100, 99), (100, 101)):
        tile = flip(ledger.tiles[0, 0], hash_at * 32)
        with (
            altered(ledger.tiles, (0, 0), tile),
            altered(ledger.entries, entry_at, flip(ledger.entries[entry_at], 60)),
        ):
            assert found(run(ledger)) == [(None, "tile.altered", "0/000"), (entry_at, "entry.altered", None)]


@pytest.mark.parametrize("place", [0, 20, 60, 150])
def test_two_altered_entries_are_named_where_the_tile_is_no_witness(honest: dict, place: int) -> None:
    ledger = honest[300, True]
    for seq in (256, 280, 297):
        with (
            altered(ledger.entries, seq, flip(ledger.entries[seq], place)),
            altered(ledger.entries, 299, flip(ledger.entries[299], place)),
        ):
            assert found(run(ledger)) == [(seq, "entry.altered", None), (299, "entry.altered", None)]


def test_an_entry_whose_tile_was_made_to_fit_is_named_with_it(honest: dict) -> None:
    ledger = honest[513, False]
    entry = flip(ledger.entries[70], 150)
    leaves = bytearray(ledger.tiles[0, 0])
    leaves[70 * 32 : 71 * 32] = entries.leaf_hash(entry)
    with altered(ledger.entries, 70, entry), altered(ledger.tiles, (0, 0), bytes(leaves)):
        assert found(run(ledger)) == [(None, "tile.altered", "0/000"), (70, "entry.altered", None)]


def test_a_rewritten_ledger_is_never_clean(honest: dict) -> None:
    # Somebody with the database, and without the log's key: all is made to fit but the signature's root.
    signed = honest[513, False].checkpoint
    for at in (0, 100, 300, 512):
        statements = sample_statements(513)
        statements[at] = (statements[at][0], b"forged")
        forged = build_ledger(statements)
        forged.checkpoint = signed
        report = run(forged)
        assert not report.is_clean
        assert {finding.cause for finding in report.findings} == {"refuted"}
        assert report.findings_count <= 3


def test_findings_are_counted_and_kept_up_to_their_bound(
    monkeypatch: pytest.MonkeyPatch, honest: dict
) -> None:
    monkeypatch.setattr(auditing, "FINDINGS_MAX", 5)
    ledger = honest[300, False]
    before = ledger.statements.copy()
    ledger.statements[:] = [None] * 300
    try:
        report = run(ledger)
    finally:
        ledger.statements[:] = before
    assert (len(report.findings), report.findings_count) == (5, 300)
    assert {finding.cause for finding in report.findings} == {"unverifiable"}
    assert not report.is_clean


# What the log itself got wrong: the tree proves it, and still it is wrong.


def committed(change: Callable[[list[Entry]], None]) -> MemoryLedger:
    """A ledger whose own writer went wrong, with a tree and a signature over what it wrote."""
    parsed = [entries.parse(entry) for entry in chain_entries(sample_statements(20))]
    change(parsed)
    rows: list[bytes] = []
    for entry in parsed:
        prev = entries.leaf_hash(rows[-1]) if rows and entry.prev != sha256(b"wrong").digest() else entry.prev
        rows.append(entries.render(replace(entry, prev=prev)))
    return MemoryLedger(rows, [statement for _, statement in sample_statements(20)])


def setter(at: int, /, **members: object) -> Callable[[list[Entry]], None]:
    def change(parsed: list[Entry]) -> None:
        parsed[at] = replace(parsed[at], **members)

    return change


@pytest.mark.parametrize(
    ("change", "code", "seq"),
    [
        (setter(5, seq=4), "entry.seq", 5),
        (setter(5, prev=sha256(b"wrong").digest()), "entry.prev", 5),
        (setter(5, keys=3), "entry.keys", 5),
        (setter(9, keys=0), "entry.keys", 9),
        (setter(5, kind="genesis"), "entry.kind", 5),
        (setter(0, kind="event"), "entry.kind", 0),
        (setter(5, kind="recall"), "entry.kind", 5),
        (setter(5, statement=bytes(32)), "statement.altered", 5),
    ],
)
def test_a_log_that_broke_its_own_rules_is_named(change: Callable, code: str, seq: int) -> None:
    report = run(committed(change))
    assert (seq, code, None) in found(report)
    assert {finding.seq for finding in report.findings} <= {seq, *range(seq + 1, 20)}
    if code not in ("entry.kind",):
        assert found(report) == [(seq, code, None)]


@pytest.mark.parametrize("at", [5, 11, 12, 13, 18])
def test_a_time_that_goes_back_is_named(at: int) -> None:
    early = entries.parse(chain_entries(sample_statements(1))[0]).recorded_at
    report = run(committed(setter(at, recorded_at=early)))
    assert found(report) == [(at, "entry.recorded_at", None)]


@pytest.mark.parametrize(
    ("place", "text"),
    [(5, b"13"), (8, b"32"), (11, b"24"), (14, b"60"), (17, b"60"), (24, b"aZ"), (25, b"00"), (4, b"T0")],
)
@pytest.mark.parametrize("at", [1, 20, 39])
def test_what_is_no_time_is_named_among_events_in_order(place: int, text: bytes, at: int) -> None:
    samples = sample_statements(40, key_every=100)
    rows: list[bytes] = []
    for seq, entry in enumerate(chain_entries(samples)):
        if rows:
            prev = b2a_base64(entries.leaf_hash(rows[-1]), newline=False)
            entry = re.sub(rb'"prev":"[^"]*"', b'"prev":"' + prev + b'"', entry)
        if seq == at:
            start = entry.index(b'"recorded_at":"') + len(b'"recorded_at":"') + place
            entry = entry[:start] + text + entry[start + 2 :]
        rows.append(entry)
    seen: list[int] = []
    report = run(
        MemoryLedger(rows, [statement for _, statement in samples]),
        on_events=lambda first, keys, times, held: seen.extend(range(first, first + len(held))),
    )
    assert found(report) == [(at, "entry.recorded_at", None)]
    assert report.entries_checked == 39
    assert at not in seen
    assert {*range(1, 40)} - {*seen} <= {at, at + 1}


def test_an_unknown_kind_is_never_a_pass() -> None:
    report = run(committed(setter(5, kind="recall")))
    assert [(finding.code, finding.cause) for finding in report.findings] == [("entry.kind", "unverifiable")]
    assert report.entries_checked == 19


def test_what_is_no_entry_is_named_though_the_tree_holds_it() -> None:
    chained = chain_entries(sample_statements(6))
    ledger = MemoryLedger([*chained[:5], b"{}"], [statement for _, statement in sample_statements(6)])
    report = run(ledger)
    assert [(finding.seq, finding.cause) for finding in report.findings] == [(5, "malformed")]


def test_an_altered_key_entry_does_not_taint_those_after_it(honest: dict) -> None:
    ledger = honest[300, False]
    with altered(ledger.entries, 7, flip(ledger.entries[7], 150)):
        report = run(ledger)
    assert found(report) == [(7, "entry.altered", None)]
    assert 7 not in report.keys_seqs


# Checkpoints.


def test_every_byte_of_the_checkpoint_is_held_fast() -> None:
    ledger = build_ledger(sample_statements(5))
    for place in range(len(ledger.checkpoint)):
        with altered(ledger.__dict__, "checkpoint", flip(ledger.checkpoint, place)):
            report = run(ledger)
            assert not report.is_signed
            assert report.findings_count == 1
            assert (report.findings[0].seq, report.findings[0].tile) == (None, None)
            assert report.entries_checked == 5


def test_without_the_logs_key_all_else_is_still_checked(honest: dict) -> None:
    ledger = honest[513, False]
    stranger = [log_signer(seed=b"M" * 32).verifier]
    report = audit(ledger, stranger, ORIGIN)
    assert [finding.cause for finding in report.findings] == ["unverifiable"]
    assert report.entries_checked == 513
    for seq in (3, 255, 300):
        with altered(ledger.entries, seq, flip(ledger.entries[seq], 60)):
            report = audit(ledger, stranger, ORIGIN)
            assert [finding.seq for finding in report.findings] == [None, seq]


def test_another_logs_checkpoint_is_found_out(honest: dict) -> None:
    report = audit(honest[3, False], honest[3, False].verifiers, "ledger.example/staging")
    assert found(report) == [(None, "checkpoint.origin", None)]


def test_a_kept_checkpoint_of_the_same_log_agrees(honest: dict) -> None:
    ledger = honest[513, False]
    for size in (1, 255, 256, 257, 500, 513):
        assert run(ledger, checkpoint=ledger.sign_at(size)).is_clean
    assert run(ledger, checkpoint=build_ledger([]).checkpoint).is_clean


def test_a_kept_checkpoint_of_another_history_is_a_fork(honest: dict) -> None:
    ledger = honest[513, False]
    for size in (1, 255, 256, 300, 513):
        other = build_ledger([("genesis", b"another"), *sample_statements(size)[1:]])
        report = run(ledger, checkpoint=other.checkpoint)
        assert found(report) == [(None, "checkpoint.inconsistent", None)]
        assert report.entries_checked == 513


def test_a_kept_checkpoint_that_is_newer_shows_what_was_cut_off(honest: dict) -> None:
    restored = build_ledger(sample_statements(300))
    newer = honest[513, False].checkpoint
    report = run(restored, checkpoint=newer)
    assert report.checkpoint is not None
    assert report.checkpoint.tree_size == 513
    assert (300, "entry.missing", None) in found(report)
    assert "entries 300 to 512" in next(f.detail for f in report.findings if f.seq == 300)


def test_a_kept_checkpoint_that_is_not_signed_is_named(honest: dict) -> None:
    ledger = honest[300, False]
    report = run(ledger, checkpoint=flip(ledger.checkpoint, 5))
    assert report.findings_count == 1
    assert report.is_signed
    assert report.entries_checked == 300


def test_a_comparison_that_cannot_be_made_is_said(honest: dict) -> None:
    # The kept checkpoint covers the newest entry, and of that one nothing trustworthy is left.
    ledger = honest[3, True]
    with altered(ledger.entries, 2, b""):
        report = run(ledger, checkpoint=ledger.checkpoint)
    assert found(report) == [(2, "entry.missing", None), (None, "checkpoint.undecided", None)] or found(
        report
    ) == [
        (None, "checkpoint.undecided", None),
        (2, "entry.missing", None),
    ]


def test_a_reader_that_cannot_read_says_nothing_of_the_ledger(honest: dict) -> None:
    class Broken(MemoryLedger):
        def __init__(self, method: str) -> None:
            self.__dict__ = dict(honest[300, False].__dict__)
            setattr(self, method, self.fail)

        def fail(self, *_: object) -> bytes:
            raise StoreFailed("store.down", "the database is down")

    for method in ("read_checkpoint", "read_entries", "read_statements", "read_tile"):
        with pytest.raises(NotYet):
            run(Broken(method))


def test_an_older_claim_of_no_entries_at_all_is_consistent(honest: dict) -> None:
    ledger = honest[300, False]
    assert run(ledger, checkpoint=ledger.sign_at(0)).is_clean


# In ranges, from expected states on, and joined: the same report.


def run_in_ranges(ledger: MemoryLedger, tiles: int, *, checkpoint: bytes | None = None) -> tuple:
    """Audit ranges of so many tiles, each by itself, and those again that did not begin as expected."""
    whole = auditing.Audit(ledger)
    whole.choose_claim(ledger.verifiers, ledger.origin, checkpoint)
    plan = whole.plan(256)
    again = 0
    while whole.tiles_done < plan.tile_count:
        first = whole.tiles_done
        end = min(first + tiles, plan.tile_count)
        state = expect_state(ledger, first * 256, whole.state.shift)
        outcome = None if state is None else audit_range(ledger, plan, first, end, state=state)
        if outcome is None or not whole.holds(outcome):
            again += 1
            options = {"state": whole.state, "combinations_left": whole.combinations_left}
            outcome = audit_range(ledger, plan, first, end, **options)
            if whole.is_near_bound(outcome):
                outcome = audit_range(ledger, plan, first, plan.tile_count, **options)
        whole.join(outcome)
    whole.finish()
    return whole.result(), again, whole.tree()


@pytest.mark.parametrize("tiles", [1, 5])
def test_ranges_of_an_honest_ledger_are_all_begun_as_expected(large: MemoryLedger, tiles: int) -> None:
    for at in (None, 40_000):
        kept = large.sign_at(at) if at else None
        report, again, tree = run_in_ranges(large, tiles, checkpoint=kept)
        assert (again, report) == (0, run(large, checkpoint=kept))
        assert (tree.size, tree.root()) == (66_000, large.root)


DAMAGES = {
    "flip": lambda rows, at: rows.__setitem__(at, flip(rows[at] or b"{}", min(60, len(rows[at]) // 2))),
    "gap": lambda rows, at: rows.__setitem__(at, b""),
    "remove": lambda rows, at: rows.pop(at),
    "insert": lambda rows, at: rows.insert(at, b"not an entry"),
    "swap": lambda rows, at: rows.insert(at, rows.pop(min(at + 1, len(rows) - 1))),
    "cut": lambda rows, at: rows.__delitem__(slice(at, None)),
    "zero": lambda rows, at: rows.__setitem__(slice(at, at + 40), [bytes(200)] * len(rows[at : at + 40])),
}


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_ranges_of_a_damaged_ledger_join_to_the_same_report(data: st.DataObject) -> None:
    size = data.draw(st.sampled_from((513, 1025, 1500)))
    ledger = build_ledger(
        sample_statements(size, key_every=data.draw(st.sampled_from((7, 300)))),
        derives_last_tile=data.draw(st.booleans()),
    )
    kept = data.draw(st.sampled_from((None, 100, 256, 700)))
    older = ledger.sign_at(kept) if kept and kept <= size else None
    edges = [place for place in (0, 255, 256, 257, 511, 512, 767, 768) if place < size]
    places = st.one_of(st.sampled_from(edges), st.integers(0, size - 1))
    for kind, at in data.draw(st.lists(st.tuples(st.sampled_from(sorted(DAMAGES)), places), max_size=4)):
        if at < len(ledger.entries):
            DAMAGES[kind](ledger.entries, at)
    for at in data.draw(st.lists(places, max_size=3)):
        ledger.statements[at] = data.draw(st.sampled_from((None, b"another")))
    for key in data.draw(st.lists(st.sampled_from(sorted(ledger.tiles)), max_size=2)):
        ledger.tiles[key] = data.draw(st.sampled_from((b"", bytes(len(ledger.tiles[key])))))
    if data.draw(st.booleans()):
        ledger.checkpoint = data.draw(st.sampled_from((b"garbage", ledger.sign_at(min(size, 600)))))
    report, _, _ = run_in_ranges(ledger, data.draw(st.integers(1, 3)), checkpoint=older)
    assert report == run(ledger, checkpoint=older)


def test_a_rewritten_ledger_in_ranges_is_told_as_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    from ledger import arbiter

    monkeypatch.setattr(arbiter, "COMBINATIONS_MAX", 16)
    monkeypatch.setattr(auditing, "COMBINATIONS_MAX", 16)
    monkeypatch.setattr(arbiter, "COMBINATIONS_TOTAL_MAX", 40)
    ledger = build_ledger(sample_statements(2049))
    for index in range(8):
        ledger.tiles[0, index] = sha256(b"%d" % index).digest() * 256
        for at in (5, 9, 30):
            ledger.entries[index * 256 + at] = flip(ledger.entries[index * 256 + at], 150)
    whole = run(ledger)
    report, again, _ = run_in_ranges(ledger, 1)
    assert report == whole
    assert 0 < again < 8


@pytest.mark.parametrize("claimed", [(1 << 20) + 1, 1 << 40, 2**63 - 1])
def test_a_signed_size_far_beyond_what_is_stored_is_refuted_at_once(
    claimed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A log's key signs any size. To look for each of 2**63 entries would keep the auditor for ever.
    # The auditor probes at random; of the smallest claim one run in fifty would hit what is there.
    monkeypatch.setattr("ledger.audit.randbelow", lambda size: size - 1)
    ledger = build_ledger(sample_statements(300))
    ledger.checkpoint = checkpoints.sign(Checkpoint(ORIGIN, claimed, ledger.root), *ledger.signers)
    started = time.process_time()
    report = audit(ledger, ledger.verifiers, ORIGIN)
    assert time.process_time() - started < 5
    assert (report.size, report.is_signed) == (300, False)
    (lost,) = [f for f in report.findings if f.code == "entry.missing"]
    assert (lost.seq, lost.cause) == (300, "refuted")
    # What is there was still held against itself: nothing else is blamed.
    assert report.entries_checked == 300


def test_rows_placed_where_an_auditor_looks_first_do_not_keep_him(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.audit.LOST_MAX", 400)
    ledger = build_ledger(sample_statements(300))
    ledger.checkpoint = checkpoints.sign(Checkpoint(ORIGIN, 2**62, ledger.root), *ledger.signers)
    read = ledger.read_entries
    looked_at = {2**n - 1 for n in range(63)} | {2**62 - 2**n for n in range(62)} | {2**62}

    def read_entries(start: int, end: int) -> Sequence[bytes]:
        return [ledger.entries[0]] if end == start + 1 and start in looked_at else read(start, end)

    ledger.read_entries = read_entries  # type: ignore[method-assign]
    report = audit(ledger, ledger.verifiers, ORIGIN)
    assert report.size <= 400
    assert "entry.missing" in {f.code for f in report.findings}


def test_a_large_log_that_lost_its_end_is_still_searched_for_every_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ledger.audit.LOST_MAX", 100)
    ledger = build_ledger(sample_statements(600))
    ledger.entries[599] = b""
    ledger.entries[50] = b""
    report = audit(ledger, ledger.verifiers, ORIGIN)
    assert (report.size, report.is_signed) == (600, True)
    assert [f.seq for f in report.findings if f.code == "entry.missing"] == [50, 599]
