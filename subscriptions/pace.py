"""Step 8 of 9: how soon and how often receivers are asked, and what a subscriber is shown of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from subscriptions.store import Progress, moment_of


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds.

    tick       between two looks whether more is covered
    refresh    between two looks for new and deleted subscriptions
    backoff    after the first failure; doubles up to backoff_max
    suspended_after  of failing all the time; from then on there is one attempt every `probe`
    complain   for which there is no index, before receivers are told; and between two such messages
    """

    tick_s: float = 0.1
    refresh_s: float = 1.0
    backoff_s: float = 1.0
    backoff_max_s: float = 300.0
    suspended_after_s: float = 3600.0
    probe_s: float = 3600.0
    complain_s: float = 300.0


def is_suspended(progress: Progress, now: datetime, pace: Pace) -> bool:
    """Whether it has failed for so long that it is tried only now and then."""
    since = progress.failing_since
    return since is not None and (now - moment_of(since)).total_seconds() >= pace.suspended_after_s


def state_of(progress: Progress, now: datetime, pace: Pace | None = None) -> str:
    """What a subscriber is shown: active, retrying or suspended."""
    if not progress.failures:
        return "active"
    return "suspended" if is_suspended(progress, now, pace or Pace()) else "retrying"
