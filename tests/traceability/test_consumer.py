"""The facts a consumer sees: only what events say, with the entry that says it."""

from __future__ import annotations

from datetime import date

import pytest
from tt_epcis import PaperLedger, aggregation, object_event

from tallystick.demo.journey import build_journey, dispensed_pack
from traceability.consumer import State, class_names, product_facts
from traceability.history import history

PACK = "urn:epc:id:sgtin:9521141.012345.100"
CASE = "urn:epc:id:sscc:9521141.0001234567"
NAME = "https://id.gs1.org/01/09521141123454/21/100"
BORN = {"action": "ADD", "bizStep": "commissioning"}


def _facts(*events, name=NAME):
    return product_facts(history(PaperLedger(events), name))


def _at(minute, *epcs, **fields):
    return object_event(*(epcs or (PACK,)), eventTime=f"2026-11-05T08:{minute:02}:00Z", **fields)


def test_the_journeys_pack_has_all_its_facts():
    journey = build_journey(7)
    ledger = PaperLedger(event for _, event in journey)
    facts = product_facts(history(ledger, dispensed_pack(journey)))
    assert facts.gtin == "09521141123454"
    assert facts.serial is not None
    assert facts.name.endswith(facts.serial)
    assert facts.lot is not None
    assert facts.lot.text.startswith("L")
    assert facts.description is not None
    assert facts.expiry == date(2028, 3, 1)
    assert facts.commissioned is not None
    assert facts.lot.seq == facts.expiry_seq == facts.commissioned.seq
    assert journey[facts.commissioned.seq][0] == "manufacturer"
    assert facts.state is State.DISPENSED
    assert facts.ended == facts.last_seen
    assert journey[facts.state_seq][0] == "pharmacy"
    assert facts.after_end == facts.commissioned_again == facts.alarms == ()
    assert len(facts.sightings) > 20


def test_what_nobody_said_is_unknown():
    facts = _facts()
    assert facts.state is State.UNKNOWN
    assert (facts.lot, facts.expiry, facts.commissioned, facts.last_seen, facts.ended) == (None,) * 5
    assert not facts.is_expired(date(2999, 1, 1))


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"bizStep": "shipping"}, State.IN_TRANSIT),
        ({"bizStep": "stocking", "disposition": "sellable_accessible"}, State.ON_SALE),
        ({"bizStep": None, "disposition": "recalled"}, State.RECALLED),
        ({"bizStep": "shipping", "disposition": "recalled"}, State.RECALLED),
        ({"bizStep": "destroying"}, State.DESTROYED),
        ({"bizStep": "dispensing", "disposition": "dispensed"}, State.DISPENSED),
        ({"bizStep": "https://maker.example/blessing"}, State.UNKNOWN),
    ],
)
def test_the_state_is_what_the_last_event_says(fields, state):
    assert _facts(_at(1, **fields)).state is state


def test_a_pack_in_a_travelling_case_travels():
    facts = _facts(_at(1, **BORN), {**aggregation("ADD", CASE, PACK)}, _at(40, CASE, bizStep="shipping"))
    assert facts.state is State.IN_TRANSIT
    assert facts.state_seq == 2


def test_retiring_the_number_of_a_case_does_not_retire_the_pack():
    facts = _facts(_at(1, **BORN), aggregation("ADD", CASE, PACK), _at(40, CASE, bizStep="decommissioning"))
    assert facts.state is State.ACTIVE


def test_destroying_a_case_destroys_the_pack():
    facts = _facts(_at(1, **BORN), aggregation("ADD", CASE, PACK), _at(40, CASE, bizStep="destroying"))
    assert facts.state is State.DESTROYED


def test_an_event_that_arrives_late_does_not_turn_time_back():
    facts = _facts(_at(1, **BORN), _at(9, bizStep="dispensing"), _at(5, bizStep="shipping"))
    assert facts.state is State.DISPENSED
    assert facts.after_end == ()


