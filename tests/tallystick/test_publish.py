"""The published copy: what the door serves, byte for byte; whole at every moment; never an older one."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import tt_keys
import tt_site
from obstore.store import MemoryStore
from tt_site import Site

from api.auditors import trust_document
from intake import disclosure
from keys import base64url
from ledger import checkpoint as checkpoints
from ledger.entry import leaf_hash
from ledger.tiles import parse_bundle, root_at
from tallystick import static_copy
from tallystick.static_copy import (
    CopyForeign,
    CopyForked,
    CopyMoved,
    CopyNewer,
    PlaceFailed,
    PlaceMalformed,
    Publisher,
    SourceDamaged,
    Standing,
)
from tallystick.static_places import BucketPlace, FolderPlace, open_place
from verifier.url_reader import UrlReader

IDENTITY = {"Accept-Encoding": "identity"}


def fill(site: Site, size: int) -> None:
    """Events up to this size, and a published checkpoint of it."""
    while (now := site.log.head.tree_size) < size:
        site.append(
            *[
                ("acme", tt_site.object_event(site.clock(), [tt_site.pack_urn(str(n))], "inspecting"))
                for n in range(now, min(size, now + 200))
            ]
        )
    site.publish()


def publisher(site: Site, place: static_copy.Place, **changes: object) -> Publisher:
    services = site.services
    arguments = {
        "origin": tt_keys.ORIGIN,
        "verifiers": [site.signer.verifier],
        "policy": lambda: site.intake.registry().policy,
        "trust": trust_document(services.origin, services.trust, services.trust_files),
        **changes,
    }
    return Publisher(site.reader, place, **arguments)


@pytest.fixture(scope="module")
def grown(tmp_path_factory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("grown"))
    fill(site, 600)
    yield site
    site.close()


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class MemoryPlace(BucketPlace):
    """A bucket in memory, with a look at what it holds."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        super().__init__(self.store)

    def objects(self) -> dict[str, bytes]:
        import obstore

        names = [found["path"] for page in obstore.list(self.store) for found in page]
        return {name: bytes(obstore.get(self.store, name).bytes()) for name in names}


# What is published -----------------------------------------------------------------------------------


def test_every_file_is_what_the_door_serves_under_its_name(grown, tmp_path):
    publisher(grown, FolderPlace(tmp_path)).publish()
    published = files(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "formats" / "static-copy.md").read_text()
    assert sorted(published) == page.split("```files\n")[1].split("```")[0].split()
    for name, body in published.items():
        response = grown.client.get(f"/{name}", headers=IDENTITY)
        assert response.status_code == 200, name
        assert response.data == body, name
        assert response.headers["Cache-Control"] == static_copy.cache_control(name), name


def test_a_bucket_holds_the_same_with_its_types_and_how_long_to_keep_them(grown, tmp_path):
    import obstore

    publisher(grown, FolderPlace(tmp_path)).publish()
    place = MemoryPlace()
    publisher(grown, place).publish()
    assert place.objects() == files(tmp_path)
    for name in place.objects():
        attributes = obstore.get(place.store, name).attributes
        response = grown.client.get(f"/{name}", headers=IDENTITY)
        assert attributes["Content-Type"] == response.headers["Content-Type"], name
        assert attributes["Cache-Control"] == response.headers["Cache-Control"], name


def test_a_web_server_over_the_folder_is_enough_for_an_audit(grown, tmp_path):
    copy, trust = tmp_path / "copy", tmp_path / "trust"
    publisher(grown, FolderPlace(copy)).publish()
    trust.mkdir()
    for name, text in grown.services.trust_files.items():
        (trust / name).write_text(text)
    with served(copy) as url:
        done = audit(url, trust)
        assert done.returncode == 4, done.stdout + done.stderr  # nothing is anchored here, which is true
        facts = json.loads(done.stdout)["facts"]
        assert facts["signatures_checked"] == 600
        damaged = copy / "statements" / "bundle" / "001"
        body = damaged.read_bytes()
        lines = body.split(b"\n")
        lines[7] = lines[8]
        damaged.write_bytes(b"\n".join(lines))
        assert audit(url, trust).returncode == 1
        damaged.unlink()
        assert audit(url, trust).returncode == 3
        damaged.write_bytes(body)
        assert audit(url, trust).returncode == 4


