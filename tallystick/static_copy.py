"""Step 6 of 9, seen from outside: the log as files, for any web server or object store to serve.

    checkpoint                      the newest one published; written last, replaced whole
    tile/<level>/<index>[.p/<w>]    hashes
    tile/entries/<index>[.p/<w>]    entries
    statements/bundle/<index>[…]    statements, as far as the ledger's policy shows them to anybody
    trust                           the public keys, as GET /trust has them

Promise: at every moment, also after a crash, the checkpoint that stands there is one that the log signed,
everything under it is there, and no checkpoint is ever followed by an older one or by one of another
history. The checkpoint that stands there is also all that is remembered: what it covers is not written again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from api.headers import IMMUTABLE, REVALIDATE
from api.log import NOTE, OCTETS
from api.requests import JWS_LINES
from intake import disclosure
from keys.errors import Fault, Malformed, NotYet, Refused, Refuted
from keys.note import NoteVerifier
from ledger import checkpoint as checkpoints
from ledger.checkpoint import Checkpoint
from ledger.entry import leaf_hash
from ledger.errors import NotInLog
from ledger.store.protocol import Head
from ledger.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    TileBuilder,
    TilePath,
    TileWrite,
    level_count,
    render_bundle,
    render_path,
    width_at,
)

CHECKPOINT = "checkpoint"
TRUST = "trust"
JSON = "application/json"


class PublishError(Fault):
    """Whatever keeps a copy from being published on purpose."""


class CopyForked(PublishError, Refuted):
    """The copy and the ledger are two histories."""


class CopyNewer(PublishError, Refused):
    """The copy knows more than the ledger: a restored backup, or a replica that is behind."""


class CopyForeign(PublishError, Refused):
    """What stands there is not this log's."""


class CopyMoved(PublishError, NotYet):
    """Somebody else publishes to the same place."""


class PlaceMalformed(PublishError, Malformed):
    """No folder, and no address of an object store that is known."""


class PlaceFailed(PublishError, NotYet):
    """The place cannot be reached, or does not take what it is given."""


class SourceDamaged(PublishError, Refuted):
    """What the ledger's database holds does not lead to what its log signed."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An object with whatever tells its versions apart."""

    body: bytes
    version: Any


class Place(Protocol):
    """Where the copy is kept. Raises PlaceFailed. Names are as above, with slashes."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep other publishers of this machine out. Raises CopyMoved where one is at work."""
        ...

    def read(self, name: str) -> Standing | None: ...

    def add(self, name: str, body: bytes, media_type: str) -> None:
        """Keep something that never changes under its name. May return before it is durable.

        Raises CopyForked, now or from settle(), if other bytes stand there already.
        """
        ...

    def replace(
        self, name: str, body: bytes, media_type: str, expected: Standing | None, *, mine: bool
    ) -> None:
        """Put this where `expected` stands, whole or not at all; durable on return.

        mine  raise CopyMoved if something else stands there by now, and change nothing
        """
        ...

    def overwrite(self, name: str, body: bytes, media_type: str) -> None:
        """Put this under the name, whatever stands there. May return before it is durable."""
        ...

    def settle(self) -> None:
        """Return once everything given so far is durable and can be read by others."""
        ...

    def remove_under(self, prefix: str) -> int:
        """Remove everything whose name begins with this prefix, which ends with a slash; how many."""
        ...


