"""Other spellings of one thing: compressed links, EPC URNs from keys, patterns, numbers, scan data."""

from __future__ import annotations

import random
import string
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traceability.errors import IdentifierMalformed, NotGs1
from traceability.gs1 import canonical, check_digit
from traceability.gs1.canonical import judge
from traceability.gs1.compressed import compress, decompress, parse_compressed_link
from traceability.gs1.elements import Element, parse_bracketed
from traceability.gs1.from_elements import name_of
from traceability.gs1.patterns import parse_pattern
from traceability.gs1.reading import Form, name_despite_faults, read
from traceability.gs1.to_urn import to_epc_urn

GTIN = "09521141123454"
ID = "https://id.gs1.org"
SET_82 = "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"


def _pairs(elements):
    return sorted((element.ai, element.value) for element in elements)


def _code(function, *arguments):
    with pytest.raises(IdentifierMalformed) as caught:
        function(*arguments)
    return caught.value.code


# The example of GS1's own toolkit, and what our own bits say.
@pytest.mark.parametrize(
    ("segment", "text"),
    [
        ("AQnYUc1gmiERBhQ0ytiyZuAGOLc1TQ", "(01)05412345000013(10)ABC&+123(7003)1903061658"),
        ("DBFRJydaKAYyA", "(01)09520123456788(21)100"),
        ("GgnYUc1gmxEGFDTK2LJmBgOiN2g", "(01)05412345000013(10)ABC&+123(17)280301(21)007"),
        ("gAMRUaB0UEoC4", "(8003)095211410002297"),
        ("moZgyYMIKMhg", "(8010)0200A#(8011)12"),
    ],
)
def test_a_compressed_segment_holds_what_it_was_made_of(segment, text):
    elements = parse_bracketed(text)
    assert _pairs(decompress(segment)) == _pairs(elements)
    assert _pairs(decompress(compress(elements))) == _pairs(elements)
    for damaged in (segment[:-3], segment + "B", "_" + segment, segment[:4] + "-" + segment[5:] + "z"):
        assert _code(decompress, damaged) == "gs1.compressed"


@given(
    st.text("0123456789", min_size=13, max_size=13),
    st.dictionaries(
        st.sampled_from(["10", "21", "22", "99", "240", "3103", "17", "30"]),
        st.sampled_from(["000000", "280301", "A", "0a", "0A", "-_", "~"])
        | st.text(SET_82, min_size=1, max_size=20),
        max_size=4,
    ),
)
def test_compression_loses_nothing(digits, others):
    elements = [Element("01", digits + check_digit(digits))]
    for ai, value in others.items():
        try:
            elements += parse_bracketed(f"({ai})" + value.replace("(", "\\("))
        except IdentifierMalformed:
            continue
    assert _pairs(decompress(compress(elements))) == _pairs(elements)


def test_a_compressed_link_names_what_it_decompresses_to():
    link = f"{ID}/AQnYUc1gmiERBhQ0ytiyZuAGOLc1TQ"
    assert judge(link) == (f"{ID}/01/05412345000013/10/ABC%26%2B123", "", "")
    assert judge(link + "?lang=de#x") == judge(link)
    part = compress(parse_bracketed("(21)100"))
    assert (
        canonical(f"{ID}/01/{GTIN}/{compress(parse_bracketed('(21)100(17)281231'))}")
        == f"{ID}/01/{GTIN}/21/100"
    )
    assert len(part) < 8  # so short that a word could be meant


def test_a_compressed_link_of_great_length_is_not_decompressed_to_name_it():
    elements = parse_bracketed(f"(01){GTIN}(21)1" + "".join(f"(9{i}){'z' * 80}" for i in range(1, 5)))
    link = f"{ID}/{compress(elements)}"
    assert len(link) > 256
    assert judge(link)[0] == "raw:" + link
    assert read(link).name == f"{ID}/01/{GTIN}/21/1"


def test_somebodys_own_address_is_never_taken_for_a_compressed_link():
    # A name that two things share would mix up their histories, and one word in some thousands decompresses.
    link = "https://shop.example/AQnYUc1gmiERBhQ0ytiyZuAGOLc1TQ"
    assert judge(link) == ("raw:" + link, "", "")
    assert read(link).name == f"{ID}/01/05412345000013/10/ABC%26%2B123"  # but whoever asks is told


