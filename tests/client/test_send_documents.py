"""Documents from the partner's desk: signed whole as they are, or each event by itself."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
import tt_documents
import tt_keys
import tt_site
from click.testing import CliRunner

from client.errors import InputMalformed
from client.http import LedgerDoor, Patience
from client.inputs import TYP_DOCUMENT, TYP_EVENT, read_drafts
from client.outbox import Outbox
from client.receipts import ReceiptChecker, parse_log_keys
from client.submit import Sender
from keys import envelope
from keys.files import write_private_key
from tallystick.cli import cli
from tallystick.commands.partner_documents import split_drafts, typ_of_options
from traceability.gs1 import canonical
from traceability.history import history

PASSPHRASE = "correct horse"


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("keys.files.SCRYPT_COST", 2)
    monkeypatch.setenv("TALLYSTICK_PASSPHRASE", PASSPHRASE)
    for name in ("URL", "KEY", "ORIGIN", "LOG_KEY", "OUTBOX"):
        monkeypatch.delenv(f"TALLYSTICK_{name}", raising=False)
    write_private_key("acme.key", tt_keys.ed25519_key("acme"), PASSPHRASE.encode())
    events = [
        tt_site.object_event(
            tt_site.LINE_START + timedelta(minutes=n), [tt_site.pack_urn(serial)], "shipping", **{"ex:n": n}
        )
        for n, serial in enumerate("ab")
    ]
    Path("day.json").write_text(json.dumps(tt_documents.document(events), indent=1))
    Path("day.xml").write_bytes(tt_documents.xml("c", "d", "e"))
    return tmp_path


def run(*arguments, code=0):
    result = CliRunner().invoke(cli, list(arguments))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def told():
    return ["--key", "acme.key", "--origin", tt_keys.ORIGIN]


def test_a_document_is_signed_whole_byte_for_byte(desk):
    run("sign", "day.json", "--document", "--out", "j", *told())
    run("sign", "day.xml", "--document", "--out", "x", *told())
    for name in ("j/day.jws", "x/day.jws"):
        (line,) = Path(name).read_bytes().splitlines()
        statement = envelope.parse(line)
        assert statement.typ == TYP_DOCUMENT
        assert statement.payload == Path("day.json" if name[0] == "j" else "day.xml").read_bytes()


@pytest.mark.parametrize(("name", "count"), [("day.json", 2), ("day.xml", 3)])
def test_a_document_is_split_into_statements_of_events(desk, name, count):
    run("sign", name, "--split", *told())
    signed = [envelope.parse(line) for line in Path("day.jws").read_bytes().splitlines()]
    assert [one.typ for one in signed] == [TYP_EVENT] * count
    values = [json.loads(one.payload) for one in signed]
    assert all("@context" in value for value in values)
    if name == "day.json":
        assert [value["ex:n"] for value in values] == [0, 1]
    assert "had been signed before" in run("sign", name, "--split", *told()).output


def test_what_is_what_is_said_before_anything_is_signed(desk):
    Path("bad.xml").write_bytes(tt_documents.xml("c").replace(b"OBSERVE", b"LOOK"))
    Path("event.json").write_text(json.dumps(tt_site.object_event(tt_site.LINE_START, [], "shipping")))
    for name in ("day.json", "day.xml"):
        said = run("sign", name, *told(), code=2).output
        assert "--document" in said
        assert "--split" in said
    assert "input.no-document" in run("sign", "event.json", "--document", *told(), code=2).output
    assert "/epcisBody/eventList/0/action" in run("sign", "bad.xml", "--split", *told(), code=2).output
    assert "choose one" in run("sign", "day.json", "--split", "--document", *told(), code=2).output
    assert list(desk.rglob("*.jws")) == []


def test_both_arrive_with_receipts(desk, tmp_path):
    site = tt_site.Site(tmp_path)
    with (
        LedgerDoor("http://ledger.test", transport=httpx2.WSGITransport(app=site.app)) as door,
        Outbox.open(tmp_path / "outbox.sqlite", origin=tt_keys.ORIGIN) as outbox,
    ):
        for typ, what in (typ_of_options(TYP_EVENT, True, False), typ_of_options(TYP_EVENT, False, True)):
            drafts = read_drafts(["day.json", "day.xml"], None, typ=what)
            drafts = drafts if typ == what else split_drafts(drafts)
            list(outbox.enqueue(list(drafts), typ=typ, find_key=lambda: tt_keys.ed25519_key("acme")))
        checker = ReceiptChecker(parse_log_keys([site.signer.vkey]), tt_keys.ORIGIN)
        summary = Sender(outbox, door, checker, patience=Patience(0)).run()
        assert (summary.ended_by, summary.receipted, summary.refused) == (None, 2 + 5, 0)
    for serial in "abcde":
        whole, alone = history(site.reader, canonical(tt_site.pack_urn(serial))).items
        assert whole.event.value["eventTime"] == alone.event.value["eventTime"]
    site.close()


def test_a_split_document_with_a_fault_is_not_signed_in_part(desk):
    Path("bad.json").write_text(
        json.dumps(tt_documents.document([tt_site.object_event(tt_site.LINE_START, ["x:1"], "no step")]))
    )
    with pytest.raises(InputMalformed) as raised:
        list(split_drafts(read_drafts(["bad.json"], None, typ="any")))
    assert raised.value.pointer.startswith("/epcisBody/eventList/0/")
