"""Signed notes, byte for byte as other implementations write and read them."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tt_keys import ed25519_key, log_signer, p256_key, witness_signer

from keys import algorithms, note
from keys.errors import Fault, Malformed, Refused, Refuted, Unverifiable
from keys.note import TYPE_COSIGNATURE, Note, NoteSigner, SignatureLine

# The fixed vectors: seeds 32 x "L" and 32 x "W"; checked by the Go implementation.
LOG = NoteSigner.from_private_key("ledger.example/epcis", algorithms.private_key_from_seed(b"L" * 32))
WITNESS = NoteSigner.from_private_key(
    "witness.example/w1", algorithms.private_key_from_seed(b"W" * 32), TYPE_COSIGNATURE
)
LOG_VKEY = "ledger.example/epcis+580c7c7d+AZJzCPU9Z2VQPStkwQOrWqRyBqs5UCz+j5hEL9tUMQC3"
WITNESS_VKEY = "witness.example/w1+918b6299+BMhAafoiFsbtwdUsqDqhHCZ91UQK+lJgkMpD69DKhqnP"
TEXT = "ledger.example/epcis\n3\nZLJJxOBgbj2XQsSb/VfNHj6xcPXM76JuoEXKGT1kp18=\n"
LOG_LINE = (
    "— ledger.example/epcis WAx8fb8E9qSlcgI4rlqWj6/hKuw6hFOg13byVy+uPKK6hys+7tlVLWCSu+1o"
    "+1Hww1kFuTrYrWU+JlwCkM3Dhe+21QY=\n"
)
WITNESS_LINE = (
    "— witness.example/w1 kYtimQAAAABlU/EAQhFGwTyT8R6kQlafl1F3/QuB+zNuw4dYMmx80KztB88WCLUxJ7qi"
    "wRNIh+eiq2MrM8wCQ5jiyKLE4NgKUkYHBA==\n"
)
CHECKPOINT = (TEXT + "\n" + LOG_LINE + WITNESS_LINE).encode()

# golang.org/x/mod/sumdb/note: two signers, one of them forgotten by most.
PETER_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SEED = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETER_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdng"
    "otpRZb6KE6RyyBwJnAM=\n"
)
ENOCH_VKEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWL"
    "ox33WWd1RvMc+QQ=\n"
)
# c2sp.org/signed-note@v1.0.0.
SPEC_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"


def opened(raw: bytes, *signers: NoteSigner):
    return note.open_note(raw, [signer.verifier for signer in signers])


def test_fixed_vkeys_hold_both_ways():
    assert LOG.vkey == LOG_VKEY
    assert WITNESS.vkey == WITNESS_VKEY
    for vkey in (LOG_VKEY, WITNESS_VKEY, PETER_VKEY, ENOCH_VKEY, SPEC_VKEY):
        assert note.parse_vkey(vkey).vkey == vkey
    assert note.parse_vkey(LOG_VKEY) == LOG.verifier
    assert LOG.key_id.hex() == "580c7c7d"


def test_fixed_checkpoint_is_signed_byte_for_byte():
    lines = (LOG.sign_line(TEXT), WITNESS.sign_cosignature(TEXT, 1_700_000_000))
    assert note.render(Note(TEXT, lines)) == CHECKPOINT
    assert note.sign(TEXT, LOG) == (TEXT + "\n" + LOG_LINE).encode()


def test_fixed_checkpoint_opens_and_tells_the_witness_s_time():
    found = opened(CHECKPOINT, LOG, WITNESS)
    assert found.text == TEXT
    assert [(line.name, line.timestamp) for line in found.verified] == [
        ("ledger.example/epcis", None),
        ("witness.example/w1", 1_700_000_000),
    ]
    assert found.unknown == ()


def test_notes_of_the_go_implementation_open():
    raw = (PETER_TEXT + "\n" + PETER_LINE + ENOCH_LINE).encode()
    peter, enoch = note.parse_vkey(PETER_VKEY), note.parse_vkey(ENOCH_VKEY)
    assert note.render(note.parse(raw)) == raw
    assert len(note.open_note(raw, [peter, enoch]).verified) == 2
    only = note.open_note(raw, [peter])
    assert [line.name for line in only.verified] == ["PeterNeumann"]
    assert [line.name for line in only.unknown] == ["EnochRoot"]
    seed = base64.b64decode(PETER_SEED)[1:]
    signer = NoteSigner.from_private_key("PeterNeumann", algorithms.private_key_from_seed(seed))
    assert note.sign(PETER_TEXT, signer) == (PETER_TEXT + "\n" + PETER_LINE).encode()


def test_a_text_may_hold_blank_lines_and_lines_like_signatures():
    text = "one\n\n— ledger.example/epcis AAAAAAAA\n\ntwo\n"
    raw = note.sign(text, LOG)
    assert opened(raw, LOG).text == text


def test_no_known_signature_is_unverifiable():
    for signers in ([], [WITNESS], [log_signer()]):
        with pytest.raises(Unverifiable) as e:
            opened(note.sign(TEXT, LOG), *signers)
        assert e.value.code == "note.unknown"
    # The same key under another name, and the same name with another key, are unknown too.
    renamed = NoteSigner.from_private_key("ledger.example/other", LOG.key)
    with pytest.raises(Unverifiable):
        opened(note.sign(TEXT, LOG), renamed)


def test_a_bad_line_of_a_known_key_spoils_the_note():
    good = LOG.sign_line(TEXT)
    for signature in (
        bytes(64),
        good.signature[:-1],
        good.signature + b"\x00",
        b"\x00",
        good.signature[::-1],
    ):
        bad = SignatureLine(LOG.name, LOG.key_id, signature)
        for lines in ((bad,), (bad, WITNESS.sign_cosignature(TEXT, 1)), (good, bad), (bad, good)):
            with pytest.raises(Refuted) as e:
                opened(note.render(Note(TEXT, lines)), LOG, WITNESS)
            assert e.value.code == "note.signature"


def test_a_signature_over_another_text_is_refuted():
    line = LOG.sign_line(TEXT)
    for text in (TEXT + "\n", TEXT[1:], TEXT.replace("3", "4"), TEXT + "extension\n", "\n" + TEXT):
        with pytest.raises(Refuted):
            opened(note.render(Note(text, (line,))), LOG)


def test_a_bad_line_of_an_unknown_key_says_nothing():
    bad = SignatureLine(WITNESS.name, WITNESS.key_id, bytes(72))
    found = opened(note.render(Note(TEXT, (bad, LOG.sign_line(TEXT)))), LOG)
    assert found.unknown == (bad,)


def test_of_two_good_lines_the_first_counts_once():
    lines = (WITNESS.sign_cosignature(TEXT, 5), WITNESS.sign_cosignature(TEXT, 9))
    found = opened(note.render(Note(TEXT, lines)), WITNESS)
    assert [line.timestamp for line in found.verified] == [5]


def test_a_cosignature_binds_its_time_and_its_purpose():
    good = WITNESS.sign_cosignature(TEXT, 1_700_000_000)
    key = WITNESS.key
    over_text = key.sign(TEXT.encode())
    bad = [
        (1_700_000_001).to_bytes(8, "big") + good.signature[8:],  # another time
        good.signature[:-1],
        good.signature + b"\x00",
        good.signature[8:],  # no time
        over_text,  # a log's signature by the cosigner's key
        (0).to_bytes(8, "big") + over_text,
        (2**63).to_bytes(8, "big") + key.sign(f"cosignature/v1\ntime {2**63}\n{TEXT}".encode()),
        good.signature[:8] + key.sign(f"cosignature/v1\ntime 01700000000\n{TEXT}".encode()),
        b"",
    ]
    assert opened(note.render(Note(TEXT, (good,))), WITNESS).verified == (good,)
    for signature in bad:
        with pytest.raises(Fault) as e:
            opened(
                note.render(Note(TEXT, (SignatureLine(WITNESS.name, WITNESS.key_id, signature),))), WITNESS
            )
        assert isinstance(e.value, Refuted) or signature == b""


def test_signers_do_only_what_their_type_does():
    with pytest.raises(Refused):
        WITNESS.sign_line(TEXT)
    with pytest.raises(Refused):
        LOG.sign_cosignature(TEXT, 1)
    with pytest.raises(Refused):
        note.sign(TEXT, LOG, WITNESS)
    for timestamp in (-1, 2**63):
        with pytest.raises(Malformed):
            WITNESS.sign_cosignature(TEXT, timestamp)
    with pytest.raises(Refused):
        NoteSigner.from_private_key("a", p256_key("a"))
    with pytest.raises(Unverifiable):
        NoteSigner.from_private_key("a", ed25519_key("a"), 0x06)


@pytest.mark.parametrize(
    "name", ["", "a b", "a+b", "a\nb", "a\u00a0b", "a\u2003b", "a\tb", "a\x00b", "x" * 256, " a", "a\u3000"]
)
def test_names_with_spaces_or_plus_signs_are_malformed(name):
    with pytest.raises(Malformed):
        NoteSigner.from_private_key(name, ed25519_key("a"))
    raw = CHECKPOINT.replace(b"\xe2\x80\x94 ledger.example/epcis", b"\xe2\x80\x94 " + name.encode(), 1)
    with pytest.raises(Malformed):
        note.parse(raw)


@pytest.mark.parametrize(
    "text",
    ["", "no newline", "a\nb", "tab\there\n", "cr\r\n", "nul\x00\n", "esc\x1b[0m\n", "\ud800\n"],
)
def test_texts_that_no_note_can_hold_are_malformed(text):
    with pytest.raises(Malformed):
        LOG.sign_line(text)
    with pytest.raises(Malformed):
        note.render(Note(text, (LOG.sign_line(TEXT),)))


SIGNED = note.sign(TEXT, LOG).decode()


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        TEXT + "\n",
        SIGNED[:-1],  # no last newline
        SIGNED + "\n",
        SIGNED + "x\n",
        SIGNED.replace("\n\n", "\n"),
        SIGNED.replace("\n", "\r\n"),
        SIGNED.replace("—", "-"),
        SIGNED.replace("— ", "—"),
        SIGNED.replace("— ", "—  "),
        SIGNED.replace("— ", "—\u00a0"),
        SIGNED.replace(" WAx8", "  WAx8"),
        SIGNED.replace("=\n", "\n", 2),
        SIGNED.replace("1QY=\n", "1QZ=\n"),  # unused bits not zero
        SIGNED.replace("1QY=\n", "1QY= \n"),
        SIGNED.replace("1QY=\n", "1QY=="),
        SIGNED.replace("WAx8", "WA-8"),
        SIGNED.replace("WAx8", "WA\u00e98"),
        SIGNED.replace("=\n\n", "=\x07\n\n"),
        TEXT + "\n— a AAAA\n",  # three bytes
        TEXT + "\n— a AAAAAA==\n",  # four: a key id without a signature
        TEXT + "\n— a\n",
        TEXT + "\n— \n",
        TEXT + "\n" + "— a AAAAAAAA\n" * 101,
    ],
)
def test_notes_that_are_not_exactly_right_are_malformed(raw):
    with pytest.raises(Malformed):
        note.parse(raw.encode())


def test_notes_that_are_not_utf_8_or_too_long_are_malformed():
    for raw in (CHECKPOINT.replace(b"3", b"\xff"), b"\xff" + CHECKPOINT, b"a" * 1_000_001):
        with pytest.raises(Malformed):
            note.parse(raw)
    assert len(note.parse((TEXT + "\n" + "— a AAAAAAAA\n" * 100).encode()).signatures) == 100
    with pytest.raises(Malformed):
        note.render(Note(TEXT, ()))


@pytest.mark.parametrize(
    ("vkey", "cause", "code"),
    [
        ("", Malformed, "note.vkey"),
        ("a+b", Malformed, "note.vkey"),
        (LOG_VKEY.replace("580c7c7d", "580C7C7D"), Malformed, "note.vkey"),
        (LOG_VKEY.replace("580c7c7d", "580c7c7e"), Malformed, "note.vkey"),
        (LOG_VKEY.replace("580c7c7d", "80c7c7d"), Malformed, "note.vkey"),
        (LOG_VKEY.replace("epcis", "epcit"), Malformed, "note.vkey"),  # the id covers the name
        (LOG_VKEY.replace("+AZJz", "+BJJz"), Malformed, "note.vkey"),  # and the type
        (LOG_VKEY + "=", Malformed, "note.vkey"),
        (LOG_VKEY + "\n", Malformed, "note.vkey"),
        (" " + LOG_VKEY, Malformed, "note.name"),
        ("+580c7c7d+AZJzCPU9Z2VQPStkwQOrWqRyBqs5UCz+j5hEL9tUMQC3", Malformed, "note.name"),
        ("a+00000000+AQ==", Malformed, "note.vkey"),
        ("a+00000000+", Malformed, "note.vkey"),
        ("a+00000000+AQEB", Malformed, "key.size"),
        ("a+00000000+" + base64.b64encode(b"\x02" + bytes(32)).decode(), Unverifiable, "note.type"),
        ("a+00000000+" + base64.b64encode(b"\x06" + bytes(1312)).decode(), Unverifiable, "note.type"),
        ("a+00000000+" + base64.b64encode(b"\xff" + bytes(32)).decode(), Unverifiable, "note.type"),
        ("a+00000000+" + base64.b64encode(b"\x01" + bytes(32)).decode(), Refused, "key.weak"),
        ("a+00000000+" + base64.b64encode(b"\x01\x01" + bytes(31)).decode(), Refused, "key.weak"),
    ],
)
def test_vkeys_that_are_not_exactly_right_are_refused(vkey, cause, code):
    with pytest.raises(cause) as e:
        note.parse_vkey(vkey)
    assert e.value.code == code


def test_two_keys_with_one_key_id_are_not_guessed_between():
    other = note.NoteVerifier(LOG.name, 1, WITNESS.verifier.public_key, LOG.key_id)
    with pytest.raises(Refused) as e:
        note.open_note(CHECKPOINT, [LOG.verifier, other])
    assert e.value.code == "note.ambiguous"
    assert note.open_note(CHECKPOINT, [LOG.verifier, LOG.verifier]).verified


def test_repr_shows_no_secret():
    assert LOG.key.seed.hex() not in repr(LOG)
    assert repr(LOG.key.seed) not in repr(LOG)


texts = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters=list(map(chr, range(32)))), max_size=30
)


@given(st.lists(texts, min_size=1, max_size=4), st.integers(0, 2**63 - 1))
@settings(max_examples=60)
def test_every_note_comes_back(lines, timestamp):
    text = "\n".join(lines) + "\n"
    made = Note(text, (LOG.sign_line(text), WITNESS.sign_cosignature(text, timestamp)))
    raw = note.render(made)
    assert note.render(note.parse(raw)) == raw
    assert note.parse(raw).text == text
    assert opened(raw, LOG, WITNESS).verified[1].timestamp == timestamp


@given(st.integers(0, len(CHECKPOINT) - 1), st.integers(0, 255))
@settings(max_examples=250)
def test_one_byte_changed_anywhere_never_opens_with_both_signatures(index, byte):
    changed = CHECKPOINT[:index] + bytes([byte]) + CHECKPOINT[index + 1 :]
    if changed == CHECKPOINT:
        return
    try:
        found = opened(changed, LOG, WITNESS)
    except Fault:
        return
    assert len(found.verified) < 2


@given(st.text("a— \n+AZ=", max_size=40).map(str.encode) | st.binary(max_size=30))
def test_what_is_parsed_is_rendered_to_the_same_bytes(raw):
    try:
        found = note.parse(raw)
    except Malformed:
        return
    assert note.render(found) == raw


def test_helpers_for_tests_are_the_same_each_time():
    assert log_signer().vkey == log_signer().vkey
    assert witness_signer().verifier.type == TYPE_COSIGNATURE
