"""A whole small world to prove things about: real keys, a real registry, a real time-stamp authority, a
ledger in lists, and a pack that travels in a case on a pallet. Whoever tests can lie at any point: append()
judges nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from tt_epcis import aggregation, object_event
from tt_keys import ed25519_key, log_signer, make_genesis, nonce, registrar_key, witness_signer
from tt_ledger import MemoryLedger

from anchoring import batch, record
from anchoring.devtsa import DevelopmentAuthority, Identity, create_identity
from anchoring.rfc3161 import TokenVerifier, build_query
from keys import envelope
from keys.algorithms import PrivateKey
from keys.note import NoteSigner
from keys.registry import (
    Registry,
    possession_statement,
    register_statement,
    revoke_statement,
    rotate_statement,
)
from ledger import checkpoint as checkpoints
from ledger import entry as entries
from ledger import tiles
from ledger.entry import Entry
from traceability.gs1 import canonical
from traceability.history import Place, history
from traceability.names import index_key, names_v1
from verifier import bundle as bundles
from verifier.bundle import Bundle, Consistency, Item
from verifier.evidence import build
from verifier.policy import Policy, Witness
from verifier.trust import Genesis, Trust

ORIGIN = "ledger.example/epcis"
NOON = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
PACK = "urn:epc:id:sgtin:9521141.012345.100"
OTHER_PACK = "urn:epc:id:sgtin:9521141.012345.200"
CASE = "urn:epc:id:sscc:9521141.1234567890"
PALLET = "urn:epc:id:sscc:9521141.1234567891"
PACK_NAME = canonical(PACK)
EVENT_TYP = "epcis-event+jws"


@cache
def identity(label: str) -> Identity:
    """A time-stamp authority's keys; drawn once for each label, for drawing takes a while."""
    return create_identity(
        not_before=NOON - timedelta(days=1),
        not_after=NOON + timedelta(days=3650),
        label=f"DEVELOPMENT ONLY {label}",
    )


