"""A second machine for a ledger in PostgreSQL: a folder, a server, a sequencer, a high-water file."""

from __future__ import annotations

import shutil
import subprocess
import sys

from bench.server import Server


def second_host(server: Server, **options: int) -> Server:
    """Made as docs/formats/database.md says, and not started yet."""
    folder = server.folder.with_name("second")
    folder.mkdir(mode=0o700)
    for name in ("tallystick.toml", "keys", "trust"):
        source, target = server.folder / name, folder / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    second = Server(folder, **options)
    accepted = subprocess.run(
        [sys.executable, "-m", "tallystick", "accept-head", str(folder), "--yes"],
        env=second._environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert accepted.returncode == 0, accepted.stderr
    return second
