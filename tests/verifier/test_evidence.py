"""Promises of an evidence bundle: who may doubt what, and what a lie about it comes to."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from tt_epcis import aggregation, object_event
from tt_evidence import (
    CASE,
    NOON,
    OTHER_PACK,
    PACK,
    PACK_NAME,
    PALLET,
    World,
    alter,
    edit,
    identity,
    items_of,
    make_world,
    prove_again,
    read,
    without,
    witness,
)
from tt_keys import ed25519_key, p256_key

from anchoring.devtsa import DevelopmentAuthority
from keys import envelope, note
from keys.errors import Fault
from ledger import checkpoint as checkpoints
from ledger.checkpoint import Checkpoint
from traceability.gs1 import canonical
from traceability.history import history
from verifier import evidence
from verifier.bundle import Consistency
from verifier.errors import NoEvidence
from verifier.trust import Trust
from verifier.verdict import Report, Verdict

SECOND = timedelta(seconds=1)


def codes(report: Report) -> set[str]:
    return {check.code for check in report.checks if check.outcome != "ok"}


def outcomes(report: Report, name: str) -> set[str]:
    return {check.outcome for check in report.checks if check.name == name}


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


@pytest.fixture(scope="module")
def bundle(world: World) -> bytes:
    return world.bundle()


def test_an_honest_bundle_is_valid_and_says_what_it_did_not_check(world: World, bundle: bytes) -> None:
    report = evidence.verify(bundle, world.trust())
    assert (report.verdict, report.exit_code) == (Verdict.VALID, 0), report.checks
    assert {check.name for check in report.checks} == {
        *("file", "checkpoint", "genesis", "inclusion", "key-history", "signatures"),
        *("subject", "anchors", "times", "key-state"),
    }
    assert any("holds more about this product" in sentence for sentence in report.not_checked)
    assert any("product in your hand" in sentence for sentence in report.not_checked)
    assert [signer["party"] for signer in report.facts["signers"]] == [
        *("acme", "carrier", "distributor", "pharmacy"),
    ]
    assert all(event["existed_by"] for event in report.facts["events"])


def test_the_product_in_hand_is_compared_in_any_spelling(world: World, bundle: bytes) -> None:
    same = evidence.verify(bundle, world.trust(), expected_subject=PACK)
    assert same.verdict is Verdict.VALID
    assert not any("product in your hand" in sentence for sentence in same.not_checked)
    other = evidence.verify(bundle, world.trust(), expected_subject=OTHER_PACK)
    assert other.verdict is Verdict.INVALID
    assert evidence.verify(bundle, world.trust(), expected_subject="urn:nonsense").verdict is Verdict.INVALID


# Trust: what is not pinned is not believed.


def test_nothing_pinned_is_unknown_key(bundle: bytes) -> None:
    report = evidence.verify(bundle, Trust())
    assert (report.verdict, report.exit_code) == (Verdict.UNKNOWN_KEY, 3)
    # The file can still be held against itself.
    assert outcomes(report, "inclusion") == {"ok"}


@pytest.mark.parametrize("missing", ["policy", "genesis", "roots"])
def test_each_missing_pin_is_unknown_key(world: World, bundle: bytes, missing: str) -> None:
    trust = replace(world.trust(), **{missing: () if missing == "roots" else None})
    assert evidence.verify(bundle, trust).verdict is Verdict.UNKNOWN_KEY


def test_an_unpinned_authority_is_unknown_key(world: World, bundle: bytes) -> None:
    report = evidence.verify(bundle, world.trust(authorities=["somebody else"]))
    assert report.verdict is Verdict.UNKNOWN_KEY
    assert "anchor.timestamps" in codes(report)


def test_evidence_of_another_ledger_is_not_valid(world: World) -> None:
    other = make_world(origin="other.example/epcis")
    assert evidence.verify(other.bundle(), world.trust()).verdict is Verdict.UNKNOWN_KEY


def test_a_second_ledger_of_the_same_name_and_log_key_is_invalid(world: World) -> None:
    # The operator began again: same keys, another first entry.
    again = make_world(read="none")
    report = evidence.verify(again.bundle(), world.trust())
    assert report.verdict is Verdict.INVALID
    assert "genesis.other" in codes(report)


def test_a_checkpoint_signed_by_a_stranger_is_not_valid(world: World, bundle: bytes) -> None:
    checkpoint = checkpoints.parse_unverified(world.checkpoint)
    stranger = note.NoteSigner.from_private_key(world.origin, ed25519_key("stranger"))
    forged = edit(bundle, checkpoint=checkpoints.sign(checkpoint, stranger))
    report = evidence.verify(forged, world.trust())
    assert report.verdict is Verdict.UNKNOWN_KEY
    assert "checkpoint.unknown" in codes(report) or "note.unknown" in codes(report)


# The tree.


def test_a_false_root_or_size_is_invalid(world: World, bundle: bytes) -> None:
    true = checkpoints.parse_unverified(world.checkpoint)
    for claim in (
        Checkpoint(true.origin, true.tree_size, bytes(32)),
        Checkpoint(true.origin, true.tree_size + 1, true.root_hash),
        Checkpoint(true.origin, true.tree_size - 1, true.root_hash),
    ):
        forged = edit(bundle, checkpoint=checkpoints.sign(claim, *world.signers))
        assert evidence.verify(forged, world.trust()).verdict is Verdict.INVALID


def test_swapped_paths_entries_and_statements_are_invalid(world: World, bundle: bytes) -> None:
    first, second = items_of(bundle, "event")[:2]
    for changes in (
        {first.seq: {"path": second.path}},
        {first.seq: {"path": first.path[:-1]}},
        {first.seq: {"path": (*first.path, bytes(32))}},
        {first.seq: {"statement": second.statement}, second.seq: {"statement": first.statement}},
    ):
        forged = bundle
        for seq, change in changes.items():
            forged = alter(forged, seq, **change)
        assert evidence.verify(forged, world.trust()).verdict is Verdict.INVALID


def test_entries_out_of_order_or_twice_are_invalid(world: World, bundle: bytes) -> None:
    items = read(bundle).items
    for forged in ((*items[:5], items[6], items[5], *items[7:]), (*items[:5], items[4], *items[5:]), ()):
        assert evidence.verify(edit(bundle, items=forged), world.trust()).verdict is Verdict.INVALID


def test_another_origin_in_the_file_is_not_valid(world: World, bundle: bytes) -> None:
    assert evidence.verify(edit(bundle, origin="x.example"), world.trust()).verdict is not Verdict.VALID


# The key history.


def test_a_left_out_revocation_is_not_valid() -> None:
    world = make_world()
    revocation = world.revoke("acme", invalid_since=NOON + SECOND)
    world.event("pharmacy", object_event(PACK, bizStep="inspecting"))
    world.anchor()
    bundle = world.bundle()
    assert evidence.verify(bundle, world.trust()).verdict is Verdict.SUSPECT
    report = evidence.verify(without(bundle, revocation), world.trust())
    assert report.verdict is Verdict.UNKNOWN_KEY
    assert "keys.walk" in codes(report)


@pytest.mark.parametrize("kind", ["genesis", "key"])
def test_no_key_entry_can_be_left_out(world: World, bundle: bytes, kind: str) -> None:
    for item in items_of(bundle, kind):
        report = evidence.verify(without(bundle, item.seq), world.trust())
        assert report.verdict is not Verdict.VALID


def test_the_entry_the_walk_starts_from_cannot_be_left_out(world: World, bundle: bytes) -> None:
    tail = read(bundle).items[-1].seq
    assert evidence.verify(without(bundle, tail), world.trust()).verdict is Verdict.UNKNOWN_KEY


def test_hidden_key_statements_are_not_valid(world: World, bundle: bytes) -> None:
    for item in (*items_of(bundle, "genesis"), *items_of(bundle, "key")):
        assert (
            evidence.verify(alter(bundle, item.seq, statement=None), world.trust()).verdict
            is not Verdict.VALID
        )


def test_a_ledger_that_links_past_a_revocation_is_caught() -> None:
    # An operator who signs false links: the entry after the revocation points to the key statement before.
    world = make_world()
    newest = max(s for s, e in enumerate(world.entries) if b'"kind":"key"' in e)
    world.revoke("acme", invalid_since=NOON + SECOND)
    world.event("pharmacy", object_event(PACK, bizStep="inspecting"))
    link = b'{"keys":%d,' % (len(world.entries) - 2)
    world.entries[-1] = world.entries[-1].replace(link, b'{"keys":%d,' % newest)
    world.rebuild()
    world.anchor(size=len(world.entries))
    report = evidence.verify(world.bundle(), world.trust())
    assert report.verdict is Verdict.INVALID
    assert "keys.link" in codes(report)


def test_a_key_statement_that_the_registry_refuses_is_invalid() -> None:
    world = make_world()
    forged = world.statements[1]
    assert forged is not None
    world.append("key", forged)  # the same registration again: a kid is registered once, ever
    world.event("pharmacy", object_event(PACK))
    world.anchor()
    report = evidence.verify(world.bundle(), world.trust())
    assert report.verdict is Verdict.INVALID
    assert "key-history" in {check.name for check in report.checks if check.outcome == "bad"}


# Who signed, and when.


def signed_late(world: World, **options: object) -> Report:
    """The report once the ledger took one more event, however wrong, and anchored it."""
    world.event("pharmacy", object_event(PACK, bizStep="inspecting"), **options)
    world.anchor()
    return evidence.verify(world.bundle(), world.trust())


def test_a_key_that_nobody_registered_is_unknown_key() -> None:
    report = signed_late(make_world(), key=ed25519_key("nobody"))
    assert report.verdict is Verdict.UNKNOWN_KEY
    assert "key.unknown" in codes(report)


def test_a_key_that_was_registered_only_later_is_unknown_key() -> None:
    world = make_world()
    world.event("pharmacy", object_event(PACK), key=ed25519_key("newcomer"))
    world.register("newcomer")
    world.event("pharmacy", object_event(PACK, bizStep="inspecting"))
    world.anchor()
    report = evidence.verify(world.bundle(), world.trust())
    assert report.verdict is Verdict.UNKNOWN_KEY
    assert "key.unknown" in codes(report)


def test_a_key_that_was_revoked_or_rotated_before_is_invalid() -> None:
    world = make_world()
    world.revoke("pharmacy", reason="ceased")
    assert "key.revoked" in codes(signed_late(world))
    world = make_world()
    old = world.keys["pharmacy"]
    world.rotate("pharmacy", label="pharmacy 2")
    report = signed_late(world, key=old)
    assert report.verdict is Verdict.INVALID
    assert "key.rotated" in codes(report)
    world = make_world()
    world.rotate("pharmacy", label="pharmacy 2")
    assert signed_late(world).verdict is Verdict.VALID


def test_an_expired_key_is_invalid() -> None:
    world = make_world()
    world.register("late", not_after=world.now + 3 * SECOND)
    world.now += 10 * SECOND
    report = signed_late(world, key=world.keys["late"])
    assert report.verdict is Verdict.INVALID
    assert "key.expired" in codes(report)


def test_a_statement_for_another_ledger_is_invalid() -> None:
    report = signed_late(make_world(), aud="staging.example/epcis")
    assert report.verdict is Verdict.INVALID
    assert "jws.aud" in codes(report)


def test_a_bad_signature_that_the_ledger_took_is_invalid() -> None:
    world = make_world()
    good = world.statements[world.event("pharmacy", object_event(PACK))]
    assert good is not None
    head, payload, _ = good.split(b".")
    other = world.statements[6]
    assert other is not None
    forged = b".".join((head, payload, other.split(b".")[2]))
    world.append("event", forged, names=((0, PACK_NAME),))
    world.anchor()
    report = evidence.verify(world.bundle(), world.trust())
    assert report.verdict is Verdict.INVALID
    assert "signature" in codes(report)


def test_an_operator_cannot_sign_events_nor_an_emitter_anchors() -> None:
    report = signed_late(make_world(), key=ed25519_key("operator"))
    assert report.verdict is Verdict.INVALID
    assert "authority.role" in codes(report)
    world = make_world()
    world.event("pharmacy", object_event(PACK))
    world.anchor(party="acme")
    assert "authority.role" in codes(evidence.verify(world.bundle(), world.trust()))


def test_classes_and_kinds_do_not_pass_for_each_other() -> None:
    for typ, verdict in (("anchor+jws", Verdict.INVALID), ("unheard-of+jws", Verdict.UNKNOWN_KEY)):
        world = make_world()
        seq = world.event("pharmacy", object_event(PACK), typ=typ)
        world.anchor()
        bundle = world.bundle()
        items = tuple(sorted((*read(bundle).items, *prove_again(world, [seq])), key=lambda item: item.seq))
        report = evidence.verify(edit(bundle, items=items), world.trust())
        assert report.verdict is verdict
        assert codes(report) & {"statement.kind", "typ.unknown"}


def test_both_algorithms_are_verified() -> None:
    world = make_world()
    key = p256_key("acme 256")
    from keys.registry import possession_statement, register_statement

    world.key_statement(
        register_statement(
            world.registrar,
            origin=world.origin,
            party="acme",
            name="Acme",
            roles=["emitter"],
            possession=possession_statement(key, origin=world.origin, party="acme", purpose="register"),
            previous=world.previous("acme"),
        )
    )
    assert signed_late(world, key=key).verdict is Verdict.VALID


# Keys in other hands.


@pytest.mark.parametrize(
    ("invalid_since", "verdict"),
    [
        (NOON + 3 * SECOND, Verdict.SUSPECT),  # before the first anchor
        (NOON + 12 * SECOND, Verdict.VALID),  # after the anchor that covers acme's events, at 12:00:10 ± 1 s
        (NOON + 11 * SECOND, Verdict.SUSPECT),  # at the end of that time: not before
        (NOON + 10 * SECOND, Verdict.SUSPECT),
        (None, Verdict.SUSPECT),  # nobody knows since when
    ],
)
def test_a_compromise_spares_only_what_was_anchored_before(
    invalid_since: datetime | None, verdict: Verdict
) -> None:
    world = make_world()
    world.revoke("acme", invalid_since=invalid_since)
    world.anchor()
    report = evidence.verify(world.bundle(), world.trust())
    assert report.verdict is verdict
    if verdict is Verdict.SUSPECT:
        suspects = [check.seq for check in report.checks if check.outcome == "suspect"]
        assert suspects == [6, 7, 8]  # acme's events and nobody else's


def test_a_superseded_key_casts_no_doubt() -> None:
    world = make_world()
    world.revoke("acme", reason="superseded")
    world.anchor()
    assert evidence.verify(world.bundle(), world.trust()).verdict is Verdict.VALID


def test_what_a_thief_brought_onto_the_ledger_is_suspect_too() -> None:
    world = make_world()
    stolen = world.keys["pharmacy"].public.kid
    moment = world.now
    world.rotate("pharmacy", label="the thief's own")
    world.event("pharmacy", object_event(PACK, bizStep="inspecting"))
    late = len(world.entries) - 1
    world.anchor()
    world.revoke("pharmacy", kid=stolen, invalid_since=moment)
    world.anchor()
    report = evidence.verify(world.bundle(), world.trust())
    assert report.verdict is Verdict.SUSPECT
    assert late in {check.seq for check in report.checks if check.outcome == "suspect"}


# Outside time.


def test_an_event_without_an_anchor_is_not_yet_anchored() -> None:
    world = make_world()
    world.event("pharmacy", object_event(PACK, bizStep="inspecting"))
    report = evidence.verify(world.bundle(), world.trust())
    assert (report.verdict, report.exit_code) == (Verdict.NOT_YET_ANCHORED, 4)


def test_left_out_anchors_only_make_it_fresher(world: World, bundle: bytes) -> None:
    # Without an anchor the file proves less, never more.
    anchors = items_of(bundle, "anchor")
    sizes = {proof.size: proof for proof in read(bundle).consistency}
    kept = tuple(proof for size, proof in sizes.items() if size != min(sizes))
    forged = edit(without(bundle, anchors[0].seq), consistency=kept)
    assert evidence.verify(forged, world.trust()).verdict is Verdict.VALID
    none = edit(without(bundle, anchors[0].seq), consistency=())
    assert evidence.verify(none, world.trust()).verdict is Verdict.UNKNOWN_KEY


def test_consistency_proofs_are_needed_right_and_no_more(world: World, bundle: bytes) -> None:
    proofs = read(bundle).consistency
    extra = tuple(sorted((*proofs, Consistency(2, ())), key=lambda proof: proof.size))
    wrong = (replace(proofs[0], path=proofs[0].path[::-1]), *proofs[1:])
    swapped = (replace(proofs[0], size=proofs[0].size + 1), *proofs[1:])
    for forged in (extra, wrong, swapped, proofs[1:], ()):
        assert evidence.verify(edit(bundle, consistency=forged), world.trust()).verdict is not Verdict.VALID


def test_an_anchor_of_another_tree_is_invalid() -> None:
    world = make_world()
    size = len(world.entries)
    world.anchor(size=size, text=checkpoints.render_body(Checkpoint(world.origin, size, bytes(32))))
    world.event("pharmacy", object_event(PACK))
    world.anchor_sizes = world.anchor_sizes[-1:]
    world.anchor()
    report = evidence.verify(world.bundle(), world.trust())
    assert report.verdict is Verdict.INVALID
    assert "merkle.consistency" in codes(report)


@pytest.mark.parametrize(("origin", "ahead"), [("other.example", 0), ("ledger.example/epcis", 5)])
def test_an_anchor_of_another_ledger_or_of_the_future_is_invalid(origin: str, ahead: int) -> None:
    world = make_world()
    world.event("pharmacy", object_event(PACK))
    size = len(world.entries) + ahead
    root = checkpoints.parse_unverified(world.checkpoint).root_hash
    world.anchor(size=size, text=checkpoints.render_body(Checkpoint(origin, size, root)))
    bundle = world.bundle_without_proofs()
    assert evidence.verify(bundle, world.trust()).verdict is Verdict.INVALID


def test_a_ledger_clock_ahead_of_the_outside_one_is_suspect() -> None:
    world = make_world()
    world.event("pharmacy", object_event(PACK, bizStep="inspecting"))
    hour_ago = world.now - timedelta(hours=1)
    world.anchor(authority=DevelopmentAuthority(lambda: hour_ago, identity("tsa")))
    report = evidence.verify(world.bundle(), world.trust())
    assert report.verdict is Verdict.SUSPECT
    assert codes(report) == {"time.after-anchor"}


def test_a_ledger_clock_behind_the_outside_one_is_suspect() -> None:
    world = make_world()
    world.event("pharmacy", object_event(PACK, bizStep="inspecting"))
    in_an_hour = world.now + timedelta(hours=1)
    world.anchor(authority=DevelopmentAuthority(lambda: in_an_hour, identity("tsa")))
    report = evidence.verify(world.bundle(), world.trust())
    assert report.verdict is Verdict.SUSPECT
    assert codes(report) == {"time.before-anchor"}


# Witnesses.


def test_the_policy_says_how_many_witnesses_it_takes() -> None:
    world = make_world()
    trust = world.trust(witnesses=[witness(1), witness(2)], quorum="w1")
    assert evidence.verify(world.bundle(), trust).verdict is Verdict.NOT_YET_ANCHORED
    world.cosign(witness(2))
    assert evidence.verify(world.bundle(), trust).verdict is Verdict.NOT_YET_ANCHORED
    world.rebuild()
    world.cosign(witness(1))
    report = evidence.verify(world.bundle(), trust)
    assert report.verdict is Verdict.VALID
    assert outcomes(report, "witnesses") == {"ok"}


def test_a_known_witness_with_a_bad_line_spoils_the_checkpoint() -> None:
    world = make_world()
    world.cosign(witness(1))
    honest = world.checkpoint
    spoiled = note.parse(honest)
    line = spoiled.signatures[-1]
    bad = replace(line, signature=line.signature[:-1] + bytes([line.signature[-1] ^ 1]))
    world.checkpoint = note.render(replace(spoiled, signatures=(*spoiled.signatures[:-1], bad)))
    trust = world.trust(witnesses=[witness(1)])
    assert evidence.verify(world.bundle(), trust).verdict is Verdict.INVALID


# The product.


def test_another_product_in_the_file_is_invalid(world: World, bundle: bytes) -> None:
    forged = edit(bundle, subject=canonical("urn:epc:id:sgtin:9521141.012345.999"))
    report = evidence.verify(forged, world.trust())
    assert report.verdict is Verdict.INVALID
    assert "subject.other" in codes(report)


def test_events_after_the_pack_left_the_case_are_not_its_own(world: World, bundle: bytes) -> None:
    stored = 14  # the case, without the pack
    assert stored not in {item.seq for item in items_of(bundle, "event")}
    items = tuple(sorted((*read(bundle).items, *prove_again(world, [stored])), key=lambda i: i.seq))
    report = evidence.verify(edit(bundle, items=items), world.trust())
    assert report.verdict is Verdict.INVALID
    assert "subject.other" in codes(report)


def test_a_case_that_stood_on_the_pallet_before_the_pack_came_in() -> None:
    world = World()
    world.register("acme")
    world.register("operator", roles=("operator",))
    early = world.event("acme", aggregation("ADD", PALLET, CASE))
    world.event("acme", aggregation("ADD", CASE, PACK))
    shipped = world.event("acme", object_event(PALLET, bizStep="shipping"))
    world.anchor()
    assert early not in {item.seq for item in history(world, PACK_NAME).items}
    bundle = world.bundle()
    assert {early, shipped} <= {item.seq for item in items_of(bundle, "event")}
    assert evidence.verify(bundle, world.trust()).verdict is Verdict.VALID
    # Without the event that explains it, the pallet is a stranger.
    assert evidence.verify(without(bundle, early), world.trust()).verdict is Verdict.INVALID


def test_a_left_out_event_is_not_noticed_and_the_report_says_so(world: World, bundle: bytes) -> None:
    inspected = max(item.seq for item in items_of(bundle, "event"))
    report = evidence.verify(without(bundle, inspected), world.trust())
    assert report.verdict is Verdict.VALID
    assert any("holds more about this product" in sentence for sentence in report.not_checked)


def test_an_event_that_is_not_valid_epcis_is_invalid() -> None:
    world = make_world()
    world.event("pharmacy", object_event(PACK, eventTime="yesterday"))
    world.anchor()
    report = evidence.verify(world.bundle(), world.trust())
    assert report.verdict is Verdict.INVALID
    assert "event.invalid" in codes(report)


def test_an_erased_statement_is_never_a_pass(world: World, bundle: bytes) -> None:
    for item in items_of(bundle, "event"):
        report = evidence.verify(alter(bundle, item.seq, statement=None), world.trust())
        assert report.verdict is not Verdict.VALID
        assert "statement.erased" in codes(report)


def test_an_entry_of_an_unknown_kind_is_never_a_pass() -> None:
    world = make_world()
    payload = json.dumps(object_event(PACK)).encode()
    raw = envelope.sign(world.keys["acme"], typ="epcis-event+jws", aud=world.origin, payload=payload)
    seq = world.append("recall", raw)
    world.anchor()
    bundle = world.bundle()
    items = tuple(sorted((*read(bundle).items, *prove_again(world, [seq])), key=lambda i: i.seq))
    report = evidence.verify(edit(bundle, items=items), world.trust())
    assert report.verdict is Verdict.UNKNOWN_KEY
    assert "entry.kind" in codes(report)


def test_the_tail_of_somebody_else_is_proved_and_not_shown() -> None:
    world = make_world()
    world.event("carrier", object_event("urn:epc:id:sgtin:9521141.012345.777"))
    bundle = world.bundle()
    assert read(bundle).items[-1].statement is None
    report = evidence.verify(bundle, world.trust())
    assert report.verdict is Verdict.VALID
    assert any("not shown" in sentence or "not\n" in sentence for sentence in report.not_checked)


def test_a_key_statement_may_be_the_ledger_s_last_entry() -> None:
    world = make_world()
    world.revoke("acme", reason="superseded")
    bundle = world.bundle()
    assert read(bundle).items[-1].entry.kind == "key"
    assert evidence.verify(bundle, world.trust()).verdict is Verdict.VALID


# Building.


def test_nothing_is_bundled_about_an_unknown_product(world: World) -> None:
    with pytest.raises(NoEvidence):
        world.bundle(canonical("urn:epc:id:sgtin:9521141.012345.999"))


def test_a_history_that_was_cut_short_makes_no_bundle(world: World) -> None:
    cut = history(world, PACK_NAME, limit=2)
    with pytest.raises(Fault) as caught:
        evidence.build(world, world, PACK_NAME, cut)
    assert caught.value.code == "evidence.too-long"
