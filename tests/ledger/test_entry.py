"""Entries: one spelling, both ways."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from tt_ledger import build_ledger, sample_statements

from ledger import entry as entries
from ledger.entry import Entry
from ledger.errors import EntryMalformed

PAGE = (Path(__file__).resolve().parents[2] / "docs/formats/entry.md").read_text()
EXAMPLE = build_ledger(sample_statements(3)).entries[2]

hashes = st.binary(min_size=32, max_size=32)
moments = st.datetimes(timezones=st.just(UTC))


@st.composite
def any_entry(draw: st.DrawFn) -> Entry:
    seq = draw(st.integers(0, entries.SEQ_MAX))
    return Entry(
        seq=seq,
        kind=draw(st.sampled_from(entries.KINDS) | st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True)),
        recorded_at=draw(moments),
        prev=draw(hashes) if seq else entries.ZERO_PREV,
        statement=draw(hashes),
        keys=draw(st.integers(0, max(0, seq - 1))),
    )


def test_the_pages_example_is_an_entry() -> None:
    block = re.search(r"```json\n(.*?)\n```", PAGE, re.S)
    assert block
    raw = block[1].encode()
    assert entries.render(entries.parse(raw)) == raw
    assert raw == EXAMPLE
    assert sha256(b"\x00" + raw).hexdigest() in PAGE
    assert sha256(b"statement 2").hexdigest() in PAGE


@given(any_entry())
@settings(max_examples=200, deadline=None)
def test_an_entry_survives_both_ways_in_canonical_json(entry: Entry) -> None:
    raw = entries.render(entry)
    assert entries.parse(raw) == entry
    assert entries.render(entries.parse(raw)) == raw
    assert raw == rfc8785.dumps(json.loads(raw))
    assert len(raw) <= entries.ENTRY_SIZE_MAX


def test_one_altered_byte_is_refused_or_reads_as_what_it_says() -> None:
    for place in range(len(EXAMPLE)):
        for bit in range(8):
            raw = bytearray(EXAMPLE)
            raw[place] ^= 1 << bit
            try:
                assert entries.render(entries.parse(bytes(raw))) == bytes(raw)
            except EntryMalformed:
                continue
            assert entries.leaf_hash(bytes(raw)) != entries.leaf_hash(EXAMPLE)


MEMBERS = json.loads(EXAMPLE)


def with_member(**members: object) -> bytes:
    return rfc8785.dumps({**MEMBERS, **members})


@pytest.mark.parametrize(
    ("raw", "code", "pointer"),
    [
        (b"", "entry.json", ""),
        (b"null", "entry.json", ""),
        (b"[" * 900, "entry.json", ""),
        (b"\xff", "entry.json", ""),
        (b" " + EXAMPLE, "entry.canonical", ""),
        (EXAMPLE + b"\n", "entry.canonical", ""),
        (b"\xef\xbb\xbf" + EXAMPLE, "entry.canonical", ""),
        (json.dumps(MEMBERS).encode(), "entry.canonical", ""),
        (EXAMPLE.replace(b'"event"', b'"\\u0065vent"'), "entry.canonical", ""),
        (EXAMPLE.replace(b'"kind":"event"', b'"kind":"event","kind":"event"'), "entry.canonical", ""),
        (with_member(more=1), "entry.member", ""),
        (rfc8785.dumps({k: v for k, v in MEMBERS.items() if k != "prev"}), "entry.member", ""),
        (with_member(kind="x" * 1000), "entry.size", ""),
        (with_member(kind=""), "entry.kind", "/kind"),
        (with_member(kind="Event"), "entry.kind", "/kind"),
        (with_member(kind="1event"), "entry.kind", "/kind"),
        (with_member(kind="e" * 33), "entry.kind", "/kind"),
        (with_member(kind="event\n"), "entry.kind", "/kind"),
        (with_member(kind=None), "entry.kind", "/kind"),
        (with_member(seq=-1), "entry.seq", "/seq"),
        (with_member(seq="2"), "entry.seq", "/seq"),
        (with_member(seq=True), "entry.seq", "/seq"),
        (EXAMPLE.replace(b'"seq":2', b'"seq":2.0'), "entry.seq", "/seq"),
        (EXAMPLE.replace(b'"seq":2', b'"seq":02'), "entry.json", ""),
        (EXAMPLE.replace(b'"seq":2', b'"seq":9007199254740992'), "entry.seq", "/seq"),
        (with_member(keys=2), "entry.keys", "/keys"),
        (with_member(keys=3), "entry.keys", "/keys"),
        (with_member(seq=0, keys=0), "entry.prev", "/prev"),
        (with_member(prev=MEMBERS["prev"][:-1]), "entry.prev", "/prev"),
        (with_member(prev=MEMBERS["prev"][:-2] + "="), "entry.prev", "/prev"),
        (with_member(prev="_" + MEMBERS["prev"][1:]), "entry.prev", "/prev"),
        (with_member(prev=MEMBERS["prev"][:42] + "B="), "entry.prev", "/prev"),
        (with_member(statement=""), "entry.statement", "/statement"),
        (with_member(recorded_at="2026-11-20T12:00:02Z"), "entry.recorded_at", "/recorded_at"),
        (with_member(recorded_at="2026-11-20T12:00:02.123Z"), "entry.recorded_at", "/recorded_at"),
        (with_member(recorded_at="2026-11-20T12:00:02.123456+00:00"), "entry.recorded_at", "/recorded_at"),
        (with_member(recorded_at="2026-11-20 12:00:02.123456Z"), "entry.recorded_at", "/recorded_at"),
        (with_member(recorded_at="2026-11-20T24:00:00.000000Z"), "entry.recorded_at", "/recorded_at"),
        (with_member(recorded_at="2026-11-20T23:59:60.000000Z"), "entry.recorded_at", "/recorded_at"),
        (with_member(recorded_at="2026-02-29T12:00:00.000000Z"), "entry.recorded_at", "/recorded_at"),
        (with_member(recorded_at="0000-01-01T00:00:00.000000Z"), "entry.recorded_at", "/recorded_at"),
    ],
)
def test_what_is_no_entry_is_refused_with_its_place(raw: bytes, code: str, pointer: str) -> None:
    with pytest.raises(EntryMalformed) as caught:
        entries.parse(raw)
    assert (caught.value.code, caught.value.pointer) == (code, pointer)


def test_a_kind_of_the_future_parses() -> None:
    assert entries.parse(with_member(kind="recall-2")).kind == "recall-2"


def replaced(**members: object) -> Entry:
    read = entries.parse(EXAMPLE)
    values = {name: getattr(read, name) for name in Entry.__slots__}
    return Entry(**{**values, **members})


@pytest.mark.parametrize(
    "members",
    [
        {"seq": -1},
        {"seq": 2**53},
        {"keys": 2},
        {"keys": -1},
        {"seq": 0, "keys": 0},
        {"prev": bytes(31)},
        {"statement": bytes(33)},
        {"kind": 'event","seq":7,"x":"'},
        {"kind": ""},
        {"recorded_at": datetime(2026, 11, 20, tzinfo=UTC).replace(tzinfo=None)},
        {"recorded_at": datetime(2026, 11, 20, tzinfo=timezone(timedelta(hours=1)))},
    ],
    ids=str,
)
def test_an_entry_without_a_spelling_is_not_rendered(members: dict) -> None:
    with pytest.raises(EntryMalformed):
        entries.render(replaced(**members))


def test_times_have_one_spelling() -> None:
    moment = datetime(2026, 11, 20, 12, 0, 0, 120000, tzinfo=UTC)
    assert entries.render_time(moment) == "2026-11-20T12:00:00.120000Z"
    assert entries.parse_time("2026-11-20T12:00:00.120000Z") == moment
    for text in ("2026-11-20T12:00:00.12Z", "2026-11-20T12:00:00.120000", "2026-11-20T12:00:00.120000Z ", ""):
        with pytest.raises(EntryMalformed):
            entries.parse_time(text)
