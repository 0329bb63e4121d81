"""Intake: what is good is appended once, what is bad gets its exact fault and leaves no trace."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from msgspec.structs import replace
from tt_intake import Ledger, event_payload, event_statement
from tt_keys import ORIGIN, ed25519_key, log_signer, p256_key, sign_event

from intake import wire
from intake.authority import may_read
from intake.gate import LocalGate, SocketGate
from intake.gate_server import GateServer
from intake.prepare import prepare, unique_key
from intake.sequencer import Sequencer
from intake.service import Intake, event_typs, key_typs
from keys.errors import Malformed, Refused, Refuted, Unverifiable
from ledger.audit import audit
from ledger.log import Log


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path)
    for party in ("acme", "carrier", "operator"):
        assert made.register(party).results[0].status == "appended"
    yield made
    # Whatever a test did, the ledger it leaves must be whole.
    assert audit(made.reader, [log_signer().verifier], ORIGIN).findings == ()
    made.close()


def size(ledger: Ledger) -> int:
    head = ledger.reader.read_head()
    assert head is not None
    return head.tree_size


# --- what is good ------------------------------------------------------------------------------------


def test_a_good_event_gets_the_next_position_and_a_checkpoint_over_it(ledger: Ledger) -> None:
    before = size(ledger)
    statement = event_statement(1)
    outcome = ledger.submit(statement)
    (result,) = outcome.results
    assert (result.status, result.seq, result.faults) == ("appended", before, ())
    assert result.digest == sha256(statement).digest()
    assert outcome.tree_size == before + 1 == size(ledger)
    assert ledger.reader.read_statement(before) == statement


def test_a_batch_is_sequenced_in_its_own_order(ledger: Ledger) -> None:
    statements = [event_statement(n) for n in range(100)]
    outcome = ledger.submit(*statements)
    positions = [result.seq for result in outcome.results]
    assert positions == list(range(4, 104))
    assert list(ledger.reader.read_statements(4, 104)) == statements


def test_p256_keys_may_sign_events(ledger: Ledger) -> None:
    ledger.register("p256-line", p256_key("p256-line"))
    assert ledger.submit(event_statement(1, key=p256_key("p256-line"))).results[0].status == "appended"


# --- duplicates --------------------------------------------------------------------------------------


def test_the_same_statement_again_returns_the_first_position_and_appends_nothing(ledger: Ledger) -> None:
    first = ledger.submit(event_statement(1)).results[0]
    before = size(ledger)
    again = ledger.submit(event_statement(1)).results[0]  # signed anew: another nonce, another digest
    assert (again.status, again.seq, again.digest) == ("duplicate", first.seq, first.digest)
    assert size(ledger) == before


def test_the_same_payload_from_another_party_is_another_statement(ledger: Ledger) -> None:
    first = ledger.submit(event_statement(1)).results[0]
    other = ledger.submit(event_statement(1, party="carrier")).results[0]
    assert other.status == "appended"
    assert other.seq != first.seq


def test_a_duplicate_within_one_request_is_answered_with_the_first(ledger: Ledger) -> None:
    first, second = ledger.submit(event_statement(1), event_statement(1)).results
    assert (first.status, second.status) == ("appended", "duplicate")
    assert second.seq == first.seq


def test_a_duplicate_is_answered_after_its_key_was_revoked(ledger: Ledger) -> None:
    statement = event_statement(1)
    first = ledger.submit(statement).results[0]
    ledger.submit_key(ledger.revocation("acme"))
    again = ledger.submit(statement).results[0]
    assert (again.status, again.seq) == ("duplicate", first.seq)


def test_the_same_statement_at_the_same_instant_is_appended_once(ledger: Ledger, tmp_path: Path) -> None:
    with running(ledger, tmp_path) as intake:
        statement = event_statement(7)
        results = []
        barrier = threading.Barrier(8)

        def send() -> None:
            barrier.wait()
            results.append(intake.submit([statement], allowed_typs=event_typs()).results[0])

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert sorted(result.status for result in results) == ["appended"] + ["duplicate"] * 7
    assert len({(result.seq, result.digest) for result in results}) == 1


# --- what is bad, and leaves no trace ------------------------------------------------------------------


def bad_statements() -> list[tuple[str, bytes, type[Exception], str]]:
    good = event_statement(1)
    header, payload, _ = good.split(b".")
    other_signature = event_statement(2).split(b".")[2]
    acme = ed25519_key("acme")
    return [
        ("not a JWS", b"hello", Malformed, "jws.parts"),
        ("signature over other bytes", b".".join([header, payload, other_signature]), Refuted, "signature"),
        ("unknown key", event_statement(1, key=ed25519_key("stranger")), Unverifiable, "key.unknown"),
        (
            "another ledger's",
            sign_event(acme, event_payload(1), aud="ledger.example/other"),
            Refused,
            "jws.aud",
        ),
        (
            "a class not taken here",
            sign_event(acme, event_payload(1), typ="anchor+jws"),
            Refused,
            "statement.typ",
        ),
        (
            "a key statement at the events' door",
            sign_event(acme, b"{}", typ="key+jws"),
            Refused,
            "statement.typ",
        ),
        ("a party without the role", event_statement(1, party="operator"), Refused, "authority.role"),
        ("not JSON", sign_event(acme, b"{"), Malformed, ""),
        (
            "a wrong check digit",
            event_statement(1, epcList=["https://id.gs1.org/01/09780345418914/21/1"]),
            Malformed,
            "",
        ),
        ("no time zone", event_statement(1, eventTimeZoneOffset=None), Malformed, ""),
    ]


@pytest.mark.parametrize(
    ("raw", "cause", "code"), [pytest.param(*case[1:], id=case[0]) for case in bad_statements()]
)
def test_bad_input_gets_its_fault_and_leaves_no_trace(
    ledger: Ledger, raw: bytes, cause: type[Exception], code: str
) -> None:
    before = size(ledger)
    (result,) = ledger.submit(raw).results
    assert result.status == "refused"
    assert isinstance(result.faults[0], cause)
    assert not code or result.faults[0].code == code
    assert size(ledger) == before


def test_every_fault_of_an_event_is_reported(ledger: Ledger) -> None:
    bad = event_statement(1, action="SOMETIMES", bizStep="no such step", eventTimeZoneOffset="1")
    (result,) = ledger.submit(bad).results
    assert {fault.pointer for fault in result.faults} >= {"/action", "/bizStep", "/eventTimeZoneOffset"}


def test_a_revoked_key_may_sign_nothing_more(ledger: Ledger) -> None:
    ledger.submit_key(ledger.revocation("acme"))
    (result,) = ledger.submit(event_statement(1)).results
    assert (result.status, result.faults[0].code) == ("refused", "key.revoked")


def test_a_key_is_unknown_until_it_is_registered_and_then_known_at_once(ledger: Ledger) -> None:
    late = ed25519_key("late")
    assert ledger.submit(event_statement(1, key=late)).results[0].faults[0].code == "key.unknown"
    ledger.register("late", late)
    assert ledger.submit(event_statement(1, key=late)).results[0].status == "appended"


def test_a_key_statement_replayed_for_another_party_is_refused(ledger: Ledger) -> None:
    before = size(ledger)
    outcome = ledger.register("impostor", ed25519_key("acme"))
    assert outcome.results[0].status == "refused"
    assert size(ledger) == before


def test_a_key_statement_must_come_alone(ledger: Ledger) -> None:
    both = [ledger.revocation("acme"), ledger.revocation("carrier")]
    outcome = ledger.intake.submit(both, allowed_typs=frozenset({"key+jws"}))
    assert [result.faults[0].code for result in outcome.results] == ["statement.key-alone"] * 2


# --- all or nothing, or what is good --------------------------------------------------------------------


def batch_with_one_bad(at: int, count: int = 500) -> list[bytes]:
    statements = [event_statement(n) for n in range(count)]
    statements[at] = event_statement(at, action="SOMETIMES")
    return statements


def test_rollback_appends_nothing_when_one_of_500_is_bad(ledger: Ledger) -> None:
    before = size(ledger)
    outcome = ledger.submit(*batch_with_one_bad(250))
    assert size(ledger) == before
    assert {r.line for r in outcome.results if r.status == "refused"} == {250}
    assert sum(r.status == "rolled-back" for r in outcome.results) == 499
    assert all(r.seq is None for r in outcome.results)


def test_proceed_appends_the_499_good_ones(ledger: Ledger) -> None:
    before = size(ledger)
    outcome = ledger.submit(*batch_with_one_bad(250), behaviour="proceed")
    assert size(ledger) == before + 499
    assert [r.line for r in outcome.results if r.status == "refused"] == [250]


def test_rollback_holds_when_the_fault_is_found_inside_the_lock(ledger: Ledger) -> None:
    """A revocation lands between a worker's judgement and the append: the worker's view is stale."""
    stale = Intake(ledger.reader, ledger.gate, ledger.clock)
    stale.registry()
    ledger.submit_key(ledger.revocation("carrier"))
    before = size(ledger)
    batch = [event_statement(1), event_statement(2, party="carrier"), event_statement(3)]
    outcome = stale.submit(batch, allowed_typs=event_typs())
    assert [r.status for r in outcome.results] == ["rolled-back", "refused", "rolled-back"]
    assert outcome.results[1].faults[0].code == "key.revoked"
    assert size(ledger) == before
    proceeded = stale.submit(batch, behaviour="proceed", allowed_typs=event_typs())
    assert [r.status for r in proceeded.results] == ["appended", "refused", "appended"]


# --- order between writers -------------------------------------------------------------------------------


def test_two_sequencers_on_one_ledger_never_fork_and_lose_nothing(ledger: Ledger) -> None:
    second_log = Log(ledger.store, [log_signer()], ORIGIN, ledger.clock, None)
    second_log.open()
    intakes = [
        ledger.intake,
        Intake(ledger.reader, LocalGate(Sequencer(second_log)), ledger.clock),
    ]
    seen = []
    for n in range(40):
        result = intakes[n % 2].submit([event_statement(n)], allowed_typs=event_typs()).results[0]
        assert result.status == "appended"
        seen.append(result.seq)
    assert seen == list(range(4, 44))


def test_a_revocation_through_one_sequencer_binds_the_other(ledger: Ledger) -> None:
    second_log = Log(ledger.store, [log_signer()], ORIGIN, ledger.clock, None)
    second_log.open()
    second = Intake(ledger.reader, LocalGate(Sequencer(second_log)), ledger.clock)
    second.submit([event_statement(1)], allowed_typs=event_typs())
    ledger.submit_key(ledger.revocation("acme"))
    assert (
        second.submit([event_statement(2)], allowed_typs=event_typs()).results[0].faults[0].code
        == "key.revoked"
    )


def test_a_registration_through_one_sequencer_is_known_to_the_other(ledger: Ledger) -> None:
    """It may have appended nothing since, so what it remembers of the head says nothing of refusals."""
    second_log = Log(ledger.store, [log_signer()], ORIGIN, ledger.clock, None)
    second_log.open()
    second = Intake(ledger.reader, LocalGate(Sequencer(second_log)), ledger.clock)
    second.require_writable()  # it has read the keys that there are
    assert ledger.register("newcomer").results[0].status == "appended"
    outcome = second.submit([event_statement(1, "newcomer")], allowed_typs=event_typs())
    assert outcome.results[0].status == "appended"
    # Key statements too: what they continue may have come from elsewhere.
    revocation = ledger.revocation("newcomer")
    assert ledger.register("another").results[0].status == "appended"
    assert second.submit([revocation], allowed_typs=key_typs()).results[0].status == "appended"


def test_a_clock_far_behind_the_head_is_not_yet(ledger: Ledger) -> None:
    before = size(ledger)
    ledger.clock.now -= timedelta(minutes=5)
    with pytest.raises(Exception, match="behind") as caught:
        ledger.submit(event_statement(1))
    assert caught.value.__class__.__name__ == "ClockBehind"
    ledger.clock.now += timedelta(minutes=6)
    assert size(ledger) == before


# --- the socket between workers and sequencer ---------------------------------------------------------------


class running:
    """A GateServer in a thread, and an Intake at the other end of its socket."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.path = folder / "sequencer.sock"
        self.server = GateServer(self.path, ledger.sequencer, lambda: None)
        self.thread = threading.Thread(target=self.server.serve)
        self.gate = SocketGate(self.path)
        self.intake = Intake(ledger.reader, self.gate, ledger.clock)

    def __enter__(self) -> Intake:
        self.thread.start()
        return self.intake

    def __exit__(self, *_: object) -> None:
        self.gate.close()
        self.server.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()


