"""Digital Links with their application identifiers, as strict as GS1's own engine."""

from __future__ import annotations

import json

import pytest

from traceability.errors import IdentifierMalformed
from traceability.gs1 import DigitalLink, parse_digital_link
from traceability.gs1.digital_link import claims_key, render_digital_link


def test_what_the_gs1_engine_reads_we_read_alike(shared):
    # What it refuses may be no good for the sake of the query, which is for links.parse_link to judge.
    cases = json.loads((shared / "gs1/gs1-syntax-vectors.json").read_bytes())["parseDLuri"]
    read = 0
    for case in cases:
        if case["default_ok"]:
            link = parse_digital_link(case["uri"])
            path = "".join(f"({ai}){value}" for ai, value in (link.key, *link.qualifiers))
            assert case["default_ai"].startswith(path), case
            read += 1
    assert read


def test_a_link_is_taken_apart_and_decoded():
    link = parse_digital_link("https://shop.example/de/01/09521141123454/10/L%2F1/21/100?17=280301&ref=x#top")
    assert link == DigitalLink(
        stem="https://shop.example/de",
        key=("01", "09521141123454"),
        qualifiers=(("10", "L/1"), ("21", "100")),
        attributes=(("17", "280301"),),
    )


@pytest.mark.parametrize(
    "uri", ["https://shop.example/gtin/09521141123454", "https://shop.example/01/9521141123454"]
)
def test_older_spellings_need_to_be_asked_for(uri):
    with pytest.raises(IdentifierMalformed):
        parse_digital_link(uri)
    assert parse_digital_link(uri, words=True, short_gtin=True).key == ("01", "09521141123454")


def test_a_short_number_is_padded_for_items_only():
    with pytest.raises(IdentifierMalformed):
        parse_digital_link("https://shop.example/414/095211410001", short_gtin=True)


def test_the_key_nearest_the_end_is_the_one():
    link = parse_digital_link("https://shop.example/01/x/01/09521141123454")
    assert link.stem == "https://shop.example/01/x"


def test_rendering_escapes_all_that_is_not_unreserved():
    assert render_digital_link("01", "09521141123454", ("21", "a/b(c)")).endswith("/21/a%2Fb%28c%29")


@pytest.mark.parametrize(
    ("uri", "claims"),
    [
        ("https://id.gs1.org/x", True),
        ("HTTPS://ID.GS1.ORG/x", True),
        ("https://shop.example/01/09521141", True),
        ("https://shop.example/01/095", False),
        ("https://shop.example/253/9521141000091PO-4711", True),
        ("https://shop.example/00/09521141001234567", True),
        ("https://shop.example/invoice/402/20231107", False),
        ("https://shop.example/401/20231107000000", False),
        ("https://shop.example/01/2023110700000000", False),
        ("https://shop.example/01/chapter", False),
        ("urn:x:01/09521141", False),
        ("https://shop.example/a?b=/01/09521141", False),
    ],
)
def test_whether_an_address_means_a_key(uri, claims):
    assert claims_key(uri) is claims
