"""Statements packed together come back byte for byte, and what is no part of ours is said to be damaged."""

from __future__ import annotations

import contextlib
import random
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import base64url
from keys.jws_text import JwsText
from ledger.errors import RecordDamaged, StoreFailed
from ledger.store import packing
from ledger.store.packing import (
    GONE,
    JWS,
    PART_COUNT_MAX,
    PLAIN,
    ZIPPED,
    gone,
    join_parts,
    pack,
    pack_parts,
    unpack,
    unpack_one,
    unpack_signed,
)

HEADER = b'{"alg":"Ed25519","kid":"oVMXtQlU9diHm8IJm6VbG80ha6NAQZ-To8VXDvh0vOg","typ":"epcis-event+jws"}'


def jws(label: object, signature: bytes = b"s" * 64) -> bytes:
    payload = (
        b'{"type":"ObjectEvent","action":"OBSERVE","epcList":["urn:epc:id:sgtin:%b"]}' % str(label).encode()
    )
    return ".".join(map(base64url.encode, (HEADER, payload, signature))).encode()


texts = st.text("ABab01-_+/=. \x00", max_size=40).map(str.encode)
signed = st.tuples(st.binary(max_size=40), st.binary(max_size=300), st.binary(min_size=64, max_size=64)).map(
    lambda three: ".".join(map(base64url.encode, three)).encode()
)


@given(st.lists(st.one_of(signed, texts, st.binary(max_size=200)), min_size=1, max_size=PART_COUNT_MAX))
def test_what_was_packed_comes_back_byte_for_byte(statements):
    part = pack(statements)
    assert unpack(part) == statements
    assert [unpack_one(part, index) for index in range(len(statements))] == statements


@given(st.lists(signed, min_size=1, max_size=20), st.data())
def test_any_spelling_of_a_statement_comes_back_as_it_was_spelled(statements, data):
    at = data.draw(st.integers(0, len(statements) - 1))
    bent = bytearray(statements[at])
    place = data.draw(st.integers(0, len(bent) - 1))
    bent[place] = data.draw(st.sampled_from(b"AQgw+/=.-_ \n"))
    statements[at] = bytes(bent)
    assert unpack(pack(statements)) == unpack_signed(pack(statements)) == statements


@pytest.mark.parametrize(
    ("statements", "form"),
    [
        ([jws(1)], JWS),
        ([jws(i) for i in range(64)], JWS),
        ([jws(1), b"plain words, plain words, plain words, plain words"], ZIPPED),
        ([jws(1, b"s" * 63), jws(2, b"s" * 65)], ZIPPED),  # 128 bytes in all, and not 64 each
        ([jws(1)[:-1] + b"B"], ZIPPED),  # the same bytes in another spelling
        ([jws(1)[:5] + b"+" + jws(1)[6:]], ZIPPED),
        ([b"x"], PLAIN),
        ([b""], PLAIN),
        ([bytes(range(256))], PLAIN),
    ],
)
def test_each_is_packed_by_the_form_that_fits(statements, form):
    part = pack(statements)
    assert part[0] == form
    assert unpack(part) == statements


def test_signed_statements_take_a_third_of_their_bytes():
    statements = [jws(i) for i in range(64)]
    assert len(pack(statements)) < 0.5 * sum(map(len, statements))
    assert len(pack(statements[:1])) < 0.7 * len(statements[0])


def test_parts_are_bounded_in_number_and_in_bytes():
    parts = pack_parts([b"%d" % i for i in range(200)])
    assert [count for count, _ in parts] == [64, 64, 64, 8]
    large = [bytes([i]) * 200_000 for i in range(5)]
    assert [count for count, _ in pack_parts(large)] == [2, 2, 1]
    assert [raw for _, body in pack_parts(large) for raw in unpack(body)] == large
    assert pack_parts([]) == []
    for wrong in ([], [b"x"] * 65):
        with pytest.raises(ValueError, match="statements"):
            pack(wrong)


def test_a_row_may_hold_several_parts_and_places_where_nothing_stands_any_more():
    row = pack([jws(1), jws(2)]) + gone(3) + pack([b"x"])
    expected = [jws(1), jws(2), None, None, None, b"x"]
    assert unpack(row) == expected
    assert [unpack_one(row, index) for index in range(6)] == expected
    with pytest.raises(RecordDamaged):
        unpack_one(row, 6)


def test_neighbouring_parts_share_a_row_up_to_its_bounds():
    singles = [jws(i) for i in range(150)]
    rows = join_parts([part for raw in singles for part in pack_parts([raw])])
    assert [count for count, _ in rows] == [64, 64, 22]
    assert [raw for _, body in rows for raw in unpack(body)] == singles
    assert join_parts(pack_parts(singles)) == pack_parts(singles)
    large = [(1, pack([random.Random(i).randbytes(200_000)])) for i in range(3)]
    assert join_parts(large) == large
    assert [count for count, _ in join_parts([(60, b"a"), (5, b"b"), (59, b"c")])] == [60, 64]
    assert join_parts([]) == []