def test_faults_keep_their_cause_and_words_across_the_socket(ledger: Ledger, tmp_path: Path) -> None:
    with running(ledger, tmp_path) as intake:
        intake.registry()
        ledger_key = ed25519_key("carrier")
        intake.submit([ledger.revocation("carrier")], allowed_typs=frozenset({"key+jws"}))
        (result,) = intake.submit([event_statement(1, key=ledger_key)], allowed_typs=event_typs()).results
        assert isinstance(result.faults[0], Refused)
        assert result.faults[0].code == "key.revoked"
        intake.require_writable()


@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xff\xff\xff", b"\x00\x00\x00\x05hello", b"\x00\x00\x00\x00", b"GET / HTTP/1.1\r\n\r\n" * 10],
    ids=["a frame beyond the bound", "not MessagePack", "an empty frame", "another protocol"],
)
def test_garbage_on_the_socket_harms_nobody_else(ledger: Ledger, tmp_path: Path, garbage: bytes) -> None:
    import socket

    with running(ledger, tmp_path) as intake:
        rogue = socket.socket(socket.AF_UNIX)
        rogue.connect(str(tmp_path / "sequencer.sock"))
        rogue.sendall(garbage)
        assert intake.submit([event_statement(1)], allowed_typs=event_typs()).results[0].status == "appended"
        rogue.close()


