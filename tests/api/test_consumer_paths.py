"""Every GS1 key has its address here: Digital Link paths of all kinds, whatever their values hold."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
import tt_site
from hypothesis import given
from hypothesis import strategies as st
from tt_site import GTIN, Site

from api.printed import KEYS, is_class, link_of, parts_of_path, printed
from traceability.gs1 import canonical
from traceability.gs1.keys import QUALIFIERS

JOURNEY = "1000000042"
SET_82 = "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"


def headline(response):
    return re.search(r'<h1 id="headline">(.*?)</h1>', response.text)[1].replace("&#39;", "'")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("paths"))
    site.append(*tt_site.journey(JOURNEY))
    site.anchor()
    yield site
    site.close()


@pytest.mark.parametrize(
    "path",
    [
        f"/01/{GTIN}/21/{JOURNEY}",
        f"/01/{GTIN}/22/A/10/L%2F1/21/{JOURNEY}",
        f"/01/{GTIN}/10/a%2F22%2Fb/21/{JOURNEY}",
        f"/01/{GTIN[1:]}/21/{JOURNEY}?17=280531&lang=de",
    ],
)
def test_a_pack_is_found_under_all_its_paths(site, path):
    response = site.client.get(path)
    assert response.status_code == 200
    assert headline(response) == "This pack’s record checks out"


def test_a_box_has_a_page_too(site):
    parents = [event["parentID"] for _, event in tt_site.journey(JOURNEY) if "parentID" in event]
    sscc = canonical(parents[0]).rpartition("/")[2]
    response = site.client.get(f"/00/{sscc}")
    assert response.status_code == 200
    assert "Shipping unit (SSCC)" in response.text
    assert sscc in response.text


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (f"/01/{GTIN}/235/51qIgY%29%3C", "51qIgY)&lt;"),
        ("/00/095211410012345677", "095211410012345677"),
        ("/253/9521141000090PO%2F4711", "PO/4711"),
        ("/8004/9521141ABC%2F1", "9521141ABC/1"),
        ("/8006/095211411234540102/21/9", "Piece (ITIP)"),
        ("/8010/9521141A1%23/8011/1234", "Part (CPID)"),
        ("/8003/095211410002297", "Returnable asset (GRAI)"),
        ("/414/9521141000120/254/DOCK%2F7", "DOCK/7"),
        ("/8018/952114100000067653/8019/5", "Service instance"),
    ],
)
def test_what_nobody_recorded_is_said_so_under_every_key(site, path, shown):
    response = site.client.get(path)
    assert response.status_code == 404
    assert headline(response) == "This ledger has no record of this pack"
    assert shown in response.text


@pytest.mark.parametrize(
    "path",
    [
        f"/01/{GTIN}",
        f"/01/{GTIN}/10/L1",
        f"/01/{GTIN}/22/A",
        f"/01/{GTIN}/22/A/10/L1",
        "/8006/095211411234540102",
        "/8010/9521141A1",
        "/253/9521141000090",
        "/8003/09521141000229",
    ],
)
def test_what_names_a_class_names_no_single_thing(site, path):
    response = site.client.get(path)
    assert response.status_code == 404
    assert headline(response) == "This code names a product, not one pack"


@pytest.mark.parametrize(
    "path",
    [
        f"/01/{GTIN}/21/",
        f"/01/{GTIN}/10/L/21/",
        f"/01/{GTIN}/21/a~",
        "/01/09520123456789/21/1",
        "/00/095211410012345679",
        "/414/9521141000121",
        "/8010/9521141a1/8011/1",
        f"/01/{GTIN}/99/x",
        "/8004/" + "9" * 3000,
    ],
)
def test_what_no_code_can_hold_is_refused_with_a_page(site, path):
    response = site.client.get(path)
    assert response.status_code == 400
    assert headline(response) == "This code cannot be right"


@pytest.mark.parametrize("path", ["/99/x", "/1/x", "/001/x", "/01", "/10/L1", "/gtin/" + GTIN])
def test_what_is_no_key_is_no_page_here(site, path):
    assert site.client.get(path).status_code == 404
    assert "headline" not in site.client.get(path).text


@given(st.sampled_from(sorted(KEYS)), st.data())
def test_a_path_comes_apart_as_it_was_put_together(key, data):
    text = st.text(SET_82.replace("/", ""), min_size=1, max_size=6)
    way = data.draw(st.sampled_from([(), *QUALIFIERS[key]]))
    chosen = [ai for ai in way if data.draw(st.booleans())]
    parts = ((key, data.draw(text)), *((ai, data.draw(text)) for ai in chosen))
    rest = "/".join(part for pair in parts for part in pair).removeprefix(key + "/")
    assert parts_of_path(key, rest) == parts
    assert link_of(parts).endswith("/".join(quote(part, safe="") for part in parts[-1]))


@given(st.sampled_from(sorted(KEYS)), st.text("/0123456789ABab%", max_size=3000))
def test_no_path_takes_long_or_loses_anything(key, rest):
    parts = parts_of_path(key, rest)
    assert "/".join(part for pair in parts for part in pair) == f"{key}/{rest}"


def test_a_path_made_to_be_slow_is_not():
    # 500 places where a qualifier may begin, and an end that fits none.
    assert parts_of_path("01", "/10" * 600 + "/")


def test_every_part_of_every_name_has_words():
    for key, ways in QUALIFIERS.items():
        for way in ways or ((),):
            assert set(way) | {key} <= set(printed.__globals__["_WORDS"])
    assert printed(canonical(f"https://a.example/01/{GTIN}/21/1")) == (
        ("Product number (GTIN)", GTIN),
        ("Serial number", "1"),
    )
    assert not is_class("https://id.gs1.org/00/095211410012345677")
