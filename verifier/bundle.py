"""Step 9 of 9: the evidence bundle's bytes. Before verifier.evidence, which says whether they are true.

One RFC 8785 JSON file for one product, with a SHA-256 of itself. The digest
protects against accidents only, since whoever alters the file can renew it;
everything else in the file is held by hashes and signatures.

Promise: a bundle has one spelling. `render(parse(b)) == b` for every b that
parses, so a changed byte is either refused here or changes what is verified.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from keys import strict_json
from keys.errors import Fault
from ledger import entry as entries
from ledger import merkle
from ledger.entry import Entry
from verifier.errors import BundleMalformed

FORMAT = "tallystick-evidence@v1"
BUNDLE_SIZE_MAX = 64 * 1024 * 1024  # about 30,000 statements of 1 KiB with their proofs
ENTRIES_MAX = 25_000  # of them as many key statements as a ledger of ten thousand parties has
ANCHORS_MAX = 2_000  # each costs a millisecond of certificate checks
DEPTH_MAX = 6  # bundle, list, item, entry or path: five levels, and one to spare
CHECKPOINT_SIZE_MAX = 64 * 1024
SUBJECT_LENGTH_MAX = 512
# Each entry brings three objects and lists, each consistency proof two; text may hold such characters too.
OPENINGS_MAX = 5 * ENTRIES_MAX + 2 * CHECKPOINT_SIZE_MAX
# Nothing has more parts than two paths of 64 hashes and some members for each entry.
COMMAS_MAX = 2 * (64 + 16) * ENTRIES_MAX

_MEMBERS = ("checkpoint", "consistency", "digest", "entries", "format", "origin", "subject")
_DIGEST_OPENING = b'"digest":"'
_DIGEST_LENGTH = 44  # 32 bytes in base64, padded
_HASH_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of the ledger, with the proof that the bundle's checkpoint covers it."""

    entry_bytes: bytes  # canonical, as hashed
    entry: Entry
    path: tuple[bytes, ...]  # inclusion path to the bundle's checkpoint
    statement: bytes | None  # None: not disclosed here, or erased

    @property
    def seq(self) -> int:
        """Its position in the log."""
        return self.entry.seq


@dataclass(frozen=True, slots=True)
class Consistency:
    """The proof that an anchored tree of this size is the beginning of the bundle's."""

    size: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a stranger needs to check one product, as read from a file and not yet believed."""

    subject: str  # canonical name of the product
    origin: str
    checkpoint: bytes  # signed note
    items: tuple[Item, ...]  # ascending by seq
    consistency: tuple[Consistency, ...]  # ascending by size


def render(bundle: Bundle) -> bytes:
    """The bundle's one spelling."""
    value: dict[str, Any] = {
        "checkpoint": bundle.checkpoint.decode("utf-8"),
        "consistency": [{"path": _texts(proof.path), "size": proof.size} for proof in bundle.consistency],
        "entries": [
            {
                "entry": orjson.loads(item.entry_bytes),
                "path": _texts(item.path),
                "statement": None if item.statement is None else item.statement.decode("ascii"),
            }
            for item in bundle.items
        ],
        "format": FORMAT,
        "origin": bundle.origin,
        "subject": bundle.subject,
    }
    value["digest"] = _text(sha256(_canonical(value)).digest())
    return _canonical(value)


def parse(data: bytes) -> Bundle:
    """Read a bundle from its exact bytes.

    Raises BundleMalformed with a JSON pointer. Bounded in size, depth and
    count; linear in the file. Nothing in the result is verified but its form.
    """
    if len(data) > BUNDLE_SIZE_MAX:
        raise BundleMalformed("bundle.size", f"the file has {len(data)} bytes; {BUNDLE_SIZE_MAX} are allowed")
    digest = _require_digest(data)
    # A reader makes of each "[]" or "1," many times its bytes: 64 MiB of them would take gigabytes.
    if data.count(b"[") + data.count(b"{") > OPENINGS_MAX or data.count(b",") > COMMAS_MAX:
        raise BundleMalformed("bundle.size", "the file has more parts than an evidence bundle can have")
    try:
        value = strict_json.loads(data, size_max=BUNDLE_SIZE_MAX, depth_max=DEPTH_MAX)
    except Fault as fault:
        raise BundleMalformed(fault.code, fault.detail, fault.pointer) from fault
    if not isinstance(value, dict):
        raise BundleMalformed("bundle.type", "an evidence bundle is a JSON object")
    _require_members(value, _MEMBERS, "")
    if value["format"] != FORMAT:
        raise BundleMalformed("bundle.format", f"the format is not {FORMAT!r}", "/format")
    # The digest was cut out at the first place that looks like it: it must be this member and no other.
    if value["digest"] != _text(digest) or _canonical(value) != data:
        raise BundleMalformed("bundle.canonical", "the file is not spelled as RFC 8785 has it")
    origin = _require_text(value["origin"], "/origin", 255)
    subject = _require_text(value["subject"], "/subject", SUBJECT_LENGTH_MAX)
    checkpoint = _require_text(value["checkpoint"], "/checkpoint", CHECKPOINT_SIZE_MAX)
    return Bundle(
        subject=subject,
        origin=origin,
        checkpoint=checkpoint.encode("utf-8"),
        items=_parse_items(value["entries"]),
        consistency=_parse_consistency(value["consistency"]),
    )


