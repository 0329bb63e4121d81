"""Promises of reading a ledger by its address: bounded, patient with a busy server, deaf to a false one."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import httpx2
import pytest
from tt_epcis import object_event
from tt_evidence import PACK, World, make_world

from ledger.errors import NotInLog
from ledger.tiles import TILE_WIDTH, parse_path, render_bundle
from verifier import ledger_audit, url_reader
from verifier.errors import SourceFailed
from verifier.url_reader import UrlReader
from verifier.verdict import Verdict

Answer = Callable[[httpx2.Request], httpx2.Response]


class Server:
    """A ledger's server as the formats describe one, without the network."""

    def __init__(
        self, world: World, *, page_max: int = 5, serves_partials: bool = True, serves_bundles: bool = False
    ) -> None:
        self.world = world
        self.page_max = page_max
        self.serves_partials = serves_partials
        self.serves_bundles = serves_bundles
        self.requests: list[str] = []
        self.overrides: dict[str, list[httpx2.Response]] = {}

    def reader(self) -> UrlReader:
        self.pauses: list[float] = []
        transport = httpx2.MockTransport(self.answer)
        return UrlReader("http://ledger.example/", transport=transport, sleep=self.pauses.append)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        self.requests.append(str(request.url).removeprefix("http://ledger.example"))
        if self.overrides.get(path):
            return self.overrides[path].pop(0)
        if path == "/checkpoint":
            return httpx2.Response(200, content=self.world.checkpoint)
        if path == "/statements":
            start, end = int(request.url.params["start"]), int(request.url.params["end"])
            lines = self.world.statements[start : min(end, start + self.page_max)]
            return httpx2.Response(200, content=b"".join((line or b"") + b"\n" for line in lines))
        if path.startswith("/statements/bundle/"):
            if not self.serves_bundles:
                return httpx2.Response(404)
            name = parse_path(path.replace("/statements/bundle/", "entries/"))
            if name.width < TILE_WIDTH and not self.serves_partials:
                return httpx2.Response(404)
            lines = self.world.statements[name.index * TILE_WIDTH :][: name.width]
            return httpx2.Response(200, content=b"".join((line or b"") + b"\n" for line in lines))
        name = parse_path(path.removeprefix("/tile/"))
        if name.width < TILE_WIDTH and not self.serves_partials:
            return httpx2.Response(404)
        if name.level is None:
            start = name.index * TILE_WIDTH
            body = render_bundle(self.world.entries[start : start + name.width])
            return httpx2.Response(200, content=gzip.compress(body), headers={"Content-Encoding": "gzip"})
        return httpx2.Response(200, content=self.world.read_tile(name.level, name.index, name.width))


def test_an_audit_by_address_comes_to_the_same_as_one_of_the_database() -> None:
    world = make_world()
    with Server(world).reader() as reader:
        report = ledger_audit.audit(reader, world.trust())
    assert report.verdict is Verdict.VALID
    assert report.facts == ledger_audit.audit(world, world.trust()).facts
    world.statements[9] = b"altered"
    with Server(world).reader() as reader:
        assert ledger_audit.audit(reader, world.trust()).faulty_seqs == (9,)


def test_a_ledger_of_several_tiles() -> None:
    world = make_world()
    event = world.statements[6] or b""
    from tt_ledger import chain_entries

    kinds = ["genesis", *["key"] * 5] + ["event"] * 600
    statements = [*world.statements[:6], *[event] * 600]
    world.entries = chain_entries(
        [(kind, raw or b"") for kind, raw in zip(kinds, statements, strict=True)], world.now
    )
    world.statements = statements
    world.rebuild()
    with Server(world, page_max=100).reader() as reader:
        report = ledger_audit.audit(reader, world.trust(authorities=[]))
    assert report.facts["signatures_checked"] == 606
    assert report.faulty_seqs == ()


def test_withheld_statements_are_none() -> None:
    world = make_world()
    world.statements[7] = None
    with Server(world).reader() as reader:
        reader.read_checkpoint()
        assert list(reader.read_statements(5, 9)) == world.statements[5:9]
        assert list(reader.read_entries(0, 100)) == world.entries


def test_where_a_partial_tile_is_gone_the_full_one_is_asked_for() -> None:
    world = make_world()
    while len(world.entries) < 300:
        world.event("acme", object_event(PACK))
    server = Server(world, serves_partials=False)
    with server.reader() as reader:
        reader.read_checkpoint()
        assert reader.read_tile(0, 0, 40) == world.read_tile(0, 0, 40)
        reader._size = 200  # as if an older checkpoint had been published
        assert list(reader.read_entries(190, 200)) == world.entries[190:200]
    assert "/tile/0/000.p/40" in server.requests
    assert "/tile/0/000" in server.requests


