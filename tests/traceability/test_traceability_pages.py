"""What the pages about identifiers, events and names show is what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from traceability.epcis.validate import read_event, validate_event
from traceability.epcis.vocabulary import BIZ_STEP
from traceability.epcis_xml import read_document
from traceability.errors import IdentifierMalformed
from traceability.event_hash import event_hash, pre_hash
from traceability.gs1 import canonical
from traceability.gs1.canonical import judge
from traceability.gs1.patterns import parse_pattern
from traceability.gs1.reading import read
from traceability.names import index_key, names_v1

PAGES = Path(__file__).resolve().parents[2] / "docs/formats"


def _blocks(page, language):
    text = (PAGES / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _rows(page, language):
    (block,) = _blocks(page, language)
    return [line.split() for line in block.splitlines()]


def test_every_spelling_has_the_name_that_the_page_gives():
    rows = _rows("gs1-identifiers.md", "identifiers")
    assert len(rows) > 8
    for spelling, _, name in rows:
        assert canonical(spelling) == name


def test_every_refusal_has_the_code_that_the_page_gives():
    rows = _rows("gs1-identifiers.md", "refused")
    assert len(rows) > 8
    for code, identifier in rows:
        with pytest.raises(IdentifierMalformed) as caught:
            canonical(identifier)
        assert caught.value.code == code
        assert judge(identifier)[1] == code


def test_every_label_names_what_the_page_says():
    rows = _rows("gs1-identifiers.md", "labels")
    assert len(rows) > 8
    for text, _, name in rows:
        assert (read(text).name or "-") == name


def test_every_refused_label_has_its_code_and_every_code_its_label():
    rows = _rows("gs1-identifiers.md", "labels-refused")
    for code, text in rows:
        if text != "-":
            with pytest.raises(IdentifierMalformed) as caught:
                read(text)
            assert caught.value.code == code
    modules = (PAGES.parents[1] / "traceability/gs1").glob("*.py")
    used = {
        code for path in modules for code in re.findall(r'"(gs1\.[a-z-]+)"', path.read_text(encoding="utf-8"))
    }
    named = {code for code, _ in rows} | {code for code, _ in _rows("gs1-identifiers.md", "refused")}
    # Mistakes of callers, not of what they read.
    assert used - named == {"gs1.digits", "gs1.no-epc"}


def test_patterns_match_as_the_page_says():
    for pattern, epc, answer in _rows("gs1-identifiers.md", "patterns"):
        assert parse_pattern(pattern).matches(judge(epc)[0]) is (answer == "yes")


def test_the_page_about_events_opens_with_a_good_one():
    example = _blocks("epcis-event.md", "json")[0]
    assert read_event(example.encode()).biz_step == "receiving"


def test_the_bad_event_has_the_faults_that_the_page_lists():
    event = json.loads(_blocks("epcis-event.md", "json")[1])
    listed = [(pointer.replace("(whole)", ""), code) for pointer, code in _rows("epcis-event.md", "faults")]
    assert [(fault.pointer, fault.code) for fault in validate_event(event)] == listed


def test_every_spelling_of_a_word_that_the_page_shows_is_read_as_that_word():
    spellings = [row[0] for row in _rows("epcis-event.md", "words")]
    assert len(spellings) == 5
    assert {BIZ_STEP.word(spelling) for spelling in spellings} == {"shipping"}
    event = json.loads(_blocks("epcis-event.md", "json")[0])
    refused = [s for s in spellings if validate_event({**event, "bizStep": s})]
    assert refused == spellings[3:]


def test_every_code_of_the_validator_is_on_the_page():
    room = Path(__file__).resolve().parents[2] / "traceability"
    used = {
        code
        for path in (room / "epcis").glob("*.py")
        for code in re.findall(r'"(epcis\.[a-z.]+)"', path.read_text(encoding="utf-8"))
    }
    assert len(used) > 20
    page = (PAGES / "epcis-event.md").read_text(encoding="utf-8")
    assert {code for code in used if f"`{code}`" not in page} == set()


def test_the_page_about_names_shows_the_names_and_their_keys():
    (example,) = _blocks("names.md", "json")
    shown = [(int(position), name, int(key)) for position, name, key in _rows("names.md", "names")]
    found = names_v1("epcis-event+jws", json.loads(example))
    assert [(position, name, index_key(name)) for position, name in found] == shown


def test_the_xml_document_becomes_the_event_that_its_page_shows():
    (text,) = _blocks("epcis-xml.md", "xml")
    (event,) = _blocks("epcis-xml.md", "json")
    read = read_document(text.encode())
    assert read.faults == ()
    assert read.events[0].value == json.loads(event)
    assert read.derived_from == "xml"


def test_the_pre_hash_and_hash_are_those_of_the_page():
    event = json.loads(_blocks("epcis-event.md", "json")[0])
    (lines,) = _blocks("event-hash.md", "pre-hash")
    (value,) = _blocks("event-hash.md", "event-hash")
    assert pre_hash(event) == lines.replace("\n", "")
    assert event_hash(event) == value.strip()


@pytest.mark.parametrize(
    ("page", "folder", "prefix"),
    [("epcis-xml.md", "epcis_xml", "xml"), ("event-hash.md", "event_hash", "hash")],
)
def test_every_code_is_on_its_page(page, folder, prefix):
    room = PAGES.parents[1] / "traceability" / folder
    text = (PAGES / page).read_text(encoding="utf-8")
    used = {
        code
        for path in room.glob("*.py")
        for code in re.findall(rf'"({prefix}\.[a-z-]+)"', path.read_text(encoding="utf-8"))
    }
    assert len(used) > 5
    assert {code for code in used if f"`{code}`" not in text} == set()
