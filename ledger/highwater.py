"""Step 6 of 9: the high-water mark. Beside ledger.log, outside the database.

A database that was restored from yesterday's backup looks sound and would fork the log at its next
append: it would sign a second history over sizes it has signed before. So the writer keeps, in a
file apart, the largest head it ever committed, and compares before it appends.

The file holds two slots of text, written in turn, so a torn write spoils one and leaves the other:

    <sha256 of the rest, hex> {"anchored_root":…,"anchored_size":…,"checkpoint":…,"origin":…,…}

Keep it where a restore of the database does not reach, on the same machine. It may be behind the
database (by what a crash kept from being written, at most a second) and never ahead of it.
"""

from __future__ import annotations

import json
import os
import time
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

from keys.errors import Unverifiable
from ledger.errors import LedgerError

SLOT_SIZE = 8192  # bytes; a checkpoint with an ML-DSA line and several cosignatures fits
SYNC_INTERVAL_S = 1.0  # what a power cut may take from the mark; a mark that is behind is still true
FILE_MODE = 0o600

_CHECKSUM_SIZE = 64  # SHA-256 in hex


class HighWaterDamaged(LedgerError, Unverifiable):
    """The file is there and neither slot can be read."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The newest state this writer knows to have been committed."""

    origin: str
    tree_size: int
    root_hash: bytes
    checkpoint: bytes  # the signed note over both
    anchored_size: int = 0  # the newest checkpoint known to be anchored; 0 is none
    anchored_root: bytes = b""


class HighWater:
    """The file. Its path is fixed; its content is read anew when the file has changed. Any thread may call.

    Writing costs some 40 µs and, once a second, an fsync. Raises OSError where the disk does.
    """

    def __init__(self, path: Path | str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.path = Path(path)
        self._monotonic = monotonic
        self._guard = Lock()
        self._synced_at: float | None = None
        self._is_dirty = False
        self._held: tuple[int, Mark | None] = (0, None)
        self._held_of: tuple[int, int, int] | None = None  # the file's state that _held was read from

    def read(self) -> Mark | None:
        """The mark; None if there is no file yet. Raises HighWaterDamaged, never guesses."""
        with self._guard:
            return self._read()[1]

    def raise_to(self, origin: str, tree_size: int, root_hash: bytes, checkpoint: bytes) -> None:
        """Record a committed head. A smaller one than is known changes nothing."""
        with self._guard:
            serial, mark = self._read()
            if mark is not None and mark.origin == origin and mark.tree_size >= tree_size:
                return self._sync_waiting()
            anchored = (mark.anchored_size, mark.anchored_root) if mark is not None else (0, b"")
            self._write(serial + 1, Mark(origin, tree_size, root_hash, checkpoint, *anchored))

    def note_anchored(self, tree_size: int, root_hash: bytes) -> None:
        """Record the newest checkpoint that a time-stamp authority has seen."""
        with self._guard:
            serial, mark = self._read()
            if mark is not None and mark.anchored_size < tree_size:
                self._write(serial + 1, replace(mark, anchored_size=tree_size, anchored_root=root_hash))

    def start(self, origin: str, tree_size: int, root_hash: bytes, checkpoint: bytes) -> None:
        """Begin a new mark where none can be read; what stood there is kept beside it."""
        with self._guard:
            if self.path.exists():
                self.path.replace(self.path.with_name(self.path.name + ".damaged"))
            self._write(1, Mark(origin, tree_size, root_hash, checkpoint))

    def sync_if_due(self) -> None:
        """Bring a waiting mark to the disk: for whoever runs while nothing is appended."""
        with self._guard:
            self._sync_waiting()

    def _read(self) -> tuple[int, Mark | None]:
        """The newest slot that can be read, with its serial; (0, None) where nothing was ever written."""
        try:
            state = _state(os.stat(self.path))
            if state == self._held_of:
                return self._held
            data = self.path.read_bytes()
        except FileNotFoundError:
            return 0, None
        slots = [_parse(data[start : start + SLOT_SIZE]) for start in (0, SLOT_SIZE)]
        found = [slot for slot in slots if slot is not None]
        if found:
            self._held, self._held_of = max(found, key=lambda slot: slot[0]), state
            return self._held
        raise HighWaterDamaged(
            "ledger.high-water.damaged", f"neither slot of the high-water file {self.path} can be read"
        )

    def _write(self, serial: int, mark: Mark) -> None:
        slot = _render(serial, mark)
        is_new = not self.path.exists()
        # Opened anew each time: whoever moves the file away must not leave us writing into the old one.
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            if os.pwrite(descriptor, slot, SLOT_SIZE * (serial % 2)) != SLOT_SIZE:
                raise OSError(f"a slot was written to {self.path} in part only")
            self._is_dirty = True
            self._held, self._held_of = (serial, mark), _state(os.fstat(descriptor))
            if is_new or self._is_sync_due():
                self._sync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            # The name must outlive a power cut as well, or a missing file stops the next start.
            _sync_folder(self.path.parent)

    def _sync_waiting(self) -> None:
        if not self._is_dirty or not self._is_sync_due():
            return
        with suppress(FileNotFoundError):  # taken away: the next write makes a new one
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            try:
                self._sync(descriptor)
            finally:
                os.close(descriptor)

    def _is_sync_due(self) -> bool:
        return self._synced_at is None or self._monotonic() - self._synced_at >= SYNC_INTERVAL_S

    def _sync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)
        self._synced_at = self._monotonic()
        self._is_dirty = False


def _state(stat: os.stat_result) -> tuple[int, int, int]:
    """Changes when somebody else writes the file or puts another in its place."""
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _render(serial: int, mark: Mark) -> bytes:
    content = json.dumps(
        {
            "anchored_root": _base64(mark.anchored_root),
            "anchored_size": mark.anchored_size,
            "checkpoint": mark.checkpoint.decode(),
            "origin": mark.origin,
            "root_hash": _base64(mark.root_hash),
            "serial": serial,
            "tree_size": mark.tree_size,
        },
        separators=(",", ":"),
    ).encode()
    line = sha256(content).hexdigest().encode() + b" " + content
    if len(line) >= SLOT_SIZE:
        raise OSError(f"the checkpoint's {len(mark.checkpoint)} bytes do not fit a slot of {SLOT_SIZE}")
    return line.ljust(SLOT_SIZE - 1) + b"\n"


def _parse(slot: bytes) -> tuple[int, Mark] | None:
    content = slot[_CHECKSUM_SIZE + 1 :].rstrip(b" \n")
    prefix = sha256(content).hexdigest().encode() + b" "
    if len(slot) != SLOT_SIZE or not slot.startswith(prefix):
        return None
    try:
        members: dict[str, Any] = json.loads(content)
        mark = Mark(
            origin=members["origin"],
            tree_size=members["tree_size"],
            root_hash=a2b_base64(members["root_hash"]),
            checkpoint=members["checkpoint"].encode(),
            anchored_size=members["anchored_size"],
            anchored_root=a2b_base64(members["anchored_root"]),
        )
        return int(members["serial"]), mark
    except (ValueError, KeyError, TypeError, AttributeError, Base64Error):
        return None


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()
