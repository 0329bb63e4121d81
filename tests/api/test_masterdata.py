"""GET /masterdata: what headers of signed documents say, on a real ledger with its real projection."""

from __future__ import annotations

import json
from urllib.parse import quote, urlsplit

import pytest
import tt_documents
import tt_site
from tt_site import Site

from api.event_queries import EventQueries
from ledger.proof import parse as parse_receipt
from projection.engine import Engine
from projection.kept import open_kept
from projection.projector import Projector
from projection.resources import Resources
from projection.store import open_reader, open_writer
from traceability.master_data import read_json

VTYPE = "urn:epcglobal:epcis:vtype:"
PLANT, HALL, SHELF = (f"urn:epc:id:sgln:9521141.0001{n}.0" for n in (1, 2, 3))
MILK = "urn:epc:idpat:sgtin:9521141.012345.*"
JSON_HEADER = {
    "epcisMasterData": {
        "vocabularyList": [
            {
                "type": f"{VTYPE}BusinessLocation",
                "vocabularyElementList": [
                    {
                        "id": PLANT,
                        "attributes": [
                            {"id": "cbvmda:city", "attribute": "Riga"},
                            {"id": "ex:manager", "attribute": {"ex:name": "Ilze"}},
                        ],
                        "children": [HALL],
                    },
                    {
                        "id": HALL,
                        "attributes": [{"id": "urn:epcglobal:cbv:mda:city", "attribute": "Liepaja"}],
                        "children": [SHELF],
                    },
                ],
            },
            {
                "type": "https://ns.example/vtype/Lorry",
                "vocabularyElementList": [{"id": "urn:example:lorry:7"}],
            },
        ]
    }
}
XML_HEADER = f"""<EPCISHeader><EPCISMasterData><VocabularyList>
  <Vocabulary type="{VTYPE}BusinessLocation"><VocabularyElementList>
    <VocabularyElement id="{SHELF}">
      <attribute id="urn:epcglobal:cbv:mda:city">Riga</attribute>
    </VocabularyElement></VocabularyElementList></Vocabulary>
  <Vocabulary type="{VTYPE}EPCClass"><VocabularyElementList>
    <VocabularyElement id="{MILK}">
      <attribute id="urn:epcglobal:cbv:mda:tradeItemDescription">Milk</attribute>
    </VocabularyElement></VocabularyElementList></Vocabulary>
</VocabularyList></EPCISMasterData></EPCISHeader><EPCISBody>"""


def in_json(header=JSON_HEADER, serial="1"):
    return tt_documents.document(
        [tt_site.object_event(tt_site.LINE_START, [tt_site.pack_urn(serial)], "inspecting")],
        epcisHeader=header,
    )


def in_xml():
    return tt_documents.xml("2").replace(b"<EPCISBody>", XML_HEADER.encode())


class Asking:
    """A site whose master data can be asked for; seqs: where the JSON and the XML document stand."""

    def __init__(self, folder, **options):
        self.site = Site(folder, **options)
        self.seqs = [self.send("acme", in_json()), self.send("carrier", in_xml())]
        self.writer, self.reader = open_writer(self.site.path), open_reader(self.site.path)
        self.projector = Projector(self.site.services.reader, self.writer)
        self.projector.catch_up()
        engine = Engine(self.site.services.reader, self.reader, b"k" * 32, clock=self.site.clock)
        self.kept = open_kept(self.site.path)
        self.client = self.site.served_with(queries=EventQueries(engine, Resources(engine), self.kept))

    def send(self, party, value):
        signed = tt_documents.sign(self.site, party, value)
        answer = self.site.client.post(
            "/statements", data=signed, headers={"Content-Type": "application/jose"}
        )
        assert answer.status_code == 201, answer.data
        return answer.get_json()["results"][0]["seq"]

    def get(self, path, status=200, **options):
        response = self.client.get(path, **options)
        assert response.status_code == status, response.data
        return response

    def found(self, question="", **options):
        """(vocabulary, element) of everything that answers."""
        document = json.loads(self.get(f"/masterdata?{question}", **options).data)
        return [
            (vocabulary["type"], element)
            for vocabulary in document["epcisBody"]["queryResults"]["resultsBody"]["vocabularyList"]
            for element in vocabulary["vocabularyElementList"]
        ]

    def names(self, question="", **options):
        return {element["id"] for _, element in self.found(question, **options)}

    def close(self):
        for one in (self.kept, self.reader, self.writer, self.site):
            one.close()


