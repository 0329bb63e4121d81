"""`tallystick serve`: one parent, one sequencer process, some HTTP workers.

The parent holds no data. It starts the sequencer, starts it again if it dies, and runs the HTTP server
whose workers read the database and send what must be written to the sequencer's socket. Children end
with their parent, whatever ended it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from granian.constants import HTTPModes, Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server as Granian

from keys.errors import Refused
from tallystick.projector_supervisor import ProjectorSupervisor

SOCKET_NAME = "sequencer.sock"
SOCKET_PATH_MAX = 100  # the system's limit for Unix socket paths is 108 bytes with its NUL
CONNECTIONS_MAX = 1024  # of each worker; more wait to be accepted
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
RESTART_PAUSE_S = 0.5

FOLDER_VARIABLE = "TALLYSTICK_LEDGER_FOLDER"
SOCKET_VARIABLE = "TALLYSTICK_SEQUENCER_SOCKET"
PARENT_VARIABLE = "TALLYSTICK_PARENT_PID"
THREADS_VARIABLE = "TALLYSTICK_POOL_THREADS"
PASSPHRASE_VARIABLE = "TALLYSTICK_PASSPHRASE"  # noqa: S105  (its name)

logger = logging.getLogger("tallystick.serve")


class ServeFailed(Refused):
    """The server could not start; the message says why."""


class SequencerSupervisor:
    """Keeps one sequencer process running."""

    def __init__(self, folder: Path, socket_path: Path, passphrase: bytes, quiet: bool) -> None:
        self._folder = folder
        self._socket_path = socket_path
        self._passphrase = passphrase
        self._quiet = quiet
        self._process: subprocess.Popen[str] | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start it, wait until it takes submissions, and watch it. Raises ServeFailed."""
        self._process = self._spawn()
        threading.Thread(target=self._watch, name="sequencer-watch", daemon=True).start()

    def stop(self) -> None:
        """Let it answer what it has, then end it."""
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process is not None and process.stdout is not None:
            process.stdout.close()

    def _spawn(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tallystick.sequencer_process", str(self._folder)],
            env={name: value for name, value in os.environ.items() if name != PASSPHRASE_VARIABLE},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if process.stdin is None or process.stdout is None:  # never: both are pipes
            raise ServeFailed("serve.pipe", "no pipe to the sequencer")
        hello = {
            "parent": os.getpid(),
            "passphrase": self._passphrase.hex(),  # it may be any bytes
            "quiet": self._quiet,
            "socket": str(self._socket_path),
        }
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(json.dumps(hello) + "\n")
        # One that hangs while it starts is ended: its silence would hold up whoever waits for its answer.
        limit = threading.Timer(START_TIMEOUT_S, process.kill)
        limit.daemon = True
        limit.start()
        answer = process.stdout.readline().strip()
        limit.cancel()
        if answer != "ready":
            process.kill()
            process.wait()
            process.stdout.close()
            reason = answer.removeprefix("failed: ") or f"it ended with code {process.returncode}"
            raise ServeFailed("serve.sequencer", reason)
        return process

    def _watch(self) -> None:
        while not self._stopping.is_set():
            process = self._process
            if process is None:
                return
            code = process.wait()
            # Code 0 means that a signal asked it to end, most likely one that went to all of us.
            if self._stopping.wait(RESTART_PAUSE_S if code else STOP_TIMEOUT_S):
                return
            logger.error("the sequencer ended with code %s; starting it again", code)
            while not self._stopping.is_set():
                try:
                    self._process = self._spawn()
                    logger.info("the sequencer is back")
                    break
                except (ServeFailed, OSError) as failed:
                    reason = failed.detail if isinstance(failed, ServeFailed) else failed.strerror
                    logger.error("the sequencer did not start: %s", reason)
                    time.sleep(RESTART_PAUSE_S)


def _require_address(host: str, port: int) -> None:
    """Try the address first: the HTTP server would answer a taken one with a panic and two backtraces."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise ServeFailed(
            "serve.address", f"{host}, port {port}, cannot be listened on: {error.strerror or error}"
        ) from error


def serve(
    folder: Path, *, host: str, port: int, workers: int, threads: int, passphrase: bytes, quiet: bool = False
) -> None:
    """Serve the ledger in this folder until a signal ends it. Raises ServeFailed.

    workers  processes that parse, verify and answer; one a core
    threads  of each worker, for everything but the taking of statements: that needs none
    """
    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, format="%(levelname)s %(message)s")
    _require_address(host, port)
    socket_path = folder / SOCKET_NAME
    temporary: Path | None = None
    if len(os.fsencode(socket_path)) > SOCKET_PATH_MAX:
        temporary = Path(tempfile.mkdtemp(prefix="tallystick-"))
        socket_path = temporary / SOCKET_NAME
    supervisor = SequencerSupervisor(folder, socket_path, passphrase, quiet)
    projector = ProjectorSupervisor(folder)
    try:
        supervisor.start()
    except ServeFailed:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    # The workers have no use for it, and an environment can be read by others.
    os.environ.pop(PASSPHRASE_VARIABLE, None)
    os.environ[FOLDER_VARIABLE] = str(folder)
    os.environ[SOCKET_VARIABLE] = str(socket_path)
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    os.environ[THREADS_VARIABLE] = str(threads)
    projector.start()
    # Forking a process that has threads can hang the child: workers start fresh.
    multiprocessing.set_start_method("spawn", force=True)
    if not quiet:
        at = f"[{host}]" if ":" in host else host
        print(f"Serving {folder} at http://{at}:{port} (Ctrl-C ends it)", flush=True)  # noqa: T201
    try:
        Granian(
            "tallystick.http_worker:create",
            factory=True,
            address=host,
            port=port,
            interface=Interfaces.ASGI,
            loop=Loops.uvloop,
            # With HTTP/2, which it would speak unasked, one connection is 200 requests: what is counted here
            # are connections.
            http=HTTPModes.http1,
            workers=workers,
            backlog=CONNECTIONS_MAX,
            backpressure=CONNECTIONS_MAX,
            respawn_failed_workers=True,
            respawn_interval=0.5,
            workers_kill_timeout=int(STOP_TIMEOUT_S),  # nothing is lost: what was acknowledged is durable
            websockets=True,
            log_enabled=not quiet,
            log_level=LogLevels.error,  # its starts and stops are nothing that an operator can use
        ).serve()
    finally:
        projector.stop()
        supervisor.stop()
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
