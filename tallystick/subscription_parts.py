"""Puts subscriptions together, for the workers that take them and for the process that sends.

Sending is a thread in the process that keeps the index: one process per ledger does either, and what neither
has to do costs nothing, for the thread loads its HTTP client when there is a first subscription.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import UTC, datetime
from typing import Any

from intake import authority, disclosure
from intake.sequencer import replay
from keys.registry import Registry
from ledger.errors import StoreFailed
from ledger.store.opening import Reader
from projection.engine import Engine
from projection.kept import KeptQueries, open_kept
from projection.store import open_reader as open_projection
from subscriptions.store import Subscriptions
from subscriptions.targets import look_up
from tallystick.config import Config
from tallystick.page_key import SUBSCRIPTIONS, load_or_make
from traceability.queries.parameters import parse_json

LOOK_UP_TIMEOUT_S = 5.0
LOOK_UP_THREADS = 4
# Of the sending process: a name server that hangs holds one, and more of them than there are connections
# at once must not keep the others' names from being found.
RESOLVER_THREADS = 256
IDLE_S = 1.0  # between two looks for a first subscription
PAUSE_S = 5.0  # after sending ended by a mistake of ours

STOP_POLL_S = 0.2

logger = logging.getLogger("tallystick.subscriptions")


def utc_now() -> datetime:
    return datetime.now(UTC)


def open_subscriptions(config: Config, kept: KeptQueries) -> Subscriptions:
    return Subscriptions(kept, load_or_make(config.folder, SUBSCRIPTIONS))


def bounded_look_up() -> Callable[[str, int], list[str]]:
    """Asks for a name's addresses, and takes a name server that is slow for one that knows none."""
    pool = ThreadPoolExecutor(LOOK_UP_THREADS, "names")

    def within(host: str, port: int) -> list[str]:
        try:
            return pool.submit(look_up, host, port).result(LOOK_UP_TIMEOUT_S)
        except FutureTimeout:
            return []

    return within


def readable_by_all(reader: Reader) -> Callable[[str], bool]:
    """Whether anybody may see payloads of a typ, by the policy in force whenever it is asked."""
    known: list[Registry | None] = [None]

    def registry() -> Registry:
        before = known[0]
        after = replay(before, reader.read_key_records(-1 if before is None else before.newest_seq))
        known[0] = after
        return after

    return lambda typ: authority.may_read(disclosure.policy_in_force(registry, reader), None, typ)


def start_subscriptions(
    config: Config,
    reader: Reader,
    assign_id: Callable[[dict[str, Any]], str | None],
    stopping: threading.Event,
) -> threading.Thread:
    """Send to subscribers, in a thread, until told to stop."""

    def work() -> None:
        while not stopping.is_set():
            try:
                kept = open_kept(config.database)
                subscriptions = open_subscriptions(config, kept)
                while not subscriptions.ids():
                    if stopping.wait(IDLE_S):
                        return
                asyncio.run(_send(config, reader, kept, subscriptions, assign_id, stopping))
            except StoreFailed as fault:
                logger.warning("subscriptions wait: %s", fault.detail)
            except Exception:
                logger.exception("sending to subscribers ended; beginning again")
            stopping.wait(PAUSE_S)

    thread = threading.Thread(target=work, name="subscriptions", daemon=True)
    thread.start()
    return thread


async def _send(
    config: Config,
    reader: Reader,
    kept: KeptQueries,
    subscriptions: Subscriptions,
    assign_id: Callable[[dict[str, Any]], str | None],
    stopping: threading.Event,
) -> None:
    # An HTTP client, TLS and the door's documents: 20 MiB that a server without subscribers does not need.
    from api.subscribing import Documents
    from subscriptions.runner import Runner
    from subscriptions.webhook import Sender, system_resolver

    engine = Engine(
        reader,
        open_projection(config.database),
        load_or_make(config.folder),
        clock=utc_now,
        assign_id=assign_id,
    )
    sender = Sender(config.targets, system_resolver(ThreadPoolExecutor(RESOLVER_THREADS, "names")))
    runner = Runner(
        subscriptions,
        engine,
        lambda name: parse_json(kept.read(name).query),
        readable_by_all(reader),
        Documents(),
        sender,
        utc_now,
    )
    ended = asyncio.Event()

    async def watch() -> None:
        while not stopping.is_set():  # noqa: ASYNC110  (it is set by another thread)
            await asyncio.sleep(STOP_POLL_S)
        ended.set()

    watching = asyncio.create_task(watch())
    try:
        await runner.run(ended)
    finally:
        watching.cancel()