def audit(url: str, trust: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tallystick", "audit", url, "--trust", str(trust), "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class served:
    """Python's own web server over a folder, on loopback."""

    def __init__(self, folder: Path) -> None:
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *arguments: object) -> None:
                pass

        handler = functools.partial(Quiet, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self) -> str:
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def test_a_closed_ledger_publishes_its_order_and_its_keys_and_no_event(tmp_path):
    site = Site(tmp_path, read="none")
    fill(site, 300)
    publisher(site, FolderPlace(tmp_path / "copy")).publish()
    bundle = (tmp_path / "copy" / "statements" / "bundle" / "000").read_bytes()
    lines = bundle.split(b"\n")[:-1]
    assert len(lines) == 256
    shown = [disclosure.typ_of(line) for line in lines if line]
    assert set(shown) == {"genesis+jws", "key+jws"}
    assert bundle == site.client.get("/statements/bundle/000").data
    payload = base64url.encode(b'{"@context"')[:12].encode()
    assert all(payload not in body for body in files(tmp_path / "copy").values())
    with served(tmp_path / "copy") as url, UrlReader(url) as reader:
        reader.read_checkpoint()
        found = list(reader.read_statements(0, 300))
        assert [line or b"" for line in found[:256]] == lines
        assert len(found) == 300
    site.close()


