"""JSON that two readers cannot take for two things."""

from __future__ import annotations

import contextlib
import json
import math

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import Malformed
from keys.strict_json import INTEGER_MAX, loads

SIZE_MAX = 1_048_576


def read(text, **options):
    data = text if isinstance(text, bytes) else text.encode()
    return loads(data, size_max=SIZE_MAX, **options)


def fault(text, **options) -> tuple[str, str]:
    with pytest.raises(Malformed) as e:
        read(text, **options)
    return e.value.code, e.value.pointer


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "null",
        '"a"',
        " [ 1 , 2 ] ",  # not compact: the exact path
        '{"a": {"b": [1, -2, 3.5, 1e3, true, false, null]}}',
        '{"a":1,"b":{"a":1}}',  # the same name in two objects
        "9007199254740991",
        "-9007199254740991",
        "[-0]",
        "[0.1,1E2,1e-7,123456789.125,5e-324,1.7976931348623157e308]",
        "[0.10000000000000001]",  # 0.1 as C's %.17g prints it
        "[0.1000000000000000055511151231257827021181583404541015625]",  # and exactly
        "[1.0,1.50,100.0]",
        '"\\ud83d\\ude00"',  # a pair of surrogates is one character
        '"\U0001f600"',
        '"\\u0000\\u001f\\/\\b"',
        '{"\u20ac":"\u00e9"}',
        '"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["',  # depth inside a string is none
        '{"sscc":"https://id.gs1.org/00/340123450000000018"}',
    ],
)
def test_i_json_is_read_as_json_reads_it(text):
    assert read(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ('{"a":1,"a":1}', "/a"),
        ('{"a":1,"b":2,"a":3}', "/a"),
        ('{"x":[0,{"a":1,"a":2}]}', "/x/1/a"),
        ('{"a":1,"\\u0061":2}', "/a"),  # the same name by another spelling
        ('{"a/b~c":0,"a/b~c":0}', "/a~1b~0c"),
        ('{"":1,"":2}', "/"),
        ('{"a":{"b":{}},"a":{"b":{}}}', "/a"),
    ],
)
def test_a_duplicate_member_is_malformed_and_pointed_at(text, pointer):
    assert fault(text) == ("json.duplicate", pointer)


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("9007199254740992", ""),
        ("-9007199254740992", ""),
        ('{"n":[18446744073709551615]}', "/n/0"),
        ("[18446744073709551616]", "/0"),  # where orjson would turn to floats
        ("1" * 5000, ""),  # int() would refuse this with an error of its own
        ("[1e400]", "/0"),
        ("[-1E400]", "/0"),
        ("[1e-400]", "/0"),
        ("[1e99999999999999999999]", "/0"),
        ("[1e-99999999999999999999]", "/0"),
        ("[3.141592653589793238462643383279]", "/0"),  # RFC 7493's own example
        ("[0.30000000000000000001]", "/0"),
        ("[9007199254740993.0]", "/0"),
        ("[0." + "0" * 70 + "1]", "/0"),
        ("NaN", ""),
        ('{"a":NaN}', "/a"),
        ("[Infinity]", "/0"),
        ("[1,-Infinity]", "/1"),
    ],
)
def test_a_number_beyond_i_json_is_malformed(text, pointer):
    assert fault(text) == ("json.number", pointer)


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ('"\\ud800"', ""),
        ('{"a":["\\udc00"]}', "/a/0"),
        ('"\\ude00\\ud83d"', ""),  # in the wrong order
        ('{"\\ud800":1}', ""),
        ('"\\ud800x"', ""),
        ('"\ufffe"', ""),  # noncharacters, RFC 7493 section 2.1
        ('{"a":"\ufdd0"}', "/a"),
        ('["\U0010ffff"]', "/0"),
        ('["\\uffff"]', "/0"),
    ],
)
def test_surrogates_and_noncharacters_are_malformed(text, pointer):
    assert fault(text) == ("json.string", pointer)


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf{}",  # byte order mark
        '{"a":1}'.encode("utf-16"),
        b'"\xff"',
        b'"\xc0\xaf"',  # overlong
        b'"\xed\xa0\x80"',  # a surrogate in UTF-8
        b'"\xf4\x90\x80\x80"',  # beyond Unicode
        b'"\xe2\x82"',
    ],
)
def test_anything_but_utf_8_is_malformed(data):
    assert fault(data)[0] == "json.encoding"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "[1,]",
        '{"a":1,}',
        "[1] 2",
        "{}{}",
        "'a'",
        "{a:1}",
        "01",
        "-",
        "1.",
        ".5",
        "+1",
        "0x10",
        "[1e]",
        "nan",
        "tru",
        '"\t"',
        '"a\nb"',
        '"\\x41"',
        '"\\u12"',
        '"abc',
        "[1]\x00",
        "[1]\x0c",
        "\u00a0[1]",
        "[\u0661]",  # an Arabic-Indic one
        "// comment\n1",
    ],
)
def test_what_is_not_json_is_malformed(text):
    assert fault(text)[0] == "json.syntax"