class Source(Protocol):
    """Any reader of the ledger."""

    def read_head(self) -> Head | None: ...

    def read_entries(self, start: int, end: int) -> Sequence[bytes]: ...

    def read_statements(self, start: int, end: int) -> Sequence[bytes | None]: ...

    def read_tile(self, level: int, index: int, width: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Summary:
    """What a round did: sizes before and after, how many objects were written and removed."""

    old_size: int
    tree_size: int
    written: int
    bytes_written: int
    removed: int


class Publisher:
    """Copies one ledger to one place, again and again.

    origin, verifiers  the log's name and keys: no other log's checkpoint is published or replaced
    policy             the ledger's policy as it is now
    trust              the bytes of GET /trust
    """

    def __init__(
        self,
        source: Source,
        place: Place,
        *,
        origin: str,
        verifiers: Sequence[NoteVerifier],
        policy: Callable[[], Mapping[str, Any]],
        trust: bytes,
    ) -> None:
        self._source = source
        self._place = place
        self._origin = origin
        self._verifiers = verifiers
        self._policy = policy
        self._trust = trust

    def publish(self, *, everything: bool = False) -> Summary:
        """Bring the copy up to the newest published checkpoint.

        everything  write again what should stand there already, statements with what the policy and
                    erasures make of them today

        Nothing is written before what is to be published has been hashed and leads to the signed root.
        Raises CopyForked, CopyNewer, CopyForeign, CopyMoved, SourceDamaged or PlaceFailed; then the
        checkpoint is what it was. Three hashes an entry; reads each new entry twice.
        """
        with self._place.exclusive():
            note, new = self._newest()
            standing = self._place.read(CHECKPOINT)
            old = self._require_older(standing, new)
            start = 0 if everything else old.tree_size if old else 0
            self._verify(start, old if start else None, new)
            round_ = _Round(self._place, everything)
            if start < new.tree_size:
                self._write_hashes(round_, start, new.tree_size)
                self._write_bundles(round_, start, new.tree_size)
            self._write_trust(round_)
            if standing is None or standing.body != note:
                # Whoever reads the checkpoint must find everything that it covers.
                self._place.settle()
                self._place.replace(CHECKPOINT, note, NOTE, standing, mine=True)
                round_.count(note)
            removed = self._remove_partials(start, new.tree_size)
            self._place.settle()
            old_size = old.tree_size if old else 0
            return Summary(old_size, new.tree_size, round_.written, round_.bytes_written, removed)

    def published_size(self) -> int:
        """The size of the newest checkpoint that the log itself has published."""
        return self._newest()[1].tree_size

    def _newest(self) -> tuple[bytes, Checkpoint]:
        head = self._source.read_head()
        if head is None or not head.published:
            raise NotInLog("publish.empty", "this ledger has published no checkpoint yet")
        return head.published, checkpoints.open_checkpoint(head.published, self._verifiers, self._origin)

    def _require_older(self, standing: Standing | None, new: Checkpoint) -> Checkpoint | None:
        """The copy's own checkpoint, if the new one may take its place."""
        if standing is None:
            return None
        try:
            old = checkpoints.open_checkpoint(standing.body, self._verifiers, self._origin)
        except Fault as fault:
            raise CopyForeign(
                "publish.foreign",
                f"the checkpoint that stands there is not one of {self._origin}, and is left alone:"
                f" {fault.detail}",
            ) from fault
        if old.tree_size > new.tree_size:
            raise CopyNewer(
                "publish.newer",
                f"the copy has {old.tree_size} entries and this ledger published {new.tree_size}: this"
                " database is an older one, perhaps a restored backup, and nothing was written",
            )
        if old.tree_size == new.tree_size and old.root_hash != new.root_hash:
            raise _forked(old.tree_size)
        return old

    def _verify(self, start: int, old: Checkpoint | None, new: Checkpoint) -> None:
        """Hash the entries from `start` on: from the old root to the new one, or nothing is written."""
        builder = self._builder_at(start)
        if old is not None and builder.root() != old.root_hash:
            raise _forked(start)
        for entries in self._bundles_of_entries(start, new.tree_size):
            builder.extend([leaf_hash(entry) for entry in entries])
        if builder.root() != new.root_hash:
            raise SourceDamaged(
                "publish.damaged",
                f"the entries up to {new.tree_size} do not lead to the root that the log signed, so nothing"
                " was published; `tallystick audit` names what is wrong",
            )

    def _builder_at(self, size: int) -> TileBuilder:
        """The tree's edge at a size that the log has passed."""
        edges: list[bytes] = []
        complete = size
        while complete:
            index, width = divmod(complete, TILE_WIDTH)
            edges.append(self._source.read_tile(len(edges), index, width) if width else b"")
            complete >>= TILE_HEIGHT
        return TileBuilder(size, edges)

    def _bundles_of_entries(self, start: int, end: int) -> Iterator[Sequence[bytes]]:
        """Entries start <= seq < end, cut where tiles are."""
        while start < end:
            until = min(end, (start // TILE_WIDTH + 1) * TILE_WIDTH)
            entries = self._source.read_entries(start, until)
            if len(entries) != until - start or not all(entries):
                raise SourceDamaged(
                    "publish.damaged", f"entries {start} to {until - 1} cannot all be read from the database"
                )
            yield entries
            start = until

    def _write_hashes(self, round_: _Round, start: int, size: int) -> None:
        """Tiles that became full since `start`, and the partial ones of `size`."""
        builder = self._builder_at(start)
        for entries in self._bundles_of_entries(start, size):
            for tile in builder.extend([leaf_hash(entry) for entry in entries]):
                round_.add(_tile_name(tile), tile.hashes, OCTETS)
        for level, hashes in enumerate(builder.edges):
            if hashes and level < level_count(size):
                edge = TileWrite(level, size >> (TILE_HEIGHT * (level + 1)), hashes)
                round_.add(_tile_name(edge), hashes, OCTETS)

    def _write_bundles(self, round_: _Round, start: int, size: int) -> None:
        """Entries and statements of every bundle that has something beyond `start`."""
        policy = self._policy()
        for index in range(start // TILE_WIDTH, -(-size // TILE_WIDTH)):
            first = index * TILE_WIDTH
            width = width_at(0, index, size)
            entries = self._source.read_entries(first, first + width)
            round_.add(f"tile/{render_path(TilePath(None, index, width))}", render_bundle(entries), OCTETS)
            shown = disclosure.shown(policy, self._source.read_statements(first, first + width), None)
            lines = b"".join(map(disclosure.line_of, shown))
            name = disclosure.BUNDLES + disclosure.render_bundle_name(index, width)
            round_.overwrite(name, lines, JWS_LINES)

    def _write_trust(self, round_: _Round) -> None:
        standing = self._place.read(TRUST)
        if standing is None or standing.body != self._trust:
            round_.overwrite(TRUST, self._trust, JSON)

    def _remove_partials(self, start: int, size: int) -> int:
        """SPEC tlog-tiles: partial tiles may go once the full one stands, and not before."""
        removed = 0
        for level in range(level_count(size)):
            index = start >> (TILE_HEIGHT * (level + 1))
            if start == 0 or width_at(level, index, size) < TILE_WIDTH:
                continue
            full = render_path(TilePath(level, index, TILE_WIDTH))
            removed += self._place.remove_under(f"tile/{full}.p/")
            if level == 0:
                name = disclosure.render_bundle_name(index, TILE_WIDTH)
                removed += self._place.remove_under(f"tile/entries/{name}.p/")
                removed += self._place.remove_under(f"{disclosure.BUNDLES}{name}.p/")
        return removed


class _Round:
    """What one round writes, counted."""

    def __init__(self, place: Place, everything: bool) -> None:
        self._place = place
        self.written = 0
        self.bytes_written = 0

    def add(self, name: str, body: bytes, media_type: str) -> None:
        self._place.add(name, body, media_type)
        self.count(body)

    def overwrite(self, name: str, body: bytes, media_type: str) -> None:
        self._place.overwrite(name, body, media_type)
        self.count(body)

    def count(self, body: bytes) -> None:
        self.written += 1
        self.bytes_written += len(body)


def cache_control(name: str) -> str:
    """How long the object of this name may be kept: for ever if its bytes can never be others."""
    return IMMUTABLE if name.startswith("tile/") else REVALIDATE


def _tile_name(tile: TileWrite) -> str:
    return f"tile/{render_path(TilePath(tile.level, tile.index, len(tile.hashes) // 32))}"


def _forked(size: int) -> CopyForked:
    return CopyForked(
        "publish.forked",
        f"for {size} entries the copy and this ledger have two roots, both signed: these are two histories of"
        " one log, and nothing was written",
    )