@pytest.mark.parametrize(
    "uri",
    [
        "https://shop.example/collections",
        "https://shop.example/",
        "https://shop.example/AQnYUc1gmiERBhQ0ytiyZuAGOLc1T",
        "ftp://shop.example/AQnYUc1gmiERBhQ0ytiyZuAGOLc1TQ",
        f"https://shop.example/01/09521141123455/{compress([Element('21', '100000')])}",
    ],
)
def test_what_is_no_compressed_link(uri):
    with pytest.raises(NotGs1):
        parse_compressed_link(uri)


def test_few_words_decompress_and_no_keyless_one_does():
    words = random.Random(7)
    found = 0
    for _ in range(5000):
        word = "".join(words.choices(string.ascii_letters + string.digits, k=words.randint(8, 24)))
        try:
            elements = parse_compressed_link("https://shop.example/" + word)
        except NotGs1:
            continue
        found += 1
        assert elements
    assert found < 10


def test_what_has_no_compressed_form_says_so():
    assert _code(compress, [Element("8030", "AbC")]) == "gs1.compressed"
    assert _code(decompress, "a/b") == "gs1.compressed"
    assert _code(decompress, "A" * 2000) == "gs1.compressed"


PREFIX_7 = [
    "urn:epc:id:sgtin:9521141.012345.A%2Fb",
    "urn:epc:id:upui:9521141.012345.AB*",
    "urn:epc:class:lgtin:9521141.012345.L.1",
    "urn:epc:idpat:sgtin:9521141.012345.*",
    "urn:epc:id:sscc:9521141.0001234567",
    "urn:epc:id:sgln:9521141.00012.0",
    "urn:epc:id:sgln:9521141.00012.A%2F7",
    "urn:epc:id:pgln:9521141.00000",
    "urn:epc:id:grai:9521141.00022.7",
    "urn:epc:idpat:grai:9521141.00022.*",
    "urn:epc:id:giai:9521141.ABC%22d",
    "urn:epc:id:gsrn:9521141.0000006765",
    "urn:epc:id:gsrnp:9521141.0000006765",
    "urn:epc:id:gdti:9521141.00009.PO-4711",
    "urn:epc:idpat:gdti:9521141.00009.*",
    "urn:epc:id:cpi:9521141.A1%23.1234",
    "urn:epc:idpat:cpi:9521141.A1.*",
    "urn:epc:id:sgcn:9521141.99999.0044",
    "urn:epc:idpat:sgcn:9521141.99999.*",
    "urn:epc:id:ginc:9521141.x(1)",
    "urn:epc:id:gsin:9521141.222333444",
    "urn:epc:id:itip:9521141.012345.01.02.9",
    "urn:epc:idpat:itip:9521141.012345.01.02.*",
]


@pytest.mark.parametrize("urn", PREFIX_7)
def test_a_urn_comes_back_from_its_link_if_the_prefix_is_known(urn):
    assert to_epc_urn(canonical(urn), 7) == urn
    assert to_epc_urn(canonical(urn), {"952": 9, "95211": 7, "4": 6}) == urn
    for wrong in (5, 13, {"4": 7}):
        assert _code(to_epc_urn, canonical(urn), wrong) == "gs1.company-prefix"


@given(st.sampled_from(PREFIX_7), st.integers(6, 12))
def test_wherever_the_prefix_is_thought_to_end_it_is_one_thing(urn, length):
    name = canonical(urn)
    try:
        other = to_epc_urn(name, length)
    except IdentifierMalformed as e:
        other, code = None, e.code
    assert (canonical(other) == name) if other is not None else (code == "gs1.company-prefix")


@pytest.mark.parametrize(
    "link",
    [
        "/8013/1987654Ad4X4bL5ttr2310c2K",
        f"/01/{GTIN}/22/A",
        "/415/9521141000120/8020/1",
        "/8006/095211411234540102/10/L",
    ],
)
def test_keys_without_an_epc_say_so(link):
    assert _code(to_epc_urn, ID + link, 7) == "gs1.no-epc"


