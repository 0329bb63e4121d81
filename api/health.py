"""Step 2 of 9: is it alive, is it ready, what does it measure? For orchestrators and operators.

/healthz says only that this process answers: a database that is away is no reason to kill it. /readyz
looks, and says in words what it found.
"""

from __future__ import annotations

from typing import Any

import orjson
from flask import Blueprint, Response

from api.errors import RequestMalformed
from api.metrics import Metrics
from api.problems import OK, SERVICE_UNAVAILABLE
from api.requests import read_arguments
from api.services import Services
from keys.errors import Fault

JSON = "application/json"


def blueprint(services: Services, metrics: Metrics) -> Blueprint:
    health = Blueprint("health", __name__)

    @health.get("/healthz")
    def healthz() -> Response:
        return Response(b'{"status":"alive"}', content_type=JSON)

    @health.get("/readyz")
    def readyz() -> Response:
        wanted = read_arguments("for").get("for", "writes")
        if wanted not in ("reads", "writes"):
            raise RequestMalformed(
                "http.argument.for", f"for is {wanted[:40]!r}; it must be reads or writes", "/for"
            )
        reads = _reads(services)
        writes = _writes(services)
        ready = reads["ready"] and (writes["ready"] or wanted == "reads")
        # A late anchor is shown and is no reason to turn partners away: anchoring never stands in
        # the way of a write.
        members = {"ready": ready, "reads": reads, "writes": writes, "anchors": _anchors(services)}
        status = OK if ready else SERVICE_UNAVAILABLE
        return Response(orjson.dumps(members), status=status, content_type=JSON)

    @health.get("/metrics")
    def show_metrics() -> Response:
        return metrics.render()

    return health


def _reads(services: Services) -> dict[str, Any]:
    try:
        head = services.reader.read_head()
    except Fault as fault:
        return {"ready": False, "code": fault.code, "reason": fault.detail}
    if head is None:
        return {"ready": False, "code": "ledger.empty", "reason": "this ledger has no genesis entry yet"}
    return {"ready": True, "tree_size": head.tree_size}


def _writes(services: Services) -> dict[str, Any]:
    try:
        reason = services.writer_state()
    except Fault as fault:
        return {"ready": False, "code": fault.code, "reason": fault.detail}
    return (
        {"ready": True} if reason is None else {"ready": False, "code": "ledger.read-only", "reason": reason}
    )


def _anchors(services: Services) -> dict[str, Any]:
    try:
        status = services.anchors.status()
    except Fault as fault:
        return {"late": True, "code": fault.code, "reason": fault.detail}
    return {
        "late": status.late,
        "pending": status.pending,
        "anchored_size": status.anchored_size or 0,
        "anchored_at": None if status.anchored_at is None else status.anchored_at.isoformat(),
        "last_error": status.last_error,
    }
