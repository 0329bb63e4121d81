"""Our validator beside GS1's schemas: over thousands of damaged examples they agree, or we say why not.

Schema 2.0.1 is the one we follow; 2.0.0 refuses one thing more.

We never accept what the schema refuses. What we refuse and it accepts is listed here, and nothing else.
"""

from __future__ import annotations

import json
import random
import re
from copy import deepcopy
from pathlib import Path

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tt_epcis import CONTEXT, object_event, shared_events

from traceability.epcis.formats import is_time, is_uri
from traceability.epcis.validate import validate
from traceability.epcis.vocabulary import DOCUMENT_TYPES, EVENT_TYPES
from traceability.readers import TYP_DOCUMENT, event_values

# Rules of the standard that its schema cannot say, or does not.
STRICTER = {
    "epcis.prefix",  # a prefix that no @context declares
    "epcis.quantity",  # less than nothing
    "epcis.parent",  # an aggregation that begins or ends without a parent
}
# Spelled as a word of CBV that does not exist.
BEYOND = re.compile(r"^(cbv:|https?://ref\.gs1\.org/cbv/)(BizStep|Disp|BTT|SDT|ER|Comp)-[A-Za-z0-9_]+$")
# The schema names persistentDisposition for these types and forgets to say what it holds.
_FORGOTTEN = ("AggregationEvent", "TransactionEvent", "AssociationEvent")

MASTER_DATA = {
    "@context": [CONTEXT, {"ex": "https://ex.example/"}],
    "type": "EPCISDocument",
    "id": "urn:uuid:6c0f1e5e-8d2f-4a64-9d2b-4a8f3f0c7d11",
    "schemaVersion": "2.0",
    "creationDate": "2026-11-20T08:15:00Z",
    "sender": "urn:epc:id:sgln:9521141.00012.0",
    "receiver": "urn:epc:id:sgln:9523333.00031.0",
    "instanceIdentifier": "7",
    "ex:route": 5,
    "epcisHeader": {
        "ex:envelope": {"ex:from": "here"},
        "epcisMasterData": {
            "vocabularyList": [
                {
                    "type": "urn:epcglobal:epcis:vtype:BusinessLocation",
                    "vocabularyElementList": [
                        {
                            "id": "urn:epc:id:sgln:9521141.00012.0",
                            "attributes": [
                                {"id": "urn:epcglobal:cbv:mda#site", "attribute": "9521141000129"},
                                {"id": "ex:size", "attribute": 4},
                                {"id": "ex:address", "attribute": {"ex:street": "Main"}},
                            ],
                            "children": ["urn:epc:id:sgln:9521141.00012.1"],
                        }
                    ],
                }
            ]
        },
    },
    "epcisBody": {"eventList": []},
}

VALUES = (
    None, True, 0, -1, 1.5, "", "x", "zz:foo", "urn:x:y", "http://a b", "ADD", "DELETE", "OBSERVE",
    "shipping", "urn:epcglobal:cbv:bizstep:shipping",
    "https://ref.gs1.org/cbv/BizStep-shipping", "cbv:BizStep-brewing", "cbv:Disp-active", "gs1:Mass",
    "2.0", "EPCISDocument", "https://gs1.org/voc/Mass",
    "2020-02-30T00:00:00Z", "2020-02-28T00:00:00Z", "+14:30", "+01:00", "KGM", "kgm", [], {}, [{}],
    ["urn:x:y", "urn:x:y"], {"id": "urn:x:y"}, "ObjectEvent", "TransformationEvent", "AggregationEvent",
    "AssociationEvent", "TransactionEvent", {"set": ["active"]},
    [{"type": "po", "bizTransaction": "urn:x:y"}],
)  # fmt: skip
NAMES = (
    "foo", "zz:foo", "epcList", "childEPCs", "parentID", "quantityList", "ilmd", "action", "recordTime",
    "persistentDisposition", "id", "type", "sensorElementList", "bizTransactionList", "transformationID",
    "https://example.com/x", "uom", "quantity", "eventList", "epcisBody", "epcisHeader", "schemaVersion",
    "attributes", "children", "creationDate", "sender", "vocabularyList", "queryName",
)  # fmt: skip


def _schema(shared, version):
    text = (shared / f"epcis/artefacts/epcis-json-schema-{version}.json").read_bytes()
    return jsonschema_rs.validator_for(json.loads(text))


@pytest.fixture(scope="module")
def schema(shared):
    return _schema(shared, "2.0.1")


@pytest.fixture(scope="module")
def examples(shared):
    return [
        event for _, event in shared_events(shared, "gs1-examples", "openepcis/documents", "openepcis/events")
    ]


@pytest.fixture(scope="module")
def documents(shared):
    """Texts of official documents of up to 30 KB, so that damage does not only hit events."""
    found = []
    for folder in ("gs1-examples", "openepcis/documents", "event-hash"):
        for path in sorted((Path(shared) / "epcis" / folder).rglob("*.json*")):
            text = path.read_text("utf-8")
            if json.loads(text).get("type") in DOCUMENT_TYPES and len(text) < 30_000:
                found.append(text)
    assert len(found) > 40
    return [*found, json.dumps(MASTER_DATA)]


def _disagreement(schema, value):
    """None, or what is wrong between the schema and us."""
    accepted, faults = schema.is_valid(value), validate(value)
    if accepted == (not faults):
        return None
    if not accepted:
        return "we accept what the schema refuses"
    unexplained = [fault for fault in faults if not _is_stricter(fault, value)]
    return f"{unexplained[0].pointer} {unexplained[0]!r}" if unexplained else None