def test_a_busy_server_is_asked_again_and_a_dead_one_not_for_ever() -> None:
    server = Server(make_world())
    busy = httpx2.Response(503, headers={"Retry-After": "7"})
    server.overrides["/checkpoint"] = [busy, httpx2.Response(429)]
    with server.reader() as reader:
        assert reader.read_checkpoint() == server.world.checkpoint
        assert server.pauses == [7.0, 1.0]
        server.overrides["/checkpoint"] = [httpx2.Response(503)] * 10
        with pytest.raises(SourceFailed) as caught:
            reader.read_checkpoint()
    assert caught.value.code == "source.down"
    assert len(server.pauses) == 2 + url_reader.TRIES_MAX - 1


def test_a_connection_that_breaks_is_tried_again() -> None:
    calls = []

    def break_down(request: httpx2.Request) -> httpx2.Response:
        calls.append(request)
        raise httpx2.ConnectError("refused")

    with (
        UrlReader("http://x", transport=httpx2.MockTransport(break_down), sleep=lambda _: None) as reader,
        pytest.raises(SourceFailed),
    ):
        reader.read_checkpoint()
    assert len(calls) == url_reader.TRIES_MAX


@pytest.mark.parametrize(
    ("status", "error"), [(404, NotInLog), (403, SourceFailed), (301, SourceFailed), (500, SourceFailed)]
)
def test_other_answers_end_it(status: int, error: type[Exception]) -> None:
    server = Server(make_world())
    server.overrides["/checkpoint"] = [
        httpx2.Response(status, headers={"Location": "http://elsewhere.example/checkpoint"})
    ] * 9
    with server.reader() as reader, pytest.raises(error):
        reader.read_checkpoint()
    assert all("elsewhere" not in request for request in server.requests)


def test_answers_are_bounded_after_decompression() -> None:
    server = Server(make_world())
    bomb = gzip.compress(bytes(url_reader.NOTE_SIZE_MAX + 1))
    server.overrides["/checkpoint"] = [
        httpx2.Response(200, content=bomb, headers={"Content-Encoding": "gzip"})
    ]
    with server.reader() as reader, pytest.raises(SourceFailed) as caught:
        reader.read_checkpoint()
    assert caught.value.code == "source.size"


@pytest.mark.parametrize("body", [b"", b"half a line", b"\n" * 9])
def test_a_page_of_statements_that_is_not_one_is_refused(body: bytes) -> None:
    server = Server(make_world())
    with server.reader() as reader:
        reader.read_checkpoint()
        server.overrides["/statements"] = [httpx2.Response(200, content=body)]
        with pytest.raises(SourceFailed):
            reader.read_statements(0, 5)


def test_short_tiles_and_garbled_bundles_are_refused() -> None:
    server = Server(make_world())
    with server.reader() as reader:
        reader.read_checkpoint()
        server.overrides["/tile/0/000.p/17"] = [httpx2.Response(200, content=bytes(32))]
        with pytest.raises(SourceFailed):
            reader.read_tile(0, 0, 17)
        server.overrides["/tile/entries/000.p/17"] = [httpx2.Response(200, content=b"\x00\xff")]
        with pytest.raises(SourceFailed):
            reader.read_entries(0, 17)


def test_an_audit_reads_bundles_of_statements_where_there_are_any() -> None:
    world = make_world()
    while len(world.entries) < 300:
        world.event("acme", object_event(PACK))
    world.statements[280] = None
    server = Server(world, serves_bundles=True)
    with server.reader() as reader:
        reader.read_checkpoint()
        for start, end in ((0, 300), (250, 260), (255, 256), (256, 300), (299, 300), (7, 7), (290, 999)):
            assert list(reader.read_statements(start, end)) == world.statements[start:end]
        assert not any(request.startswith("/statements?") for request in server.requests)
        server.serves_partials = False
        reader._size = 200  # as if an older checkpoint had been published
        assert list(reader.read_statements(190, 200)) == world.statements[190:200]
    assert "/statements/bundle/000.p/200" in server.requests


def test_bundles_for_one_part_and_ranges_for_another() -> None:
    world = make_world()
    while len(world.entries) < 300:
        world.event("acme", object_event(PACK))
    server = Server(world, serves_bundles=True)
    server.overrides["/statements/bundle/001.p/44"] = [httpx2.Response(404)] * 9
    with server.reader() as reader:
        reader.read_checkpoint()
        assert list(reader.read_statements(200, 300)) == world.statements[200:300]


@pytest.mark.parametrize("body", [b"", b"half a line", b"\n" * 16, b"\n" * 18, b"\n" * 257])
def test_a_bundle_of_statements_that_is_not_one_is_refused(body: bytes) -> None:
    server = Server(make_world(), serves_bundles=True)
    with server.reader() as reader:
        reader.read_checkpoint()
        server.overrides["/statements/bundle/000.p/17"] = [httpx2.Response(200, content=body)]
        with pytest.raises(SourceFailed):
            reader.read_statements(0, 5)
