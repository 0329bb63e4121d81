"""Step 7 of 9: carry a query to a time-stamp authority over HTTP (RFC 3161, section 3.4).

Every way in which the authority can fail ends as AuthorityFailed, which a round survives. Nothing is
believed here: whether the answer is a time-stamp, and the right one, is for anchoring.rfc3161 to say.
"""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2

from anchoring.errors import AuthorityFailed
from anchoring.rfc3161 import RESPONSE_SIZE_MAX, TokenVerifier

QUERY_TYPE = "application/timestamp-query"
REPLY_TYPE = "application/timestamp-reply"
TIMEOUT_S = 20.0  # for the whole exchange; authorities answer within a second or two


@dataclass(frozen=True, slots=True)
class HttpAuthority:
    """A time-stamp authority at a URL, with the roots that its tokens must lead to."""

    name: str  # what the operator calls it; goes into the anchor statement
    url: str
    verifier: TokenVerifier
    timeout_s: float = TIMEOUT_S
    transport: httpx2.AsyncBaseTransport | None = None  # None: the network

    def ask(self, query: bytes) -> bytes:
        """POST the query and return the body of the answer, or raise AuthorityFailed.

        Takes at most timeout_s, however slowly the authority drips: one deadline covers the whole
        exchange, where a timeout per read would start again with each byte.
        """
        try:
            return asyncio.run(self._exchange(query))
        except TimeoutError as error:
            raise AuthorityFailed(
                "authority.timeout", f"{self.url} gave no whole answer within {self.timeout_s:g} s"
            ) from error
        except AuthorityFailed:
            raise
        except Exception as error:
            # A client has many ways to fail (names, sockets, TLS, HTTP); to a round they are one.
            detail = f"{self.url} cannot be reached: {type(error).__name__}: {error}"
            raise AuthorityFailed("authority.unreachable", detail[:300]) from error

    async def _exchange(self, query: bytes) -> bytes:
        async with (
            asyncio.timeout(self.timeout_s),
            httpx2.AsyncClient(
                timeout=self.timeout_s,
                transport=self.transport,
                # A proxy has no business between two programs on one machine.
                trust_env=not _is_loopback(self.url),
            ) as client,
            client.stream(
                "POST",
                self.url,
                content=query,
                headers={"Content-Type": QUERY_TYPE, "Accept": REPLY_TYPE, "Accept-Encoding": "identity"},
            ) as response,
        ):
            if response.status_code != 200:
                raise AuthorityFailed(
                    "authority.status", f"{self.url} answered {response.status_code}, not 200"
                )
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if media_type != REPLY_TYPE:
                raise AuthorityFailed(
                    "authority.media-type", f"{self.url} sent {media_type[:80]!r}, not {REPLY_TYPE}"
                )
            body = bytearray()
            # Raw: a compressed body could be far larger than what is counted here.
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > RESPONSE_SIZE_MAX:
                    raise AuthorityFailed(
                        "authority.size", f"{self.url} sent more than {RESPONSE_SIZE_MAX} bytes"
                    )
            return bytes(body)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
