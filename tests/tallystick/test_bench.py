"""The harness measures what it says: seeded load that the product accepts, each answer counted once."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bench import cases, load, pool, report, sender, shapes
from keys import envelope
from traceability.readers import read_events

REPOSITORY = Path(__file__).parents[2]
LINE = load.emitters(1, 5)[0]
SHAPES = ("observe", "ship", "receive", "pack", "sense", "commission", "commission1000")


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_an_event_that_the_product_takes(shape: str) -> None:
    mix = shapes.Mix(**{name: float(name == shape) for name in SHAPES})
    stream = shapes.mixed(LINE, mix, seed=1, part=0)
    for _ in range(20):
        payload = next(stream)
        raw = load.Signer(LINE, "ledger.example/bench").sign(payload, bytes(16))
        assert read_events("epcis-event+jws", envelope.parse(raw).payload)


def test_what_the_load_signs_is_a_statement_and_follows_from_the_seed() -> None:
    payload = next(load.events(LINE, 1, 5))
    raw = load.Signer(LINE, "ledger.example/bench").sign(payload, bytes(range(16)))
    assert raw == envelope.sign(
        LINE.key, typ="epcis-event+jws", aud="ledger.example/bench", payload=payload, nonce=bytes(range(16))
    )
    parsed = envelope.parse(raw)
    LINE.key.public.verify(parsed.signature, parsed.signing_input)


def test_parts_differ_from_each_other_and_not_from_run_to_run(tmp_path: Path) -> None:
    kind = pool.Kind(5, pool.EMITTERS * 2)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for number in range(2):
            pool.make_part(tmp_path / folder, kind, 9, number)
    first, second = ((tmp_path / "a" / f"0000{n}.jws").read_bytes().split() for n in range(2))
    assert len(set(first) | set(second)) == 2 * kind.part_count
    assert (tmp_path / "b" / "00001.jws").read_bytes().split() == second
    given = list(pool.Pool(tmp_path / "a", kind, 2).bodies(40, 1000))
    assert [len(bytes(body).split(b"\n")) for body in given] == [40, 40, 40, 40]
    assert bytes(given[2]).split(b"\n") == second[:40]


def test_the_mix_resends_as_much_as_it_says(tmp_path: Path) -> None:
    mix = shapes.Mix(
        observe=1, ship=1, receive=0, pack=0, sense=0, commission=0, commission1000=0, duplicates=0.2
    )
    kind = pool.Kind(0, pool.EMITTERS * 60, mix)
    pool.make_part(tmp_path, kind, 3, 0)
    sent = (tmp_path / "00000.jws").read_bytes().split()
    assert 250 < len(sent) - len(set(sent)) < 550  # a fifth of the two thousand after the first thousand


class Door(threading.Thread):
    """Answers every request after reading it, in pieces that a network might make of it."""

    def __init__(self, answers: list[list[bytes]]) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.answers = answers
        self.bodies: list[bytes] = []

    def run(self) -> None:
        with self.listener:
            connection, _ = self.listener.accept()
        with connection, connection.makefile("rb") as stream:
            for pieces in self.answers:
                size = 0
                while (line := stream.readline().strip()) != b"":
                    if line.startswith(b"Content-Length: "):
                        size = int(line[16:])
                self.bodies.append(stream.read(size))
                for piece in pieces:
                    connection.sendall(piece)
                    threading.Event().wait(0.01)


def test_the_sender_counts_each_answer_once_however_it_arrives() -> None:
    long = b"x" * 300_000
    answers = [
        [b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}"],
        [b"HTTP/1.1 201 Cre", b"ated\r\nContent-", b"Length: 2\r\n\r\n", b"{", b"}"],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n" + long],
        [b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy"],
    ]
    door = Door(answers)
    address = door.listener.getsockname()
    door.start()
    bodies = [b"one", b"two", b"y" * 5_000_000, b"four"]
    sent = sender.send(address, sender.heads(bodies, 10, "x"), batch=10, clients=1, seconds=20)
    door.join(5)
    assert door.bodies == bodies
    assert sent.exhausted
    assert sent.total == sent.events == 40
    assert len(sent.failures) == 1
    assert sent.failures[0].startswith(b"HTTP/1.1 503")
    assert min(sent.latencies) > 0
    assert sent.finished == sorted(sent.finished)


def test_a_target_that_is_missed_is_told() -> None:
    case = next(case for case in cases.CASES if case.name == "single64")
    result = {"name": "single64", "events_per_s": 7_000, "p99_ms": 51.0, "memory_mib": {"pss_of_server": 100}}
    report.judge(result, 50_000, case)
    assert result["ratio_to_floor"] == 0.14
    assert [(t["what"], t["met"]) for t in result["targets"]] == [
        ("ratio_to_floor", True),
        ("p99_ms", False),
        ("memory_mib", True),
    ]
    assert result["met"] is False


@pytest.mark.server
def test_a_short_run_writes_what_others_read(tmp_path: Path) -> None:
    chosen = [
        "--case",
        "batch100",
        "--case",
        "audit",
        "--store",
        "sqlite",
        "--seconds",
        "1",
        "--workers",
        "1",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *chosen, "--output", str(tmp_path / "latest.json")],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((tmp_path / "latest.json").read_text())
    assert document["floor"]["verifications_per_s"] > 0
    assert [(case["name"], case["store"]) for case in document["cases"]] == [
        ("batch100", "sqlite"),
        ("audit", "sqlite"),
    ]
    for case in document["cases"]:
        assert case["events_per_s"] > 0
        assert case["ratio_to_floor"] > 0
        assert {"p50_ms", "p99_ms", "targets", "met"} <= case.keys()
    batch = document["cases"][0]
    assert set(batch["cpu_us_per_event"]) == {"workers", "sequencer", "projector", "parent", "load"}
    assert 0 < batch["p50_ms"] <= batch["p99_ms"]
    assert (tmp_path / "latest.png").read_bytes().startswith(b"\x89PNG")