class World(MemoryLedger):
    """A ledger, everybody who writes in it, and a clock that moves a second with each entry."""

    def __init__(self, *, origin: str = ORIGIN, read: str = "public") -> None:
        self.now = NOON
        self.index: dict[int, list[Place]] = {}
        self.anchor_sizes: list[tuple[int, int]] = []  # (anchored size, seq)
        self.keys: dict[str, PrivateKey] = {}
        self.registrar = registrar_key()
        self.authority = DevelopmentAuthority(lambda: self.now, identity("tsa"))
        super().__init__([], [], origin=origin, signers=[log_signer(origin)])
        self.genesis = make_genesis(origin=origin, read=read)
        self.registry = Registry.from_genesis(self.genesis)
        self.append("genesis", self.genesis)

    # Writing. Nothing is judged, unless the method says so.

    def append(self, kind: str, statement: bytes, *, names: Sequence[tuple[int, str]] = ()) -> int:
        seq = len(self.entries)
        self.now += timedelta(seconds=1)
        newest = [s for s, e in enumerate(self.entries) if entries.parse(e).kind in ("genesis", "key")]
        prev = entries.leaf_hash(self.entries[-1]) if self.entries else entries.ZERO_PREV
        digest = sha256(statement).digest()
        self.entries.append(
            entries.render(Entry(seq, kind, self.now, prev, digest, newest[-1] if newest else 0))
        )
        self.statements.append(statement)
        for ordinal, name in names:
            self.index.setdefault(index_key(name), []).append((seq, ordinal))
        self.rebuild()
        return seq

    def key_statement(self, raw: bytes) -> int:
        """Append a key statement that the registry accepts."""
        seq = len(self.entries)
        self.registry = self.registry.apply(seq, self.now + timedelta(seconds=1), raw)
        return self.append("key", raw)

    def register(
        self, party: str, *, roles: Sequence[str] = ("emitter",), label: str = "", **options: Any
    ) -> int:
        key = ed25519_key(label or party)
        possession = possession_statement(
            key,
            origin=self.origin,
            party=party,
            purpose="register",
            nonce=nonce(f"possession {party}{label}"),
        )
        self.keys[party] = key
        return self.key_statement(
            register_statement(
                self.registrar,
                origin=self.origin,
                party=party,
                name=party.title(),
                roles=list(roles),
                possession=possession,
                previous=self.previous(party),
                nonce=nonce(f"register {party}{label}"),
                **options,
            )
        )

    def rotate(self, party: str, *, label: str) -> int:
        old, new = self.keys[party], ed25519_key(label)
        raw = rotate_statement(
            old,
            origin=self.origin,
            party=party,
            old=old.public.kid,
            possession=possession_statement(new, origin=self.origin, party=party, purpose="rotate"),
            previous=self.previous(party),
        )
        self.keys[party] = new
        return self.key_statement(raw)

    def revoke(
        self,
        party: str,
        *,
        kid: str | None = None,
        reason: str = "compromised",
        invalid_since: datetime | None = None,
    ) -> int:
        return self.key_statement(
            revoke_statement(
                self.registrar,
                origin=self.origin,
                party=party,
                kid=kid or self.keys[party].public.kid,
                reason=reason,
                invalid_since=invalid_since,
                previous=self.previous(party),
            )
        )

    def previous(self, party: str) -> bytes | None:
        known = self.registry.parties.get(party)
        return known.last_digest if known else None

    def event(self, party: str, event: Mapping[str, Any], **options: Any) -> int:
        """Append an event; options go into the envelope, or `key` signs in place of the party's own."""
        payload = json.dumps(event, separators=(",", ":")).encode()
        key = options.pop("key", None) or self.keys[party]
        options = {"typ": EVENT_TYP, "aud": self.origin, "nonce": nonce(str(len(self.entries))), **options}
        raw = envelope.sign(key, payload=payload, **options)
        return self.append("event", raw, names=names_v1(EVENT_TYP, json.loads(payload)))

    def anchor(
        self,
        *,
        size: int | None = None,
        authority: DevelopmentAuthority | None = None,
        text: str | None = None,
        party: str = "operator",
    ) -> int:
        """Time-stamp a checkpoint (the newest one unless told otherwise) and append the record."""
        size = len(self.entries) if size is None else size
        if text is None:
            text = checkpoints.render_body(checkpoints.parse_unverified(self.sign_at(size)))
        made = batch.build([text.encode()])
        authority = authority or self.authority
        query = build_query(made.root)
        token = TokenVerifier([authority.identity.root]).verify_response(
            authority.answer(query.der), made.root, query.nonce
        )
        payload = record.render(
            record.AnchorRecord(
                text, 0, 1, tuple(made.paths[0]), made.root, (record.Timestamp("tsa", token.der),)
            )
        )
        raw = envelope.sign(
            self.keys[party], typ=record.TYP, aud=self.origin, payload=payload, nonce=nonce(f"anchor {size}")
        )
        seq = self.append("anchor", raw)
        self.anchor_sizes.append((size, seq))
        return seq

    # Reading, as a store reads.

    def find_anchor_covering(self, seq: int) -> int | None:
        return next((anchor for size, anchor in sorted(self.anchor_sizes) if size > seq), None)

    def find_name(self, key: int, *, after: Place | None = None, limit: int) -> list[Place]:
        return [place for place in self.index.get(key, []) if after is None or place > after][:limit]

    def read_entry(self, seq: int) -> bytes:
        return self.entries[seq]

    def read_records(self, seqs: Sequence[int]) -> list[tuple[bytes, bytes | None]]:
        return [(self.entries[seq], self.statements[seq]) for seq in seqs]

    # What auditors and buyers take home.

    def bundle(self, epc: str = PACK_NAME) -> bytes:
        return build(self, self, epc, history(self, epc))

    def bundle_without_proofs(self, epc: str = PACK_NAME) -> bytes:
        """A bundle for anchors that have no consistency proof, for their claims are impossible."""
        size = len(self.entries)
        seqs = {item.seq for item in history(self, epc).items} | {seq for _, seq in self.anchor_sizes}
        seqs |= {seq for seq, e in enumerate(self.entries) if entries.parse(e).kind in ("genesis", "key")}
        items = prove_again(self, sorted(seqs | {size - 1}))
        possible = sorted({old for old, _ in self.anchor_sizes if old <= size})
        proofs = tuple(Consistency(old, tuple(self.consistency(old))) for old in possible)
        return bundles.render(Bundle(epc, self.origin, self.checkpoint, items, proofs))

    def trust(
        self,
        *,
        authorities: Sequence[str] = ("tsa",),
        witnesses: Sequence[NoteSigner] = (),
        quorum: str = "none",
    ) -> Trust:
        policy = Policy(
            tuple(self.verifiers),
            tuple(Witness(f"w{i}", signer.verifier) for i, signer in enumerate(witnesses, start=1)),
            (),
            quorum,
        )
        genesis = Genesis(self.origin, entries.leaf_hash(self.entries[0]))
        return Trust(policy, genesis, tuple(identity(label).root for label in authorities))

    def cosign(self, *signers: NoteSigner) -> None:
        """Let witnesses sign the newest checkpoint."""
        from keys import note

        opened = note.parse(self.checkpoint)
        stamp = int(self.now.timestamp())
        lines = tuple(signer.sign_cosignature(opened.text, stamp) for signer in signers)
        self.checkpoint = note.render(note.Note(opened.text, opened.signatures + lines))


