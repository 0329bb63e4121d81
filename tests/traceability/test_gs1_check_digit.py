"""Check digits and check characters, against numbers that GS1 publishes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traceability.errors import IdentifierMalformed
from traceability.gs1.check_digit import check_digit, check_pair

digits = st.text("0123456789", min_size=1, max_size=17)


@pytest.mark.parametrize(
    ("number", "expected"),
    [("629104150021", "3"), ("03600029145", "2"), ("9638507", "4"), ("0", "0")],
)
def test_published_numbers_have_their_digit(number, expected):
    assert check_digit(number) == expected


@pytest.mark.parametrize("number", ["", "12a", "１２", "1" * 18, "-1", "1 2", "١٢"])
def test_what_is_not_one_to_seventeen_ascii_digits_has_none(number):
    with pytest.raises(IdentifierMalformed, match=r"gs1\.digits"):
        check_digit(number)


@given(digits)
def test_the_weighted_sum_with_the_digit_is_a_multiple_of_ten(number):
    whole = number + check_digit(number)
    assert sum(int(d) * (3 if i % 2 else 1) for i, d in enumerate(reversed(whole))) % 10 == 0


@given(digits, st.data())
def test_every_single_mistyped_digit_is_noticed(number, data):
    place = data.draw(st.integers(0, len(number) - 1))
    other = data.draw(st.sampled_from([d for d in "0123456789" if d != number[place]]))
    assert check_digit(number[:place] + other + number[place + 1 :]) != check_digit(number)


def test_the_model_number_of_the_general_specifications_has_its_pair():
    assert check_pair("1987654Ad4X4bL5ttr2310c") == "2K"


@pytest.mark.parametrize("data", ["", "x" * 24, "ü", "a b"])
def test_model_numbers_outside_the_rule_have_no_pair(data):
    with pytest.raises(IdentifierMalformed):
        check_pair(data)
