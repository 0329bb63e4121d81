"""The sequencer's end of the gate: who is slow, dead or wrong loses its connection, and nobody else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest

from intake import gate_server
from intake.gate import SocketGate
from intake.gate_server import GateServer
from intake.sequencer import Sequencer
from intake.wire import (
    DIGEST_SIZE,
    FRAME_SIZE_MAX,
    LENGTH,
    Outcome,
    Submission,
    decode_answer,
    encode_frame,
    submission_of,
)
from keys.errors import Fault
from ledger.store.packing import pack_parts

LARGE = gate_server.LARGE_COUNT
NOTHING = submission_of([], rollback=False)


def of_size(count: int, number: int = 0) -> Submission:
    """A submission that says that it holds so many statements, for a sequencer that does not look inside."""
    return Submission(
        count=count,
        digests=bytes(DIGEST_SIZE * count),
        unique_keys=bytes(44 * count),
        parts=pack_parts([b""] * count),
        names=b"",
        name_counts=b"",
        sorts=[("event", "t", "k")] if count else [],
        sort_of=b"",
        keys_seq=0,
        objections={},
        rollback=True,
        number=number,
    )


class Recorder:
    """Stands for the sequencer: appends nothing, remembers the groups, waits as long as it is told."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.pause_s = 0.0
        self.answer_size = 0
        self.go = threading.Event()
        self.go.set()

    def process(self, submissions: Sequence[Submission]) -> list[Outcome]:
        self.go.wait(10)
        time.sleep(self.pause_s)
        self.groups.append([len(one) for one in submissions])
        return [
            Outcome(digests=bytes(DIGEST_SIZE * len(one)), checkpoint=bytes(self.answer_size))
            for one in submissions
        ]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def connect(recorder: Recorder, tmp_path: Path) -> Iterator[Callable[[], socket.socket]]:
    server = GateServer(tmp_path / "s", cast(Sequencer, recorder), lambda: None)
    thread = threading.Thread(target=server.serve)
    thread.start()
    made: list[socket.socket] = []

    def new() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(5)
        connection.connect(str(tmp_path / "s"))
        made.append(connection)
        return connection

    yield new
    recorder.go.set()
    server.stop()
    thread.join(10)
    for connection in made:
        connection.close()
    assert not thread.is_alive()


def answers(connection: socket.socket, count: int) -> list[Outcome]:
    found: list[Outcome] = []
    while len(found) < count:
        (size,) = LENGTH.unpack(exactly(connection, LENGTH.size))
        found += decode_answer(exactly(connection, size))
    return found


