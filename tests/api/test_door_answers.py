"""The door on the event loop and the one through Flask give one answer, byte for byte, good or bad."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace

import pytest
import tt_door
import tt_site
from tt_door import ask, door_of

from api.services import Limits

JOSE = ("Content-Type", "application/jose")
LINES = ("Content-Type", "application/vnd.tallystick.jws-lines")


@pytest.fixture
def site(tmp_path):
    made = tt_site.Site(tmp_path, limits=replace(Limits(), lines_max=5, request_size_max=30_000))
    yield made
    made.close()


def event(site, serial, party="acme", **options):
    value = tt_site.object_event(site.clock(), [tt_site.pack_urn(serial)], "inspecting")
    return site.sign(party, value, **options)


def through_flask(site, target, headers, body):
    length = {"CONTENT_LENGTH": str(len(body))}
    response = site.client.post(target, data=body, headers=headers, environ_overrides=length)
    return tt_door.Told(
        response.status_code, {name.lower(): value for name, value in response.headers}, response.data
    )


def on_the_loop(site, target, headers, body, pieces=1):
    size = -(-len(body) // pieces) or 1
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    if not any(name == "Content-Length" for name, _ in headers):
        headers = [*headers, ("Content-Length", str(len(body)))]
    return asyncio.run(ask(door_of(site), "POST", target, headers, parts))


def known(site):
    """A statement that is in the ledger: both doors answer it as a duplicate, with the same receipt."""
    statement = event(site, "known")
    site.intake.submit([statement], allowed_typs={"epcis-event+jws"})
    return statement


CASES = {
    "a duplicate": ("/statements", [JOSE], lambda s: known(s)),
    "with its receipt": ("/statements?receipts=true", [JOSE], lambda s: known(s)),
    "without": ("/statements?receipts=false", [JOSE], lambda s: known(s)),
    "lines": ("/statements", [LINES], lambda s: known(s) + b"\n" + event(s, "x", aud="ledger.example/other")),
    "proceed": (
        "/statements?receipts=true",
        [LINES, ("GS1-Capture-Error-Behaviour", " proceed ")],
        lambda s: known(s) + b"\n" + event(s, "x", aud="ledger.example/other") + b"\nnonsense\n",
    ),
    "rollback of a good one": (
        "/statements",
        [LINES, ("GS1-Capture-Error-Behaviour", "rollback")],
        lambda s: event(s, "y") + b"\n" + b"nonsense",
    ),
    "an unknown key": ("/statements", [JOSE], lambda s: unknown(s)),
    "nonsense": ("/statements", [JOSE], lambda s: b"nonsense"),
    "not a strict parameter": ("/statements", [("Content-Type", "Application/JOSE; charset=x")], known),
    "an unknown argument": ("/statements?reciepts=true", [JOSE], known),
    "a repeated argument": ("/statements?receipts=true&receipts=true", [JOSE], known),
    "an argument of bytes": ("/statements?receipts=%ff", [JOSE], known),
    "an empty argument": ("/statements?receipts=", [JOSE], known),
    "a blank argument": ("/statements?receipts", [JOSE], known),
    "a long argument": ("/statements?receipts=" + "x" * 3000, [JOSE], known),
    "two argument faults": ("/statements?a=1&receipts=2", [JOSE], known),
    "an odd behaviour": ("/statements", [JOSE, ("GS1-Capture-Error-Behaviour", "ignore")], known),
    "two behaviours": (
        "/statements",
        [JOSE, ("GS1-Capture-Error-Behaviour", "proceed"), ("GS1-Capture-Error-Behaviour", "rollback")],
        known,
    ),
    "no media type": ("/statements", [], known),
    "another media type": ("/statements", [("Content-Type", "text/plain")], known),
    "compressed": ("/statements", [JOSE, ("Content-Encoding", "gzip")], known),
    "empty": ("/statements", [JOSE], lambda s: b""),
    "too large for lines": ("/statements", [LINES], lambda s: b"x" * 30_001),
    "too large for one": ("/statements", [JOSE], lambda s: b"x" * 2_000_000),
    "too many lines": ("/statements", [LINES], lambda s: b"x\n" * 6),
    "as many lines as may be": ("/statements", [LINES], lambda s: b"x\n" * 5),
    "an empty line": ("/statements", [LINES], lambda s: known(s) + b"\n\n" + event(s, "z")),
}


def unknown(site):
    value = tt_site.object_event(site.clock(), [tt_site.pack_urn("u")], "inspecting")
    other = tt_site.tt_keys.ed25519_key("nobody")
    return tt_site.envelope.sign(
        other, typ="epcis-event+jws", aud=tt_site.tt_keys.ORIGIN, payload=json.dumps(value).encode()
    )


@pytest.mark.parametrize("case", CASES)
def test_both_doors_give_the_same_answer(site, case):
    target, headers, body_of = CASES[case]
    body = body_of(site)
    flask = through_flask(site, target, headers, body)
    loop = on_the_loop(site, target, headers, body)
    assert loop.status == flask.status
    assert loop.body == flask.body
    assert loop.headers == flask.headers
    if flask.status >= 400:
        assert flask.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("count", [1, 5])
def test_what_was_appended_is_told_alike(site, count):
    told = []
    for name, front in (("a", through_flask), ("b", on_the_loop)):
        lines = [event(site, f"{name}{n}") for n in range(count)]
        answer = front(site, "/statements", [LINES], b"\n".join(lines))
        assert answer.status == 201
        for line, result in zip(lines, json.loads(answer.body)["results"], strict=True):
            assert site.reader.read_statement(result["seq"]) == line
        told.append(re.sub(rb'("seq":|"digest":"|"checkpoint":")[^,}]*', rb"\1", answer.body))
    assert told[0] == told[1]


@pytest.mark.parametrize("front", [through_flask, on_the_loop])
def test_201_is_for_those_of_whom_nothing_was_refused(site, front):
    proceed = [LINES, ("GS1-Capture-Error-Behaviour", "proceed")]
    assert front(site, "/statements", proceed, event(site, "r1") + b"\nnonsense").status == 200
    assert front(site, "/statements", proceed, event(site, "r2")).status == 201
    assert front(site, "/statements", proceed, b"nonsense").status == 200


def test_a_body_in_pieces_is_one_body(site):
    lines = b"\n".join([event(site, "p1"), event(site, "p2")])
    assert on_the_loop(site, "/statements", [LINES], lines, pieces=7).status == 201


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/checkpoint", "/nothing", "/statements", "/tile/0/000"]
)
def test_everything_else_is_flasks_answer(site, path):
    loop = asyncio.run(ask(door_of(site), "GET", path))
    flask = site.client.get(path)
    assert (loop.status, loop.body) == (flask.status_code, flask.data)
    assert loop.headers == {name.lower(): value for name, value in flask.headers}


def test_a_key_statement_goes_through_flask(site):
    statement = site.registration("newcomer", "newcomer")
    headers = [JOSE, ("Content-Length", str(len(statement)))]
    told = asyncio.run(ask(door_of(site), "POST", "/keys", headers, [statement[:40], statement[40:]]))
    assert told.status == 201


def test_both_count_what_they_answer(site):
    door = door_of(site)

    async def run():
        statement = event(site, "counted")
        await ask(door, "POST", "/statements", [JOSE, ("Content-Length", str(len(statement)))], [statement])
        await ask(door, "POST", "/statements", [JOSE, ("Content-Length", "3")], [b"abc"])
        return (await ask(door, "GET", "/metrics")).body.decode()

    said = asyncio.run(run())
    assert 'tallystick_http_requests_total{method="POST",route="/statements",status="201"} 1.0' in said
    assert 'tallystick_http_requests_total{method="POST",route="/statements",status="400"} 1.0' in said
    assert 'tallystick_statements_total{outcome="appended"} 1.0' in said


@pytest.mark.parametrize("name", ["Content_Type", "CONTENT_TYPE", "content_type"])
def test_a_header_with_an_underscore_passes_for_no_other(site, name):
    """In PEP 3333 both have one name, and a proxy in front that judges headers has seen another."""
    statement = site.registration("newcomer", "newcomer")
    length = ("Content-Length", str(len(statement)))
    for target in ("/keys", "/statements"):
        headers = [(name, "application/jose"), length]
        told = asyncio.run(ask(door_of(site), "POST", target, headers, [statement]))
        assert (told.status, json.loads(told.body)["code"]) == (415, "http.media-type")
