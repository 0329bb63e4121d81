"""Master data in headers, from JSON and XML, as records; and what is wrong with it."""

from __future__ import annotations

import pytest
from tt_epcis_xml import document

from traceability.epcis_xml import read_document
from traceability.master_data import as_json, read_json

XML = """<EPCISHeader><extension><EPCISMasterData><VocabularyList>
  <Vocabulary type="urn:epcglobal:epcis:vtype:BusinessLocation"><VocabularyElementList>
    <VocabularyElement id="urn:epc:id:sgln:9521141.00012.0">
      <attribute id="urn:epcglobal:cbv:mda:name">Dairy</attribute>
      <attribute id="https://example.com/address"><ex:street>Main</ex:street><city>Riga</city></attribute>
      <children><id>urn:epc:id:sgln:9521141.00012.1</id><id>urn:epc:id:sgln:9521141.00012.2</id></children>
    </VocabularyElement>
    <VocabularyElement id="urn:epc:id:sgln:9521141.00013.0"/>
  </VocabularyElementList></Vocabulary>
  <Vocabulary type="urn:epcglobal:epcis:vtype:EPCClass"><VocabularyElementList>
    <VocabularyElement id="urn:epc:idpat:sgtin:9521141.012345.*">
      <attribute id="urn:epcglobal:cbv:mda:tradeItemDescription">Milk</attribute>
    </VocabularyElement>
  </VocabularyElementList></Vocabulary>
</VocabularyList></EPCISMasterData></extension></EPCISHeader>"""


def test_master_data_of_1_2_and_of_2_0_is_read_with_and_without_extension():
    old = read_document(document(version="1.2", header=XML))
    new = read_document(document(header=XML.replace("<extension>", "").replace("</extension>", "")))
    assert old.faults == new.faults == ()
    assert old.master_data == new.master_data
    dairy, empty, milk = old.master_data
    assert dairy.attributes == (
        ("urn:epcglobal:cbv:mda:name", "Dairy"),
        ("https://example.com/address", {"ex:street": "Main", "city": "Riga"}),
    )
    assert dairy.children == ("urn:epc:id:sgln:9521141.00012.1", "urn:epc:id:sgln:9521141.00012.2")
    assert (empty.attributes, empty.children) == ((), ())
    assert (milk.type, milk.id) == (
        "urn:epcglobal:epcis:vtype:EPCClass",
        "urn:epc:idpat:sgtin:9521141.012345.*",
    )


def test_json_and_xml_give_the_same_records():
    read = read_document(document(header=XML))
    records, faults = read_json(read.as_json())
    assert faults == []
    assert records == read.master_data
    assert as_json(records) == read.as_json()["epcisHeader"]["epcisMasterData"]["vocabularyList"]


def test_a_document_without_master_data_has_none():
    assert read_json({"type": "EPCISDocument", "epcisBody": {"eventList": []}}) == ((), [])
    assert read_json([]) == ((), [])
    assert read_document(document()).master_data == ()


ELEMENT = {"id": "urn:x:y"}


@pytest.mark.parametrize(
    ("vocabularies", "pointer"),
    [
        ({}, ""),
        (["x"], "/0"),
        ([{"vocabularyElementList": []}], "/0"),
        ([{"type": "urn:t", "vocabularyElementList": {}}], "/0"),
        ([{"type": "urn:t", "vocabularyElementList": [{}]}], "/0/vocabularyElementList/0"),
        ([{"type": "urn:t", "vocabularyElementList": [{"id": 1}]}], "/0/vocabularyElementList/0"),
        (
            [{"type": "urn:t", "vocabularyElementList": [{**ELEMENT, "attributes": ["x"]}]}],
            "/0/vocabularyElementList/0/attributes/0",
        ),
        (
            [{"type": "urn:t", "vocabularyElementList": [{**ELEMENT, "children": [{}]}]}],
            "/0/vocabularyElementList/0/children/0",
        ),
    ],
)
def test_what_is_wrong_has_its_pointer(vocabularies, pointer):
    document = {"epcisHeader": {"epcisMasterData": {"vocabularyList": vocabularies}}}
    _, faults = read_json(document)
    assert [f.pointer for f in faults] == ["/epcisHeader/epcisMasterData/vocabularyList" + pointer]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (' type="urn:epcglobal:epcis:vtype:EPCClass"', ""),
        (' id="urn:epc:id:sgln:9521141.00013.0"', ""),
        ('id="urn:epc:id:sgln:9521141.00013.0"', 'id=""'),
    ],
)
def test_what_is_wrong_in_xml_has_its_line(old, new):
    read = read_document(document(header=XML.replace(old, new)))
    (fault,) = read.faults
    assert fault.code == "epcis.master-data"
    assert fault.line > 1
    assert "/VocabularyList/Vocabulary" in fault.xpath
