import importlib.util
import pickle
import sys
import textwrap

import pytest

from r1lab_verifiers import BUILT_IN, Item, resolve
from r1lab_verifiers.plugin import Resolved, as_verdict, best
from r1lab_verifiers.verdict import Verdict

NEEDS = {"reasoning_gym": "reasoning_gym", "math_verify": "math_verify"}
"""Packages of extras."""


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name != "environment"])  # which reads no text
def test_every_built_in_resolves_travels_and_judges_its_own_witness(name):
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    resolved = pickle.loads(pickle.dumps(resolve(name)))
    answer = {
        "countdown": {"numbers": [1, 2], "target": 3},
        "reasoning_gym": {"task": "chain_sum", "entry": {"question": "1 + 1", "answer": "2", "metadata": {}}},
        "choice": "B",
        "code": {"fn_name": "double", "inputs": [[2]], "outputs": [4]},
    }.get(name, "5")
    live = resolved.build()
    assert live.isolated == (name == "code")
    verdict = live.verify(Item(live.witness(answer), answer))
    assert verdict.status != "error" and (verdict.score == 1.0 or name == "code")  # tests alone give no program


def test_both_forms_and_settings_resolve(folder):
    for spec in ("plugins:parity", {"use": "plugins:grade", "scale": 2}, {"use": "plugins:Act", "log": "x"}):
        assert resolve(spec, [folder]).path == (spec if isinstance(spec, str) else spec["use"])
    assert resolve({"use": "plugins:grade", "scale": 0.5}, [folder]).build().verify(Item("1", "")).score == 0.5
    assert resolve({"use": "plugins:Async", "pause": 0.0}, [folder]).isolated
    assert resolve("plugins:Async", [folder]).build().verify(Item("a", "")).score == 1.0
    assert resolve(resolve("exact")) == resolve("exact") == Resolved("r1lab_verifiers.exact:Exact")
    assert resolve(textwrap.indent).path == "textwrap:indent"


def test_bools_floats_and_verdicts_become_verdicts(folder):
    live = resolve("plugins:returns", [folder]).build()
    cases = {"True": 1.0, "False": 0.0, "1": 1.0, "0.25": 0.25, "Verdict(0.5, 'partial')": 0.5}
    assert {text: live.verify(Item(text, "")).score for text in cases} == cases
    status = {"True": "correct", "0.0": "wrong", "0.25": "partial"}
    assert {text: live.verify(Item(text, "")).status for text in status} == status
    assert live.witness({"a": 1}) == "{'a': 1}"


def test_none_abstains_but_for_a_built_in():
    assert as_verdict(None, "plugins:returns") == Verdict(None, "abstained")
    assert as_verdict(Verdict(None, "abstained", reason="no units"), "plugins:returns").reason == "no units"
    for path in BUILT_IN.values():
        assert as_verdict(None, path).status == "error" and "returned None" in as_verdict(None, path).reason
    for score in (0.0, 0.5):
        with pytest.raises(ValueError, match="a verdict of status abstained has score None"):
            Verdict(score, "abstained")


@pytest.mark.parametrize("value", [-1.0, -0.5, 1.01, 2, float("inf"), float("nan"), True + 1])
def test_a_score_out_of_range_names_the_price_in_the_recipe(value):
    verdict = as_verdict(value, "plugins:returns")
    assert verdict.status == "error" and verdict.reason.endswith("reward: {score: {wrong: -1}}")
    with pytest.raises(ValueError, match=r"outside \[0, 1\]; scale it; .* reward: {score: {wrong: -1}}"):
        Verdict(value, "wrong")


REFUSED = {
    "numerc": "did you mean 'numeric'",
    "no_such.module:x": "does not import: ModuleNotFoundError",
    "plugins:absent": "does not import: AttributeError",
    "plugins:number": "is a int; allowed: a function",
    "plugins:NoVerify": "allowed: a function",
    "plugins:one_parameter": "has the parameters",
    "plugins:wrong_async": "declares `isolated = True`",
    "plugins:AsyncNotIsolated": "declares `isolated = True`",
    "just words": "use one of addition_columns, choice, code, countdown",
}


@pytest.mark.parametrize("spec", [*REFUSED, None, 3])
def test_what_is_no_verifier_is_refused_in_one_line(folder, spec):
    with pytest.raises(ValueError, match=REFUSED.get(spec, "is unknown")) as caught:
        resolve(spec, [folder])
    assert "\n" not in str(caught.value)


def test_unknown_and_missing_settings_are_refused_with_those_there_are(folder):
    with pytest.raises(ValueError, match="no setting 'tolerence'; its settings: extract, after, tolerance"):
        resolve({"use": "numeric", "tolerence": 1})
    with pytest.raises(ValueError, match="no setting 'x'; its settings: witness_act, log"):
        resolve({"use": "plugins:Act", "x": 1}, [folder])
    with pytest.raises(ValueError, match="no setting 'x'; its settings: scale"):
        resolve({"use": "plugins:grade", "x": 1}, [folder])
    with pytest.raises(ValueError, match="extract 'first' is unknown"):
        resolve({"use": "numeric", "extract": "first"})


