"""EPCIS XML read: official vectors, every shape of 1.2, and each fault with its line and path."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from tt_epcis_xml import EVENT_2_0, document, vectors

from keys.errors import Malformed
from keys.strict_json import loads
from traceability.epcis.validate import validate_event
from traceability.epcis_xml import is_xml, read_document
from traceability.epcis_xml.events import number
from traceability.epcis_xml.paths import Paths
from traceability.event_hash import event_hash

NOW = "2026-11-05T09:00:00Z"
NUMBERS = r"[+-]?[0-9]{0,20}\.?[0-9]{0,20}(e[+-]?[0-9]{1,3})?"
OBJECT_1_2 = """<ObjectEvent>
  <eventTime>2016-03-15T00:13:31.000-05:00</eventTime>
  <recordTime>2016-03-15T01:13:31.000-05:00</recordTime>
  <eventTimeZoneOffset>-05:00</eventTimeZoneOffset>
  <baseExtension>
    <eventID>urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e</eventID>
    <errorDeclaration>
      <declarationTime>2016-03-16T00:00:00Z</declarationTime>
      <reason>urn:epcglobal:cbv:er:incorrect_data</reason>
      <correctiveEventIDs><correctiveEventID>urn:uuid:1</correctiveEventID></correctiveEventIDs>
      <ex:who>QA</ex:who>
    </errorDeclaration>
  </baseExtension>
  <epcList><epc>urn:epc:id:sgtin:9521141.012345.100</epc><epc>urn:epc:id:sgtin:9521141.012345.101</epc></epcList>
  <action>ADD</action>
  <bizStep>urn:epcglobal:cbv:bizstep:commissioning</bizStep>
  <disposition>urn:epcglobal:cbv:disp:active</disposition>
  <readPoint><id>urn:epc:id:sgln:9521141.00012.0</id><extension><ex:gate>4</ex:gate></extension></readPoint>
  <bizLocation><id>urn:epc:id:sgln:9521141.00012.0</id></bizLocation>
  <bizTransactionList>
    <bizTransaction type="urn:epcglobal:cbv:btt:po">urn:epcglobal:cbv:bt:9521141000120:A1</bizTransaction>
    <bizTransaction>https://example.com/t/2</bizTransaction>
  </bizTransactionList>
  <extension>
    <quantityList>
      <quantityElement>
        <epcClass>urn:epc:class:lgtin:9521141.012345.L1</epcClass>
        <quantity>12.50</quantity>
        <uom>KGM</uom>
      </quantityElement>
      <quantityElement><epcClass>urn:epc:idpat:sgtin:9521141.012345.*</epcClass></quantityElement>
    </quantityList>
    <sourceList>
      <source type="urn:epcglobal:cbv:sdt:owning_party">urn:epc:id:pgln:9521141.00012</source>
    </sourceList>
    <destinationList><destination type="https://example.com/t">urn:epc:id:pgln:9521141.00013</destination></destinationList>
    <ilmd>
      <cbvmda:lotNumber xmlns:cbvmda="urn:epcglobal:cbv:mda">L1</cbvmda:lotNumber>
      <extension><ex:oven number="3">hot<ex:at>180</ex:at></ex:oven></extension>
    </ilmd>
    <extension><ex:later>1</ex:later></extension>
  </extension>
  <ex:tag>a</ex:tag><ex:tag>b</ex:tag>
