"""One thing, one name: the official pairs, every scheme, and what must not pass."""

from __future__ import annotations

import json
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traceability.errors import IdentifierMalformed, NotGs1
from traceability.gs1 import canonical, check_digit
from traceability.gs1.canonical import judge

SET_82 = "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
SET_39 = "#-/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ID = "https://id.gs1.org"

# Ours, from the Tag Data Standard, so that a clone without the official files tests every scheme too.
PAIRS = [
    ("urn:epc:id:sgtin:9521141.012345.100", "/01/09521141123454/21/100"),
    ("urn:epc:id:sgtin:9521141.312345.A-b_c.d", "/01/39521141123455/21/A-b_c.d"),
    ("urn:epc:id:sgtin:952114112345.3.1", "/01/39521141123455/21/1"),
    ("URN:EPC:id:sgtin:9521141.012345.100", "/01/09521141123454/21/100"),
    ("urn:epc:id:sscc:9521141.0001234567", "/00/095211410012345677"),
    ("urn:epc:id:sgln:9521141.00012.0", "/414/9521141000120"),
    ("urn:epc:id:sgln:9521141.00012.A%2F7", "/414/9521141000120/254/A%2F7"),
    ("urn:epc:id:sgln:952114100012..0", "/414/9521141000120"),
    ("urn:epc:id:pgln:9521141.00000", "/417/9521141000007"),
    ("urn:epc:id:grai:9521141.00022.7", "/8003/095211410002297"),
    ("urn:epc:id:giai:9521141.ABC%22d", "/8004/9521141ABC%22d"),
    ("urn:epc:id:gsrn:9521141.0000006765", "/8018/952114100000067653"),
    ("urn:epc:id:gsrnp:9521141.0000006765", "/8017/952114100000067653"),
    ("urn:epc:id:gdti:9521141.00009.PO-4711", "/253/9521141000090PO-4711"),
    ("urn:epc:id:cpi:9521141.A1%23.1234", "/8010/9521141A1%23/8011/1234"),
    ("urn:epc:id:sgcn:9521141.99999.0044", "/255/95211419999980044"),
    ("urn:epc:id:ginc:9521141.x(1)", "/401/9521141x%281%29"),
    ("urn:epc:id:gsin:9521141.222333444", "/402/95211412223334440"),
    ("urn:epc:id:itip:9521141.012345.01.02.9", "/8006/095211411234540102/21/9"),
    ("urn:epc:id:upui:9521141.012345.AB*", "/01/09521141123454/235/AB%2A"),
    ("urn:epc:class:lgtin:9521141.012345.L.1", "/01/09521141123454/10/L.1"),
    ("urn:epc:idpat:sgtin:9521141.012345.*", "/01/09521141123454"),
    ("urn:epc:idpat:upui:9521141.012345.*", "/01/09521141123454"),
    ("urn:epc:idpat:sgln:9521141.00012.*", "/414/9521141000120"),
    ("urn:epc:idpat:grai:9521141.00022.*", "/8003/09521141000229"),
    ("urn:epc:idpat:gdti:9521141.00009.*", "/253/9521141000090"),
    ("urn:epc:idpat:sgcn:9521141.99999.*", "/255/9521141999998"),
    ("urn:epc:idpat:cpi:9521141.A1.*", "/8010/9521141A1"),
    ("urn:epc:idpat:itip:9521141.012345.01.02.*", "/8006/095211411234540102"),
    (
        "https://shop.example/de/01/09521141123454/22/v2/10/L1/21/100?17=280301#top",
        "/01/09521141123454/21/100",
    ),
    ("https://shop.example/01/09521141123454/22/v2/10/L1", "/01/09521141123454/10/L1"),
    ("https://shop.example/01/09521141123454/22/v2", "/01/09521141123454/22/v2"),
    ("http://shop.example/gtin/9521141123454/ser/100", "/01/09521141123454/21/100"),
    ("https://shop.example/414/9521141000120/254/0", "/414/9521141000120"),
    ("https://shop.example/01/09521141123454/21/a%2fb!", "/01/09521141123454/21/a%2Fb%21"),
    ("https://[2001:db8::1]:8443/00/095211410012345677", "/00/095211410012345677"),
    ("https://shop.example/8013/1987654Ad4X4bL5ttr2310c2K", "/8013/1987654Ad4X4bL5ttr2310c2K"),
]

