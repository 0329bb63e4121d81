"""Promises of an audit in many processes: the report of one, whatever is damaged and whoever is faster."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tt_evidence import World, store_in_sqlite
from tt_long_ledger import EndingReader, broken_reader, make_long_world, sleeping_reader, surprising_reader

from keys.jws_text import JwsText
from ledger.audit import LedgerReader
from ledger.store.sqlite import open_reader
from verifier import crew as crews
from verifier import ledger_audit, range_audit
from verifier.crew import OwnCrew, ProcessCrew
from verifier.crew_start import CrewStart
from verifier.errors import SourceFailed, StateMalformed
from verifier.ranges import Done, RangeAuditor, Setup
from verifier.trust import Trust
from verifier.verdict import Report, Verdict


@pytest.fixture(scope="module")
def world() -> World:
    """Tests put back what they alter."""
    return make_long_world()


@pytest.fixture(scope="module")
def database(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "ledger.db"
    store_in_sqlite(world, path)
    return path


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_audit, "RANGE_TILES", 1)
    monkeypatch.setattr(ledger_audit, "PARALLEL_MIN", 0)
    monkeypatch.setattr(ledger_audit, "PARALLEL_MIN_STRUCTURE", 0)


class CrewOfFour:
    """Four at once as far as anybody can tell: each knows only what it was told, and they overtake."""

    tasks_max = 8

    def __init__(self, reader: LedgerReader, setup: Setup, seed: int) -> None:
        self._auditors = [RangeAuditor(reader, setup) for _ in range(4)]
        self._dice = random.Random(seed)
        self._done: list[Done] = []

    def begin(self, *what: object) -> None:
        assert not self._done
        for auditor in self._auditors:
            auditor.begin(*what)  # type: ignore[arg-type]

    def submit(self, task: object) -> None:
        self._done.append(self._dice.choice(self._auditors).audit(task))  # type: ignore[arg-type]

    def take(self) -> Done:
        return self._done.pop(self._dice.randrange(len(self._done)))

    def __enter__(self) -> CrewOfFour:
        return self

    def __exit__(self, *_: object) -> None: ...


def audit_by_four(world: World, seed: int, trust: Trust | None = None, **options: object) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ledger_audit, "ProcessCrew", lambda _, opener, setup, __: CrewOfFour(opener(), setup, seed)
        )
        return ledger_audit.audit(
            world, trust or world.trust(), open_reader=lambda: world, processes=4, **options
        )  # type: ignore[arg-type]


def flip(data: bytes | None, place: int) -> bytes:
    changed = bytearray(data or b"")
    changed[place % len(changed)] ^= 1
    return bytes(changed)


def test_it_finds_what_is_wrong_and_nothing_else(world: World) -> None:
    alone = ledger_audit.audit(world, world.trust())
    revoked = [check.seq for check in alone.checks if check.code == "key.revoked"]
    assert len(revoked) == 3
    assert alone.faulty_seqs == tuple(revoked)
    assert audit_by_four(world, 1) == alone
    assert alone.facts["signatures_checked"] == alone.facts["tree_size"] - 3


KEY_SEQS = (0, 1, 2, 304)
ROWS: dict[str, Callable[[World, int], object]] = {
    "entry": lambda w, at: w.entries.__setitem__(at, flip(w.entries[at], 60)),
    "statement": lambda w, at: w.statements.__setitem__(at, flip(w.statements[at], 500)),
    "signature": lambda w, at: w.statements.__setitem__(at, flip(w.statements[at], -9)),
    "withheld": lambda w, at: w.statements.__setitem__(at, None),
    "gone": lambda w, at: w.entries.__setitem__(at, b""),
    "removed": lambda w, at: (w.entries.pop(at), w.statements.pop(at)),
    "inserted": lambda w, at: w.entries.insert(at, b"{}"),
    "tile": lambda w, at: w.tiles.__setitem__((0, at // 256), flip(w.tiles[0, at // 256], at * 32)),
    "tile gone": lambda w, at: w.tiles.pop((0, at // 256), None),
    "upper tile": lambda w, at: w.tiles.__setitem__((1, 0), flip(w.tiles[1, 0], at)),
    "cut": lambda w, at: w.entries.__delitem__(slice(at, None)),
    "committed": lambda w, at: (w.statements.__setitem__(at, flip(w.statements[at], -9)), commit(w, at)),
}


def commit(world: World, at: int) -> None:
    """The log took it, and signed for it: entries from there on are made anew."""
    from dataclasses import replace
    from hashlib import sha256

    from ledger import entry as entries

    for seq in range(at, len(world.entries)):
        entry = entries.parse(world.entries[seq])
        prev = entries.leaf_hash(world.entries[seq - 1]) if seq else entries.ZERO_PREV
        digest = sha256(world.statements[seq] or b"").digest() if seq == at else entry.statement
        world.entries[seq] = entries.render(replace(entry, prev=prev, statement=digest))
    world.rebuild()


@pytest.mark.parametrize("place", ["header", "payload", "signature"])
def test_a_bad_signature_is_found_however_statements_are_kept(
    world: World, tmp_path: Path, place: str
) -> None:
    """The log took it: in a database it lies decoded, beside good ones, and each is still verified."""
    kept = world.entries.copy(), world.statements.copy()
    at = 600
    try:
        parts = (world.statements[at] or b"").split(b".")
        which = ("header", "payload", "signature").index(place)
        middle = len(parts[which]) // 2
        swapped = b"A" if parts[which][middle : middle + 1] != b"A" else b"B"
        parts[which] = parts[which][:middle] + swapped + parts[which][middle + 1 :]
        world.statements[at] = b".".join(parts)
        commit(world, at)
        store_in_sqlite(world, tmp_path / "ledger.db")
        reader = open_reader(tmp_path / "ledger.db")
        try:
            assert any(type(raw) is JwsText for raw in reader.read_signed_statements(at - 5, at + 5))
            stored = ledger_audit.audit(reader, world.trust())
        finally:
            reader.close()
        assert stored == ledger_audit.audit(world, world.trust())
        assert at in stored.faulty_seqs
    finally:
        world.entries[:], world.statements[:] = kept
        world.rebuild()


@given(st.data())
@settings(max_examples=12, deadline=None)
def test_a_damaged_ledger_is_told_alike_by_one_and_by_many(world: World, data: st.DataObject) -> None:
    kept, size, trust = (world.entries.copy(), world.statements.copy()), len(world.entries), world.trust()
    older = world.sign_at(data.draw(st.sampled_from((100, 256, 700)))) if data.draw(st.booleans()) else None
    places = st.one_of(st.sampled_from((*KEY_SEQS, 255, 256, 511, 512)), st.integers(0, size - 1))
    try:
        for kind, at in data.draw(
            st.lists(st.tuples(st.sampled_from(sorted(ROWS)), places), min_size=1, max_size=3)
        ):
            if at < len(world.entries) and world.entries[at] and world.statements[at]:
                if kind == "committed" and len(world.entries) != size:
                    continue
                if kind == "tile" and (0, at // 256) not in world.tiles:
                    continue
                try:
                    ROWS[kind](world, at)
                except Exception:  # what is damaged already cannot always be damaged further
                    continue
        alone = ledger_audit.audit(world, trust, kept_checkpoint=older)
        shared = audit_by_four(world, data.draw(st.integers(0, 99)), trust, kept_checkpoint=older)
        assert shared == alone
        assert alone.verdict is not Verdict.VALID
    finally:
        world.entries[:], world.statements[:] = kept
        world.rebuild()


def test_real_processes_give_the_same_report(world: World, database: Path) -> None:
    with_reader = partial(open_reader, database)
    reader = with_reader()
    steps: list[tuple[int, int]] = []
    try:
        alone = ledger_audit.audit(reader, world.trust())
        shared = ledger_audit.audit(
            reader,
            world.trust(),
            open_reader=with_reader,
            processes=2,
            progress=lambda done, total: steps.append((done, total)),
        )
        structure = ledger_audit.audit(
            reader, world.trust(), open_reader=with_reader, processes=2, structure_only=True
        )
    finally:
        reader.close()
    assert shared == alone
    assert [done for done, _ in steps] == [256, 512, 768, 1024, 1280, len(world.entries)]
    assert structure.verdict is Verdict.UNKNOWN_KEY
    assert structure.facts["entries_checked"] == len(world.entries)


# Processes end; an audit that depends on them says so and decides nothing.


@pytest.mark.parametrize(
    ("opener", "error", "words"),
    [
        (broken_reader, SourceFailed, "nobody is there"),
        (surprising_reader, RuntimeError, "ZeroDivisionError"),
        (EndingReader, SourceFailed, "ended before its time"),
    ],
)
def test_a_process_that_fails_is_heard(opener: Callable, error: type[Exception], words: str) -> None:
    with ProcessCrew(1, opener, Setup("x", (), True)) as crew:
        pids = [crew._start.process.pid, *children_of(crew._start.process.pid)]
        with pytest.raises(error, match=words):
            crew.take()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_workers_end_at_once_with_the_audit_whatever_they_are_at() -> None:
    with ProcessCrew(3, sleeping_reader, Setup("x", (), True)) as crew:
        deadline = time.monotonic() + 20
        while len(workers := children_of(crew._start.process.pid)) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(workers) == 3
        os.kill(workers[0], signal.SIGKILL)
        with pytest.raises(SourceFailed, match="ended before its time"):
            crew.take()
    for pid in (crew._start.process.pid, *workers):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_start_that_nobody_needs_ends_when_it_is_closed() -> None:
    with CrewStart(["ledger.store.sqlite"]) as start:
        pass
    assert start.process.returncode is not None


def test_a_start_that_has_ended_decides_nothing(database: Path) -> None:
    with CrewStart() as start:
        start.process.kill()
        start.process.wait()
        with pytest.raises(SourceFailed, match="ended before its time"):
            ProcessCrew(1, partial(open_reader, database), Setup("x", (), True), start)


def test_a_reader_that_sees_less_than_was_seen_before_decides_nothing(database: Path) -> None:
    setup = Setup("x", (), True, size_seen=10**6)
    with ProcessCrew(1, partial(open_reader, database), setup) as crew, pytest.raises(SourceFailed) as caught:
        crew.take()
    assert caught.value.code == "source.behind"


def test_processes_end_with_their_caller(database: Path) -> None:
    crew = ProcessCrew(2, partial(open_reader, database), Setup("x", (), True))
    for connection in crew._load:
        connection.close()  # as the system does when the caller is killed
    assert crew._start.process.wait(20) == 0  # after all its workers


# Going on.


class Stop(Exception):
    """The auditor's machine is switched off."""


