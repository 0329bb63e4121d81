"""Step 2 of 9: `POST /statements`, without a framework: read what is asked, and say what became of it.

api.door serves it on the event loop, api.partners through Flask. Bytes are handed on as they came: what is
verified is what was sent, and nothing here reads inside it.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson

from api.answers import JSON, Answer
from api.errors import LineFault, RecordDamaged, RequestMalformed, StatementsRefused
from api.problems import CREATED, FAULTS_SHOWN_MAX, OK, line_faults
from api.reading import stored
from api.receipts import ReceiptWriter
from api.requests import (
    JOSE,
    JWS_LINES,
    check_arguments,
    check_length,
    check_media_type,
    content_length,
    query_arguments,
    read_flag,
    split_lines,
)
from api.services import Services
from api.unsigned import UnsignedBody, UnsignedType, is_unsigned_type, kind_of
from intake.service import Behaviour, LineResult, Outcome
from keys import base64url
from keys.envelope import STATEMENT_SIZE_MAX
from ledger.errors import NotInLog

PATH = "/statements"
BEHAVIOUR_HEADER = "GS1-Capture-Error-Behaviour"
DIGEST_TEXT_SIZE = 43  # 32 bytes in base64url

Header = Callable[[str], str | None]  # a header's value by its name, in any case


@dataclass(frozen=True, slots=True)
class Submission:
    """What the request says about itself, before its body is read.

    length  of the body, as announced: at least 1 byte, and within its limit
    """

    receipts: bool
    behaviour: Behaviour
    is_single: bool
    length: int
    lines_max: int

    def lines(self, body: bytes) -> list[bytes]:
        """The statements of a body of that length."""
        return [body] if self.is_single else split_lines(body, self.lines_max)


def read_head(query: str, header: Header, services: Services) -> Submission:
    """Read and judge all that stands before the body. Raises what is wrong with it, the query first."""
    limits = services.limits
    if query:
        receipts = read_flag(check_arguments(query_arguments(query), ("receipts",)), "receipts")
    else:
        receipts = False
    behaviour = read_behaviour(header(BEHAVIOUR_HEADER))
    is_single = check_signed_type((JOSE, JWS_LINES), header, services, PATH) == JOSE
    size_max = STATEMENT_SIZE_MAX if is_single else limits.request_size_max
    length = check_length(content_length(header), size_max)
    return Submission(receipts, behaviour, is_single, length, limits.lines_max)


def check_signed_type(taken: Collection[str], header: Header, services: Services, path: str) -> str:
    """The body's media type, one of those taken here; plain EPCIS is told how to be signed."""
    given = (header("Content-Type") or "").partition(";")[0].strip().lower()
    if given not in taken and is_unsigned_type(given):
        raise UnsignedType(given, services.origin, services.base_url, path)
    return check_media_type(taken, header)


def require_signed(body: bytes, services: Services, path: str) -> None:
    """Raise UnsignedBody for plain JSON or XML under the name of a statement."""
    kind = kind_of(body)
    if kind is not None:
        raise UnsignedBody(kind, services.origin, services.base_url, path)


def read_behaviour(given: str | None) -> Behaviour:
    """What one bad line does to the others. The header and its values are those of EPCIS 2.0."""
    behaviour = "rollback" if given is None else given.strip()
    if behaviour not in ("rollback", "proceed"):
        raise RequestMalformed(
            "http.header.error-behaviour",
            f"{BEHAVIOUR_HEADER} is {behaviour[:40]!r}; it must be rollback or proceed",
        )
    return cast(Behaviour, behaviour)


def require_accepted(outcome: Outcome, behaviour: Behaviour) -> None:
    """Raise StatementsRefused if a refused line keeps the others from being appended."""
    if behaviour == "rollback":
        faults = [LineFault(result.line, fault) for result in outcome.results for fault in result.faults]
        if faults:
            raise StatementsRefused(faults)


def read_receipts(services: Services, outcome: Outcome) -> dict[int, bytes]:
    """The receipts of every line that has a place, by position. Reads the ledger."""
    seqs = [result.seq for result in outcome.results if result.seq is not None]
    if not seqs:
        return {}
    try:
        with stored():
            return ReceiptWriter(services.reader, outcome.checkpoint, outcome.tree_size).write(seqs)
    except NotInLog as fault:
        # They are: the ledger has just said so. What is wrong with them is nothing that was sent.
        raise RecordDamaged("record.damaged", f"the stored record does not hold: {fault.detail}") from fault


def answer(outcome: Outcome, receipts: dict[int, bytes]) -> Answer:
    """What became of every line. About 1 µs for a line that was appended and takes no receipt with it."""
    results = outcome.results
    statuses = {result.status for result in results}
    status = CREATED if "appended" in statuses and "refused" not in statuses else OK
    lines = _plain_lines(results) if statuses <= {"appended"} and not receipts else _lines(results, receipts)
    checkpoint = orjson.dumps(outcome.checkpoint.decode() or None)
    return Answer(status, b'{"results":[%b],"checkpoint":%b}' % (",".join(lines).encode(), checkpoint), JSON)


def _plain_lines(results: Sequence[LineResult]) -> Iterable[str]:
    """Lines that were all appended: everything in them is digits and base64url; nothing needs escaping."""
    # A byte between any two digests makes them 33 bytes, which is 44 characters without a remainder: all are
    # encoded in one go, and the 44th character is the one that the byte between them left.
    together = urlsafe_b64encode(b"\0".join([result.digest or b"" for result in results])).decode()
    return [
        f'{{"line":{result.line},"status":"appended","seq":{result.seq},'
        f'"digest":"{together[at : at + DIGEST_TEXT_SIZE]}","duplicate":false}}'
        for at, result in zip(range(0, len(together), DIGEST_TEXT_SIZE + 1), results, strict=True)
    ]


def _lines(results: Sequence[LineResult], receipts: dict[int, bytes]) -> Iterable[str]:
    return (orjson.dumps(_line(result, receipts)).decode() for result in results)


def _line(result: LineResult, receipts: dict[int, bytes]) -> dict[str, Any]:
    members: dict[str, Any] = {"line": result.line, "status": result.status}
    if result.seq is not None and result.digest is not None:
        members["seq"] = result.seq
        members["digest"] = base64url.encode(result.digest)
        members["duplicate"] = result.status == "duplicate"
        if result.seq in receipts:
            members["receipt"] = receipts[result.seq].decode()
    elif result.faults:
        shown = [LineFault(result.line, fault) for fault in result.faults]
        members["faults"] = line_faults(shown[:FAULTS_SHOWN_MAX])
    return members
