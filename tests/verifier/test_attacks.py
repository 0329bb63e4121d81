"""What an operator who holds the log's key tries, and what a partner or a thief with one key tries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tt_epcis import aggregation, object_event
from tt_evidence import (
    CASE,
    NOON,
    OTHER_PACK,
    PACK,
    PACK_NAME,
    PALLET,
    World,
    edit,
    make_world,
    read,
    without,
    witness,
)

from anchoring import batch, record
from anchoring.rfc3161 import TokenVerifier, build_query
from keys import envelope, note
from keys.registry import revoke_statement
from ledger import checkpoint as checkpoints
from ledger import entry as entries
from ledger import proof
from ledger.checkpoint import Checkpoint
from verifier import evidence, receipt
from verifier.ledger_audit import audit
from verifier.verdict import Report, Verdict

MINUTE = timedelta(minutes=1)


def codes(report: Report) -> set[str]:
    return {check.code for check in report.checks if check.outcome != "ok"}


def rewrite(world: World, seq: int, **members: object) -> None:
    """Give one entry other members, and chain all after it anew: who holds the log's key can."""
    for place in range(seq, len(world.entries)):
        entry = entries.parse(world.entries[place])
        if place == seq:
            entry = replace(entry, **members)
        if place:
            entry = replace(entry, prev=entries.leaf_hash(world.entries[place - 1]))
        world.entries[place] = entries.render(entry)
    world.rebuild()


# The operator turns back the clock of one entry.


def expired_world() -> tuple[World, int]:
    """acme's key has expired; then it signs once more."""
    world = World()
    world.register("acme", not_after=NOON + MINUTE)
    world.register("carrier")
    world.register("operator", roles=("operator",))
    world.event("acme", object_event(PACK, action="ADD", bizStep="commissioning"))
    world.now += 60 * MINUTE
    world.event("carrier", object_event(PACK, bizStep="shipping"))
    world.event("carrier", object_event(OTHER_PACK, bizStep="shipping"))
    late = world.event("acme", object_event(PACK, bizStep="inspecting"))
    return world, late


def test_an_expired_key_does_not_count_again_because_one_entry_s_clock_was_set_back() -> None:
    world, late = expired_world()
    rewrite(world, late, recorded_at=NOON + MINUTE / 2)
    world.anchor()
    raw = world.bundle()
    # The neighbour below is of another product, so it is not in the file: the chain alone shows nothing.
    assert late - 1 not in {item.seq for item in read(raw).items}
    report = evidence.verify(raw, world.trust())
    assert report.verdict is Verdict.INVALID
    assert "entry.recorded_at" in codes(report)


def test_the_honest_clock_shows_the_expired_key() -> None:
    world, _ = expired_world()
    world.anchor()
    report = evidence.verify(world.bundle(), world.trust())
    assert report.verdict is Verdict.INVALID
    assert "key.expired" in codes(report)


# A revocation is hidden.


def world_with_skipped_revocation() -> World:
    """Every entry after the revocation links past it, and is signed for."""
    world = make_world()
    newest = max(seq for seq, raw in enumerate(world.entries) if b'"kind":"key"' in raw)
    world.revoke("acme", invalid_since=NOON)
    for _ in range(2):
        world.event("pharmacy", object_event(PACK, bizStep="inspecting"))
        rewrite(world, len(world.entries) - 1, keys=newest)
    world.anchor()
    rewrite(world, len(world.entries) - 1, keys=newest)
    return world


def test_links_that_all_pass_over_a_revocation_are_named_by_the_audit_and_never_claimed_by_a_bundle() -> None:
    world = world_with_skipped_revocation()
    report = evidence.verify(world.bundle(), world.trust())
    # A file that holds no entry but agreeing ones cannot show it. It must not say that it did.
    assert any("links pass over a statement about keys" in line for line in report.not_checked)
    named = audit(world, world.trust())
    assert named.verdict is Verdict.INVALID
    assert "entry.keys" in codes(named)


@pytest.mark.parametrize("kind", ["event", "anchor", "erasure", "policy"])
def test_a_revocation_under_another_kind_hides_from_nobody_who_audits(kind: str) -> None:
    world = make_world()
    raw = revoke_statement(
        world.registrar,
        origin=world.origin,
        party="acme",
        kid=world.keys["acme"].public.kid,
        reason="compromised",
        previous=world.previous("acme"),
    )
    world.append(kind, raw)
    world.event("pharmacy", object_event(PACK, bizStep="inspecting"))
    world.anchor()
    assert audit(world, world.trust()).verdict in (Verdict.INVALID, Verdict.UNKNOWN_KEY)


def test_a_walk_cannot_start_below_the_checkpoint_s_last_entry() -> None:
    world = make_world()
    world.revoke("acme", invalid_since=NOON)
    world.anchor()
    last = len(world.entries) - 1
    for kept in (last, last - 1):
        assert evidence.verify(without(world.bundle(), kept), world.trust()).verdict is not Verdict.VALID