def stop_after(count: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= count:
            raise Stop

    return progress


@pytest.fixture
def sound(world: World) -> Iterator[World]:
    """Without the entries that should not have been taken."""
    kept = world.entries.copy(), world.statements.copy()
    world.entries[:], world.statements[:] = kept[0][:1100], kept[1][:1100]
    world.rebuild()
    yield world
    world.entries[:], world.statements[:] = kept
    world.rebuild()


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_audit, "SAVE_INTERVAL_S", -1.0)


def interrupted(world: World, file: Path, at: int = 600) -> None:
    with pytest.raises(Stop):
        ledger_audit.audit(world, world.trust(), state_file=file, progress=stop_after(at))


def differences(one: Report, other: Report) -> set[str]:
    return {name for name in {*one.facts, *other.facts} if one.facts.get(name) != other.facts.get(name)}


@pytest.mark.usefixtures("eager")
def test_an_interrupted_audit_goes_on(sound: World, tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    interrupted(sound, file)
    whole = ledger_audit.audit(sound, sound.trust())
    seen: list[int] = []
    resumed = ledger_audit.audit(
        sound, sound.trust(), state_file=file, progress=lambda done, _: seen.append(done)
    )
    assert (seen[0], resumed.facts["resumed_from"]) == (768, 512)
    assert (resumed.checks, differences(resumed, whole)) == (whole.checks, {"resumed_from"})
    assert any("first 512 entries" in sentence for sentence in resumed.not_checked)
    again = ledger_audit.audit(sound, sound.trust(), state_file=file)
    assert (again.facts["resumed_from"], again.checks) == (1024, whole.checks)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.usefixtures("eager")
def test_what_is_damaged_behind_the_state_is_named(sound: World, tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    interrupted(sound, file)
    sound.entries[900] = flip(sound.entries[900], 60)
    sound.statements[901] = flip(sound.statements[901], 300)
    resumed = ledger_audit.audit(sound, sound.trust(), state_file=file)
    assert (resumed.verdict, resumed.faulty_seqs) == (Verdict.INVALID, (900, 901))
    # And it is named again next time: the state stays where all was well.
    assert ledger_audit.audit(sound, sound.trust(), state_file=file).faulty_seqs == (900, 901)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    "member", ["tree", "prev", "keys", "recorded_at", "keys_trail", "anchors", "checkpoint"]
)
def test_a_state_file_that_was_altered_is_trusted_no_further_than_the_tree_allows(
    sound: World, tmp_path: Path, member: str
) -> None:
    import json

    file = tmp_path / "state.json"
    interrupted(sound, file)
    value = json.loads(file.read_bytes())
    other = {
        "tree": [value["prev"]] * len(value["tree"]),
        "prev": value["keys_trail"],
        "keys": 0,
        "recorded_at": "2026-11-20T12:00:00.000000Z",
        "keys_trail": value["prev"],
        "anchors": [],
        "checkpoint": value["checkpoint"].replace("\n1100\n", "\n1099\n"),
    }[member]
    file.write_text(json.dumps({**value, member: other}))
    sound.statements[5] = flip(sound.statements[5], 300)
    report = ledger_audit.audit(sound, sound.trust(), state_file=file)
    assert report.faulty_seqs == (5,)
    assert "anew" in report.facts["state_refused"]


@pytest.mark.usefixtures("eager")
def test_a_state_of_another_question_is_not_used(sound: World, tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    ledger_audit.audit(sound, sound.trust(), state_file=file, structure_only=True)
    report = ledger_audit.audit(sound, sound.trust(), state_file=file)
    assert "other trust or options" in report.facts["state_refused"]
    assert report.checks == ledger_audit.audit(sound, sound.trust()).checks
    older = ledger_audit.audit(sound, sound.trust(), state_file=file, kept_checkpoint=sound.sign_at(300))
    assert "older than the state file" in older.facts["state_refused"]


@pytest.mark.usefixtures("eager")
def test_a_ledger_that_forgot_what_the_state_saw_is_invalid(sound: World, tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    ledger_audit.audit(sound, sound.trust(), state_file=file)
    del sound.entries[700:], sound.statements[700:]
    sound.rebuild()
    assert ledger_audit.audit(sound, sound.trust(), state_file=file).verdict is Verdict.INVALID


@pytest.mark.parametrize("content", [b"", b"{}", b"my diary", b'{"format":"tallystick-audit-state@v1"}'])
def test_another_file_is_refused_and_left_alone(world: World, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "diary.txt"
    file.write_bytes(content)
    with pytest.raises(StateMalformed):
        ledger_audit.audit(world, world.trust(), state_file=file)
    assert file.read_bytes() == content


# Without signatures.


def test_structure_alone_is_never_valid_and_finds_damage(sound: World) -> None:
    report = ledger_audit.audit(sound, sound.trust(), structure_only=True)
    assert (report.verdict, report.exit_code) == (Verdict.UNKNOWN_KEY, 3)
    assert report.facts["signatures_checked"] == 0
    assert any("signatures" in sentence for sentence in report.not_checked)
    sound.statements[700] = flip(sound.statements[700], 300)
    report = ledger_audit.audit(sound, sound.trust(), structure_only=True)
    assert (report.verdict, report.faulty_seqs) == (Verdict.INVALID, (700,))


def test_a_short_ledger_stays_in_one_process(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_audit, "PARALLEL_MIN", len(world.entries) + 1)
    monkeypatch.setattr(crews, "ProcessCrew", None)
    used: list[object] = []
    monkeypatch.setattr(ledger_audit, "OwnCrew", lambda *a: used.append(a) or OwnCrew(*a))
    ledger_audit.audit(world, world.trust(), open_reader=broken_reader, processes=8)
    assert len(used) == 1