def test_what_workers_cannot_name_is_refused():
    with pytest.raises(ValueError, match="cannot be named by its path"):
        resolve(lambda completion, answer: True)


def test_import_paths_come_last(folder):
    resolve("exact", [folder])
    assert sys.path[-1] == folder and sys.path.count(folder) == 1


@pytest.mark.parametrize(
    "name, good, bad",
    [
        ("math", "1/2", ""),
        ("numeric", "3", "three"),
        ("choice", "B", "12"),
        ("regex", "[0-9]+", "("),
        ("countdown", {"numbers": [1, 2], "target": 3}, "3"),
    ],
)
def test_a_built_in_says_why_a_gold_answer_cannot_be_used_as_its_verdict_does(name, good, bad):
    live = resolve(name).build()
    assert live.check(good) is None
    reason = live.check(bad)
    assert reason and "\n" not in reason
    verdict = live.verify(Item("x", bad))
    assert verdict.status == "error" and reason in verdict.reason
    assert resolve("format").build().check("") is None


@pytest.mark.parametrize(("use", "answers", "right", "wrong"), [
    ("math", ["70", "71"], [r"\boxed{71}", r"\boxed{70}"], [r"\boxed{72}", r"\boxed{70} or \boxed{71}", ""]),
    ("numeric", ["70", "71"], ["it is 71", "it is 70"], ["it is 72", "70 or 71"]),
    ("choice", ["A", "C"], ["The answer is C", "A"], ["B", "A or C"]),
    ("exact", ["Rome", "Roma"], ["Roma", "Rome"], ["Paris", "Rome Roma"]),
])  # fmt: skip
def test_any_of_several_accepted_answers_is_right_for_every_verifier(use, answers, right, wrong):
    live, gold = resolve(use).build(), {"any": answers}
    assert {live.verify(Item(text, gold)).score for text in right} == {1.0}
    assert {live.verify(Item(text, gold)).score for text in wrong} == {0.0}
    assert live.check(gold) is None and live.verify(Item(live.witness(gold), gold)).score == 1.0


def test_a_bad_one_among_accepted_answers_is_told_and_an_error_where_nothing_is_right():
    live, gold = resolve("numeric").build(), {"any": ["70", "many"]}
    assert "'many' is not a number" in live.check(gold)
    assert [live.verify(Item(text, gold)).status for text in ("70", "71")] == ["correct", "error"]
    assert resolve("countdown").build().check({"numbers": [1, 2], "target": 3}) is None  # a mapping of its own
    verdicts = [Verdict(0.0, "wrong"), Verdict(0.5, "partial"), Verdict(None, "abstained")]
    assert best(verdicts).status == "partial" and best(verdicts[:1]).status == "wrong"


@pytest.mark.parametrize(("spec", "says"), [
    ("mth", "did you mean 'math'?"), ("Numeric", "did you mean 'numeric'?"),
    ("plugins:party", "did you mean 'parity'?"),
    ("plugns:parity", "did you mean 'plugins'?"), ({"use": "plugins:grade", "scal": 1}, "did you mean 'scale'?"),
])  # fmt: skip
def test_a_verifier_that_is_not_there_is_told_of_with_the_nearest(folder, spec, says):
    with pytest.raises(ValueError) as error:
        resolve(spec, [folder])
    assert str(error.value).endswith(f"; {says}")


def test_a_verifier_that_nothing_is_near_has_no_suggestion(folder):
    for spec in ("plugins:colour_of_the_sky", "colour", {"use": "plugins:grade", "colour": 1}):
        with pytest.raises(ValueError) as error:
            resolve(spec, [folder])
        assert "did you mean" not in str(error.value)


THEIRS = """
def trl(prompts, completions, answer, **kwargs): return [1.0 for _ in completions]
def trl_short(completions, **kwargs): return [1.0 for _ in completions]
def trl_pair(prompts, completions): return [1.0 for _ in completions]
def verl(data_source, solution_str, ground_truth, extra_info=None): return 1.0
def openrlhf(queries, prompts, labels): return {"rewards": 1.0}
def ours(completion, answer, *, completions=1): return True
def plain(text, gold): return True
"""


@pytest.mark.parametrize(("name", "convention"), [
    ("trl", "trl"), ("trl_short", "trl"), ("trl_pair", "trl"), ("verl", "verl"), ("openrlhf", "openrlhf"), ("ours", ""),
    ("plain", ""),
])  # fmt: skip
def test_a_reward_function_of_another_trainer_is_known_by_its_parameters(tmp_path, name, convention):
    (tmp_path / "other_forms.py").write_text(THEIRS)
    if not convention:
        assert resolve(f"other_forms:{name}", [tmp_path]).build().verify(Item("", "")).score == 1.0
        return
    with pytest.raises(ValueError, match=f"say so: verifier: .use: other_forms:{name}, as: {convention}.$"):
        resolve(f"other_forms:{name}", [tmp_path])
    resolve({"use": f"other_forms:{name}", "as": convention}, [tmp_path])