def _is_stricter(fault, value):
    """Whether the fault is of a rule that the standard has and its schema has not."""
    in_event = re.match(r"/epcisBody(?:/queryResults/resultsBody)?/eventList/([0-9]+)", fault.pointer)
    event, pointer = value, fault.pointer
    if in_event and value.get("type") in DOCUMENT_TYPES:
        event = [e for _, e in event_values(TYP_DOCUMENT, value)][int(in_event[1])]
        pointer = fault.pointer[in_event.end() :]
        if event.get("type") not in EVENT_TYPES:
            return True  # in others' event types the schema looks at no field
    elif value.get("type") not in (*EVENT_TYPES, *DOCUMENT_TYPES):
        return True
    return (
        fault.code in STRICTER
        or fault.code.startswith("gs1.")
        or (pointer.startswith("/persistentDisposition") and event.get("type") in _FORGOTTEN)
        or (fault.code == "epcis.uom" and "quantity" not in _at(value, fault.pointer.rpartition("/")[0]))
        or (fault.code == "epcis.what" and event.get("epcList") == [])
        or (fault.code == "epcis.word" and BEYOND.search(str(_at(value, fault.pointer))) is not None)
    )


def _at(value, pointer):
    for step in pointer.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def _nodes(value, path=()):
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in list(items):
        yield from _nodes(child, (*path, name))


def _damage(chance, event):
    """Damage one place of the event; the event is the caller's to throw away."""
    path = chance.choice(list(_nodes(event)))
    parent = event
    for step in path[:-1]:
        parent = parent[step]
    name, value = path[-1], parent[path[-1]]
    kind = chance.randrange(6)
    if kind == 0:
        del parent[name]
    elif kind == 1 and isinstance(parent, dict):
        parent[chance.choice(NAMES)] = parent.pop(name)
    elif kind == 2 and isinstance(parent, list):
        parent.insert(chance.randrange(len(parent) + 1), value)
    elif kind == 3:
        (value if isinstance(value, dict) else event)[chance.choice(NAMES)] = deepcopy(chance.choice(VALUES))
    else:
        parent[name] = deepcopy(chance.choice(VALUES))


def test_we_agree_with_the_schema_over_damaged_examples(schema, examples):
    chance = random.Random(20261120)
    texts = [json.dumps(event) for event in examples]
    refused = 0
    for round_ in range(6_000):
        event = json.loads(texts[round_ % len(texts)])
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            _damage(chance, event)
        assert _disagreement(schema, event) is None, json.dumps(event)
        refused += not schema.is_valid(event)
    assert 1_500 < refused < 5_500, "the damage tests one side only"


def test_we_agree_with_the_schema_over_damaged_documents(schema, documents):
    chance = random.Random(20261121)
    refused = 0
    for round_ in range(6_000):
        document = json.loads(documents[round_ % len(documents)])
        for _ in range(chance.choice((1, 1, 2, 3))):
            _damage(chance, document)
        assert _disagreement(schema, document) is None, json.dumps(document)
        refused += not schema.is_valid(document)
    assert 1_500 < refused < 5_500, "the damage tests one side only"


def test_schema_2_0_0_differs_in_one_thing(shared, schema, examples):
    older = _schema(shared, "2.0.0")
    chance = random.Random(20261122)
    differ = 0
    for round_ in range(3_000):
        event = deepcopy(examples[round_ % len(examples)])
        if round_ >= len(examples):
            _damage(chance, event)
        if older.is_valid(event) != schema.is_valid(event):
            differ += 1
            assert schema.is_valid(event)
            assert "persistentDisposition" in event
            assert event["type"] in _FORGOTTEN
    assert differ


def test_we_agree_with_the_schema_over_events_made_of_anything(schema):
    scalars = st.sampled_from(VALUES)
    fields = st.sampled_from(
        (*NAMES, "eventTime", "bizStep", "disposition", "readPoint", "sourceList", "eventID")
    )

    @given(st.dictionaries(fields, scalars | st.lists(scalars, max_size=2), max_size=6))
    def agree(changes):
        assert _disagreement(schema, {**object_event(), "@context": CONTEXT, **changes}) is None

    agree()


def _holds(schema, format_):
    return jsonschema_rs.validator_for({"$schema": schema, "type": "string", "format": format_}).is_valid


_DRAFT = "http://json-schema.org/draft-07/schema#"


@given(st.text("abz19%/:?#[]@!$&'()*+,;=.-_~ <>\"{}|\\^`év", max_size=24).map(lambda s: "ab:" + s))
def test_a_uri_is_what_the_schema_calls_one(text):
    assert is_uri(text) == _holds(_DRAFT, "uri")(text)


@given(st.text(":1af.v[]0/", max_size=20).map(lambda s: "ab://[" + s + "]"))
def test_so_are_addresses_in_brackets(text):
    assert is_uri(text) == _holds(_DRAFT, "uri")(text)


@given(
    st.integers(1, 9998), st.integers(1, 12), st.integers(0, 32), st.integers(0, 25), st.integers(0, 61),
    st.integers(0, 61), st.sampled_from(("", ".", ".5", ".123456789")),
    st.sampled_from(("Z", "z", "+01:00", "-24:00", "")),
)  # fmt: skip
def test_a_time_is_what_the_schema_calls_one(year, month, day, hour, minute, second, fraction, zone):
    text = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}"
    assert is_time(text) == _holds(_DRAFT, "date-time")(text)