def test_seen_again_after_its_end_is_a_warning():
    facts = _facts(_at(1, **BORN), _at(5, bizStep="dispensing"), _at(9, bizStep="dispensing"))
    assert facts.ended is not None
    assert facts.ended.seq == 1
    assert [sighting.seq for sighting in facts.after_end] == [2]


def test_a_recall_after_the_sale_reaches_whoever_bought():
    facts = _facts(_at(1, **BORN), _at(5, bizStep="dispensing"), _at(9, disposition="recalled"))
    assert facts.state is State.RECALLED
    assert facts.after_end == ()
    assert [(state, sighting.seq) for state, sighting in facts.alarms] == [(State.RECALLED, 2)]


def test_an_alarm_is_remembered_though_life_went_on():
    facts = _facts(
        _at(1, disposition="stolen"), _at(5, bizStep="stocking", disposition="sellable_accessible")
    )
    assert facts.state is State.ON_SALE
    assert [state for state, _ in facts.alarms] == [State.STOLEN]


def test_a_lasting_disposition_is_an_alarm_too():
    facts = _facts(_at(1, persistentDisposition={"set": ["recalled"]}))
    assert facts.state is State.RECALLED


def test_a_returned_pack_lives_on():
    facts = _facts(
        _at(1, bizStep="retail_selling"), _at(5, disposition="returned"), _at(9, bizStep="stocking")
    )
    assert facts.after_end == ()
    assert facts.ended is None


def test_used_up_in_making_something_else():
    made = object_event(
        type="TransformationEvent", epcList=None, action=None, inputEPCList=[PACK], outputEPCList=["urn:x:1"]
    )
    assert _facts(made).state is State.CONSUMED


def test_a_number_given_twice_is_a_warning():
    facts = _facts(_at(1, **BORN), _at(5, **BORN))
    assert [sighting.seq for sighting in facts.commissioned_again] == [1]


def test_what_was_said_at_birth_stands():
    first = _at(5, **BORN, ilmd={"cbvmda:lotNumber": "L1", "cbvmda:itemExpirationDate": "2028-03-01"})
    later = _at(9, action="ADD", bizStep="packing", ilmd={"cbvmda:lotNumber": "L2"})
    earlier = _at(1, action="ADD", bizStep="packing", ilmd={"cbvmda:itemExpirationDate": "2099-01-01"})
    facts = _facts(first, later, earlier)
    assert facts.lot is not None
    assert facts.lot.text == "L1"
    assert facts.expiry == date(2028, 3, 1)
    assert facts.is_expired(date(2028, 3, 2))
    assert not facts.is_expired(date(2028, 3, 1))


@pytest.mark.parametrize("name", ["cbvmda:", "urn:epcglobal:cbv:mda:", "https://gs1.org/voc/"])
@pytest.mark.parametrize("value", ["2028-03-01", "2028-03-01T00:00:00+01:00", {"@value": "2028-03-01"}])
def test_expiry_is_read_in_its_spellings(name, value):
    field = "expirationDate" if "voc" in name else "itemExpirationDate"
    assert _facts(_at(1, **BORN, ilmd={name + field: value})).expiry == date(2028, 3, 1)


@pytest.mark.parametrize("value", ["soon", "", 20280301, None, ["2028-03-01"], "2028-13-01"])
def test_an_expiry_nobody_can_read_is_unknown(value):
    assert _facts(_at(1, **BORN, ilmd={"cbvmda:itemExpirationDate": value})).expiry is None


def test_an_error_declaration_counts_for_nothing():
    wrong = _at(5, bizStep="destroying", errorDeclaration={"declarationTime": "2026-11-05T09:00:00Z"})
    assert _facts(_at(1, **BORN), wrong).state is State.ACTIVE


def test_a_recall_is_looked_for_under_the_lot_and_the_product():
    facts = _facts(_at(1, **BORN, ilmd={"cbvmda:lotNumber": "L/1"}))
    assert class_names(facts) == (
        "https://id.gs1.org/01/09521141123454/10/L%2F1",
        "https://id.gs1.org/01/09521141123454",
    )
    assert class_names(_facts(name="raw:urn:x:1")) == ()
