"""Math-Verify behind our border: boxed where it must be, without its own clock, and absent with a remedy."""

import importlib.util
import time

import pytest

from r1lab_verifiers import Item, resolve
from r1lab_verifiers.pool.pool import Pool

needs_it = pytest.mark.skipif(importlib.util.find_spec("math_verify") is None, reason="math-verify is not installed")


def test_without_the_package_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'math-verify=="):
        resolve("math_verify")


@needs_it
@pytest.mark.parametrize(
    "completion, answer, status",
    [
        (r"so \boxed{0.5}", "1/2", "correct"),
        ("0.5", r"\frac{1}{2}", "correct"),
        (r"\sqrt{2}x", r"\sqrt{2}x", "correct"),
        ("The answer is 4", "4", "correct"),
        ("Long thoughts.\nThe answer is $5$.", "4", "wrong"),
        ("", "4", "no_answer"),
        ("4", {"a": 1}, "error"),
    ],
)
def test_verdicts(completion, answer, status):
    assert resolve("math_verify").build().verify(Item(completion, answer)).status == status


@needs_it
def test_its_witness_proves_a_gold():
    live = resolve("math_verify").build()
    for answer in ("5", r"\frac{1}{2}", "$x^2$", "(1, 2)"):
        assert live.verify(Item(live.witness(answer), answer)).score == 1.0


@needs_it
def test_what_would_take_for_ever_is_stopped_by_the_pool():
    with Pool({"it": resolve("math_verify")}, workers=1, deadline=1.0) as pool:
        start = time.monotonic()
        verdict = pool.submit(Item(r"\boxed{9^{9^{9^9}}}", "5"), "it").result()
    assert verdict.score == 0.0 and time.monotonic() - start < 15
