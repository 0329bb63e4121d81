"""Step 1 of 9, on the wire. After the outbox, before the api's door.

One request at a time, with bounds on time and size in both directions. Every way in which
it can end is told apart: an answer, a refusal that names its lines, "not now", or bytes that
no ledger says. "Not now" includes a connection that broke after the request left: then
nobody knows whether the ledger committed, and sending the same bytes again finds out, for the
ledger answers a statement that it holds with the first receipt.
"""

from __future__ import annotations

import base64
import binascii
import email.utils
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2

from client.errors import AnswerMalformed, InputMalformed, LedgerUnreachable, LineFault, RequestRefused
from keys import base64url
from keys.errors import Fault

JOSE = "application/jose"
JWS_LINES = "application/vnd.tallystick.jws-lines"
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = (
    60.0  # a full batch is judged and made durable in well under a second; this is for slow lines
)
ANSWER_TIME_MAX_S = 300.0  # a server that trickles one byte a minute is down
ANSWER_SIZE_BASE = 1 << 20
ANSWER_SIZE_PER_LINE = 70_000  # a receipt is at most 64 KiB
RETRY_AFTER_MAX_S = 3600.0
FAULTS_MAX = 10_000
DETAIL_LENGTH_MAX = 500
USER_AGENT = "tallystick-client/1"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """What the ledger says about one line; nothing of it is believed before its receipt verified."""

    line: int
    seq: int
    digest: bytes  # of the statement the ledger holds: ours, or the first with this content
    duplicate: bool
    receipt: bytes | None


@dataclass(frozen=True, slots=True)
class SubmitAnswer:
    """The answer to a request that was accepted whole; one LineAnswer for each line, in order."""

    results: tuple[LineAnswer, ...]
    checkpoint: bytes | None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to keep asking a ledger that does not answer, and how often."""

    total_s: float = 60.0  # 0 asks once
    first_s: float = 0.5
    cap_s: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = field(default=random.random)

    def call(
        self,
        attempt: Callable[[], T],
        on_wait: Callable[[LedgerUnreachable, float], None] = lambda _fault, _wait_s: None,
    ) -> T:
        """Try until it works or patience ends; then raise the last LedgerUnreachable.

        Waits double up to a cap and are spread by jitter, so that a thousand partners do not come
        back in the same instant. A Retry-After is obeyed; one beyond our patience ends it at once.
        """
        give_up_at = self.monotonic() + self.total_s
        backoff_s = self.first_s
        while True:
            try:
                return attempt()
            except LedgerUnreachable as e:
                wait_s = backoff_s * (0.5 + self.jitter() / 2)
                if e.retry_after_s is not None:
                    wait_s = max(wait_s, e.retry_after_s)
                if self.monotonic() + wait_s > give_up_at:
                    raise
                on_wait(e, wait_s)
                self.sleep(wait_s)
                backoff_s = min(backoff_s * 2, self.cap_s)


def require_url(url: str) -> str:
    """The ledger's address without its last slash, or InputMalformed."""
    try:
        parts = urlsplit(url)
    except ValueError as e:
        raise InputMalformed("url", f"{url!r} is no address: {e}") from e
    if not url.isprintable() or " " in url or parts.username is not None:
        raise InputMalformed("url", "a ledger's address holds no spaces, and no user name or password")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InputMalformed(
            "url", f"{url!r} is no ledger's address; expected https://host or https://host/path"
        )
    return url.rstrip("/")


def _retry_after_s(value: str | None, now: datetime) -> float | None:
    """Seconds from a Retry-After header: a number, or a date; None if absent or unreadable."""
    if value is None:
        return None
    if value.strip().isdecimal():
        seconds = float(value)
    else:
        try:
            moment = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (moment.astimezone(UTC) - now).total_seconds()
    return min(max(seconds, 0.0), RETRY_AFTER_MAX_S)


def _text(value: Any, otherwise: str = "") -> str:
    """A string from elsewhere, cut to a length and without control characters: it goes to a terminal."""
    if not isinstance(value, str):
        return otherwise
    return "".join(c if c.isprintable() else " " for c in value[:DETAIL_LENGTH_MAX])


