"""Every check of a value's content: what passes, and at least three that must not."""

from __future__ import annotations

import re

import pytest

from traceability.errors import IdentifierMalformed
from traceability.gs1.ai_table import AI_LENGTH_MAX, AI_LENGTH_MIN, ai_lengths, ai_table, find_ai, is_of
from traceability.gs1.keys import COMPONENTS, QUALIFIERS, verify_component
from traceability.gs1.value_checks import _CHECKS, verify_value

# AI, good values, and bad ones behind the code that says why.
CASES_TEXT = """
8013  1987654Ad4X4bL5ttr2310c2K
      | check-digit 1987654Ad4X4bL5ttr2310c2L 1987654Ad4X4bL5ttr2310c3K | length A | company-prefix 22
401   9521x(1) | company-prefix 952 95A1x x9521 | charset 9521~
17    281231 280200 240229 000229 | date 281301 280001 280230 230229 281232 | charset 28123x
4326  281231 | date 281200 281301 280230 | length 28123
7250  19631231 20000229 | date 19630000 19630229 19631301 00001231 19000229
7003  2812312359 | date 2812312400 2812312360 2812002359
8008  28123123 2812312359 281231235959
      | date 28123124 2812312360 281231235960 | length 281231235 28123123595
7011  281231 2812312359 | date 281200 2812312400 | length 28123123
422   276 756 | code 000 999 123 | length 27
423   276 276756 276756040250056 | code 276000 999 276276999 | length 2767 276756040250056276
7030  276A 999A | code 000A 123A 998A | length 276
4307  DE CH | code XX de EU | length D
3910  9781 756123456789012345 | code 0001 1111 9001 | length 978
8007  DE91100000000123456789 CH5604835012345678009 MT90MALT011000012345MTLCAST001SABC
      | check-digit DE91100000000123456788 DE92100000000123456789 | code XX91100000000123456789
      | length DE9110 | charset DE9110000000012345678a
4300  ABC%20D ABC | percent-encoding ABC% ABC%2 ABC%2G %%20
4309  18000000003600000000 00000000000000000000
      | value 18000000010000000000 00000000003600000001 99999999990000000000 | length 1800000000360000000
4321  0 1 | code 2 9 | charset J
4330  000000 000000- | code 000000+ 0000000 000000X
7040  1ABz 1AB_ | charset 1AB= 1AB. 1AB( AABz
7041  8 APE 200 | code 0 00 9999 ap
7241  01 10 80 99 | code 00 11 79
7252  0 1 2 9 | code 3 5 8
7258  1/1 1/3 3/3 | value 2/1 0/1 1/0 111 1// /11
8001  00010000100119 12341234512301 | value 00001234512310 12340000012310 12341234500010 | code 12341234512321
8003  09521141000229 09521141000229SER
      | value 19521141000229 | check-digit 09521141000228 | length 0952114100022911111111111111111
8006  095211411234540102 095211411234540202
      | piece 095211411234540302 095211411234540002 095211411234540100 | check-digit 095211411234550102
8011  0 1 100 | value 01 00 0123 | charset A
8014  1987654Ad4X4bL5ttr2310c2K | check-digit 1987654Ad4X4bL5ttr2310c2L | value 95211410000079 | length A
8030  AZaz09-_ 12= 1== | charset AZ+ 123= 1=2 1=== ===
8110  012345612345611110123 012345612345611110123101101239
      01234561234561111012321101239328063042806015012345661123456790000
      | coupon 7123 012345 0123456123456011110123 012345612345611511012 01234561234561111012
      01234561234561111012312 0123456123456111101233270229 01234561234561111012332806304280701
8112  001234561234560123456 061234567890121234569123456789012345
      | coupon 201234561234560123456 071234561234560123456 00123456123456 0012345612345601234567
      0012345612345a0123456
"""


