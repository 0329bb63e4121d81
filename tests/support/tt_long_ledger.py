"""A ledger of several tiles with real signatures, cheap to make: a few statements, many times over."""

from __future__ import annotations

import os
import signal
import time
from functools import cache
from hashlib import sha256

from tt_epcis import object_event
from tt_evidence import NOON, PACK, World
from tt_keys import ed25519_key

from keys.algorithms import PrivateKey
from ledger import entry as entries
from ledger.audit import LedgerReader
from ledger.entry import Entry
from verifier.errors import SourceFailed


def extend(world: World, count: int) -> None:
    """Append the newest event's statement so many times more."""
    from datetime import timedelta

    statement = world.statements[-1]
    assert statement is not None
    below = entries.parse(world.entries[-1])
    keys = below.seq if below.kind in ("genesis", "key") else below.keys
    prev, digest = entries.leaf_hash(world.entries[-1]), sha256(statement).digest()
    for _ in range(count):
        world.now += timedelta(seconds=1)
        row = entries.render(Entry(len(world.entries), "event", world.now, prev, digest, keys))
        world.entries.append(row)
        world.statements.append(statement)
        prev = entries.leaf_hash(row)
    world.rebuild()


def say(world: World, party: str, count: int, **options: object) -> None:
    """So many events of one party."""
    world.event(party, object_event(PACK), **options)
    extend(world, count - 1)


@cache
def es256_key() -> PrivateKey:
    from keys.algorithms import generate

    return generate("ES256")


def make_long_world() -> World:
    """Some 1,300 entries, two kinds of keys, anchors, a rotation and a revocation along the way."""
    world = World()
    world.register("operator", roles=("operator",))
    world.register("acme")
    say(world, "acme", 300)
    world.anchor()
    world.register("late", not_after=NOON.replace(year=2030))
    say(world, "late", 250)
    world.rotate("acme", label="acme again")
    say(world, "acme", 300)
    world.anchor()
    world.revoke("late", reason="ceased")
    say(world, "acme", 250)
    # Signed by a key that had ended: the log should not have taken it.
    say(world, "late", 3)
    say(world, "acme", 200, key=ed25519_key("acme again"))
    world.anchor()
    return world


# Readers for other processes, which find them by name.


def broken_reader() -> LedgerReader:
    raise SourceFailed("source.down", "nobody is there")


def sleeping_reader() -> LedgerReader:
    time.sleep(60)
    raise AssertionError


def surprising_reader() -> LedgerReader:
    raise ZeroDivisionError


class EndingReader:
    """Ends its process in the midst of reading."""

    def read_checkpoint(self) -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError
