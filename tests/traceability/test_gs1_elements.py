"""Element strings and whole links: GS1's own answers, its rules on cases of ours, and both ways round."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traceability.errors import IdentifierMalformed, NotGs1
from traceability.gs1.ai_table import ai_table
from traceability.gs1.canonical import judge
from traceability.gs1.check_digit import check_digit
from traceability.gs1.elements import (
    ELEMENTS_MAX,
    Element,
    parse_bracketed,
    parse_raw,
    render_bracketed,
    render_raw,
    verify_together,
)
from traceability.gs1.from_elements import name_of
from traceability.gs1.links import parse_link, render_link

GTIN = "09521141123454"
SSCC = "095211410012345677"
SET_82 = "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"


def _vectors(shared, name):
    return json.loads((shared / "gs1/gs1-syntax-vectors.json").read_bytes())[name]


def _link(uri):
    elements = parse_link(uri)
    verify_together(elements)
    return elements


def _bracketed(text):
    elements = parse_bracketed(text)
    verify_together(elements)
    return elements


def _raw(text):
    if not text.startswith("^"):
        raise IdentifierMalformed("gs1.element-string", "FNC1 comes first")
    elements = parse_raw(text[1:], 1, separators="^")
    verify_together(elements)
    return elements


def _attempt(function, *arguments):
    try:
        return function(*arguments)
    except IdentifierMalformed:
        return None


def _code(function, *arguments):
    with pytest.raises(IdentifierMalformed) as caught:
        function(*arguments)
    return caught.value.code


def test_the_gs1_engine_reads_every_link_as_we_do(shared):
    for case in _vectors(shared, "parseDLuri"):
        elements = _attempt(_link, case["uri"])
        assert (render_bracketed(elements) if elements else None) == case["default_ai"], case


def test_the_gs1_engine_writes_every_link_as_we_do(shared):
    for case in _vectors(shared, "testGenerateDLuri"):
        elements = _attempt(_bracketed, case["ai"])
        link = _attempt(render_link, elements, case["stem"] or "https://id.gs1.org") if elements else None
        assert link == case["default_uri"], case


def test_the_gs1_engine_judges_every_element_string_as_we_do(shared):
    for case in _vectors(shared, "processAIdata"):
        assert (_attempt(_raw, case["data"]) is not None) is case["default_ok"], case


# Ours, so that a clone without the official files tests every rule too. Each good one has three that are not.
@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (
            f"(01){GTIN}",
            {
                "(01)09521141123455": "gs1.check-digit",
                "(01)9521141123454": "gs1.length",
                "(01)0952114112345A": "gs1.charset",
                "(01)095211411234540": "gs1.length",
            },
        ),
        (
            f"(01){GTIN}(21)100",
            {
                "(21)100": "gs1.required",
                f"(01){GTIN}(21)": "gs1.element-string",
                f"(01){GTIN}(21)100(235)X": "gs1.excluded",
                f"(01){GTIN}(21)a~": "gs1.charset",
                f"(01){GTIN}(21){'1' * 21}": "gs1.length",
            },
        ),
        (
            f"(01){GTIN}(10)L\\(1)",
            {
                f"(01){GTIN}(10)L(1)": "gs1.ai",
                f"(01){GTIN}(10": "gs1.element-string",
                f"(01){GTIN}10)L": "gs1.length",
                f"(01){GTIN}(10)L^": "gs1.charset",
            },
        ),
        (
            f"(00){SSCC}(02){GTIN}(37)25",
            {
                f"(02){GTIN}(37)25": "gs1.required",
                f"(00){SSCC}(02){GTIN}": "gs1.required",
                f"(00){SSCC}(37)25": "gs1.required",
                f"(00){SSCC}(01){GTIN}(02){GTIN}(37)25": "gs1.excluded",
            },
        ),
        (
            f"(01){GTIN}(01){GTIN}",
            {
                f"(01){GTIN}(01)39521141123455": "gs1.repeated",
                f"(01){GTIN}(10)A(10)B": "gs1.repeated",
                f"(01){GTIN}(10)A(21)1(10)AA": "gs1.repeated",
            },
        ),
        (
            f"(01){GTIN}(3103)000195(3922)0299",
            {
                f"(01){GTIN}(3922)0299": "gs1.required",
                "(3103)000195": "gs1.required",
                f"(01){GTIN}(3103)000195(3102)001950": "gs1.excluded",
                f"(01){GTIN}(3103)000195(3922)0299(3931)9780299": "gs1.excluded",
                f"(01){GTIN}(3103)00195": "gs1.length",
            },
        ),
        (
            f"(8030)AbC-_1(01){GTIN}(21)1",
            {
                f"(8030)AbC-_1(01){GTIN}": "gs1.required",
                "(8030)AbC-_1": "gs1.required",
                f"(8030)AbC+1(01){GTIN}(21)1": "gs1.charset",
                "(8030)AbC-_1(8003)09521141000229": "gs1.serial",
                "(8030)AbC-_1(253)9521141000090": "gs1.serial",
            },
        ),
        (
            "(99)ANY",
            {
                "99ANY": "gs1.element-string",
                "": "gs1.element-string",
                "(89)ANY": "gs1.ai",
                "()ANY": "gs1.ai",
                "(9)ANY": "gs1.ai",
                "(99999)ANY": "gs1.ai",
                "(9A)ANY": "gs1.ai",
                "(٩٩)ANY": "gs1.ai",
                "(99) ANY": "gs1.charset",
                "(99)" + "A" * 91: "gs1.length",
                "(99)A" * (ELEMENTS_MAX + 1): "gs1.length",
                "(99)" + "A" * 10_000: "gs1.length",
            },
        ),
    ],
)
def test_bracketed_element_strings(good, bad):
    assert render_bracketed(_bracketed(good)) == good
    for text, code in bad.items():
        assert _code(_bracketed, text) == code, text


@pytest.mark.parametrize(
    ("good", "elements", "bad"),
    [
        (
            f"^01{GTIN}21100^10L1",
            [("01", GTIN), ("21", "100"), ("10", "L1")],
            [f"01{GTIN}", "^", f"^01{GTIN}21{'1' * 21}", f"^01{GTIN[:13]}^21100", f"^01{GTIN}^^21100"],
        ),
        (
            f"^01{GTIN}^99X^",
            [("01", GTIN), ("99", "X")],
            [f"^01{GTIN}5^99X", "^99X^^", "^89X", "^9", "^99", "^01"],
        ),
        (
            f"^01{GTIN}7007261101261130",
            [("01", GTIN), ("7007", "261101261130")],
            [
                f"^01{GTIN}70072611012",
                f"^01{GTIN}70072611012611300",
                f"^01{GTIN}7007261101261131",
                f"^01{GTIN}7007",
            ],
        ),
    ],
)
def test_element_strings_as_scanned(good, elements, bad):
    assert [(element.ai, element.value) for element in _raw(good)] == elements
    for text in bad:
        assert _attempt(_raw, text) is None, text


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (
            f"https://shop.example/de/01/{GTIN}/10/L1/21/100?17=281231&lang=de&x#top",
            [
                f"https://shop.example/01/{GTIN}/21/100?10=L1",
                f"https://shop.example/01/{GTIN}/21/100/10/L1",
                f"https://shop.example/01/{GTIN}/21/100?17=281331",
                f"https://shop.example/01/{GTIN}/21/100?17=",
                f"https://shop.example/01/{GTIN}/21/100?=x",
                f"https://shop.example/01/{GTIN}/21/100?89=x",
                f"https://shop.example/01/{GTIN}/21/100?1=x",
                f"https://shop.example/01/{GTIN}/21/100?99=x&99=x",
                f"https://shop.example/01/{GTIN}/21/100?99=a+b",
                f"https://shop.example/01/{GTIN}/21/100?8200=x",
                f"https://shop.example/01/{GTIN}/21/100?37=2",
            ],
        ),
        (
            f"https://a.example:8443/414/{'9521141000120'}/254/DOCK%2F7",
            [
                "https://a.example/414/9521141000121",
                "https://a.example/414/9521141000120/254/%00",
                "https://a.example/414/9521141000120/254/%C3%BC",
                "https://a.example/414/9521141000120/254/%2",
                "https://a_b.example/414/9521141000120",
                "https://a%2e.example/414/9521141000120",
                "https:///414/9521141000120",
                "Https://a.example/414/9521141000120",
                "https://a.example/414/9521141000120/",
                "https://a.example/414/9521141000120 ",
                "ftp://a.example/414/9521141000120",
                "https://[::zz]/414/9521141000120",
            ],
        ),
        (
            f"https://a.example/01/{GTIN}/235/TPX?10=L1",
            [
                f"https://a.example/01/{GTIN}/235/TPX/10/L1",
                f"https://a.example/01/{GTIN}/10/L1?235=TPX",
                f"https://a.example/01/{GTIN}/235/TPX?22=A",
            ],
        ),
        (
            "https://a.example/415/9521141000120/8020/ABC?3900=12",
            [
                "https://a.example/415/9521141000120",
                "https://a.example/415/9521141000120/8020/ABC?3900=12&3910=97812",
                "https://a.example/8020/ABC/415/9521141000120",
            ],
        ),
    ],
)
def test_links_as_a_whole(good, bad):
    assert _link(good)
    for uri in bad:
        assert _attempt(_link, uri) is None, uri


def test_a_link_without_a_key_is_told_from_one_that_is_wrong():
    with pytest.raises(NotGs1):
        parse_link("https://shop.example/about/us")
    assert _code(parse_link, "https://shop.example/01/1") == "gs1.length"


@pytest.mark.parametrize(
    ("text", "link"),
    [
        (f"(21)1(10)L(01){GTIN}(99)X+Y(17)281231", f"/01/{GTIN}/10/L/21/1?17=281231&99=X%2BY"),
        (f"(01){GTIN}(10)A\\(1)", f"/01/{GTIN}/10/A%281%29"),
        (f"(00){SSCC}(02){GTIN}(37)5", f"/00/{SSCC}?02={GTIN}&37=5"),
        ("(414)9521141000120(254)A", "/414/9521141000120/254/A"),
    ],
)
def test_links_are_written_with_their_key_first(text, link):
    assert render_link(_bracketed(text)) == "https://id.gs1.org" + link


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("(99)X", "gs1.no-key"),
        (f"(01){GTIN}(235)T(10)L", "gs1.attribute"),
        (f"(01){GTIN}(8200)example.com", "gs1.attribute"),
        (f"(01){GTIN}(22)A(235)T", "gs1.attribute"),
    ],
)
def test_what_no_link_can_carry_is_refused(text, code):
    assert _code(render_link, _bracketed(text)) == code


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"(01){GTIN}(10)L(21)1(22)V", f"/01/{GTIN}/21/1"),
        (f"(01){GTIN}(10)L(22)V", f"/01/{GTIN}/10/L"),
        (f"(01){GTIN}(10)L(235)T", f"/01/{GTIN}/235/T"),
        ("(414)9521141000120(254)0", "/414/9521141000120"),
        ("(414)9521141000120(254)00", "/414/9521141000120/254/00"),
        (f"(00){SSCC}(02){GTIN}(37)5(10)L", f"/00/{SSCC}"),
        ("(8010)9521141A#(8011)7", "/8010/9521141A%23/8011/7"),
    ],
)
def test_elements_have_the_name_of_the_thing_they_are_on(text, name):
    assert name_of(_bracketed(text)) == "https://id.gs1.org" + name


def test_elements_without_a_key_name_nothing():
    assert name_of(_bracketed("(99)X")) is None


@pytest.mark.parametrize(
    ("function", "text", "place"),
    [
        (_bracketed, "(01)09521141123455", (17, 1)),
        (_bracketed, f"(01){GTIN}(17)281399", (24, 2)),
        (_bracketed, f"(01){GTIN}(10)a\\(~", (25, 1)),
        (_bracketed, f"(01){GTIN}(89)x", (19, 2)),
        (_bracketed, f"(10)L(99){GTIN}", (0, 2)),
        (_raw, f"^01{GTIN}21a~", (20, 1)),
        (_raw, f"^01{GTIN}88", (17, 2)),
        (_link, f"https://a.example/01/{GTIN}/21/%2F%7E", (42, 3)),
        (_link, "https://a.example/01/09521141123455", (34, 1)),
        (_link, f"https://a.example/01/{GTIN}?17=281399", (41, 2)),
        (_link, f"https://a.example/01/{GTIN}?99=X&10=L", (41, 2)),
        (_link, f"https://a.example/01/{GTIN}/21/1/10/L", (36, 9)),
        (_link, "https://a.example/<", (18, 1)),
    ],
)
def test_a_fault_points_at_its_characters(function, text, place):
    with pytest.raises(IdentifierMalformed) as caught:
        function(text)
    assert caught.value.place == place


_CHARACTERS = {"n": "0123456789", "x": SET_82, "y": "#-/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", "z": "aZ09-_"}
_FREE = [ai for ai in ai_table().values() if not any(part.checks for part in ai.parts)]


def _value(ai):
    parts = [
        st.text(_CHARACTERS[part.characters], min_size=part.fewest, max_size=part.most) for part in ai.parts
    ]
    # A part that may be missing, or is shorter than it could be, is the last one.
    fixed = [part for part in ai.parts[:-1] if part.fewest == part.most]
    assert len(fixed) == len(ai.parts) - 1
    return st.tuples(*parts).map("".join)


elements_of_any_kind = st.lists(
    st.sampled_from(_FREE).flatmap(lambda ai: st.tuples(st.just(ai.code), _value(ai))), min_size=1, max_size=8
).map(lambda pairs: [Element(ai, value) for ai, value in pairs])


def _pairs(elements):
    return [(element.ai, element.value) for element in elements]


@given(elements_of_any_kind.filter(lambda elements: not any("\\(" in e.value for e in elements)))
def test_bracketed_both_ways(elements):
    assert _pairs(parse_bracketed(render_bracketed(elements))) == _pairs(elements)


@given(elements_of_any_kind)
def test_raw_both_ways(elements):
    assert _pairs(parse_raw(render_raw(elements))) == _pairs(elements)


@given(
    st.text("0123456789", min_size=13, max_size=13),
    st.dictionaries(
        st.sampled_from(["22", "10", "21"]), st.text(SET_82, min_size=1, max_size=20), max_size=3
    ),
    st.dictionaries(
        st.sampled_from(["99", "240", "98"]), st.text(SET_82, min_size=1, max_size=30), max_size=2
    ),
)
def test_links_both_ways_and_named_alike(digits, qualifiers, attributes):
    elements = [Element("01", digits + check_digit(digits))]
    elements += [Element(ai, qualifiers[ai]) for ai in ("22", "10", "21") if ai in qualifiers]
    elements += [Element(*pair) for pair in attributes.items()]
    link = render_link(elements, "https://shop.example/x/")
    assert _pairs(parse_link(link)) == _pairs(elements)
    # What a ledger names a link by, and what its elements name, never differ.
    assert judge(link) == (name_of(elements), "", "")


@given(st.text(max_size=60) | st.text("()^\\0123456789ABC/?=&%", max_size=40))
def test_reading_anything_at_all_ends_well(text):
    for function in (parse_bracketed, parse_raw, parse_link):
        place = None
        try:
            assert function(text)
        except IdentifierMalformed as e:
            place = e.place
        if place is not None:
            assert 0 <= place[0] <= len(text)
            assert place[1] >= 1