# Pattern, EPCs that it means, EPCs that it does not.
@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        (
            "sgtin:9521141.012345.*",
            ["id:sgtin:9521141.012345.1", "id:sgtin:952114.0112345.1"],
            ["id:sgtin:9521141.112345.1", "class:lgtin:9521141.012345.1", "id:upui:9521141.012345.1"],
        ),
        (
            "sgtin:9521141.*.*",
            ["id:sgtin:9521141.312345.a%2Fb"],
            ["id:sgtin:9521142.012345.1", "id:sgtin:952114.0012345.1", "id:sscc:9521141.0001234567"],
        ),
        (
            "sgtin:*.*.*",
            ["id:sgtin:9521141.012345.1"],
            ["idpat:sgtin:9521141.012345.*", "id:pgln:9521141.00000"],
        ),
        (
            "sscc:9521141.*",
            ["id:sscc:9521141.3001234567"],
            ["id:sscc:9521142.0001234567", "id:gsrn:9521141.0000006765"],
        ),
        (
            "sgln:9521141.00012.*",
            ["id:sgln:9521141.00012.0", "id:sgln:9521141.00012.D"],
            ["id:sgln:9521141.00013.0"],
        ),
        ("sgln:9521141.*.*", ["id:sgln:9521141.00012.0"], ["id:pgln:9521141.00012"]),
        (
            "grai:9521141.00022.*",
            ["id:grai:9521141.00022.7"],
            ["id:grai:9521141.00023.7", "idpat:grai:9521141.00022.*"],
        ),
        ("giai:9521141.*", ["id:giai:9521141.ABC"], ["id:giai:9521142.ABC"]),
        ("cpi:9521141.*.*", ["id:cpi:9521141.A1.7"], ["idpat:cpi:9521141.A1.*", "id:cpi:9521142.A1.7"]),
        ("itip:9521141.012345.*.*.*", ["id:itip:9521141.012345.01.02.9"], ["id:itip:9521141.112345.01.02.9"]),
        ("itip:9521141.*.*.*.*", ["id:itip:9521141.012345.01.02.9"], ["id:sgtin:9521141.012345.9"]),
        ("gdti:*.*.*", ["id:gdti:9521141.00009.P"], ["id:grai:9521141.00022.7"]),
        ("gid:95100000.*.*", ["id:gid:95100000.12345.400"], ["id:gid:95100001.12345.400"]),
        ("usdod:*.*", ["id:usdod:CAGEY.5678"], ["id:gid:95100000.12345.400"]),
        ("sgtin:9521141.012345.7", ["id:sgtin:9521141.012345.7"], ["id:sgtin:9521141.012345.77"]),
    ],
)
def test_a_pattern_means_what_begins_like_it(pattern, inside, outside):
    meant = parse_pattern("urn:epc:idpat:" + pattern)
    for epc in inside:
        assert meant.matches(judge("urn:epc:" + epc)[0]), epc
    for epc in outside:
        assert not meant.matches(judge("urn:epc:" + epc)[0]), epc
    assert not meant.matches("raw:urn:epc:id:sgtin:1")


@pytest.mark.parametrize(
    ("pattern", "code"),
    [
        ("urn:epc:idpat:sgtin:*.012345.1", "gs1.pattern"),
        ("urn:epc:idpat:sgtin:9521141.*.1", "gs1.pattern"),
        ("urn:epc:idpat:sgtin:9521141.*", "gs1.pattern"),
        ("urn:epc:idpat:sgtin:95211.*.*", "gs1.company-prefix"),
        ("urn:epc:idpat:sgtin:9521141(a+)+$.*.*", "gs1.company-prefix"),
        ("urn:epc:idpat:itip:9521141.012345.01.*.*", "gs1.pattern"),
        ("urn:epc:idpat:lgtin:9521141.012345.*", "gs1.scheme"),
        ("urn:epc:idpat:sgtin:9521141.01234.*", "gs1.value"),
        ("urn:epc:id:sgtin:9521141.012345.1", "gs1.unknown"),
        ("urn:epc:idpat:sgtin:" + "9" * 300, "gs1.unknown"),
    ],
)
def test_a_pattern_that_is_none_says_why(pattern, code):
    assert _code(parse_pattern, pattern) == code


