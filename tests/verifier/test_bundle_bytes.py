"""One byte, one spelling: whatever is done to a bundle's bytes, it is never VALID and never a traceback."""

from __future__ import annotations

import json
import random
import time
import tracemalloc
from base64 import b64encode
from hashlib import sha256

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from tt_epcis import object_event
from tt_evidence import PACK, World, edit, make_world, read, witness

from keys import note
from verifier import bundle as bundles
from verifier import evidence
from verifier.errors import BundleMalformed
from verifier.verdict import Verdict

REPAIRED_SAMPLES = 3_000  # seeded; each is a whole verification


@pytest.fixture(scope="module")
def world() -> World:
    world = make_world()
    world.event(
        "pharmacy",
        object_event(PACK, bizStep="inspecting", readPoint={"id": "urn:epc:id:sgln:9521141.00012.0"}),
    )
    world.anchor()
    return world


@pytest.fixture(scope="module")
def bundle(world: World) -> bytes:
    return world.bundle()


def test_parse_and_render_are_each_other_s_inverse(bundle: bytes) -> None:
    parsed = bundles.parse(bundle)
    assert bundles.render(parsed) == bundle
    assert bundles.parse(bundles.render(parsed)) == parsed


def test_the_bytes_are_rfc_8785_and_the_digest_is_of_all_other_members(bundle: bytes) -> None:
    value = json.loads(bundle)
    assert rfc8785.dumps(value) == bundle
    digest = value.pop("digest")
    assert note._base64(sha256(rfc8785.dumps(value)).digest()) == digest


def test_non_ascii_text_is_spelled_as_rfc_8785_has_it(bundle: bytes) -> None:
    named = edit(bundle, subject='raw:"Größe"\\ 箱 \x7f\u2028 😀 \x01')
    assert rfc8785.dumps(json.loads(named)) == named
    assert bundles.render(bundles.parse(named)) == named


def test_no_byte_of_a_bundle_can_change(world: World, bundle: bytes) -> None:
    """Every byte, each to a random other one: refused by the file's own digest alone."""
    trust, dice = world.trust(), random.Random(1)
    valid = []
    for place in range(len(bundle)):
        changed = bytearray(bundle)
        changed[place] ^= dice.randrange(1, 256)
        if evidence.verify(bytes(changed), trust).verdict is Verdict.VALID:
            valid.append(place)
    assert valid == []


def test_no_byte_can_change_even_with_the_digest_repaired(world: World, bundle: bytes) -> None:
    """A sample over the whole file, with the digest that fits: proofs and signatures hold every part."""
    trust, dice = world.trust(), random.Random(2)
    digest_at = bundle.index(b'"digest":"') + 10
    places = [p for p in range(len(bundle)) if not digest_at <= p < digest_at + 44]
    printable = bytes(range(0x20, 0x7F))
    for place in dice.sample(places, min(REPAIRED_SAMPLES, len(places))):
        changed = bytearray(bundle)
        changed[place] = dice.choice(printable.replace(bytes([changed[place]]), b""))
        try:
            repaired = bundles.repair_digest(bytes(changed))
        except ValueError:
            continue  # no place for a digest is left
        report = evidence.verify(repaired, trust)
        assert report.verdict is not Verdict.VALID, (place, bundle[place - 20 : place + 20])


def test_what_may_change_is_listed_as_not_checked(world: World, bundle: bytes) -> None:
    """The one malleable part of a bundle: signature lines by keys that nobody pinned."""
    opened = note.parse(world.checkpoint)
    line = witness(9).sign_cosignature(opened.text, 1)
    cosigned = edit(bundle, checkpoint=note.render(note.Note(opened.text, (*opened.signatures, line))))
    report = evidence.verify(cosigned, world.trust())
    assert report.verdict is Verdict.VALID
    assert any("witness.example/w9" in sentence for sentence in report.not_checked)
    start = cosigned.index("— witness".encode())
    end = cosigned.index(b"\\n", start)
    for place in range(start, end):
        changed = bytearray(cosigned)
        changed[place] = 0x41 if changed[place] != 0x41 else 0x42
        report = evidence.verify(bundles.repair_digest(bytes(changed)), world.trust())
        if report.verdict is Verdict.VALID:
            assert any("keys that nobody pinned" in sentence for sentence in report.not_checked)


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xef\xbb\xbf{}",
        b'{"digest":"' + b"A" * 44 + b'",',
        b'{"digest":"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'"digest":"' * 10_000,
        b"\xff" * 1000,
        b"1" * 10_000,
        b'{"digest":NaN}',
        bytes(1000),
    ],
)
def test_hostile_bytes_are_a_verdict_and_never_an_exception(world: World, hostile: bytes) -> None:
    report = evidence.verify(hostile, world.trust())
    assert (report.verdict, report.exit_code) == (Verdict.INVALID, 1)