class LedgerDoor:
    """The partner's end of one ledger's HTTP interface.

    url        the ledger's address, e.g. https://ledger.example
    transport  given by tests that put a real application behind it without a socket
    """

    def __init__(
        self,
        url: str,
        *,
        transport: httpx2.BaseTransport | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self.url = require_url(url)
        self._client = httpx2.Client(
            transport=transport,
            timeout=httpx2.Timeout(read_timeout_s, connect=connect_timeout_s),
            # A statement goes where its owner sent it, and nowhere else.
            follow_redirects=False,
            headers={"User-Agent": USER_AGENT},
        )

    def __enter__(self) -> LedgerDoor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    # What a partner asks ---------------------------------------------------------------------

    def submit(self, lines: Sequence[bytes], *, proceed: bool = False) -> SubmitAnswer:
        """Hand over signed statements; all are appended in this order, or none is.

        Raises RequestRefused with the faulty lines, LedgerUnreachable, or AnswerMalformed.
        """
        answer = self._exchange(
            "POST",
            "/statements?receipts=true",
            content=b"".join(line + b"\n" for line in lines),
            headers={
                "Content-Type": JWS_LINES,
                "Accept": "application/json, application/problem+json",
                "GS1-Capture-Error-Behaviour": "proceed" if proceed else "rollback",
            },
            size_max=ANSWER_SIZE_BASE + ANSWER_SIZE_PER_LINE * len(lines),
        )
        return _read_submit_answer(answer, len(lines))

    def register(self, statement: bytes) -> SubmitAnswer:
        """Hand over one key statement (register, rotate, revoke)."""
        answer = self._exchange(
            "POST",
            "/keys?receipts=true",
            content=statement,
            headers={"Content-Type": JOSE, "Accept": "application/json, application/problem+json"},
            size_max=ANSWER_SIZE_BASE + ANSWER_SIZE_PER_LINE,
        )
        return _read_submit_answer(answer, 1)

    def read_statement(self, seq: int) -> bytes:
        """The exact bytes of the statement at this position, if we may see it."""
        raw = self._exchange("GET", f"/statements/{seq}", size_max=2 << 20)
        return raw.removesuffix(b"\n")

    def read_entry(self, seq: int) -> bytes:
        """The canonical bytes of the entry at this position."""
        return self._exchange("GET", f"/entries/{seq}", size_max=65_536)

    def read_checkpoint(self) -> bytes:
        """The newest published checkpoint: up to a second older than one inside an answer."""
        return self._exchange("GET", "/checkpoint", size_max=65_536)

    def read_consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """The hashes that prove the tree of new_size to begin with the tree of old_size."""
        raw = self._exchange("GET", f"/proof/consistency?old={old_size}&new={new_size}", size_max=65_536)
        return _read_path(_read_json(raw))

    # How it travels --------------------------------------------------------------------------

    def _exchange(
        self,
        method: str,
        path: str,
        *,
        size_max: int,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """One request, one bounded answer; the body of a 2xx."""
        give_up_at = time.monotonic() + ANSWER_TIME_MAX_S
        try:
            with self._client.stream(
                method, self.url + path, content=content, headers=dict(headers or {})
            ) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > size_max:
                        raise AnswerMalformed(
                            "answer.size", f"{self.url} answers with more than {size_max} bytes"
                        )
                    if time.monotonic() > give_up_at:
                        raise LedgerUnreachable("http.slow", f"{self.url} answers too slowly")
                status, answer_headers = response.status_code, response.headers
        except httpx2.TimeoutException as e:
            raise LedgerUnreachable("http.timeout", f"{self.url} did not answer in time") from e
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL, httpx2.LocalProtocolError) as e:
            raise InputMalformed("url", f"{self.url} cannot be asked: {e}") from e
        except httpx2.DecodingError as e:
            raise AnswerMalformed("answer.encoding", f"{self.url} answers with a broken encoding") from e
        except httpx2.TransportError as e:
            raise LedgerUnreachable("http.connection", f"no connection to {self.url} ({_reason(e)})") from e
        if 200 <= status < 300:
            return bytes(body)
        raise self._refusal(status, answer_headers, bytes(body))

    def _refusal(self, status: int, headers: httpx2.Headers, body: bytes) -> Fault:
        problem = _read_problem(headers.get("Content-Type", ""), body)
        said = _text(problem.get("detail")) or _text(problem.get("title")) if problem else ""
        code = _text(problem.get("code")) if problem else ""
        if status >= 500 or status in (408, 425, 429):
            return LedgerUnreachable(
                code or f"http.{status}",
                f"{self.url} answers {status}" + (f": {said}" if said else ""),
                retry_after_s=_retry_after_s(headers.get("Retry-After"), datetime.now(UTC)),
            )
        if problem is None and status != 413:
            return AnswerMalformed(
                f"http.{status}", f"{self.url} answers {status} and no ledger's words: is the address right?"
            )
        return RequestRefused(status, _read_faults(problem or {}, code or f"http.{status}", said))


def _reason(error: Exception) -> str:
    """What the operating system said, in one short piece."""
    text = _text(str(error)).strip() or type(error).__name__
    return text[text.rfind("] ") + 2 :] if text.startswith("[Errno") else text


def _read_json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as e:
        raise AnswerMalformed("answer.json", "the answer is not JSON: is this a ledger's address?") from e


def _read_problem(content_type: str, body: bytes) -> dict[str, Any] | None:
    """The problem details (RFC 9457) of a refusal; None if it is something else."""
    if content_type.partition(";")[0].strip().lower() not in ("application/problem+json", "application/json"):
        return None
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return problem if isinstance(problem, dict) else None


def _read_faults(problem: dict[str, Any], code: str, said: str) -> list[LineFault]:
    faults = []
    listed = problem.get("faults")
    for fault in (listed if isinstance(listed, list) else [])[:FAULTS_MAX]:
        if isinstance(fault, dict):
            line = fault.get("line")
            faults.append(
                LineFault(
                    line=line if type(line) is int and line >= 0 else None,
                    code=_text(fault.get("code"), code) or code,
                    detail=_text(fault.get("detail"), said) or said,
                    pointer=_text(fault.get("pointer")),
                    fix=_text(fault.get("fix")),
                )
            )
    return faults or [
        LineFault(None, code, said or "refused without a reason", _text(problem.get("pointer")))
    ]


def _require_size(value: Any, what: str) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise AnswerMalformed("answer.results", f"{what} in the answer is not a position")
    return value


def _read_path(answer: Any) -> tuple[bytes, ...]:
    path = answer.get("path") if isinstance(answer, dict) else None
    if not isinstance(path, list) or len(path) > 64 or not all(isinstance(item, str) for item in path):
        raise AnswerMalformed("answer.path", "the answer holds no proof path")
    try:
        return tuple(base64.b64decode(item, validate=True) for item in path)
    except (binascii.Error, ValueError) as e:
        raise AnswerMalformed("answer.path", "the proof path is not base64") from e


def _read_line_answer(result: Any, line: int) -> LineAnswer:
    if not isinstance(result, dict) or result.get("line") != line:
        raise AnswerMalformed("answer.results", f"the answer says nothing about line {line}")
    receipt, digest = result.get("receipt"), result.get("digest")
    try:
        digest_bytes = base64url.decode(digest) if isinstance(digest, str) else b""
    except Fault:
        digest_bytes = b""
    if len(digest_bytes) != 32:
        raise AnswerMalformed("answer.results", f"the digest in the answer about line {line} is none")
    return LineAnswer(
        line=line,
        seq=_require_size(result.get("seq"), "seq"),
        digest=digest_bytes,
        duplicate=result.get("duplicate") is True,
        receipt=receipt.encode("utf-8", "surrogatepass") if isinstance(receipt, str) else None,
    )


def _read_submit_answer(raw: bytes, count: int) -> SubmitAnswer:
    answer = _read_json(raw)
    results = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(results, list) or len(results) != count:
        raise AnswerMalformed("answer.results", f"the answer does not speak of the {count} statement(s) sent")
    checkpoint = answer.get("checkpoint")
    return SubmitAnswer(
        results=tuple(_read_line_answer(result, line) for line, result in enumerate(results)),
        checkpoint=checkpoint.encode("utf-8", "surrogatepass") if isinstance(checkpoint, str) else None,
    )