@pytest.mark.parametrize(
    "urn",
    [
        "urn:epc:id:gid:95100000.12345.400",
        "urn:epc:id:gid:0.0.0",
        "urn:epc:id:usdod:CAGEY.5678",
        "urn:epc:id:usdod:2S194B.0",
        "urn:epc:id:adi:W81X9C.3KL984PX1.2WMA52",
        "urn:epc:id:adi:1CAGE..%23A",
        "urn:epc:id:adi:1CAGE.M-32%2FA.12",
        "urn:epc:id:bic:CSQU3054383",
        "urn:epc:id:imovn:9176187",
    ],
)
def test_epcs_without_a_gs1_key_name_themselves(urn):
    assert judge(urn) == ("raw:" + urn, "", "")
    assert read(urn).name == urn
    assert read(urn).elements == ()


@pytest.mark.parametrize(
    "urn",
    [
        "urn:epc:id:gid:095100000.12345.400",
        "urn:epc:id:gid:95100000.12345",
        "urn:epc:id:gid:95100000.x.400",
        "urn:epc:id:usdod:CAGE.5678",
        "urn:epc:id:usdod:CAGEI.5678",
        "urn:epc:id:usdod:CAGEY.05678",
        "urn:epc:id:adi:W81X9C.3KL984PX1",
        "urn:epc:id:adi:W81X9C.a.1",
        "urn:epc:id:adi:W81X9C.A.",
        "urn:epc:id:bic:CSQX3054383",
        "urn:epc:id:bic:csqu3054383",
        "urn:epc:id:bic:CSQU305438",
        "urn:epc:id:imovn:917618",
        "urn:epc:id:imovn:91761878",
        "urn:epc:id:imovn:917618A",
    ],
)
def test_epcs_without_a_gs1_key_have_a_form_all_the_same(urn):
    assert judge(urn)[:2] == ("raw:" + urn, "gs1.value")
    assert _code(read, urn) == "gs1.value"


@pytest.mark.parametrize(
    ("text", "form", "elements"),
    [
        (" (01)09521141123454\n", Form.BRACKETED, {"01": GTIN}),
        (f"^01{GTIN}21100^10L", Form.RAW, {"01": GTIN, "21": "100", "10": "L"}),
        (f"\x1d01{GTIN}21100\x1d10L", Form.RAW, {"01": GTIN, "21": "100", "10": "L"}),
        (f"01{GTIN}21100\u241d10L", Form.RAW, {"01": GTIN, "21": "100", "10": "L"}),
        (f"01{GTIN}17281231", Form.RAW, {"01": GTIN, "17": "281231"}),
        (f"]d201{GTIN}21100\x1d10L", Form.SCAN, {"01": GTIN, "21": "100", "10": "L"}),
        (f"]Q301{GTIN}", Form.SCAN, {"01": GTIN}),
        (f"]C1\x1d01{GTIN}", Form.SCAN, {"01": GTIN}),
        ("]e00195012345678903|3103000123", Form.SCAN, {"01": "95012345678903", "3103": "000123"}),
        ("]E09521141123454", Form.SCAN, {"01": GTIN}),
        ("]E09521141123454|]e010ABC", Form.SCAN, {"01": GTIN, "10": "ABC"}),
        ("]E495200026", Form.SCAN, {"01": "00000095200026"}),
        ("]Q1https://a.example/01/09521141123454", Form.SCAN, {"01": GTIN}),
        ("9521141123454", Form.NUMBER, {"01": GTIN}),
        (GTIN, Form.NUMBER, {"01": GTIN}),
        ("95200026", Form.NUMBER, {"01": "00000095200026"}),
        ("095211410012345677", Form.NUMBER, {"00": "095211410012345677"}),
        (f"https://a.example/01/{GTIN}?17=281231", Form.LINK, {"01": GTIN, "17": "281231"}),
        ("urn:epc:id:sgln:9521141.00012.A%2F7", Form.URN, {"414": "9521141000120", "254": "A/7"}),
        ("urn:epc:class:lgtin:9521141.012345.L", Form.URN, {"01": GTIN, "10": "L"}),
        ("urn:epc:idpat:sgtin:9521141.*.*", Form.PATTERN, {}),
        ("urn:epc:idpat:sscc:9521141.*", Form.PATTERN, {}),
        ("urn:epc:idpat:gid:95100000.*.*", Form.PATTERN, {}),
        (f"(01){GTIN}|(10)ABC", Form.BRACKETED, {"01": GTIN, "10": "ABC"}),
    ],
)
def test_any_spelling_is_read(text, form, elements):
    reading = read(text)
    assert reading.form is form
    assert {element.ai: element.value for element in reading.elements} == elements


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("", "gs1.unknown", (0, 1)),
        ("991234", "gs1.unknown", (0, 6)),
        ("9521141123455", "gs1.check-digit", (12, 1)),
        ("  9521141123455", "gs1.check-digit", (14, 1)),
        ("095211410012345679", "gs1.check-digit", (17, 1)),
        ("1234567890123456", "gs1.unknown", (0, 16)),
        ("٩٥٢٠٠٠٢٠", "gs1.unknown", (0, 8)),
        ("]d2", "gs1.element-string", (3, 1)),
        ("]x9(01)", "gs1.scan", (0, 3)),
        ("]", "gs1.scan", (0, 1)),
        ("]d1hello", "gs1.unknown", (0, 3)),
        ("]E0952114112345", "gs1.length", (3, 12)),
        ("]E09521141123455", "gs1.check-digit", (15, 1)),
        ("]E09521141123454|10A", "gs1.scan", (17, 3)),
        (f"]d201{GTIN}21a~", "gs1.charset", (22, 1)),
        ("]Q1https://a.example/01/09521141123455", "gs1.check-digit", (37, 1)),
        ("urn:epc:id:sgtin:9521141.012345.a~", "gs1.charset", (32, 2)),
        ("urn:epc:id:sgtin:95211.01234567.1", "gs1.company-prefix", (17, 5)),
        ("urn:epc:id:sgtn:9521141.012345.1", "gs1.scheme", (8, 8)),
        ("urn:epc:id:sgtin:9521141.012345", "gs1.urn", (17, 14)),
        ("urn:epc:id:itip:9521141.012345.03.02.9", "gs1.piece", (31, 5)),
        ("urn:epc:raw:64.x00", "gs1.unknown", (8, 10)),
        ("urn:epc:idpat:sgtin:9521141.*.1", "gs1.pattern", (28, 1)),
        ("urn:epc:idpat:sgtin:9521141.01234.*", "gs1.value", (28, 5)),
        ("urn:epc:idpat:sgtn:9521141.*", "gs1.scheme", (14, 4)),
        ("https://a.example/gtin/09521141123454", "gs1.unknown", (17, 20)),
    ],
)
def test_what_cannot_be_read_is_pointed_at(text, code, place):
    with pytest.raises(IdentifierMalformed) as caught:
        read(text)
    assert (caught.value.code, caught.value.place) == (code, place)


