"""Step 5 of 9: everything about one statement that needs no lock.

After keys and traceability, before intake.sequencer. What is found here is judged again, in order and
inside the lock, wherever a key statement may have landed in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

import msgspec

from intake import authority
from intake.errors import KindNotTaken
from keys import envelope
from keys.errors import Fault, Unverifiable
from keys.registry import KeyRecord, Registry
from traceability.documents import read_named_document
from traceability.epcis.familiar import read_named

PARTIES_CACHED = 4096
STANDINGS_KEPT_MAX = 4096  # keys that send lately
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNIQUE_KEY_SIZE = 44  # party (4) | event time (8) | digest (32)


class Prepared(msgspec.Struct, frozen=True):
    """A statement whose signature verified and whose content is valid, ready to be put in order.

    keys_seq    the newest key statement known when it was judged
    objection   what key state or authority had against it then; a duplicate is answered all the same
    unique_key  what makes it a duplicate of another, 44 bytes
    names       index key and position of everything that it names, "<qI", 12 bytes each, each pair once
    """

    raw: bytes
    typ: str
    kind: str
    kid: str
    party: str
    keys_seq: int
    unique_key: bytes
    names: bytes
    objection: Fault | None = None


def prepare(raw: bytes, registry: Registry, allowed_typs: Collection[str], now: datetime) -> Prepared:
    """Parse, authenticate and validate one statement.

    Raises Malformed (not a strict JWS, or not a valid event or document), Refused (a class this door does not
    take, another ledger's audience), Unverifiable (a key nobody registered) or Refuted (the
    signature). One signature verification; about as much again for everything else.
    """
    statement = envelope.parse(raw)
    typ, kid = statement.typ, statement.kid
    if typ not in allowed_typs:
        raise KindNotTaken(
            "statement.typ",
            f"typ is {typ!r}; accepted here: {', '.join(sorted(allowed_typs))}",
            "/typ",
        )
    standing = _standing(registry, kid, typ, statement.aud)
    if standing is None:
        standing = _find_standing(registry, statement, now)
    record = standing.record
    envelope.verify(statement, record.public_key)
    event_time: datetime | None = None
    names = b""
    if typ == authority.EVENT_TYP:
        event_time, names = read_named(statement.payload, now=now)
    elif typ == authority.DOCUMENT_TYP:
        event_time, names = read_named_document(statement.payload, now=now)
    return Prepared(
        raw,
        typ,
        standing.kind,
        kid,
        record.party,
        registry.newest_seq,
        unique_key(record.party, typ, event_time, statement.payload),
        names,
        None if standing.unobjectionable else objection(registry, kid, typ, now),
    )


class _Standing(NamedTuple):
    """What a registry says of every statement of one key, class and audience."""

    record: KeyRecord
    kind: str
    unobjectionable: bool  # nothing against it now, and no hour that could bring something


# Of one registry at a time: a value, so what it says of a header stays so until a key statement lands.
_standings: tuple[Registry | None, dict[tuple[str, str, tuple[str, ...]], _Standing]] = (None, {})


def _standing(registry: Registry, kid: str, typ: str, aud: tuple[str, ...]) -> _Standing | None:
    known, standings = _standings
    return standings.get((kid, typ, aud)) if known is registry else None


def _find_standing(registry: Registry, statement: envelope.Statement, now: datetime) -> _Standing:
    global _standings
    kid, typ = statement.kid, statement.typ
    envelope.require_audience(statement, registry.origin)
    record = registry.keys.get(kid)
    if record is None:
        raise Unverifiable("key.unknown", f"no key with kid {kid} is registered on this ledger")
    timeless = typ == authority.KEY_TYP or record.not_after is None
    found = _Standing(
        record, authority.KIND_OF_TYP[typ], timeless and objection(registry, kid, typ, now) is None
    )
    known, standings = _standings
    if known is not registry or len(standings) >= STANDINGS_KEPT_MAX:
        _standings = known, standings = registry, {}
    standings[kid, typ, statement.aud] = found
    return found


def objection(registry: Registry, kid: str, typ: str, now: datetime) -> Fault | None:
    """What the registry's state has against this key signing this class of statement, now.

    Key statements are judged by Registry.apply alone, for some are signed by keys that may say nothing else.
    """
    if typ == authority.KEY_TYP:
        return None
    try:
        record = registry.active_key(kid, now)
        authority.require_may_say(registry.parties[record.party], typ)
    except Fault as fault:
        return fault
    return None


def unique_key(party: str, typ: str, event_time: datetime | None, payload: bytes) -> bytes:
    """What makes two statements the same: party, class and the payload's digest. 44 bytes.

    Party and time lead, so that keys of one party that arrive in time order are neighbours in the
    index: a key that led with a digest would dirty a page of its own for each event. Signature
    bytes identify nothing, for ES256 signatures can be altered and still verify.
    """
    millis = 0 if event_time is None else int((event_time - _EPOCH).total_seconds() * 1000)
    # Event times before 1970 are rare and legal: the offset keeps them ordered, and the field unsigned.
    when = (millis + (1 << 62)).to_bytes(8, "big")
    party_tag, named = _party_parts(party, typ)
    return party_tag + when + hashlib.sha256(named + hashlib.sha256(payload).digest()).digest()


@lru_cache(maxsize=PARTIES_CACHED)
def _party_parts(party: str, typ: str) -> tuple[bytes, bytes]:
    """The tag that leads a party's unique keys, and party and class spelled so that no two spell alike."""
    name = party.encode()
    return hashlib.sha256(name).digest()[:4], b"%d:%b%d:%b" % (len(name), name, len(typ), typ.encode())
