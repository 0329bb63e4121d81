"""Appended in columns or one by one: the ledger is the same, and so is every answer."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest
import tt_store
from msgspec.structs import replace
from tt_intake import Clock, Ledger, event_statement
from tt_keys import ORIGIN, log_signer

from intake import sequencer as sequencing
from intake import wire
from intake.prepare import prepare
from intake.service import event_typs
from keys.errors import Fault
from ledger.audit import audit
from ledger.errors import HeadMoved, KeyTaken
from ledger.log import Columns
from ledger.store.packing import pack_parts

PARTIES = ("acme", "carrier")


class Still(Clock):
    """A clock that stands: who asks it twice gets the same time."""

    def __init__(self) -> None:
        super().__init__(step=timedelta(0))


def make(path: Path, like: Ledger | None = None) -> Ledger:
    """A ledger with its parties; with the very key statements of another one."""
    path.mkdir()
    ledger = Ledger(path, clock=Still())
    for seq, party in enumerate(PARTIES, 1):
        if like is None:
            ledger.register(party)
        else:
            ledger.submit_key(like.reader.read_statement(seq) or b"")
    return ledger


def submission(ledger: Ledger, statements: list[bytes], *, rollback: bool = False) -> wire.Submission:
    registry = ledger.intake.registry()
    prepared = [prepare(raw, registry, event_typs(), ledger.clock()) for raw in statements]
    return wire.submission_of(prepared, rollback=rollback)


def assert_same(one: Ledger, other: Ledger) -> None:
    assert one.log.head == other.log.head
    size = one.log.head.tree_size
    assert one.reader.read_entries(0, size) == other.reader.read_entries(0, size)
    assert one.reader.read_statements(0, size) == other.reader.read_statements(0, size)
    for ledger in (one, other):
        assert audit(ledger.reader, [log_signer().verifier], ORIGIN).findings == ()


@pytest.mark.parametrize("seed", range(6))
def test_columns_and_single_statements_make_one_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    source = random.Random(seed)
    fresh = iter([event_statement(serial, source.choice(PARTIES)) for serial in range(700)])
    sent: list[bytes] = []
    plan = []
    for sizes in ((90,), (1, 1, 2, 0, 70), (1,) * 40, (64, 65), (0,), (3, 3)):
        may_repeat = source.random() < 0.5
        group = []
        for size in sizes:
            repeated = [may_repeat and bool(sent) and source.random() < 0.1 for _ in range(size)]
            group.append([source.choice(sent) if again else next(fresh) for again in repeated])
            sent += group[-1]
        plan.append(group)
    columns = make(tmp_path / "columns")
    ledgers = [columns, make(tmp_path / "singly", columns)]
    outcomes: list[list[wire.Outcome]] = [[], []]
    for number, ledger in enumerate(ledgers):
        if number:
            monkeypatch.setattr(sequencing, "_is_beyond_doubt", lambda *_: False)
        for group in plan:
            asked = [submission(ledger, statements) for statements in group]
            frame = wire.encode_frame(asked)[wire.LENGTH.size :]
            outcomes[number] += ledger.sequencer.process(wire.decode_frame(frame))
    assert [one.results for one in outcomes[0]] == [one.results for one in outcomes[1]]
    assert [one.checkpoint for one in outcomes[0]] == [one.checkpoint for one in outcomes[1]]
    assert_same(*ledgers)
    for ledger in ledgers:
        ledger.close()


def test_events_alone_are_appended_in_columns_and_anything_doubtful_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = make(tmp_path / "ledger")
    ways: list[str] = []
    for way in ("append", "append_columns"):
        real = getattr(ledger.log, way)
        monkeypatch.setattr(
            ledger.log,
            way,
            lambda *args, way=way, real=real, **named: [ways.append(way), real(*args, **named)][1],
        )
    fresh = [submission(ledger, [event_statement(serial)]) for serial in range(3)]
    ledger.sequencer.process(fresh)
    assert ways == ["append_columns"]
    ways.clear()
    (again,) = ledger.sequencer.process([fresh[1]])
    assert (ways, again.results[0].status) == (["append_columns", "append"], wire.DUPLICATE)
    ways.clear()
    judged_before = submission(ledger, [event_statement(10, "acme"), event_statement(11, "carrier")])
    ledger.submit_key(ledger.revocation("carrier"))
    ways.clear()
    (refused,) = ledger.sequencer.process([judged_before])
    assert [one.status for one in refused.results] == [wire.APPENDED, wire.REFUSED]
    assert ways == ["append"]
    ways.clear()
    # Judged by an older state, and nothing speaks against it by the newer one either.
    older = replace(submission(ledger, [event_statement(12, "acme")]), keys_seq=1)
    (fine,) = ledger.sequencer.process([older])
    assert (ways, fine.results[0].status) == (["append_columns"], wire.APPENDED)
    ledger.close()


def columns(*labels: str) -> Columns:
    raws = [label.encode() for label in labels]
    digests = [tt_store.sha256(raw).digest() for raw in raws]
    return Columns("event", digests, digests, [b""] * len(raws), pack_parts(raws))


def test_the_log_takes_columns_on_its_head_and_no_other(tmp_path: Path) -> None:
    folder = tt_store.LedgerFolder(tmp_path)
    log = folder.log()
    first = log.create(tt_store.GENESIS).head
    now = log.record_time()
    head = log.append_columns(columns("a", "b"), expected=first, recorded_at=now)
    assert (head.tree_size, head.events, log.head) == (3, 3, head)
    tt_store.assert_sound(log.store, size=3)
    with pytest.raises(HeadMoved):
        log.append_columns(columns("c"), expected=first, recorded_at=now)
    with pytest.raises(HeadMoved):
        log.append_columns(columns("c"), expected=head, recorded_at=now - timedelta(seconds=1))
    for taken in (("c", "a"), ("c", "c")):
        with pytest.raises(KeyTaken):
            log.append_columns(columns(*taken), expected=head, recorded_at=now)
        assert log.head == head
    other = folder.log()
    other.append_columns(columns("d"), expected=head, recorded_at=now)
    with pytest.raises(HeadMoved):
        log.append_columns(columns("e"), expected=head, recorded_at=now)
    assert log.append_columns(columns("e"), expected=log.head, recorded_at=now).tree_size == 5
    tt_store.assert_sound(log.store, size=5)
    folder.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "key"},
        {"kind": "genesis"},
        {"kind": "unheard-of"},
        {"digests": []},
        {"digests": [bytes(32)]},
        {"unique_keys": [b"x"]},
        {"names": [b""] * 3},
        {"parts": pack_parts([b"a"])},
        {"parts": pack_parts([b"a"] * 3)},
    ],
)
def test_columns_that_do_not_fit_together_are_not_appended(tmp_path: Path, wrong: dict[str, object]) -> None:
    folder = tt_store.LedgerFolder(tmp_path)
    log = folder.log()
    head = log.create(tt_store.GENESIS).head
    right = columns("a", "b")
    members = {name: getattr(right, name) for name in Columns.__slots__}
    with pytest.raises(ValueError, match=r"kind|columns|statements"):
        log.append_columns(Columns(**{**members, **wrong}), expected=head, recorded_at=log.record_time())
    with pytest.raises(Fault):
        log.append_columns(
            Columns(**{**members, "digests": [bytes(31), bytes(32)]}),
            expected=head,
            recorded_at=log.record_time(),
        )
    tt_store.assert_sound(log.store, size=1)
    folder.close()


@pytest.mark.parametrize("change", ["fewer", "more", "other", "none"])
def test_a_part_that_holds_another_number_than_it_says_is_no_submission(tmp_path: Path, change: str) -> None:
    ledger = make(tmp_path / "ledger")
    sound = submission(ledger, [event_statement(serial) for serial in range(3)])
    raws = sound.statements()
    parts = {
        "fewer": [(3, pack_parts(raws[:2])[0][1])],
        "more": [(3, pack_parts([*raws, raws[0]])[0][1])],
        "other": [(2, pack_parts(raws[:1])[0][1]), (1, pack_parts(raws[1:])[0][1])],
        "none": [(3, b"")],
    }[change]
    frame = wire.encode_frame([replace(sound, parts=parts)])[wire.LENGTH.size :]
    with pytest.raises(ValueError, match="columns"):
        wire.decode_frame(frame)
    ledger.close()
