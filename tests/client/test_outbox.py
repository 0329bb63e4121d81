"""The outbox keeps what it was given, signs it once, and lets go only against a checked receipt."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import tt_keys

from client import outbox as outbox_module
from client.errors import (
    InputMalformed,
    LineFault,
    LogForked,
    LogRolledBack,
    OutboxBusy,
    OutboxFull,
    OutboxMalformed,
    OutboxStopped,
    ReceiptRefuted,
    ReceiptUnverifiable,
)
from client.memory import UNPROVED_MAX
from client.outbox import Draft, Outbox
from client.receipts import SeenCheckpoint
from keys import envelope
from keys.algorithms import PrivateKey

ORIGIN = tt_keys.ORIGIN
KEY = tt_keys.ed25519_key("acme 1")


class CountingKey:
    """A key that knows how often it signed."""

    def __init__(self, key: PrivateKey = KEY) -> None:
        self.public = key.public
        self._key = key
        self.count = 0

    def sign(self, message: bytes) -> bytes:
        self.count += 1
        return self._key.sign(message)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "outbox.sqlite", origin=ORIGIN) as opened:
        yield opened


def _drafts(*numbers: int) -> list[Draft]:
    return [Draft(f"event-{n}.json", payload=b'{"n":%d}' % n) for n in numbers]


def _enqueue(outbox: Outbox, drafts: list[Draft], key: PrivateKey = KEY) -> list[outbox_module.Queued]:
    return list(outbox.enqueue(drafts, find_key=lambda: key))


def test_content_is_signed_once_whatever_happens(tmp_path: Path) -> None:
    key = CountingKey()
    kept = []
    for _ in range(3):
        with Outbox.open(tmp_path / "outbox.sqlite", origin=ORIGIN) as outbox:
            queued = _enqueue(outbox, _drafts(1, 2, 2, 3), key)
            kept.append([outbox.read_kept(item.position)[0] for item in queued])
    assert key.count == 3
    assert kept[0] == kept[1] == kept[2]
    assert len(set(kept[0])) == 3


def test_kept_bytes_are_statements_over_exactly_the_payload(outbox: Outbox) -> None:
    payload = b'{"spaced" :  1.0 }\n'
    (queued,) = _enqueue(outbox, [Draft("a.json", payload=payload)])
    statement = envelope.parse(outbox.read_kept(queued.position)[0])
    envelope.verify(statement, KEY.public)
    assert (statement.payload, statement.aud, statement.typ) == (payload, (ORIGIN,), "epcis-event+jws")


def test_another_key_or_class_is_another_statement(outbox: Outbox) -> None:
    _enqueue(outbox, _drafts(1))
    other = tt_keys.p256_key("acme 2")
    assert _enqueue(outbox, _drafts(1), other)[0].is_new
    assert next(outbox.enqueue(_drafts(1), typ="epcis-document+jws", find_key=lambda: KEY)).is_new
    assert outbox.read_counts().waiting == 3


def test_a_signed_statement_is_kept_as_it_is_and_needs_no_key(outbox: Outbox) -> None:
    raw = envelope.sign(KEY, typ="epcis-event+jws", aud=["elsewhere", ORIGIN], payload=b'{"n":1}')
    (queued,) = outbox.enqueue([Draft("1.jws", statement=raw)])
    assert outbox.read_kept(queued.position)[0] == raw
    assert not _enqueue(outbox, _drafts(1))[0].is_new


@pytest.mark.parametrize(
    "raw",
    [
        b"not a statement",
        envelope.sign(KEY, typ="epcis-event+jws", aud="ledger.example/staging", payload=b"{}"),
        envelope.sign(KEY, typ="epcis-event+jws", aud=ORIGIN, payload=b"{}") + b"=",
    ],
)
def test_what_the_ledger_must_refuse_is_not_queued(outbox: Outbox, raw: bytes) -> None:
    with pytest.raises(InputMalformed, match=r"x\.jws"):
        list(outbox.enqueue([Draft("x.jws", statement=raw)]))
    assert outbox.read_counts().waiting == 0


def test_a_payload_beyond_the_bound_is_not_signed(outbox: Outbox) -> None:
    with pytest.raises(InputMalformed, match=r"big\.json"):
        _enqueue(outbox, [Draft("big.json", payload=b" " * (envelope.PAYLOAD_SIZE_MAX + 1))])


def test_batches_come_in_order_and_keep_to_one_key(outbox: Outbox) -> None:
    _enqueue(outbox, _drafts(1, 2, 3))
    _enqueue(outbox, _drafts(4), tt_keys.ed25519_key("acme 2"))
    _enqueue(outbox, _drafts(5))
    assert [w.source for w in outbox.next_batch(2, 1 << 20)] == ["event-1.json", "event-2.json"]
    assert [w.source for w in outbox.next_batch(9, 1 << 20)] == [f"event-{n}.json" for n in (1, 2, 3)]
    assert len(outbox.next_batch(9, 1)) == 1


def test_what_waits_is_bounded(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "WAITING_MAX", 2)
    _enqueue(outbox, _drafts(1, 2))
    with pytest.raises(OutboxFull):
        _enqueue(outbox, _drafts(3))


def test_refused_statements_go_back_to_their_old_place_with_their_old_bytes(outbox: Outbox) -> None:
    _enqueue(outbox, _drafts(1, 2, 3))
    first = outbox.next_batch(1, 1 << 20)[0]
    outbox.set_aside(
        first.position, [LineFault(0, "gs1.check-digit", "is 4, should be 5", "/epcList/0", "check")]
    )
    assert [w.source for w in outbox.next_batch(9, 1 << 20)] == ["event-2.json", "event-3.json"]
    (row,) = outbox.read_rows("refused")
    assert str(row.faults[0]) == "gs1.check-digit at /epcList/0: is 4, should be 5 (check)"
    assert outbox.put_back() == 1
    assert outbox.next_batch(1, 1 << 20)[0] == first


def test_the_file_refuses_to_forget(outbox: Outbox) -> None:
    _enqueue(outbox, _drafts(1))
    with sqlite3.connect(outbox.path) as connection:
        for sql in (
            "DELETE FROM statements",
            "UPDATE statements SET statement = x'00'",
            "UPDATE statements SET digest = x'00'",
            "UPDATE statements SET state = 'receipted'",
            "INSERT OR REPLACE INTO statements SELECT * FROM statements",
        ):
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(sql)
    connection.close()


def test_the_file_is_private(outbox: Outbox) -> None:
    assert stat.S_IMODE(outbox.path.stat().st_mode) == 0o600


def test_an_outbox_belongs_to_one_ledger(outbox: Outbox) -> None:
    with pytest.raises(OutboxMalformed, match="take another file"):
        Outbox.open(outbox.path, origin="ledger.example/staging")
    with Outbox.open(outbox.path) as again:
        assert again.origin == ORIGIN


def test_other_files_are_not_touched(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(b"not a database, but long enough to be taken for one" * 20)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = [path.read_bytes() for path in (text, other)]
    for path in (text, other, tmp_path / "missing" / "outbox.sqlite"):
        with pytest.raises(OutboxMalformed):
            Outbox.open(path, origin=ORIGIN)
    with pytest.raises(OutboxMalformed, match="no outbox at"):
        Outbox.open(tmp_path / "absent.sqlite")
    assert [path.read_bytes() for path in (text, other)] == before
    assert not (tmp_path / "absent.sqlite").exists()


def test_many_may_come_to_make_it_at_once(tmp_path: Path) -> None:
    faults: list[Exception] = []
    together = threading.Barrier(6)

    def make() -> None:
        together.wait()
        try:
            Outbox.open(tmp_path / "new.sqlite", origin=ORIGIN).close()
        except Exception as e:
            faults.append(e)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_one_sender_at_a_time(outbox: Outbox) -> None:
    with outbox.sending(), Outbox.open(outbox.path) as other, pytest.raises(OutboxBusy), other.sending():
        pass
    with outbox.sending():
        pass


def test_an_alarm_stands_until_somebody_lifts_it(outbox: Outbox) -> None:
    outbox.require_no_alarm()
    outbox.raise_alarm(ReceiptRefuted("receipt.statement", "for another statement"), b"the receipt")
    with pytest.raises(OutboxStopped, match="for another statement"):
        outbox.require_no_alarm()
    alarm = outbox.find_alarm()
    assert alarm is not None
    assert alarm.first == b"the receipt"
    assert outbox.lift_alarms() == 1
    outbox.require_no_alarm()


def test_settings_are_remembered(outbox: Outbox) -> None:
    assert outbox.find_setting("url") is None
    outbox.remember_setting("url", "https://one.example")
    outbox.remember_setting("url", "https://two.example")
    assert outbox.find_setting("url") == "https://two.example"
    with pytest.raises(OutboxMalformed):
        outbox.remember_setting("origin", "another")


# The memory of checkpoints ---------------------------------------------------------------------


def _seen(size: int, root: int = 0) -> SeenCheckpoint:
    return SeenCheckpoint(ORIGIN, size, bytes([root]) * 32, f"note {size} {root}".encode())


def test_two_roots_for_one_size_are_a_fork_and_both_are_kept(outbox: Outbox) -> None:
    outbox.settle([], [_seen(5)])
    with pytest.raises(LogForked) as caught:
        outbox.settle([], [_seen(5, root=1)])
    outbox.raise_alarm(caught.value)
    alarm = outbox.find_alarm()
    assert alarm is not None
    assert (alarm.code, alarm.first, alarm.second) == ("log.fork", b"note 5 0", b"note 5 1")
    assert outbox.find_largest_checkpoint() == _seen(5)


def test_two_roots_in_one_answer_are_a_fork_too(outbox: Outbox) -> None:
    with pytest.raises(LogForked):
        outbox.settle([], [_seen(5), _seen(5, root=1)])
    assert outbox.find_largest_checkpoint() is None


def test_a_smaller_checkpoint_is_refused(outbox: Outbox) -> None:
    outbox.settle([], [_seen(5)])
    with pytest.raises(LogRolledBack, match="showed 5 entries before and shows 4 now"):
        outbox.settle([], [_seen(4)])


def test_the_same_checkpoint_again_is_fine(outbox: Outbox) -> None:
    outbox.settle([], [_seen(5)])
    outbox.settle([], [_seen(5)])
    assert outbox.find_growth_step() is None


def test_growth_is_believed_only_so_long_without_proof(outbox: Outbox) -> None:
    outbox.settle([], [_seen(size) for size in range(1, UNPROVED_MAX + 2)])
    with pytest.raises(ReceiptUnverifiable, match="never proved"):
        outbox.settle([], [_seen(UNPROVED_MAX + 2)])
    assert outbox.find_growth_step() == (_seen(1), _seen(2))


def test_times_are_those_of_the_clock(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o", origin=ORIGIN) as outbox:
        outbox._clock = lambda: datetime(2026, 11, 20, 12, tzinfo=UTC)
        _enqueue(outbox, _drafts(1))
        assert outbox.read_rows()[0].queued_at == "2026-11-20T12:00:00+00:00"