@pytest.fixture(scope="module")
def asking(tmp_path_factory):
    made = Asking(tmp_path_factory.mktemp("masterdata"))
    yield made
    made.close()


@pytest.fixture
def alone(tmp_path):
    made = Asking(tmp_path)
    yield made
    made.close()


EVERYTHING = {PLANT, HALL, SHELF, MILK, "urn:example:lorry:7"}


def test_master_data_of_json_and_of_xml_is_found_with_the_entry_that_says_it(asking):
    response = asking.get("/masterdata")
    assert response.headers["Content-Type"] == "application/ld+json"
    assert response.headers["GS1-EPCIS-Version"] == "2.0.0"
    assert int(response.headers["Tallystick-Covered"]) == asking.site.log.head.tree_size
    document = response.get_json()
    assert document["epcisBody"]["queryResults"]["queryName"] == "SimpleMasterDataQuery"
    assert read_json(document)[1] == []
    found = {element["id"]: (kind, element) for kind, element in asking.found()}
    assert set(found) == EVERYTHING
    first, second = asking.seqs
    kind, plant = found[PLANT]
    signed = JSON_HEADER["epcisMasterData"]["vocabularyList"][0]["vocabularyElementList"][0]
    assert kind == f"{VTYPE}BusinessLocation"
    assert {name: plant[name] for name in signed} == signed
    assert plant["tallystick:seq"] == first
    assert {"tallystick": "urn:tallystick:proof:"} in plant["@context"]
    assert {"ex": "https://example.com/ns/"} in plant["@context"]
    assert found[SHELF][1]["tallystick:seq"] == found[MILK][1]["tallystick:seq"] == second
    # Who said it: the signed bytes at that place, and the proof that they are in the log.
    statement = asking.get(f"/statements/{first}").data
    assert tt_documents.sign(asking.site, "acme", in_json()).split(b".")[1] == statement.split(b".")[1]
    assert parse_receipt(asking.get(f"/receipts/{first}").data).index == first


@pytest.mark.parametrize(
    ("question", "names"),
    [
        (f"vocabularyName={VTYPE}BusinessLocation", {PLANT, HALL, SHELF}),
        ("vocabularyName=EPCClass|https://ns.example/vtype/Lorry", {MILK, "urn:example:lorry:7"}),
        ("vocabularyName=businesslocation", set()),
        (f"EQ_name={PLANT}|{MILK}", {PLANT, MILK}),
        (f"EQ_name={quote('https://id.gs1.org/414/9521141000113', safe='')}", {PLANT}),
        ("EQ_name=urn:example:lorry:8", set()),
        (f"WD_name={PLANT}", {PLANT, HALL, SHELF}),
        (f"WD_name={HALL}", {HALL, SHELF}),
        (f"WD_name={HALL}&EQ_name={SHELF}|{PLANT}", {SHELF}),
        ("HASATTR=cbvmda:city", {PLANT, HALL, SHELF}),
        ("HASATTR=ex:manager|tradeItemDescription", {MILK}),
        ("HASATTR=https://example.com/ns/manager", {PLANT}),
        ("EQATTR_city=Riga", {PLANT, SHELF}),
        ("EQATTR_city=Riga|Liepaja&EQATTR_urn:epcglobal:cbv:mda:city=Liepaja", {HALL}),
        (f"EQATTR_city=Riga&WD_name={HALL}", {SHELF}),
        ("EQATTR_city=riga", set()),
        ("maxElementCount=5", EVERYTHING),
    ],
)
def test_each_parameter_narrows_the_answer(asking, question, names):
    assert asking.names(question) == names


def test_prefixes_of_attributes_are_the_requests_own(asking):
    headers = {"GS1-Extensions": "mine=https://example.com/ns/"}
    assert asking.names("HASATTR=mine:manager", headers=headers) == {PLANT}


def test_what_is_not_wanted_is_left_out(asking):
    def plant(question):
        return asking.found(f"EQ_name={PLANT}&{question}")[0][1]

    assert set(plant("includeAttributes=false")) == {"id", "children", "tallystick:seq", "@context"}
    assert "children" not in plant("includeChildren=false")
    only = plant("attributeNames=urn:epcglobal:cbv:mda:city")
    assert only["attributes"] == [{"id": "cbvmda:city", "attribute": "Riga"}]
    assert plant("attributeNames=https://example.com/ns/manager")["attributes"][0]["id"] == "ex:manager"