</ObjectEvent>"""

OBJECT_JSON = {
    "type": "ObjectEvent",
    "eventTime": "2016-03-15T00:13:31.000-05:00",
    "recordTime": "2016-03-15T01:13:31.000-05:00",
    "eventTimeZoneOffset": "-05:00",
    "eventID": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "errorDeclaration": {
        "declarationTime": "2016-03-16T00:00:00Z",
        "reason": "incorrect_data",
        "correctiveEventIDs": ["urn:uuid:1"],
        "ex:who": "QA",
    },
    "epcList": ["urn:epc:id:sgtin:9521141.012345.100", "urn:epc:id:sgtin:9521141.012345.101"],
    "action": "ADD",
    "bizStep": "commissioning",
    "disposition": "active",
    "readPoint": {"id": "urn:epc:id:sgln:9521141.00012.0", "ex:gate": "4"},
    "bizLocation": {"id": "urn:epc:id:sgln:9521141.00012.0"},
    "bizTransactionList": [
        {"type": "po", "bizTransaction": "urn:epcglobal:cbv:bt:9521141000120:A1"},
        {"bizTransaction": "https://example.com/t/2"},
    ],
    "quantityList": [
        {"epcClass": "urn:epc:class:lgtin:9521141.012345.L1", "quantity": 12.5, "uom": "KGM"},
        {"epcClass": "urn:epc:idpat:sgtin:9521141.012345.*"},
    ],
    "sourceList": [{"type": "owning_party", "source": "urn:epc:id:pgln:9521141.00012"}],
    "destinationList": [{"type": "https://example.com/t", "destination": "urn:epc:id:pgln:9521141.00013"}],
    "ilmd": {"cbvmda:lotNumber": "L1", "ex:oven": {"number": "3", "ex:at": "180", "#text": "hot"}},
    "ex:later": "1",
    "ex:tag": ["a", "b"],
}


def test_every_shared_xml_vector_is_reached_and_valid(shared):
    cases = vectors(shared, ".xml")
    assert len(cases) >= 12
    for path, expected in cases:
        read = read_document(path.read_bytes())
        assert read.faults == (), (path.name, read.faults)
        assert read.hashes() == expected, path.name


def test_everything_that_1_2_can_say_about_an_object_is_read():
    read = read_document(document(OBJECT_1_2, version="1.2"))
    assert read.faults == ()
    assert read.schema_version == "1.2"
    (event,) = read.events
    assert event.value == OBJECT_JSON
    assert read.context[1:] == [{"ex": "https://example.com/ns/"}, {"cbvmda": "urn:epcglobal:cbv:mda"}]
    assert validate_event(event.value, document_context=read.context) == []


def test_what_is_derived_says_so():
    read = read_document(document())
    assert read.derived_from == "xml"
    assert read.events[0].derived_from == "xml"


def test_a_transformation_of_1_2_stands_in_an_extension_of_the_list():
    read = read_document(
        document(
            EVENT_2_0,
            """<extension><TransformationEvent>
          <eventTime>2016-03-15T00:13:31Z</eventTime><eventTimeZoneOffset>+00:00</eventTimeZoneOffset>
          <inputEPCList><epc>urn:epc:id:sgtin:9521141.012345.1</epc></inputEPCList>
          <outputEPCList><epc>urn:epc:id:sgtin:9521141.012345.2</epc></outputEPCList>
          <transformationID>urn:epc:id:gdti:9521141.00009.7</transformationID>
          <ilmd><ex:a>1</ex:a></ilmd></TransformationEvent></extension>""",
            """<extension><extension><AssociationEvent>
          <eventTime>2016-03-15T00:13:31Z</eventTime><eventTimeZoneOffset>+00:00</eventTimeZoneOffset>
          <parentID>urn:epc:id:grai:9521141.00012.1</parentID>
          <childEPCs><epc>urn:epc:id:giai:9521141.7</epc></childEPCs>
          <action>ADD</action></AssociationEvent></extension></extension>""",
            version="1.2",
        )
    )
    assert read.faults == ()
    assert [e.value["type"] for e in read.events] == [
        "ObjectEvent",
        "TransformationEvent",
        "AssociationEvent",
    ]
    assert read.events[1].value["ilmd"] == {"ex:a": "1"}


def test_a_quantity_event_of_1_0_becomes_the_object_event_that_says_the_same():
    read = read_document(
        document(
            """<QuantityEvent><eventTime>2016-03-15T00:13:31Z</eventTime>
          <eventTimeZoneOffset>+00:00</eventTimeZoneOffset>
          <epcClass>urn:epc:idpat:sgtin:9521141.012345.*</epcClass><quantity>67</quantity>
          <bizStep>urn:epcglobal:cbv:bizstep:receiving</bizStep></QuantityEvent>""",
            version="1.0",
        )
    )
    assert read.faults == ()
    event = read.events[0].value
    assert event["type"] == "ObjectEvent"
    assert event["action"] == "OBSERVE"
    assert event["quantityList"] == [{"epcClass": "urn:epc:idpat:sgtin:9521141.012345.*", "quantity": 67}]


SENSORS_2_0 = """<AggregationEvent>
  <eventTime>2026-11-05T08:15:00Z</eventTime><eventTimeZoneOffset>+01:00</eventTimeZoneOffset>
  <eventID>urn:uuid:2</eventID>
  <certificationInfo>https://example.com/c/1</certificationInfo>
  <certificationInfo>https://example.com/c/2</certificationInfo>
  <parentID>urn:epc:id:sscc:9521141.0111111111</parentID>
  <childEPCs/>
  <action>ADD</action>
  <childQuantityList><quantityElement><epcClass>urn:epc:idpat:sgtin:9521141.012345.*</epcClass>
    <quantity>5</quantity></quantityElement></childQuantityList>
  <sensorElementList><sensorElement>
    <sensorMetadata time="2026-11-05T08:00:00Z" deviceID="urn:epc:id:giai:9521141.7" ex:note="n"/>
    <sensorReport type="gs1:Temperature" value="26.0" uom="CEL" exception="gs1:ALARM_CONDITION"/>
    <sensorReport type="https://gs1.org/voc/Angle" component="cbv:Comp-latitude" value="4.2e1" uom="DD"/>
    <sensorReport type="ex:Switch" booleanValue="1" stringValue="007" hexBinaryValue="f0"/>
    <ex:more><ex:x>1</ex:x></ex:more>
  </sensorElement></sensorElementList>
  <persistentDisposition>
    <unset>urn:epcglobal:cbv:disp:completeness_inferred</unset>
    <set>cbv:Disp-completeness_verified</set>
  </persistentDisposition>
