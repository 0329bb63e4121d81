"""The log's static resources are exactly those of C2SP tlog-tiles: paths, bodies, caching, 404."""

from __future__ import annotations

import gzip

import pytest
import tt_site
from tt_site import Site

from ledger import checkpoint as checkpoints
from ledger import entry as entry_format
from ledger.tiles import parse_bundle, root_at

IMMUTABLE = "public, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """300 entries: one full tile at level 0, a partial one beside it, and one hash at level 1."""
    site = Site(tmp_path_factory.mktemp("tiles"))
    while (size := site.log.head.tree_size) < 300:
        events = [
            ("acme", tt_site.object_event(site.clock(), [tt_site.pack_urn(str(n))], "inspecting"))
            for n in range(size, 300)
        ]
        site.append(*events)
    site.publish()
    yield site
    site.close()


class ServedTiles:
    """ledger.tiles over HTTP: what any client of the log would do."""

    def __init__(self, client):
        self.client = client

    def read_tile(self, level, index, width):
        suffix = "" if width == 256 else f".p/{width}"
        response = self.client.get(f"/tile/{level}/{index:03d}{suffix}")
        assert response.status_code == 200, response.json
        return response.data


def test_checkpoint_is_a_signed_note_that_is_asked_for_each_time(site):
    response = site.client.get("/checkpoint")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-cache"
    opened = checkpoints.open_checkpoint(response.data, [site.signer.verifier], site.services.origin)
    assert opened.tree_size == 300


def test_served_tiles_lead_to_the_signed_root(site):
    root = checkpoints.parse_unverified(site.client.get("/checkpoint").data).root_hash
    assert root_at(ServedTiles(site.client), 300) == root


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("0/000", 8192),
        ("0/001.p/44", 44 * 32),
        ("0/001.p/1", 32),
        ("1/000.p/1", 32),
        ("0/000.p/255", 255 * 32),
    ],
)
def test_hash_tiles_have_their_exact_length_and_never_change(site, path, size):
    response = site.client.get(f"/tile/{path}")
    assert response.status_code == 200
    assert len(response.data) == size
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Cache-Control"] == IMMUTABLE
    assert "Content-Encoding" not in response.headers


def test_partial_where_the_full_tile_stands_is_its_beginning(site):
    full = site.client.get("/tile/0/000").data
    for width in (1, 128, 255):
        assert site.client.get(f"/tile/0/000.p/{width}").data == full[: width * 32]


def test_entry_bundles_hash_to_the_leaves(site):
    for path, count, tile in (("entries/000", 256, "0/000"), ("entries/001.p/44", 44, "0/001.p/44")):
        response = site.client.get(f"/tile/{path}", headers={"Accept-Encoding": "identity"})
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert response.headers["Cache-Control"] == IMMUTABLE
        leaves = b"".join(map(entry_format.leaf_hash, parse_bundle(response.data, count)))
        assert leaves == site.client.get(f"/tile/{tile}").data


def test_entry_bundles_are_compressed_for_whoever_asks(site):
    plain = site.client.get("/tile/entries/000", headers={"Accept-Encoding": "identity"})
    packed = site.client.get("/tile/entries/000", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in packed.headers["Vary"]
    assert "Accept-Encoding" in plain.headers["Vary"]
    assert gzip.decompress(packed.data) == plain.data
    assert len(packed.data) < len(plain.data)


@pytest.mark.parametrize(
    "path",
    [
        "0/001",  # partial still: the full one is not there yet
        "0/001.p/45",  # one hash too many
        "0/002",
        "0/002.p/1",
        "0/x001/000",  # tile 1000
        "1/000",
        "1/000.p/2",
        "1/001",
        "2/000.p/1",  # an empty tile is never served
        "63/000",
        "entries/001",
        "entries/001.p/45",
        "entries/002",
    ],
)
def test_what_the_log_does_not_hold_yet_is_404_and_not_cached(site, path):
    response = site.client.get(f"/tile/{path}")
    assert response.status_code == 404
    assert response.json["code"] == "tile.missing"
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "0",
        "0/",
        "0/0",
        "0/00",
        "0/0000",
        "00/000",
        "-1/000",
        "+0/000",
        "64/000",
        "a/000",
        "0/x000",
        "0/x000/000",
        "0/001/000",
        "0/000.p",
        "0/000.p/",
        "0/000.p/0",
        "0/000.p/01",
        "0/000.p/256",
        "0/000.p/-1",
        "0/000/",
        "0//000",
        "0/%2e%2e/000",
        "0/000%00",
        "0/000%0a",
        "0/٠٠٠",
        "entries",
        "entries/0",
        "Entries/000",
        "data/000",
        "8/0/000",
        "0/x123/x456/x789/x123/x456/x789/x123/000",
        "0/" + "x999/" * 40 + "999",
    ],
)
def test_names_that_no_tile_has_are_404(site, path):
    response = site.client.get(f"/tile/{path}")
    assert response.status_code == 404
    assert response.json["code"] in ("tile.path", "http.path")


def test_head_request_says_the_same_without_a_body(site):
    for path in ("/checkpoint", "/tile/0/000", "/tile/entries/000"):
        get, head = site.client.get(path), site.client.head(path)
        assert head.status_code == 200
        assert head.data == b""
        for name in ("Content-Type", "Cache-Control", "Content-Length"):
            assert head.headers[name] == get.headers[name]


def test_partial_tiles_of_every_size_ever_published_are_served(tmp_path):
    site = Site(tmp_path)
    published = []
    for n in range(8):
        site.append(("acme", tt_site.object_event(site.clock(), [tt_site.pack_urn(str(n))], "inspecting")))
        site.publish()
        published.append(checkpoints.parse_unverified(site.client.get("/checkpoint").data))
    for old in published:
        assert root_at(ServedTiles(site.client), old.tree_size) == old.root_hash
    site.close()


@pytest.mark.parametrize(
    "path",
    [
        "/checkpoint",
        "/tile/0/000",
        "/tile/0/001.p/44",
        "/tile/entries/000",
        "/statements/bundle/000",
        "/trust",
    ],
)
def test_whoever_has_the_bytes_already_is_told_so(site, path):
    first = site.client.get(path)
    tag = first.headers["ETag"]
    assert tag.startswith('"')
    again = site.client.get(path, headers={"If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["ETag"] == tag
    assert again.headers["Cache-Control"] == first.headers["Cache-Control"]
    for other in ('"0"', 'W/"0"', '"' + "0" * 32 + '"'):
        assert site.client.get(path, headers={"If-None-Match": other}).status_code == 200


def test_the_two_encodings_of_a_bundle_have_two_tags(site):
    tags = {
        site.client.get("/tile/entries/000", headers={"Accept-Encoding": encoding}).headers["ETag"]
        for encoding in ("identity", "gzip")
    }
    assert len(tags) == 2


def test_bundles_of_statements_are_the_lines_of_their_range(site):
    for name, start, end in (("000", 0, 256), ("001.p/44", 256, 300), ("000.p/7", 0, 7)):
        response = site.client.get(f"/statements/bundle/{name}")
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "application/vnd.tallystick.jws-lines"
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.data == site.client.get(f"/statements?start={start}&end={end}").data
        assert response.data.count(b"\n") == end - start


@pytest.mark.parametrize(
    "name",
    ["001", "001.p/45", "002", "0", "00", "0000", "000.p/0", "000.p/256", "-01", "x000/000", "000/", "a"],
)
def test_bundles_of_statements_that_are_not_there_are_404_and_not_cached(site, name):
    response = site.client.get(f"/statements/bundle/{name}")
    assert response.status_code == 404
    assert response.json["code"] in ("bundle.missing", "bundle.path")
    assert response.headers["Cache-Control"] == "no-store"


def test_a_bundle_too_long_for_one_answer_is_asked_for_by_range(site):
    from dataclasses import replace

    client = site.served_with(limits=replace(site.services.limits, statements_page_size_max=5_000))
    response = client.get("/statements/bundle/000")
    assert (response.status_code, response.json["code"]) == (404, "bundle.size")
    assert client.get("/statements/bundle/000.p/2").status_code == 200