def test_the_socket_is_for_this_user_alone(ledger: Ledger, tmp_path: Path) -> None:
    with running(ledger, tmp_path):
        assert (tmp_path / "sequencer.sock").stat().st_mode & 0o077 == 0


def test_a_sequencer_that_is_away_is_busy_not_refused(ledger: Ledger, tmp_path: Path) -> None:
    intake = Intake(ledger.reader, SocketGate(tmp_path / "nobody.sock"), ledger.clock)
    with pytest.raises(Exception, match="sequencer") as caught:
        intake.submit([event_statement(1)], allowed_typs=event_typs())
    assert caught.value.__class__.__name__ == "Busy"


def test_a_large_submission_crosses_the_socket_whole(ledger: Ledger, tmp_path: Path) -> None:
    with running(ledger, tmp_path) as intake:
        outcome = intake.submit([event_statement(n) for n in range(2000)], allowed_typs=event_typs())
    assert [r.seq for r in outcome.results] == list(range(4, 2004))


# --- small parts -------------------------------------------------------------------------------------------


def test_the_unique_key_depends_on_party_class_and_payload_and_nothing_else(ledger: Ledger) -> None:
    registry = ledger.intake.registry()
    one = prepare(event_statement(1), registry, event_typs(), ledger.clock())
    again = prepare(event_statement(1), registry, event_typs(), ledger.clock())
    assert one.raw != again.raw
    assert one.unique_key == again.unique_key
    assert len(one.unique_key) == 44
    keys = {
        unique_key("a", "bc", None, b"x"),
        unique_key("ab", "c", None, b"x"),
        unique_key("a", "bc", None, b"y"),
        unique_key("a", "bcx", None, b""),
    }
    assert len(keys) == 4


