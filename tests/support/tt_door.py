"""The door on an event loop over a Site's ledger, asked by ASGI messages without a server between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tt_site import Site

from api.app import create_app
from api.door import Door
from api.metrics import Metrics
from intake import wire
from intake.flow import Flow
from intake.gate import LocalGate
from intake.sequencer import Sequencer


class LoopGate:
    """A gate that sequences at once, for coroutines."""

    def __init__(self, site: Site) -> None:
        self._gate = LocalGate(Sequencer(site.log))

    async def submit(self, submission: wire.Submission) -> wire.Outcome:
        return self._gate.submit(submission)


@dataclass(frozen=True)
class Told:
    status: int
    headers: dict[str, str]
    body: bytes


def door_of(site: Site, gate: Any = None, **options: Any) -> Door:
    pool = ThreadPoolExecutor(2)
    meters = Metrics(site.services)
    flow = Flow(site.intake, gate or LoopGate(site), pool)
    return Door(site.services, flow, create_app(site.services, meters), meters, pool, **options)


async def ask(
    door: Door,
    method: str,
    target: str,
    headers: Sequence[tuple[str, str]] = (),
    body: Sequence[bytes] = (),
    *,
    torn: bool = False,
    stall: bool = False,
) -> Told:
    """One request. body comes in these pieces; then it is whole, or torn, or nothing follows for ever."""
    path, _, query = target.partition("?")
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": piece, "more_body": torn or stall or at + 1 < len(body)}
        for at, piece in enumerate(body)
    ] or [{"type": "http.request", "body": b"", "more_body": torn or stall}]
    if torn:
        messages.append({"type": "http.disconnect"})

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await asyncio.sleep(3600)
        raise AssertionError

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "scheme": "http",
        "http_version": "1.1",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode("latin-1"),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 1),
    }
    await door(scope, receive, send)
    assert sent[0]["type"] == "http.response.start"
    return Told(
        sent[0]["status"],
        {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]},
        b"".join(message["body"] for message in sent[1:]),
    )