@pytest.mark.parametrize("urn", PREFIX_7)
def test_what_people_are_told_and_what_a_ledger_names_are_one(urn):
    reading = read(urn)
    assert reading.name == judge(urn)[0]
    assert name_of(reading.elements) == reading.name
    assert read(reading.name).elements  # the name itself is a good Digital Link


def test_older_spellings_are_named_and_called_old():
    old = "https://a.example/gtin/9521141123454/ser/1"
    assert name_despite_faults(old) == (f"{ID}/01/{GTIN}/21/1", True)
    assert name_despite_faults(f"https://a.example/01/{GTIN}?10=L") == (f"{ID}/01/{GTIN}", False)
    assert name_despite_faults("https://a.example/01/09521141123455") == (None, False)
    assert name_despite_faults("9521141123455") == (None, False)


@given(st.text(max_size=60) | st.text("]dQCeE0123\x1d()urn:epcidsgt.*%/", max_size=60))
def test_reading_anything_at_all_ends_well(text):
    place = None
    try:
        reading = read(text)
        assert reading.elements or reading.form in (Form.URN, Form.PATTERN)
    except IdentifierMalformed as e:
        place = e.place
    if place is not None:
        assert 0 <= place[0] <= len(text)
        assert place[1] >= 1


def test_naming_loads_no_table():
    # Workers start fast and stay small: the table of all AIs is for those who read labels.
    script = (
        "import sys\n"
        "from traceability.gs1.canonical import judge\n"
        "judge('urn:epc:id:sgtin:9521141.012345.1'); judge('https://a.example/01/09521141123454/21/1')\n"
        "judge('urn:maker:x')\n"
        "tables = ('ai_table', 'value_checks', 'code_lists')\n"
        "sys.exit(' '.join(name for name in sys.modules if name.endswith(tables)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
