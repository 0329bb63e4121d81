"""Step 6 of 9, seen from outside: the log as C2SP tlog-tiles has it. For monitors, witnesses, anyone.

    /checkpoint                     changes; ask again each time
    /tile/<level>/<index>[.p/<w>]   hashes; never change
    /tile/entries/<index>[.p/<w>]   entries; never change

Everything here is public: entries hold digests and positions, never a payload.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence

from flask import Blueprint, Response, request

from api import headers
from api.errors import NothingHere
from api.reading import Reading
from ledger.errors import ProofMalformed
from ledger.tiles import TILE_WIDTH, parse_path, render_bundle, width_at

OCTETS = "application/octet-stream"
NOTE = "text/plain; charset=utf-8"
GZIP_LEVEL = 6  # a bundle is half the size, for a millisecond


def blueprint(reading: Reading) -> Blueprint:
    log = Blueprint("log", __name__)

    @log.get("/checkpoint")
    def checkpoint() -> Response:
        return headers.tagged(reading.published_checkpoint(), NOTE, headers.REVALIDATE)

    @log.get("/tile/<path:name>")
    def tile(name: str) -> Response:
        try:
            path = parse_path(name)
        except ProofMalformed as error:
            # Tiles are a fixed set of static resources: a name that is none of theirs is not there.
            raise NothingHere(error.code, error.detail) from error
        tree_size = reading.head().tree_size
        level = 0 if path.level is None else path.level
        width = width_at(level, path.index, tree_size)
        # SPEC tlog-tiles: a missing partial tile MUST be 404; clients then ask for the full one. Every
        # narrower one is served, also where the full tile stands: it is a prefix and cannot change.
        if width < path.width:
            raise NothingHere(
                "tile.missing", f"at size {tree_size} this tile holds {width} of {path.width} hashes"
            )
        if path.level is None:
            start = path.index * TILE_WIDTH
            return _bundle(reading.entries(start, start + path.width))
        return headers.tagged(
            reading.reader.read_tile(path.level, path.index, path.width), OCTETS, headers.IMMUTABLE
        )

    return log


def _bundle(entries: Sequence[bytes]) -> Response:
    body = render_bundle(entries)
    accepts_gzip = request.accept_encodings.quality("gzip") > 0
    # A hole in the database is not the log's word.
    lasting = headers.IMMUTABLE if all(entries) else headers.NEVER
    # The tag is that of the bytes sent: the two encodings are two representations.
    response = headers.tagged(
        gzip.compress(body, GZIP_LEVEL, mtime=0) if accepts_gzip else body, OCTETS, lasting
    )
    if accepts_gzip:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    return response
