"""Step 7 of 9: when to look whether a round is due. After anchoring.rounds, which decides.

The scheduler holds no state that matters: it only calls tick(), every few seconds and when nudged. What
is due, and who may do it, is in the database; so any number of schedulers may run.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from datetime import UTC, datetime

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from anchoring.rounds import Outcome, Rounds
from keys.errors import Fault

TICK_INTERVAL_S = 5.0  # well below the shortest pause after a failure
JOB = "anchoring"

log = logging.getLogger(__name__)
# A tick that waits for an authority outlasts its interval; the library warns of each tick that it skips then.
_quiet = logging.getLogger(f"{__name__}.apscheduler")
_quiet.setLevel(logging.ERROR)


class AnchorScheduler:
    """Ticks a Rounds in a thread of its own, one tick at a time, until stop()."""

    def __init__(self, rounds: Rounds, tick_interval_s: float = TICK_INTERVAL_S) -> None:
        self._rounds = rounds
        self._nudged = threading.Event()
        self._scheduler = BackgroundScheduler(
            # One worker: a tick waits for authorities; a second beside it would find the lease taken.
            executors={"default": ThreadPoolExecutor(1)},
            # Two instances: one that runs, and one that was asked for meanwhile and stands in line.
            job_defaults={"coalesce": True, "max_instances": 2, "misfire_grace_time": None},
            timezone=UTC,
            daemon=True,
            logger=_quiet,
        )
        self._scheduler.add_job(self._run, "interval", seconds=tick_interval_s, id=JOB)

    def start(self) -> None:
        """Begin ticking; the first tick comes at once, for a round may be waiting since before a crash."""
        self._scheduler.start()
        self.nudge()

    def nudge(self) -> None:
        """Tick now rather than at the next interval. Cheap, from any thread, as often as you like.

        Nudges that come while one is waiting are that one. A nudge during a tick leads to one more tick
        after it, for what it is about may have come too late for the tick under way.
        """
        if self._nudged.is_set():
            return
        self._nudged.set()
        with suppress(JobLookupError):  # stopped meanwhile
            self._scheduler.modify_job(JOB, next_run_time=datetime.now(UTC))

    def stop(self) -> None:
        """Let the tick under way end, then stop. A round that is not finished is continued next time."""
        self._scheduler.remove_all_jobs()
        self._scheduler.shutdown(wait=True)

    def _run(self) -> None:
        self._nudged.clear()
        try:
            outcome = self._rounds.tick()
        except Fault as fault:
            log.warning("anchoring could not use its tables: %s", fault)
        except Exception:
            # The job must live on: a bug in one tick must not be the end of anchoring.
            log.exception("a tick of anchoring failed")
        else:
            if outcome in (Outcome.FAILED, Outcome.FINISHED):
                log.info("anchoring: %s", outcome.value)
