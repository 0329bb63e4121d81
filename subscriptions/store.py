"""Step 8 of 9: subscriptions, and how far each one has come. Beside the queries that they belong to.

A row goes with its query, in one transaction. Which events were reported is a place in the log, for two
events can be recorded at one moment; `min_record_time` is what a subscriber is shown of it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from projection.kept import KeptQueries
from subscriptions import secret
from subscriptions.controls import Controls, Webhook
from subscriptions.errors import ControlFault, NoSuchSubscription, SubscriptionRejected
from subscriptions.schedule import parse_schedule
from traceability.errors import NoSuchQuery

SUBSCRIPTIONS_MAX = 1_000  # in all: each is looked at whenever something was recorded
OF_ONE_QUERY_MAX = 100
BATCH_EVENTS_MAX = 100


@dataclass(frozen=True, slots=True)
class Pending:
    """A report that was begun: the same one is sent again until it is taken, or is too large.

    id       stays the same, so that the receiver knows a repeat
    seq, ordinal  place of its last event
    """

    id: str
    seq: int
    ordinal: int
    made_at: str  # its creationDate


@dataclass(frozen=True, slots=True)
class Progress:
    """What changes. Times are RFC 3339.

    seq, ordinal     the last place that was reported, or looked at and not to be
    min_record_time  of the newest event that was taken; at first the initial record time
    next_run_at      of a schedule
    run_bound        positions below it belong to the run that was begun; None between runs
    run_reported     reports of this run that were taken
    batch_max        events in one report; less once a receiver said 413
    failures         in a row
    """

    min_record_time: str
    seq: int = -1
    ordinal: int = 0
    last_notified_at: str | None = None
    next_run_at: str | None = None
    run_bound: int | None = None
    run_reported: int = 0
    pending: Pending | None = None
    batch_max: int = BATCH_EVENTS_MAX
    failures: int = 0
    failing_since: str | None = None
    retry_at: str | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription by webhook. sealed_token opens with the server's key: subscriptions.secret."""

    id: str
    query: str
    dest: str
    controls: Controls
    epc_format: str
    created_at: datetime
    progress: Progress
    sealed_token: bytes | None = field(repr=False)


