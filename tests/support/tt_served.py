"""A whole server over one small ledger: statements, capture jobs, queries, whatever else the door serves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import tt_site

from api.app import create_app
from api.event_queries import EventQueries
from api.services import Captures
from intake.capture_jobs import open_jobs
from projection.engine import Engine
from projection.identity import Identities
from projection.kept import open_kept
from projection.projector import Projector
from projection.resources import Resources
from projection.store import open_reader, open_writer
from subscriptions.store import Subscriptions
from subscriptions.targets import TargetRules
from tallystick.projector_process import assign_event_id

KEY = b"page tokens' key of these tests "


class Served:
    """A site with a journey in it, behind an app with every interface."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.site = site = tt_site.Site(folder, **options)
        site.append(*tt_site.journey("1000000042"))
        site.anchor()
        self._writer = open_writer(site.path)
        self.projector = Projector(site.services.reader, self._writer, assign_event_id)
        self.projector.catch_up()
        self._reader = open_reader(site.path)
        engine = Engine(site.services.reader, self._reader, KEY, clock=site.clock, assign_id=assign_event_id)
        identities = Identities(site.reader, engine, assign_event_id)
        self.kept = open_kept(site.path)
        self.jobs = open_jobs(site.path)
        self.services = replace(
            site.services,
            queries=EventQueries(
                engine,
                Resources(engine),
                self.kept,
                Subscriptions(self.kept, KEY),
                TargetRules(),
                # No name is looked up: one partner's is known, and numbers are what they say.
                lambda host, port: {"partner.example": ["8.8.8.8"]}.get(
                    host, [host] if host[0].isdigit() else []
                ),
            ),
            captures=Captures(self.jobs, lambda: None, KEY, identities),
        )
        site.services = self.services
        self.app = create_app(self.services)
        self.client = self.app.test_client()

    def close(self) -> None:
        for one in (self.jobs, self.kept, self._reader, self._writer):
            one.close()
        self.site.close()
