"""maj@n against brute force, and answers grouped by what their verifier calls the same."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import r1lab_verifiers as verifiers
from r1lab.evaluation.majority import Voting, maj_at_n
from r1lab_verifiers.pool.pool import Pool


def brute(votes, right) -> Fraction:
    """Every answer with the most votes is drawn once, then every completion that gave it."""
    given_ = [vote for vote in votes if vote is not None]
    most = [vote for vote in set(given_) if all(given_.count(vote) >= given_.count(each) for each in given_)]
    shares = [Fraction(sum(r for v, r in zip(votes, right) if v == vote), given_.count(vote)) for vote in most]
    return sum(shares, Fraction()) / len(shares) if shares else Fraction()


@given(st.lists(st.tuples(st.sampled_from([None, 0, 1, 2]), st.booleans()), min_size=1, max_size=7))
def test_the_majority_agrees_with_brute_force(completions):
    votes, right = zip(*completions)
    assert abs(maj_at_n(votes, right) - brute(votes, right)) <= 1e-12


def test_a_tie_is_broken_evenly_and_no_vote_is_not_right():
    assert maj_at_n(["a", "a", "b", "b", None], [True, True, False, False, False]) == 0.5
    assert maj_at_n([None, None], [False, False]) == 0.0
    # 3 votes for the wrong answer, 2 for the right one, whatever the order
    for votes in itertools.permutations([(0, False)] * 3 + [(1, True)] * 2):
        assert maj_at_n(*zip(*votes)) == 0.0


EXTRACTED = ["1/2", "0.5", "3", None, "3.0", "\\frac{1}{2}", "0.5"]


@pytest.mark.parametrize("spec, votes", [
    ("math", [0, 0, 2, None, 2, 0, 0]),
    ("numeric", [0, 0, 2, None, 2, 0, 0]),
    ("exact", [0, 1, 2, None, 3, 4, 1]),
])  # fmt: skip
def test_answers_are_grouped_by_the_verifiers_own_equivalence_or_their_text(spec, votes):
    table = {spec: verifiers.resolve(spec)}
    voting = Voting(table)
    with Pool({**table, **voting.table}, workers=1) as pool:
        assert voting.votes(pool, [(spec, EXTRACTED), (spec, [None])]) == [votes, [None]]


def test_programs_have_no_votes():
    table = {"code": verifiers.Resolved("r1lab_verifiers.code.verifier:Code", isolated=True)}
    assert Voting(table).votes(None, [("code", ["print(1)", "print(1)"])]) == [[None, None]]


HOSTILE = """
class Picky:
    def verify(self, item):
        return 0.0
    def same(self, one, other):
        if "hang" in other:
            while True:
                pass
        if "raise" in other:
            raise RuntimeError(other)
        return one.casefold() == other.casefold()
"""


def test_a_comparison_that_hangs_or_raises_leaves_the_answer_alone(tmp_path, monkeypatch):
    (tmp_path / "picky.py").write_text(HOSTILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    table = {"picky": verifiers.resolve("picky:Picky")}
    voting = Voting(table)
    with Pool({**table, **voting.table}, workers=1, deadline=0.5, import_paths=[str(tmp_path)]) as pool:
        votes = voting.votes(pool, [("picky", ["yes", "YES", "hang", "raise", "Yes", "hang"])])
    assert votes == [[0, 0, 2, 3, 0, 2]]
