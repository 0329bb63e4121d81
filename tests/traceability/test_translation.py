"""Identifiers and words of an event as an asker wants them spelled, and what is told of those that stay."""

from __future__ import annotations

import pytest

from traceability.epcis import vocabulary as words
from traceability.queries.spelling import bare
from traceability.translation import (
    ALWAYS_DIGITAL_LINK,
    ALWAYS_URN,
    Untranslated,
    company_prefixes,
    translate,
    with_web_words,
)

LINK = "https://id.gs1.org/01/09521141123454/21/100"
URN = "urn:epc:id:sgtin:9521141.012345.100"
SSCC = "https://id.gs1.org/00/095211411234567892"
PLACE = "urn:epc:id:sgln:9521141.00001.0"
EVENT = {
    "type": "AggregationEvent",
    "parentID": SSCC,
    "childEPCs": [LINK, URN, "urn:epc:id:gid:1.2.3", "https://own.example/thing"],
    "childQuantityList": [{"epcClass": "https://x.example/01/09521141123454/10/L1?17=261231", "quantity": 3}],
    "readPoint": {"id": PLACE, "ex:dock": LINK},
    "ex:field": LINK,
}


def test_links_become_urns_where_a_urn_of_the_event_shows_the_prefix():
    made, left = translate(EVENT, ALWAYS_URN)
    assert made["childEPCs"] == [URN, "urn:epc:id:gid:1.2.3", "https://own.example/thing"]
    assert made["parentID"] == "urn:epc:id:sscc:9521141.0123456789"
    assert made["childQuantityList"] == [{"epcClass": "urn:epc:class:lgtin:9521141.012345.L1", "quantity": 3}]
    assert left == []
    # Somebody's own fields are theirs, and the event itself stays as it was.
    assert made["readPoint"]["ex:dock"] == made["ex:field"] == LINK
    assert EVENT["parentID"] == SSCC


def test_what_is_not_known_is_told_and_not_guessed():
    event = {"epcList": [LINK, "urn:epc:id:sgtin:4012345.012345.1"], "parentID": SSCC}
    made, left = translate(event, ALWAYS_URN)
    assert made == event
    assert left == [
        Untranslated("/epcList/0", "gs1.company-prefix"),
        Untranslated("/parentID", "gs1.company-prefix"),
    ]


@pytest.mark.parametrize(
    ("identifier", "code"),
    [
        ("https://id.gs1.org/01/09521141123454/22/2A", "gs1.no-epc"),  # a variant has no EPC
        ("https://id.gs1.org/8013/9521141Kd8", "gs1.check"),
        ("https://id.gs1.org/01/09521141123455/21/100", "gs1.check-digit"),
    ],
)
def test_what_has_no_urn_is_told(identifier, code):
    made, left = translate({"epcList": [URN, identifier]}, ALWAYS_URN)
    assert made["epcList"] == [URN, identifier]
    (one,) = left
    assert one.pointer == "/epcList/1"
    assert one.code.startswith(code)


def test_prefixes_that_contradict_each_other_are_not_believed():
    event = {
        "epcList": [
            "urn:epc:id:sscc:952114.11234567890",
            "urn:epc:id:sscc:9521141.1234567890",
            "urn:epc:id:sscc:4012345.1234567890",
        ],
        "parentID": SSCC,
    }
    assert company_prefixes(event) == {"4012345": 7}
    assert translate(event, ALWAYS_URN)[1] == [Untranslated("/parentID", "gs1.company-prefix")]


def test_urns_become_links_and_links_stay_as_they_were():
    made, left = translate(EVENT, ALWAYS_DIGITAL_LINK)
    assert made["childEPCs"] == [LINK, *EVENT["childEPCs"][2:]], "one thing in two spellings, named once"
    assert made["readPoint"] == {"id": "https://id.gs1.org/414/9521141000014", "ex:dock": LINK}
    assert made["childQuantityList"] == EVENT["childQuantityList"]  # with the date that it brings
    assert left == [Untranslated("/childEPCs/1", "gs1.no-link")]


@pytest.mark.parametrize("wrong", [None, 5, [], {"id": 1}, [1, None, {}], {"epcClass": 3}, "no identifier"])
def test_what_is_no_event_comes_back_as_it_is(wrong):
    event = {"epcList": wrong, "parentID": wrong, "readPoint": wrong, "quantityList": wrong}
    for epc_format in (ALWAYS_DIGITAL_LINK, ALWAYS_URN):
        assert translate(event, epc_format) == (event, [])
    assert with_web_words({"bizStep": wrong, "persistentDisposition": wrong, "sourceList": wrong}) == {
        "bizStep": wrong, "persistentDisposition": wrong, "sourceList": wrong,
    }  # fmt: skip


def test_every_word_becomes_an_address_of_the_same_word():
    for field, known in (("bizStep", words.BIZ_STEPS), ("disposition", words.DISPOSITIONS)):
        for word in known:
            address = with_web_words({field: word})[field]
            assert address.startswith("https://ref.gs1.org/cbv/")
            assert bare(address) == word
    made = with_web_words(
        {
            "persistentDisposition": {"set": ["expired"], "unset": ["available", "https://own.example/d"]},
            "bizTransactionList": [{"type": "po", "bizTransaction": "x"}, {"bizTransaction": "y"}],
            "sourceList": [{"type": "owning_party", "source": "z"}],
            "errorDeclaration": {"reason": "incorrect_data", "declarationTime": "t"},
        }
    )
    cbv = "https://ref.gs1.org/cbv/"
    assert made["persistentDisposition"] == {
        "set": [f"{cbv}Disp-expired"],
        "unset": [f"{cbv}Disp-available", "https://own.example/d"],
    }
    assert [one.get("type") for one in made["bizTransactionList"]] == [f"{cbv}BTT-po", None]
    assert made["sourceList"][0]["type"] == f"{cbv}SDT-owning_party"
    assert made["errorDeclaration"]["reason"] == f"{cbv}ER-incorrect_data"


@pytest.mark.parametrize("epc_format", [ALWAYS_DIGITAL_LINK, ALWAYS_URN])
def test_one_thing_in_two_spellings_is_named_once_in_the_other_format(epc_format):
    urn, link = "urn:epc:id:sscc:4012345.0000000333", "https://id.gs1.org/00/040123450000003338"
    other = "urn:epc:id:sgtin:4012345.012345.12"
    event = {"epcList": [urn, other, link]}
    made, left = translate(event, epc_format)
    assert left == []
    assert len(made["epcList"]) == 2
    assert made["epcList"][0] == (urn if epc_format == ALWAYS_URN else link)
    assert event["epcList"] == [urn, other, link]
