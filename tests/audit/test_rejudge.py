"""Small runs and evaluations, judged by verifiers whose verdicts are known."""

import json
import shutil

import numpy as np
import pytest

import r1lab
from r1lab.audit.rejudge import SignCount, by_problem
from r1lab.errors import RecipeError, RunError

SMALL = {
    "name": "kept", "data": {"task": "addition", "size": 16, "settings": {"digits": 1}},
    "prompt": {"format": "Q: {prompt}\nA:"}, "max_new_tokens": 24, "prompts_per_step": 4, "group_size": 4,
    "threads": 1, "workers": {"count": 1}, "steps": 2, "print_samples": 0,
    "eval": {"at_start": False, "sets": {"test": {"task": "addition", "split": "eval", "size": 6}}},
}  # fmt: skip
ALWAYS, CONTRARY = "tests.audit.known_verdicts:always", "tests.audit.known_verdicts:contrary"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return r1lab.train(SMALL, f"out={tmp_path_factory.mktemp('kept') / 'run'}").path


def judged(folder, verifier, **options):
    return r1lab.rejudge(folder, verifier, **options).figures


def test_the_same_verifier_flips_nothing(run):
    figures = judged(run, "numeric")
    assert (figures["completions"], figures["problems"]) == (32, 8) and figures["rows"] == []
    assert figures["shares"]["flipped"]["value"] == 0 and figures["shares"]["flipped"]["high"] > 0.2  # Wilson of 0 in 8
    assert figures["groups"]["groups"] == figures["groups"]["same"] == 8


def test_every_verdict_of_a_lenient_one_flips_one_way(run):
    before, figures = judged(run, "numeric")["counts"], judged(run, ALWAYS)
    assert figures["counts"]["right to the new alone"] == before["right to neither"] > 0
    assert figures["counts"]["right to the stored alone"] == 0
    low, high = (figures["shares"]["flipped"][key] for key in ("low", "high"))
    assert 0 <= low < figures["shares"]["flipped"]["value"] < high <= 1
    assert figures["groups"]["lost"] == 8 - figures["groups"]["same"]
    assert figures["rows"][0]["new"]["score"] == 1.0 and figures["rows"][0]["right_to"] == "new"


@pytest.mark.slow
def test_an_advantage_that_changes_sign_is_counted(run):
    assert 1 <= judged(run, CONTRARY)["groups"]["sign"] <= judged(run, ALWAYS)["groups"]["lost"]


def test_the_last_steps_alone_and_an_evaluation(run):
    assert judged(run, "numeric", last=1)["completions"] == 16
    figures = judged(run / "eval" / "rl-2-test", "exact")
    assert (figures["completions"], figures["problems"], figures["groups"]) == (6, 6, None)


def test_signs_of_groups():
    count = SignCount()
    for after in ([-1, 1], [0, 0], [2, -2], [1, -1]):
        count.add("p", np.array([1.0, -1.0]), np.array(after, float))
    count.add("p", np.zeros(2), np.array([1.0, -1.0]))
    figures = count.figures()
    assert [figures[kind] for kind in ("sign", "lost", "size", "same", "gained")] == [1] * 5


def test_intervals_are_over_problems_and_never_of_width_zero():
    flips = {"a": [True] * 50, "b": [False] * 50, "c": [True, False]}
    share = by_problem(flips, bool)
    assert (share.value, share.n) == (0.5, 3) and share.high - share.low > 0.5
    assert by_problem({"a": [], "b": []}, bool) is None
    assert by_problem({"a": [True], "b": [True]}, bool).low < 0.5


TEXTS = [{"id": f"p{n}", "question": f"{n}+1", "answer": str(n + 1) if n < 2 else f"word {n}"} for n in range(8)]


def test_answers_that_the_verifier_cannot_read_are_counted_with_the_first_five(tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in TEXTS))
    source = {"path": str(tmp_path / "rows.jsonl"), "columns": {"prompt": "question", "id": "id"}}
    recipe = {**SMALL, "data": source, "verifier": "exact", "prompts_per_step": 8, "steps": 1, "eval": {}}
    run = r1lab.train(recipe, f"out={tmp_path / 'run'}").path
    unread = judged(run, "numeric")["unreadable"]
    assert (unread["count"], unread["problems"]) == (6, 8) and unread["first"].count("; ") == 4
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({**row, "answer": "word"}) + "\n" for row in TEXTS))
    assert "8 of 8 reference answers cannot be judged (data/p0: " in refused(run, "numeric")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in TEXTS[:3]))
    assert "5 of 8 problems are not in the data any more, as 'data/p3'" in refused(run, "exact")


def refused(folder, verifier, **options):
    with pytest.raises((RecipeError, RunError)) as end:
        r1lab.rejudge(folder, verifier, **options)
    assert "\n" not in str(end.value)
    return str(end.value)


def test_what_cannot_be_judged_again_is_one_line(run, tmp_path):
    assert "is no run's folder" in refused(tmp_path, "numeric")
    assert "did you mean 'numeric'" in refused(run, "numerik")
    assert "--on goes with an evaluation's folder" in refused(run, "numeric", set_name="gsm8k")
    shutil.copytree(run, tmp_path / "copy")
    (tmp_path / "copy" / "rollouts" / "rl-1.parquet").write_bytes(b"no table")
    assert "not readable as parquet" in refused(tmp_path / "copy", "numeric")
    shutil.rmtree(tmp_path / "copy" / "rollouts")
    assert "holds no rollouts" in refused(tmp_path / "copy", "numeric")
