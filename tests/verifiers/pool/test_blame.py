import itertools

import pytest

from r1lab_verifiers.pool.blame import Failure, blamed_verdict
from r1lab_verifiers.verdict import Verdict

RIGHT, WRONG, BROKEN = Verdict(1.0, "correct"), Verdict(0.0, "wrong"), Verdict(None, "error", reason="bad gold")
LATE, DEAD = Failure("timeout", "late"), Failure("crash", "dead")


@pytest.mark.parametrize("verdict", [RIGHT, WRONG, BROKEN, Verdict(0.0, "timeout"), Verdict(0.0, "crash")])
def test_a_verdict_stands_at_the_first_or_the_second_run(verdict):
    assert blamed_verdict(verdict) is verdict
    for first in (LATE, DEAD):
        assert blamed_verdict(first, verdict) is verdict


@pytest.mark.parametrize("witness", [RIGHT, WRONG, Verdict(0.5, "partial"), Verdict(0.0, "no_answer")])
def test_a_completion_is_to_blame_where_its_witness_is_judged(witness):
    assert blamed_verdict(DEAD, LATE, witness) == Verdict(0.0, "timeout", reason="late")
    assert blamed_verdict(LATE, DEAD, witness) == Verdict(0.0, "crash", reason="dead")


@pytest.mark.parametrize("witness", [LATE, DEAD, BROKEN, None])
def test_without_a_witness_that_is_judged_it_is_our_error(witness):
    for first, retry in itertools.product((LATE, DEAD), repeat=2):
        verdict = blamed_verdict(first, retry, witness)
        assert (verdict.score, verdict.status) == (None, "error") and retry.reason in verdict.reason
