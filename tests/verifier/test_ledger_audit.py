"""Promises of an audit: a sound ledger passes; of an altered one exactly what was altered is named."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from tt_epcis import object_event
from tt_evidence import NOON, PACK, World, make_world, witness
from tt_keys import ed25519_key

from anchoring.devtsa import DevelopmentAuthority
from ledger import checkpoint as checkpoints
from ledger.checkpoint import Checkpoint
from ledger.errors import StoreFailed
from verifier import ledger_audit
from verifier.ledger_audit import Freshness
from verifier.trust import Trust
from verifier.verdict import Report, Verdict

SECOND = timedelta(seconds=1)


def audit(world: World, **options: object) -> Report:
    trust = options.pop("trust", None) or world.trust()
    return ledger_audit.audit(world, trust, **options)  # type: ignore[arg-type]


def codes(report: Report) -> set[str]:
    return {check.code for check in report.checks if check.outcome != "ok"}


def test_a_sound_ledger_is_valid() -> None:
    report = audit(make_world())
    assert (report.verdict, report.exit_code) == (Verdict.VALID, 0), report.checks
    assert {check.name for check in report.checks} == {
        *("checkpoint", "genesis", "ledger", "signatures", "anchors", "times", "key-state"),
    }
    assert report.facts["signatures_checked"] == report.facts["tree_size"] == 17
    assert report.not_checked


def test_without_trust_it_is_unknown_key_and_still_read() -> None:
    report = audit(make_world(), trust=Trust())
    assert report.verdict is Verdict.UNKNOWN_KEY
    assert report.facts["signatures_checked"] == 17
    assert codes(report) == {"checkpoint.unpinned", "genesis.unpinned", "anchor.unpinned"}


def test_one_altered_byte_in_a_statement_names_exactly_that_entry() -> None:
    dice = random.Random(3)
    for seq in range(17):
        world = make_world()
        raw = bytearray(world.statements[seq] or b"")
        raw[dice.randrange(len(raw))] ^= 1
        world.statements[seq] = bytes(raw)
        report = audit(world)
        assert (report.verdict, report.exit_code) == (Verdict.INVALID, 1)
        assert report.faulty_seqs == (seq,), report.checks


def test_one_altered_byte_in_an_entry_names_exactly_that_entry() -> None:
    dice = random.Random(4)
    for seq in range(17):
        world = make_world()
        raw = bytearray(world.entries[seq])
        raw[dice.randrange(len(raw))] ^= 1
        world.entries[seq] = bytes(raw)
        report = audit(world)
        assert report.verdict is Verdict.INVALID
        assert report.faulty_seqs == (seq,), report.checks


def test_an_altered_tile_is_named_and_no_anchor_blamed() -> None:
    world = make_world()
    tile = bytearray(world.tiles[0, 0])
    tile[40] ^= 1
    world.tiles[0, 0] = bytes(tile)
    report = audit(world)
    assert report.verdict is Verdict.INVALID
    assert report.faulty_seqs == ()
    assert any("tile" in check.detail for check in report.checks if check.outcome == "bad")
    assert "anchor.tree" not in codes(report)


def test_a_removed_entry_is_named() -> None:
    world = make_world()
    del world.entries[9], world.statements[9]
    report = audit(world)
    assert report.verdict is Verdict.INVALID
    assert report.faulty_seqs == (9,)


def late(world: World, **options: object) -> Report:
    world.event("pharmacy", object_event(PACK, bizStep="inspecting"), **options)
    world.anchor()
    return audit(world)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"aud": "staging.example"}, "jws.aud"),
        ({"key": ed25519_key("operator")}, "authority.role"),
        ({"typ": "key+jws"}, "statement.kind"),
        ({"typ": "genesis+jws"}, "statement.kind"),
    ],
)
def test_what_a_ledger_should_not_have_taken_is_named(options: dict[str, object], code: str) -> None:
    world = make_world()
    report = late(world, **options)
    assert (report.verdict, report.faulty_seqs) == (Verdict.INVALID, (17,))
    assert code in codes(report)


def test_an_unregistered_key_is_unknown_and_named() -> None:
    report = late(make_world(), key=ed25519_key("nobody"))
    assert report.verdict is Verdict.UNKNOWN_KEY
    assert [(check.seq, check.code) for check in report.checks if check.outcome == "unknown"] == [
        (17, "key.unknown")
    ]


def test_a_revoked_key_is_judged_at_its_position() -> None:
    world = make_world()
    world.revoke("pharmacy", reason="ceased")
    report = late(world)
    assert report.faulty_seqs == (18,)  # what it signed before, at 15, is fine
    assert "key.revoked" in codes(report)


def test_signed_garbage_is_named() -> None:
    world = make_world()
    world.append("event", b"not a JWS")
    world.append("event", b"\xff" * 100)
    world.append("key", b"garbage")
    world.append("anchor", world.statements[6] or b"")
    report = audit(world)
    assert report.verdict is Verdict.INVALID
    assert report.faulty_seqs == (17, 18, 19, 20)


def test_many_bad_signatures_are_all_named() -> None:
    world = make_world()
    good = world.statements[6] or b""
    head, payload, signature = good.split(b".")
    bad = b".".join((head, payload, signature[::-1].replace(signature[:1], b"A")))
    expected = []
    for count in range(60):
        if count % 3 == 0:
            expected.append(world.append("event", bad))
        else:
            world.append("event", good)
    report = audit(world)
    assert report.faulty_seqs == tuple(expected)


# Where key statements are lost, later entries are not blamed.


def test_a_lost_registration_blames_nobody_else() -> None:
    world = make_world()
    world.statements[1] = None  # acme's
    report = audit(world)
    assert report.verdict is Verdict.UNKNOWN_KEY
    assert report.faulty_seqs == ()
    assert "keys.gap" in codes(report)


def test_an_altered_registration_names_itself_alone() -> None:
    world = make_world()
    world.register("late")
    world.event("late", object_event(PACK))
    world.anchor()
    world.entries[17] = world.entries[17].replace(b'"kind":"key"', b'"kind":"kez"')
    report = audit(world)
    assert report.faulty_seqs == (17,)


# Anchors.


def test_an_anchor_of_another_tree_is_named() -> None:
    world = make_world()
    size = len(world.entries)
    world.anchor(size=size, text=checkpoints.render_body(Checkpoint(world.origin, size, bytes(32))))
    world.event("pharmacy", object_event(PACK))
    world.anchor()
    report = audit(world)
    assert (report.verdict, report.faulty_seqs) == (Verdict.INVALID, (17,))
    assert "anchor.tree" in codes(report)


def test_an_anchor_of_another_ledger_is_named() -> None:
    world = make_world()
    world.anchor(text=checkpoints.render_body(Checkpoint("other.example", 5, bytes(32))))
    report = audit(world)
    assert (report.verdict, report.faulty_seqs) == (Verdict.INVALID, (17,))
    assert "anchor.origin" in codes(report)


def test_an_anchor_by_an_unpinned_authority_is_unknown() -> None:
    report = audit(make_world(), trust=make_world().trust(authorities=["somebody else"]))
    assert report.verdict is Verdict.UNKNOWN_KEY
    assert "anchor.timestamps" in codes(report)


def test_events_without_an_anchor_are_not_yet() -> None:
    world = make_world()
    world.event("pharmacy", object_event(PACK, bizStep="inspecting"))
    report = audit(world)
    assert (report.verdict, report.exit_code) == (Verdict.NOT_YET_ANCHORED, 4)
    assert [check.seq for check in report.checks if check.code == "anchor.missing"] == [17]


def test_fresh_events_may_wait_for_their_anchor_if_asked() -> None:
    world = make_world()
    world.event("pharmacy", object_event(PACK, bizStep="inspecting"))
    age = timedelta(seconds=60)
    assert audit(world, freshness=Freshness(world.now + age, age)).verdict is Verdict.VALID
    late_ = audit(world, freshness=Freshness(world.now + age + SECOND, age))
    assert late_.verdict is Verdict.NOT_YET_ANCHORED


def test_a_clock_that_contradicts_the_outside_is_suspect() -> None:
    for hours, code in ((-1, "time.after-anchor"), (1, "time.before-anchor")):
        world = make_world()
        world.event("pharmacy", object_event(PACK))
        moment = world.now + timedelta(hours=hours)
        identity = world.authority.identity
        world.anchor(authority=DevelopmentAuthority(lambda moment=moment: moment, identity))
        report = audit(world)
        assert report.verdict is Verdict.SUSPECT
        assert code in codes(report)


# Keys in other hands.


@pytest.mark.parametrize(
    ("invalid_since", "suspects"),
    [
        (NOON + 3 * SECOND, [6, 7, 8]),
        (NOON + 12 * SECOND, []),
        (None, [6, 7, 8]),
    ],
)
def test_entries_of_a_stolen_key_are_suspect_unless_anchored_before(
    invalid_since: datetime | None, suspects: Sequence[int]
) -> None:
    world = make_world()
    world.revoke("acme", invalid_since=invalid_since)
    world.anchor()
    report = audit(world)
    assert [check.seq for check in report.checks if check.outcome == "suspect"] == suspects
    assert report.verdict is (Verdict.SUSPECT if suspects else Verdict.VALID)


# Checkpoints.


def test_the_wrong_ledger_is_not_valid() -> None:
    again = make_world(read="none")
    report = audit(again, trust=make_world().trust())
    assert report.verdict is Verdict.INVALID
    assert "genesis.other" in codes(report)
    other = make_world(origin="other.example/epcis")
    assert audit(other, trust=make_world().trust()).verdict is not Verdict.VALID


def test_a_kept_checkpoint_must_still_hold() -> None:
    world = make_world()
    kept = world.checkpoint
    world.event("pharmacy", object_event(PACK))
    world.anchor()
    assert audit(world, kept_checkpoint=kept).verdict is Verdict.VALID
    forked = checkpoints.sign(Checkpoint(world.origin, 12, bytes(32)), *world.signers)
    report = audit(world, kept_checkpoint=forked)
    assert (report.verdict, report.exit_code) == (Verdict.INVALID, 5)


def test_a_ledger_that_lost_its_end_is_invalid() -> None:
    world = make_world()
    kept = world.checkpoint
    del world.entries[-2:], world.statements[-2:]
    world.rebuild()
    report = audit(world, kept_checkpoint=kept)
    assert report.verdict is Verdict.INVALID


def test_a_kept_checkpoint_of_a_stranger_is_not_valid() -> None:
    world = make_world()
    stranger = make_world(origin="other.example").checkpoint
    assert audit(world, kept_checkpoint=stranger).verdict is not Verdict.VALID
    assert audit(world, kept_checkpoint=b"garbage").verdict is Verdict.INVALID


def test_an_unsigned_or_garbled_checkpoint_is_not_valid() -> None:
    world = make_world()
    world.checkpoint = world.checkpoint.replace(b"\n17\n", b"\n16\n")
    assert audit(world).verdict is Verdict.INVALID
    world.checkpoint = b"garbage"
    assert audit(world).verdict is Verdict.INVALID


def test_too_few_witnesses_are_not_yet() -> None:
    world = make_world()
    trust = world.trust(witnesses=[witness(1)], quorum="w1")
    assert audit(world, trust=trust).exit_code == 4
    world.cosign(witness(1))
    assert audit(world, trust=trust).exit_code == 0


# Reading.


def test_withheld_statements_are_one_row_and_no_pass() -> None:
    world = make_world()
    for seq in (6, 7, 8, 9):
        world.statements[seq] = None
    report = audit(world)
    assert report.verdict is Verdict.UNKNOWN_KEY
    rows = [check for check in report.checks if check.code == "statement.missing"]
    assert [(row.seq, ": 4." in row.detail) for row in rows] == [(6, True)]


def test_a_reader_that_fails_decides_nothing() -> None:
    world = make_world()

    def fail(start: int, end: int) -> Sequence[bytes]:
        raise StoreFailed("store.read", "the disk is gone")

    world.read_entries = fail  # type: ignore[method-assign]
    with pytest.raises(StoreFailed):
        audit(world)


def test_progress_reaches_the_end() -> None:
    seen: list[tuple[int, int]] = []
    audit(make_world(), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (17, 17)


class Endless(World):
    """A long ledger that holds one statement in memory: every event is the same."""

    def extend(self, count: int) -> None:
        from tt_ledger import chain_entries

        kinds = ["genesis", "key", "key"] + ["event"] * count
        first = [self.statements[0], self.statements[1], self.statements[2]]
        event = self.statements[3]
        statements = [*first, *([event] * count)]
        pairs = [(kind, statement or b"") for kind, statement in zip(kinds, statements, strict=True)]
        self.entries = chain_entries(pairs, NOON + SECOND)
        self.statements = statements
        self.rebuild()


def test_memory_does_not_grow_with_the_ledger() -> None:
    world = Endless()
    world.register("acme")
    world.register("operator", roles=("operator",))
    world.event("acme", object_event(PACK))
    peaks = []
    for count in (6_000, 18_000):
        world.extend(count)
        tracemalloc.start()
        report = audit(world)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert report.facts["signatures_checked"] == count + 3
    assert peaks[1] < 1.5 * peaks[0], peaks
