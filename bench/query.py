"""`python -m bench.query`: how long questions take, over a ledger of a million events (or --events).

Fills a real SQLite ledger with events of five packs each, unsigned for speed, merges its index of names,
projects it, and asks. Prints a table, and one JSON object with --json FILE. --folder keeps the ledger, and
what is there already is used again, so a large one can be made in several runs.

Packs have serials that come back: each is seen ten times on its way, in a stretch of the log. Event times lag
behind the log by up to two days. 400 products of 20 companies, 200 places, 5 steps.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import inspect

from ledger import entry as entry_format
from ledger.entry import Like
from ledger.store import entry_rows, schema, sqlite
from ledger.store.name_runs import pack_names
from ledger.store.name_runs_merge import NameIndex
from ledger.store.packing import pack_parts
from ledger.store.protocol import Head, Rows
from projection import store as projection_store
from projection.cache import Cache
from projection.engine import Engine, Found
from projection.projector import Projector
from traceability.gs1.check_digit import check_digit
from traceability.names import index_key
from traceability.queries.model import Query
from traceability.queries.parameters import parse_url
from traceability.queries.tokens import LIFETIME_S, Cursor, seal

BATCH = 4_096
EPCS = 5
SEEN = 10  # times that each pack is seen
STRETCH = 4_000  # events between two sights of a pack, about
PRODUCTS, COMPANIES, PLACES = 400, 20, 200
STEPS = ("commissioning", "packing", "shipping", "receiving", "storing")
START = datetime(2026, 1, 1, tzinfo=UTC)
STEM = "https://id.gs1.org/01/"
SEED = 20261120
PLACE = "urn:epc:id:sgln:9521000.00007.0"


def gtin_of(product: int) -> str:
    body = f"0{9521000 + product % COMPANIES:07}{product // COMPANIES:05}"
    return body + check_digit(body)


GTINS = [gtin_of(product) for product in range(PRODUCTS)]


def packs_of(number: int) -> list[tuple[int, int]]:
    """(product, serial) of the packs that event `number` sees: the same group every STRETCH events."""
    group = group_of(number)
    return [(group % PRODUCTS, group * EPCS + i) for i in range(EPCS)]


def group_of(number: int) -> int:
    block, place = divmod(number, SEEN * STRETCH)
    return block * STRETCH + place % STRETCH


def urn_of(product: int, serial: int) -> str:
    return f"urn:epc:id:sgtin:{9521000 + product % COMPANIES:07}.0{product // COMPANIES:05}.{serial}"


def event_of(number: int, chance: random.Random) -> bytes:
    """One event in JSON. Written and not serialised: making ten million should not take the longest."""
    moment = START + timedelta(seconds=number, minutes=-int(2880 * chance.random()))
    often = STEPS[number // STRETCH % len(STEPS)]
    return _EVENT % (
        b"%032x" % chance.getrandbits(128),
        moment.isoformat()[:19].encode(),
        b'","'.join(urn for urn, _ in packs_named(group_of(number))),
        (often if chance.random() < 0.7 else STEPS[int(len(STEPS) * chance.random())]).encode(),
        int(PLACES * chance.random()),
        int(PLACES * chance.random()),
        int(10**6 * chance.random()),
    )


_EVENT = (
    b'{"@context":["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],"type":"ObjectEvent",'
    b'"eventID":"urn:uuid:%b","eventTime":"%bZ","eventTimeZoneOffset":"+00:00","epcList":["%b"],'
    b'"action":"OBSERVE","bizStep":"%b","disposition":"in_progress",'
    b'"readPoint":{"id":"urn:epc:id:sgln:9521000.%05d.0"},'
    b'"bizLocation":{"id":"urn:epc:id:sgln:9521000.%05d.0"},'
    b'"bizTransactionList":[{"type":"po","bizTransaction":"urn:epcglobal:cbv:bt:9521000000001:%d"}]}'
)


@lru_cache(maxsize=2 * STRETCH)  # the packs of one stretch are seen again in the next one
def packs_named(group: int) -> list[tuple[bytes, tuple[int, int]]]:
    """(URN, (ordinal, index key)) of each pack of a group."""
    packs = [(group % PRODUCTS, group * EPCS + i) for i in range(EPCS)]
    return [(urn_of(p, s).encode(), (0, index_key(f"{STEM}{GTINS[p]}/21/{s}"))) for p, s in packs]


def fill(file: Path, wanted: int) -> None:
    """Bring the ledger in this file up to so many events."""
    writer = sqlite.open_writer(file)
    with writer.engine.begin() as connection:
        if not inspect(connection).has_table("head"):
            schema.create_all(connection)
    head = writer.read_head()
    header = base64.urlsafe_b64encode(b'{"alg":"Ed25519","kid":"bench","typ":"epcis-event+jws"}').rstrip(b"=")
    merging = NameIndex(writer.merging)
    while (size := 0 if head is None else head.tree_size) < wanted:
        chance = random.Random(SEED + size)
        numbers = range(size, min(wanted, size + BATCH))
        statements = [_statement(header, event_of(number, chance), chance) for number in numbers]
        prev = head.last_leaf_hash if head is not None else entry_format.ZERO_PREV
        recorded = START + timedelta(seconds=numbers[-1])
        digests = [sha256(statement).digest() for statement in statements]
        rows: list[tuple[int, bytes]] = []
        for kind, some in (("genesis", digests[: 1 if size == 0 else 0]), ("event", digests)):
            done = sum(count for count, _ in rows)
            like = Like(kind, entry_format.render_time(recorded), 0)
            leaves = entry_format.chain(like, size + done, prev, some[done:])
            rows += entry_rows.pack_alike(like, [prev, *leaves[:-1]][: len(leaves)], some[done:])
            prev = leaves[-1] if leaves else prev
        names = [pack_names(name for _, name in packs_named(group_of(number))) for number in numbers]
        new = Head(numbers[-1] + 1, prev, prev, 0, recorded, b"", b"", None, numbers[-1] + 1)
        keys = [number.to_bytes(8, "big") for number in numbers]
        writer.append(head, Rows(size, rows, pack_parts(statements), keys, names), new, [])
        head = new
        merging.keep_up(5.0)
    while merging.step():
        pass
    writer.close()


def _statement(header: bytes, event: bytes, chance: random.Random) -> bytes:
    payload = base64.urlsafe_b64encode(event).rstrip(b"=")
    return b".".join((header, payload, base64.urlsafe_b64encode(chance.randbytes(64)).rstrip(b"=")))


def questions(events: int, chance: random.Random) -> dict[str, Callable[[], str]]:
    """The kinds of questions, each a maker of one more of its kind."""

    def epc() -> str:
        product, serial = chance.choice(packs_of(chance.randrange(events)))
        return f"MATCH_anyEPC={urn_of(product, serial)}&orderBy=eventTime"

    def product() -> str:
        one = chance.randrange(PRODUCTS)
        urn = urn_of(one, 0).rpartition(".")[0].replace(":id:", ":idpat:")
        return f"MATCH_anyEPC={urn}.*&orderBy=eventTime"

    def company() -> str:
        return f"MATCH_anyEPC=urn:epc:idpat:sgtin:{9521000 + chance.randrange(COMPANIES):07}.*.*"

    def step_and_window() -> str:
        since = START + timedelta(seconds=chance.randrange(events))
        until = since + timedelta(hours=1)
        return (
            f"EQ_bizStep={chance.choice(STEPS)}&orderBy=eventTime"
            f"&GE_eventTime={since:%Y-%m-%dT%H:%M:%SZ}&LT_eventTime={until:%Y-%m-%dT%H:%M:%SZ}"
        )

    def place_and_step() -> str:
        place = f"urn:epc:id:sgln:9521000.{chance.randrange(PLACES):05}.0"
        return f"EQ_bizStep={chance.choice(STEPS)}&EQ_readPoint={place}&orderBy=eventTime"

    def transaction() -> str:
        return f"EQ_bizTransaction_po=urn:epcglobal:cbv:bt:9521000000001:{chance.randrange(10**6)}"

    return {
        "one EPC's events": epc,
        "MATCH_anyEPC, one product": product,
        "MATCH_anyEPC, one company": company,
        "EQ_bizStep in an hour": step_and_window,
        "EQ_bizStep at a place": place_and_step,
        "one purchase order": transaction,
    }


def measure(engine: Callable[[], Engine], make: Callable[[], str], times: int) -> dict[str, float]:
    """p50 and p99 in ms with what was read lately at hand, and of a first question in a new process."""
    cold = []
    for _ in range(10):
        fresh = engine()
        start = time.perf_counter()
        fresh.search(parse_url(make()), _anyone)
        cold.append(1000 * (time.perf_counter() - start))
    warm = engine()
    taken, shown = [], 0
    for _ in range(times):
        query = parse_url(make())
        start = time.perf_counter()
        shown += len(warm.search(query, _anyone).events)
        taken.append(1000 * (time.perf_counter() - start))
    taken.sort()
    return {
        "p50_ms": round(statistics.median(taken), 2),
        "p99_ms": round(taken[min(len(taken) - 1, int(len(taken) * 0.99))], 2),
        "first_ms": round(statistics.median(cold), 2),
        "events": round(shown / times, 1),
    }


def page_through(engine: Engine, text: str, pages: int) -> dict[str, float]:
    """Median ms of the first pages, of pages from the middle on, and of the last ones, to the real end.

    Between them it jumps, with tokens made of the keys of events there, instead of asking for all pages.
    """
    query = parse_url(text)
    opposite = replace(query, order=replace(query.order, descending=not query.order.descending))
    with engine.projection.snapshot() as snapshot:
        bound = snapshot.state.next_seq
        extents = snapshot.extents()
    behind = _nth(engine, opposite, (pages - 1) * query.per_page + query.per_page // 2)
    middle = extents[len(extents) // 2]
    half = (middle.time_min + middle.time_max) // 2
    figures: dict[str, float] = {"per_page": query.per_page}
    for name, cursor in (
        ("first", None),
        ("middle", Cursor(bound, half, middle.first_seq)),
        ("last", Cursor(bound, behind.key, behind.seq, behind.ordinal)),
    ):
        token = None
        if cursor is not None:
            token = seal(cursor, query.digest, engine.now() + LIFETIME_S, engine.key)
        # Once unmeasured, so that each has at hand what a client who came page by page would have.
        _pages(engine, query, token, pages)
        taken, ended = _pages(engine, query, token, pages)
        figures[f"{name}_ms"] = round(statistics.median(taken), 2)
        figures[f"{name}_max_ms"] = round(max(taken), 2)
        assert ended == (name == "last"), "the last pages, and only these, lead to the end"
    return figures


def _pages(engine: Engine, query: Query, token: str | None, pages: int) -> tuple[list[float], bool]:
    """Milliseconds of so many pages from a token on, and whether there is none behind them."""
    taken: list[float] = []
    while len(taken) < pages:
        start = time.perf_counter()
        page = engine.search(replace(query, next_page_token=token), _anyone)
        taken.append(1000 * (time.perf_counter() - start))
        token = page.next_token
        if token is None:
            break
    return taken, token is None


def _nth(engine: Engine, query: Query, count: int) -> Found:
    """The event at this place of an answer, or the last one."""
    found: list[Found] = []
    token = None
    while len(found) < count:
        page = engine.search(replace(query, next_page_token=token), _anyone)
        found += page.events
        token = page.next_token
        if token is None:
            break
    return found[:count][-1]


def _anyone(typ: str) -> bool:
    return True


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.query", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="keep the ledger here")
    parser.add_argument("--times", type=int, default=300, help="questions of each kind")
    parser.add_argument("--pages", type=int, default=40, help="of paging: at its start, middle and end")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    chosen = parser.parse_args()
    figures: dict[str, Any] = {"events": chosen.events, "epc_rows": EPCS * chosen.events}
    with ExitStack() as stack:
        folder = chosen.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "ledger.db"
        start = time.perf_counter()
        fill(file, chosen.events)
        print(f"{chosen.events} events in the ledger after {time.perf_counter() - start:.0f} s")
        ledger = sqlite.open_reader(file)
        stack.callback(ledger.close)
        figures |= project(ledger, file)
        reader = projection_store.open_reader(file)
        stack.callback(reader.close)

        def engine() -> Engine:
            return Engine(ledger, reader, b"k" * 32, clock=lambda: datetime.now(UTC), cache=Cache())

        chance = random.Random(SEED)
        for name, make in questions(chosen.events, chance).items():
            figures[name] = measure(engine, make, chosen.times)
            print(name.ljust(28), figures[name])
        for name, text in (
            # As common at the log's end as at its start, so that pages differ by nothing but their place.
            ("a place by eventTime", f"EQ_readPoint={PLACE}&orderBy=eventTime&perPage=100"),
            ("a place in log order", f"EQ_readPoint={PLACE}&perPage=100"),
            ("everything by eventTime", "orderBy=eventTime&perPage=100"),
            ("everything in log order", "perPage=100"),
        ):
            figures[name] = page_through(engine(), text, chosen.pages)
            print(name.ljust(28), figures[name])
    figures["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{figures['memory_mb']} MB at most in this process")
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


def project(ledger: Any, file: Path) -> dict[str, float]:
    """Project what is not projected yet; CPU time an event."""
    writer = projection_store.open_writer(file)
    projector = Projector(ledger, writer)
    start = time.process_time()
    before = writer.prepare(entry_format.leaf_hash(ledger.read_entries(0, 1)[0])).rows
    progress = projector.catch_up()
    writer.close()
    if progress.events == before:
        return {}
    cost = (time.process_time() - start) / (progress.events - before) * 1e6
    size = projection_store.beside(file).stat().st_size
    print(f"projected: {cost:.1f} µs of CPU an event, {size / progress.events:.0f} bytes an event")
    return {"project_us": round(cost, 1), "project_bytes": round(size / progress.events)}


if __name__ == "__main__":
    main()
