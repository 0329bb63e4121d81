"""Step 3 of 9: keys. The one text form of bytes in a JWS: base64url (RFC 4648, section 5), strictly.

One byte string has exactly one text and the other way round: no padding, no whitespace, no standard
alphabet, and the unused bits of the last character are zero. Otherwise two different statements, with
two digests, would carry one signature.
"""

from __future__ import annotations

import binascii

import msgspec

from keys.errors import Malformed

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# To the standard alphabet; whatever is not ours becomes "!", which no decoder takes.
_TO_STANDARD = bytes({0x2D: 0x2B, 0x5F: 0x2F}.get(c, c) if c in _ALPHABET else 0x21 for c in range(256))
_decode_standard = msgspec.json.Decoder(bytes).decode
_TO_URL = bytes.maketrans(b"+/", b"-_")
# The characters that may end a text of length 2 or 3 modulo 4: those whose unused bits are zero.
_LAST_OF_TWO = frozenset(_ALPHABET[::16])
_LAST_OF_THREE = frozenset(_ALPHABET[::4])


def encode(data: bytes) -> str:
    """The text of these bytes, without padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URL).decode("ascii")


def decode(text: str | bytes, code: str = "base64url", pointer: str = "") -> bytes:
    """The bytes of this text, or Malformed (code, pointer) if any other text would have been the right one.

    Cost: about 0.3 µs and 1.5 ns a byte.
    """
    if isinstance(text, str):
        try:
            text = text.encode("ascii")
        except UnicodeEncodeError as e:
            raise Malformed(code, "not base64url: it holds a character outside ASCII", pointer) from e
    over = len(text) & 3
    if over == 0:
        closing = b'"'
    elif over == 2 and text[-1] in _LAST_OF_TWO:
        closing = b'=="'
    elif over == 3 and text[-1] in _LAST_OF_THREE:
        closing = b'="'
    else:
        raise Malformed(code, _reason(text), pointer)
    try:
        # msgspec decodes three times as fast as binascii. Quotes, backslashes and padding in the text
        # have become "!" by then, so all that it sees is one string of the standard alphabet.
        return _decode_standard(b'"' + text.translate(_TO_STANDARD) + closing)
    except msgspec.MsgspecError as e:
        raise Malformed(code, _reason(text), pointer) from e


def _reason(text: bytes) -> str:
    for index, char in enumerate(text):
        if char not in _ALPHABET:
            return (
                f"not base64url: byte 0x{char:02x} at offset {index} (no padding, no whitespace, no + or /)"
            )
    if len(text) & 3 == 1:
        return f"not base64url: no byte string has a text of {len(text)} characters"
    return "not base64url: the unused bits of the last character are not zero"
