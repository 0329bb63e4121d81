"""What one worker holds is bounded, in bytes, statements and seconds, and all of it is given back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import tt_site
from tt_door import LoopGate, Told, ask, door_of

from api.bounds import Capacity
from api.door import Door
from intake import wire
from intake.flow import SLICE_COUNT

JOSE = ("Content-Type", "application/jose")
LINES = ("Content-Type", "application/vnd.tallystick.jws-lines")


@pytest.fixture
def site(tmp_path):
    made = tt_site.Site(tmp_path)
    yield made
    made.close()


def event(site, serial):
    value = tt_site.object_event(site.clock(), [tt_site.pack_urn(str(serial))], "inspecting")
    return site.sign("acme", value)


def headers(body, kind=JOSE, length=None):
    return [kind, ("Content-Length", str(len(body) if length is None else length))]


def require_nothing_held(door: Door) -> None:
    assert (door.load.size, door.load.statements, door.load.answers, door.load.pooled) == (0, 0, 0, 0)


def require_full(told: Told, code: str = "intake.full") -> None:
    assert told.status == 503
    assert json.loads(told.body)["code"] == code
    assert int(told.headers["retry-after"]) >= 1
    assert told.headers["content-type"] == "application/problem+json"


class SlowGate(LoopGate):
    """Answers when it is let."""

    def __init__(self, site: tt_site.Site) -> None:
        super().__init__(site)
        self.go = asyncio.Event()

    async def submit(self, submission: wire.Submission) -> wire.Outcome:
        await self.go.wait()
        return await super().submit(submission)


@pytest.mark.parametrize("pieces", [1, 3])
def test_beyond_its_statements_a_worker_says_so_and_nothing_is_in_the_ledger(site, pieces):
    size = site.log.head.tree_size

    async def run():
        gate = SlowGate(site)
        door = door_of(site, gate, capacity=Capacity(statements_max=10))
        held = [
            asyncio.create_task(ask(door, "POST", "/statements", headers(body), [body]))
            for body in (event(site, n) for n in range(4))
        ]
        await asyncio.sleep(0.05)
        lines = b"\n".join(event(site, f"b{n}") for n in range(6))
        parts = [
            lines[at::1][: -(-len(lines) // pieces)] for at in range(0, len(lines), -(-len(lines) // pieces))
        ]
        # Six beside four would fit, but a tenth is kept for those who send one.
        require_full(await ask(door, "POST", "/statements", headers(lines, LINES), parts))
        assert door.load.statements == 4
        one = event(site, "one")
        single = asyncio.create_task(ask(door, "POST", "/statements", headers(one), [one]))
        await asyncio.sleep(0.05)
        assert door.load.statements == 5
        gate.go.set()
        told = await asyncio.gather(*held, single)
        require_nothing_held(door)
        return told

    assert [told.status for told in asyncio.run(run())] == [201] * 5
    assert site.log.head.tree_size == size + 5


def test_bytes_are_counted_as_they_come_and_not_as_they_are_announced(site):
    async def run():
        door = door_of(site, capacity=Capacity(size_max=1_000_000))
        stalled = [
            asyncio.create_task(
                ask(door, "POST", "/statements", headers(b"", LINES, 16_000_000), [b"x" * 100], stall=True)
            )
            for _ in range(50)
        ]
        await asyncio.sleep(0.05)
        assert door.load.size == 5_000
        one = event(site, "one")
        assert (await ask(door, "POST", "/statements", headers(one), [one])).status == 201
        require_full(
            await ask(door, "POST", "/statements", headers(b"", LINES, 2_000_000), [b"x" * 100_000] * 20)
        )
        assert door.load.size == 5_000
        for task in stalled:
            task.cancel()
        await asyncio.gather(*stalled, return_exceptions=True)
        require_nothing_held(door)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/statements"), ("POST", "/keys"), ("PUT", "/nothing")]
)
def test_a_body_that_does_not_come_is_408_and_holds_no_thread(site, method, path):
    async def run():
        door = door_of(site, body_timeout_s=0.1)
        told = await ask(door, method, path, headers(b"", JOSE, 100), [b"x"], stall=True)
        assert (told.status, json.loads(told.body)["code"]) == (408, "http.body.slow")
        assert told.headers["x-content-type-options"] == "nosniff"
        require_nothing_held(door)

    asyncio.run(run())


@pytest.mark.parametrize("path", ["/statements", "/keys"])
@pytest.mark.parametrize("body", [[b""], [b"x"], [b"x" * 99]])
def test_a_torn_body_is_400_and_nothing_of_it_is_used(site, path, body):
    async def run():
        door = door_of(site)
        told = await ask(door, "POST", path, headers(b"", JOSE, 100), body, torn=True)
        assert (told.status, json.loads(told.body)["code"]) == (400, "http.body.truncated")
        require_nothing_held(door)

    asyncio.run(run())


@pytest.mark.parametrize("length", [99, 101])
def test_a_body_of_another_length_than_announced_is_400(site, length):
    async def run():
        told = await ask(door_of(site), "POST", "/statements", headers(b"", JOSE, length), [b"x" * 100])
        assert json.loads(told.body)["code"] == "http.body.truncated"

    asyncio.run(run())


def test_a_chunked_body_is_411_and_not_read(site):
    async def run():
        for extra in ([], [("Content-Length", "3")]):
            given = [JOSE, ("Transfer-Encoding", "chunked"), *extra]
            told = await ask(door_of(site), "POST", "/statements", given, [b"abc"], stall=True)
            assert (told.status, json.loads(told.body)["code"]) == (411, "http.body.length")

    asyncio.run(run())


def test_an_answer_that_nobody_reads_is_given_up_and_given_back(site):
    lines = b"\n".join(event(site, n) for n in range(600))

    async def run():
        door = door_of(site, answer_timeout_s=0.1, capacity=Capacity(answers_max=50_000))
        sent: list[dict[str, Any]] = []
        stuck = asyncio.Event()

        async def receive():
            return {"type": "http.request", "body": lines, "more_body": False}

        async def send(message):
            sent.append(message)
            if len(sent) > 2:
                stuck.set()
                await asyncio.sleep(3600)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/statements",
            "query_string": b"receipts=true",
            "headers": [(b"content-type", LINES[1].encode()), (b"content-length", b"%d" % len(lines))],
        }
        reading = asyncio.create_task(door(scope, receive, send))
        await stuck.wait()
        assert door.load.answers > 500_000
        assert door.load.statements == 0, "what waits for a reader keeps nobody from sending"
        # Whoever asks for more of that has to wait; whoever sends statements does not.
        require_full(await ask(door, "GET", "/statements?start=0&end=600"), "http.answers")
        again = [("Content-Type", LINES[1]), ("Content-Length", str(len(lines)))]
        require_full(await ask(door, "POST", "/statements?receipts=true", again, [lines]), "http.answers")
        assert (await ask(door, "GET", "/healthz")).status == 200
        one = event(site, "one")
        assert (await ask(door, "POST", "/statements", headers(one), [one])).status == 201
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        require_nothing_held(door)

    asyncio.run(run())


def test_a_slow_reader_has_so_much_time_and_no_more(site):
    lines = b"\n".join(event(site, n) for n in range(100))

    async def run():
        door = door_of(site, answer_timeout_s=-3.0)  # and a second for each 64 KiB
        sent = 0

        async def receive():
            return {"type": "http.request", "body": lines, "more_body": False}

        async def send(message):
            nonlocal sent
            sent += 1
            if sent > 2:
                await asyncio.sleep(3600)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/statements",
            "query_string": b"receipts=true",
            "headers": [(b"content-type", LINES[1].encode()), (b"content-length", b"%d" % len(lines))],
        }
        await asyncio.wait_for(door(scope, receive, send), 5)
        assert sent <= 3
        require_nothing_held(door)

    asyncio.run(run())


def test_who_sends_one_waits_for_a_slice_of_a_giant_batch_and_not_for_it(site):
    giant = [event(site, f"g{n}") for n in range(12 * SLICE_COUNT)]
    one = event(site, "one")

    async def run():
        door = door_of(site)
        body = b"\n".join(giant)
        batches = [
            asyncio.create_task(ask(door, "POST", "/statements", headers(body, LINES), [body]))
            for _ in range(2)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        started = asyncio.get_running_loop().time()
        assert (await ask(door, "POST", "/statements", headers(one), [one])).status == 201
        waited = asyncio.get_running_loop().time() - started
        assert not any(batch.done() for batch in batches)
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*batches)
        assert waited < (asyncio.get_running_loop().time() - began) / 2

    asyncio.run(run())


def test_a_crowd_before_the_threads_is_turned_away(site):
    async def run():
        door = door_of(site, capacity=Capacity(pooled_max=0))
        require_full(await ask(door, "GET", "/checkpoint"), "http.busy")
        one = event(site, "one")
        assert (await ask(door, "POST", "/statements", headers(one), [one])).status == 201

    asyncio.run(run())
