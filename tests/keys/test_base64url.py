"""One byte string has one text."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import base64url
from keys.errors import Malformed

# RFC 4648, section 10, in the URL alphabet and without padding; RFC 7515, appendix C.
VECTORS = [
    (b"", ""),
    (b"f", "Zg"),
    (b"fo", "Zm8"),
    (b"foo", "Zm9v"),
    (b"foobar", "Zm9vYmFy"),
    (bytes([3, 236, 255, 224, 193]), "A-z_4ME"),
]


@pytest.mark.parametrize(("data", "text"), VECTORS)
def test_vectors_hold_both_ways(data, text):
    assert base64url.encode(data) == text
    assert base64url.decode(text) == base64url.decode(text.encode()) == data


@pytest.mark.parametrize(
    "text",
    [
        "Zg==",  # padding
        "Zg=",
        "Zm8=",
        "Zm9v=",
        "=",
        "Zm9v\n",  # whitespace
        " Zm9v",
        "Zm 9v",
        "Zm9v\t",
        "A+z_4ME",  # the standard alphabet
        "A-z/4ME",
        "Zh",  # the unused bits are not zero
        "Zm9",
        "Z_",
        "Z",  # no byte string is that short
        "Zm9vY",
        "Zm9v!",
        "Zm9v.",
        'Zm"v',  # what a JSON string would end by, or escape
        "Zm\\u0041",
        "Zm9v\x00",
        "Zm9\xe4",
        "Zm9\u2014",
        "Zｍ9v",  # a full-width letter
    ],
)
def test_any_other_text_is_malformed(text):
    with pytest.raises(Malformed) as e:
        base64url.decode(text)
    assert e.value.code == "base64url"


def test_code_and_pointer_are_the_callers():
    with pytest.raises(Malformed) as e:
        base64url.decode("Zg==", "jws.payload", "/here")
    assert (e.value.code, e.value.pointer) == ("jws.payload", "/here")


@given(st.binary(max_size=200))
def test_every_byte_string_comes_back(data):
    text = base64url.encode(data)
    assert base64url.decode(text) == data
    assert text == base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@given(st.text(alphabet="AQgwBZaz09-_+/= \n", max_size=12) | st.binary(max_size=12))
def test_whatever_is_read_is_the_one_text_of_its_bytes(text):
    try:
        data = base64url.decode(text)
    except Malformed:
        return
    assert base64url.encode(data) == (text if isinstance(text, str) else text.decode())