@settings(deadline=None, max_examples=150)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8),
        lambda children: (
            st.lists(children, max_size=3)
            | st.dictionaries(
                st.sampled_from(["entry", "path", "statement", "size", "seq", "kind", "keys", "x"]),
                children,
                max_size=4,
            )
        ),
        max_leaves=8,
    ),
    st.sampled_from(["checkpoint", "consistency", "entries", "format", "origin", "subject", "extra"]),
)
def test_any_json_in_any_member_is_a_verdict(member: object, name: str) -> None:
    world = _small_world()
    value = json.loads(world.bundle())
    value[name] = member
    try:
        raw = bundles.repair_digest(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
    except ValueError:
        return
    assert evidence.verify(raw, world.trust()).verdict is not Verdict.VALID


def _small_world(made: list[World] = []) -> World:  # noqa: B006  (made once for all examples)
    if not made:
        made.append(make_world())
    return made[0]


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=400))
def test_any_bytes_are_a_verdict(raw: bytes) -> None:
    assert evidence.verify(raw, _small_world().trust()).verdict is Verdict.INVALID


def test_an_unforeseen_exception_is_a_malformed_verdict(
    world: World, bundle: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise RecursionError("too clever by half")

    monkeypatch.setattr(evidence.merkle, "verify_inclusion", break_down)
    report = evidence.verify(bundle, world.trust())
    assert report.verdict is Verdict.INVALID
    assert {check.code for check in report.checks if check.outcome == "bad"} == {"file.unreadable"}


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("format",), "tallystick-evidence@v2"),
        (("consistency", 0, "size"), 0),
        (("consistency", 0, "size"), 1.0),
        (("consistency", 0, "size"), True),
        (("consistency", 0, "path"), ["AAAA"]),
        (("consistency", 0, "path"), [None]),
        (("consistency", 0, "path"), ["A" * 43 + "="] * 65),
        (("entries", 0, "path", 0), "B" * 42 + "B="),
        (("entries", 0, "statement"), ""),
        (("entries", 0, "statement"), "é"),
        (("entries", 0, "statement"), 7),
        (("entries", 0, "entry", "seq"), 1),
        (("entries", 0, "entry", "more"), 1),
        (("entries", 0), None),
        (("entries",), {}),
        (("subject",), ""),
        (("subject",), "x" * 513),
        (("origin",), None),
        (("checkpoint",), "x" * 70_000),
    ],
)
def test_malformed_members_are_refused_with_a_pointer(
    bundle: bytes, path: tuple[str | int, ...], wrong: object
) -> None:
    value = json.loads(bundle)
    parent = value
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = wrong
    raw = bundles.repair_digest(
        json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    )
    with pytest.raises(BundleMalformed) as caught:
        bundles.parse(raw)
    assert caught.value.pointer.startswith("/" + str(path[0]))


@pytest.mark.parametrize("change", [(b'{"checkpoint"', b'{ "checkpoint"'), (b',"origin"', b',\n"origin"')])
def test_another_spelling_of_the_same_json_is_refused(bundle: bytes, change: tuple[bytes, bytes]) -> None:
    with pytest.raises(BundleMalformed) as caught:
        bundles.parse(bundles.repair_digest(bundle.replace(*change)))
    assert caught.value.code == "bundle.canonical"


def test_a_duplicate_member_is_refused(bundle: bytes) -> None:
    twice = bundle.replace(b',"origin":', b',"origin":"other.example","origin":')
    with pytest.raises(BundleMalformed):
        bundles.parse(bundles.repair_digest(twice))


def test_work_is_linear_in_the_file() -> None:
    """A history of 400 events takes about four times as long as one of 100, not sixteen times."""

    def verify_with(count: int) -> float:
        world = World()
        world.register("acme")
        from tt_evidence import prove_again

        seqs = [world.event("acme", object_event(PACK)) for _ in range(count)]
        raw = edit(world.bundle(), items=prove_again(world, [0, 1, *seqs]))
        times = []
        for _ in range(3):
            start = time.process_time()
            assert evidence.verify(raw, world.trust()).verdict is Verdict.NOT_YET_ANCHORED
            times.append(time.process_time() - start)
        return min(times)

    assert verify_with(400) < 9 * verify_with(100)


def test_what_is_read_is_what_was_written(bundle: bytes) -> None:
    parsed = read(bundle)
    assert [item.seq for item in parsed.items] == sorted(item.seq for item in parsed.items)
    assert {proof.size for proof in parsed.consistency} == {10, 16, 18}


@pytest.mark.parametrize("fill", [b"[],", b"{},", b"[ ],", b"1,"])
def test_a_file_of_nothing_but_small_parts_is_refused_before_it_is_read(world: World, fill: bytes) -> None:
    # Unread, for a reader makes gigabytes of 64 MiB of these.
    parts = fill * (bundles.COMMAS_MAX + 1 if fill == b"1," else bundles.OPENINGS_MAX + 1)
    opening, rest = b'{"checkpoint":"x","consistency":[],', b'"entries":[' + parts + b"0]}"
    digest = b64encode(sha256(opening + rest).digest())
    tracemalloc.start()
    report = evidence.verify(opening + b'"digest":"' + digest + b'",' + rest, world.trust())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.verdict is Verdict.INVALID
    assert [check.code for check in report.checks] == ["bundle.size"]
    assert peak < 4 * len(rest) + 100_000
