"""Step 2 of 9: the door. After client, before intake.

create_app() makes one Flask app over the services it is given, and holds nothing else: no globals, no
cookies, no sessions. It starts in a fraction of a second and opens nothing by itself.
"""

from __future__ import annotations

from flask import Flask

from api import (
    auditors,
    captures,
    consumers,
    epcis_query,
    epcis_root,
    event_capture,
    findings,
    headers,
    health,
    log,
    masterdata,
    metrics,
    partners,
    problems,
    reference,
    subscribing,
)
from api.packs import Packs
from api.reading import Reading
from api.services import Services


def create_app(services: Services, meters: metrics.Metrics | None = None) -> Flask:
    """The WSGI app of one ledger. meters: of a door in front of it that counts too; else its own."""
    app = Flask("api", static_folder=None, template_folder="pages")
    # One path, one resource: nothing is redirected to a tidier spelling of itself.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.config["MAX_CONTENT_LENGTH"] = services.limits.request_size_max
    app.config["TRUSTED_HOSTS"] = None  # addresses are built from base_url, never from what a request says
    meters = meters or metrics.Metrics(services)
    reading = Reading(services)
    packs = Packs(services, reading)
    problems.register(app)
    headers.register(app, services.base_url)
    metrics.register(app, meters)
    app.register_blueprint(partners.blueprint(services, reading, meters))
    app.register_blueprint(log.blueprint(reading))
    app.register_blueprint(auditors.blueprint(services, reading, packs))
    app.register_blueprint(health.blueprint(services, meters))
    # Before the queries: OPTIONS of /events then tells the limits of POST too.
    if services.captures is not None:
        app.register_blueprint(captures.blueprint(services, services.captures, reading))
        if services.captures.identities is not None:
            app.register_blueprint(
                event_capture.blueprint(services, services.captures, services.captures.identities, meters)
            )
    if services.queries is not None:
        app.register_blueprint(findings.blueprint(services.queries, reading))
        # Before the page at the same path, which it shows to who reads pages.
        app.register_blueprint(epcis_root.blueprint(lambda: app.view_functions["consumers.landing"]()))
        app.register_blueprint(
            epcis_query.blueprint(services.queries, reading, services.base_url, services.clock)
        )
        app.register_blueprint(
            masterdata.blueprint(services.queries, reading, services.base_url, services.clock)
        )
        if services.queries.subscriptions is not None:
            app.register_blueprint(
                subscribing.blueprint(
                    services.queries,
                    services.queries.subscriptions,
                    services.queries.rules,
                    services.queries.resolve,
                    services.base_url,
                    services.clock,
                )
            )
    app.register_blueprint(reference.blueprint(services))
    app.register_blueprint(consumers.blueprint(services, packs))
    return app
