"""Entries in rows: what comes out is what the log hashed, and what was damaged says so."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tt_store import START

from ledger import entry as entry_format
from ledger.entry import Entry, Like, chain, leaf_hash, render, render_alike, render_time
from ledger.errors import EntryMalformed, RecordDamaged
from ledger.store.entry_rows import ALIKE, PLAIN, pack_alike, pack_entries, pack_plain, unpack_entries

DIGESTS = [sha256(b"%d" % place).digest() for place in range(130)]
PREV = sha256(b"before").digest()


def singly(like: Like, first: int, prev: bytes, digests: list[bytes]) -> list[bytes]:
    """The same entries by the plain way: each rendered and hashed for itself."""
    entries = []
    for seq, digest in enumerate(digests, first):
        moment = entry_format.parse_time(like.recorded_at)
        entries.append(render(Entry(seq, like.kind, moment, prev, digest, like.keys)))
        prev = leaf_hash(entries[-1])
    return entries


likes = st.builds(
    Like,
    kind=st.sampled_from(["event", "anchor", "key", "erasure", "of-the-future"]),
    recorded_at=st.integers(0, 10**12).map(
        lambda micros: render_time(START + timedelta(microseconds=micros))
    ),
    keys=st.integers(0, 99),
)


@given(like=likes, first=st.integers(100, 2**53 - 200), count=st.integers(1, 130))
def test_a_chain_of_entries_that_are_alike_is_the_chain_of_each(like, first, count):
    entries = singly(like, first, PREV, DIGESTS[:count])
    leaves = chain(like, first, PREV, DIGESTS[:count])
    assert leaves == [leaf_hash(entry) for entry in entries]
    prevs = [PREV, *leaves[:-1]]
    assert render_alike(like, first, prevs, DIGESTS[:count]) == entries
    rows = pack_alike(like, prevs, DIGESTS[:count])
    assert rows == pack_entries(first, entries)
    found = []
    for held, body in rows:
        assert held <= 64
        found += unpack_entries(first + len(found), held, body, 0, held)
    assert found == entries


@pytest.mark.parametrize(
    ("like", "first", "prev", "digests"),
    [
        (Like("Event", render_time(START), 0), 1, PREV, DIGESTS),
        (Like("event", "2026-11-20T12:00:00Z", 0), 1, PREV, DIGESTS),
        (Like("event", "%d-11-20T12:00:00.000000Z", 0), 1, PREV, DIGESTS),
        (Like("event", render_time(START), 1), 1, PREV, DIGESTS),
        (Like("event", render_time(START), -1), 1, PREV, DIGESTS),
        (Like("event", render_time(START), 0), -1, PREV, DIGESTS),
        (Like("event", render_time(START), 0), 2**53 - 100, PREV, DIGESTS),
        (Like("event", render_time(START), 0), 0, PREV, DIGESTS),
        (Like("event", render_time(START), 0), 1, PREV[:31], DIGESTS),
        (Like("event", render_time(START), 0), 1, PREV, [*DIGESTS, b"short"]),
    ],
)
def test_what_has_no_spelling_is_not_chained(like, first, prev, digests):
    with pytest.raises(EntryMalformed):
        chain(like, first, prev, digests)


def test_entries_that_differ_or_are_none_are_kept_as_they_are():
    like = Like("event", render_time(START), 0)
    sound = singly(like, 1, PREV, DIGESTS[:4])
    for entries in (
        [sound[0], b"", *sound[2:]],
        [*sound[:3], b"altered"],
        [sound[1], sound[0]],
        [*sound[:2], singly(Like("anchor", like.recorded_at, 0), 3, PREV, DIGESTS[:1])[0]],
        [sound[0].replace(b'"seq":1', b'"seq":2')],
        [b""],
    ):
        ((count, body),) = pack_entries(1, entries)
        assert body == pack_plain(entries)
        assert list(unpack_entries(1, count, body, 0, count)) == entries
        for place in range(count):
            assert list(unpack_entries(1, count, body, place, place + 1)) == [entries[place]]


@pytest.mark.parametrize("form", [ALIKE, PLAIN])
def test_an_altered_row_is_refused_or_alters_one_entry(form):
    like = Like("event", render_time(START), 0)
    entries = singly(like, 1, PREV, DIGESTS[:3])
    ((_, body),) = pack_entries(1, entries)
    if form == PLAIN:
        body = pack_plain(entries)
    for cut in (0, 1, 9, 40, len(body) - 1):
        with pytest.raises(RecordDamaged):
            unpack_entries(1, 3, body[:cut], 0, 3)
    for count in (2, 4):
        with pytest.raises(RecordDamaged):
            unpack_entries(1, count, body, 0, count)
    with pytest.raises(RecordDamaged):
        unpack_entries(1, 3, body + b"\0", 0, 3)
    shared = body.index(entries[0] if form == PLAIN else PREV)
    for place in range(len(body)):
        altered = bytearray(body)
        altered[place] ^= 1
        try:
            found = unpack_entries(1, 3, bytes(altered), 0, 3)
        except RecordDamaged:
            continue
        changed = [one != other for one, other in zip(found, entries, strict=True)]
        # What the entries share is in the head of a row; behind it each has its own bytes.
        assert sum(changed) == (3 if place < shared and form == ALIKE else 1), place
