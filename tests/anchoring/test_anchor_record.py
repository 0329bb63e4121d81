"""The anchor record: read strictly, proved against pinned roots, and as its page says."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import rfc8785
from tt_anchor import Clock, MisbehavingAuthority, Mode, identity

from anchoring import batch, record, rfc3161
from anchoring.errors import RecordMalformed, RecordRefuted, TokenMalformed, TokenRefuted, TokenUnverifiable
from anchoring.record import AnchorRecord, Timestamp
from anchoring.rfc3161 import TokenVerifier
from keys.errors import Fault

PAGE = (Path(__file__).resolve().parents[2] / "docs/formats/anchor.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture(scope="module")
def example() -> dict:
    return json.loads(block("json"))


@pytest.fixture(scope="module")
def payload(example) -> bytes:
    return rfc8785.dumps(example)


@pytest.fixture(scope="module")
def pinned() -> TokenVerifier:
    return TokenVerifier.from_pem(block("pem").encode())


# --- the page ------------------------------------------------------------------------------------


def test_the_pages_example_says_what_the_page_says(payload, pinned):
    verified = record.verify_record(record.parse(payload), pinned)
    assert (verified.checkpoint.origin, verified.checkpoint.tree_size) == ("ledger.example/epcis", 3)
    assert verified.gen_time == datetime(2026, 11, 20, 12, 0, 3, tzinfo=UTC)
    assert "DEVELOPMENT ONLY" in verified.authority
    assert verified.unverified == ()


def test_the_pages_bounds_are_the_codes():
    for bound in (record.BATCH_SIZE_MAX, record.CHECKPOINT_SIZE_MAX, record.RECORD_SIZE_MAX):
        assert f"{bound:,}" in PAGE
    assert f"1 to {record.TIMESTAMPS_MAX} tokens" in PAGE
    assert f"at most {record.PATH_LENGTH_MAX}, and none" in PAGE
    assert f"at most {rfc3161.TOKEN_SIZE_MAX // 1024} KiB" in PAGE


# --- reading -------------------------------------------------------------------------------------


def test_reading_and_writing_are_inverse(payload):
    parsed = record.parse(payload)
    assert record.render(parsed) == payload
    assert record.parse(record.render(parsed)) == parsed


def changed(example, **members):
    return {**example, **members}


def without(example, name):
    return {key: value for key, value in example.items() if key != name}


TOKEN = {"authority": "a", "token": "AA=="}
MALFORMED = {
    "another type": lambda e: changed(e, type="anchors"),
    "a member too many": lambda e: changed(e, extra=1),
    "no path": lambda e: without(e, "path"),
    "no type": lambda e: without(e, "type"),
    "a list": lambda e: [e],
    "index beyond the batch": lambda e: changed(e, index=2),
    "index below the batch": lambda e: changed(e, index=-1),
    "index as text": lambda e: changed(e, index="0"),
    "index as truth": lambda e: changed(e, index=False),
    "an empty batch": lambda e: changed(e, batch_size=0),
    "a batch too large": lambda e: changed(e, batch_size=record.BATCH_SIZE_MAX + 1),
    "a checkpoint with a signature": lambda e: changed(e, checkpoint=e["checkpoint"] + "\n— a AAAA\n"),
    "a checkpoint with a fourth line": lambda e: changed(e, checkpoint=e["checkpoint"] + "more\n"),
    "a checkpoint without its end": lambda e: changed(e, checkpoint=e["checkpoint"][:-1]),
    "a checkpoint as number": lambda e: changed(e, checkpoint=3),
    "a checkpoint too long": lambda e: changed(e, checkpoint="a" * 1025),
    "root of 31 bytes": lambda e: changed(e, root=base64.b64encode(bytes(31)).decode()),
    "root without padding": lambda e: changed(e, root=e["root"].rstrip("=")),
    "root with loose bits": lambda e: changed(e, root=e["root"][:-2] + "t="),
    "root in base64url": lambda e: changed(e, root=e["root"].replace("+", "-")),
    "root with white space": lambda e: changed(e, root=e["root"] + "\n"),
    "path not a list": lambda e: changed(e, path={}),
    "path too long": lambda e: changed(e, path=e["path"] * 11),
    "path of numbers": lambda e: changed(e, path=[7]),
    "no time-stamp": lambda e: changed(e, timestamps=[]),
    "too many time-stamps": lambda e: changed(
        e, timestamps=[{**TOKEN, "authority": f"a{i}"} for i in range(9)]
    ),
    "an authority twice": lambda e: changed(e, timestamps=[TOKEN, TOKEN]),
    "authorities unsorted": lambda e: changed(e, timestamps=[{**TOKEN, "authority": "b"}, TOKEN]),
    "an authority without name": lambda e: changed(e, timestamps=[{**TOKEN, "authority": ""}]),
    "an authority with a space": lambda e: changed(e, timestamps=[{**TOKEN, "authority": "a b"}]),
    "a time-stamp with more": lambda e: changed(e, timestamps=[{**TOKEN, "note": ""}]),
    "a time-stamp as text": lambda e: changed(e, timestamps=["AA=="]),
    "an empty token": lambda e: changed(e, timestamps=[{**TOKEN, "token": ""}]),
    "a token too large": lambda e: changed(
        e, timestamps=[{**TOKEN, "token": base64.b64encode(bytes(rfc3161.TOKEN_SIZE_MAX + 1)).decode()}]
    ),
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_not_exactly_a_record_is_refused(example, change):
    with pytest.raises(RecordMalformed):
        record.parse(rfc8785.dumps(change(example)))


def test_other_spellings_of_a_record_are_refused(example, payload):
    for data in (
        json.dumps(example, indent=1).encode(),
        payload + b"\n",
        b" " + payload,
        b"\xef\xbb\xbf" + payload,
        payload.replace(b'"index":0', b'"index":0,"index":0'),
        payload.replace(b'"index":0', b'"index":0.0'),
        payload[:-1],
        b"",
        b" " * (record.RECORD_SIZE_MAX + 1),
    ):
        with pytest.raises(RecordMalformed):
            record.parse(data)


def test_a_fault_names_its_place(example):
    broken = changed(example, timestamps=[{"authority": "devtsa", "token": "!"}])
    with pytest.raises(RecordMalformed) as caught:
        record.parse(rfc8785.dumps(broken))
    assert (caught.value.code, caught.value.pointer) == ("anchor.base64", "/timestamps/0/token")


def test_what_cannot_be_read_is_not_written(payload):
    parsed = record.parse(payload)
    with pytest.raises(RecordMalformed):
        record.render(replace(parsed, timestamps=()))


def test_the_largest_record_fits_its_bound_and_the_statements():
    from keys.envelope import PAYLOAD_SIZE_MAX

    largest = AnchorRecord(
        checkpoint="l" * 255 + "\n9223372036854775807\n" + base64.b64encode(bytes(32)).decode() + "\n",
        index=0,
        batch_size=record.BATCH_SIZE_MAX,
        path=(bytes(32),) * record.PATH_LENGTH_MAX,
        root=bytes(32),
        timestamps=tuple(
            Timestamp(f"{i}" * 64, bytes(rfc3161.TOKEN_SIZE_MAX)) for i in range(record.TIMESTAMPS_MAX)
        ),
    )
    assert len(record.render(largest)) <= record.RECORD_SIZE_MAX <= PAYLOAD_SIZE_MAX


# --- proving -------------------------------------------------------------------------------------

TEXTS = [f"log{i}.example\n{i + 1}\n{base64.b64encode(bytes([i]) * 32).decode()}\n" for i in range(5)]


@pytest.fixture(scope="module")
def authorities():
    return [MisbehavingAuthority(Clock(), identity()) for _ in range(3)]


@pytest.fixture(scope="module")
def verifier(authorities):
    return TokenVerifier([tsa.identity.root for tsa in authorities[:2]])


def token_of(tsa, root, seconds=0.0):
    tsa.clock.advance(seconds)
    query = rfc3161.build_query(root)
    token = TokenVerifier([tsa.identity.root]).verify_response(tsa.answer(query.der), root, query.nonce)
    return token.der


def make(authorities, index=3) -> AnchorRecord:
    made = batch.build([text.encode() for text in TEXTS])
    stamps = tuple(Timestamp(f"tsa{i}", token_of(tsa, made.root)) for i, tsa in enumerate(authorities))
    return AnchorRecord(TEXTS[index], index, len(TEXTS), made.paths[index], made.root, stamps)


@pytest.mark.parametrize("index", range(5))
def test_every_log_of_a_batch_is_proved_by_the_same_token(authorities, verifier, index):
    verified = record.verify_record(make(authorities[:1], index), verifier)
    assert verified.checkpoint.origin == f"log{index}.example"


def test_the_earliest_of_several_tokens_counts(authorities, verifier):
    root = batch.build([TEXTS[0].encode()]).root
    first = Timestamp("zzz", token_of(authorities[0], root))
    later = Timestamp("aaa", token_of(authorities[1], root, seconds=60))
    verified = record.verify_record(AnchorRecord(TEXTS[0], 0, 1, (), root, (later, first)), verifier)
    assert verified.gen_time == authorities[0].clock().replace(microsecond=0)
    assert [token.gen_time for token in verified.tokens] == sorted(t.gen_time for t in verified.tokens)
    assert len(verified.tokens) == 2


def test_a_token_of_an_unpinned_authority_is_named_and_counts_for_nothing(authorities, verifier):
    verified = record.verify_record(make([authorities[0], authorities[2]]), verifier)
    assert len(verified.tokens) == 1
    assert [name for name, _ in verified.unverified] == ["tsa1"]


def test_a_record_with_unpinned_authorities_only_decides_nothing(authorities, verifier):
    with pytest.raises(TokenUnverifiable):
        record.verify_record(make(authorities[2:]), verifier)


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint": TEXTS[2]},
        {"checkpoint": TEXTS[3].replace("\n4\n", "\n5\n")},
        {"index": 2},
        {"root": bytes(32)},
        {"path": (bytes(32),) * 3},
    ],
)
def test_a_path_that_leads_elsewhere_is_refuted(authorities, verifier, change):
    with pytest.raises(RecordRefuted):
        record.verify_record(replace(make(authorities[:1]), **change), verifier)


@pytest.mark.parametrize("path", [(), (bytes(32),), (bytes(32),) * 4, (bytes(31),) * 3])
def test_a_path_that_no_such_batch_has_is_malformed(authorities, verifier, path):
    with pytest.raises(RecordMalformed):
        record.verify_record(replace(make(authorities[:1]), path=path), verifier)


def test_one_false_token_refutes_the_whole_record(authorities, verifier):
    good = make(authorities[:2])
    elsewhere = token_of(authorities[1], b"\x09" * 32)
    with pytest.raises(TokenRefuted):
        record.verify_record(
            replace(good, timestamps=(good.timestamps[0], Timestamp("tsa1", elsewhere))), verifier
        )
    with pytest.raises(TokenMalformed):
        record.verify_record(
            replace(good, timestamps=(good.timestamps[0], Timestamp("tsa1", b"junk"))), verifier
        )


def test_a_token_with_a_bad_signature_refutes(authorities, verifier):
    good, tsa = make(authorities[:1]), authorities[0]
    tsa.mode = Mode.BAD_SIGNATURE
    try:
        answer = tsa.answer(rfc3161.build_query(good.root).der)
    finally:
        tsa.mode = Mode.HONEST
    bad = rfc3161.decode_timestamp_response(answer).time_stamp_token()
    with pytest.raises(TokenRefuted):
        record.verify_record(replace(good, timestamps=(Timestamp("tsa0", bad),)), verifier)


def test_no_altered_byte_of_a_record_moves_it_in_time_or_to_another_checkpoint(payload, pinned):
    """What may vary unnoticed: the operator's name for the authority, and unsigned parts of the token."""
    true = record.verify_record(record.parse(payload), pinned)
    for position in range(0, len(payload), 3):
        altered = bytearray(payload)
        altered[position] ^= 0x02
        try:
            verified = record.verify_record(record.parse(bytes(altered)), pinned)
        except Fault:
            continue
        assert verified.checkpoint == true.checkpoint
        assert [token.identity for token in verified.tokens] == [token.identity for token in true.tokens]


# --- what a verifier loads -------------------------------------------------------------------------


def test_checking_a_record_loads_no_database_no_scheduler_no_http_and_no_merkletools():
    code = "import sys, anchoring.record; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert not {"sqlalchemy", "apscheduler", "httpx2", "merkletools", "flask"} & set(loaded.stdout.split())