def test_faults_survive_the_wire_both_ways() -> None:
    for fault in (Malformed("a.b", "c", "/d"), Refuted("a", "b"), Unverifiable("a", "b"), Refused("a", "b")):
        back = wire.fault_of(wire.fault_message(fault))
        assert (type(back), back.code, back.detail, back.pointer) == (
            type(fault),
            fault.code,
            fault.detail,
            fault.pointer,
        )


def test_payloads_are_shown_to_nobody_unless_a_rule_says_so() -> None:
    assert may_read({"read": "public"}, None, "epcis-event+jws")
    assert not may_read({"read": "none"}, None, "epcis-event+jws")
    assert not may_read({}, None, "epcis-event+jws")
    assert not may_read({"read": "none"}, "acme", "no-such+jws")
    assert may_read({"read": "none"}, None, "key+jws")


def test_an_objection_is_judged_again_by_the_newest_state(ledger: Ledger) -> None:
    """A stale objection must not refuse what the newest state allows."""
    registry = ledger.intake.registry()
    prepared = prepare(event_statement(1), registry, event_typs(), ledger.clock())
    stale = replace(prepared, objection=Refused("key.revoked", "as an old view had it"))
    outcome = ledger.gate.submit(wire.submission_of([stale], rollback=True))
    assert outcome.results[0].status == "appended"


def test_a_mistake_of_ours_stops_its_submission_and_nobody_elses(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that nobody foresaw must not end the sequencer, nor take the neighbours with it."""
    registry = ledger.intake.registry()

    def submission(serial: int) -> wire.Submission:
        prepared = prepare(event_statement(serial), registry, event_typs(), ledger.clock())
        return wire.submission_of([prepared], rollback=True)

    poison = submission(2)
    append = ledger.log.append_columns

    def brittle(columns, **options):
        if poison.digest_list()[0] in columns.digests:
            raise ZeroDivisionError
        return append(columns, **options)

    monkeypatch.setattr(ledger.log, "append_columns", brittle)
    outcomes = ledger.sequencer.process([submission(1), poison, submission(3)])
    assert [outcome.error.code if outcome.error else None for outcome in outcomes] == [
        None,
        "intake.unexpected",
        None,
    ]
    assert [outcome.results[0].status for outcome in (outcomes[0], outcomes[2])] == ["appended"] * 2
