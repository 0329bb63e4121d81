"""The workers' end of the gate on an event loop: whose answer is whose, and what a lost connection costs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tt_intake import Ledger, event_statement

from intake import pipelined
from intake.errors import Busy
from intake.gate_server import GateServer
from intake.pipelined import PipelinedGate
from intake.prepare import prepare
from intake.service import event_typs
from intake.wire import LENGTH, ItemResult, Outcome, Submission, decode_frame, encode_answer, submission_of

NOTHING = submission_of([], rollback=False)
Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path)
    made.register("acme")
    yield made
    made.close()


async def frames(reader: asyncio.StreamReader) -> AsyncIterator[list[Submission]]:
    while True:
        try:
            (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            yield decode_frame(await reader.readexactly(size))
        except asyncio.IncompleteReadError:
            return


def outcome(submission: Submission, **changes: object) -> Outcome:
    """An answer whose tree size is the submission's number: whoever asked can tell it is theirs."""
    return msgspec.structs.replace(Outcome(number=submission.number, tree_size=submission.number), **changes)


async def serve(path: Path, *peers: Peer) -> asyncio.AbstractServer:
    """A sequencer that does, connection after connection, what a test says; the last goes on."""
    left = list(peers)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await (left.pop(0) if len(left) > 1 else left[0])(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    return await asyncio.start_unix_server(connected, str(path))


async def answers_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async for submissions in frames(reader):
        writer.write(encode_answer([outcome(one) for one in submissions]))


def test_what_is_ready_in_one_turn_of_the_loop_leaves_in_one_frame(tmp_path: Path) -> None:
    sizes: list[int] = []

    async def counts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for submissions in frames(reader):
            sizes.append(len(submissions))
            writer.write(encode_answer([outcome(one) for one in submissions]))

    async def run() -> None:
        gate = PipelinedGate(tmp_path / "s")
        async with await serve(tmp_path / "s", counts):
            await gate.submit(NOTHING)
            await asyncio.gather(*(gate.submit(NOTHING) for _ in range(50)))
            gate.close()

    asyncio.run(run())
    assert sizes == [1, 50]


def test_answers_in_another_order_and_in_other_frames_find_who_asked(tmp_path: Path) -> None:
    async def backwards(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for submissions in frames(reader):
            for one in reversed(submissions):
                for byte in encode_answer([outcome(one)]):
                    writer.write(bytes([byte]))
                    await writer.drain()

    async def run() -> list[Outcome]:
        gate = PipelinedGate(tmp_path / "s")
        async with await serve(tmp_path / "s", backwards):
            try:
                return await asyncio.gather(*(gate.submit(NOTHING) for _ in range(20)))
            finally:
                gate.close()

    answers = asyncio.run(run())
    assert [answer.tree_size for answer in answers] == list(range(1, 21))


def test_what_a_lost_sequencer_did_not_answer_is_asked_once_more(tmp_path: Path) -> None:
    seen: list[list[int]] = []

    async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for submissions in frames(reader):
            seen.append([one.number for one in submissions])
            writer.write(encode_answer([outcome(submissions[0])]))
            await writer.drain()
            return

    async def run() -> list[Outcome]:
        gate = PipelinedGate(tmp_path / "s")
        async with await serve(tmp_path / "s", ends, answers_all):
            try:
                return await asyncio.gather(*(gate.submit(NOTHING) for _ in range(5)))
            finally:
                gate.close()

    answers = asyncio.run(run())
    assert seen == [[1, 2, 3, 4, 5]]
    assert [answer.tree_size for answer in answers] == [1, 2, 3, 4, 5]


async def ends_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async for _ in frames(reader):
        return


async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async for _ in frames(reader):
        pass


def says(*frames_of: Callable[[Submission], bytes]) -> Peer:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for submissions in frames(reader):
            for frame in frames_of:
                writer.write(frame(submissions[0]))

    return peer


PLACED = ItemResult("appended", 7, bytes(32))


@pytest.mark.parametrize(
    "peer",
    [
        ends_at_once,
        says_nothing,
        says(lambda one: encode_answer([outcome(one, number=99)])),
        says(lambda one: encode_answer([outcome(one, each=[PLACED])])),
        says(lambda one: LENGTH.pack(2**31)),
        says(lambda one: LENGTH.pack(3) + b"\xc1\xc1\xc1"),
        says(lambda one: b"\x00"),
    ],
    ids=["ends", "silent", "another number", "another count", "too long", "not MessagePack", "half a length"],
)
def test_a_sequencer_that_does_not_answer_this_is_busy(tmp_path: Path, peer: Peer) -> None:
    async def run() -> None:
        gate = PipelinedGate(tmp_path / "s", answer_timeout_s=0.3)
        async with await serve(tmp_path / "s", peer):
            with pytest.raises(Busy):
                await gate.submit(NOTHING)
            gate.close()

    asyncio.run(run())


def test_a_sequencer_that_is_away_is_busy_and_found_again(tmp_path: Path) -> None:
    async def run() -> None:
        gate = PipelinedGate(tmp_path / "s")
        with pytest.raises(Busy, match="not running"):
            await gate.submit(NOTHING)
        async with await serve(tmp_path / "s", answers_all):
            assert (await gate.submit(NOTHING)).error is None
            gate.close()

    asyncio.run(run())


def test_who_asked_and_went_away_disturbs_nobody(tmp_path: Path) -> None:
    async def run() -> None:
        gate = PipelinedGate(tmp_path / "s")
        async with await serve(tmp_path / "s", answers_all):
            gone = asyncio.create_task(gate.submit(NOTHING))
            await asyncio.sleep(0)
            gone.cancel()
            assert (await gate.submit(NOTHING)).tree_size == 2
            gate.close()

    asyncio.run(run())


def test_no_more_frames_are_under_way_than_the_bound(tmp_path: Path) -> None:
    seen: list[int] = []

    async def run() -> None:
        go = asyncio.Event()

        async def holds(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async for submissions in frames(reader):
                seen.append(len(submissions))
                if len(seen) >= pipelined.FRAMES_UNDER_WAY_MAX:
                    await go.wait()
                    break
            writer.write(encode_answer([outcome(one) for one in []]))
            await says_nothing(reader, writer)

        gate = PipelinedGate(tmp_path / "s")
        async with await serve(tmp_path / "s", holds):
            asked = []
            for _ in range(8):
                asked.append(asyncio.create_task(gate.submit(NOTHING)))
                await asyncio.sleep(0.01)
            assert len(seen) == pipelined.FRAMES_UNDER_WAY_MAX
            go.set()
            gate.close()
            for task in asked:
                with pytest.raises(Busy):
                    await task

    asyncio.run(run())


def test_the_real_sequencer_answers_a_crowd_each_its_own(ledger: Ledger, tmp_path: Path) -> None:
    server = GateServer(tmp_path / "g", ledger.sequencer, lambda: None)
    thread = threading.Thread(target=server.serve)
    thread.start()
    registry = ledger.intake.registry()
    statements = [event_statement(serial) for serial in range(60)]

    async def run() -> list[Outcome]:
        gate = PipelinedGate(tmp_path / "g")
        try:
            return await asyncio.gather(
                *(
                    gate.submit(
                        submission_of([prepare(raw, registry, event_typs(), ledger.clock())], rollback=True)
                    )
                    for raw in statements
                )
            )
        finally:
            gate.close()

    try:
        answers = asyncio.run(run())
    finally:
        server.stop()
        thread.join(10)
    for raw, answer in zip(statements, answers, strict=True):
        (result,) = answer.results
        assert result.seq is not None
        assert ledger.reader.read_statement(result.seq) == raw
