"""Step 2 of 9: what the door needs from the rooms behind it.

The command line builds these and hands them in; nothing here is looked up, and nothing is global, so a
test can have as many servers as it likes. Where a room's own class would bring SQL with it, a protocol
stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from api.event_queries import EventQueries
from intake.capture_jobs import Jobs
from intake.service import Behaviour, Outcome
from keys.registry import Registry
from ledger.store.protocol import LedgerStore
from projection.identity import Identities
from verifier.trust import Trust


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may bring, and how much one answer holds."""

    request_size_max: int = 16 * 1024 * 1024  # ten thousand events of 1.6 KB
    lines_max: int = 10_000
    statements_page_max: int = 1_000  # statements in one answer; the caller asks for the rest
    statements_page_size_max: int = 16 * 1024 * 1024  # bytes in one answer, but always one statement
    history_items_max: int = 1_000  # a pack has ten; a container that travels for years has hundreds
    capture_events_max: int = 10_000  # events in one capture job
    capture_size_max: int = 16 * 1024 * 1024  # bytes of one capture job
    timeline_items_max: int = 24  # steps on the consumer's page, which stays under 30 KB


class IntakeDoor(Protocol):
    """intake.service.Intake."""

    def submit(
        self, lines: Sequence[bytes], *, behaviour: Behaviour = "rollback", allowed_typs: Collection[str]
    ) -> Outcome: ...

    def registry(self) -> Registry: ...


@dataclass(frozen=True, slots=True)
class Captures:
    """What the capture interface keeps and needs.

    nudge  says that there is a new job, to whoever runs them
    key    of page tokens, traceability.queries.tokens.KEY_SIZE bytes
    identities  which events are there already; without it, POST /events is not served
    """

    jobs: Jobs
    nudge: Callable[[], None]
    key: bytes
    identities: Identities | None = None


class AnchorState(Protocol):
    """The members of anchoring.rounds.Status that are shown."""

    @property
    def anchored_size(self) -> int | None: ...

    @property
    def anchored_at(self) -> datetime | None: ...

    @property
    def pending(self) -> bool: ...

    @property
    def late(self) -> bool: ...

    @property
    def last_error(self) -> str | None: ...


class AnchorWatch(Protocol):
    """anchoring.rounds.RoundsReader."""

    def status(self) -> AnchorState: ...

    def find_anchor_covering(self, seq: int) -> int | None: ...


def _writing() -> str | None:
    return None


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Services:
    """Everything create_app() is given.

    reader        a reading store; safe from any thread
    trust         what this server itself pins, for its own check before it shows a page
    trust_files   the same as the files of a trust directory, by name: public parts only, for /trust
    base_url      how the world reaches this server, without a slash at the end
    writer_state  why nothing is recorded at present, or None; raises Busy if the writer is away
    queries       the index of events; without it, the query interface is not served
    captures      jobs of POST /capture; without them, the capture interface is not served
    """

    reader: LedgerStore
    intake: IntakeDoor
    anchors: AnchorWatch
    trust: Trust
    trust_files: Mapping[str, str]
    origin: str
    base_url: str
    clock: Callable[[], datetime] = _now
    writer_state: Callable[[], str | None] = _writing
    limits: Limits = field(default_factory=Limits)
    queries: EventQueries | None = None
    captures: Captures | None = None