# Each is a GS1 identifier gone wrong, and the code that says how.
MALFORMED = [
    ("https://id.gs1.org/01/09521141123455/21/1", "gs1.check-digit"),
    ("https://shop.example/00/095211410012345679", "gs1.check-digit"),
    ("https://shop.example/414/9521141000121", "gs1.check-digit"),
    ("https://shop.example/8003/09521141000228", "gs1.check-digit"),
    ("https://shop.example/8006/095211411234550102", "gs1.check-digit"),
    ("https://shop.example/253/9521141000091PO", "gs1.check-digit"),
    ("https://shop.example/8013/1987654Ad4X4bL5ttr2310c2L", "gs1.check-digit"),
    ("https://shop.example/8006/095211411234540302", "gs1.piece"),
    ("https://shop.example/01/0952114112345", "gs1.check-digit"),
    ("https://shop.example/01/095211411234545", "gs1.value"),
    ("https://shop.example/01/09521141123454/21/" + "x" * 21, "gs1.value"),
    ("https://shop.example/01/09521141123454/21/", "gs1.value"),
    ("https://shop.example/01/09521141123454/21/%C3%BC", "gs1.percent-encoding"),
    ("https://shop.example/01/09521141123454/21/%0A", "gs1.value"),
    ("https://shop.example/01/09521141123454/21/%7E", "gs1.value"),
    ("https://shop.example/01/09521141123454/21/a~", "gs1.value"),
    ("https://shop.example/01/09521141123454/21/a%2", "gs1.percent-encoding"),
    ("https://shop.example/01/09521141123454/21/a%zz", "gs1.percent-encoding"),
    ("https://shop.example/01/09521141123454/21/1/10/L", "gs1.qualifier"),
    ("https://shop.example/01/09521141123454/235/A/21/1", "gs1.qualifier"),
    ("https://shop.example/00/095211410012345678/21/1", "gs1.qualifier"),
    ("https://shop.example/8010/9521141a/8011/1", "gs1.value"),
    ("https://shop.example/8010/9521141A/8011/01", "gs1.value"),
    ("https://shop.example/01/09521141123454?" + "x" * 2048, "gs1.length"),
    ("urn:epc:id:sgtin:9521141.012345", "gs1.urn"),
    ("urn:epc:id:sgtin:9521141.012345.", "gs1.value"),
    ("urn:epc:id:sgtin:9521141.01234.1", "gs1.value"),
    ("urn:epc:id:sgtin:9521141.0123456.1", "gs1.value"),
    ("urn:epc:id:sgtin:95211.01234567.1", "gs1.company-prefix"),
    ("urn:epc:id:sgtin:9521141012345..1", "gs1.company-prefix"),
    ("urn:epc:id:sgtin:952114l.012345.1", "gs1.company-prefix"),
    ("urn:epc:id:sgtin:٩521141.012345.1", "gs1.company-prefix"),
    ("urn:epc:id:sgtin:9521141.O12345.1", "gs1.value"),
    ("urn:epc:id:sgtin:9521141.012345." + "1" * 21, "gs1.length"),
    ("urn:epc:id:sgtin:9521141.012345.%22" + "1" * 20, "gs1.length"),
    ("urn:epc:id:sgtin:9521141.012345.a/b", "gs1.charset"),
    ("urn:epc:id:sgtin:9521141.012345.a b", "gs1.charset"),
    ("urn:epc:id:sgtin:9521141.012345.a\x00", "gs1.charset"),
    ("urn:epc:id:sgtin:9521141.012345.a\n", "gs1.charset"),
    ("urn:epc:id:sgtin:9521141.012345.ü", "gs1.charset"),
    ("urn:epc:id:sgtin:9521141.012345.%0A", "gs1.charset"),
    ("urn:epc:id:sgtin:9521141.012345.%40", "gs1.charset"),
    ("urn:epc:id:sgtin:9521141.012345.%C3%BC", "gs1.charset"),
    ("urn:epc:id:sgtin:9521141.012345.50%", "gs1.percent-encoding"),
    ("urn:epc:id:sgtin:9521141.012345.%2", "gs1.percent-encoding"),
    ("urn:epc:id:sgtin:9521141.012345." + "%22" * 90, "gs1.length"),
    ("urn:epc:id:sscc:9521141.000123456", "gs1.value"),
    ("urn:epc:id:sscc:9521141.0001234567.1", "gs1.value"),
    ("urn:epc:id:sgln:9521141.00012", "gs1.urn"),
    ("urn:epc:id:pgln:9521141.0001", "gs1.value"),
    ("urn:epc:id:giai:9521141." + "A" * 24, "gs1.length"),
    ("urn:epc:id:cpi:9521141.a1.1", "gs1.charset"),
    ("urn:epc:id:cpi:9521141.A1.01", "gs1.value"),
    ("urn:epc:id:cpi:9521141.A1.x", "gs1.value"),
    ("urn:epc:id:cpi:9521141." + "A" * 24 + ".1", "gs1.length"),
    ("urn:epc:id:sgcn:9521141.99999.", "gs1.value"),
    ("urn:epc:id:itip:9521141.012345.03.02.9", "gs1.piece"),
    ("urn:epc:id:itip:9521141.012345.0.02.9", "gs1.piece"),
    ("urn:epc:id:sgtn:9521141.012345.1", "gs1.scheme"),
    ("urn:epc:ID:sgtin:9521141.012345.1", "gs1.scheme"),
    ("urn:epc:tag:sgtin-96:3.9521141.012345.1", "gs1.scheme"),
    ("urn:epc:class:sgtin:9521141.012345.1", "gs1.scheme"),
    ("urn:epc:id:", "gs1.scheme"),
    ("urn:epc:", "gs1.scheme"),
    ("urn:epc:idpat:sgtin:9521141.*.*", "gs1.pattern"),
    ("urn:epc:idpat:sgtin:*.*.*", "gs1.pattern"),
    ("urn:epc:idpat:sgtin:9521141.012345.1", "gs1.pattern"),
    ("urn:epc:idpat:sgtin:9521141.012345", "gs1.pattern"),
    ("urn:epc:idpat:sscc:9521141.*", "gs1.pattern"),
    ("urn:epc:idpat:giai:9521141.*", "gs1.pattern"),
    ("urn:epc:idpat:sgtn:9521141.012345.*", "gs1.scheme"),
]

