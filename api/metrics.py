"""Step 2 of 9: what the operator watches, for Prometheus at /metrics.

Counters are this process's own. With several workers a scrape reaches one of them: counters then
belong to that worker, while the gauges (tree size, anchors, writer) are read from the ledger at the
scrape and are the same from each.
"""

from __future__ import annotations

import time
from collections import Counter as Counting
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from flask import Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.services import Services
from intake.service import LineResult
from keys.errors import Fault

LATENCY_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
UNMATCHED = "unmatched"  # every path we do not serve: their number has no bound, so they share one label
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


class Metrics:
    """The meters of one app, in a registry of its own."""

    def __init__(self, services: Services) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "tallystick_http_requests_total",
            "Requests answered, by route, method and status.",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self._latency = Histogram(
            "tallystick_http_request_seconds",
            "Time to answer a request, by route.",
            ["route"],
            buckets=LATENCY_BUCKETS_S,
            registry=self._registry,
        )
        self._statements = Counter(
            "tallystick_statements_total",
            "Statements received, by what became of them.",
            ["outcome"],
            registry=self._registry,
        )
        # All are shown as 0 before the first one.
        self._by_outcome = {
            outcome: self._statements.labels(outcome)
            for outcome in ("appended", "duplicate", "refused", "rolled-back")
        }
        self._by_request: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._registry.register(_LedgerGauges(services))

    def count_statements(self, results: Iterable[LineResult]) -> None:
        for status, count in Counting(result.status for result in results).items():
            self._by_outcome[status].inc(count)

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        known = self._by_request.get((route, method, status))
        if known is None:
            shown = method if method in METHODS else "other"
            known = (self._requests.labels(route, shown, str(status)), self._latency.labels(route))
            if shown == method:
                # Finding a labelled counter costs more than counting. There are few of them.
                self._by_request[route, method, status] = known
        requests, latency = known
        requests.inc()
        latency.observe(seconds)

    def render(self) -> Response:
        return Response(generate_latest(self._registry), content_type=CONTENT_TYPE_LATEST)


class _LedgerGauges(Collector):
    """Read at each scrape; a gauge that cannot be read is left out, and the scrape still answers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def describe(self) -> Iterable[Metric]:
        return ()  # nothing is read when the meter is registered

    def collect(self) -> Iterator[Metric]:
        try:
            head = self._services.reader.read_head()
        except Fault:
            head = None
        if head is not None:
            yield _gauge("tallystick_tree_size", "Entries in the ledger.", head.tree_size)
            if head.published_at is not None:
                yield _gauge(
                    "tallystick_checkpoint_age_seconds",
                    "Since the newest checkpoint was published.",
                    self._seconds_since(head.published_at),
                )
        try:
            anchors = self._services.anchors.status()
        except Fault:
            return
        yield _gauge(
            "tallystick_anchored_size", "Entries covered by a finished anchor.", anchors.anchored_size or 0
        )
        yield _gauge("tallystick_anchor_late", "1 while anchoring is overdue.", float(anchors.late))
        yield _gauge("tallystick_anchor_pending", "1 while a round is under way.", float(anchors.pending))
        if anchors.anchored_at is not None:
            yield _gauge(
                "tallystick_anchor_age_seconds",
                "Since the time-stamp of the newest finished anchor.",
                self._seconds_since(anchors.anchored_at),
            )

    def _seconds_since(self, moment: datetime) -> float:
        return max(0.0, (self._services.clock() - moment.astimezone(UTC)).total_seconds())


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=value)


def register(app: Flask, metrics: Metrics) -> None:
    """Measure every request, errors included."""

    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def measure(response: Response) -> Response:
        now = time.perf_counter()
        route = request.url_rule.rule if request.url_rule is not None else UNMATCHED
        metrics.count_request(route, request.method, response.status_code, now - g.get("started", now))
        return response
