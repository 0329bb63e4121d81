"""Step 5 of 9: everything about one statement that needs no lock.

After keys and traceability, before intake.sequencer. What is found here is judged again, in order and
inside the lock, wherever a key statement may have landed in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from intake import authority
from intake.errors import KindNotTaken
from keys import envelope
from keys.errors import Fault, Unverifiable
from keys.registry import Registry
from traceability.epcis.validate import read_event
from traceability.names import index_key, names_v1

PARTIES_CACHED = 4096
UNIQUE_KEY_SIZE = 44  # party (4) | event time (8) | digest (32)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement whose signature verified and whose content is valid, ready to be put in order.

    keys_seq    the newest key statement known when it was judged
    objection   what key state or authority had against it then; a duplicate is answered all the same
    names       (ordinal, index key) of everything that it names
    """

    raw: bytes
    typ: str
    kind: str
    kid: str
    party: str
    keys_seq: int
    unique_key: bytes
    names: tuple[tuple[int, int], ...]
    objection: Fault | None = None


def prepare(raw: bytes, registry: Registry, allowed_typs: Collection[str], now: datetime) -> Prepared:
    """Parse, authenticate and validate one statement.

    Raises Malformed (not a strict JWS, or not a valid event), Refused (a class this door does not
    take, another ledger's audience), Unverifiable (a key nobody registered) or Refuted (the
    signature). One signature verification; about as much again for everything else.
    """
    statement = envelope.parse(raw)
    if statement.typ not in allowed_typs:
        raise KindNotTaken(
            "statement.typ",
            f"typ is {statement.typ!r}; accepted here: {', '.join(sorted(allowed_typs))}",
            "/typ",
        )
    envelope.require_audience(statement, registry.origin)
    record = registry.keys.get(statement.kid)
    if record is None:
        raise Unverifiable("key.unknown", f"no key with kid {statement.kid} is registered on this ledger")
    envelope.verify(statement, record.public_key)
    event_time: datetime | None = None
    names: tuple[tuple[int, int], ...] = ()
    if statement.typ == authority.EVENT_TYP:
        event = read_event(statement.payload, now=now)
        event_time = event.event_time
        keys = ((ordinal, index_key(name)) for ordinal, name in names_v1(statement.typ, event.value))
        # Two names can be made to share a key, and one row twice would fail for the whole transaction.
        names = tuple(dict.fromkeys(keys))
    return Prepared(
        raw=raw,
        typ=statement.typ,
        kind=authority.KIND_OF_TYP[statement.typ],
        kid=statement.kid,
        party=record.party,
        keys_seq=registry.newest_seq,
        unique_key=unique_key(record.party, statement.typ, event_time, statement.payload),
        names=names,
        objection=objection(registry, statement.kid, statement.typ, now),
    )


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
    millis = 0 if event_time is None else int(event_time.timestamp() * 1000)
    # Event times before 1970 are rare and legal: the offset keeps them ordered, and the field unsigned.
    when = (millis + (1 << 62)).to_bytes(8, "big")
    party_tag, named = _party_parts(party, typ)
    return party_tag + when + hashlib.sha256(named + hashlib.sha256(payload).digest()).digest()


@lru_cache(maxsize=PARTIES_CACHED)
def _party_parts(party: str, typ: str) -> tuple[bytes, bytes]:
    """The tag that leads a party's unique keys, and party and class spelled so that no two spell alike."""
    name = party.encode()
    return hashlib.sha256(name).digest()[:4], b"%d:%b%d:%b" % (len(name), name, len(typ), typ.encode())