def test_an_older_checkpoint_of_the_same_file_does_not_carry_the_newer_entries() -> None:
    world = make_world()
    old = world.checkpoint
    world.revoke("acme", invalid_since=NOON)
    world.anchor()
    assert evidence.verify(edit(world.bundle(), checkpoint=old), world.trust()).verdict is Verdict.INVALID


def test_a_thief_cannot_shield_what_he_signed_by_revoking_the_key_himself() -> None:
    world = make_world()
    stolen = world.keys["acme"]
    forged = world.event("acme", object_event(PACK, bizStep="inspecting"))
    world.key_statement(
        revoke_statement(
            stolen,
            origin=world.origin,
            party="acme",
            kid=stolen.public.kid,
            reason="superseded",
            previous=world.previous("acme"),
        )
    )
    world.anchor()
    assert evidence.verify(world.bundle(), world.trust()).verdict is Verdict.VALID
    world.revoke("acme", kid=stolen.public.kid, invalid_since=NOON + timedelta(seconds=15))
    world.anchor()
    report = evidence.verify(world.bundle(), world.trust())
    assert report.verdict is Verdict.SUSPECT
    assert [check.seq for check in report.checks if check.outcome == "suspect"] == [forged]


# Anchors that cover what they do not.


def anchored_as(world: World, text: str, *, batch_texts: list[str] | None = None, index: int = 0) -> int:
    """An anchor entry whose record claims this text, with a true token over a batch of these texts."""
    made = batch.build([one.encode() for one in batch_texts or [text]])
    query = build_query(made.root)
    roots = [world.authority.identity.root]
    token = TokenVerifier(roots).verify_response(world.authority.answer(query.der), made.root, query.nonce)
    claimed = record.AnchorRecord(
        text, index, len(made.paths), made.paths[index], made.root, (record.Timestamp("tsa", token.der),)
    )
    raw = envelope.sign(
        world.keys["operator"], typ=record.TYP, aud=world.origin, payload=record.render(claimed)
    )
    size = checkpoints.parse_body(text).tree_size
    seq = world.append("anchor", raw)
    world.anchor_sizes.append((size, seq))
    return seq


def test_a_true_token_over_another_text_of_the_batch_anchors_nothing() -> None:
    world = make_world()
    world.event("pharmacy", object_event(PACK, bizStep="inspecting"))
    size = len(world.entries)
    ours = checkpoints.render_body(checkpoints.parse_unverified(world.sign_at(size)))
    other = checkpoints.render_body(Checkpoint("other.example/epcis", size, bytes(32)))
    # The batch holds another log's text twice; the record says that ours stands at its index.
    anchored_as(world, ours, batch_texts=[other, other])
    report = evidence.verify(world.bundle(), world.trust())
    assert report.verdict is Verdict.INVALID
    assert "anchor.path" in codes(report)


def test_an_anchor_in_a_batch_of_several_logs_is_as_good_as_one_alone() -> None:
    world = make_world()
    world.event("pharmacy", object_event(PACK, bizStep="inspecting"))
    size = len(world.entries)
    ours = checkpoints.render_body(checkpoints.parse_unverified(world.sign_at(size)))
    other = checkpoints.render_body(Checkpoint("other.example/epcis", size, bytes(32)))
    anchored_as(world, ours, batch_texts=[other, ours, other], index=1)
    assert evidence.verify(world.bundle(), world.trust()).verdict is Verdict.VALID


@pytest.mark.parametrize("size", [1, 5])
def test_an_anchor_of_few_entries_does_not_cover_the_many_after_it(size: int) -> None:
    world = World()
    world.register("acme")
    world.register("operator", roles=("operator",))
    for _ in range(4):
        world.event("acme", object_event(PACK, bizStep="inspecting"))
    world.anchor(size=size)
    world.anchor_sizes = [(len(world.entries), len(world.entries) - 1)]  # the server claims more for it
    report = evidence.verify(world.bundle(), world.trust())
    assert report.verdict is Verdict.NOT_YET_ANCHORED
    late = [fact["seq"] for fact in report.facts["events"] if fact["existed_by"] is None]
    assert late == [seq for seq in range(3, 7) if seq >= size]


def test_an_anchor_with_one_token_for_another_root_is_refuted_whole() -> None:
    world = make_world()
    seq = max(seq for seq, raw in enumerate(world.entries) if b'"kind":"anchor"' in raw)
    statement = envelope.parse(world.statements[seq] or b"")
    honest = record.parse(statement.payload)
    first = min(seq for seq, raw in enumerate(world.entries) if b'"kind":"anchor"' in raw)
    foreign = record.parse(envelope.parse(world.statements[first] or b"").payload).timestamps[0]
    mixed = replace(honest, timestamps=(*honest.timestamps, record.Timestamp("tsa2", foreign.token)))
    world.append(
        "anchor",
        envelope.sign(world.keys["operator"], typ=record.TYP, aud=world.origin, payload=record.render(mixed)),
    )
    world.anchor_sizes.append((checkpoints.parse_body(honest.checkpoint).tree_size, len(world.entries) - 1))
    world.anchor_sizes.pop(-2)
    report = evidence.verify(world.bundle(), world.trust())
    assert report.verdict is Verdict.INVALID
    assert "token.imprint" in codes(report)


