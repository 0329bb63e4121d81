"""Seeded load: signed events as partners send them.

Two loads. `statements()` and the pool "plain" are what the cases of the table send: events of about 600
bytes (1 KB signed) that name five packs with random serials, the worst case for an index. The pool "mixed"
is what partners send in life; what is in it, and how much of it, is a Mix (bench.shapes).

Everything follows from the seed, nonces too: two runs with one seed send the same bytes.
"""

from __future__ import annotations

import random
from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson

from keys import algorithms, envelope

EPCS_PER_EVENT = 5
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


@dataclass(frozen=True, slots=True)
class Emitter:
    """A packaging line with its key."""

    party: str
    key: algorithms.PrivateKey
    company_prefix: str  # 7 digits


def emitters(count: int, seed: int) -> list[Emitter]:
    source = random.Random(seed)
    return [
        Emitter(f"line-{i:03}", algorithms.private_key_from_seed(source.randbytes(32)), f"{4_012_000 + i}")
        for i in range(count)
    ]


def events(
    emitter: Emitter, count: int, seed: int, epcs: int = EPCS_PER_EVENT, part: int = 0
) -> Iterator[bytes]:
    """Object events of a line: five packs shipped (about 600 bytes), or as many as asked commissioned.

    Serials of shipped packs are random, the worst case for an index; commissioned ones follow each other,
    as a line prints them. Times rise, from part to part too.
    """
    source = random.Random(f"{seed}/{emitter.party}/{part}")
    day = random.Random(f"{seed}/{emitter.party}").randrange(86_400)
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=day, milliseconds=250 * count * part)
    born = epcs != EPCS_PER_EVENT
    for i in range(count):
        first = source.randrange(10**11)
        serials = range(first, first + epcs) if born else [source.randrange(10**11) for _ in range(epcs)]
        yield orjson.dumps(
            {
                "@context": ["https://ref.gs1.org/standards/epcis/epcis-context.jsonld"],
                "type": "ObjectEvent",
                "eventTime": moment(start + timedelta(milliseconds=250 * i)),
                "eventTimeZoneOffset": "+00:00",
                "epcList": [
                    f"urn:epc:id:sgtin:{emitter.company_prefix}.011111.{serial}" for serial in serials
                ],
                "action": "ADD" if born else "OBSERVE",
                "bizStep": "commissioning" if born else "shipping",
                "disposition": "active" if born else "in_transit",
                "readPoint": {"id": f"urn:epc:id:sgln:{emitter.company_prefix}.00001.0"},
            }
        )


def moment(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def statements(
    lines: Sequence[Emitter], count: int, origin: str, seed: int, epcs: int = EPCS_PER_EVENT
) -> list[bytes]:
    """count signed events, the emitters in turn."""
    each = -(-count // len(lines))
    streams = [events(emitter, each, seed, epcs) for emitter in lines]
    signed: list[bytes] = []
    while len(signed) < count:
        for emitter, stream in zip(lines, streams, strict=True):
            payload = next(stream, None)
            if payload is not None and len(signed) < count:
                signed.append(envelope.sign(emitter.key, typ="epcis-event+jws", aud=origin, payload=payload))
    return signed


class Signer:
    """Signs as keys.envelope.sign() does, without asking each time whether the result can be read."""

    def __init__(self, emitter: Emitter, origin: str) -> None:
        self._sign = emitter.key.sign
        public = emitter.key.public
        header = orjson.dumps(
            {"alg": public.alg, "kid": public.kid, "typ": "epcis-event+jws", "aud": origin, "nonce": ""}
        )
        self._header = header[:-2]

    def sign(self, payload: bytes, nonce: bytes) -> bytes:
        header = self._header + _base64url(nonce) + b'"}'
        signed = _base64url(header) + b"." + _base64url(payload)
        return signed + b"." + _base64url(self._sign(signed))


def _base64url(data: bytes) -> bytes:
    return b2a_base64(data, newline=False).translate(_URL_SAFE).rstrip(b"=")
