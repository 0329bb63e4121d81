"""What is wrong in the ledger's own records is said to nobody as a fault of what he sent."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import tt_rows
from tt_intake import Ledger, event_statement
from tt_keys import ed25519_key

from intake import wire
from intake.prepare import Prepared, prepare
from intake.service import Intake, event_typs
from keys.errors import NotYet
from ledger.errors import RecordDamaged, StoreFailed
from traceability import names
from traceability.epcis import holes


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path)
    made.register("acme")
    made.register("carrier")
    yield made
    made.close()


def submission(ledger: Ledger, *statements: bytes) -> wire.Submission:
    registry = ledger.intake.registry()
    prepared = [prepare(raw, registry, event_typs(), ledger.clock()) for raw in statements]
    return wire.submission_of(prepared, rollback=True)


@pytest.mark.parametrize("entry", [b"{}", b""], ids=["altered", "gone"])
def test_a_duplicate_of_an_altered_entry_waits_and_its_neighbours_do_not(
    ledger: Ledger, entry: bytes
) -> None:
    statement = event_statement(1)
    seq = ledger.submit(statement).results[0].seq
    ledger.submit(event_statement(2))
    assert seq is not None
    tt_rows.alter_entry(ledger.path, seq, entry)
    before = ledger.log.head.tree_size
    asked = [
        submission(ledger, event_statement(3)),
        submission(ledger, statement),
        submission(ledger, event_statement(4)),
    ]
    first, duplicate, last = ledger.sequencer.process(asked)
    assert [first.results[0].seq, last.results[0].seq] == [before, before + 1]
    assert duplicate.error is not None
    assert isinstance(wire.fault_of(duplicate.error), NotYet)
    assert duplicate.error.code == "ledger.damaged"


def test_a_request_with_such_a_duplicate_appends_nothing(ledger: Ledger) -> None:
    statement = event_statement(1)
    seq = ledger.submit(statement).results[0].seq
    ledger.submit(event_statement(2))
    assert seq is not None
    tt_rows.alter_entry(ledger.path, seq, b"{}")
    before = ledger.log.head.tree_size
    with pytest.raises(NotYet):
        ledger.submit(event_statement(3), statement, behaviour="proceed")
    assert ledger.log.head.tree_size == before
    head = ledger.reader.read_head()
    assert head is not None
    assert head.tree_size == before


@pytest.mark.parametrize("part", ["statement", "entry", "row of statements", "row of entries"])
def test_a_damaged_key_record_refuses_no_statement(ledger: Ledger, part: str) -> None:
    judged_before = submission(ledger, event_statement(1))
    if part == "statement":
        tt_rows.alter_statement(ledger.path, 2, b"\x00")
    elif part == "entry":
        tt_rows.alter_entry(ledger.path, 2, b"")
    else:
        tt_rows.damage_row(ledger.path, part.removeprefix("row of "), 2, b"\x00")
    fresh = Intake(ledger.reader, ledger.gate, ledger.clock)
    with pytest.raises(RecordDamaged):
        fresh.submit([event_statement(1)], allowed_typs=event_typs())
    # The sequencer that was started again after the damage says so too, and lives.
    ledger.sequencer._registry = None
    outcome = ledger.gate.submit(judged_before)
    assert outcome.error is not None
    assert isinstance(wire.fault_of(outcome.error), NotYet)


def test_a_database_that_cannot_be_read_makes_no_key_unknown(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.intake.registry()

    def locked(after_seq: int) -> list[tuple[int, bytes, bytes]]:
        raise StoreFailed("store.read", "the database did not read: database is locked")

    monkeypatch.setattr(ledger.reader, "read_key_records", locked)
    with pytest.raises(StoreFailed):
        ledger.submit(event_statement(1, key=ed25519_key("nobody yet")), behaviour="proceed")


def test_names_that_share_an_index_key_fail_for_nobody(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = SimpleNamespace(digest=lambda: bytes(7) + b"\x07" + bytes(24))
    monkeypatch.setattr(holes, "sha256", lambda name: digest)
    monkeypatch.setattr(names, "sha256", lambda name: digest)
    epcs = [f"urn:epc:id:sgtin:4012345.011111.{serial}" for serial in (1, 2)]
    prepared = prepare(
        event_statement(1, epcList=epcs), ledger.intake.registry(), event_typs(), ledger.clock()
    )
    assert isinstance(prepared, Prepared)
    assert prepared.names == struct.pack("<qI", 7, 0)
    assert ledger.submit(event_statement(1, epcList=epcs)).results[0].status == "appended"
