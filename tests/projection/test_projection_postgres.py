"""The projection and kept queries in PostgreSQL: the same answers as in SQLite, one writer, one snapshot."""

from __future__ import annotations

import pytest
from tt_epcis import object_event
from tt_projection import KEY, START, PaperLog, anyone

from ledger.errors import ReadOnly, StoreFailed
from projection import projector as projector_module
from projection.engine import Engine
from projection.kept import open_kept
from projection.projector import Projector
from projection.resources import Resources
from projection.store import open_reader, open_writer
from traceability.errors import QueryNameTaken
from traceability.queries.masterdata import records_of
from traceability.queries.parameters import parse_url

EPCS = [f"urn:epc:id:sgtin:9521141.012345.{n}" for n in range(5)]


@pytest.fixture
def address(postgres):
    return postgres.new_database()


def test_it_follows_answers_and_is_made_again(address, monkeypatch):
    monkeypatch.setattr(projector_module, "BATCH_ENTRIES", 7)
    log = PaperLog(
        object_event(EPCS[n % 5], bizStep="shipping" if n % 2 else "receiving", eventID=f"urn:uuid:{n}")
        for n in range(40)
    )
    reader = open_reader(address)
    engine = Engine(log, reader, KEY, clock=lambda: START)
    with pytest.raises(StoreFailed) as caught:
        engine.search(parse_url(""), anyone)
    assert caught.value.code == "projection.building"
    writer = open_writer(address)
    with pytest.raises(ReadOnly):
        open_writer(address)
    projector = Projector(log, writer)
    assert projector.catch_up().covered == 40

    def seqs(question):
        return [one.seq for one in engine.search(parse_url(question), anyone).events]

    assert seqs("EQ_bizStep=shipping&perPage=100") == list(range(1, 40, 2))
    assert seqs("MATCH_anyEPC=urn:epc:idpat:sgtin:9521141.*.*&orderBy=recordTime&perPage=3") == [39, 38, 37]
    assert seqs(f"MATCH_epc={EPCS[3]}") == list(range(3, 40, 5))
    assert Resources(engine).page("bizSteps", 10, None, anyone).values == ("receiving", "shipping")
    with reader.snapshot() as snapshot:
        log.append(object_event(EPCS[0]))
        projector.catch_up()  # somebody writes, and this reader's view stands still
        assert snapshot.state.next_seq == 40
    writer.close()
    again = open_writer(address)
    assert Projector(log, again).catch_up().events == 41
    again.restart(b"another ledger")
    assert Projector(log, again).catch_up().events == 41
    again.close()
    reader.close()


def test_queries_are_kept(address):
    kept, other = open_kept(address), open_kept(address)
    kept.create("b", {"EQ_action": ["ADD"]}, START)
    with pytest.raises(QueryNameTaken):
        other.create("b", {}, START)
    other.create("a", {}, START)
    assert [one.name for one in kept.page("", 5)] == ["a", "b"]
    assert other.read("b").query == {"EQ_action": ["ADD"]}
    kept.delete("b")
    assert [one.name for one in other.page("", 5)] == ["a"]
    kept.close()
    other.close()


def test_master_data_is_found_by_name_and_place(address):
    def element(name, *children):
        return {
            "id": name,
            "attributes": [{"id": "cbvmda:city", "attribute": "Riga"}],
            "children": list(children),
        }

    places = [f"urn:epc:id:sgln:9521141.0001{n}.0" for n in range(3)]
    elements = [element(places[0], places[1]), element(places[1]), element(places[2])]
    vocabulary = {"type": "urn:example:places", "vocabularyElementList": elements}
    document = {"epcisHeader": {"epcisMasterData": {"vocabularyList": [vocabulary]}}}
    writer = open_writer(address)
    log = PaperLog([object_event(EPCS[0])])
    Projector(log, writer).catch_up()
    with writer.snapshot() as snapshot:
        state = snapshot.state
    records = [(0, record) for record in records_of(document)]
    writer.append(state, [], next_seq=1, recorded_to=0, records=records)
    names = sorted(record.id for _, record in records)
    with writer.snapshot() as snapshot:
        assert [record.id for _, record in snapshot.records(("", ""), 9)] == names
        after = (names[0], "urn:example:places")
        assert snapshot.records(after, 9, names[:2]) == [one for one in records if one[1].id == names[1]]
        assert snapshot.records(("", ""), 9, ["urn:x"]) == []
    writer.close()