# Following the log -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", ["folder", "bucket"])
def test_only_what_is_new_is_written_and_every_published_size_can_be_proved(site, tmp_path, make):
    place = FolderPlace(tmp_path / "copy") if make == "folder" else MemoryPlace()
    look = (lambda: files(tmp_path / "copy")) if make == "folder" else place.objects
    copy = publisher(site, place)
    roots: dict[int, bytes] = {}
    for size in (6, 6, 100, 256, 257, 511, 700):
        fill(site, size)
        before = look() if roots else {}
        summary = copy.publish()
        after = look()
        for name, body in before.items():  # whatever never changes has not changed
            if name.startswith("tile/") and name in after:
                assert after[name] == body
        if size in roots:
            assert (summary.written, summary.removed) == (0, 0)
        opened = checkpoints.open_checkpoint(after["checkpoint"], [site.signer.verifier], tt_keys.ORIGIN)
        assert opened.tree_size == size
        roots[size] = opened.root_hash
        for old, root in roots.items():
            assert root_at(Copied(after), old) == root
        leaves = [leaf_hash(entry) for entry in entries_of(after, size)]
        assert b"".join(leaves) == b"".join(
            Copied(after).read_tile(0, i, min(256, size - 256 * i)) for i in range(-(-size // 256))
        )
    # Two full tiles stand: their partial ones are gone, those of the last one are kept.
    partials = {name for name in look() if ".p/" in name and name.startswith("tile/0/")}
    assert partials == {"tile/0/002.p/188"}
    assert copy.publish(everything=True).written == 10
    assert look() == after
    place.remove_under("tile/1/000.p/")  # files were lost
    if make == "folder":
        (tmp_path / "copy" / "tile" / "0" / "001").unlink()
    assert copy.publish().written == 0
    assert copy.publish(everything=True).written == 10
    assert look() == {name: body for name, body in after.items() if name != "tile/1/000.p/1"}


class Copied:
    """ledger.tiles over the copy: a partial tile, or the beginning of the full one."""

    def __init__(self, held: dict[str, bytes]) -> None:
        self.held = held

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        name = f"tile/{level}/{index:03}"
        if width < 256 and f"{name}.p/{width}" in self.held:
            return self.held[f"{name}.p/{width}"]
        return self.held[name][: width * 32]


def entries_of(held: dict[str, bytes], size: int) -> list[bytes]:
    found: list[bytes] = []
    for start in range(0, size, 256):
        width = min(256, size - start)
        name = f"tile/entries/{start // 256:03}" + (f".p/{width}" if width < 256 else "")
        found += parse_bundle(held[name], width)
    return found


# What must not happen --------------------------------------------------------------------------------


class Breaking(FolderPlace):
    """Fails at the n-th thing it is asked to write."""

    def __init__(self, folder: Path, at: int) -> None:
        super().__init__(folder)
        self.left = at

    def _write(self, name: str, body: bytes) -> None:
        self.left -= 1
        if self.left < 0:
            raise PlaceFailed("publish.file", "the disk is full")
        super()._write(name, body)


def test_broken_off_anywhere_the_copy_is_the_old_one_and_the_next_round_mends_it(site, tmp_path):
    fill(site, 200)
    publisher(site, FolderPlace(tmp_path / "old")).publish()
    fill(site, 600)
    publisher(site, FolderPlace(tmp_path / "whole")).publish()
    whole = files(tmp_path / "whole")
    note = (tmp_path / "old" / "checkpoint").read_bytes()
    for at in range(40):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(tmp_path / "old", copy)
        try:
            publisher(site, Breaking(copy, at)).publish()
            break
        except PlaceFailed:
            pass
        assert (copy / "checkpoint").read_bytes() == note
        held = files(copy)
        assert root_at(Copied(held), 200) == checkpoints.parse_unverified(note).root_hash
        assert not any("/." in name for name in held), "an unfinished file was left"
        publisher(site, FolderPlace(copy)).publish()
        assert files(copy) == whole
    assert at > 8, "it never broke"
    assert files(copy) == whole


@pytest.mark.parametrize("make", [FolderPlace, lambda folder: MemoryPlace()])
def test_a_restored_backup_does_not_replace_a_newer_checkpoint(tmp_path, make):
    site = Site(tmp_path)
    fill(site, 50)
    shutil.copy(site.path, tmp_path / "backup.db")
    wal = Path(f"{site.path}-wal")
    if wal.exists():
        shutil.copy(wal, tmp_path / "backup.db-wal")
    fill(site, 80)
    place = make(tmp_path / "copy")
    publisher(site, place).publish()
    note = place.read("checkpoint").body
    from ledger.store.sqlite import open_reader

    backup = open_reader(tmp_path / "backup.db")
    older = publisher(site, place)
    older._source = backup
    for everything in (False, True):
        with pytest.raises(CopyNewer) as caught:
            older.publish(everything=everything)
        assert caught.value.code == "publish.newer"
    assert place.read("checkpoint").body == note
    backup.close()
    site.close()


def test_two_histories_of_one_log_are_told_and_neither_is_overwritten(tmp_path):
    sites = [Site(tmp_path / name) for name in ("a", "b") if not (tmp_path / name).mkdir()]
    for number, site in enumerate(sites):
        site.clock.forward(seconds=number)  # the same log, other times
        fill(site, 300 + number)
    for first, second in (sites, reversed(sites)):
        copy = tmp_path / f"copy-{first is sites[0]}"
        publisher(first, FolderPlace(copy)).publish()
        held = files(copy)
        fill(second, max(320, second.log.head.tree_size))
        with pytest.raises(CopyForked):
            publisher(second, FolderPlace(copy)).publish()
        assert files(copy) == held
        (copy / "checkpoint").unlink()  # lost: the tiles alone must do
        with pytest.raises(CopyForked):
            publisher(second, FolderPlace(copy)).publish()
        assert not (copy / "checkpoint").exists()
    for site in sites:
        site.close()


@pytest.mark.parametrize("standing", [b"", b"not a note", b"ledger.test/other\n3\nAAAA\n"])
def test_what_is_not_this_logs_checkpoint_is_left_alone(site, tmp_path, standing):
    fill(site, 20)
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "checkpoint").write_bytes(standing)
    with pytest.raises(CopyForeign):
        publisher(site, FolderPlace(copy)).publish()
    assert files(copy) == {"checkpoint": standing}


def test_a_checkpoint_of_ours_with_a_broken_signature_is_left_alone(site, tmp_path):
    fill(site, 20)
    copy = tmp_path / "copy"
    publisher(site, FolderPlace(copy)).publish()
    note = (copy / "checkpoint").read_bytes()
    (copy / "checkpoint").write_bytes(note.replace(b"\n20\n", b"\n10\n"))
    fill(site, 30)
    with pytest.raises(CopyForeign):
        publisher(site, FolderPlace(copy)).publish()


@pytest.mark.parametrize("table", ["entries"])
def test_a_damaged_database_publishes_nothing(site, tmp_path, table, monkeypatch):
    fill(site, 300)
    publisher(site, FolderPlace(tmp_path / "copy")).publish()
    fill(site, 400)
    held = files(tmp_path / "copy")
    whole = site.reader.read_entries

    def damaged(start: int, end: int) -> list[bytes]:
        found = list(whole(start, end))
        return [e.replace(b'"event"', b'"EVENT"') if start + i == 350 else e for i, e in enumerate(found)]

    monkeypatch.setattr(site.reader, "read_entries", damaged)
    with pytest.raises(SourceDamaged):
        publisher(site, FolderPlace(tmp_path / "copy")).publish()
    monkeypatch.setattr(site.reader, "read_entries", lambda start, end: [b""] * (end - start))
    with pytest.raises(SourceDamaged):
        publisher(site, FolderPlace(tmp_path / "copy")).publish()
    assert files(tmp_path / "copy") == held


def test_a_tile_that_stands_there_with_other_bytes_is_not_replaced(site, tmp_path):
    fill(site, 300)
    for place in (FolderPlace(tmp_path / "copy"), MemoryPlace()):
        place.overwrite("tile/0/000", b"something else", "text/plain")
        place.settle()
        with pytest.raises(CopyForked) as caught:
            publisher(site, place).publish()
        assert caught.value.code == "publish.differs"
        assert place.read("tile/0/000").body == b"something else"
        assert place.read("checkpoint") is None


def test_of_two_publishers_one_wins_and_the_other_is_told(site, tmp_path):
    fill(site, 20)
    folder = FolderPlace(tmp_path / "copy")
    with folder.exclusive(), pytest.raises(CopyMoved):
        publisher(site, FolderPlace(tmp_path / "copy")).publish()
    bucket = MemoryPlace()
    publisher(site, bucket).publish()
    seen = bucket.read("checkpoint")
    fill(site, 30)
    publisher(site, bucket).publish()
    newest = bucket.read("checkpoint").body
    with pytest.raises(CopyMoved):
        bucket.replace("checkpoint", b"older", "text/plain", seen, mine=True)
    with pytest.raises(CopyMoved):
        bucket.replace("checkpoint", b"older", "text/plain", None, mine=True)
    with pytest.raises(CopyMoved):
        folder.replace("checkpoint", b"x", "text/plain", Standing(b"other", None), mine=True)
    assert bucket.read("checkpoint").body == newest


@pytest.mark.parametrize(
    "address",
    ["ftp://x/y", "s3://key:secret@bucket/p", "s3://bucket/p?secret=1", "http://x/y", "s3:///", "x://"],
)
def test_addresses_that_are_none_are_refused(address):
    with pytest.raises(PlaceMalformed):
        open_place(address)


def test_names_reach_the_disk_before_the_checkpoint_does(site, tmp_path, monkeypatch):
    fill(site, 300)
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        events.append("sync " + os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(str(tmp_path)))
        fsync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        events.append("name " + str(target).removeprefix(str(tmp_path)))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    publisher(site, FolderPlace(tmp_path / "copy")).publish()
    named = events.index("name /copy/checkpoint")
    for folder in (
        "",
        "/copy",
        "/copy/tile",
        "/copy/tile/0",
        "/copy/tile/0/001.p",
        "/copy/statements/bundle",
    ):
        assert f"sync {folder}" in events[:named] or f"sync {tmp_path}{folder}" in events[:named], folder
    last_name = max(i for i, event in enumerate(events[:named]) if event.startswith("name "))
    assert events.index("sync /copy/tile/0") > last_name
    assert "sync /copy" in events[named:]


# The command -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ledger(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("publish") / "ledger"
    run("init", str(folder), "--origin", "ledger.example/publish", "--public", check=True)
    return folder


def run(*arguments: str, check: bool = False, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tallystick", *arguments],
        env={**os.environ, "TALLYSTICK_PASSPHRASE": "only for tests"},
        capture_output=True,
        text=True,
        check=check,
        timeout=60,
        **options,
    )


def test_the_command_says_what_it_did(ledger, tmp_path):
    done = run("publish", str(tmp_path / "copy"), "--ledger", str(ledger))
    assert done.returncode == 0, done.stderr
    assert "0 to 1 entries, 5 files of" in done.stdout
    assert sorted(files(tmp_path / "copy")) == [
        "checkpoint",
        "statements/bundle/000.p/1",
        "tile/0/000.p/1",
        "tile/entries/000.p/1",
        "trust",
    ]
    again = run("publish", str(tmp_path / "copy"), cwd=ledger)
    assert (again.returncode, again.stdout) == (0, f"{tmp_path / 'copy'} is up to date at 1 entries\n")
    (tmp_path / "copy" / "checkpoint").write_text("another log's\n")
    refused = run("publish", str(tmp_path / "copy"), "--ledger", str(ledger))
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "[publish.foreign]" in refused.stderr
    assert run("publish", str(tmp_path / "copy"), "--ledger", str(tmp_path)).returncode == 2
    assert run("publish", "s3://user:secret@bucket", "--ledger", str(ledger)).returncode == 2


def test_watching_it_follows_the_log_and_outlasts_a_place_that_is_away(ledger, tmp_path):
    copy = tmp_path / "copy"
    copy.write_text("a file where the folder should be")
    process = subprocess.Popen(
        [sys.executable, "-m", "tallystick", "publish", str(copy), "--ledger", str(ledger), "--watch", "0.2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert "[publish.file]; again in 0.2 s" in process.stderr.readline()
        copy.unlink()
        assert "0 to 1 entries" in process.stdout.readline()
        (copy / "checkpoint").unlink()
        assert "0 to 1 entries" in process.stdout.readline()
        (copy / "checkpoint").write_text("another log's\n")
        assert process.wait(20) == 3
    finally:
        process.kill()
        process.communicate()
