"""What the description allows and what it forbids is sent to the real app: no server error, no surprise.

schemathesis makes the requests: for every operation its examples, the edges of every parameter, methods that
are not there, and random ones, good and bad. By itself that is a run of some seconds over one operation of
each kind; FUZZ_EXAMPLES=50 (`make test-fuzz`) is all of them, and as many random requests for each.
"""

from __future__ import annotations

import copy
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
import schemathesis
import tt_openapi
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from tt_door import door_of
from tt_served import Served

from bench import load
from bench.server import ORIGIN, Server

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
# One of each kind of resource and page stands for the others, which differ in a word of the path.
ALIKE = ("bizSteps", "bizLocations", "readPoints", "dispositions", "eventTypes")
ALIKE_KEYS = (
    "253",
    "255",
    "401",
    "402",
    "414",
    "415",
    "417",
    "8003",
    "8004",
    "8006",
    "8010",
    "8013",
    "8017",
    "8018",
)
# Of the parameters that all questions share, these stand for their kinds.
SHARED = ("perPage", "nextPageToken", "proof", "orderBy", "EQ_bizStep", "GE_eventTime", "GS1-EPC-Format")


@dataclass
class Run:
    """What was sent, what came, and what was wrong with it."""

    operations: set[str] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


@schemathesis.serializer("application/jose", "application/vnd.tallystick.jws-lines")
def as_it_is(_: object, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    served = Served(tmp_path_factory.mktemp("fuzz"))
    yield served
    served.close()


def closed(schema: Any) -> None:
    """Let no object have members that are not described: the published schemas leave room for later ones."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema:
            schema.setdefault("additionalProperties", False)
        for inner in schema.values():
            closed(inner)
    elif isinstance(schema, list):
        for inner in schema:
            closed(inner)


def description(served: Served, *tags: str) -> dict[str, Any]:
    """The description to test by: strict, and short unless much time is given."""
    found = copy.deepcopy(served.client.get("/openapi.json").json)
    closed(found["components"]["schemas"])
    # Making addresses at random costs more than all requests together; tests of subscriptions have bad ones.
    dest = found["components"]["schemas"]["SubscriptionControls"]["properties"]["dest"]
    dest["enum"] = ["https://partner.example/events"]
    del dest["format"]
    for path, item in list(found["paths"].items()):
        first = path.split("/")[1]
        wanted = not tags or {one["tags"][0] for one in item.values()} & set(tags)
        methods = list(item) if wanted else []
        if not EXAMPLES:
            # HEAD and OPTIONS have a test of their own, below.
            methods = [method for method in methods if method not in ("head", "options")]
            if first in ALIKE or first in ALIKE_KEYS:
                methods = []
        found["paths"][path] = {method: item[method] for method in methods}
        for operation in found["paths"][path].values():
            if not EXAMPLES or path != "/events":
                operation["parameters"] = [one for one in operation.get("parameters", ()) if is_kept(one)]
    return found


def is_kept(parameter: dict[str, Any]) -> bool:
    return parameter.get("$ref", "/perPage").rpartition("/")[2] in SHARED


def run(schema: Any) -> Run:
    """Everything that schemathesis has to send, with its checks and ours."""
    found = Run()
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            found.wrong.append(f"{getattr(event, 'label', '')}: {getattr(event, 'value', event)}")
        if not isinstance(event, events.ScenarioFinished):
            continue
        recorder = event.recorder
        for case_id, interaction in recorder.interactions.items():
            response = interaction.response
            if response is None:
                found.wrong.append(f"{event.label}: no answer")
                continue
            found.operations.add(recorder.label)
            found.statuses[response.status_code] += 1
            objection = object_to(response)
            if objection:
                case = recorder.cases[case_id].value
                found.wrong.append(f"{event.label}: {objection}: {case.as_curl_command()}"[:2000])
        for case_id, checks in recorder.checks.items():
            for check in checks:
                if check.failure_info is not None:
                    case = recorder.cases[case_id].value
                    failure = check.failure_info.failure
                    what = f"{event.label}: {check.name}: {failure.title} {failure.message}"
                    found.wrong.append(f"{what}: {case.as_curl_command()}"[:2000])
    return found


def object_to(response: Any) -> str:
    """What is wrong with an answer, by the rules that all of ours follow; "" if nothing is."""
    headers = {name.lower(): values[0] for name, values in response.headers.items()}
    if "content-security-policy" not in headers or "x-content-type-options" not in headers:
        return "not guarded"
    if "set-cookie" in headers:
        return "a cookie"
    if response.status_code < 400 or headers.get("content-type", "").startswith("text/html"):
        return ""
    if headers.get("content-type") != "application/problem+json":
        return f"a problem of type {headers.get('content-type')}"
    if headers.get("cache-control") != "no-store":
        return "a problem that may be kept"
    if not response.content:
        return ""  # of HEAD
    problem = json.loads(response.content)
    if problem["status"] != response.status_code:
        return f"a problem that says {problem['status']}"
    if response.status_code == 405 and "allow" not in headers:
        return "405 without Allow"
    if response.status_code == 503 and "retry-after" not in headers:
        return "503 without Retry-After"
    return ""


def config(examples: int = 1) -> SchemathesisConfig:
    return SchemathesisConfig.from_dict(
        {
            "seed": 20261120,
            "generation": {
                "deterministic": True,
                "max-examples": EXAMPLES or examples,
                "database": "none",
                "no-shrink": True,
            },
            "phases": {"stateful": {"enabled": False}},
            # A statement made at random is signed by nobody: that good data is taken, other tests show.
            "checks": {"positive_data_acceptance": {"enabled": False}},
        }
    )


def test_nothing_that_can_be_sent_surprises_the_app(served):
    schema = schemathesis.openapi.from_dict(description(served), config=config())
    schema.app = served.app
    found = run(schema)
    assert found.wrong == []
    assert len(found.operations) >= 40
    assert found.statuses.total() > 1_000
    assert {200, 201, 202, 204, 303, 400, 404, 405, 406, 409, 415} <= set(found.statuses)


def test_nothing_that_can_be_sent_surprises_the_door(served):
    """The same through the event loop's door, for what it serves itself and a little more."""
    schema = schemathesis.openapi.from_dict(description(served, "Partners"), config=config())
    schema.app = door_of(served.site)
    found = run(schema)
    assert found.wrong == []
    assert found.operations >= {"POST /statements", "POST /keys", "GET /receipts/{seq}"}
    assert {400, 405, 415} <= set(found.statuses)


def test_head_is_get_without_its_body_and_options_tells_the_methods(served):
    document = served.client.get("/openapi.json").json
    for path, item in document["paths"].items():
        operation = next(iter(item.values()))
        target = tt_openapi.filled(path, operation)
        options = served.client.options(target)
        assert str(options.status_code) in item["options"]["responses"], path
        if options.status_code < 400:
            allowed = {one.strip().lower() for one in options.headers["Allow"].split(",")}
            assert allowed == set(item), path
            assert options.data == b""
        if "head" not in item:
            continue
        get, head = served.client.get(target), served.client.head(target)
        assert (head.status_code, head.data) == (get.status_code, b""), path
        assert head.headers["Content-Type"] == get.headers["Content-Type"], path
        assert str(head.status_code) in item["head"]["responses"], path


LONG = "9" * 100_000
BAD_TARGETS = [
    "/events?EQ_bizStep=" + LONG,
    "/events?" + LONG + "=1",
    "/events?EQ_bizStep=%ff%fe",
    "/events?nextPageToken=" + LONG,
    "/events/" + LONG,
    "/epcs/%ff",
    "/epcs/" + LONG + "/events",
    "/queries/" + LONG,
    "/queries/%00",
    "/capture/" + LONG,
    "/capture/%00",
    "/capture?perPage=-1",
    "/history?epc=" + LONG,
    "/history?epc=%ff%00",
    "/statements?start=" + LONG + "&end=1",
    "/statements/%c3%28",
    "/receipts/" + LONG,
    "/tile/" + LONG,
    "/findings?after=" + LONG,
    "/findings?after=9999999999999999999.0",
    "/proof/inclusion?index=9999999999999999998&size=9999999999999999999",
    "/statements?start=9999999999999999998&end=9999999999999999999",
    "/statements/9999999999999999999",
    "/openapi.json?x=" + LONG,
    "/docs/api?x",
]


@pytest.mark.parametrize("target", BAD_TARGETS, ids=[target[:40] for target in BAD_TARGETS])
@pytest.mark.parametrize("method", ["GET", "HEAD", "BREW"])
def test_bad_and_long_addresses_are_answered_with_problems(served, target, method):
    response = served.client.open(target, method=method)
    assert response.status_code in ((405,) if method == "BREW" else (400, 404, 414))
    assert response.headers["Content-Type"] == "application/problem+json"
    if method != "HEAD":
        assert response.json["status"] == response.status_code
        assert len(response.data) < 4_000


@pytest.mark.server
def test_nothing_that_can_be_sent_surprises_a_running_server(tmp_path):
    """Over real HTTP: what partners send, and the log."""
    lines = load.emitters(1, 3)
    server = Server(tmp_path / "ledger", workers=1, threads=2)
    try:
        server.start()
        server.register(lines)
        body = b"\n".join(load.statements(lines, 6, ORIGIN, 3))
        server.post("/statements", body, "application/vnd.tallystick.jws-lines")
        settings = config()
        schema = schemathesis.openapi.from_url(server.url + "/openapi.json", config=settings)
        schema = schema.include(tag=["Partners", "Log"], method=["GET", "POST"])
        schema.config.update(base_url=server.url)
        found = run(schema)
    finally:
        server.stop()
    assert found.wrong == []
    assert len(found.operations) == 5
    assert {200, 400, 404, 405, 415} <= set(found.statuses)
