"""The second verifier sees a sample that the seeds decide, counts disagreement, and changes nothing that is learned."""

import json
from dataclasses import replace

import pytest

from r1lab import pipeline
from r1lab.errors import RecipeError
from r1lab.recipe import load
from r1lab.records import Scored
from r1lab.report import figures
from r1lab.report.report import report
from r1lab.rollout.reward import Reward
from r1lab.run import journal
from r1lab.run.metrics import second_opinion_metrics
from r1lab.run.progress import Progress
from r1lab_verifiers.verdict import Verdict

RIGHT, WRONG = Verdict(1.0, "correct"), Verdict(0.0, "wrong")
BROKEN = Verdict(None, "error", reason="broken")
RECIPE = {
    "name": "twice",
    "steps": 2,
    "data": {"task": "addition", "size": 32, "settings": {"digits": 2}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 24,
    "prompts_per_step": 2,
    "group_size": 4,
    "threads": 1,
    "workers": {"count": 1},
}


def train(out, **changes):
    return pipeline.train(load.resolve({**RECIPE, **changes, "out": str(out)}), Progress(quiet=True))


def asked(share, rollouts):
    opinion = Reward({"score": 1.0}, max_new_tokens=8, second={"use": "numeric", "share": share})
    return [opinion.uses["second_verifier"].takes(rollout) for rollout in rollouts]


def test_the_sample_has_its_share_and_is_the_same_each_time(make_rollout):
    one = make_rollout((3,), (4,))
    rollouts = [replace(one, request=replace(one.request, seed=seed * 2**50)) for seed in range(2000)]
    chosen = asked(0.25, rollouts)
    assert chosen == asked(0.25, rollouts) and 420 < sum(chosen) < 580  # 500 with a deviation of 19
    assert all(asked(1.0, rollouts))
    assert list(Reward({"score": 1.0}, max_new_tokens=8).uses) == ["score"]


def test_disagreement_is_counted_by_side_and_errors_apart(make_rollout):
    pairs = [
        (RIGHT, RIGHT),
        (RIGHT, WRONG),
        (RIGHT, WRONG),
        (WRONG, RIGHT),
        (WRONG, WRONG),
        (RIGHT, BROKEN),
        (RIGHT, None),
    ]
    members = [Scored(make_rollout((3,), (4,)), first, 1.0, {}, {}, second) for first, second in pairs]
    assert second_opinion_metrics(members) == {
        "second/judged": 5,
        "second/errors": 1,
        "second/disagree": 0.6,
        "second/lenient": 0.4,
        "second/strict": 0.2,
    }
    assert second_opinion_metrics(members[-1:]) == {}


def test_a_run_learns_the_same_with_and_without_it_and_says_what_it_found(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "CHARTS", figures.CHARTS[:2])  # all of them: test_report.py
    plain = train(tmp_path / "plain")
    second = {"use": "numeric", "extract": "whole", "share": 1.0}
    watched = train(tmp_path / "watched", second_verifier=second)
    for before, after in zip(plain.metrics, watched.metrics, strict=True):
        kept = {key: value for key, value in after.items() if not key.startswith(("second/", "time/"))}
        assert kept == {key: value for key, value in before.items() if not key.startswith("time/")}
        assert after["second/judged"] == 8 and after["second/errors"] == 0
        # a completion is more than a number, so that the second one calls none right
        assert after["second/lenient"] == after["pass/share"] and after["second/strict"] == 0
    lenient = round(sum(8 * row["second/lenient"] for row in watched.metrics))
    page = report([watched.path]).read_text()
    assert (
        f"Of 16 completions of twice that a second verifier judged too, {lenient} are right to the first alone" in page
    )
    assert "that a second verifier judged too" not in report([plain.path]).read_text()
    assert "<summary>twice: rl, step 1</summary>" in page  # and what the model wrote


def test_its_verdicts_are_in_the_rollout_table_and_come_back(tmp_path):
    run = train(tmp_path / "run", steps=1, second_verifier={"use": "numeric", "share": 1.0})
    (path,) = (run.path / "rollouts").glob("*.parquet")
    rows = journal.pq.read_table(path, columns=["status", "second"]).to_pylist()
    assert [json.loads(row["second"])["status"] for row in rows] == [row["status"] for row in rows]


@pytest.mark.parametrize(
    "setting, expected",
    [
        ({"use": "numeric", "share": 0}, "second_verifier.share: 0 must lie in"),
        ({"use": "numeric", "share": "half"}, "second_verifier.share: 'half'"),
        ("numeirc", "did you mean 'numeric'"),
        ({"share": 0.5}, "is unknown"),
    ],
)
def test_a_mistake_in_it_is_one_line(tmp_path, setting, expected):
    with pytest.raises(RecipeError, match=expected):
        train(tmp_path / "run", second_verifier=setting)
    assert not (tmp_path / "run").exists()
