"""What is remembered of texts is bounded in bytes, whoever chooses the texts."""

from __future__ import annotations

import contextlib
import json
import sys
import tracemalloc
from datetime import UTC, datetime

import pytest
from tt_epcis import PACK, object_event

from traceability.epcis import holes
from traceability.epcis.familiar import read_named
from traceability.errors import EventRejected
from traceability.gs1.canonical import judge
from traceability.queries.spelling import bare
from traceability.queries.terms import term
from traceability.remembered import TEXT_LENGTH_MAX, remembered, remembered_pair

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LONG = 200_000
TIMES = 20
KEPT_MAX = 5 * LONG  # of 20 times and more as much that is sent


def payload(**fields: object) -> bytes:
    return json.dumps(object_event(PACK, **fields), separators=(",", ":")).encode()


def send(text: str, member: str) -> None:
    with contextlib.suppress(EventRejected):  # what was refused must not stay either
        read_named(payload(**{member: [text] if member == "epcList" else text}), now=NOW)


@pytest.mark.parametrize(
    ("member", "text"),
    [
        ("epcList", "https://x.example/" + "a" * LONG + "%d/x"),
        ("epcList", "urn:epc:id:sgtin:" + "9" * LONG + "%d.1.1"),
        ("epcList", "urn:x:" + "a" * LONG + "%d"),
        ("eventID", "urn:x:" + "a" * LONG + "/%d"),
        ("bizStep", "https://x.example/" + "a" * LONG + "%d"),
        ("eventTime", "2026-11-05T08:15:00." + "0" * LONG + "%dZ"),
    ],
)
def test_long_texts_of_events_do_not_stay_in_memory(member, text):
    send(text % 0, member)
    tracemalloc.start()
    try:
        for number in range(TIMES):
            send(text % number, member)
        assert tracemalloc.get_traced_memory()[0] < KEPT_MAX
    finally:
        tracemalloc.stop()


def test_long_texts_of_queries_do_not_stay_in_memory():
    tracemalloc.start()
    try:
        for number in range(TIMES):
            text = "x" * LONG + str(number)
            assert judge(text)[0].startswith("raw:")
            assert bare(text) == text
            term("bizStep", text)
        assert tracemalloc.get_traced_memory()[0] < KEPT_MAX
    finally:
        tracemalloc.stop()


def test_stems_beyond_their_length_are_known_by_the_exact_way():
    holes._STEMS.clear()
    assert not holes.is_good_identifier("urn:epc:id:sgtin:" + "9" * 300 + ".1.1")
    assert holes.is_good_identifier(PACK)
    assert sum(map(sys.getsizeof, holes._STEMS)) < holes.STEM_LENGTH_MAX * 4


def test_a_text_at_the_bound_is_remembered_and_one_beyond_is_not():
    asked: list[tuple[str, ...]] = []
    one = remembered(8)(lambda text: asked.append((text,)) or len(text))
    two = remembered_pair(8)(lambda a, b: asked.append((a, b)) or len(a + b))
    for _ in range(2):
        assert one("x" * TEXT_LENGTH_MAX) == TEXT_LENGTH_MAX
        assert one("x" * (TEXT_LENGTH_MAX + 1)) == TEXT_LENGTH_MAX + 1
        assert two("a", "x" * (TEXT_LENGTH_MAX - 1)) == TEXT_LENGTH_MAX
        assert two("a", "x" * TEXT_LENGTH_MAX) == TEXT_LENGTH_MAX + 1
    assert len(asked) == 6
