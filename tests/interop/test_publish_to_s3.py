"""A ledger is published to a bucket that a stranger's S3 server keeps, and read back by plain HTTP.

The small Go program in s3door/ is that server. Where there is no `go`, or its modules cannot be fetched,
tests/tallystick/test_publish.py still publishes to a bucket in memory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.static_copy import CopyForked, CopyMoved
from tallystick.static_places import BucketPlace, open_place

SOURCE = Path(__file__).parent / "s3door"
BUILD_TIMEOUT_S = 180.0


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the server listens."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("there is no go here")
    binary = tmp_path_factory.mktemp("go") / "s3door"
    try:
        built = subprocess.run(
            [go, "build", "-o", binary, "."],
            cwd=SOURCE,
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT_S,
        )
        problem = built.stderr.strip() if built.returncode else ""
    except subprocess.TimeoutExpired:
        problem = f"go build took over {BUILD_TIMEOUT_S:.0f} s"
    if problem:
        reason = f"the Go program cannot be built, perhaps for want of its modules: {problem[-300:]}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    with subprocess.Popen(
        [binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


@pytest.fixture
def environment(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT": f"http://{address}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_REGION": "us-east-1",
        "TALLYSTICK_PASSPHRASE": "only for tests",
    }.items():
        monkeypatch.setenv(name, value)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tallystick", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.usefixtures("environment")
def test_the_command_publishes_to_a_bucket_and_the_bucket_can_be_audited(
    address: str, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    assert run("init", str(ledger), "--origin", "ledger.example/s3", "--public").returncode == 0
    done = run("publish", "s3://ledger/copy", "--ledger", str(ledger))
    assert done.returncode == 0, done.stderr
    assert "0 to 1 entries, 5 files of" in done.stdout
    again = run("publish", "s3://ledger/copy", "--ledger", str(ledger))
    assert again.stdout == "s3://ledger/copy is up to date at 1 entries\n"
    url = f"http://{address}/ledger/copy"
    for name, media_type, kept in (
        ("checkpoint", "text/plain; charset=utf-8", "no-cache"),
        ("tile/0/000.p/1", "application/octet-stream", "public, max-age=31536000, immutable"),
        ("tile/entries/000.p/1", "application/octet-stream", "public, max-age=31536000, immutable"),
        ("statements/bundle/000.p/1", "application/vnd.tallystick.jws-lines", "no-cache"),
        ("trust", "application/json", "no-cache"),
    ):
        with urllib.request.urlopen(f"{url}/{name}", timeout=10) as answer:
            assert (answer.headers["Content-Type"], answer.headers["Cache-Control"]) == (media_type, kept), (
                name
            )
    audited = run("audit", url, "--trust", str(ledger / "trust"))
    assert audited.returncode == 0, audited.stdout + audited.stderr
    other = tmp_path / "other"
    assert run("init", str(other), "--origin", "ledger.example/other", "--public").returncode == 0
    refused = run("publish", "s3://ledger/copy", "--ledger", str(other))
    assert refused.returncode == 3
    assert "[publish.foreign]" in refused.stderr


@pytest.mark.usefixtures("environment")
def test_a_bucket_swaps_the_checkpoint_and_keeps_what_never_changes(address: str) -> None:
    place = open_place("s3://ledger/swap")
    assert isinstance(place, BucketPlace)
    place.replace("checkpoint", b"one", "text/plain", None, mine=True)
    first = place.read("checkpoint")
    assert first is not None
    with pytest.raises(CopyMoved):
        place.replace("checkpoint", b"another one", "text/plain", None, mine=True)
    place.replace("checkpoint", b"two", "text/plain", first, mine=True)
    with pytest.raises(CopyMoved):
        place.replace("checkpoint", b"three", "text/plain", first, mine=True)
    assert place.read("checkpoint").body == b"two"
    for _ in range(2):
        place.add("tile/0/000.p/1", b"a", "application/octet-stream")
        place.settle()
    place.add("tile/0/000.p/1", b"b", "application/octet-stream")
    with pytest.raises(CopyForked):
        place.settle()
    assert place.remove_under("tile/0/000.p/") == 1
    assert place.remove_under("tile/0/000.p/") == 0
    assert place.read("tile/0/000.p/1") is None


def test_a_bucket_that_cannot_be_reached_is_told_and_not_waited_for_long(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret that no message shows")
    monkeypatch.setenv("TALLYSTICK_PASSPHRASE", "only for tests")
    ledger = tmp_path / "ledger"
    assert run("init", str(ledger), "--origin", "ledger.example/s3", "--public").returncode == 0
    done = run("publish", "s3://ledger/copy", "--ledger", str(ledger))
    assert done.returncode == 4
    assert "[publish.store]" in done.stderr
    assert "a secret" not in done.stderr