# Meant as links, and not even readable as such: to name them "raw:" in silence would hide them.
UNREADABLE = [
    "https:///01/09521141123454",
    "HtTp://shop.example/01/09521141123454",
    "https://$shop/01/09521141123454",
    "https://id.gs1.org/01",
]

NOT_GS1 = [
    "42",
    "",
    "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
    "urn:epcglobal:cbv:bt:0614141073467:1152",
    "urn:epc:id:gid:95100000.12345.400",
    "urn:epc:id:usdod:CAGEY.5678",
    "urn:epc:raw:64.x00000000",
    "https://shop.example/about/us",
    "https://shop.example",
    "ftp://shop.example/01/09521141123454",
    "https://shop.example/01/0952<",
    "https://shop.example/01/09521141123454 ",
]


def test_every_official_pair_has_its_canonical_form(shared):
    pairs = json.loads((shared / "gs1/epc-digital-link-pairs.json").read_bytes())
    assert {source: canonical(source) for source, _ in pairs["pairs"]} == dict(pairs["pairs"])


def test_every_official_reject_is_refused(shared):
    for text in json.loads((shared / "gs1/epc-digital-link-pairs.json").read_bytes())["rejects"]:
        with pytest.raises(IdentifierMalformed):
            canonical(text)


@pytest.mark.parametrize(("identifier", "path"), PAIRS)
def test_every_scheme_has_its_canonical_form(identifier, path):
    assert canonical(identifier) == ID + path


@pytest.mark.parametrize(("identifier", "path"), PAIRS)
def test_a_canonical_form_is_its_own(identifier, path):
    assert canonical(ID + path) == ID + path


@pytest.mark.parametrize(("identifier", "code"), MALFORMED)
def test_a_broken_identifier_says_what_is_wrong(identifier, code):
    with pytest.raises(IdentifierMalformed) as caught:
        canonical(identifier)
    assert caught.value.code == code
    assert judge(identifier)[0] == "raw:" + identifier


@pytest.mark.parametrize("identifier", NOT_GS1)
def test_what_is_not_gs1_is_told_apart_from_what_is_wrong(identifier):
    with pytest.raises(NotGs1):
        canonical(identifier)
    assert judge(identifier) == ("raw:" + identifier, "", "")