def _cases():
    for entry in re.split(r"\n(?=[0-9])", CASES_TEXT.strip()):
        head, *bad = entry.split("|")
        code, *good = head.split()
        yield code, good, {f"gs1.{reason}": values for reason, *values in (part.split() for part in bad)}


CASES = list(_cases())


@pytest.mark.parametrize(("code", "good", "bad"), CASES, ids=[case[0] for case in CASES])
def test_what_a_value_may_be(code, good, bad):
    ai = ai_table()[code]
    for value in good:
        verify_value(ai, value)
    refused = 0
    for reason, values in bad.items():
        for value in values:
            with pytest.raises(IdentifierMalformed) as caught:
                verify_value(ai, value)
            assert caught.value.code == reason, value
            first, count = caught.value.place
            assert 0 <= first < first + count <= max(1, len(value)), value
            refused += 1
    assert refused >= 3


def test_every_check_is_of_some_use():
    named = {check for ai in ai_table().values() for part in ai.parts for check in part.checks}
    assert named == set(_CHECKS)


def test_every_check_has_its_cases():
    tried = {check for code, _, _ in CASES for part in ai_table()[code].parts for check in part.checks}
    assert set(_CHECKS) - tried == {"owner1", "digit", "sixty", "hour", "zero"} - tried


def test_the_table_is_whole_and_its_rules_speak_of_what_is_there():
    table = ai_table()
    assert len(table) == 536
    for ai in table.values():
        assert AI_LENGTH_MIN <= len(ai.code) <= AI_LENGTH_MAX
        assert ai_lengths()[ai.code[:2]] == len(ai.code)
        assert find_ai(ai.code + "x") is ai
        assert not ai.fixed or ai.shortest == ai.longest
        for pattern in (*ai.excludes, *(code for groups in ai.needs for group in groups for code in group)):
            assert any(is_of(code, pattern) for code in table), pattern
        # Only the last part may vary in length, or no reader could tell the parts apart.
        assert all(part.fewest == part.most for part in ai.parts[:-1]), ai


def test_ais_of_two_digits_alike_are_all_fixed_or_none_is():
    # Scanners decide by the first two digits alone whether a separator follows.
    by_head: dict[str, set[bool]] = {}
    for ai in ai_table().values():
        by_head.setdefault(ai.code[:2], set()).add(ai.fixed)
    assert all(len(kinds) == 1 for kinds in by_head.values())


def test_the_short_list_of_keys_agrees_with_the_whole_table():
    assert {code: ai.paths for code, ai in ai_table().items() if ai.paths is not None} == QUALIFIERS
    assert set(COMPONENTS) <= set(ai_table())


@pytest.mark.parametrize("code", COMPONENTS)
def test_a_key_is_judged_alike_by_both(code):
    good = {
        "00": "095211410012345677", "01": "09521141123454", "253": "9521141000090PO", "255": "95211419999980",
        "402": "95211412223334440", "414": "9521141000120", "415": "9521141000120", "417": "9521141000007",
        "7040": "1ABz", "8003": "09521141000229A", "8006": "095211411234540102", "8010": "9521A#",
        "8011": "12", "8013": "1987654Ad4X4bL5ttr2310c2K", "8017": "952114100000067653",
        "8018": "952114100000067653", "8019": "1", "401": "9521A", "8004": "9521A",
    }.get(code, "A1")  # fmt: skip
    verify_component(code, good)
    verify_value(ai_table()[code], good)
    for bad in (
        "", "~", good + "~", good + "0" * 30, good[:1], "A" + good[1:], good[:-1] + "ü", good[:-1],
        re.sub("[0-9]", lambda digit: "3" if digit[0] != "3" else "4", good, count=1), "0" + good[1:],
    ):  # fmt: skip
        outcomes = []
        for verify in (lambda v: verify_component(code, v), lambda v: verify_value(ai_table()[code], v)):
            try:
                verify(bad)
                outcomes.append(True)
            except IdentifierMalformed:
                outcomes.append(False)
        assert outcomes[0] == outcomes[1], bad
