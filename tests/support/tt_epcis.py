"""EPCIS events for tests: official ones out of their documents, and small ones of our own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tt_keys import ed25519_key, nonce

from keys import envelope
from traceability.history import Place
from traceability.names import index_key, names_v1

TYP = "epcis-event+jws"
CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
PACK = "urn:epc:id:sgtin:9521141.012345.100"
CASE = "urn:epc:id:sscc:9521141.0001234567"
DOCUMENTS = ("EPCISDocument", "EPCISQueryDocument")

# What may fill an event's time, id or identifiers, good and bad, as the text of a JSON string.
CONTENTS = (
    "", "x", "urn:x:1", PACK, PACK[:-1], PACK + "x" * 18, PACK + "x" * 17, PACK + "-", PACK + "%2F", CASE,
    CASE + "0", "urn:epc:id:sgtin:952114.1012345.100", "https://shop.example/01/09521141123454/21/7",
    "https://shop.example/01/09521141123455/21/7", "https://shop.example/01/09521141123454/21/",
    "https://shop.example/01/09521141123454/10/L1/21/7?17=280301", "https://id.gs1.org/pack/1",
    "urn:epc:class:lgtin:9521141.012345.L1", "urn:epc:id:sgtin:9521141.012345.a b", "urn:epc:id:sgtin:1.2.3",
    "urn:epc:id:gid:95100000.12345.400", "http://a b", "http://[::1]/x", "urn:uuid:7-8", "ni:///sha-256;ab?ver=1",
    '"', "\\", "\\u0041", "\\\"", 'x","y', 'x", "y', "]", "x]", '"]', '"],"x":["',
    PACK + "\n7", PACK + "\n" + PACK + "7", "é", "\x00", "\n", "\ud7ff",
    "2026-11-05T08:15:00.000Z", "2026-11-05T08:15:00+24:00", "2026-02-30T08:15:00Z", "2026-11-05T08:15:00",
    "2026-11-20T12:10:00Z", "2026-11-20T12:10:00.001Z", "2026-11-20T20:10:00.000001+08:00",
    "2016-12-31T23:59:60Z", "2026-11-05t08:15:00z", "0001-01-01T00:00:00Z", "2026-11-05T08:15:00.1234567Z",
)  # fmt: skip


def object_event(*epcs: str, **fields: Any) -> dict[str, Any]:
    """A valid ObjectEvent; a field given as None is left out."""
    event = {
        "@context": CONTEXT,
        "type": "ObjectEvent",
        "eventTime": "2026-11-05T08:15:00.000Z",
        "eventTimeZoneOffset": "+01:00",
        "epcList": list(epcs) or ["urn:epc:id:sgtin:9521141.012345.100"],
        "action": "OBSERVE",
        "bizStep": "receiving",
        "readPoint": {"id": "urn:epc:id:sgln:9521141.00012.0"},
        **fields,
    }
    return {name: value for name, value in event.items() if value is not None}


def aggregation(action: str, parent: str | None, *children: str, **fields: Any) -> dict[str, Any]:
    """A valid AggregationEvent, as long as the action allows what is given."""
    given = {
        "type": "AggregationEvent",
        "action": action,
        "epcList": None,
        "parentID": parent,
        "bizStep": None,
    }
    return object_event(**{**given, "childEPCs": list(children) or None, **fields})


def events_of(document: Any) -> Iterator[dict[str, Any]]:
    """Each event of a document as a bare one, with the document's @context and its own joined."""
    if document.get("type") not in DOCUMENTS:
        yield document
        return
    body = document["epcisBody"]
    for event in body.get("queryResults", {}).get("resultsBody", body)["eventList"]:
        contexts = [part for source in (document, event) for part in _as_list(source.get("@context", []))]
        unique = [part for i, part in enumerate(contexts) if part not in contexts[:i]]
        yield {**event, "@context": unique}


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def shared_events(shared: Path, *folders: str) -> list[tuple[str, dict[str, Any]]]:
    """("file#index", event) of every JSON file below these folders of the official material."""
    found = []
    for folder in folders:
        for path in sorted((shared / "epcis" / folder).rglob("*.json*")):
            for index, event in enumerate(events_of(json.loads(path.read_bytes()))):
                found.append((f"{path.name}#{index}", event))
    return found


class PaperLedger:
    """As much of a ledger as history reads: statements in order and an index from names to places."""

    def __init__(self, events: Iterable[dict[str, Any]] = (), *, key: str = "") -> None:
        self.statements: list[bytes | None] = []
        self.index: dict[int, list[Place]] = {}
        self.statements_read = 0
        self._one_key = key  # a name under whose key everything is filed, as a collision would
        for event in events:
            self.append(event)

    def append(self, event: dict[str, Any]) -> int:
        seq = len(self.statements)
        payload = json.dumps(event, separators=(",", ":")).encode()
        self.statements.append(
            envelope.sign(
                ed25519_key("acme"), typ=TYP, aud="ledger.example", payload=payload, nonce=nonce(str(seq))
            )
        )
        for ordinal, name in names_v1(TYP, event):
            places = self.index.setdefault(index_key(self._one_key or name), [])
            if (seq, ordinal) not in places:
                places.append((seq, ordinal))
        return seq

    def erase(self, seq: int) -> None:
        self.statements[seq] = None

    def find_name(self, key: int, *, after: Place | None = None, limit: int) -> list[Place]:
        return [place for place in self.index.get(key, []) if after is None or place > after][:limit]

    def read_records(self, seqs: Sequence[int]) -> list[tuple[bytes, bytes | None]]:
        self.statements_read += len(seqs)
        return [(b"entry %d" % seq, self.statements[seq]) for seq in seqs]
