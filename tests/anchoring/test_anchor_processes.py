"""Real processes on one database: each round runs once, and a killed process's round is finished."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from tt_anchor import Clock, MemoryLedger

from anchoring import record, schema
from anchoring.rounds import RoundsReader
from keys import envelope

pytestmark = pytest.mark.fault

PATIENCE_S = 60.0
# Ticks until the round is finished. What it does outside becomes a line in a file that all can read.
WORKER = """
import os, pathlib, sys, time
from datetime import UTC, datetime
from sqlalchemy import create_engine
from tt_anchor import OPERATOR, ORIGIN, LocalAuthority, MisbehavingAuthority
from anchoring.rounds import Policy, Rounds

folder, hang = pathlib.Path(sys.argv[1]), sys.argv[2]
clock = lambda: datetime.now(UTC)

def say(line):
    with open(folder / "outside", "ab", buffering=0) as file:
        file.write(f"{os.getpid()} {line}\\n".encode())

def hold(where):
    say(where)
    if where == hang:
        time.sleep(600)

class Authority(LocalAuthority):
    def ask(self, query):
        hold("ask")
        return super().ask(query)

def submit(statement):
    try:
        with open(folder / "anchor-entry", "xb", buffering=0) as file:
            file.write(statement)
    except FileExistsError:
        assert (folder / "anchor-entry").read_bytes() == statement, "a second, different anchor"
        say("submit again")
    hold("submit")
    return 3

rounds = Rounds(
    create_engine(f"sqlite:///{folder}/anchors.db", connect_args={"timeout": 20}),
    [Authority("tsa", MisbehavingAuthority(clock))],
    submit,
    (folder / "published").read_bytes,
    OPERATOR,
    ORIGIN,
    clock,
    policy=Policy(lease_s=1.5, backoff_s=0.2),
)
say("ready")
while rounds.status().anchored_size is None:
    rounds.tick()
    time.sleep(0.02)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "published").write_bytes(MemoryLedger().read_published())
    engine = create_engine(f"sqlite:///{tmp_path}/anchors.db")
    with engine.begin() as connection:
        schema.create_all(connection)
    engine.dispose()
    return tmp_path


@pytest.fixture
def spawn(folder):
    started = []
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), str(root / "tests/support")])

    def spawn(hang="nowhere"):
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder), hang],
            env={**os.environ, "PYTHONPATH": path},
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield spawn
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def outside(folder):
    file = folder / "outside"
    return [line.split(" ", 1) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def check(folder):
    """One finished round, and its statement is the one that was submitted."""
    engine = create_engine(f"sqlite:///{folder}/anchors.db")
    with engine.connect() as connection:
        (row,) = connection.execute(schema.anchor_rounds.select()).all()
    assert (row.unfinished, row.seq) == (None, 3)
    assert row.statement == (folder / "anchor-entry").read_bytes()
    assert record.parse(envelope.parse(row.statement).payload).timestamps[0].authority == "tsa"
    assert not RoundsReader(engine, Clock()).status().pending
    engine.dispose()


def test_three_processes_run_one_round_once(folder, spawn):
    processes = [spawn() for _ in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors
    said = [line for _, line in outside(folder) if line != "ready"]
    assert said == ["ask", "submit"]
    check(folder)


@pytest.mark.parametrize("where", ["ask", "submit"])
def test_the_round_of_a_killed_process_is_finished_by_another(folder, spawn, where):
    first = spawn(hang=where)
    wait_for(lambda: [str(first.pid), where] in outside(folder))
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = spawn()
    _, errors = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 0, errors
    theirs = [line for pid, line in outside(folder) if pid == str(second.pid)]
    assert theirs == {"ask": ["ready", "ask", "submit"], "submit": ["ready", "submit again", "submit"]}[where]
    check(folder)