def exactly(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        chunk = connection.recv(size - len(received))
        if not chunk:
            raise EOFError
        received += chunk
    return received


def ask(connection: socket.socket, *submissions: Submission) -> list[Outcome]:
    connection.sendall(encode_frame(submissions))
    return answers(connection, len(submissions))


def test_many_submissions_of_one_frame_are_one_group(connect, recorder: Recorder) -> None:
    outcomes = ask(connect(), *(of_size(1, number) for number in range(1, 41)))
    assert [outcome.number for outcome in outcomes] == list(range(1, 41))
    assert recorder.groups == [[1] * 40]


def test_small_submissions_do_not_wait_for_two_giants(connect, recorder: Recorder) -> None:
    recorder.go.clear()
    first, giants, small = connect(), connect(), connect()
    first.sendall(encode_frame([of_size(1, 1)]))
    time.sleep(0.1)  # it is being committed, and all that follows arrives meanwhile
    giants.sendall(encode_frame([of_size(LARGE, 1), of_size(LARGE, 2)]))
    small.sendall(encode_frame([of_size(1, number) for number in range(1, 6)]))
    time.sleep(0.1)
    recorder.go.set()
    answers(small, 5)
    answers(giants, 2)
    assert recorder.groups == [[1], [1] * 5, [LARGE], [LARGE]]


def test_a_group_is_bounded(connect, recorder: Recorder) -> None:
    ask(connect(), *(of_size(1000, number) for number in range(1, 12)))
    assert max(sum(group) for group in recorder.groups) <= gate_server.GROUP_COUNT_MAX
    assert sum(sum(group) for group in recorder.groups) == 11_000


@pytest.mark.parametrize(
    "sent",
    [
        LENGTH.pack(FRAME_SIZE_MAX + 1),
        LENGTH.pack(3) + b"\xc1\xc1\xc1",
        LENGTH.pack(1) + b"\x01",
        encode_frame([NOTHING])[:-1] + b"\xc1",
    ],
    ids=["a frame beyond the bound", "not MessagePack", "not a list", "a broken field"],
)
def test_who_speaks_wrongly_is_cut_off_and_others_are_served(connect, sent: bytes) -> None:
    good, bad = connect(), connect()
    assert ask(good, of_size(1, 1))[0].number == 1
    bad.sendall(sent)
    assert bad.recv(1) == b""
    assert ask(good, of_size(1, 2))[0].number == 2


def test_half_frames_together_are_bounded(connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_server, "INCOMPLETE_SIZE_MAX", 1_000_000)
    good, bad = connect(), [connect() for _ in range(3)]
    cut_off = 0
    for connection in bad:
        try:
            connection.sendall(LENGTH.pack(FRAME_SIZE_MAX) + bytes(450_000))
            connection.settimeout(0.3)
            cut_off += connection.recv(1) == b""
        except TimeoutError:
            pass
        except ConnectionError:
            cut_off += 1
    assert cut_off == 1
    assert ask(good, of_size(1, 1))[0].number == 1


def test_who_does_not_read_its_answers_is_cut_off_and_holds_nobody(
    connect, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_server, "UNREAD_SIZE_MAX", 2_000_000)
    recorder.answer_size = 500_000
    deaf, good = connect(), connect()
    began = time.monotonic()
    with pytest.raises(ConnectionError):  # noqa: PT012
        for number in range(1, 40):
            deaf.sendall(encode_frame([of_size(1, number)]))
            time.sleep(0.01)
    assert ask(good, of_size(1, 1))[0].number == 1
    assert time.monotonic() - began < 5


def test_a_peer_that_went_away_stops_nothing(connect, recorder: Recorder) -> None:
    recorder.go.clear()
    gone, good = connect(), connect()
    gone.sendall(encode_frame([of_size(1, 1)]))
    time.sleep(0.05)
    gone.close()
    good.sendall(encode_frame([of_size(1, 2)]))
    recorder.go.set()
    assert answers(good, 1)[0].number == 2


def test_beyond_what_may_wait_nothing_more_is_read(recorder: Recorder, tmp_path: Path) -> None:
    server = GateServer(tmp_path / "w", cast(Sequencer, recorder), lambda: None)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(tmp_path / "w"))
        assert server._receive(0.5) == 0  # lets it in
        connection.sendall(encode_frame([of_size(10, 1), of_size(10, 2)]))
        server._waiting_size = gate_server.WAITING_SIZE_MAX + 1
        assert server._receive(0.1) == 0
        server._waiting_size = 0
        assert server._receive(0.5) == 2
        assert server._waiting_size > 0
        while server._work():
            pass
        assert server._waiting_size == 0
    server.close()


def test_what_was_read_is_answered_before_it_ends(tmp_path: Path) -> None:
    recorder = Recorder()
    recorder.go.clear()
    server = GateServer(tmp_path / "e", cast(Sequencer, recorder), lambda: None)
    thread = threading.Thread(target=server.serve)
    thread.start()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(tmp_path / "e"))
        connection.sendall(encode_frame([of_size(1, 1), of_size(5000, 2), of_size(5000, 3)]))
        time.sleep(0.1)
        server.stop()
        recorder.go.set()
        assert len(answers(connection, 3)) == 3
        thread.join(5)
        assert connection.recv(1) == b""
    assert not (tmp_path / "e").exists()


def test_an_answer_too_long_for_a_frame_is_said_to_be_so(
    connect, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from intake import wire

    monkeypatch.setattr(wire, "FRAME_SIZE_MAX", 5000)
    gate = SocketGate(tmp_path / "s")
    assert gate.submit(of_size(10)).count == 10
    recorder.answer_size = 6000
    outcome = gate.submit(of_size(10))
    assert outcome.error is not None
    with pytest.raises(Fault, match="frame"):
        raise wire.fault_of(outcome.error)
    gate.close()
