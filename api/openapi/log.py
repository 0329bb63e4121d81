"""Step 6 of 9, described: the log as C2SP tlog-tiles has it."""

from __future__ import annotations

from api.openapi.components import CHECKPOINT_EXAMPLE
from api.openapi.parts import BINARY, Group, Route, answer, header, headers, in_header, in_path, text
from api.services import Limits

GROUP = Group(
    "Log",
    "The log for monitors, witnesses and anyone, as C2SP tlog-tiles has it. Entries hold digests and"
    " positions,"
    " never a payload, and are always public.",
)

IF_NONE_MATCH = in_header("If-None-Match", "The `ETag` of what you have already.", text())
NOT_MODIFIED = answer("You have these bytes already.", headers=headers("ETag"))
_WIDTH = r"([1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])"
_TILE = rf"^([0-9]|[1-5][0-9]|6[0-3]|entries)/(x[0-9]{{3}}/)*[0-9]{{3}}(\.p/{_WIDTH})?$"


def routes(_: Limits) -> list[Route]:
    return [
        Route(
            "/checkpoint",
            "get",
            "readCheckpoint",
            "The newest published checkpoint",
            "A signed note: origin, tree size, root hash, signatures. It moves every second or so.",
            [IF_NONE_MATCH],
            answers={
                "200": answer(
                    "The checkpoint.",
                    "text/plain",
                    text(),
                    example=CHECKPOINT_EXAMPLE,
                    headers=headers("ETag", "Cache-Control"),
                ),
                "304": NOT_MODIFIED,
            },
        ),
        Route(
            "/tile/{name}",
            "get",
            "readTile",
            "A tile of hashes, or a bundle of entries",
            "Tiles never change under their name. A partial tile of any width up to the current one is"
            " served, also"
            " where the full tile stands by now. Slashes in the name are sent as they are.",
            [
                in_path(
                    "name",
                    "`<level>/<index>` for hashes, `entries/<index>` for entries, with `.p/<width>`"
                    " behind it for a"
                    " partial tile. An index has three digits a part: `x001/234`.",
                    text(pattern=_TILE),
                    "0/000.p/7",
                ),
                IF_NONE_MATCH,
                in_header(
                    "Accept-Encoding", "Bundles of entries are compressed for whoever takes `gzip`.", text()
                ),
            ],
            answers={
                "200": answer(
                    "The tile.",
                    "application/octet-stream",
                    BINARY,
                    headers={
                        **headers("ETag", "Cache-Control"),
                        "Content-Encoding": {"description": "Of bundles.", "schema": {"const": "gzip"}},
                        "Vary": {"description": "Of bundles.", "schema": text()},
                    },
                ),
                "304": answer(
                    "You have these bytes already.",
                    headers={"ETag": header("ETag")},
                ),
            },
            problems={404: "The log holds no such tile yet, or no tile can have that name."},
        ),
    ]
