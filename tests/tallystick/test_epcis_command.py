"""Promises of `tallystick epcis`: what it finds, on which line, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from tt_epcis import CONTEXT, object_event
from tt_epcis_xml import EVENT_2_0, document, vectors

from tallystick.cli import cli
from tallystick.commands.json_position import find_positions
from traceability.event_hash import event_hash

GOOD = json.dumps(object_event())
BAD = """{
  "@context": ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],
  "type": "EPCISDocument",
  "schemaVersion": "2.0", "creationDate": "2026-11-05T09:00:00Z",
  "epcisBody": {"eventList": [
    {"type": "ObjectEvent", "eventTime": "2026-11-05T08:15:00.000Z", "eventTimeZoneOffset": "+01:00",
     "epcList": ["urn:epc:id:sgtin:9521141.012345.1", "urn:epc:id:sgtin:9521141.012345.1%"],
     "action": "OBSERV"},
    {"type": "ObjectEvent", "eventTime": "2026-11-05T08:15:00.000Z",
     "epcList": ["urn:epc:id:sgtin:9521141.012345.1"], "action": "OBSERVE"}
  ]}
}
"""


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, ["epcis", *map(str, arguments)], input=stdin)


@pytest.fixture
def files(tmp_path):
    for name, data in {
        "good.json": GOOD.encode(),
        "bad.json": BAD.encode(),
        "good.xml": document(),
        "bad.xml": document(EVENT_2_0.replace("OBSERVE", "LOOK")),
        "old.xml": document(version="1.2"),
        "bomb.xml": document(before='<!DOCTYPE x [<!ENTITY a "b">]>'),
        "text.txt": b"no event",
    }.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_good_files_of_either_format_are_valid(files):
    result = run("validate", files / "good.json", files / "good.xml", files / "old.xml")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{files}/good.json: valid, 1 event (JSON)",
        f"{files}/good.xml: valid, 1 event (EPCIS 2.0 XML)",
        f"{files}/old.xml: valid, 1 event (EPCIS 1.2 XML)",
        "3 of 3 files are valid.",
    ]


def test_faults_in_json_show_their_line_and_column(files):
    result = run("validate", files / "bad.json")
    assert result.exit_code == 1
    said = result.stdout
    assert f"{files}/bad.json:7:55: gs1.percent-encoding /epcisBody/eventList/0/epcList/1\n" in said
    assert f"{files}/bad.json:8:6: epcis.action /epcisBody/eventList/0/action\n" in said
    assert '    8 |      "action": "OBSERV"},\n             ^\n' in said
    assert f"{files}/bad.json:9:5: epcis.required /epcisBody/eventList/1\n" in said
    assert "    Fix: Say ADD, OBSERVE or DELETE.\n" in said
    assert said.endswith("bad.json: not valid, 3 faults, 2 events (JSON)\n")


def test_faults_in_xml_show_their_line_and_path(files):
    result = run("validate", files / "bad.xml")
    assert result.exit_code == 1
    assert (
        f"{files}/bad.xml:7: epcis.action /epcis:EPCISDocument/EPCISBody/EventList/ObjectEvent/action\n"
        in (result.stdout)
    )
    assert "    7 | <action>LOOK</action>\n" in result.stdout


def test_json_output_is_one_object_a_line(files):
    result = run(
        "validate", "--json", files / "good.json", files / "bad.json", files / "bad.xml", files / "bomb.xml"
    )
    assert result.exit_code == 1
    good, bad, xml, bomb = map(json.loads, result.stdout.splitlines())
    assert good == {"file": f"{files}/good.json", "valid": True, "events": 1, "faults": []}
    assert (bad["valid"], bad["events"]) == (False, 2)
    assert bad["faults"][1] == {
        "pointer": "/epcisBody/eventList/0/action",
        "code": "epcis.action",
        "detail": "'OBSERV' is no action",
        "fix": "Say ADD, OBSERVE or DELETE.",
        "line": 8,
        "column": 6,
    }
    assert xml["faults"][0]["line"] == 7
    assert xml["faults"][0]["xpath"].endswith("/ObjectEvent/action")
    assert (bomb["valid"], bomb["events"], bomb["faults"][0]["code"]) == (False, 0, "xml.doctype")


def test_what_is_no_json_shows_where_reading_stopped(files):
    (files / "cut.json").write_text('{\n  "type": "ObjectEvent",\n  "a": tru\n}')
    result = run("validate", files / "cut.json", files / "text.txt")
    assert result.exit_code == 1
    assert f"{files}/cut.json:3:8: json.syntax" in result.stdout
    assert f"{files}/text.txt:1:1: json.syntax" in result.stdout


@pytest.mark.parametrize(
    "text", ["[]", "3", '{"type": "EPCISDocument"}', '{"type": "EPCISDocument", "epcisBody": []}']
)
def test_json_that_holds_no_events_is_not_valid(text):
    result = run("validate", "--json", "-", stdin=text.encode())
    assert result.exit_code == 1
    assert json.loads(result.stdout)["faults"][0]["fix"]


def test_standard_input_is_read_in_either_format():
    for data, form in ((GOOD.encode(), "JSON"), (document(), "EPCIS 2.0 XML")):
        result = run("validate", "-", stdin=data)
        assert (result.exit_code, result.stdout) == (0, f"-: valid, 1 event ({form})\n")


def test_wrong_usage_ends_with_2(files):
    assert run("validate").exit_code == 2
    assert run("validate", files / "missing.json").exit_code == 2
    assert run("validate", files).exit_code == 2
    assert run("convert", "--to", "yaml", files / "good.json").exit_code == 2
    assert (
        run("convert", "--to", "xml", "-o", files / "x", files / "good.json", files / "good.xml").exit_code
        == 2
    )
    assert run("sing").exit_code == 2


def test_hashes_are_those_of_the_vectors(shared):
    cases = [*vectors(shared, ".jsonld"), *vectors(shared, ".xml")]
    result = run("hash", "--json", *[path for path, _ in cases])
    assert result.exit_code == 0
    assert [json.loads(line)["hashes"] for line in result.stdout.splitlines()] == [h for _, h in cases]


def test_a_hash_is_printed_with_the_place_of_its_event(files):
    result = run("hash", files / "good.json", files / "good.xml")
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert first == f"{event_hash(object_event())}  {files}/good.json"
    assert second.endswith(f"  {files}/good.xml#/epcisBody/eventList/0")


def test_an_event_id_that_says_another_hash_is_reported(files):
    value = event_hash(object_event())
    for claimed, reported in ((value, False), (value.replace("ni:///sha-256;", "ni:///sha-256;0"), True)):
        (files / "id.json").write_text(json.dumps(object_event(eventID=claimed)))
        result = run("hash", files / "id.json")
        assert result.exit_code == 0
        assert ("says another hash" in result.stderr) is reported
        assert ("otherEventID" in json.loads(run("hash", "--json", files / "id.json").stdout)) is reported


def test_an_event_that_has_no_hash_says_why_and_does_not_hide_the_others(files):
    events = [object_event(), object_event(eventTime="now"), object_event()]
    (files / "some.json").write_text(
        json.dumps(
            {"type": "EPCISDocument", "@context": CONTEXT, "epcisBody": {"eventList": events}}, indent=1
        )
    )
    result = run("hash", "--json", files / "some.json")
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    value = event_hash(object_event())
    assert said["hashes"] == [value, None, value]
    assert [(f["code"], f["pointer"]) for f in said["faults"]] == [
        ("hash.time", "/epcisBody/eventList/1/eventTime")
    ]
    plain = run("hash", files / "some.json")
    assert plain.exit_code == 1
    assert len(plain.stdout.splitlines()) == 2
    assert "hash.time" in plain.stderr
    assert run("hash", files / "bomb.xml", files / "text.txt").exit_code == 1


def test_there_and_back_again(files):
    target = files / "out.xml"
    assert run("convert", "--to", "xml", "-o", target, files / "good.json").exit_code == 0
    assert b"<epcis:EPCISDocument" in target.read_bytes()
    result = run("convert", "--to", "json", target)
    assert result.exit_code == 0
    back = json.loads(result.stdout)
    assert back["type"] == "EPCISDocument"
    (event,) = back["epcisBody"]["eventList"]
    assert {"@context": CONTEXT, **event} == object_event()


def test_1_2_becomes_2_0(files):
    result = run("convert", "--to", "xml", files / "old.xml")
    assert result.exit_code == 0
    assert 'schemaVersion="2.0"' in result.stdout
    assert "urn:epcglobal:epcis:xsd:2" in result.stdout


def test_every_official_example_converts_and_keeps_its_hash(shared, tmp_path):
    for path in sorted((shared / "epcis/gs1-examples").glob("*.jsonld")):
        target = tmp_path / "x.xml"
        assert run("convert", "--to", "xml", "-o", target, path).exit_code == 0
        hashes = [json.loads(run("hash", "--json", name).stdout)["hashes"] for name in (path, target)]
        assert hashes[0] == hashes[1], path.name


def test_what_is_not_valid_is_not_converted(files):
    target = files / "out"
    for name in ("bad.json", "bad.xml", "bomb.xml", "text.txt"):
        result = run("convert", "--to", "xml", "-o", target, files / name)
        assert result.exit_code == 1
        assert "not converted" in result.stderr
        assert result.stdout == ""
        assert not target.exists()
    said = json.loads(run("convert", "--json", "--to", "xml", files / "bad.json").stdout)
    assert said["valid"] is False
    assert list(said) == ["file", "valid", "events", "faults"]


def test_without_a_format_the_other_one_is_written(files):
    assert run("convert", files / "good.json").stdout.startswith("<?xml")
    assert json.loads(run("convert", files / "good.xml").stdout)["type"] == "EPCISDocument"
    assert json.loads(run("convert", files / "old.xml").stdout)["schemaVersion"] == "2.0"


def test_json_that_cannot_be_read_has_a_fix_too(files):
    (files / "twice.json").write_text('{"type": "ObjectEvent", "type": "ObjectEvent"}')
    for name in ("twice.json", "text.txt"):
        (fault,) = json.loads(run("validate", "--json", files / name).stdout)["faults"]
        assert fault["fix"], fault


def test_conversions_as_json_are_one_object_a_line(files):
    result = run("convert", "--json", files / "good.json", files / "bad.json", files / "good.xml")
    assert result.exit_code == 1
    to_xml, refused, to_json = map(json.loads, result.stdout.splitlines())
    assert to_xml["document"].startswith("<?xml")
    assert "document" not in refused
    assert to_json["document"]["type"] == "EPCISDocument"
    one = json.loads(run("convert", "--json", "-o", files / "out.xml", files / "good.json").stdout)
    assert one == {k: v for k, v in to_xml.items() if k != "document"}
    assert (files / "out.xml").read_text().startswith("<?xml")


def test_what_xml_has_no_place_for_is_said(files):
    (files / "x.json").write_text(json.dumps(object_event(**{"https://example.com/a?b=c": "1"})))
    result = run("convert", "--to", "xml", files / "x.json")
    assert result.exit_code == 1
    assert "xml.name" in result.stderr


def test_many_faults_are_shortened_in_text_only(files):
    (files / "many.xml").write_bytes(document(*([EVENT_2_0.replace("OBSERVE", "LOOK")] * 50)))
    text = run("validate", files / "many.xml").stdout
    assert text.count("epcis.action") == 20
    assert "30 more faults are not shown" in text
    assert len(json.loads(run("validate", "--json", files / "many.xml").stdout)["faults"]) == 50


def test_control_characters_of_a_file_do_not_reach_the_terminal(files):
    (files / "x.xml").write_bytes(document(EVENT_2_0.replace("<action>OBSERVE", "<action>LOOK\x85\u202e")))
    (files / "x.json").write_bytes(b'{"type": "\x1b[2J"')
    for name in ("x.xml", "x.json"):
        result = run("validate", files / name)
        assert result.exit_code == 1
        assert all(c.isprintable() or c == "\n" for c in result.output)


def test_it_starts_at_once_and_json_waits_for_no_xml_library(files):
    script = (
        "import sys\n"
        f"sys.argv = ['tallystick', 'epcis', 'validate', {str(files / 'good.json')!r}]\n"
        "from tallystick.cli import main\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert not e.code\n"
        "heavy = {'sqlalchemy', 'flask', 'lxml', 'verifier', 'numpy'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    times = []
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment
        )
        times.append(time.perf_counter() - started)
        assert done.returncode == 0, done.stderr
    assert min(times) < 1.5  # 0.12 s alone; the machine of a test is busy


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(JSON, st.sampled_from([None, 1]))
def test_every_pointer_is_found_where_its_value_stands(value, indent):
    text = json.dumps(value, indent=indent)
    expected = {}

    def walk(node, pointer):
        expected[pointer] = node
        if isinstance(node, dict):
            for name, child in node.items():
                walk(child, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")
        elif isinstance(node, list):
            for index, child in enumerate(node):
                walk(child, f"{pointer}/{index}")

    walk(value, "")
    lines = text.split("\n")
    decoder = json.JSONDecoder()
    for pointer, (line, column) in find_positions(text, set(expected)).items():
        rest = "\n".join([lines[line - 1][column - 1 :], *lines[line:]])
        found, _ = decoder.raw_decode(rest)
        name = pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        assert found in (expected[pointer], name)


def test_a_pointer_to_nothing_is_found_at_what_would_hold_it():
    text = '{\n "a": [1,\n  {"b": 2}]}'
    assert find_positions(text, {"/a/1/c/d", "/x", "", "/a/7"}) == {
        "/a/1/c/d": (3, 3),
        "/x": (1, 1),
        "": (1, 1),
        "/a/7": (2, 2),
    }
    assert find_positions('{"a": [1, ', {"/a/0"}) == {"/a/0": (1, 8)}
    assert find_positions("}{", {"/a"}) == {"/a": (1, 1)}
