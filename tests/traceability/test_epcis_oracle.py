"""Our validator beside GS1's schema 2.0.1: over thousands of damaged examples they agree, or we say why not.

We never accept what the schema refuses. What we refuse and it accepts is listed here, and nothing else.
"""

from __future__ import annotations

import json
import random
from copy import deepcopy

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tt_epcis import CONTEXT, object_event, shared_events

from traceability.epcis.formats import is_time, is_uri
from traceability.epcis.validate import validate_event
from traceability.epcis.vocabulary import EVENT_TYPES

# Rules of the standard that its schema cannot say, or does not.
STRICTER = {
    "epcis.prefix",  # a prefix that no @context declares
    "epcis.quantity",  # less than nothing
    "epcis.parent",  # an aggregation that begins or ends without a parent
}
# The schema names persistentDisposition for these types and forgets to say what it holds.
_FORGOTTEN = ("AggregationEvent", "TransactionEvent", "AssociationEvent")

VALUES = (
    None, True, 0, -1, 1.5, "", "x", "zz:foo", "urn:x:y", "http://a b", "ADD", "DELETE", "OBSERVE",
    "shipping", "urn:epcglobal:cbv:bizstep:shipping",
    "https://ref.gs1.org/cbv/BizStep-shipping", "https://gs1.org/voc/Mass",
    "2020-02-30T00:00:00Z", "2020-02-28T00:00:00Z", "+14:30", "+01:00", "KGM", "kgm", [], {}, [{}],
    ["urn:x:y", "urn:x:y"], {"id": "urn:x:y"}, "ObjectEvent", "TransformationEvent", "AggregationEvent",
    "AssociationEvent", "TransactionEvent", {"set": ["active"]},
    [{"type": "po", "bizTransaction": "urn:x:y"}],
)  # fmt: skip
NAMES = (
    "foo", "zz:foo", "epcList", "childEPCs", "parentID", "quantityList", "ilmd", "action", "recordTime",
    "persistentDisposition", "id", "type", "sensorElementList", "bizTransactionList", "transformationID",
    "https://example.com/x",
)  # fmt: skip


@pytest.fixture(scope="module")
def schema(shared):
    text = (shared / "epcis/artefacts/epcis-json-schema-2.0.1.json").read_bytes()
    return jsonschema_rs.validator_for(json.loads(text))


@pytest.fixture(scope="module")
def examples(shared):
    return [
        event for _, event in shared_events(shared, "gs1-examples", "openepcis/documents", "openepcis/events")
    ]


def _disagreement(schema, event):
    """None, or what is wrong between the schema and us."""
    accepted, faults = schema.is_valid(event), validate_event(event)
    if accepted == (not faults):
        return None
    if not accepted:
        return "we accept what the schema refuses"
    if event.get("type") not in EVENT_TYPES:
        return None  # in others' event types the schema looks at no field; the standard's keep their meaning
    unexplained = [
        fault
        for fault in faults
        if fault.code not in STRICTER
        and not fault.code.startswith("gs1.")
        and not (fault.pointer.startswith("/persistentDisposition") and event.get("type") in _FORGOTTEN)
    ]
    return str(unexplained[0]) if unexplained else None


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
