"""Two sequencers, each a process of its own, on one ledger in PostgreSQL: they make one history."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tt_store import GENESIS, ORIGIN, SIGNER, LedgerFolder, assert_sound

from ledger.audit import audit
from ledger.store.opening import open_reader

pytestmark = pytest.mark.fault

SEQUENCERS = 2
BATCHES = 60
SHARED_EVERY = 5  # every so many batches, all of them ask for the same statements
SUPPORT = Path(__file__).resolve().parents[1] / "support"
# Says "ready", waits for a line, then appends what it was told, as columns first, and tells the places.
SEQUENCER = """
import json, sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from ledger.errors import HeadMoved, KeyTaken
from ledger.log import Columns, Pending
from ledger.store.opening import parse_database
from ledger.store.packing import pack_parts
from tt_store import LedgerFolder

number, batches, shared_every = map(int, sys.argv[2:5])
folder = LedgerFolder(Path(sys.argv[1]), parse_database("env:TALLYSTICK_TEST_DATABASE"),
                      clock=lambda: datetime.now(UTC))
log = folder.log()
if log.read_only_reason is not None:
    log.accept_head()
print("ready", flush=True)
sys.stdin.readline()
placed, lost, taken = [], 0, 0
for batch in range(batches):
    who = "shared" if batch % shared_every == 0 else str(number)
    raws = [f"{who} {batch} {place}".encode() for place in range(7)]
    keys = [sha256(raw).digest() for raw in raws]
    columns = Columns("event", keys, keys, [b""] * 7, pack_parts(raws))
    items = [Pending("event", raw, key) for raw, key in zip(raws, keys)]
    is_exact = False
    while True:
        head = log.head
        try:
            if is_exact:
                seqs = [place.seq for place in log.append(items, expected=head).placed]
            else:
                log.append_columns(columns, expected=head, recorded_at=log.record_time())
                seqs = list(range(head.tree_size, head.tree_size + 7))
            break
        except HeadMoved:
            lost += 1
        except KeyTaken:
            is_exact, taken = True, taken + 1
    placed += [[seq, raw.decode()] for seq, raw in zip(seqs, raws)]
print(json.dumps({"placed": placed, "lost": lost, "taken": taken}), flush=True)
folder.close()
"""


def test_two_processes_make_one_history_and_no_statement_stands_twice(postgres, tmp_path):
    address = postgres.new_database()
    start = LedgerFolder(tmp_path, address)
    start.log().create(GENESIS)
    start.close()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), str(SUPPORT.parents[1])]),
        "TALLYSTICK_TEST_DATABASE": address.render_as_string(hide_password=False),
    }
    sequencers = []
    try:
        for number in range(SEQUENCERS):
            folder = tmp_path / str(number)
            folder.mkdir()
            sequencers.append(
                subprocess.Popen(
                    [sys.executable, "-c", SEQUENCER, folder, *map(str, (number, BATCHES, SHARED_EVERY))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
            )
        assert [sequencer.stdout.readline() for sequencer in sequencers] == ["ready\n"] * SEQUENCERS
        for sequencer in sequencers:
            sequencer.stdin.write("go\n")
            sequencer.stdin.flush()
        told = [json.loads(sequencer.communicate(timeout=60)[0]) for sequencer in sequencers]
    finally:
        for sequencer in sequencers:
            sequencer.kill()
            sequencer.wait()
    assert sum(one["lost"] for one in told) > 0, "they never met, so nothing was tested"
    assert sum(one["taken"] for one in told) > 0, "no two asked for the same, so nothing was tested"
    places = [{raw: seq for seq, raw in one["placed"]} for one in told]
    assert all(places[0][raw] == places[1][raw] for raw in set(places[0]) & set(places[1]))
    reader = open_reader(address)
    every = {raw: seq for one in places for raw, seq in one.items()}
    assert_sound(reader, size=1 + len(every))
    statements = reader.read_statements(0, 1 + len(every))
    assert all(statements[seq] == raw.encode() for raw, seq in every.items())
    assert audit(reader, [SIGNER.verifier], ORIGIN).findings == ()
    reader.close()
