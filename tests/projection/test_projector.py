"""The projection follows the log: the same however it is stopped, and made again where it does not fit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tt_epcis import object_event
from tt_projection import Asked, PaperLog, anyone

from ledger.errors import StoreFailed
from projection import projector as projector_module
from projection import schema
from projection.segments import Bucket, read_column
from projection.store import open_writer
from traceability.queries.parameters import parse_url


def log_of(count: int) -> PaperLog:
    return PaperLog(
        object_event(
            f"urn:epc:id:sgtin:9521141.012345.{n}",
            bizStep="shipping" if n % 2 else "receiving",
            readPoint={"id": f"urn:epc:id:sgln:9521141.0001{n % 3}.0"},
        )
        for n in range(count)
    )


def contents(ready: Asked) -> list[tuple[object, ...]]:
    """The whole projection as rows of numbers and terms, however it is cut into segments."""
    reader = ready.engine().projection
    found: list[tuple[object, ...]] = []
    with reader.snapshot() as snapshot:
        for extent in snapshot.extents():
            seqs = read_column("seq", snapshot.column(extent.first_row, "seq")).tolist()
            times = read_column("event_time", snapshot.column(extent.first_row, "event_time")).tolist()
            terms: list[list[int]] = [[] for _ in seqs]
            for number in range(1 << extent.bits):
                body = snapshot.bucket(extent.first_row, number)
                if body is not None:
                    for term, rows in Bucket(body).all():
                        for row in rows.tolist():
                            terms[row].append(term)
            found += [(seq, when, *sorted(held)) for seq, when, held in zip(seqs, times, terms, strict=True)]
        kinds = ("eventTypes", "bizSteps", "dispositions", "readPoints", "bizLocations")
        found += [(kind, *snapshot.seen(kind, "", 100)) for kind in kinds]
    return found


def test_it_is_the_same_however_often_it_is_stopped(tmp_path, monkeypatch):
    log = log_of(100)
    monkeypatch.setattr(projector_module, "READ_ENTRIES", 3)
    ready = []
    for number, batch in enumerate((1, 7, 100)):
        monkeypatch.setattr(projector_module, "BATCH_ENTRIES", batch)
        folder = tmp_path / str(number)
        folder.mkdir()
        one = Asked(folder, log)
        while one.projector().step().behind:  # each time as a new process would
            one.close()
        ready.append(contents(one))
        one.close()
    assert ready[0] == ready[1] == ready[2]
    assert len(ready[0]) == 105


def test_segments_stay_few(tmp_path, monkeypatch):
    monkeypatch.setattr(projector_module, "BATCH_ENTRIES", 1)
    ready = Asked(tmp_path, log_of(70))
    ready.projector().catch_up()
    with ready.engine().projection.snapshot() as snapshot:
        assert len(snapshot.extents()) <= 8
    ready.close()


def test_a_step_over_nothing_new_changes_nothing(tmp_path):
    ready = Asked(tmp_path, log_of(5))
    projector = ready.projector()
    projector.catch_up()
    before = contents(ready)
    assert projector.step().behind == 0
    assert contents(ready) == before
    ready.close()


def test_only_one_process_keeps_it(tmp_path):
    ready = Asked(tmp_path, log_of(1))
    ready.projector()
    script = (
        "import sys; from pathlib import Path; from projection.store import open_writer\n"
        "open_writer(Path(sys.argv[1]))"
    )
    other = subprocess.run(
        [sys.executable, "-c", script, str(ready.database)], capture_output=True, text=True, check=False
    )
    assert "another process" in other.stderr
    ready.close()


def test_before_there_is_one_a_reader_is_told_to_wait(tmp_path):
    ready = Asked(tmp_path, log_of(1))
    with pytest.raises(StoreFailed):
        ready.engine().search(parse_url(""), anyone)
    writer = open_writer(ready.database)
    with pytest.raises(StoreFailed) as caught:
        ready.engine().search(parse_url(""), anyone)
    assert caught.value.code == "projection.building"
    writer.close()
    ready.close()


def test_what_another_version_made_is_made_again(tmp_path, monkeypatch):
    ready = Asked(tmp_path, log_of(9))
    ready.projector().catch_up()
    before = contents(ready)
    ready.close()
    monkeypatch.setattr("projection.store.FORMAT", schema.FORMAT + 1)
    with pytest.raises(StoreFailed):
        ready.engine().search(parse_url(""), anyone)
    ready.projector().catch_up()
    assert contents(ready) == before
    ready.close()


def test_another_ledger_under_the_same_name_is_noticed(tmp_path):
    ready = Asked(tmp_path, log_of(9))
    ready.projector().catch_up()
    ready.close()
    ready.log = PaperLog(object_event("urn:epc:id:sgtin:9521141.012345.7") for _ in range(3))
    ready.projector().catch_up()
    assert len(ready.engine().search(parse_url(""), anyone).events) == 3
    ready.close()


def test_a_restored_backup_is_followed_from_its_beginning(tmp_path):
    ready = Asked(tmp_path, log_of(9))
    projector = ready.projector()
    projector.catch_up()
    del ready.log.statements[5:]
    ready.log._chained = []
    assert projector.catch_up().covered == 5
    assert len(ready.engine().search(parse_url(""), anyone).events) == 5
    ready.close()


def test_a_failed_write_is_found_out_and_done_again(tmp_path, monkeypatch):
    ready = Asked(tmp_path, log_of(30))
    monkeypatch.setattr(projector_module, "BATCH_ENTRIES", 10)
    projector = ready.projector()
    projector.step()
    real = projector._writer.append
    failures = iter((True, False))

    def failing(*args, **options):
        state = real(*args, **options)
        if next(failures, False):  # written, and then the answer was lost
            raise StoreFailed("projection.write", "lost")
        return state

    monkeypatch.setattr(projector._writer, "append", failing)
    with pytest.raises(StoreFailed):
        projector.step()
    assert projector.catch_up().covered == 30
    found = ready.engine().search(parse_url("perPage=100"), anyone).events
    assert [one.seq for one in found] == list(range(30))
    ready.close()


def test_statements_that_are_none_are_passed_over(tmp_path):
    log = log_of(4)
    log.statements[1] = b"no statement"
    log.statements[2] = None
    ready = Asked(tmp_path, log)
    assert ready.projector().catch_up().covered == 4
    assert [one.seq for one in ready.engine().search(parse_url(""), anyone).events] == [0, 3]
    ready.close()


WORKER = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
from tt_projection import Asked
from test_projector_log import log_of
import projection.projector as p
p.BATCH_ENTRIES = 5
ready = Asked(Path({folder!r}), log_of(400))
projector = ready.projector()
print("ready", flush=True)
while projector.step().behind:
    pass
print("done", flush=True)
"""


@pytest.mark.fault
def test_killed_at_any_moment_it_goes_on_where_it_was(tmp_path):
    helper = tmp_path / "helper"
    helper.mkdir()
    source = Path(__file__).read_text()
    (helper / "test_projector_log.py").write_text(
        "from tt_epcis import object_event\nfrom tt_projection import PaperLog\n\n\n"
        + source[source.index("def log_of") : source.index("def contents")]
    )
    folder = tmp_path / "ledger"
    folder.mkdir()
    root = Path(__file__).parents[2]
    script = WORKER.format(
        paths=[str(root), str(root / "tests" / "support"), str(helper)], folder=str(folder)
    )
    for round_number in range(5):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.02 * round_number)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    ready = Asked(folder, log_of(400))
    assert ready.projector().catch_up().covered == 400
    after = contents(ready)
    ready.close()
    whole = Asked(tmp_path / "whole", ready.log)
    whole.folder.mkdir()
    whole.projector().catch_up()
    assert contents(whole) == after
    whole.close()
    assert len(after) == 405
