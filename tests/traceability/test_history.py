"""What happened to one thing, through every box it was in, and what hostile ledgers cannot change in it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tt_epcis import PaperLedger, aggregation, object_event

import traceability.history as history_module
from traceability.history import history
from traceability.names import index_key

PACK, OTHER = (f"urn:epc:id:sgtin:9521141.012345.{n}" for n in (100, 101))
CASE, CASE_2, PALLET, SHIP = (f"urn:epc:id:sscc:9521141.000123456{n}" for n in (1, 2, 3, 4))
NAME = "https://id.gs1.org/01/09521141123454/21/100"


def _link(sscc):
    from traceability.gs1 import canonical

    return canonical(sscc)


def _seqs(ledger, name=NAME, **options):
    return [item.seq for item in history(ledger, name, **options).items]


def _step(*epcs, step="shipping"):
    return object_event(*epcs, bizStep=step)


def test_a_pack_goes_with_its_case_and_pallet_while_it_is_in_them():
    ledger = PaperLedger(
        [
            _step(PACK, step="commissioning"),  # 0
            _step(CASE, step="commissioning"),  # 1: before the pack was in it
            aggregation("ADD", CASE, PACK, OTHER),  # 2
            _step(PALLET),  # 3: not yet
            aggregation("ADD", PALLET, CASE),  # 4
            _step(PALLET),  # 5
            _step(CASE, step="inspecting"),  # 6
            _step(OTHER, step="sampling"),  # 7: the neighbour's
            aggregation("DELETE", PALLET, CASE),  # 8
            _step(PALLET),  # 9: without the case
            _step(CASE, step="receiving"),  # 10
            aggregation("DELETE", CASE, PACK),  # 11
            _step(CASE),  # 12: without the pack
            _step(PACK, step="dispensing"),  # 13
        ]
    )
    found = history(ledger, NAME)
    assert [item.seq for item in found.items] == [0, 2, 4, 5, 6, 8, 10, 11, 13]
    via = {item.seq: item.via for item in found.items}
    assert via[2] == via[13] == ()
    assert via[4] == via[6] == via[8] == (_link(CASE),)
    assert via[5] == (_link(CASE), _link(PALLET))
    assert not found.truncated
    assert found.withheld == 0


def test_an_item_brings_the_bytes_that_prove_it():
    ledger = PaperLedger([_step(PACK)])
    (item,) = history(ledger, NAME).items
    assert item.statement_bytes == ledger.statements[0]
    assert item.entry == b"entry 0"
    assert item.event.value == _step(PACK)
    assert item.ordinal == 0


def test_any_spelling_asks_for_the_same_thing():
    ledger = PaperLedger([_step(PACK)])
    assert _seqs(ledger, PACK) == _seqs(ledger, "https://shop.example/01/09521141123454/10/L1/21/100") == [0]


def test_a_private_name_has_a_history_too():
    ledger = PaperLedger([_step("urn:maker:crate:7")])
    assert _seqs(ledger, "raw:urn:maker:crate:7") == _seqs(ledger, "urn:maker:crate:7") == [0]


def test_an_unknown_thing_has_none():
    found = history(PaperLedger([_step(OTHER)]), NAME)
    assert (found.items, found.truncated, found.name) == ((), False, NAME)


def test_without_aggregation_only_what_names_the_thing():
    ledger = PaperLedger([_step(PACK), aggregation("ADD", CASE, PACK), _step(CASE)])
    assert _seqs(ledger, through_aggregation=False) == [0, 1]


def test_a_case_on_the_pallet_before_the_pack_came_in():
    ledger = PaperLedger([aggregation("ADD", PALLET, CASE), aggregation("ADD", CASE, PACK), _step(PALLET)])
    assert _seqs(ledger) == [1, 2]


def test_emptying_a_box_ends_the_stay_of_everything_in_it():
    ledger = PaperLedger(
        [aggregation("ADD", CASE, PACK), _step(CASE), aggregation("DELETE", CASE), _step(CASE), _step(PACK)]
    )
    assert _seqs(ledger) == [0, 1, 2, 4]


def test_emptying_it_once_more_is_not_the_packs_affair():
    empty = aggregation("DELETE", CASE)
    ledger = PaperLedger([empty, aggregation("ADD", CASE, PACK), empty, empty, _step(CASE)])
    assert _seqs(ledger) == [1, 2]


def test_emptying_a_pallet_leaves_the_case_around_the_pack():
    ledger = PaperLedger(
        [
            aggregation("ADD", CASE, PACK),
            aggregation("ADD", PALLET, CASE),
            aggregation("DELETE", PALLET),
            _step(PALLET),
            _step(CASE),
        ]
    )
    assert _seqs(ledger) == [0, 1, 2, 4]


def test_two_boxes_that_swap_a_pack_a_thousand_times_are_answered_soon():
    moves = [aggregation("ADD", (CASE, CASE_2)[i % 2], PACK, OTHER) for i in range(1_000)]
    swaps = [aggregation("ADD", PALLET, (CASE, CASE_2)[i % 2]) for i in range(1_000)]
    ledger = PaperLedger([event for pair in zip(moves, swaps, strict=True) for event in pair])
    started = time.process_time()
    assert len(history(ledger, NAME, limit=5_000).items) == 2_000
    assert time.process_time() - started < 5


def test_taking_another_pack_out_does_not_end_this_ones_stay():
    ledger = PaperLedger(
        [aggregation("ADD", CASE, PACK, OTHER), aggregation("DELETE", CASE, OTHER), _step(CASE)]
    )
    assert _seqs(ledger) == [0, 1, 2]


def test_a_delete_from_another_box_changes_nothing():
    ledger = PaperLedger([aggregation("ADD", CASE, PACK), aggregation("DELETE", CASE_2, PACK), _step(CASE)])
    assert _seqs(ledger) == [0, 1, 2]


def test_packed_again_elsewhere_it_leaves_the_first_box():
    ledger = PaperLedger(
        [
            aggregation("ADD", CASE, PACK),
            _step(CASE),
            aggregation("ADD", CASE_2, PACK),
            _step(CASE),
            _step(CASE_2),
        ]
    )
    assert _seqs(ledger) == [0, 1, 2, 4]


def test_in_and_out_and_in_again():
    ledger = PaperLedger(
        [
            aggregation("ADD", CASE, PACK),
            aggregation("DELETE", CASE, PACK),
            _step(CASE),
            aggregation("ADD", CASE, PACK),
            _step(CASE),
        ]
    )
    assert _seqs(ledger) == [0, 1, 3, 4]


@pytest.mark.parametrize(
    "event",
    [
        aggregation("OBSERVE", CASE, PACK),
        aggregation("ADD", CASE, PACK, type="AssociationEvent"),
        aggregation("ADD", CASE, PACK, errorDeclaration={"declarationTime": "2026-11-05T08:15:00Z"}),
    ],
)
def test_what_does_not_pack_does_not_lend_its_boxs_events(event):
    assert _seqs(PaperLedger([event, _step(CASE)])) == [0]


def test_a_case_knows_nothing_of_its_packs_own_life():
    ledger = PaperLedger([aggregation("ADD", CASE, PACK), _step(PACK)])
    assert _seqs(ledger, _link(CASE)) == [0]


@pytest.mark.parametrize(
    "ring",
    [
        [(CASE, CASE)],
        [(CASE, PACK), (PACK, CASE)],
        [(CASE, PACK), (PALLET, CASE), (PACK, PALLET)],
        [(CASE, PACK), (PALLET, CASE), (SHIP, PALLET), (CASE, SHIP)],
        [(CASE, PACK), (PACK, CASE)] * 20,
    ],
)
def test_boxes_within_themselves_end(ring):
    ledger = PaperLedger(
        [*(aggregation("ADD", parent, child) for parent, child in ring), _step(CASE), _step(PACK)]
    )
    found = history(ledger, NAME)
    assert len(found.items) <= len(ledger.statements)
    assert found.items[-1].seq == len(ledger.statements) - 1


boxes = st.sampled_from([PACK, OTHER, CASE, CASE_2, PALLET])
moves = st.tuples(st.sampled_from(["ADD", "ADD", "DELETE", "EMPTY", "SEEN"]), boxes, boxes)


def _event(kind, parent, child):
    if kind == "SEEN":
        return _step(parent)
    return aggregation("DELETE", parent) if kind == "EMPTY" else aggregation(kind, parent, child)


def _by_replay(told, asked):
    """The same question answered the slow way: everything is replayed, and asked before each event."""
    inside, found = {}, []
    for seq, (kind, parent, child) in enumerate(told):
        around = [asked]
        while (box := inside.get(around[-1])) is not None and box not in around:
            around.append(box)
        if {parent, child} & set(around) if kind in ("ADD", "DELETE") else parent in around:
            found.append(seq)
        if kind == "ADD":
            inside[child] = parent
        elif kind == "DELETE" and inside.get(child) == parent:
            del inside[child]
        elif kind == "EMPTY":
            inside = {thing: box for thing, box in inside.items() if box != parent}
    return found


@settings(max_examples=150)
@given(st.lists(moves, max_size=16), boxes)
def test_history_is_what_a_replay_of_the_whole_ledger_gives(told, asked):
    ledger = PaperLedger(_event(*move) for move in told)
    assert _seqs(ledger, asked) == _by_replay(told, asked)


def test_nesting_beyond_the_bound_is_reported_and_not_followed(monkeypatch):
    monkeypatch.setattr(history_module, "NESTING_MAX", 2)
    ledger = PaperLedger(
        [
            aggregation("ADD", CASE, PACK),
            aggregation("ADD", PALLET, CASE),
            aggregation("ADD", SHIP, PALLET),
            _step(SHIP),
        ]
    )
    found = history(ledger, NAME)
    assert [item.seq for item in found.items] == [0, 1, 2]
    assert found.truncated


def test_reading_stops_at_its_bound_and_says_so(monkeypatch):
    monkeypatch.setattr(history_module, "PLACES_READ_MAX", 50)
    ledger = PaperLedger([_step(PACK) for _ in range(80)])
    found = history(ledger, NAME)
    assert found.truncated
    assert len(found.items) == 50 == ledger.statements_read


def test_a_limit_shows_the_earliest_and_says_that_there_is_more():
    ledger = PaperLedger([_step(PACK) for _ in range(5)])
    found = history(ledger, NAME, limit=3)
    assert [item.seq for item in found.items] == [0, 1, 2]
    assert found.truncated
    assert not history(ledger, NAME, limit=5).truncated


def test_more_than_one_page_of_places_is_read():
    ledger = PaperLedger([_step(PACK) for _ in range(600)])
    assert len(history(ledger, NAME).items) == 600


def test_a_pallet_used_for_years_is_read_only_as_far_as_needed():
    ledger = PaperLedger([aggregation("ADD", CASE, PACK), _step(CASE), aggregation("DELETE", CASE, PACK)])
    for _ in range(2_000):
        ledger.append(_step(CASE))
    assert _seqs(ledger) == [0, 1, 2]
    assert ledger.statements_read < 600


def test_a_colliding_key_brings_in_no_strangers_events():
    # The index files everything under the pack's key, as if all names had been made to collide.
    ledger = PaperLedger([_step(OTHER), _step(PACK), _step(CASE), aggregation("ADD", CASE, OTHER)], key=NAME)
    assert ledger.index.keys() == {index_key(NAME)}
    assert _seqs(ledger) == [1]


def test_an_erased_statement_is_counted_and_not_guessed():
    ledger = PaperLedger([_step(PACK), _step(PACK)])
    ledger.erase(0)
    found = history(ledger, NAME)
    assert [item.seq for item in found.items] == [1]
    assert found.withheld == 1


def test_a_statement_damaged_in_the_database_does_not_stop_the_rest():
    ledger = PaperLedger([_step(PACK), _step(PACK)])
    ledger.statements[0] = b"not.a.statement"
    assert _seqs(ledger) == [1]
