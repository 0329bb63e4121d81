"""What the pages of this room show, runs."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import rfc8785

from keys import base64url, envelope, files, note
from keys.algorithms import public_key_from_jwk
from keys.errors import Refused
from keys.registry import Registry

PAGES = Path(__file__).resolve().parents[2] / "docs" / "formats"


def block(page: str, name: str) -> str:
    """The text of the one fenced block of this name."""
    text = (PAGES / page).read_text(encoding="utf-8")
    (found,) = re.findall(rf"^```{re.escape(name)}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return found


def statement(page: str, name: str) -> bytes:
    """A statement that the page wraps."""
    return block(page, name).replace("\n", "").encode()


def test_the_statement_on_its_page_says_what_the_page_says():
    raw = statement("statement.md", "jws")
    read = envelope.parse(raw)
    key = public_key_from_jwk(json.loads(block("statement.md", "json key")))
    envelope.verify(read, key)
    envelope.require_audience(read, "ledger.example/epcis")
    header = json.loads(base64url.decode(raw.split(b".")[0]))
    assert header == json.loads(block("statement.md", "json header"))
    assert header["kid"] == key.kid
    assert read.payload == block("statement.md", "json payload").rstrip("\n").encode()
    digest = bytes.fromhex(block("statement.md", "text digest").strip())
    assert digest == read.digest == hashlib.sha256(raw).digest()


def test_the_key_statements_on_their_page_make_the_history_that_the_page_tells():
    page = "key-statements.md"
    raws = {name: statement(page, f"jws {name}") for name in ("genesis", "register", "rotate", "revoke")}
    payloads = {name: envelope.parse(raw).payload for name, raw in raws.items()}
    payloads["possession"] = envelope.parse(json.loads(payloads["register"])["possession"].encode()).payload
    for name in ("genesis", "possession", "rotate", "revoke"):
        assert payloads[name] == rfc8785.dumps(json.loads(block(page, f"json {name}")))

    at = datetime(2026, 11, 20, 13, 0, 0, tzinfo=UTC)
    registry = Registry.from_genesis(raws["genesis"])
    for seq, name in ((1, "register"), (41, "rotate"), (57, "revoke")):
        registry = registry.apply(seq, at, raws[name])
    old = json.loads(payloads["rotate"])["old"]
    assert registry.judged_at(old, 41, at).invalid_since == datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC)
    for seq, code in ((42, "key.rotated"), (58, "key.revoked")):
        with pytest.raises(Refused) as e:
            registry.judged_at(old, seq, at)
        assert e.value.code == code
    (new,) = [record for record in registry.keys.values() if record.registered_seq == 41]
    assert (registry.active_key(new.kid, at).party, new.public_key.alg) == ("acme", "ES256")


def test_the_note_on_its_page_opens_with_the_keys_on_its_page():
    raw = block("signed-note.md", "note").encode()
    vkeys = block("signed-note.md", "vkeys").split()
    opened = note.open_note(raw, [note.parse_vkey(vkey) for vkey in vkeys])
    assert [line.timestamp for line in opened.verified] == [None, 1_700_000_000]
    assert note.render(note.parse(raw)) == raw


def test_the_key_file_on_its_page_opens_with_the_passphrase_on_its_page():
    pem = block("key-files.md", "pem").encode()
    key = files.decrypt_private_key(pem, b"correct horse battery staple")
    assert key.public.kid == block("key-files.md", "text kid").strip()


@pytest.mark.parametrize("page", ["statement.md", "key-statements.md"])
def test_every_fault_named_on_a_page_is_raised_somewhere_in_this_room(page):
    source = "".join(path.read_text() for path in (Path(envelope.__file__).parent).glob("*.py"))
    text = (PAGES / page).read_text(encoding="utf-8")
    ends = source.replace('f"key.{record.ended_cause}"', '"key.revoked" "key.rotated"')
    for code in re.findall(r"`((?:jws|key|genesis)\.[a-z.-]+)`", text.split("## Faults")[1]):
        assert f'"{code}"' in ends, code
