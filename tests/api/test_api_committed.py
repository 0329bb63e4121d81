"""What was appended is never answered as if the sender had done something wrong: it stands in the ledger."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
import tt_site
from tt_site import Site

LINES = "application/vnd.tallystick.jws-lines"


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM entries WHERE seq = 2",
        "UPDATE entries SET entry = x'' WHERE seq = 2",
        "DELETE FROM entries WHERE seq = (SELECT max(seq) FROM entries)",
        "UPDATE entries SET entry = x'7b7d' WHERE seq = (SELECT max(seq) FROM entries)",
    ],
)
def test_a_receipt_that_cannot_be_made_is_the_servers_fault(site, sql):
    lines = [
        site.sign("acme", tt_site.object_event(site.clock(), [tt_site.pack_urn(serial)], "inspecting"))
        for serial in ("1", "2")
    ]
    append = site.intake.submit

    def append_and_damage(*arguments, **named):
        outcome = append(*arguments, **named)
        with closing(sqlite3.connect(site.path)) as connection, connection:
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            ).fetchall():
                connection.execute(f"DROP TRIGGER {name}")
            connection.execute(sql)
        return outcome

    site.intake.submit = append_and_damage
    before = site.log.head.tree_size
    response = site.client.post("/statements?receipts=true", data=b"\n".join(lines), content_type=LINES)
    assert site.log.head.tree_size == before + 2
    assert response.status_code in (201, 500)
    if response.status_code == 500:
        assert response.json["code"] == "record.damaged"
        assert "faults" not in response.json