def witness(number: int) -> NoteSigner:
    return witness_signer(f"witness.example/w{number}", f"witness {number}")


def make_world(**options: Any) -> World:
    """Four parties, an operator, and a pack: made, cased, palleted, shipped, dispensed; and anchored."""
    world = World(**options)
    for party in ("acme", "carrier", "distributor", "pharmacy"):
        world.register(party)
    world.register("operator", roles=("operator",))
    world.event("acme", object_event(PACK, OTHER_PACK, action="ADD", bizStep="commissioning"))
    world.event("acme", aggregation("ADD", CASE, PACK, OTHER_PACK))
    world.event("acme", aggregation("ADD", PALLET, CASE))
    world.event("carrier", object_event(PALLET, bizStep="shipping"))
    world.anchor()
    world.event("distributor", object_event(PALLET, bizStep="receiving"))
    world.event("distributor", aggregation("DELETE", PALLET, CASE))
    world.event("distributor", aggregation("DELETE", CASE, PACK))
    world.event("distributor", object_event(CASE, bizStep="storing"))  # the pack is no longer in it
    world.event("pharmacy", object_event(PACK, bizStep="dispensing"))
    world.anchor()
    return world


def edit(raw: bytes, **changes: Any) -> bytes:
    """A bundle with other parts, put together again as an attacker would: digest and all."""
    return bundles.render(replace(bundles.parse(raw), **changes))


def without(raw: bytes, *seqs: int) -> bytes:
    """A bundle from which entries were dropped."""
    bundle = bundles.parse(raw)
    return edit(raw, items=tuple(item for item in bundle.items if item.seq not in seqs))


def alter(raw: bytes, seq: int, **changes: Any) -> bytes:
    """A bundle in which one item has other parts."""
    bundle = bundles.parse(raw)
    return edit(raw, items=tuple(replace(i, **changes) if i.seq == seq else i for i in bundle.items))


def items_of(raw: bytes, kind: str) -> list[Item]:
    return [item for item in bundles.parse(raw).items if item.entry.kind == kind]


def read(raw: bytes) -> Bundle:
    return bundles.parse(raw)


def prove_again(world: World, seqs: Sequence[int]) -> tuple[Item, ...]:
    """Items for these entries of the world, proved to its present checkpoint."""
    size = len(world.entries)
    return tuple(
        Item(
            world.entries[seq],
            entries.parse(world.entries[seq]),
            tuple(tiles.inclusion_path(world, seq, size)),
            world.statements[seq],
        )
        for seq in seqs
    )


def store_in_sqlite(world: World, path: Path) -> None:
    """The same ledger in a real database, written by the real log: its entries are the same bytes."""
    from ledger.log import Log, Pending
    from ledger.store import schema
    from ledger.store.sqlite import open_writer

    store = open_writer(path)
    with store.engine.begin() as connection:
        schema.create_all(connection)
    clock = [NOON]
    log = Log(store, world.signers, world.origin, lambda: clock[0], None)
    log.open()
    for seq, (entry_bytes, statement) in enumerate(zip(world.entries, world.statements, strict=True)):
        entry = entries.parse(entry_bytes)
        clock[0] = entry.recorded_at
        if seq == 0:
            log.create(statement or b"")
        else:
            log.append([Pending(entry.kind, statement or b"", b"unique %d" % seq)], expected=log.head)
    log.publish_if_due()
    store.close()


def example_world() -> World:
    """The ledger of docs/formats: one party, one event about one pack, the same bytes every time."""
    world = World()
    world.register("acme")
    world.event("acme", object_event(PACK, action="ADD", bizStep="commissioning"))
    return world
