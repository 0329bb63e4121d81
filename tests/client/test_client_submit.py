"""From the outbox over real HTTP to a ledger that may be down, slow, busy, confused or dishonest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tt_keys
from tt_ledger_server import LedgerServer

from client.errors import (
    AnswerMalformed,
    ClientError,
    InputMalformed,
    LedgerUnreachable,
    LineFault,
    LogForked,
    LogRolledBack,
    OutboxStopped,
    ReceiptMalformed,
    ReceiptRefuted,
    ReceiptUnverifiable,
    RequestRefused,
)
from client.http import LedgerDoor, Patience
from client.outbox import Draft, Outbox
from client.receipts import ReceiptChecker, parse_log_keys
from client.submit import Sender, Summary, Watch
from keys import envelope
from keys.errors import Malformed, Refused
from ledger import entry as entry_format

ORIGIN = tt_keys.ORIGIN
KEY = tt_keys.ed25519_key("acme 1")


@pytest.fixture
def server() -> Iterator[LedgerServer]:
    server = LedgerServer()
    server.ledger.register(KEY, "acme")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "outbox.sqlite", origin=ORIGIN) as opened:
        yield opened


def _payload(number: int) -> bytes:
    return b'{"n":%d}' % number


def _enqueue(outbox: Outbox, *numbers: int) -> None:
    list(outbox.enqueue([Draft(f"{n}.json", payload=_payload(n)) for n in numbers], find_key=lambda: KEY))


class Pauses:
    """A clock that only sleeping moves; what was slept is written down."""

    def __init__(self, on_sleep: Callable[[int], None] = lambda _count: None) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._on_sleep = on_sleep

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        self._on_sleep(len(self.slept))

    def patience(self, total_s: float = 60.0) -> Patience:
        return Patience(total_s, sleep=self.sleep, monotonic=lambda: self.now, jitter=lambda: 1.0)


def _run(
    server: LedgerServer,
    outbox: Outbox,
    *,
    patience: Patience | None = None,
    read_timeout_s: float = 5.0,
    vkey: str | None = None,
    **options: Any,
) -> Summary:
    with LedgerDoor(server.url, read_timeout_s=read_timeout_s) as door:
        checker = ReceiptChecker(parse_log_keys([vkey or server.vkey]), ORIGIN)
        patience = patience or Pauses().patience(0)
        return Sender(outbox, door, checker, patience=patience, **options).run()


def _events(server: LedgerServer) -> list[bytes]:
    """The payloads on the ledger, in log order."""
    kinds = [entry_format.parse(data).kind for data in server.ledger.entries]
    pairs = zip(kinds, server.ledger.statements, strict=True)
    return [envelope.parse(raw).payload for kind, raw in pairs if kind == "event"]


def _states(outbox: Outbox) -> str:
    return "".join(row.state[0:3] + " " for row in outbox.read_rows()).strip()


# When all is well --------------------------------------------------------------------------------


def test_everything_arrives_in_order_and_every_receipt_is_kept(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, *range(25))
    summary = _run(server, outbox, batch_count_max=10)
    assert (summary.receipted, summary.refused, summary.ended_by) == (25, 0, None)
    assert summary.growth_unproved is None
    assert _events(server) == [_payload(n) for n in range(25)]
    checker = ReceiptChecker([server.ledger.signer.verifier], ORIGIN)
    for row in outbox.read_rows():
        statement, receipt, first = outbox.read_kept(row.position)
        assert receipt is not None
        assert checker.check(receipt, statement_digest=envelope.parse(statement).digest).entry.seq == row.seq
        assert first is None


def test_growth_between_batches_is_proved(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, *range(4))
    _run(server, outbox, batch_count_max=1)
    assert server.requests.count("GET /proof/consistency") == 3
    assert outbox.find_growth_step() is None
    largest = outbox.find_largest_checkpoint()
    assert largest is not None
    assert largest.tree_size == 6


def test_batches_keep_to_their_size(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, *range(6))
    size = len(outbox.next_batch(1, 1)[0].statement) + 10
    assert _run(server, outbox, batch_size_max=2 * size).receipted == 6
    assert server.requests.count("POST /statements") == 3


def test_nothing_waiting_asks_nothing(server: LedgerServer, outbox: Outbox) -> None:
    assert _run(server, outbox) == Summary()
    assert server.requests == []


# When the ledger does not answer -----------------------------------------------------------------


def test_a_ledger_that_is_down_loses_nothing(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, 1, 2)
    server.stop()
    pauses = Pauses()
    summary = _run(server, outbox, patience=pauses.patience(10))
    assert isinstance(summary.ended_by, LedgerUnreachable)
    assert pauses.slept == [0.5, 1, 2, 4]
    assert outbox.read_counts().waiting == 2
    server.start()
    assert _run(server, outbox).receipted == 2
    assert _events(server) == [_payload(1), _payload(2)]


def test_a_ledger_that_comes_back_in_time_is_waited_for(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, 1)
    server.stop()
    pauses = Pauses(on_sleep=lambda count: server.start() if count == 2 else None)
    waits: list[float] = []
    watch = Watch(on_wait=lambda _fault, wait_s: waits.append(wait_s))
    assert _run(server, outbox, patience=pauses.patience(), watch=watch).receipted == 1
    assert waits == [0.5, 1.0]


def test_retry_after_is_obeyed(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, 1)
    server.busy_answers, server.retry_after = 2, "7"
    pauses = Pauses()
    assert _run(server, outbox, patience=pauses.patience()).receipted == 1
    assert pauses.slept == [7, 7]


@pytest.mark.parametrize("value", [None, "soon", "Fri, 20 Nov 2020 12:00:00 GMT", "-5", ""])
def test_an_absent_or_senseless_retry_after_means_backoff(
    server: LedgerServer, outbox: Outbox, value: str | None
) -> None:
    _enqueue(outbox, 1)
    server.busy_answers, server.retry_after = 1, value
    pauses = Pauses()
    assert _run(server, outbox, patience=pauses.patience()).receipted == 1
    assert pauses.slept == [0.5]


def test_a_retry_after_beyond_our_patience_ends_the_run_at_once(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, 1)
    server.busy_answers, server.retry_after = 1, "3000"
    pauses = Pauses()
    summary = _run(server, outbox, patience=pauses.patience(60))
    assert isinstance(summary.ended_by, LedgerUnreachable)
    assert summary.ended_by.retry_after_s == 3000
    assert pauses.slept == []


def test_a_slow_ledger_is_asked_again_and_doubles_nothing(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, 1)
    server.slow_s = 0.4

    def on_sleep(_count: int) -> None:
        server.slow_s = 0.0

    pauses = Pauses(on_sleep)
    summary = _run(server, outbox, patience=pauses.patience(), read_timeout_s=0.1)
    assert summary.receipted == 1
    assert len(_events(server)) == 1


def test_a_connection_lost_after_the_commit_doubles_nothing(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, 1, 2)
    server.drops_after_commit = 1
    summary = _run(server, outbox, patience=Pauses().patience())
    assert (summary.receipted, summary.duplicates) == (2, 2)
    assert _events(server) == [_payload(1), _payload(2)]
    assert len(server.lines_received) == 4
    assert len(set(server.lines_received)) == 2


def test_no_answer_of_a_ledger_is_not_taken_for_one(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, 1)
    server.garbage = b"<html>Please log in to the guest network</html>"
    summary = _run(server, outbox, patience=Pauses().patience())
    assert isinstance(summary.ended_by, AnswerMalformed)
    assert outbox.read_counts().waiting == 1
    assert outbox.find_alarm() is None


TWISTED: list[Callable[[dict[str, Any]], Any]] = [
    lambda answer: [],
    lambda answer: {**answer, "results": []},
    lambda answer: {**answer, "results": answer["results"][:1]},
    lambda answer: {**answer, "results": answer["results"][::-1]},
    lambda answer: {**answer, "results": [{**r, "seq": True} for r in answer["results"]]},
    lambda answer: {**answer, "results": [{**r, "seq": -1} for r in answer["results"]]},
    lambda answer: {**answer, "results": [{**r, "digest": "AAAA"} for r in answer["results"]]},
    lambda answer: {**answer, "results": [{**r, "receipt": None} for r in answer["results"]]},
]


@pytest.mark.parametrize("twist", TWISTED)
def test_an_answer_with_holes_settles_nothing(
    server: LedgerServer, outbox: Outbox, twist: Callable[[dict[str, Any]], Any]
) -> None:
    _enqueue(outbox, 1, 2)
    server.twist_answer = twist
    assert isinstance(_run(server, outbox).ended_by, AnswerMalformed)
    assert outbox.read_counts().waiting == 2
    server.twist_answer = lambda answer: answer
    assert _run(server, outbox).receipted == 2


@pytest.mark.parametrize(
    "url",
    [
        "ledger.example",
        "ftp://ledger.example",
        "https://",
        "http://[",
        "http://x?y=1",
        "http://me:pw@x",
        "http://a b",
        "http://a\n",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InputMalformed):
        LedgerDoor(url)


def test_redirects_are_not_followed(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, 1)
    server.refuse_request = (307, {"title": "over there"})
    assert isinstance(_run(server, outbox).ended_by, RequestRefused)
    assert outbox.read_counts().waiting == 1


# When the ledger says no -------------------------------------------------------------------------


def _refuse(*numbers: int) -> Callable[[envelope.Statement], Refused | None]:
    bad = {_payload(n) for n in numbers}
    return lambda statement: (
        Malformed("gs1.check-digit", "is 4, should be 5", "/epcList/0") if statement.payload in bad else None
    )


def test_refused_lines_are_set_aside_with_their_fault_and_the_rest_arrives_in_order(
    server: LedgerServer, outbox: Outbox
) -> None:
    _enqueue(outbox, *range(6))
    server.refuse = _refuse(1, 4)
    refused: list[tuple[str, str]] = []
    watch = Watch(on_refused=lambda waiting, faults: refused.append((waiting.source, str(faults[0]))))
    summary = _run(server, outbox, watch=watch)
    assert (summary.receipted, summary.refused, summary.ended_by) == (4, 2, None)
    assert _events(server) == [_payload(n) for n in (0, 2, 3, 5)]
    why = "gs1.check-digit at /epcList/0: is 4, should be 5"
    assert refused == [("1.json", why), ("4.json", why)]
    assert [str(row.faults[0]) for row in outbox.read_rows("refused")] == [why, why]


def test_an_unregistered_key_holds_the_queue_and_blames_nobody(outbox: Outbox) -> None:
    server = LedgerServer().start()
    try:
        _enqueue(outbox, 1, 2)
        summary = _run(server, outbox)
        assert isinstance(summary.ended_by, RequestRefused)
        assert summary.ended_by.code == "key.unknown"
        assert outbox.read_counts().waiting == 2
        server.ledger.register(KEY, "acme")
        assert _run(server, outbox).receipted == 2
        assert len(set(server.lines_received)) == 2
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (401, {"detail": "who are you", "code": "auth"}),
        (404, {"detail": "no resource has this path", "code": "http.path"}),
        (415, {"detail": "not read here", "code": "http.media-type"}),
        (400, {"detail": "the body ended early", "code": "http.body.truncated"}),
    ],
)
def test_a_refusal_of_the_request_sets_nothing_aside(
    server: LedgerServer, outbox: Outbox, status: int, problem: dict[str, Any]
) -> None:
    _enqueue(outbox, 1)
    server.refuse_request = (status, problem)
    summary = _run(server, outbox)
    assert isinstance(summary.ended_by, RequestRefused)
    assert _states(outbox) == "wai"


def test_too_large_a_request_is_cut_down_to_the_statement_that_is_too_large(
    server: LedgerServer, outbox: Outbox
) -> None:
    _enqueue(outbox, *range(5))
    server.refuse_request = (413, {"detail": "too large", "code": "http.body.size"})

    def refused(_waiting: object, _faults: object) -> None:
        server.refuse_request = None

    summary = _run(server, outbox, watch=Watch(on_refused=refused))
    assert (summary.refused, summary.receipted) == (1, 4)
    assert outbox.read_rows("refused")[0].faults[0].code == "http.body.size"


def test_a_fault_in_a_line_that_was_not_sent_is_no_answer(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, 1)
    server.refuse_request = (422, {"code": "x", "faults": [{"line": 7, "code": "x", "detail": "y"}]})
    assert isinstance(_run(server, outbox).ended_by, AnswerMalformed)


def test_what_a_server_says_cannot_steer_a_terminal(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, 1)
    said = [{"line": 0, "code": "x\x1b[2J", "detail": "\x1b]0;owned\x07" + "y" * 9000, "pointer": 7}]
    server.refuse_request = (422, {"faults": said})
    _run(server, outbox)
    (fault,) = outbox.read_rows("refused")[0].faults
    assert str(fault).isprintable()
    assert len(str(fault)) < 600


# When the ledger lies ----------------------------------------------------------------------------


def _other_receipt(server: LedgerServer) -> Callable[[bytes], bytes]:
    return lambda _receipt: server.ledger.receipt(0)


LIES: dict[str, tuple[Callable[[LedgerServer], Callable[[bytes], bytes]], type[ClientError]]] = {
    "another entry's receipt": (_other_receipt, ReceiptRefuted),
    "one altered byte": (lambda _s: lambda r: r.replace(b"extra e", b"extra f"), ReceiptRefuted),
    "unsigned": (lambda _s: lambda r: r[: r.rindex("—".encode())], ReceiptMalformed),
    "unreadable": (lambda _s: lambda _r: b"trust me", ReceiptMalformed),
}


@pytest.mark.parametrize(("make", "kind"), LIES.values(), ids=LIES.keys())
def test_a_bad_receipt_stops_the_queue_until_a_person_has_looked(
    server: LedgerServer,
    outbox: Outbox,
    make: Callable[[LedgerServer], Callable[[bytes], bytes]],
    kind: type[ClientError],
) -> None:
    _enqueue(outbox, 1, 2)
    server.twist_receipt = make(server)
    summary = _run(server, outbox, batch_count_max=1)
    assert type(summary.ended_by) is kind
    alarm = outbox.find_alarm()
    assert alarm is not None
    assert alarm.first == server.twist_receipt(server.ledger.receipt(2))
    assert _states(outbox) == "wai wai"

    server.twist_receipt = lambda receipt: receipt
    before = len(server.requests)
    assert isinstance(_run(server, outbox).ended_by, OutboxStopped)
    assert len(server.requests) == before
    outbox.lift_alarms()
    assert _run(server, outbox).receipted == 2


def test_a_log_with_another_key_is_not_our_log(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, 1)
    summary = _run(server, outbox, vkey=tt_keys.log_signer(label="stranger").vkey)
    assert isinstance(summary.ended_by, ReceiptUnverifiable)
    assert outbox.read_counts().waiting == 1


def test_good_receipts_beside_a_bad_one_are_kept(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, 1, 2, 3)
    seqs = iter([0, 1, 2])
    server.twist_receipt = lambda receipt: b"no" if next(seqs) == 2 else receipt
    summary = _run(server, outbox)
    assert isinstance(summary.ended_by, ReceiptMalformed)
    assert (summary.receipted, _states(outbox)) == (2, "rec rec wai")


def test_a_fork_is_noticed_and_both_checkpoints_are_kept(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, 1)
    _run(server, outbox)
    ours = server.ledger.checkpoint()
    # The operator tells a second story of the same length.
    server.ledger.rewind(2)
    other = envelope.sign(KEY, typ="epcis-event+jws", aud=ORIGIN, payload=b'{"n":"other"}')
    server.ledger.record(server.ledger.judge(other))
    theirs = server.ledger.checkpoint()
    server.refuse = lambda _statement: None
    _enqueue(outbox, 2)
    server.ledger.record(server.ledger.judge(outbox.next_batch(1, 1)[0].statement))
    server.ledger.rewind(3)
    server.twist_answer = lambda answer: {**answer, "checkpoint": theirs.decode()}
    summary = _run(server, outbox)
    assert isinstance(summary.ended_by, LogForked)
    alarm = outbox.find_alarm()
    assert alarm is not None
    assert (alarm.code, alarm.first, alarm.second) == ("log.fork", ours, theirs)
    assert outbox.read_counts().waiting == 1


def test_growth_that_is_no_growth_is_noticed(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, 1)
    _run(server, outbox)
    server.ledger.rewind(2)
    for n in (7, 8):
        other = envelope.sign(KEY, typ="epcis-event+jws", aud=ORIGIN, payload=_payload(n))
        server.ledger.record(server.ledger.judge(other))
    _enqueue(outbox, 2, 3)
    summary = _run(server, outbox, batch_count_max=1)
    assert isinstance(summary.ended_by, LogForked)
    assert summary.ended_by.code == "log.inconsistent"
    alarm = outbox.find_alarm()
    assert alarm is not None
    assert alarm.first != alarm.second
    assert outbox.read_counts().waiting == 1


def test_a_rollback_is_noticed(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, *range(5))
    _run(server, outbox)
    server.ledger.rewind(3)
    _enqueue(outbox, 9)
    summary = _run(server, outbox)
    assert isinstance(summary.ended_by, LogRolledBack)
    assert outbox.read_counts().waiting == 1


def test_a_consistency_proof_that_cannot_be_had_is_owed_and_paid_later(
    server: LedgerServer, outbox: Outbox
) -> None:
    twist, server.twist_consistency = server.twist_consistency, None
    _enqueue(outbox, 1, 2, 3)
    summary = _run(server, outbox, batch_count_max=1)
    assert (summary.receipted, summary.ended_by) == (3, None)
    assert summary.growth_unproved is not None
    assert outbox.find_growth_step() is not None
    server.twist_consistency = twist
    assert _run(server, outbox).growth_unproved is None
    assert outbox.find_growth_step() is None


# Duplicates of another statement -----------------------------------------------------------------


def _first_elsewhere(server: LedgerServer, number: int) -> bytes:
    raw = envelope.sign(KEY, typ="epcis-event+jws", aud=ORIGIN, payload=_payload(number))
    server.ledger.record(server.ledger.judge(raw))
    return raw


def test_content_the_ledger_held_before_is_settled_with_the_first_statement(
    server: LedgerServer, outbox: Outbox
) -> None:
    first = _first_elsewhere(server, 1)
    _enqueue(outbox, 1)
    summary = _run(server, outbox)
    assert (summary.receipted, summary.duplicates) == (1, 1)
    _statement, receipt, kept_first = outbox.read_kept(1)
    assert kept_first == first
    assert receipt == server.ledger.receipt(2)


def test_a_duplicate_that_is_not_shown_is_set_aside(server: LedgerServer, outbox: Outbox) -> None:
    _first_elsewhere(server, 1)
    _enqueue(outbox, 1, 2)
    server.may_read = False
    summary = _run(server, outbox)
    assert (summary.receipted, summary.refused, summary.ended_by) == (1, 1, None)
    (row,) = outbox.read_rows("refused")
    assert row.faults[0].code == "duplicate.unseen"


def test_a_false_duplicate_swallows_nothing(server: LedgerServer, outbox: Outbox) -> None:
    _first_elsewhere(server, 7)
    _enqueue(outbox, 1)
    statement = envelope.parse(outbox.next_batch(1, 1)[0].statement)
    server.ledger.contents[b'["acme", "epcis-event+jws"]' + statement.payload] = 2
    summary = _run(server, outbox)
    assert isinstance(summary.ended_by, ReceiptRefuted)
    assert "other content" in summary.ended_by.detail
    assert outbox.read_counts().waiting == 1


def _claim_as_first(server: LedgerServer, outbox: Outbox, raw: bytes) -> None:
    """The ledger records these bytes, and calls what waits in the outbox a duplicate of them."""
    statement = envelope.parse(raw)
    seq = server.ledger._append("event", raw)
    _enqueue(outbox, 1)
    ours = envelope.parse(outbox.next_batch(1, 1)[0].statement)
    assert ours.payload == statement.payload
    server.ledger.contents[b'["acme", "epcis-event+jws"]' + ours.payload] = seq


def test_our_words_under_another_s_name_are_no_duplicate(server: LedgerServer, outbox: Outbox) -> None:
    other = tt_keys.ed25519_key("somebody else")
    server.ledger.register(other, "carrier")
    _claim_as_first(
        server, outbox, envelope.sign(other, typ="epcis-event+jws", aud=ORIGIN, payload=_payload(1))
    )
    summary = _run(server, outbox)
    assert isinstance(summary.ended_by, ReceiptRefuted)
    assert "is by carrier" in summary.ended_by.detail
    assert outbox.read_counts().waiting == 1


def test_our_words_under_a_signature_that_nobody_made_are_no_duplicate(
    server: LedgerServer, outbox: Outbox
) -> None:
    good = envelope.sign(KEY, typ="epcis-event+jws", aud=ORIGIN, payload=_payload(1))
    _claim_as_first(server, outbox, good.rpartition(b".")[0] + b"." + b"A" * 86)
    summary = _run(server, outbox)
    assert isinstance(summary.ended_by, ReceiptRefuted)
    assert "not what its signer signed" in summary.ended_by.detail
    assert outbox.read_counts().waiting == 1


def test_our_words_under_a_key_that_the_ledger_does_not_show_are_set_aside(
    server: LedgerServer, outbox: Outbox
) -> None:
    other = tt_keys.ed25519_key("nobody")
    _claim_as_first(
        server, outbox, envelope.sign(other, typ="epcis-event+jws", aud=ORIGIN, payload=_payload(1))
    )
    summary = _run(server, outbox)
    assert (summary.receipted, summary.refused) == (0, 1)
    (row,) = outbox.read_rows("refused")
    assert row.faults[0].code == "duplicate.unseen"


def test_two_processes_with_one_outbox_send_once(server: LedgerServer, outbox: Outbox) -> None:
    _enqueue(outbox, *range(20))
    path, results = outbox.path, []

    def send() -> None:
        with Outbox.open(path, origin=ORIGIN) as mine:
            try:
                results.append(_run(server, mine, batch_count_max=2).receipted)
            except ClientError as e:
                results.append(e.code)

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results) <= {20, 0, "outbox.busy"}
    assert outbox.read_counts().receipted == 20
    assert len(server.lines_received) == 20


def test_line_faults_read_well() -> None:
    assert str(LineFault(0, "a.b", "is wrong")) == "a.b: is wrong"
