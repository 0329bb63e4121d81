"""One HTTP worker of `tallystick serve`: the door over a read-only database and the sequencer's socket."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from anchoring.rounds import RoundsReader
from api.app import create_app
from api.capture_runner import CaptureRunner
from api.door import Door
from api.event_queries import EventQueries
from api.metrics import Metrics
from api.reading import Reading
from api.services import Captures, Limits, Services
from api.sockets import Sockets
from intake.capture_jobs import open_jobs
from intake.flow import Flow
from intake.gate import SocketGate
from intake.pipelined import PipelinedGate
from intake.service import Intake, event_typs
from ledger.errors import ReadOnly
from ledger.store.opening import Reader, open_reader
from projection.engine import Engine
from projection.identity import Identities
from projection.kept import open_kept
from projection.resources import Resources
from projection.store import open_reader as open_projection
from tallystick import config as configuration
from tallystick.collection import settle
from tallystick.config import Config
from tallystick.page_key import load_or_make
from tallystick.projector_process import assign_event_id
from tallystick.sequencer_process import anchor_policy, utc_now
from tallystick.serve import FOLDER_VARIABLE, PARENT_VARIABLE, SOCKET_VARIABLE, THREADS_VARIABLE
from tallystick.subscription_parts import bounded_look_up, open_subscriptions
from tallystick.watchdog import end_with_parent
from verifier.trust import load_trust, public_files


def create() -> Door:
    """The door to the ledger that the parent named in this process's environment."""
    # Ctrl-C goes to the whole group. The parent hears it, and ends us by SIGTERM, once.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    end_with_parent(int(os.environ[PARENT_VARIABLE]))
    config = configuration.load(Path(os.environ[FOLDER_VARIABLE]))
    socket_path = Path(os.environ[SOCKET_VARIABLE])
    reader = open_reader(config.database, config.replica)
    # What decides who may write must not lag behind.
    newest = reader if config.replica is None else open_reader(config.database)
    # Flask's threads ask on sockets of their own: key statements, and whether writing works.
    intake = Intake(newest, SocketGate(socket_path), utc_now)

    def writer_state() -> str | None:
        try:
            intake.require_writable()
        except ReadOnly as fault:
            return fault.detail
        return None

    page_key = load_or_make(config.folder)
    pool = ThreadPoolExecutor(int(os.environ[THREADS_VARIABLE]), "flask")
    flow = Flow(intake, PipelinedGate(socket_path), pool)
    jobs = open_jobs(config.database)
    runner = CaptureRunner(jobs, flow, pool, utc_now, event_typs(), keep_s=config.capture.keep_s)
    queries = open_queries(config, reader, page_key)
    # Whether an event is there already is asked of the ledger itself: a replica may not have heard of it.
    engine = Engine(newest, queries.engine.projection, page_key, clock=utc_now, assign_id=assign_event_id)
    identities = Identities(newest, engine, assign_event_id)
    services = Services(
        reader=reader,
        intake=intake,
        anchors=RoundsReader(reader.engine, utc_now, anchor_policy(config)),
        trust=load_trust(config.trust),
        trust_files=public_files(config.trust),
        origin=config.origin,
        base_url=config.base_url,
        clock=utc_now,
        writer_state=writer_state,
        limits=Limits(capture_events_max=config.capture.events_max, capture_size_max=config.capture.size_max),
        queries=queries,
        captures=Captures(jobs, runner.nudge, page_key, identities),
    )
    meters = Metrics(services)
    door = Door(
        services,
        flow,
        create_app(services, meters),
        meters,
        pool,
        background=runner.run,
        sockets=open_sockets(services),
    )
    atexit.register(_leave_at_once)
    settle()
    return door


def open_queries(config: Config, reader: Reader, page_key: bytes) -> EventQueries:
    """The query interface of this ledger. What is not made yet answers "soon" until it is."""
    projection = open_projection(config.database)
    engine = Engine(reader, projection, page_key, clock=utc_now, assign_id=assign_event_id)
    kept = open_kept(config.database)
    return EventQueries(
        engine,
        Resources(engine),
        kept,
        open_subscriptions(config, kept),
        config.targets,
        bounded_look_up(),
    )


def open_sockets(services: Services) -> Sockets:
    """WebSockets on the query interface of this worker."""
    assert services.queries is not None
    reading = Reading(services)
    return Sockets(services.queries, lambda typ: reading.may_read_typ(typ, None), services.clock)


def _leave_at_once() -> None:
    """End before the interpreter takes itself apart.

    The HTTP server's threads wait outside it for requests. One that comes back in just then is ended by
    Python from below, which Rust reports as a panic, on an operator's terminal, now and then.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)
