"""ApiError
├─ RequestMalformed      the request itself cannot be read: a header, an argument, a torn body
│  └─ QueryMalformed     what is asked for cannot be read
├─ RequestSlow           the body did not come in its time
├─ RequestTooLarge       more bytes or more lines than one request may bring
├─ LengthMissing         a body that does not say how long it is: nobody could tell if it was torn
├─ MediaTypeNotTaken     the body is of a kind that this door does not read
├─ MethodNotTaken        the path is right and the method is not
├─ NothingHere           no such path, no such tile, no such entry
│  └─ NoSuchResource     no event here has such a value: EPCIS's own name for it
├─ NotAcceptable         the version or format that the caller wants is not spoken here
├─ EventExists           POST /events brought an event that is in the ledger already
├─ Erased                it was here, and its content was erased in the logged way
├─ Withheld              it is here, and this caller may not read it
├─ RecordDamaged         what is stored here is not what was written: raise the alarm, not the caller
├─ StatementsRefused     statements were judged and not all of them may stand: one fault a line
└─ Unexpected            our own mistake: told apart by an incident number, and by nothing else

What may go wrong at the door itself. Which status each becomes is known to api.problems alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keys.errors import Fault, Malformed, NotYet, Refused, Refuted, Unverifiable


class ApiError(Fault):
    """Anything that the door raises on purpose."""


class RequestMalformed(ApiError, Malformed):
    """Nothing behind the door has seen this request."""


class QueryMalformed(RequestMalformed):
    """What is asked for cannot be read. fix: what can be."""

    epcis_exception = "QueryParameterException"

    def __init__(self, code: str, detail: str, pointer: str = "", fix: str = "") -> None:
        super().__init__(code, detail, pointer)
        self.fix = fix


class KeptQueryMalformed(QueryMalformed):
    """The body is no query under a name."""

    epcis_exception = "QueryValidationException"


class RequestSlow(ApiError, NotYet):
    """Nothing is wrong with what came of it. Send it again, over a better line."""


class RequestTooLarge(ApiError, Refused):
    """Send less at once."""


class LengthMissing(ApiError, Refused):
    """Send it again with Content-Length."""


class MediaTypeNotTaken(ApiError, Refused):
    """taken: the media types that would have been read here."""

    def __init__(self, code: str, detail: str, taken: Sequence[str] = ()) -> None:
        super().__init__(code, detail)
        self.taken = tuple(taken)


class MethodNotTaken(ApiError, Refused):
    """allowed: the methods that this path answers."""

    def __init__(self, detail: str, allowed: Sequence[str]) -> None:
        super().__init__("http.method", detail)
        self.allowed = tuple(sorted(allowed))


class NothingHere(ApiError, Unverifiable):
    """Asking again later may help, for a log only grows."""


class NoSuchResource(NothingHere):
    """No event here has what the path names."""

    epcis_exception = "NoSuchResourceException"


class NotAcceptable(ApiError, Refused):
    """The caller and this server have no version or format in common."""

    epcis_exception = "NotAcceptableException"


class EventExists(ApiError, Refused):
    """location: of the event that is there."""

    epcis_exception = "ResourceAlreadyExistsException"

    def __init__(self, detail: str, location: str) -> None:
        super().__init__("epcis.event.exists", detail)
        self.location = location
        self.fix = ""


class Erased(ApiError, Unverifiable):
    """Asking again will not help."""


class Withheld(ApiError, Refused):
    """The ledger's policy does not open this payload to this caller."""


class Unexpected(ApiError):
    """incident: the number under which the log tells what happened."""

    def __init__(self, incident: str) -> None:
        super().__init__(
            "server.unexpected",
            f"this server made a mistake; its operator finds it in the log under {incident}",
        )
        self.incident = incident


class RecordDamaged(ApiError, Refuted):
    """The database was altered or is broken. An audit names the entry."""


@dataclass(frozen=True, slots=True)
class LineFault:
    """One reason why one line of a request was not accepted. line counts from 0."""

    line: int
    fault: Fault


class StatementsRefused(ApiError, Refused):
    """Nothing of the request was appended."""

    def __init__(self, faults: Sequence[LineFault]) -> None:
        lines = len({fault.line for fault in faults})
        super().__init__(
            "statements.refused",
            f"{lines} {'line was' if lines == 1 else 'lines were'} refused, so nothing of this request was"
            " appended; see faults",
        )
        self.faults = tuple(faults)