</AggregationEvent>"""


def test_what_2_0_added_is_read():
    read = read_document(document(SENSORS_2_0, root='xmlns:gs1="https://gs1.org/voc/"'))
    assert read.faults == ()
    event = read.events[0].value
    assert event["certificationInfo"] == ["https://example.com/c/1", "https://example.com/c/2"]
    assert "childEPCs" not in event
    assert event["persistentDisposition"] == {
        "unset": ["completeness_inferred"],
        "set": ["completeness_verified"],
    }
    (sensor,) = event["sensorElementList"]
    assert sensor["sensorMetadata"]["ex:note"] == "n"
    first, second, third = sensor["sensorReport"]
    assert first == {"type": "Temperature", "value": 26, "uom": "CEL", "exception": "ALARM_CONDITION"}
    assert (second["type"], second["component"], second["value"]) == ("Angle", "latitude", 42.0)
    assert third == {"type": "ex:Switch", "booleanValue": True, "stringValue": "007", "hexBinaryValue": "f0"}
    assert sensor["ex:more"] == {"ex:x": "1"}


@pytest.mark.parametrize(
    "soap", ["http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope"]
)
def test_a_document_in_a_soap_envelope_is_read(soap):
    inner = document(OBJECT_1_2, version="1.2").decode()
    text = f'<s:Envelope xmlns:s="{soap}"><s:Header/><s:Body>{inner}</s:Body></s:Envelope>'
    assert read_document(text.encode()).events[0].value == OBJECT_JSON


def test_query_documents_and_bare_results_are_read():
    results = (
        "<subscriptionID>s1</subscriptionID><queryName>q</queryName>"
        f"<resultsBody><EventList>{EVENT_2_0}</EventList></resultsBody>"
    )
    for version in ("1", "2"):
        space = f"urn:epcglobal:epcis-query:xsd:{version}"
        for text in (
            f'<q:EPCISQueryDocument xmlns:q="{space}" schemaVersion="{version}.0" creationDate="{NOW}">'
            f"<EPCISBody><q:QueryResults>{results}</q:QueryResults></EPCISBody></q:EPCISQueryDocument>",
            f'<q:QueryResults xmlns:q="{space}">{results}</q:QueryResults>',
        ):
            read = read_document(text.encode())
            assert read.faults == ()
            assert read.kind == "EPCISQueryDocument"
            assert dict(read.query) == {"queryName": "q", "subscriptionID": "s1"}
            assert read.events[0].pointer == "/epcisBody/queryResults/resultsBody/eventList/0"
            results_body = read.as_json()["epcisBody"]["queryResults"]
            assert results_body["queryName"] == "q"


def test_each_fault_of_the_validator_has_the_line_and_path_of_its_element():
    bad = EVENT_2_0.replace("012345.100", "012345.1%").replace("bizstep:receiving", "bizstep:recieving")
    read = read_document(document(EVENT_2_0, bad))
    found = [(f.code, f.pointer, f.line, f.xpath) for f in read.faults]
    stem = "/epcis:EPCISDocument/EPCISBody/EventList/ObjectEvent[2]"
    assert found == [
        ("gs1.percent-encoding", "/epcisBody/eventList/1/epcList/0", 13, f"{stem}/epcList/epc"),
        ("epcis.spelling", "/epcisBody/eventList/1/bizStep", 15, f"{stem}/bizStep"),
    ]
    assert not read.is_valid
    assert all(f.fix for f in read.faults)


def test_a_fault_in_an_attribute_names_the_attribute():
    bad = OBJECT_1_2.replace('type="urn:epcglobal:cbv:btt:po"', 'type="urn:epcglobal:cbv:btt:nope"')
    (fault,) = read_document(document(bad, version="1.2")).faults
    assert fault.pointer == "/epcisBody/eventList/0/bizTransactionList/0/type"
    assert fault.xpath.endswith("/bizTransactionList/bizTransaction[1]/@type")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("<action>OBSERVE</action>", "<action>OBSERVE</action><action>ADD</action>", "xml.duplicate"),
        ("<action>OBSERVE</action>", "<acton>OBSERVE</acton>", "xml.element"),
        ("<action>OBSERVE</action>", "<action>OB<b/>SERVE</action>", "xml.element"),
        ("<action>OBSERVE</action>", '<action lang="en">OBSERVE</action>', "xml.attribute"),
        ("<ObjectEvent>", '<ObjectEvent foo="1">', "xml.attribute"),
        ("<epc>", "<epc/><item>x</item><epc>", "xml.element"),
        ("<action>", "<epcis:more>1</epcis:more><action>", "xml.namespace"),
        ("<action>", '<x xmlns="urn:epcglobal:epcis:xsd:1">1</x><action>', "xml.namespace"),
        (
            "<action>",
            "<quantityList><quantityElement><epcClass>urn:x:y</epcClass><quantity>1,5</quantity>"
            "</quantityElement></quantityList><action>",
            "xml.number",
        ),
        (
            "<action>",
            '<sensorElementList><sensorElement><sensorReport type="gs1:Mass" value="1.23456789012345678901"/>'
            "</sensorElement></sensorElementList><action>",
            "xml.number",
        ),
        (
            "<action>",
            '<sensorElementList><sensorElement><sensorReport type="gs1:Mass" booleanValue="yes"/>'
            "</sensorElement></sensorElementList><action>",
            "xml.boolean",
        ),
    ],
)
def test_what_json_could_not_show_is_a_fault_of_the_xml(old, new, code):
    read = read_document(document(EVENT_2_0.replace(old, new, 1)))
    assert code in [f.code for f in read.faults]
    fault = next(f for f in read.faults if f.code == code)
    assert fault.line > 1
    assert fault.xpath.startswith("/epcis:EPCISDocument/EPCISBody/EventList/ObjectEvent")
    assert read.events[0].faults != ()


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b' schemaVersion="2.0"', b"", "epcis.required"),
        (b' creationDate="2026-11-05T09:00:00Z"', b"", "epcis.required"),
        (b"T09:00:00Z", b"", "epcis.time"),
        (b"T09:00:00Z", b"T09:00:00", "epcis.time"),
    ],
)
def test_what_a_document_says_about_itself_is_checked(old, new, code):
    (fault,) = read_document(document().replace(old, new)).faults
    assert (fault.code, fault.line) == (code, 1)
    assert fault.xpath.startswith("/epcis:EPCISDocument/@")


def test_a_reader_without_validation_still_finds_what_is_wrong_with_the_xml():
    read = read_document(
        document(EVENT_2_0.replace("OBSERVE", "LOOK").replace("<epc>", "<epc/><e/><epc>")), validate=False
    )
    assert [f.code for f in read.faults] == ["xml.element"]


@given(st.integers() | st.floats() | st.from_regex(NUMBERS, fullmatch=True))
def test_a_number_is_read_exactly_or_not_at_all(given_number):
    text = given_number if isinstance(given_number, str) else repr(given_number)
    read = number(text)
    try:
        json_says = loads(text.encode(), size_max=100)
    except Malformed:
        json_says = None
    if json_says is not None and read is not None:
        assert read == json_says
    if isinstance(read, int):
        assert read == int(text)
        assert abs(read) < 2**53
    elif read is not None:
        # XML Schema writes numbers in more ways than JSON; what is read says the same in 17 digits.
        assert Decimal(text) in (Decimal(repr(read)), Decimal(f"{read:.16e}"))
    if isinstance(given_number, float) and isfinite(given_number):
        assert read == given_number


def test_paths_are_those_of_lxml():
    text = (
        b'<a xmlns:p="urn:p"><b/><p:b/><b><c/>t<p:c/></b><b xmlns="urn:d"><c/><c/></b><d><e/></d><p:b/></a>'
    )
    root = etree.fromstring(text)
    paths = Paths()
    for element in root.iter():
        assert paths.of(element) == root.getroottree().getpath(element)
        assert root.xpath(paths.of(element), namespaces={"p": "urn:p"}) == [element]


def test_the_future_is_a_fault_in_xml_as_in_json():
    early = datetime(2026, 11, 1, tzinfo=UTC)
    assert [f.code for f in read_document(document(), now=early).faults] == ["epcis.time.future"]


def test_namespaces_that_share_a_prefix_get_two_and_one_namespace_has_one():
    read = read_document(
        document(
            EVENT_2_0.replace(
                "</ObjectEvent>",
                '<a:f xmlns:a="urn:one">1</a:f><a:f xmlns:a="urn:two">2</a:f>'
                '<b:g xmlns:b="urn:one">3</b:g><gs1:h xmlns:gs1="urn:mine">4</gs1:h>'
                '<i xmlns="urn:d">5</i></ObjectEvent>',
            )
        )
    )
    assert read.faults == ()
    event = read.events[0].value
    assert (event["a:f"], event["a2:f"], event["a:g"], event["gs12:h"], event["ns:i"]) == tuple("12345")
    assert {"gs12": "urn:mine"} in read.context


def test_a_foreign_event_type_keeps_its_namespace():
    text = EVENT_2_0.replace("ObjectEvent", "ex:InspectionEvent")
    (event,) = read_document(document(text)).events
    assert event.value["type"] == "ex:InspectionEvent"


def test_xml_and_json_are_told_apart_by_their_first_character():
    assert is_xml(document())
    assert is_xml(b"\xef\xbb\xbf\n <a/>")
    assert is_xml("<a/>".encode("utf-16"))
    assert not is_xml(b'{"type": "<a/>"}')
    assert not is_xml(b"")


def test_the_hash_of_an_event_does_not_depend_on_the_format(shared):
    both = {p.stem for p, _ in vectors(shared, ".xml")} & {p.stem for p, _ in vectors(shared, ".jsonld")}
    assert len(both) >= 8


def test_the_same_event_in_1_2_and_in_json_hashes_alike():
    read = read_document(document(OBJECT_1_2, version="1.2"))
    assert read.hashes() == [event_hash(OBJECT_JSON, read.context)]