def part(form: int, count: int, content: bytes) -> bytes:
    return struct.pack(">BBI", form, count, len(content)) + content


ONE = pack([jws(1)])
BOMB = packing._codec.compress(bytes(packing.UNPACKED_SIZE_MAX + 1))


@pytest.mark.parametrize(
    "row",
    [
        ONE[:-1],
        ONE[:3],
        ONE + b"\x01",
        part(9, 1, b""),
        part(GONE, 1, b"x"),
        part(GONE, 0, b""),
        part(GONE, 65, b""),
        part(PLAIN, 1, b""),
        part(PLAIN, 1, struct.pack(">I", 9) + b"short"),
        part(PLAIN, 1, struct.pack(">I", 1) + b"longer"),
        part(PLAIN, 2, struct.pack(">I", 1) + b"x"),
        part(ZIPPED, 1, b"no frame"),
        part(ZIPPED, 1, b""),
        part(ZIPPED, 1, BOMB),
        part(JWS, 1, b"s" * 63),
        part(JWS, 1, b"s" * 64),
        part(JWS, 2, ONE[6:]),
        part(JWS, 1, ONE[6:] + b"behind"),
        part(JWS, 1, bytes(64) + packing._codec.compress(struct.pack(">HI", 5, 5) + b"x")),
        part(JWS, 1, bytes(64) + BOMB),
    ],
)
def test_what_is_no_part_is_damaged(row):
    with pytest.raises(RecordDamaged):
        unpack_signed(row)
    with pytest.raises(RecordDamaged) as fault:
        unpack(row)
    assert fault.value.code == "store.part"
    try:
        assert unpack_one(row, 0) == jws(1)  # what is damaged may lie behind it
        assert row.startswith(ONE)
    except RecordDamaged:
        pass


@given(st.binary(max_size=80))
def test_no_bytes_bring_anything_but_statements_or_damage(junk):
    for row in (junk, bytes([JWS, 1]) + junk, ONE[:60] + junk):
        with contextlib.suppress(RecordDamaged):
            held = unpack(row)
            assert unpack_signed(row) == held


@given(st.lists(signed, min_size=1, max_size=5), st.data())
def test_parts_that_come_along_are_those_of_the_text_even_if_the_row_was_altered(statements, data):
    row = bytearray(pack(statements))
    row[data.draw(st.integers(6, len(row) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(RecordDamaged):
        held = unpack_signed(bytes(row))
        assert held == unpack(bytes(row))
        for raw in held:
            if type(raw) is JwsText:
                header64, payload64, signature64 = raw.split(b".")
                base64url.decode(payload64)
                assert raw.header == base64url.decode(header64)
                assert raw.signature == base64url.decode(signature64)


def test_threads_pack_and_unpack_side_by_side():
    faults: list[BaseException] = []

    def work(label: int) -> None:
        statements = [jws(f"{label}.{i}") for i in range(40)]
        try:
            for _ in range(50):
                assert unpack(pack(statements)) == statements
        except BaseException as e:
            faults.append(e)

    threads = [threading.Thread(target=work, args=(label,)) for label in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_a_row_of_more_statements_than_a_row_may_hold_is_not_unpacked():
    """Else a damaged row of a megabyte unpacks to ten gigabytes, part by part."""
    row = b"".join([pack([b"x"])] * PART_COUNT_MAX)
    assert unpack(row) == [b"x"] * PART_COUNT_MAX
    for more in (pack([b"x"]), gone(1), pack([jws(1), jws(2)])):
        with pytest.raises(RecordDamaged):
            unpack(row + more)
        with pytest.raises(RecordDamaged):
            unpack_signed(row + more)
        with pytest.raises(RecordDamaged):
            unpack_one(row + more, PART_COUNT_MAX)


def test_another_dictionary_is_told_as_the_installations_fault(monkeypatch):
    """With a byte of it altered, good rows would read as altered, and new ones nobody else could read."""
    row = pack([jws(1), jws(2)])
    monkeypatch.setattr(packing, "_codec", packing._Codec())
    monkeypatch.setattr(packing, "DICTIONARY_SHA256", "0" * 64)
    packing._dictionary.cache_clear()
    try:
        for work in (lambda: unpack(row), lambda: unpack_one(row, 1), lambda: pack([jws(3)])):
            with pytest.raises(StoreFailed) as raised:
                work()
            assert (raised.value.code, isinstance(raised.value, RecordDamaged)) == ("store.dictionary", False)
    finally:
        packing._dictionary.cache_clear()