def test_pages_lead_through_everything_once(asking):
    for question in ("", f"WD_name={PLANT}", "maxElementCount=5"):
        seen, path = [], f"/masterdata?perPage=1&{question}"
        while path:
            response = asking.get(path)
            link = response.headers.get("Link", "")
            assert bool(link) == ("GS1-Next-Page-Token-Expires" in response.headers)
            address = urlsplit(link.partition(">")[0].removeprefix("<"))
            seen += asking.found(urlsplit(path).query)
            path = f"{address.path}?{address.query}" if link else ""
        assert sorted(element["id"] for _, element in seen) == sorted(asking.names(question))


@pytest.mark.parametrize(
    ("question", "status", "kind", "faults"),
    [
        ("foo=1&perPage=0", 400, "QueryParameterException", ["/foo", "/perPage"]),
        ("EQ_bizStep=shipping", 400, "QueryParameterException", ["/EQ_bizStep"]),
        ("EQATTR_=x", 400, "QueryParameterException", ["/EQATTR_"]),
        ("EQ_name=", 400, "QueryParameterException", ["/EQ_name"]),
        ("EQ_name=a||b", 400, "QueryParameterException", ["/EQ_name"]),
        ("EQ_name=urn:x%00", 400, "QueryParameterException", ["/EQ_name"]),
        ("EQ_name=%FF", 400, "QueryParameterException", None),
        ("EQ_name=a&EQ_name=b", 400, "QueryParameterException", ["/EQ_name"]),
        ("includeAttributes=maybe", 400, "QueryParameterException", ["/includeAttributes"]),
        ("maxElementCount=-1", 400, "QueryParameterException", ["/maxElementCount"]),
        ("nextPageToken=x", 400, "QueryParameterException", None),
        ("HASATTR=" + "x" * 3000, 400, "QueryParameterException", ["/HASATTR"]),
        ("&".join(f"EQATTR_a{n}=1" for n in range(101)), 400, "QueryParameterException", None),
        ("maxElementCount=4", 413, "QueryTooLargeException", None),
    ],
)
def test_each_refusal_has_the_standards_name(asking, question, status, kind, faults):
    response = asking.get(f"/masterdata?{question}", status)
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.get_json()
    assert problem["type"] == f"epcisException:{kind}"
    if faults is not None:
        assert [one["pointer"] for one in problem["faults"]] == faults


def test_a_token_belongs_to_its_question(asking):
    link = asking.get("/masterdata?perPage=1").headers["Link"]
    token = link.partition("nextPageToken=")[2].partition(">")[0]
    asking.get(f"/masterdata?perPage=2&nextPageToken={token}")
    for question in ("EQATTR_city=Riga", "includeChildren=false"):
        refused = asking.get(f"/masterdata?{question}&nextPageToken={token}", 400)
        assert refused.get_json()["code"] == "query.token.forged"
    asking.get(f"/eventTypes?nextPageToken={token}", 400)


def test_what_is_spoken_is_told_and_the_rest_refused(asking):
    options = asking.client.options("/masterdata")
    assert options.status_code == 204
    assert "GET" in options.headers["Allow"]
    assert options.headers["GS1-EPCIS-Min"] == "2.0.0"
    for headers in ({"Accept": "application/xml"}, {"GS1-EPCIS-Min": "2.1"}):
        refused = asking.get("/masterdata", 406, headers=headers)
        assert refused.get_json()["type"] == "epcisException:NotAcceptableException"
    assert asking.client.post("/masterdata").status_code == 405
    told = asking.get("/masterdata", headers={"GS1-EPC-Format": "Always_GS1_Digital_Link"})
    assert told.headers["GS1-EPC-Format"] == "Never_Translates"


def test_the_last_word_counts_and_what_is_erased_is_not_shown(alone):
    header = json.loads(json.dumps(JSON_HEADER).replace("Riga", "Ventspils"))
    seq = alone.send("distributor", in_json(header, "3"))
    alone.projector.catch_up()
    ((_, plant),) = alone.found(f"EQ_name={PLANT}")
    assert (plant["attributes"][0]["attribute"], plant["tallystick:seq"]) == ("Ventspils", seq)
    alone.site.lose_statement(seq)
    assert alone.names() == {SHELF, MILK}


def test_who_may_not_read_documents_is_shown_none(tmp_path):
    closed = Asking(tmp_path, read="none")
    try:
        assert closed.found() == closed.found("maxElementCount=1") == []
    finally:
        closed.close()
