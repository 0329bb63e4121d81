"""The store of capture jobs keeps its word in a SQLite file and in PostgreSQL alike."""

from __future__ import annotations

import threading

import pytest
from tt_epcis import object_event
from tt_projection import PaperLog

from intake.capture_jobs import CLAIM_MS, LEASE_MS, open_jobs
from ledger.errors import StoreFailed
from projection.identity import key_of_hash
from projection.projector import Projector
from projection.store import open_reader, open_writer
from tallystick.projector_process import assign_event_id
from traceability.event_hash import event_hash


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    if request.param == "sqlite":
        return tmp_path / "ledger.db"
    return request.getfixturevalue("postgres").new_database()


@pytest.fixture
def jobs(database):
    found = open_jobs(database)
    yield found
    found.close()


def test_a_jobs_whole_life(jobs):
    job_id = jobs.create("proceed", False, b"a.b.c\nd.e.f", 1_000)
    waiting = jobs.find(job_id)
    assert (waiting.is_running, waiting.success, waiting.errors, waiting.finished_at) == (
        True,
        True,
        b"[]",
        None,
    )
    work = jobs.claim(2_000)
    assert (work.id, work.body, work.behaviour, work.is_single) == (job_id, b"a.b.c\nd.e.f", "proceed", False)
    assert jobs.claim(2_000) is None
    assert jobs.renew(work, 3_000)
    assert jobs.claim(2_000 + LEASE_MS) is None
    jobs.note_errors(work, b'[{"line":0}]')
    assert (jobs.find(job_id).is_running, jobs.find(job_id).success) == (True, False)
    assert jobs.find_results(job_id) is None
    jobs.release(work, 5_000)
    assert jobs.claim(4_999) is None
    again = jobs.claim(5_000)
    assert jobs.attempts(again) == 1
    third = jobs.claim(5_000 + LEASE_MS)
    assert (third.id, jobs.attempts(third)) == (job_id, 2)
    assert not jobs.renew(again, 6_000)
    jobs.finish(again, success=True, errors=b"[]", results=b"late", now=7_000)
    jobs.finish(third, success=False, errors=b'["x"]', results=b'{"results":[]}', now=8_000)
    done = jobs.find(job_id)
    assert (done.is_running, done.success, done.errors, done.finished_at) == (False, False, b'["x"]', 8_000)
    assert jobs.find_results(job_id) == b'{"results":[]}'
    assert jobs.clean(8_000) == 0
    assert jobs.clean(8_001) == 1
    assert jobs.find(job_id) is None


def test_pages_are_the_newest_first(jobs):
    ids = [jobs.create("rollback", True, b"a.b.c", 100 + n // 2) for n in range(5)]
    first = jobs.page(None, 2)
    rest = jobs.page((first[-1].created_at, first[-1].id), 10)
    assert [job.created_at for job in (*first, *rest)] == [102, 101, 101, 100, 100]
    assert {job.id for job in (*first, *rest)} == set(ids)


def test_workers_that_start_and_claim_together(database):
    opened, taken, lock = [], [], threading.Lock()
    seed = open_jobs(database)
    for _ in range(12):
        seed.create("rollback", True, b"a.b.c", 1)
    barrier = threading.Barrier(3)

    def work():
        barrier.wait()
        own = open_jobs(database)
        while (one := own.claim(10)) is not None:
            with lock:
                taken.append(one.id)
        with lock:
            opened.append(own)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(opened) == 3
    assert len(taken) == len(set(taken)) == 12
    for own in (*opened, seed):
        own.close()


def test_an_identity_has_one_holder(jobs):
    first = jobs.hold(["a", "b"], 1_000)
    assert first is not None
    assert jobs.hold(["b", "c"], 1_000) is None
    other = jobs.hold(["c"], 1_000)
    assert other is not None, "a claim that failed leaves nothing behind"
    jobs.let_go(first)
    assert jobs.hold(["a"], 1_000) is not None
    assert jobs.hold(["c"], 1_000 + CLAIM_MS - 1) is None
    assert jobs.hold(["c"], 1_000 + CLAIM_MS) is not None


def test_what_the_database_says_does_not_leave_here(jobs):
    with pytest.raises(StoreFailed) as caught, jobs._transaction() as run:
        run("SELECT nothing FROM {p}nowhere")
    assert "nowhere" not in caught.value.detail
    assert jobs.page(None, 1) == []


def test_hashes_and_findings_are_kept_with_the_projection(database):
    value = object_event("urn:epc:id:sgtin:9521141.012345.1")
    log = PaperLog(
        [value, object_event("urn:epc:id:sgtin:9521141.012345.2"), {**value, "eventID": "ni:///x"}]
    )
    writer = open_writer(database)
    Projector(log, writer, assign_event_id).catch_up()
    reader = open_reader(database)
    with reader.snapshot() as snapshot:
        assert snapshot.find_hash(key_of_hash(event_hash(value))) == (0, 0)
        assert snapshot.find_hash(bytes(16)) is None
        found = snapshot.findings((-1, 0, ""), 10)
        assert snapshot.findings((found[0].seq, 0, found[0].code), 10) == found[1:]
    assert [(one.seq, one.code) for one in found] == [(2, "event.hash.other"), (2, "event.hash.twice")]
    for one in (reader, writer):
        one.close()
