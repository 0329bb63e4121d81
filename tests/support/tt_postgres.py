"""A private PostgreSQL for tests: its own cluster in a temporary folder, on Unix sockets, gone afterwards.

It syncs like a real one (fsync=on), asks for a password, and takes no part of its configuration from the
system. PostgreSQL refuses to run as root; then an unprivileged account runs it.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
from sqlalchemy import URL

ROLE = "tallystick"
PASSWORD = "sword%fish@/:?"  # every character that a URL must escape; no message may ever hold it
START_TIMEOUT_S = 30.0
_PR_SET_PDEATHSIG = 1
_ACCOUNTS = ("postgres", "nobody")  # whoever of these exists, if we are root


def find_binaries() -> Path | None:
    """The folder of initdb and postgres, of the newest version from 15 on."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if found and int(found[-1].parts[-3]) >= 15:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return None if on_path is None else Path(on_path).resolve().parent


class Cluster:
    """One postmaster and its data. Start, stop, kill -9, start again."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._user = _account()
        self.folder = Path(tempfile.mkdtemp(prefix="tt-postgres-"))
        self._own(self.folder)
        self.data = self.folder / "data"
        self.process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()

    def create(self) -> None:
        """initdb."""
        password_file = self.folder / "password"
        password_file.write_text(PASSWORD)
        self._own(password_file)
        self.run(
            *("initdb", "--pgdata", str(self.data), "--username", ROLE, "--pwfile", str(password_file)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"),
        )
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = ''\nunix_socket_directories = '{self.folder}'\n"
                "fsync = on\nfull_page_writes = on\nmax_connections = 100\nshared_buffers = '64MB'\n"
                "log_min_messages = warning\n"
                # What the store itself asks for must not come from here.
                "synchronous_commit = off\n"
            )

    def start(self) -> None:
        """Start the postmaster and wait until it answers. It ends with this process, however that ends."""
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self.data],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                preexec_fn=_end_with_parent,  # after the change of accounts, which would undo it
                **self._user,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.connect().close()
                return
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.02)

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A connection beside the store's, as the operator has it."""
        return psycopg.connect(
            host=str(self.folder), user=ROLE, password=PASSWORD, dbname=database, autocommit=True
        )

    def url(self, database: str) -> URL:
        return URL.create(
            "postgresql+psycopg",
            username=ROLE,
            password=PASSWORD,
            database=database,
            query={"host": str(self.folder)},
        )

    def new_database(self) -> URL:
        """A database of its own for each test."""
        name = f"ledger_{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def kill(self) -> None:
        """kill -9 of the postmaster and all its backends at once, as when the machine loses power."""
        assert self.process is not None
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        self.process.kill()
        for pid in listed.stdout.split():
            _kill(int(pid))
        self.process.wait()

    def kill_postmaster(self) -> None:
        """kill -9 of the postmaster alone; its backends notice."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def backends(self, database: str | None) -> list[int]:
        """Process ids of the sessions of the store in this database."""
        with self.connect() as connection:
            found = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()", (database,)
            )
            return [pid for (pid,) in found]

    def stop(self) -> None:
        """Stop it and remove what it left."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(START_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def replica(self) -> Cluster:
        """A streaming standby of this cluster, made and started."""
        standby = Cluster(self._binaries)
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        standby.run(
            *("pg_basebackup", "--pgdata", str(standby.data), "--host", str(self.folder), "--username", ROLE),
            *("--wal-method", "stream", "--checkpoint", "fast", "--write-recovery-conf"),
            env=environment,
        )
        with (standby.data / "postgresql.conf").open("a") as settings:
            settings.write(f"unix_socket_directories = '{standby.folder}'\n")
        standby.start()
        return standby

    def run(self, program: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        done = subprocess.run(
            [self._binaries / program, *arguments],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            **self._user,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program}: {done.stdout}{done.stderr}")

    def _own(self, path: Path) -> None:
        if self._user:
            os.chown(path, int(self._user["user"]), int(self._user["group"]))


def make_cluster(binaries: Path) -> Cluster:
    """A cluster that runs; whoever makes it stops it."""
    cluster = Cluster(binaries)
    try:
        cluster.create()
        cluster.start()
    except BaseException:
        cluster.stop()
        raise
    return cluster


def _account() -> dict[str, object]:
    if os.getuid() != 0:
        return {}
    for name in _ACCOUNTS:
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    raise RuntimeError("no unprivileged account to run PostgreSQL")


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
