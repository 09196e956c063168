"""Controls and noise replace the verdict in training alone, by chance that problem and completion decide."""

from collections import Counter
from concurrent.futures import Future
from dataclasses import replace

import pytest

from r1lab import pipeline
from r1lab.errors import RecipeError
from r1lab.recipe import WorkersConfig, load
from r1lab.rollout import verification
from r1lab.rollout.train_verifier import TrainVerifier, changed_future, deranged
from r1lab.rollout.verification import VerifierUse
from r1lab.run import journal
from r1lab.run.progress import Progress
from r1lab.stages.check import check
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

RIGHT, WRONG, PARTLY = Verdict(1.0, "correct"), Verdict(0.0, "no_answer"), Verdict(0.5, "partial")
PROBLEMS = [Problem(f"s/{at}", f"{at}?", str(at % 3), "numeric", source="s") for at in range(30)]
RECIPE = {
    "name": "controlled",
    "steps": 2,
    "data": {"task": "addition", "size": 32, "settings": {"digits": 1}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 12,
    "prompts_per_step": 4,
    "group_size": 4,
    "threads": 1,
    "workers": {"count": 1},
    "eval": {"sets": {"test": {"task": "addition", "split": "eval", "size": 8, "settings": {"digits": 1}}}},
}


class Asked(list):
    """What the pool was asked, and what it says of all."""

    verdict = RIGHT

    def submit(self, item, key, solution=None):
        self.append((item, key))
        future = Future()
        future.set_result(self.verdict)
        return future


@pytest.fixture
def judged(monkeypatch):
    """judged(setting, rollouts, verdict): what training is told of rollouts that every verifier judges with `verdict`,
    what the pool was asked, and all verdicts by name."""
    asked = Asked()
    monkeypatch.setattr(verification, "_pool", lambda *_: asked)

    def judge(setting, rollouts, verdict=RIGHT, seed=0, uses=("score",)):
        asked.clear()
        asked.verdict = verdict
        by_id = {problem.id: problem for problem in PROBLEMS}
        named = {"s": {name: VerifierUse("" if name == "score" else name) for name in uses}}
        told = TrainVerifier(setting).verification({"s": PROBLEMS}, seed, {}, named, WorkersConfig())
        futures = [told.submit(each, by_id[each.request.problem_id]) for each in rollouts]
        found = [{name: future.result() for name, future in each.items()} for each in futures]
        return [each["score"] for each in found], list(asked), found

    return judge


@pytest.fixture
def rollouts(make_rollout):
    one = make_rollout((3,), (4,))
    return [
        replace(one, text=f"text {at}", request=replace(one.request, problem_id=f"s/{at % 30}")) for at in range(3000)
    ]


@pytest.mark.parametrize(("setting", "verdict", "share"), [
    ({"use": "control", "kind": "random", "rate": 0.3}, RIGHT, 0.3),
    ({"use": "control", "kind": "random", "rate": 0.3}, WRONG, 0.3),
    ({"use": "control", "kind": "random", "rate": 1}, WRONG, 1.0),
    ({"use": "noisy", "false_negative": 0.1}, RIGHT, 0.9), ({"use": "noisy", "false_negative": 0.1}, WRONG, 0.0),
    ({"use": "noisy", "false_positive": 0.1}, RIGHT, 1.0), ({"use": "noisy", "false_positive": 0.1}, WRONG, 0.1),
    ({"use": "noisy", "false_positive": 0.1}, PARTLY, 0.1), ({"use": "noisy"}, RIGHT, 1.0),
])  # fmt: skip
def test_the_share_that_is_called_right(judged, rollouts, setting, verdict, share):
    told, *_ = judged(setting, rollouts, verdict)
    assert abs(sum(each.score == 1.0 for each in told) / len(told) - share) < 0.03  # of 3,000: deviation 0.009
    assert told == judged(setting, rollouts, verdict)[0]
    if 0 < share < 1:
        assert told != judged(setting, rollouts, verdict, seed=1)[0]


def test_a_completion_that_is_written_twice_is_judged_the_same_twice(judged, rollouts):
    same = [replace(each, text="the same") for each in rollouts]
    told, *_ = judged({"use": "noisy", "false_negative": 0.5}, same)
    by_problem = {}
    for rollout, verdict in zip(same, told, strict=True):
        by_problem.setdefault(rollout.request.problem_id, set()).add(verdict.score)
    assert all(len(scores) == 1 for scores in by_problem.values())
    assert {score for scores in by_problem.values() for score in scores} == {0.0, 1.0}


@pytest.mark.parametrize("verdict", [Verdict(None, "error", reason="broken"), Verdict(None, "abstained")])
def test_what_could_not_be_judged_stays_so_under_noise(judged, rollouts, verdict):
    told, *_ = judged({"use": "noisy", "false_negative": 1.0, "false_positive": 1.0}, rollouts[:50], verdict)
    assert set(told) == {verdict}


def test_only_the_verdict_on_the_problem_itself_is_replaced(judged, rollouts):
    control = {"use": "control", "kind": "random", "rate": 0.0}
    _, asked, found = judged(control, rollouts[:5], uses=("score", "format", "second_verifier"))
    assert [key for _, key in asked] == ["format", "second_verifier"] * 5
    assert all(list(each) == ["score", "format", "second_verifier"] for each in found)
    assert {each["score"].score for each in found} == {0.0} and {each["format"] for each in found} == {RIGHT}


def test_shuffled_asks_against_another_problems_answer(judged, rollouts):
    told, asked, _ = judged({"use": "control", "kind": "shuffled"}, rollouts[:30])
    assert told == [RIGHT] * 30
    own = {problem.id: problem.answer for problem in PROBLEMS}
    assert all(item.answer != own[item.problem_id] for item, _ in asked)
    assert Counter(item.answer for item, _ in asked) == Counter(own.values()), "a derangement of the answers"


def test_format_asks_its_own_verifier(judged, rollouts):
    _, asked, _ = judged({"use": "control", "kind": "format"}, rollouts[:3])
    assert {verifier for _, verifier in asked} == {"format"}
    _, asked, _ = judged({"use": "control", "kind": "format", "of": {"use": "regex"}}, rollouts[:3])
    assert {verifier.partition("#")[0] for _, verifier in asked} == {"regex"}


@pytest.mark.parametrize("answers", ["ab", "aabb", "aabbc", "abc", "aaabbbc"])
def test_a_derangement_gives_nobody_an_answer_equal_to_its_own(answers):
    problems = [Problem(str(at), "?", letter) for at, letter in enumerate(answers)]
    for seed in range(5):
        given = deranged("s", problems, seed)
        assert all(given[problem.id] != problem.answer for problem in problems)
        assert sorted(given.values()) == sorted(answers)


@pytest.mark.parametrize("answers", ["a", "aab", "aaabb"])
def test_where_most_answers_are_one_no_derangement_exists(answers):
    problems = [Problem(str(at), "?", letter) for at, letter in enumerate(answers)]
    with pytest.raises(RecipeError, match="answers of source 's' are the same"):
        deranged("s", problems, 0)


def test_futures_are_cancelled_and_fail_with_each_other():
    first, second, third = Future(), Future(), Future()
    assert changed_future(first, lambda verdict: verdict).cancel() and first.cancelled()
    second.cancel()
    assert changed_future(second, lambda verdict: verdict).cancelled()
    third.set_exception(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        changed_future(third, lambda verdict: verdict).result()


REFUSED = {
    "no name": ("math", "train_verifier: 'math' is none; use {use: control"),
    "another name": ({"use": "nosy"}, "did you mean 'noisy'?"),
    "no kind": ({"use": "control"}, "train_verifier.kind: None must be one of random, shuffled, format"),
    "no rate": ({"use": "control", "kind": "random"}, "train_verifier.rate: missing"),
    "a rate over one": ({"use": "control", "kind": "random", "rate": 2}, "2 must lie in [0, 1]"),
    "a rate that is no number": ({"use": "control", "kind": "random", "rate": True}, "True must lie in [0, 1]"),
    "not a number": ({"use": "noisy", "false_positive": float("nan")}, "nan must lie in [0, 1]"),
    "a key nobody reads": ({"use": "noisy", "false_negatives": 0.1}, "did you mean 'false_negative'?"),
    "a key of another kind": ({"use": "control", "kind": "shuffled", "rate": 0.1}, "shuffled reads of alone"),
    "a control of a control": ({"use": "noisy", "of": {"use": "control"}}, "control replaces the verdict in training"),
    "a verifier that is none": ({"use": "noisy", "of": "mth"}, "'mth' is unknown"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_mistake_is_one_line(mistake):
    setting, says = REFUSED[mistake]
    with pytest.raises(RecipeError) as error:
        check(load.resolve(RECIPE | {"train_verifier": setting}))
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["verifier", "second_verifier", "reward", "eval"])
def test_evaluation_second_opinion_and_reward_refuse_them(key):
    noisy = {"use": "noisy", "false_negative": 0.1}
    sets = {"sets": {"test": RECIPE["eval"]["sets"]["test"] | {"verifier": noisy}}}
    given = {"reward": {"score": 1.0, "other": noisy}, "eval": sets}.get(key, noisy)
    with pytest.raises(RecipeError, match="noisy replaces the verdict in training alone"):
        check(load.resolve(RECIPE | {key: given}))


def test_an_sft_stage_has_none():
    stage = {"kind": "sft", "data": RECIPE["data"], "train_verifier": {"use": "noisy"}}
    with pytest.raises(RecipeError, match="train_verifier"):
        load.resolve({"stages": [stage]})


def test_a_source_whose_reward_has_no_score_has_no_verdict_to_replace():
    control = TrainVerifier({"use": "noisy"})
    control.check({"s": PROBLEMS}, ["s"], {})
    with pytest.raises(RecipeError, match="the reward of source 's' has no score, so no verdict can be replaced"):
        control.check({"s": PROBLEMS}, [], {})
    TrainVerifier().check({"s": PROBLEMS}, [], {})


def test_shuffled_is_refused_where_nothing_reads_the_answer():
    with pytest.raises(RecipeError, match="format of source 'addition' reads no answer"):
        check(load.resolve(RECIPE | {"verifier": "format", "train_verifier": {"use": "control", "kind": "shuffled"}}))


def test_a_run_is_paid_by_the_control_and_evaluated_by_the_sets_own(tmp_path):
    control = {"use": "control", "kind": "random", "rate": 0.5}
    runs = {}
    for name, more in {"plain": {}, "control": {"train_verifier": control}}.items():
        plan = load.resolve({**RECIPE, **more, "out": str(tmp_path / name)})
        runs[name] = pipeline.train(plan, Progress(quiet=True))
    first = {name: run.metrics[0] for name, run in runs.items()}
    assert first["plain"]["eval/test/avg"] == first["control"]["eval/test/avg"], "the same weights, the same judge"
    rows = journal.read_rows(tmp_path / "control" / "rollouts" / "rl-1.parquet", ("reward", "reason"))
    assert {row["reason"] for row in rows} == {"by chance"} and {row["reward"] for row in rows} == {0.0, 1.0}
    assert runs["plain"].path != runs["control"].path
