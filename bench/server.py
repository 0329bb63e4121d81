"""A real server of its own processes over a new ledger, for measurements and fault tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.load import Emitter
from keys import key_statements
from keys.files import read_private_key

PASSPHRASE = b"only-for-measurements"
ORIGIN = "ledger.example/bench"
START_TIMEOUT_S = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """`tallystick init` and `tallystick serve` in a folder, on loopback, in a process group of its own."""

    def __init__(
        self, folder: Path, *, workers: int = 2, threads: int = 16, database: str | None = None
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = folder.with_name(folder.name + ".output")
        self._workers = workers
        self._threads = threads
        self._environment = {**os.environ, "TALLYSTICK_PASSPHRASE": PASSPHRASE.decode()}
        self.process: subprocess.Popen[bytes] | None = None
        if not (folder / "tallystick.toml").exists():
            place = ["--database", database] if database is not None else []
            self._command(
                *("init", str(folder), "--origin", ORIGIN, "--base-url", self.url, "--public"), *place
            )

    def _command(self, *arguments: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "tallystick", *arguments],
            env=self._environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def start(self) -> None:
        """Start it and wait until it is ready to write."""
        self.spawn()
        self.wait_until_ready()

    def spawn(self) -> None:
        """Start it and wait for nothing. What it prints is added to `output`."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tallystick", "serve", str(self.folder), "--quiet"),
                    *("--port", str(self.port)),
                    *("--workers", str(self._workers), "--threads", str(self._threads)),
                ],
                env=self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_until_ready(self, *, wanted: str = "writes") -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with (
                contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError),
                urllib.request.urlopen(f"{self.url}/readyz?for={wanted}", timeout=2) as answer,
            ):
                if json.load(answer)["ready"]:
                    return
            if self.process is not None and self.process.poll() is not None:
                said = self.output.read_text()[-2000:]
                raise RuntimeError(f"the server ended with code {self.process.returncode}: {said}")
            time.sleep(0.05)
        raise TimeoutError("the server was not ready in time")

    def kill_group(self) -> None:
        """SIGKILL to every process of the server at once, as a power cut to the machine would."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def kill_parent(self) -> None:
        """SIGKILL to the parent alone; its children must notice."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Ask it to end, as a service manager would."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill_group()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Every process of the server stands still: its quiet moments are not to be taken from the floor."""
        if self.process is None:
            yield
            return
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)

    def children(self) -> list[int]:
        """Process ids of this server's group, the parent apart."""
        if self.process is None:
            return []
        listed = subprocess.run(
            ["ps", "-eo", "pid=,pgid="], capture_output=True, text=True, check=True
        ).stdout
        pairs = [line.split() for line in listed.splitlines()]
        return [
            int(pid)
            for pid, group in pairs
            if int(group) == self.process.pid and int(pid) != self.process.pid
        ]

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time used so far by the workers together, by sequencer, projector and parent."""
        used = {"workers": 0.0, "sequencer": 0.0, "projector": 0.0, "parent": 0.0}
        ticks = os.sysconf("SC_CLK_TCK")
        for pid in [*self.children(), *([self.process.pid] if self.process else [])]:
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                role = "sequencer" if b"sequencer_process" in line else "workers"
                role = "projector" if b"projector_process" in line else role
                role = "parent" if self.process and pid == self.process.pid else role
                used[role] += (int(fields[11]) + int(fields[12])) / ticks
        return used

    def register(self, emitters: Sequence[Emitter]) -> None:
        """Register every emitter's key through the door."""
        registrar = read_private_key(self.folder / "keys" / "registrar.pem", PASSPHRASE)
        for emitter in emitters:
            possession = key_statements.possession_statement(
                emitter.key, origin=ORIGIN, party=emitter.party, purpose="register"
            )
            statement = key_statements.register_statement(
                registrar,
                origin=ORIGIN,
                party=emitter.party,
                name=emitter.party,
                roles=["emitter"],
                possession=possession,
                previous=None,
            )
            self.post("/keys", statement, "application/jose")

    def post(self, path: str, body: bytes, media_type: str) -> bytes:
        request = urllib.request.Request(
            self.url + path, data=body, headers={"Content-Type": media_type}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            content: bytes = answer.read()
            return content
