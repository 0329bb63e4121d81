"""POST /capture: a job is durable before its id is known, runs once in effect, and says what became of it."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
import tt_documents
import tt_keys
import tt_site
from tt_door import LoopGate, ask, door_of

from api.app import create_app
from api.capture_runner import CaptureRunner
from api.services import Captures, Limits
from intake.capture_jobs import ATTEMPTS_MAX, LEASE_MS, open_jobs
from intake.errors import Busy
from intake.flow import Flow
from intake.service import event_typs
from traceability.gs1 import canonical
from traceability.history import history

JOSE = {"Content-Type": "application/jose"}
LINES = {"Content-Type": "application/vnd.tallystick.jws-lines"}
PROCEED = {"GS1-Capture-Error-Behaviour": "proceed"}
KEY = b"page tokens' key of these tests "
LIMITS = replace(Limits(), capture_events_max=50, capture_size_max=200_000)


class Captured:
    """A site with the capture interface, and a runner that a test lets run."""

    def __init__(self, folder, **options):
        self.site = tt_site.Site(folder, limits=LIMITS, **options)
        self.jobs = open_jobs(self.site.path)
        self.nudged = 0
        captures = Captures(self.jobs, self._nudge, KEY)
        self.services = replace(self.site.services, captures=captures)
        self.client = create_app(self.services).test_client()

    def _nudge(self):
        self.nudged += 1

    def post(self, body, **headers):
        return self.client.post("/capture", data=body, headers={**LINES, **headers})

    def job(self, job_id):
        return self.client.get(f"/capture/{job_id}").get_json()

    def run(self, gate=None, steps=1):
        """Let one worker run so many jobs; whether there was one each time."""

        async def go(pool):
            flow = Flow(self.site.intake, gate or LoopGate(self.site), pool)
            runner = CaptureRunner(self.jobs, flow, pool, self.site.clock, event_typs())
            return [await runner.step() for _ in range(steps)]

        with ThreadPoolExecutor(2) as pool:
            return asyncio.run(go(pool))

    def close(self):
        self.jobs.close()
        self.site.close()


@pytest.fixture
def made(tmp_path):
    one = Captured(tmp_path)
    yield one
    one.close()


def event(site, serial, **options):
    value = tt_site.object_event(tt_site.LINE_START, [tt_site.pack_urn(serial)], "inspecting")
    return site.sign("acme", value, **options)


def is_recorded(site, serial):
    return bool(history(site.reader, canonical(tt_site.pack_urn(serial))).items)


def bad_event(site, serial):
    value = tt_site.object_event(tt_site.LINE_START, [tt_site.pack_urn(serial)], "inspecting")
    return site.sign("acme", {**value, "action": "LOOK"})


def test_a_job_is_accepted_run_and_shown(made):
    answer = made.post(b"\n".join(event(made.site, serial) for serial in "ab"))
    assert (answer.status_code, answer.data) == (202, b"")
    place = answer.headers["Location"]
    assert place.startswith("/capture/")
    assert made.nudged == 1
    waiting = made.client.get(place).get_json()
    assert (waiting["running"], waiting["success"], waiting["errors"]) == (True, True, [])
    assert "finishedAt" not in waiting
    assert made.client.get(place + "/results").status_code == 404
    assert not is_recorded(made.site, "a")
    assert made.run(steps=2) == [True, False]
    done = made.client.get(place).get_json()
    assert (done["running"], done["success"], done["errors"]) == (False, True, [])
    assert (done["captureErrorBehaviour"], done["captureID"]) == ("rollback", place.rpartition("/")[2])
    assert done["createdAt"] < done["finishedAt"]
    results = made.client.get(place + "/results").get_json()["results"]
    assert [result["status"] for result in results] == ["appended", "appended"]
    assert is_recorded(made.site, "a")
    assert is_recorded(made.site, "b")


@pytest.mark.parametrize("behaviour", ["rollback", "proceed"])
@pytest.mark.parametrize("form", ["event", "json", "xml"])
def test_one_bad_statement_under_both_behaviours(made, behaviour, form):
    bad = {
        "event": lambda: bad_event(made.site, "x"),
        "json": lambda: tt_documents.sign(
            made.site,
            "acme",
            tt_documents.document(
                [
                    tt_site.object_event(tt_site.LINE_START, [tt_site.pack_urn("y")], "inspecting"),
                    {"type": "ObjectEvent"},
                ]
            ),
        ),
        "xml": lambda: tt_documents.sign(
            made.site, "acme", tt_documents.xml("y", "x").replace(b"OBSERVE", b"LOOK", 1)
        ),
    }[form]()
    lines = [event(made.site, "a"), bad, event(made.site, "b")]
    answer = made.post(b"\n".join(lines), **{"GS1-Capture-Error-Behaviour": behaviour})
    made.run()
    job = made.client.get(answer.headers["Location"]).get_json()
    assert (job["running"], job["success"]) == (False, False)
    assert {error["line"] for error in job["errors"]} == {1}
    for error in job["errors"]:
        assert (error["type"], error["status"]) == ("epcisException:ValidationException", 400)
        assert error["pointer"].startswith("/epcisBody" if form != "event" else "/action")
        assert error["fix"]
    assert is_recorded(made.site, "a") == is_recorded(made.site, "b") == (behaviour == "proceed")
    assert not is_recorded(made.site, "x")
    assert not is_recorded(made.site, "y")


def test_who_may_not_say_it_is_named_so(made):
    lines = [
        event(made.site, "a")[:-9] + b"AAAAAAAAA",
        tt_documents.sign(made.site, "operator", tt_documents.document([])),
        tt_keys.sign_event(tt_keys.ed25519_key("stranger"), b"{}"),
    ]
    answer = made.post(b"\n".join(lines), **PROCEED)
    made.run()
    errors = made.client.get(answer.headers["Location"]).get_json()["errors"]
    assert [(e["line"], e["type"], e["status"]) for e in errors] == [
        (line, "epcisException:SecurityException", 403) for line in range(3)
    ]


def test_ten_thousand_faults_leave_a_job_that_can_be_read(made):
    text = json.dumps(tt_documents.document([{"type": "x"}] * 40), separators=(",", ":"))
    bad = tt_documents.sign(made.site, "acme", json.loads(text))
    answer = made.post(b"\n".join([bad]), **PROCEED)
    made.run()
    body = made.client.get(answer.headers["Location"])
    assert 100 < len(body.get_json()["errors"]) <= 1001
    many = made.site.sign(
        "acme", {"@context": [], "type": "ObjectEvent", **{f"f{n}": 1 for n in range(10_500)}}
    )
    answer = made.post(many)
    made.run()
    errors = made.client.get(answer.headers["Location"]).get_json()["errors"]
    assert len(errors) == 1001
    assert "more faults are not listed" in errors[-1]["detail"]


def test_what_was_begun_and_never_ended_is_run_again_and_changes_nothing_twice(made):
    answer = made.post(event(made.site, "a"), **JOSE)
    place = answer.headers["Location"]
    now = int(1000 * made.site.clock().timestamp())
    lost = made.jobs.claim(now)
    assert lost is not None
    # It appended, and was killed before it could say so.
    made.site.intake.submit([lost.body], allowed_typs=event_typs())
    size = made.site.reader.read_head().tree_size
    assert made.run() == [False]
    made.site.clock.forward(milliseconds=LEASE_MS)
    assert made.run() == [True]
    assert made.site.reader.read_head().tree_size == size
    assert made.client.get(place).get_json()["success"] is True
    # The first one comes back from wherever it was: its word counts no more.
    made.jobs.finish(lost, success=False, errors=b'["late"]', results=b"", now=now)
    assert not made.jobs.renew(lost, now)
    assert made.client.get(place).get_json()["errors"] == []


def test_a_job_that_ends_its_worker_each_time_is_given_up(made):
    place = made.post(event(made.site, "a"), **JOSE).headers["Location"]
    for _ in range(ATTEMPTS_MAX):
        assert made.jobs.claim(int(1000 * made.site.clock().timestamp())) is not None
        made.site.clock.forward(milliseconds=LEASE_MS)
    made.run()
    job = made.client.get(place).get_json()
    assert (job["running"], job["success"]) == (False, False)
    assert job["errors"][0]["type"] == "epcisException:ImplementationException"


def test_a_job_waits_while_the_sequencer_is_away(made):
    class Away:
        async def submit(self, submission):
            raise Busy("intake.sequencer-away", "away")

    place = made.post(event(made.site, "a"), **JOSE).headers["Location"]
    for _ in range(2 * ATTEMPTS_MAX):
        made.site.clock.forward(seconds=5)
        assert made.run(Away()) == [True]
        assert made.client.get(place).get_json()["running"] is True
        break
    made.site.clock.forward(seconds=5)
    assert made.run() == [True]
    assert made.client.get(place).get_json()["success"] is True


def test_two_workers_never_hold_one_job(made):
    for serial in range(20):
        made.post(event(made.site, str(serial)), **JOSE)
    now = int(1000 * made.site.clock().timestamp())
    others = [open_jobs(made.site.path) for _ in range(2)]
    taken, lock = [], threading.Lock()

    def work(jobs):
        while (one := jobs.claim(now)) is not None:
            with lock:
                taken.append(one.id)

    threads = [threading.Thread(target=work, args=(jobs,)) for jobs in [made.jobs, *others]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(taken) == len(set(taken)) == 20
    for jobs in others:
        jobs.close()


def test_the_exact_bytes_are_kept_until_the_end_and_then_go(made):
    body = b"\n".join(event(made.site, serial) for serial in "ab") + b"\n"
    made.post(body)
    again = open_jobs(made.site.path)
    work = again.claim(int(1000 * made.site.clock().timestamp()))
    assert work.body == body
    again.finish(work, success=True, errors=b"[]", results=b"{}", now=1)
    again.close()
    file = made.site.path.with_name(made.site.path.name + "-capture")
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    assert made.jobs.claim(2**60) is None


def test_old_outcomes_are_cleaned_and_waiting_jobs_are_not(made):
    first = made.post(event(made.site, "a"), **JOSE).headers["Location"]
    made.run()
    second = made.post(event(made.site, "b"), **JOSE).headers["Location"]
    made.site.clock.forward(days=8)
    now = int(1000 * made.site.clock().timestamp())
    assert made.jobs.clean(now - 7 * 24 * 3600 * 1000) == 1
    assert made.client.get(first).status_code == 404
    assert made.client.get(second).status_code == 200


def test_ids_that_are_guessed_lead_nowhere(made):
    made.post(event(made.site, "a"), **JOSE)
    for name in ("", "x", "A" * 22, "../jobs", "%00", "1 OR 1=1", "A" * 4000):
        answer = made.client.get("/capture/" + name)
        assert answer.status_code == 404, name
        assert b"errors" not in answer.data


def test_ids_have_128_bits_and_are_no_count(made):
    ids = {made.post(event(made.site, str(n)), **JOSE).headers["Location"][9:] for n in range(30)}
    assert len(ids) == 30
    assert all(len(one) == 22 for one in ids)
    assert len({one[:3] for one in ids}) > 15


def test_jobs_are_listed_in_pages_the_newest_first(made):
    places = [made.post(event(made.site, str(n)), **JOSE).headers["Location"] for n in range(5)]
    listed, address = [], "/capture?perPage=2"
    while address:
        answer = made.client.get(address)
        listed += [job["captureID"] for job in answer.get_json()]
        link = answer.headers.get("Link")
        address = link and link[1:].partition(">")[0].removeprefix(tt_site.BASE_URL)
        if link:
            assert "GS1-Next-Page-Token-Expires" in answer.headers
            made.post(event(made.site, f"later {len(listed)}"), **JOSE)
    assert listed == [place[9:] for place in reversed(places)]


def test_tokens_of_a_listing_are_ours_and_end(made):
    for n in range(3):
        made.post(event(made.site, str(n)), **JOSE)
    link = made.client.get("/capture?perPage=1").headers["Link"]
    token = link.partition("nextPageToken=")[2].partition(">")[0]
    assert made.client.get(f"/capture?nextPageToken={token}").status_code == 200
    for forged in ("x", token[:-2] + "AA", token + "A", ""):
        assert made.client.get(f"/capture?nextPageToken={forged}").status_code == 400
    made.site.clock.forward(hours=2)
    assert made.client.get(f"/capture?nextPageToken={token}").status_code == 400


def test_a_closed_ledger_lists_nobodys_jobs_and_shows_one_to_who_knows_it(tmp_path):
    made = Captured(tmp_path, read="none")
    place = made.post(event(made.site, "a"), **JOSE).headers["Location"]
    assert made.client.get("/capture").get_json() == []
    assert made.client.get(place).status_code == 200
    made.close()


def test_limits_are_announced_and_enforced(made):
    answer = made.client.options("/capture")
    assert answer.status_code == 204
    assert set(answer.headers["Allow"].split(", ")) >= {"GET", "POST", "OPTIONS"}
    assert answer.headers["GS1-Capture-Error-Behaviour"] == "all"
    lines = [event(made.site, str(n)) for n in range(51)]
    documents = [
        tt_documents.sign(
            made.site,
            "acme",
            tt_documents.document(
                tt_site.object_event(tt_site.LINE_START, [tt_site.pack_urn(str(n))], "inspecting")
                for n in range(51)
            ),
        ),
        tt_documents.sign(made.site, "acme", tt_documents.xml(*map(str, range(51)))),
        tt_documents.sign(
            made.site,
            "acme",
            tt_documents.xml(*map(str, range(51))).decode().replace("UTF-8", "UTF-16").encode("utf-16"),
        ),
    ]
    for body in (b"\n".join(lines), *documents, b"x" * 200_001):
        refused = made.post(body)
        for told in (refused, answer):
            assert told.headers["GS1-EPCIS-Capture-Limit"] == "50"
            assert told.headers["GS1-EPCIS-Capture-File-Size-Limit"] == "200000"
        assert refused.status_code == 413
        assert refused.get_json()["type"] == "epcisException:CaptureLimitExceededException"
    assert made.post(b"\n".join(lines[:50])).status_code == 202
    assert len(made.jobs.page(None, 100)) == 1


UNSIGNED = {
    "json": ("application/json", b'{"type":"EPCISDocument"}'),
    "json-ld": ("application/ld+json", b'{"type":"EPCISDocument"}'),
    "xml": ("application/xml", tt_documents.xml("a")),
    "text xml": ("text/xml", tt_documents.xml("a")),
    "json said to be signed": ("application/jose", b' {"type":"EPCISDocument"}'),
    "xml said to be signed": ("application/vnd.tallystick.jws-lines", tt_documents.xml("a")),
}


@pytest.mark.parametrize("path", ["/capture", "/statements"])
def test_what_is_not_signed_is_told_how_to_be(made, path):
    for name, (media_type, body) in UNSIGNED.items():
        _told_how_to_sign(made, path, name, media_type, body)


def _told_how_to_sign(made, path, name, media_type, body):
    length = {"CONTENT_LENGTH": str(len(body))}
    answer = made.client.post(path, data=body, headers={"Content-Type": media_type}, environ_overrides=length)
    if path == "/statements":
        on_loop = asyncio.run(
            ask(
                door_of(made.site),
                "POST",
                path,
                [("Content-Type", media_type), ("Content-Length", str(len(body)))],
                [body],
            )
        )
        assert (on_loop.status, on_loop.body) == (answer.status_code, answer.data)
    told = answer.get_json()
    assert answer.status_code == told["status"] == (400 if "said" in name else 415)
    assert told["code"] == "statement.unsigned"
    if path == "/capture":
        kind = "Validation" if "said" in name else "UnsupportedMediaType"
        assert told["type"] == f"epcisException:{kind}Exception"
    assert told["fix"]
    example = told["example"]
    assert example["header"]["aud"] == tt_keys.ORIGIN
    assert example["command"].startswith("tallystick send --document capture.")
    # The header that it shows is good once its two blanks are filled in.
    key = made.site.keys["acme"]
    event_value = tt_site.object_event(tt_site.LINE_START, [tt_site.pack_urn("a")], "inspecting")
    signed = tt_documents.sign(made.site, "acme", tt_documents.document([event_value]))
    header = json.loads(tt_documents.decoded_header(signed))
    assert {**example["header"], "kid": key.public.kid, "nonce": header["nonce"]} == header


def test_a_request_that_is_no_list_of_statements_makes_no_job(made):
    for body in (b"x", b"a.b", b"a.b.c.d", b"a.b.c\n\na.b.c", b"\n"):
        refused = made.post(body)
        assert refused.status_code == 400
        assert refused.get_json()["type"] == "epcisException:ValidationException"
    assert made.jobs.page(None, 10) == []


def test_too_many_waiting_jobs_are_turned_away(made, monkeypatch):
    monkeypatch.setattr("intake.capture_jobs.WAITING_JOBS_MAX", 2)
    for n in range(2):
        assert made.post(event(made.site, str(n)), **JOSE).status_code == 202
    refused = made.post(event(made.site, "2"), **JOSE)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "30")
    made.run()
    assert made.post(event(made.site, "2"), **JOSE).status_code == 202


def test_xml_attacks_through_the_capture_door(made):
    bomb = tt_documents.xml("a").replace(
        b"<epcis:", b'<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]><epcis:', 1
    )
    answer = made.post(tt_documents.sign(made.site, "acme", bomb), **JOSE)
    made.run()
    (error,) = made.client.get(answer.headers["Location"]).get_json()["errors"]
    assert (error["code"], error["type"]) == ("xml.doctype", "epcisException:ValidationException")
    assert (error["pointer"], error["line"]) == ("", 0), "the whole document"
    assert error["fix"]


def test_errors_show_while_a_large_job_proceeds(made, monkeypatch):
    monkeypatch.setattr("api.capture_runner.CHUNK_COUNT", 2)
    lines = [bad_event(made.site, "x"), *(event(made.site, str(n)) for n in range(5))]
    place = made.post(b"\n".join(lines), **PROCEED).headers["Location"]
    seen = []

    class Watched(LoopGate):
        async def submit(self, submission):
            seen.append(made.client.get(place).get_json())
            return await super().submit(submission)

    made.run(Watched(made.site))
    assert [(job["running"], job["success"]) for job in seen] == [(True, True), (True, False), (True, False)]
    results = made.client.get(place + "/results").get_json()["results"]
    assert [result["line"] for result in results] == list(range(6))


def test_versions_are_negotiated(made):
    refused = made.post(event(made.site, "a"), **JOSE, **{"GS1-EPCIS-Version": "1.2"})
    assert (refused.status_code, refused.get_json()["type"]) == (406, "epcisException:NotAcceptableException")
    taken = made.post(event(made.site, "a"), **JOSE, **{"GS1-EPCIS-Version": "2.0"})
    assert taken.headers["GS1-EPCIS-Version"] == "2.0.0"


def test_the_runner_lives_as_long_as_the_server(made):
    async def live():
        with ThreadPoolExecutor(2) as pool:
            flow = Flow(made.site.intake, LoopGate(made.site), pool)
            runner = CaptureRunner(made.jobs, flow, pool, made.site.clock, event_typs(), poll_s=60)
            door = door_of(made.site, background=runner.run)
            said: asyncio.Queue = asyncio.Queue()
            heard: asyncio.Queue = asyncio.Queue()
            server = asyncio.create_task(door({"type": "lifespan"}, said.get, heard.put))
            await said.put({"type": "lifespan.startup"})
            assert (await heard.get())["type"] == "lifespan.startup.complete"
            await asyncio.sleep(0.05)
            work = made.jobs.create("rollback", True, event(made.site, "a"), 1)
            runner.nudge()
            for _ in range(200):
                await asyncio.sleep(0.02)
                if not made.jobs.find(work).is_running:
                    break
            assert made.jobs.find(work).success
            await said.put({"type": "lifespan.shutdown"})
            assert (await heard.get())["type"] == "lifespan.shutdown.complete"
            await server

    asyncio.run(live())


def test_a_moment_is_kept_to_the_millisecond(made):
    made.site.clock.forward(milliseconds=123)
    place = made.post(event(made.site, "a"), **JOSE).headers["Location"]
    assert made.job(place[9:])["createdAt"].endswith(".123Z")
    assert timedelta(milliseconds=LEASE_MS) < timedelta(minutes=1)
