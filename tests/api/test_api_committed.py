"""What was appended is never answered as if the sender had done something wrong: it stands in the ledger."""

from __future__ import annotations

import pytest
import tt_rows
import tt_site
from tt_site import Site

LINES = "application/vnd.tallystick.jws-lines"


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.mark.parametrize("entry", [b"", b"{}"], ids=["gone", "altered"])
@pytest.mark.parametrize("place", [0, 1], ids=["first", "last"])
def test_a_receipt_that_cannot_be_made_is_the_servers_fault(site, place, entry):
    lines = [
        site.sign("acme", tt_site.object_event(site.clock(), [tt_site.pack_urn(serial)], "inspecting"))
        for serial in ("1", "2")
    ]
    append = site.intake.submit
    before = site.log.head.tree_size

    def append_and_damage(*arguments, **named):
        outcome = append(*arguments, **named)
        tt_rows.alter_entry(site.path, before + place, entry)
        return outcome

    site.intake.submit = append_and_damage
    response = site.client.post("/statements?receipts=true", data=b"\n".join(lines), content_type=LINES)
    assert site.log.head.tree_size == before + 2
    assert response.status_code in (201, 500)
    if response.status_code == 500:
        assert response.json["code"] == "record.damaged"
        assert "faults" not in response.json