def repair_digest(data: bytes) -> bytes:
    """The same bytes with the digest that fits them: what an attacker does, and what our tests do."""
    start = data.index(_DIGEST_OPENING) + len(_DIGEST_OPENING)
    end = start + _DIGEST_LENGTH
    return data[:start] + _text(_digest_without(data, start, end)).encode("ascii") + data[end:]


def _require_digest(data: bytes) -> bytes:
    """Check the file's own digest before anything of it is read, and return it.

    In canonical JSON a quote inside a string is escaped, so the opening cannot
    stand inside one; and the member sorts after "checkpoint" and "consistency",
    which hold no member of this name.
    """
    start = data.find(_DIGEST_OPENING)
    if start < 0:
        raise BundleMalformed("bundle.format", "this is not an evidence bundle: it holds no digest of itself")
    start += len(_DIGEST_OPENING)
    end = start + _DIGEST_LENGTH
    found = _digest_without(data, start, end)
    if data[start : end + 2] != _text(found).encode("ascii") + b'",':
        raise BundleMalformed(
            "bundle.digest",
            "the file does not have the digest that it names: it was altered or damaged",
            "/digest",
        )
    return found


def _digest_without(data: bytes, start: int, end: int) -> bytes:
    """SHA-256 of the canonical JSON without the member "digest"."""
    return sha256(data[: start - len(_DIGEST_OPENING)] + data[end + 2 :]).digest()


def _parse_items(value: Any) -> tuple[Item, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= ENTRIES_MAX:
        raise BundleMalformed("bundle.entries", f"entries must be a list of 1 to {ENTRIES_MAX}", "/entries")
    items: list[Item] = []
    anchor_count = 0
    for index, member in enumerate(value):
        pointer = f"/entries/{index}"
        _require_members(member, ("entry", "path", "statement"), pointer)
        entry_bytes = _canonical(member["entry"])
        try:
            entry = entries.parse(entry_bytes)
        except Fault as fault:
            raise BundleMalformed(fault.code, fault.detail, f"{pointer}/entry{fault.pointer}") from fault
        if items and entry.seq <= items[-1].seq:
            raise BundleMalformed("bundle.order", "entries ascend by seq, each once", f"{pointer}/entry/seq")
        path = _parse_path(member["path"], f"{pointer}/path")
        anchor_count += entry.kind == "anchor"
        if anchor_count > ANCHORS_MAX:
            raise BundleMalformed("bundle.entries", f"more than {ANCHORS_MAX} anchors", pointer)
        items.append(Item(entry_bytes, entry, path, _parse_statement(member["statement"], pointer)))
    return tuple(items)


def _parse_statement(value: Any, pointer: str) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.isascii() or not value:
        raise BundleMalformed("bundle.statement", "a statement is ASCII or null", f"{pointer}/statement")
    return value.encode("ascii")


def _parse_consistency(value: Any) -> tuple[Consistency, ...]:
    if not isinstance(value, list) or len(value) > ENTRIES_MAX:
        raise BundleMalformed("bundle.consistency", "consistency must be a list", "/consistency")
    proofs: list[Consistency] = []
    for index, member in enumerate(value):
        pointer = f"/consistency/{index}"
        _require_members(member, ("path", "size"), pointer)
        size = member["size"]
        if type(size) is not int or size < 1 or (proofs and size <= proofs[-1].size):
            raise BundleMalformed(
                "bundle.order", "sizes are positive and ascend, each once", f"{pointer}/size"
            )
        proofs.append(Consistency(size, _parse_path(member["path"], f"{pointer}/path")))
    return tuple(proofs)


def _parse_path(value: Any, pointer: str) -> tuple[bytes, ...]:
    if not isinstance(value, list) or len(value) > merkle.PATH_LENGTH_MAX:
        raise BundleMalformed(
            "bundle.path", f"a path is a list of at most {merkle.PATH_LENGTH_MAX} hashes", pointer
        )
    return tuple(_parse_hash(text, f"{pointer}/{index}") for index, text in enumerate(value))


def _parse_hash(text: Any, pointer: str) -> bytes:
    try:
        hash_ = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError) as e:
        raise BundleMalformed("bundle.hash", "not base64", pointer) from e
    # The last base64 character has spare bits: only one spelling is taken.
    if len(hash_) != _HASH_LENGTH or _text(hash_) != text:
        raise BundleMalformed("bundle.hash", "a hash is the base64 of 32 bytes", pointer)
    return hash_


def _require_members(value: Any, names: Sequence[str], pointer: str) -> None:
    if not isinstance(value, dict):
        raise BundleMalformed("bundle.type", "expected a JSON object", pointer)
    if sorted(value) != sorted(names):
        raise BundleMalformed("bundle.members", f"expected exactly the members {', '.join(names)}", pointer)


def _require_text(value: Any, pointer: str, length_max: int) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= length_max:
        raise BundleMalformed("bundle.text", f"expected a text of 1 to {length_max} characters", pointer)
    return value


def _canonical(value: Mapping[str, Any]) -> bytes:
    """RFC 8785 for what a bundle may hold: ASCII member names, strings and integers within 2**53.

    For such values orjson's sorted output is the same bytes, 30 times faster; a test compares them.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER)
    except (TypeError, ValueError) as e:
        raise BundleMalformed("bundle.type", "a value that a bundle never holds") from e


def _texts(hashes: Sequence[bytes]) -> list[str]:
    return [_text(hash_) for hash_ in hashes]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
