"""Step 9 of 9: how far an audit came. After verifier.ranges, before range_audit.

A state file says up to which entry all was well, and under which checkpoint.
It holds the tree of those entries in a few hashes. Whoever goes on from it
arrives at the signed root only if these are the ledger's own first entries;
so a file about other entries, or another ledger, is found out at the end.
What it cannot prove is that somebody checked them: keep it as you keep keys.
"""

from __future__ import annotations

import json
import os
import tempfile
from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

from keys import strict_json
from keys.errors import Fault, NotYet
from ledger import entry as entries
from ledger.arbiter import read_rows
from ledger.audit import LedgerReader
from ledger.entry import Entry
from ledger.merkle import HASH_SIZE, CompactRange
from ledger.tiles import TILE_WIDTH
from ledger.walk import WalkState
from verifier.errors import StateMalformed

FORMAT = "tallystick-audit-state@v1"
STATE_SIZE_MAX = 64 * 1024 * 1024
ANCHORS_MAX = 1_000_000
_MEMBERS = {
    *("anchors", "anchors_trail", "checkpoint", "format", "keys", "keys_trail", "prev", "recorded_at"),
    *("scope", "size", "tree", "unpinned"),
}


@dataclass(frozen=True, slots=True)
class AuditState:
    """Everything below entry `size` was well."""

    scope: bytes  # digest of what was checked by whose keys: another question, another answer
    checkpoint: bytes  # signed note under which it was
    tree: CompactRange  # of the first `size` entries, whole tiles
    walk: WalkState
    keys_trail: bytes  # over the key statements below
    anchors: tuple[int, ...]  # positions of the anchors below that were good
    anchors_trail: bytes  # over them
    unpinned_count: int

    @property
    def size(self) -> int:
        """How many entries were audited."""
        return self.tree.size


def next_trail(trail: bytes, entry: Entry) -> bytes:
    """Go on along entries whose bytes the file does not hold: their hashes name their statements, too."""
    return sha256(trail + entries.leaf_hash(entries.render(entry))).digest()


def render(state: AuditState) -> bytes:
    """Write a state file's bytes."""
    walk = state.walk
    assert walk.prev is not None
    value = {
        "format": FORMAT,
        "scope": _text(state.scope),
        "checkpoint": state.checkpoint.decode(),
        "size": state.size,
        "tree": [_text(hash_) for hash_ in state.tree.hashes],
        "prev": _text(walk.prev),
        "keys": walk.keys,
        "recorded_at": walk.recorded_at.decode(),
        "keys_trail": _text(state.keys_trail),
        "anchors": list(state.anchors),
        "anchors_trail": _text(state.anchors_trail),
        "unpinned": state.unpinned_count,
    }
    return json.dumps(value, indent=1).encode() + b"\n"


def parse(raw: bytes) -> AuditState:
    """Read a state file's bytes. Raises StateMalformed."""
    try:
        value = strict_json.loads(raw, size_max=STATE_SIZE_MAX, depth_max=4)
        if not isinstance(value, dict) or value.get("format") != FORMAT or set(value) != _MEMBERS:
            raise StateMalformed("audit-state.format", f"this is not a file of format {FORMAT}")
        tree = CompactRange(_count(value["size"]), [_hash(text) for text in value["tree"]])
        recorded_at = value["recorded_at"]
        entries.parse_time(recorded_at)
        anchors = tuple(_count(seq) for seq in value["anchors"])
        keys = _count(value["keys"])
        is_ordered = all(low < high for low, high in pairwise(anchors))
        if tree.size % TILE_WIDTH or not tree.size or keys >= tree.size or not is_ordered:
            raise StateMalformed("audit-state.size", "the file contradicts itself")
        if len(anchors) > ANCHORS_MAX or (anchors and anchors[-1] >= tree.size):
            raise StateMalformed("audit-state.anchors", "the file names anchors that it cannot know")
        return AuditState(
            scope=_hash(value["scope"]),
            checkpoint=value["checkpoint"].encode(),
            tree=tree,
            walk=WalkState(_hash(value["prev"]), keys, None, recorded_at.encode()),
            keys_trail=_hash(value["keys_trail"]),
            anchors=anchors,
            anchors_trail=_hash(value["anchors_trail"]),
            unpinned_count=_count(value["unpinned"]),
        )
    except StateMalformed:
        raise
    except (Fault, TypeError, AttributeError, UnicodeError) as error:
        raise StateMalformed("audit-state.form", f"the state file cannot be read: {error}") from error


def read_state(path: Path) -> AuditState | None:
    """Read a state file; None if there is none yet. Raises StateMalformed, also for any other file."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(STATE_SIZE_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateMalformed("audit-state.unread", f"{path} cannot be read: {error.strerror}") from error
    return parse(raw)


def write_state(path: Path, state: AuditState) -> None:
    """Replace the file at once: after a power cut there is the old one or the new one."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(handle, "wb") as stream:
                stream.write(render(state))
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StateMalformed(
            "audit-state.unwritten", f"{path} cannot be written: {error.strerror}"
        ) from error


def read_anchor_rows(reader: LedgerReader, state: AuditState) -> list[tuple[Entry, bytes]] | None:
    """Read again the anchors that were good, with their statements; None if they are not those of then."""
    trail, found = bytes(HASH_SIZE), []
    for seq in state.anchors:
        row = read_rows(reader.read_entries, seq, seq + 1)[0]
        statement = read_rows(reader.read_statements, seq, seq + 1)[0]
        try:
            entry = entries.parse(row or b"")
        except NotYet:
            raise
        except Fault:
            return None
        if statement is None or sha256(statement).digest() != entry.statement:
            return None
        trail = next_trail(trail, entry)
        found.append((entry, statement))
    return found if trail == state.anchors_trail else None


def _text(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def _hash(text: Any) -> bytes:
    try:
        data = a2b_base64(text, strict_mode=True)
    except (Base64Error, TypeError, ValueError) as error:
        raise StateMalformed("audit-state.form", "a hash in the file is not base64") from error
    if len(data) != HASH_SIZE:
        raise StateMalformed("audit-state.form", f"a hash in the file has {len(data)} bytes")
    return data


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise StateMalformed("audit-state.form", "a number in the file is not one")
    return value
