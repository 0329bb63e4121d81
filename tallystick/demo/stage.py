"""Behind the scenes of the demo: a folder, a server and a time-stamp authority, all real processes."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

QUOTE_MARGIN = 8
MARKER = ".tallystick-demo"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0


class DemoFailed(Exception):
    """A step did not prove what it should. The message says which."""


class Stage:
    """One demo's folder and processes. Leaving it stops every process that it started."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder.absolute()
        self.port = port or _free_port()
        self.ledger = self.folder / "ledger"
        self.url = f"http://127.0.0.1:{self.port}"
        self._processes: list[subprocess.Popen[str]] = []
        self._server: subprocess.Popen[str] | None = None
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Stage:
        """Empty the folder. Refuses one that holds something else than an earlier demo."""
        if self.folder.exists() and any(self.folder.iterdir()) and not (self.folder / MARKER).exists():
            raise DemoFailed(f"{self.folder} is not empty and not a demo's; choose another with --folder")
        if _is_taken(self.port):
            self.port = _free_port()
            self.url = f"http://127.0.0.1:{self.port}"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700, parents=True)
        (self.folder / MARKER).touch()
        # One passphrase for all of the demo's keys, thrown away with the folder.
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TALLYSTICK_")},
            "TALLYSTICK_PASSPHRASE": secrets.token_urlsafe(16),
            # What commands print is shown indented, behind a bar.
            "COLUMNS": str(min(shutil.get_terminal_size((80, 24)).columns, 110) - QUOTE_MARGIN),
        }
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_server()
        for process in self._processes:
            _end(process)

    def run(self, *arguments: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run one `tallystick` command in the demo's folder. Raises DemoFailed on another exit code."""
        done = subprocess.run(
            [sys.executable, "-m", "tallystick", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if expect is not None and done.returncode != expect:
            said = (done.stdout + done.stderr).strip()
            raise DemoFailed(
                f"`tallystick {arguments[0]}` ended with {done.returncode}, not {expect}:\n{said}"
            )
        return done

    def start_authority(self, roots: Path) -> str:
        """Start the development time-stamp authority; its URL."""
        process = self._start("development-authority", "--roots", str(roots))
        if process.stdout is None:  # never: it is a pipe
            raise DemoFailed("no output of the authority")
        line = process.stdout.readline().strip()
        if not line:
            raise DemoFailed("the development time-stamp authority did not start")
        self._processes.append(process)
        return line.rsplit(" ", 1)[1]

    def start_server(self) -> None:
        """Start `tallystick serve` and wait until it is ready to record."""
        self._server = self._start(
            "serve", str(self.ledger), "--port", str(self.port), "--quiet", "--threads", "4"
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self.get_json("/readyz")["ready"]:
                    return
            if self._server.poll() is not None:
                raise DemoFailed(f"the server ended with code {self._server.returncode}")
            time.sleep(0.05)
        raise DemoFailed("the server was not ready in time")

    def stop_server(self) -> None:
        if self._server is not None:
            _end(self._server)
            self._server = None

    def wait_for_server(self) -> None:
        """Until somebody interrupts."""
        if self._server is not None:
            with contextlib.suppress(KeyboardInterrupt):
                self._server.wait()

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:  # noqa: S310  (loopback, ours)
            body: bytes = answer.read()
            return body

    def get_json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def is_answering(self) -> bool:
        try:
            self.get("/healthz")
        except (OSError, urllib.error.URLError):
            return False
        return True

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tallystick", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