class Subscriptions:
    """All of them. Safe from any thread and any process; only one process at a time may run them.

    key  secret.KEY_SIZE bytes, the same in every process of a server
    """

    def __init__(
        self, kept: KeptQueries, key: bytes, new_id: Callable[[], str] = lambda: str(uuid.uuid4())
    ) -> None:
        self._kept = kept
        self._key = key
        self._new_id = new_id
        kept.make_tables(
            "CREATE TABLE IF NOT EXISTS {p}subscriptions (id {text} PRIMARY KEY,"
            " query {text} NOT NULL REFERENCES {p}queries (name) ON DELETE CASCADE, dest {text} NOT NULL,"
            " controls {text} NOT NULL, epc_format {text} NOT NULL, created_at {text} NOT NULL,"
            " progress {text} NOT NULL, token {bytes})"
        )

    def create(self, query: str, webhook: Webhook, epc_format: str, now: datetime) -> Subscription:
        """Add one. Raises NoSuchQuery, and SubscriptionRejected where there is no room."""
        name = self._new_id()
        controls = webhook.controls
        progress = Progress(rfc3339(controls.initial_record_time))
        if controls.schedule is not None:
            next_run = controls.schedule.next_after(now)
            progress = replace(progress, next_run_at=None if next_run is None else rfc3339(next_run))
        sealed = None if webhook.token is None else secret.seal(webhook.token, name, self._key)
        with self._kept.transaction() as run:
            if not run("SELECT 1 FROM {p}queries WHERE name = ?", query):
                raise NoSuchQuery("query.name.unknown", f"no query is kept under the name {query[:64]!r}")
            in_all = run("SELECT count(*) FROM {p}subscriptions")[0][0]
            of_query = run("SELECT count(*) FROM {p}subscriptions WHERE query = ?", query)[0][0]
            if in_all >= SUBSCRIPTIONS_MAX or of_query >= OF_ONE_QUERY_MAX:
                raise SubscriptionRejected(
                    [
                        ControlFault(
                            "subscription.room",
                            f"a query has at most {OF_ONE_QUERY_MAX} subscriptions, and this server"
                            f" {SUBSCRIPTIONS_MAX} in all",
                            "",
                            "delete one that is not needed any more",
                        )
                    ]
                )
            run(
                "INSERT INTO {p}subscriptions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                name, query, webhook.target.url, _render_controls(controls), epc_format, rfc3339(now),
                _render_progress(progress), sealed,
            )  # fmt: skip
        return Subscription(name, query, webhook.target.url, controls, epc_format, now, progress, sealed)

    def read(self, query: str, name: str) -> Subscription:
        """Raises NoSuchQuery, NoSuchSubscription."""
        self._kept.read(query)
        with self._kept.transaction() as run:
            rows = run(_SELECT + " WHERE id = ? AND query = ?", name, query)
        if not rows:
            raise _no_such(name)
        return _subscription(rows[0])

    def page(self, query: str, after: str, limit: int) -> list[Subscription]:
        """Those of one query, by id beyond `after`. Raises NoSuchQuery."""
        self._kept.read(query)
        with self._kept.transaction() as run:
            rows = run(_SELECT + " WHERE query = ? AND id > ? ORDER BY id LIMIT ?", query, after, limit)
        return [_subscription(row) for row in rows]

    def delete(self, query: str, name: str) -> None:
        """Raises NoSuchQuery, NoSuchSubscription."""
        self.read(query, name)
        with self._kept.transaction() as run:
            run("DELETE FROM {p}subscriptions WHERE id = ?", name)

    def ids(self) -> set[str]:
        """Of every subscription of every query."""
        with self._kept.transaction() as run:
            return {row[0] for row in run("SELECT id FROM {p}subscriptions")}

    def find(self, name: str) -> Subscription | None:
        """By its id alone."""
        with self._kept.transaction() as run:
            rows = run(_SELECT + " WHERE id = ?", name)
        return _subscription(rows[0]) if rows else None

    def save(self, name: str, progress: Progress) -> None:
        """Keep how far one has come. Raises NoSuchSubscription if it was deleted meanwhile."""
        body = _render_progress(progress)
        with self._kept.transaction() as run:
            if not run("SELECT 1 FROM {p}subscriptions WHERE id = ?", name):
                raise _no_such(name)
            run("UPDATE {p}subscriptions SET progress = ? WHERE id = ?", body, name)

    def token_of(self, subscription: Subscription) -> str | None:
        """The signatureToken, to sign with. Raises Unverifiable if it does not open."""
        if subscription.sealed_token is None:
            return None
        return secret.open_sealed(subscription.sealed_token, subscription.id, self._key)


def rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def moment_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


_SELECT = "SELECT id, query, dest, controls, epc_format, created_at, progress, token FROM {p}subscriptions"


def _no_such(name: str) -> NoSuchSubscription:
    return NoSuchSubscription("subscription.unknown", f"there is no subscription {name[:64]!r}")


def _subscription(row: Any) -> Subscription:
    name, query, dest, controls, epc_format, created_at, progress, token = row
    given = json.loads(controls)
    return Subscription(
        name,
        query,
        dest,
        Controls(
            None if given["schedule"] is None else parse_schedule(given["schedule"]),
            given["reportIfEmpty"],
            moment_of(given["initialRecordTime"]),
        ),
        epc_format,
        moment_of(created_at),
        _progress(json.loads(progress)),
        None if token is None else bytes(token),
    )


def _render_controls(controls: Controls) -> str:
    return json.dumps(
        {
            "schedule": None if controls.schedule is None else dict(controls.schedule.given),
            "reportIfEmpty": controls.report_if_empty,
            "initialRecordTime": rfc3339(controls.initial_record_time),
        }
    )


def _render_progress(progress: Progress) -> str:
    return json.dumps(asdict(progress))


def _progress(given: dict[str, Any]) -> Progress:
    pending = given.pop("pending")
    return Progress(**given, pending=None if pending is None else Pending(**pending))
