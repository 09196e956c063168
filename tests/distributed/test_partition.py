"""What each rank computes: everything once, groups whole, tokens about even."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1lab.distributed.partition import PIECES, by_draw, by_tokens


def tokens(samples):
    return sum(len(s.rollout.request.prompt_ids) + len(s.rollout.completion_ids) for s in samples)


@pytest.fixture(scope="module")
def make_group_of(make_rollout, make_samples):
    """Samples of draws: {draw: lengths of its completions}, prompts of five tokens."""
    like = make_samples(1)[0]

    def make(lengths_of):
        return [
            replace(like, rollout=make_rollout((draw,) * 5, range(size), draw=draw, index=index), unit=0)
            for draw, lengths in lengths_of.items()
            for index, size in enumerate(lengths)
        ]

    return make


def test_draw_n_goes_to_rank_n_mod_w_with_all_of_its_requests(make_rollout):
    requests = [make_rollout((1,), (2,), draw=draw, index=i).request for draw in (4, 5, 7, 8) for i in range(2)]
    assert by_draw(requests, 2) == [[0, 1, 6, 7], [2, 3, 4, 5]]  # draws 4 and 8; 5 and 7
    assert by_draw(requests, 3) == [[], [0, 1, 4, 5], [2, 3, 6, 7]]  # 4 and 7 are 1 mod 3, 5 and 8 are 2
    assert by_draw([], 2) == [[], []]


@settings(max_examples=60)
@given(
    lengths=st.dictionaries(st.integers(0, 9), st.lists(st.integers(1, 40), min_size=1, max_size=6), max_size=8),
    count=st.integers(1, 5),
)
def test_every_sample_goes_to_one_rank_and_no_rank_has_much_more(make_group_of, lengths, count):
    samples = make_group_of(lengths)
    shares = by_tokens(samples, count)
    assert len(shares) == count and sorted(index for share in shares for index in share) == list(range(len(samples)))
    assert shares == by_tokens(samples, count)
    loads = [tokens([samples[index] for index in share]) for share in shares]
    longest = max((len(s.rollout.completion_ids) for s in samples), default=0)
    assert max(loads) <= tokens(samples) / count + tokens(samples) / (PIECES * count) + longest + 5


def test_samples_of_one_prompt_stay_together_unless_they_are_very_many(make_group_of):
    samples = make_group_of({draw: [6, 6, 6] for draw in range(8)})
    for share in by_tokens(samples, 2):
        draws = [samples[index].rollout.request.id.draw for index in share]
        assert len(share) == 12 and all(draws.count(draw) == 3 for draw in draws)
    alone = make_group_of({0: [10] * 8})  # one prompt of 85 tokens as written, too many for one rank of two
    assert [len(share) for share in by_tokens(alone, 2)] == [4, 4]


def test_a_unit_is_never_cut_in_two(make_group_of):
    samples = [replace(s, unit=1 + index // 2) for index, s in enumerate(make_group_of({0: [9, 1, 9, 1, 9, 1]}))]
    shares = by_tokens(samples, 2)
    units = [{samples[index].unit for index in share} for share in shares]
    assert not units[0] & units[1] and units[0] | units[1] == {1, 2, 3}