@pytest.mark.parametrize("identifier", UNREADABLE)
def test_a_link_that_cannot_be_read_is_at_fault(identifier):
    assert judge(identifier)[1] == "gs1.unknown"


def test_an_address_of_somebodys_own_is_not_judged_as_a_digital_link():
    assert judge("https://shop.example/01/index.html")[1] == ""
    assert judge("https://shop.example/order/01/77")[1] == ""


def test_an_address_that_plainly_means_a_key_is():
    assert judge("https://shop.example/01/09521141123455")[1] == "gs1.check-digit"
    assert judge("https://id.gs1.org/anything")[1] == "gs1.unknown"


@given(
    st.sampled_from(
        ["http://a.example", "https://id.gs1.org", "https://a.example:80", "https://a-b", "https://a."]
    ),
    st.sampled_from(["01", "00", "414", "417", "415", "8018"]),
    st.text("0123456789", min_size=11, max_size=18),
    st.sampled_from(["", "0", "5", "check"]),
    st.sampled_from(["", "/21/", "/10/", "/22/", "/254/", "/254/0", "/254/00", "/235/", "/"]),
    st.text("09azAZ-%2F", max_size=22),
)
def test_the_short_way_to_a_name_leads_where_the_long_one_does(host, key, digits, last, qualifier, value):
    # A stem makes a link take the long way; it must not make another thing of it.
    last = check_digit(digits[:17]) if last == "check" else last
    tail = qualifier + value if qualifier.endswith("/") and qualifier != "/" else qualifier
    short, long = (f"{host}{stem}/{key}/{digits[:17]}{last}{tail}" for stem in ("", "/x"))
    assert judge(short)[0].removeprefix("raw:" + short) == judge(long)[0].removeprefix("raw:" + long)
    assert judge(short)[1] == judge(long)[1]


def _serial(alphabet, size):
    return st.text(alphabet, min_size=1, max_size=size)


def _escape(serial):
    return "".join(f"%{ord(c):02X}" if c in '"%&/<>?#' else c for c in serial)


prefixes = st.integers(6, 12).flatmap(lambda n: st.text("0123456789", min_size=n, max_size=n))


@given(prefixes, st.text("0123456789", min_size=7, max_size=7), _serial(SET_82, 20))
def test_a_serialised_item_and_its_link_are_one(prefix, item, serial):
    item = item[: 13 - len(prefix)]
    body = item[0] + prefix + item[1:]
    gtin = body + check_digit(body)
    name = canonical(f"urn:epc:id:sgtin:{prefix}.{item}.{_escape(serial)}")
    link = "".join(f"%{b:02x}" for b in serial.encode())
    assert name == canonical(f"http://maker.example/x/01/{gtin}/10/LOT/21/{link}?99=x")
    assert canonical(name) == name


@given(prefixes, st.text("0123456789", min_size=11, max_size=11))
def test_a_shipping_container_and_its_link_are_one(prefix, serial):
    serial = serial[: 17 - len(prefix)]
    body = serial[0] + prefix + serial[1:]
    assert canonical(f"urn:epc:id:sscc:{prefix}.{serial}") == f"{ID}/00/{body}{check_digit(body)}"


@given(_serial(SET_39, 18), st.integers(0, 10**12 - 1))
def test_a_component_and_its_link_are_one(part, serial):
    name = canonical(f"urn:epc:id:cpi:952114112345.{_escape(part)}.{serial}")
    assert canonical(name) == name


@given(st.text(max_size=80) | st.text(SET_82, max_size=60).map(lambda s: "urn:epc:id:sgtin:9521141." + s))
def test_judging_any_string_at_all_gives_a_name(text):
    name, _, _ = judge(text)
    assert name == "raw:" + text or canonical(name) == name


@given(st.text(SET_82.replace("/", "~").replace("?", "#"), max_size=24))
def test_two_names_are_never_one_thing(serial):
    # The name decodes to what was given, so two serials never meet in one.
    name, _, _ = judge("https://shop.example/01/09521141123454/21/" + serial)
    if not name.startswith("raw:"):
        assert canonical(name) == name
        assert unquote(name.rpartition("/")[2]) == unquote(serial.partition("#")[0])
