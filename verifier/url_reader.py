"""Step 9 of 9: a ledger by its address. Reads for verifier.ledger_audit what a server shows to everybody.

Nothing that comes back is believed: the audit hashes it. What this module
owes is to ask only for what the log's formats name, to bound every answer,
and to tell a server that is away from a ledger that is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType

import httpx2

from keys.errors import Fault
from ledger import checkpoint as checkpoints
from ledger.errors import NotInLog
from ledger.tiles import TILE_WIDTH, TilePath, parse_bundle, render_path
from verifier.errors import SourceFailed

TIMEOUT_S = 30.0
TRIES_MAX = 4
PAUSE_S = 0.5  # before the second try; doubles for each further one
PAUSE_MAX_S = 30.0  # however long the server asks us to wait

NOTE_SIZE_MAX = 1024 * 1024
HASH_LENGTH = 32
ENTRY_BUNDLE_SIZE_MAX = TILE_WIDTH * (2 + 0xFFFF)
STATEMENTS_SIZE_MAX = 32 * 1024 * 1024  # servers answer up to 16 MiB at once, and always one statement
STATEMENT_BUNDLE_SIZE_MAX = TILE_WIDTH * 1_500_001  # of a static copy; no ledger takes longer statements
STATEMENTS_PAGE = 1_000  # how many we ask for at once; a server may answer with fewer

ENTRY_BUNDLES = "/tile/entries/"
STATEMENT_BUNDLES = "/statements/bundle/"

_BUSY = (429, 502, 503, 504)


class UrlReader:
    """A LedgerReader over HTTP. For one thread; close() it, or use it in a `with`."""

    def __init__(
        self,
        url: str,
        *,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = url.rstrip("/")
        # Redirects would let a server send an auditor elsewhere, and nothing in the formats needs them.
        self._client = httpx2.Client(transport=transport, timeout=TIMEOUT_S, follow_redirects=False)
        self._sleep = sleep
        self._size = 0  # of the newest checkpoint read: says how wide partial tiles are
        self._bundle: tuple[int, int, list[bytes]] = (-1, 0, [])  # the bundle of entries read last
        self._lines: tuple[int, int, list[bytes | None]] = (-1, 0, [])  # and that of statements

    def read_checkpoint(self) -> bytes:
        """The newest published note."""
        note = self._get("/checkpoint", NOTE_SIZE_MAX)
        self._size = checkpoints.parse_unverified(note).tree_size
        return note

    def read_entries(self, start: int, end: int) -> Sequence[bytes]:
        """Entries start <= seq < end; fewer only where the newest checkpoint ends."""
        entries: list[bytes] = []
        seq, end = start, min(end, self._size)
        while seq < end:
            index, offset = divmod(seq, TILE_WIDTH)
            bundle = self._read_bundle(index)[offset : offset + end - seq]
            entries += bundle
            seq += len(bundle)
        return entries

    def read_statements(self, start: int, end: int) -> Sequence[bytes | None]:
        """Statements start <= seq < end; None for one that the server does not show."""
        statements: list[bytes | None] = []
        seq, end = start, min(end, self._size)
        while seq < end and (lines := self._read_statement_bundle(seq // TILE_WIDTH)) is not None:
            offset = seq % TILE_WIDTH
            statements += lines[offset : offset + end - seq]
            seq = min(end, seq - offset + len(lines))
        while seq < end:
            until = min(end, seq + STATEMENTS_PAGE)
            body = self._get(f"/statements?start={seq}&end={until}", STATEMENTS_SIZE_MAX)
            lines = body.split(b"\n")
            if lines.pop() or not 1 <= len(lines) <= until - seq:
                raise SourceFailed(
                    "source.statements",
                    f"asked for statements {seq} to {until}, got {len(lines)} whole lines",
                )
            statements += [line or None for line in lines]
            seq += len(lines)
        return statements

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes of a tile."""
        tile = self._get_partial(TilePath(level, index, width), TILE_WIDTH * HASH_LENGTH, f"/tile/{level}/")
        if len(tile) < width * HASH_LENGTH:
            raise SourceFailed("source.tile", f"tile {level}/{index} came with {len(tile)} bytes")
        return tile[: width * HASH_LENGTH]

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def __enter__(self) -> UrlReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_statement_bundle(self, index: int) -> Sequence[bytes | None] | None:
        """The statements beside one bundle of entries; None where they have to be asked for by range.

        A static copy has bundles only. A server has both, but no bundle of very long statements, and one
        that is older than this reader has none.
        """
        width = min(TILE_WIDTH, self._size - index * TILE_WIDTH)
        if self._lines[:2] != (index, width):
            try:
                body = self._get_partial(
                    TilePath(None, index, width), STATEMENT_BUNDLE_SIZE_MAX, STATEMENT_BUNDLES
                )
            except NotInLog:
                return None
            lines = body.split(b"\n")
            if lines.pop() or len(lines) not in (width, TILE_WIDTH):
                raise SourceFailed(
                    "source.statements",
                    f"bundle {index} of statements has {len(lines)} whole lines, not {width}",
                )
            self._lines = (index, width, [line or None for line in lines[:width]])
        return self._lines[2]

    def _read_bundle(self, index: int) -> list[bytes]:
        width = min(TILE_WIDTH, self._size - index * TILE_WIDTH)
        if self._bundle[:2] != (index, width):
            data = self._get_partial(TilePath(None, index, width), ENTRY_BUNDLE_SIZE_MAX, ENTRY_BUNDLES)
            try:
                entries = parse_bundle(data, width)
            except Fault:
                # Where the partial one is gone, the full one was sent; its start is the same.
                try:
                    entries = parse_bundle(data, TILE_WIDTH)[:width]
                except Fault as fault:
                    raise SourceFailed(
                        "source.entries", f"bundle {index} is unreadable: {fault.detail}"
                    ) from fault
            self._bundle = (index, width, entries)
        return self._bundle[2]

    def _get_partial(self, path: TilePath, size_max: int, under: str) -> bytes:
        """One resource with a tile's number, from wherever its kind is kept."""
        name = render_path(path).partition("/")[2]
        try:
            return self._get(under + name, size_max)
        except NotInLog:
            if path.width == TILE_WIDTH:
                raise
            # SPEC tlog-tiles: a server may drop partial tiles once the full one stands.
            return self._get(under + name.partition(".p/")[0], size_max)

    def _get(self, path: str, size_max: int) -> bytes:
        pause = PAUSE_S
        for attempt in range(1, TRIES_MAX + 1):
            try:
                status, retry_after, body = self._request(path, size_max)
            except (httpx2.InvalidURL, ValueError) as error:
                # A name or a port that no address has; some of it is found out only when it is looked up.
                raise SourceFailed("source.url", f"{self._url} is no address that can be asked") from error
            except httpx2.HTTPError as error:
                problem = f"{type(error).__name__}"
                wait = pause
            else:
                if status == 200:
                    return body
                if status == 404:
                    raise NotInLog("source.missing", f"the server has no {path}")
                problem = f"status {status}"
                if status not in _BUSY:
                    raise SourceFailed("source.status", f"{self._url}{path} answered with {problem}")
                wait = min(max(pause, retry_after), PAUSE_MAX_S)
            if attempt < TRIES_MAX:
                self._sleep(wait)
                pause *= 2
        raise SourceFailed("source.down", f"{self._url}{path} failed {TRIES_MAX} times, last with {problem}")

    def _request(self, path: str, size_max: int) -> tuple[int, float, bytes]:
        with self._client.stream("GET", self._url + path) as response:
            chunks: list[bytes] = []
            size = 0
            # Counted after decompression: a small answer may unpack to a large one.
            for chunk in response.iter_bytes():
                size += len(chunk)
                if size > size_max:
                    raise SourceFailed("source.size", f"{self._url}{path} answers with over {size_max} bytes")
                chunks.append(chunk)
            retry_after = response.headers.get("Retry-After", "")
            seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
            return response.status_code, seconds, b"".join(chunks)
