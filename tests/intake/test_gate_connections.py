"""The worker's connections to the sequencer: how many there are, and whose answer is read from which."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tt_intake import Ledger, event_statement

from intake import gate as gates
from intake.errors import Busy
from intake.gate import SocketGate
from intake.gate_server import GateServer
from intake.service import Intake, event_typs
from intake.wire import LENGTH, ItemResult, Outcome, decode_frame, encode_answer, submission_of

NOTHING = submission_of([], rollback=False)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path)
    made.register("acme")
    yield made
    made.close()


@pytest.fixture
def gate(ledger: Ledger, tmp_path: Path) -> Iterator[SocketGate]:
    server = GateServer(tmp_path / "s", ledger.sequencer, lambda: None)
    thread = threading.Thread(target=server.serve)
    thread.start()
    made = SocketGate(tmp_path / "s")
    yield made
    made.close()
    server.stop()
    thread.join(10)


def test_threads_that_come_and_go_leave_no_connection_behind(gate: SocketGate) -> None:
    for _ in range(20):
        thread = threading.Thread(target=gate.submit, args=(NOTHING,))
        thread.start()
        thread.join()
    assert len(gate._connections) == 1
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(gate.submit, [NOTHING] * 40))
    assert len(gate._connections) <= 4


def test_many_threads_each_read_their_own_answer(ledger: Ledger, gate: SocketGate) -> None:
    intake = Intake(ledger.reader, gate, ledger.clock)

    def submit(serial: int) -> tuple[bytes, int | None]:
        raw = event_statement(serial)
        (result,) = intake.submit([raw], allowed_typs=event_typs()).results
        return raw, result.seq

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(submit, range(80)))
    for raw, seq in answers:
        assert seq is not None
        assert ledger.reader.read_statement(seq) == raw


Script = Callable[[socket.socket], None]


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., SocketGate]]:
    """A gate to a sequencer that does, connection after connection, what a test says."""
    monkeypatch.setattr(gates, "ANSWER_TIMEOUT_S", 3)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    listener.settimeout(5)
    gate = SocketGate(tmp_path / "s")
    threads: list[threading.Thread] = []

    def run(scripts: tuple[Script, ...]) -> None:
        for script in scripts:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):  # the gate may have hung up
                script(connection)

    def start(*scripts: Script) -> SocketGate:
        threads.append(threading.Thread(target=run, args=(scripts,)))
        threads[0].start()
        return gate

    yield start
    gate.close()
    for thread in threads:
        thread.join(10)
    listener.close()


def read_frame(connection: socket.socket) -> int:
    """Read one submission; its number, which the answer must bring back."""
    (size,) = LENGTH.unpack(connection.recv(LENGTH.size, socket.MSG_WAITALL))
    (submission,) = decode_frame(connection.recv(size, socket.MSG_WAITALL))
    return submission.number


def answer(tree_size: int, results: int = 0, number: int = 1) -> bytes:
    placed = [ItemResult("appended", 7, bytes(32))] * results
    return encode_answer([Outcome(each=placed, tree_size=tree_size, number=number)])


def test_an_answer_that_comes_too_late_is_nobodys(
    scripted: Callable[..., SocketGate], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "ANSWER_TIMEOUT_S", 0.05)
    gave_up = threading.Event()

    def late(connection: socket.socket) -> None:
        read_frame(connection)
        gave_up.wait(5)
        with pytest.raises(BrokenPipeError):
            connection.sendall(answer(1))

    def prompt(connection: socket.socket) -> None:
        connection.sendall(answer(2, number=read_frame(connection)))

    gate = scripted(late, prompt)
    with pytest.raises(Busy):
        gate.submit(NOTHING)
    gave_up.set()
    assert gate.submit(NOTHING).tree_size == 2


def test_an_interrupt_between_question_and_answer_ends_the_connection(
    scripted: Callable[..., SocketGate], monkeypatch: pytest.MonkeyPatch
) -> None:
    def one(connection: socket.socket) -> None:
        connection.sendall(answer(1, number=read_frame(connection)))

    def two(connection: socket.socket) -> None:
        connection.sendall(answer(2, number=read_frame(connection)))

    gate = scripted(one, two)
    with monkeypatch.context() as patch:
        patch.setattr(gates, "_receive_frame", lambda *_: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(MemoryError):
            gate.submit(NOTHING)
    assert gate.submit(NOTHING).tree_size == 2


@pytest.mark.parametrize(
    "stray", [b"", b"\x00", answer(9)], ids=["closed", "a stray byte", "a second answer"]
)
def test_an_idle_connection_that_is_not_quiet_is_not_used_again(
    scripted: Callable[..., SocketGate], stray: bytes
) -> None:
    said = threading.Event()

    def two_answers(connection: socket.socket) -> None:
        connection.sendall(answer(1, number=read_frame(connection)))
        connection.sendall(stray)
        if stray:
            said.set()
            connection.recv(1)
        connection.close()
        said.set()

    def prompt(connection: socket.socket) -> None:
        connection.sendall(answer(2, number=read_frame(connection)))

    gate = scripted(two_answers, prompt)
    assert gate.submit(NOTHING).tree_size == 1
    assert said.wait(5)
    assert gate.submit(NOTHING).tree_size == 2, "a restarted sequencer is found without an error in between"
    assert len(gate._connections) == 1


@pytest.mark.parametrize(
    "bad",
    [
        answer(1, results=1),
        answer(1, number=99),
        LENGTH.pack(2**31),
        LENGTH.pack(3) + b"\xc1\xc1\xc1",
        b"\x00",
    ],
)
def test_an_answer_that_is_not_this_submissions_is_busy(
    scripted: Callable[..., SocketGate], bad: bytes
) -> None:
    def script(connection: socket.socket) -> None:
        read_frame(connection)
        connection.sendall(bad)

    gate = scripted(script)
    with pytest.raises(Busy):
        gate.submit(NOTHING)


def test_a_sequencer_without_descriptors_goes_on_serving(
    ledger: Ledger, gate: SocketGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gate.submit(NOTHING).error is None
    refusals = iter([errno.EMFILE, errno.ECONNABORTED])
    accept = socket.socket.accept

    def failing(listener: socket.socket) -> object:
        for number in refusals:
            raise OSError(number, "refused by the test")
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", failing)
    with ThreadPoolExecutor(3) as pool:
        assert all(outcome.error is None for outcome in pool.map(gate.submit, [NOTHING] * 30))
