import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1lab.policy.bins import balanced


def test_bins_by_hand():
    # First fit needs two: 5 + 4 + 1 and 3 + 3; evenly they are 4 + 3 + 1 and 5 + 3.
    assert balanced([3, 5, 1, 4, 3], 10) == [[0, 2, 3], [1, 4]]
    assert balanced([], 10) == []


def test_where_even_shares_do_not_fit_first_fit_stays():
    # 6 + 4 and 5 + 3 + 2: evenly 6 + 3, then 5 + 4 + 2 = 11, is too much.
    assert balanced([6, 5, 4, 3, 2], 10) == [[0, 2], [1, 3, 4]]


@pytest.mark.parametrize("most", [1, 7, 50])
@given(sizes=st.lists(st.integers(0, 30), max_size=40))
def test_everything_once_within_the_limit_or_alone(sizes, most):
    bins = balanced(sizes, most)
    assert sorted(index for one in bins for index in one) == list(range(len(sizes)))
    for one in bins:
        heavy = [index for index in one if sizes[index]]
        assert one and (sum(sizes[index] for index in one) <= most or len(heavy) == 1)