@pytest.mark.parametrize("depth", [33, 300, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), (" [", "] ")])
def test_deep_nesting_is_malformed_and_harmless(depth, opening, closing):
    text = opening * depth + "1" + closing * depth
    assert fault(text)[0] == "json.depth"
    assert fault(opening * depth)[0] == "json.depth"


def test_depth_is_counted_exactly():
    read("[" * 32 + "]" * 32)
    read("[ " * 32 + "]" * 32)
    read("[" + "[1]," * 100 + "[1]]", depth_max=2)
    read('["]]]",[[]]]', depth_max=3)
    assert fault('["]]]",[[[]]]]', depth_max=3)[0] == "json.depth"
    assert fault("[[]]", depth_max=1)[0] == "json.depth"


def test_a_longer_text_is_refused_unread():
    assert loads(b"[1]", size_max=3) == [1]
    with pytest.raises(Malformed) as e:
        loads(b"[1] ", size_max=3)
    assert e.value.code == "json.size"
    assert fault(b'"' + b"a" * 2_097_152 + b'"')[0] == "json.size"


def test_utf_16_and_utf_32_are_not_guessed():
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        assert fault('{"a":1}'.encode(encoding))[0] == "json.syntax"


def test_two_mebibytes_of_names_cost_no_more_than_their_length():
    # A million brackets in strings, and a thousand siblings: bounded work, no recursion.
    text = json.dumps({str(i): "[" * 1000 for i in range(1000)})
    assert len(read(text)) == 1000


def test_the_first_fault_in_the_document_is_named():
    assert fault('{"a":[1,NaN],"b":{"c":1,"c":2}}') == ("json.number", "/a/1")
    assert fault('{"b":{"c":1,"c":2},"a":[1,NaN]}') == ("json.duplicate", "/b/c")


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-INTEGER_MAX, INTEGER_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8).filter(
        lambda s: not any((ord(c) & 0xFFFE) == 0xFFFE or 0xFDD0 <= ord(c) <= 0xFDEF for c in s)
    )
)
names = st.text('ab~/"\\\u20ac', max_size=3)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(names, v, max_size=4), max_leaves=12
)


@given(values, st.sampled_from([None, 1]), st.booleans())
def test_every_i_json_value_is_read_in_every_spelling(value, indent, ascii_only):
    for text in (json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode(), orjson.dumps(value)):
        back = read(text)
        assert back == value
        assert rfc8785.dumps(back) == rfc8785.dumps(value)


@given(st.text(alphabet='{}[]",:\\u0aNe1.-+E ud8', max_size=24))
def test_what_is_read_is_what_json_reads_and_never_a_surprise(text):
    try:
        value = read(text)
    except Malformed:
        return
    assert value == json.loads(text)
    assert not (isinstance(value, float) and not math.isfinite(value))


@given(st.binary(max_size=16))
def test_no_bytes_bring_another_error(data):
    with contextlib.suppress(Malformed):
        read(data)
