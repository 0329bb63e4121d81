"""Step 8 of 9: one report to one receiver, over HTTP, within bounds.

    GS1-Signature: t=1795176000,v1=<hex of HMAC-SHA256(signatureToken, "1795176000." + body)>
    Tallystick-Delivery: <the same for every repeat of this report>

The name is looked up here, all its addresses are judged (subscriptions.targets), and the connection is made
to one of those addresses as such: between judging and connecting, no name is asked again. Redirects are
answers like any other that is not 2xx. A proxy that the environment names is not used: it would connect to
what nobody judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2

from keys.errors import NotYet
from subscriptions.errors import TargetRefused
from subscriptions.targets import Address, Target, TargetRules, look_up

RESPONSE_SIZE_MAX = 64 * 1024  # of the body, which says nothing that is needed
RESPONSE_TIMEOUT_S = 1.0  # for that body, once the status is known
ATTEMPTS_MAX = 3  # addresses of one name
RETRY_AFTER_MAX_S = 3600.0
SUCCESS = range(200, 300)

# The client logs every URL, whose path and query are the receiver's secret; what fails is told in our words.
for _name in ("httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)

Resolve = Callable[[str, int], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect and agree on TLS, between two bytes, and for everything together."""

    connect_s: float = 5.0
    read_s: float = 15.0
    total_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said."""

    status: int
    retry_after_s: float | None = None


class DeliveryFailed(NotYet):
    """Nobody answered, or not in time."""


def sign(token: str, body: bytes, now: int) -> str:
    """The value of GS1-Signature. now: Unix seconds; a receiver refuses what is too old."""
    mac = hmac.new(token.encode(), b"%d." % now + body, hashlib.sha256)
    return f"t={now},v1={mac.hexdigest()}"


def system_resolver(executor: Executor) -> Resolve:
    """Asks the system for a name's addresses. A name server that hangs holds a thread of this executor."""

    async def resolve(host: str, port: int) -> list[str]:
        return await asyncio.get_running_loop().run_in_executor(executor, look_up, host, port)

    return resolve


class Sender:
    """POSTs to receivers. Belongs to one event loop.

    tls  whose certificates are believed; None: those that the system does
    """

    def __init__(
        self,
        rules: TargetRules,
        resolve: Resolve,
        timeouts: Timeouts | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._rules = rules
        self._resolve = resolve
        self._timeouts = timeouts or Timeouts()
        self._tls = tls or ssl.create_default_context()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send it, and say what was answered. Raises TargetRefused before anything was sent, DeliveryFailed.

        Never takes longer than the whole timeout, however slowly names, connections and answers come.
        """
        try:
            async with asyncio.timeout(self._timeouts.total_s):
                target = self._rules.parse(url)
                addresses = self._rules.verify(target, await self._addresses(target))
                return await self._post_to_any(target, addresses, body, headers)
        except (TargetRefused, DeliveryFailed):
            raise
        except TimeoutError as error:
            raise DeliveryFailed(
                "delivery.timeout", f"no answer within {self._timeouts.total_s:g} s"
            ) from error
        except Exception as error:
            # A client has many ways to fail (sockets, TLS, HTTP); to a subscription they are one. Its
            # words may repeat the URL, which can hold a secret.
            raise DeliveryFailed("delivery.unreachable", f"{type(error).__name__}") from error

    async def _addresses(self, target: Target) -> list[str]:
        if ":" in target.host or target.host.replace(".", "").isdigit():
            return [target.host]
        return await self._resolve(target.host, target.port)

    async def _post_to_any(
        self, target: Target, addresses: tuple[Address, ...], body: bytes, headers: Mapping[str, str]
    ) -> Answer:
        tried = addresses[:ATTEMPTS_MAX]
        for address in tried[:-1]:
            with contextlib.suppress(httpx2.ConnectError, httpx2.ConnectTimeout):
                return await self._post_to(target, address, body, headers)
        return await self._post_to(target, tried[-1], body, headers)

    async def _post_to(
        self, target: Target, address: Address, body: bytes, headers: Mapping[str, str]
    ) -> Answer:
        timeouts = self._timeouts
        parts = urlsplit(target.url)
        literal = f"[{address}]" if address.version == 6 else str(address)
        async with (
            httpx2.AsyncClient(
                timeout=httpx2.Timeout(timeouts.read_s, connect=timeouts.connect_s),
                verify=self._tls,
                trust_env=False,
                follow_redirects=False,
                http2=False,
            ) as client,
            client.stream(
                "POST",
                parts._replace(netloc=f"{literal}:{target.port}").geturl(),
                content=body,
                headers={
                    "Host": parts.netloc,
                    "User-Agent": "tallystick",
                    "Accept": "*/*",
                    "Accept-Encoding": "identity",
                    "Connection": "close",
                    **headers,
                },
                # The certificate must be the name's, not the address's.
                extensions={"sni_hostname": target.host},
            ) as response,
        ):
            answer = Answer(response.status_code, _retry_after(response.headers.get("Retry-After")))
            # The status has decided. The rest is read for the receiver's sake, who may still be writing.
            with contextlib.suppress(TimeoutError, httpx2.HTTPError):
                async with asyncio.timeout(RESPONSE_TIMEOUT_S):
                    size = 0
                    async for chunk in response.aiter_raw():
                        size += len(chunk)
                        if size > RESPONSE_SIZE_MAX:
                            break
            return answer


def _retry_after(text: str | None) -> float | None:
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 8):
        return None
    return min(float(text), RETRY_AFTER_MAX_S)