# Signature lines under the checkpoint.


def with_lines(world: World, change: Callable[[note.Note], tuple[note.SignatureLine, ...]]) -> bytes:
    parsed = note.parse(world.checkpoint)
    return edit(world.bundle(), checkpoint=note.render(replace(parsed, signatures=change(parsed))))


def test_a_witness_cannot_stand_in_for_the_log() -> None:
    world = make_world()
    signer = witness(1)
    raw = with_lines(world, lambda parsed: (signer.sign_cosignature(parsed.text, 1),))
    report = evidence.verify(raw, world.trust(witnesses=[signer], quorum="w1"))
    assert report.verdict is Verdict.UNKNOWN_KEY
    assert "checkpoint.unknown" in codes(report)


def test_one_witness_who_signs_many_times_is_one_witness() -> None:
    world = make_world()
    signers = [witness(1), witness(2)]
    raw = with_lines(
        world,
        lambda parsed: (
            *parsed.signatures,
            *(signers[0].sign_cosignature(parsed.text, second) for second in range(1, 9)),
        ),
    )
    from verifier.policy import Group, Policy, Witness

    trust = world.trust()
    policy = Policy(
        tuple(world.verifiers),
        (Witness("w1", signers[0].verifier), Witness("w2", signers[1].verifier)),
        (Group("both", 2, ("w1", "w2")),),
        "both",
    )
    report = evidence.verify(raw, replace(trust, policy=policy))
    assert report.verdict is Verdict.NOT_YET_ANCHORED
    assert codes(report) == {"checkpoint.quorum"}


def test_the_log_s_own_line_is_no_witness_s() -> None:
    world = make_world()
    # The log's key cosigns under the witness's name: another key, so another key id.
    own = note.NoteSigner.from_private_key(witness(1).name, world.signers[0].key, note.TYPE_COSIGNATURE)
    raw = with_lines(world, lambda parsed: (*parsed.signatures, own.sign_cosignature(parsed.text, 1)))
    report = evidence.verify(raw, world.trust(witnesses=[witness(1)], quorum="w1"))
    assert codes(report) == {"checkpoint.quorum"}


# Receipts.


@pytest.mark.parametrize("kind", ["anchor", "key", "genesis", "erasure"])
def test_a_receipt_for_an_event_under_another_kind_is_refuted(kind: str) -> None:
    world = make_world()
    statement = envelope.sign(world.keys["acme"], typ="epcis-event+jws", aud=world.origin, payload=b"{}")
    seq = world.append(kind, statement)
    report = receipt.verify(proof.render(world.receipt(seq)), world.trust(), statement=statement)
    assert report.verdict is Verdict.INVALID
    assert "statement.kind" in codes(report)


def test_a_receipt_under_a_kind_of_the_future_decides_nothing() -> None:
    world = make_world()
    statement = envelope.sign(world.keys["acme"], typ="epcis-event+jws", aud=world.origin, payload=b"{}")
    seq = world.append("note", statement)
    report = receipt.verify(proof.render(world.receipt(seq)), world.trust(), statement=statement)
    assert report.verdict is Verdict.UNKNOWN_KEY
    assert "entry.kind" in codes(report)
    assert not any(check.name == "statement" and check.outcome == "ok" for check in report.checks)


# Nobody's honest history can be turned against him.


THINGS = (PACK, OTHER_PACK, CASE, PALLET)
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["SEEN", "ADD", "ADD", "DELETE", "DELETE", "OBSERVE"]),
        st.sampled_from(THINGS),
        st.lists(st.sampled_from(THINGS), min_size=0, max_size=2, unique=True),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=12, deadline=None)
@given(MOVES)
def test_whatever_partners_say_about_boxes_the_evidence_of_an_honest_ledger_stands(
    moves: list[tuple[str, str, list[str]]],
) -> None:
    # Boxes within themselves, taken out of where they never were, emptied twice: said by signed events,
    # so a partner could say them about somebody else's product.
    world = World()
    world.register("acme")
    world.register("operator", roles=("operator",))
    world.event("acme", object_event(PACK, bizStep="commissioning"))
    for action, thing, others in moves:
        if action == "SEEN" or (action != "DELETE" and not others):
            world.event("acme", object_event(thing, bizStep="inspecting"))
        else:
            world.event("acme", aggregation(action, thing, *others))
    world.anchor()
    report = evidence.verify(world.bundle(PACK_NAME), world.trust())
    assert report.verdict is Verdict.VALID, (moves, codes(report))


def test_a_checkpoint_over_more_entries_than_there_can_be_does_not_keep_the_auditor() -> None:
    world = make_world()
    world.checkpoint = checkpoints.sign(Checkpoint(world.origin, 2**62, world.root), *world.signers)
    report = audit(world, world.trust())
    assert report.verdict is Verdict.INVALID
    assert "entry.missing" in codes(report)
