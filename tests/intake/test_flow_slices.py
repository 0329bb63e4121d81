"""Where the event loop cuts a request: by count and by bytes, losing and moving nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake.flow import SLICE_COUNT, SLICE_SIZE, slices_of


@given(st.lists(st.integers(1, 2 * SLICE_SIZE), max_size=200))
def test_slices_are_neighbours_within_both_bounds(sizes):
    lines = [bytes(size) for size in sizes]
    slices = slices_of(lines)
    assert [start for start, _ in slices] == [0, *(end for _, end in slices[:-1])]
    assert slices[-1][1] == len(lines)
    for start, end in slices:
        assert end - start <= SLICE_COUNT
        assert sum(sizes[start:end]) <= SLICE_SIZE or end - start == 1


@pytest.mark.parametrize(
    ("sizes", "slices"),
    [
        ([30_000] * 4, [(0, 2), (2, 4)]),  # 48 such documents in one turn would hold everybody up for seconds
        ([1_000] * 49, [(0, 48), (48, 49)]),
        ([SLICE_SIZE + 1, 1, 1], [(0, 1), (1, 3)]),
        ([], [(0, 0)]),
    ],
)
def test_a_request_is_cut_where_its_next_statement_would_be_too_much(sizes, slices):
    assert slices_of([bytes(size) for size in sizes]) == slices
