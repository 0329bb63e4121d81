"""Step 4 of 9: GS1's two checksums, over digits and over the characters of a model number.

They catch a mistyped key; they prove nothing about who owns it.
Source: GS1 General Specifications, sections 7.9.1 (digits) and 7.9.5 (alphanumeric, two characters).
"""

from __future__ import annotations

from operator import mul

from traceability.errors import IdentifierMalformed

DIGITS_MAX = 17  # the longest key, GSIN and SSCC, has 17 digits before its check digit

# Weight 3 stands beside the check digit. As bytes, a digit d is 48 + d, which the offsets take away again.
_WEIGHTS = [bytes(3 if (length - i) % 2 else 1 for i in range(length)) for length in range(DIGITS_MAX + 1)]
_OFFSETS = [48 * sum(weights) for weights in _WEIGHTS]

# Character set 82 in GS1's order, which gives each character its value.
CHARACTERS_82 = "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
_VALUE_82 = {character: value for value, character in enumerate(CHARACTERS_82)}
_CHECK_32 = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83)
PAIR_DATA_MAX = len(_PRIMES)


def check_digit(digits: str) -> str:
    """The one digit that belongs behind these, e.g. "7" for "061414112345678".

    digits  1 to 17 ASCII digits, without the check digit

    Raises IdentifierMalformed "gs1.digits".
    """
    length = len(digits)
    if not 0 < length <= DIGITS_MAX or not (digits.isascii() and digits.isdigit()):
        raise IdentifierMalformed(
            "gs1.digits", f"{digits[:40]!r} is not 1 to {DIGITS_MAX} digits, so it has no check digit"
        )
    total = sum(map(mul, digits.encode(), _WEIGHTS[length])) - _OFFSETS[length]
    return "0987654321"[total % 10]


def check_pair(data: str) -> str:
    """The two check characters that belong behind the data of a Global Model Number.

    Raises IdentifierMalformed "gs1.charset" or "gs1.length".
    """
    if not 0 < len(data) <= PAIR_DATA_MAX:
        raise IdentifierMalformed(
            "gs1.length", f"{len(data)} characters; a model number has 1 to {PAIR_DATA_MAX}"
        )
    try:
        total = sum(_VALUE_82[c] * prime for c, prime in zip(reversed(data), _PRIMES, strict=False)) % 1021
    except KeyError as e:
        raise IdentifierMalformed("gs1.charset", f"{e.args[0]!r} is not in GS1's character set 82") from e
    return _CHECK_32[total >> 5] + _CHECK_32[total & 31]
