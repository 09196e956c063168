"""Reward functions of TRL, verl and OpenRLHF are called as those trainers call them, and judged like any plug-in."""

import math
import pickle
import sys
import textwrap

import pytest

from r1lab_verifiers import Item, resolve
from r1lab_verifiers.pool.pool import Pool
from r1lab_verifiers.reference_checks import alone

FUNCTIONS = '''
import asyncio, random, time

def holds(completions, solution, **kwargs):
    texts = [each if isinstance(each, str) else each[0]["content"] for each in completions]
    return [1.0 if gold in text else 0.0 for text, gold in zip(texts, solution)]

def seen(prompts, completions, **kwargs):
    raise LookupError(repr((prompts, completions, {k: v for k, v in kwargs.items() if not callable(v)})))

def strict(completions, level): return [float(each == "easy") for each in level]
def silent(completions, **kwargs): return [None for _ in completions]
def logs(completions, log_extra, log_metric, **kwargs):
    log_extra("length", [len(each) for each in completions]); log_metric("n", len(completions))
    return [1 for _ in completions]
async def later(completions, **kwargs):
    await asyncio.sleep(0)
    return [0.5 for _ in completions]
def scaled(completions, *, weight=1.0, **kwargs): return [weight for _ in completions]
class Callable:
    def __call__(self, completions, **kwargs): return [True for _ in completions]
instance = Callable()
def signed(completions, answer, **kwargs):
    return [1.0 if gold in text else -1.0 for text, gold in zip(completions, answer)]

# compare the completions of a call
def best_of(completions, **kwargs): return [float(len(each) == max(map(len, completions))) for each in completions]
def centred(completions, answer, **kwargs):
    raw = [float(gold in text) for text, gold in zip(completions, answer)]
    return [each - sum(raw) / len(raw) for each in raw]
def ranked(completions, **kwargs): return [sorted(completions).index(each) / len(completions) for each in completions]
def unlike(completions, **kwargs): return [1.0 / completions.count(each) for each in completions]
def one_only(completions, **kwargs):
    assert len(completions) == 1
    return [1.0]
def noise(completions, **kwargs): return [random.random() for _ in completions]

# need the trainer
def paced(completions, trainer_state, **kwargs): return [0.0 for _ in completions]
def paced_quietly(completions, **kwargs): return [kwargs["trainer_state"].global_step for _ in completions]
def ids(completions, completion_ids): return [0.0 for _ in completions]

# faults
def number(completions, **kwargs): return 1.0
def many(completions, **kwargs): return [1.0, 0.0]
def words(completions, **kwargs): return ["good" for _ in completions]
def nan(completions, **kwargs): return [float("nan") for _ in completions]
def hang(completions, **kwargs): time.sleep(1000)
def brittle(completions, **kwargs): return [float(each.split()[0] == "7") for each in completions]

def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return {"score": float(str(ground_truth) in solution_str), "acc": True, "kind": type(ground_truth).__name__}
def told(data_source, solution_str, ground_truth, extra_info):
    return float((data_source, ground_truth, extra_info["index"]) == ("gsm8k", "7", 3) and "7" in solution_str)
def short(solution_str, ground_truth, method="strict"): return ground_truth in solution_str and method == "strict"
def counts(data_source, solution_str, ground_truth, extra_info=None): return ground_truth + 1 == 8
def unnamed(data_source, solution_str, ground_truth, extra_info=None): return {"acc": 1.0}

def reward_func(queries, prompts, labels):
    return {"rewards": [float(gold in text[len(ask):]) for text, ask, gold in zip(queries, prompts, labels)],
            "scores": [0.0 for _ in queries], "extra_logs": {}}
def scores_only(a, b, c): return {"scores": [1.0 for _ in a]}
class Tensor(list):
    """Of several numbers, each with `item`, as a tensor's are."""
class Cell:
    def __init__(self, value): self.value = value
    def item(self): return self.value
def tensor(queries, prompts, labels): return Tensor(Cell(0.25) for _ in queries)
def two(queries, prompts): return [0.0]
'''
CHAT = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "3+4?"})
ROW = {"data_source": "gsm8k", "reward_model": {"style": "rule", "ground_truth": "7"}, "extra_info": {"index": 3}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("functions")
    (path / "functions.py").write_text(FUNCTIONS)
    sys.path.append(str(path))
    yield str(path)
    sys.path.remove(str(path))
    sys.modules.pop("functions", None)


def made(name, convention, **settings):
    return pickle.loads(pickle.dumps(resolve({"use": f"functions:{name}", "as": convention, **settings})))


def judge(name, convention, item, **settings):
    return made(name, convention, **settings).build().verify(item)


JUDGED = {
    ("holds", "trl"): (Item("so 7", "7", meta={"solution": "7"}), 1.0),
    ("strict", "trl"): (Item("so 7", "7", meta={"level": "easy", "more": 1}), 1.0),
    ("logs", "trl"): (Item("so 7", "7"), 1.0),
    ("later", "trl"): (Item("so 7", "7"), 0.5),
    ("instance", "trl"): (Item("so 7", "7"), 1.0),
    ("compute_score", "verl"): (Item("so 7", "7", meta=ROW), 1.0),
    ("told", "verl"): (Item("so 7", "7", meta=ROW), 1.0),
    ("short", "verl"): (Item("so 7", "7", meta=ROW), 1.0),
    ("counts", "verl"): (Item("so 7", "7", meta={"reward_model": {"ground_truth": 7}}), 1.0),
    ("reward_func", "openrlhf"): (Item("so 7", "7", "Is it 7 or 8?"), 1.0),
    ("scores_only", "openrlhf"): (Item("so 7", "7", CHAT), 1.0),
    ("tensor", "openrlhf"): (Item("so 7", "7"), 0.25),
}


@pytest.mark.parametrize("name, convention", JUDGED)
def test_a_function_is_called_as_its_trainer_calls_it(folder, name, convention):
    item, score = JUDGED[name, convention]
    assert judge(name, convention, item).score == score
    assert alone(made(name, convention)).build().verify(item).score == 1.0


def test_what_a_function_of_trl_is_given_follows_the_prompts_form(folder):
    meta = {"prompt": "dropped", "solution": "7", "level": None}
    with pytest.raises(LookupError) as plain:
        judge("seen", "trl", Item("so 7", "7", "3+4?", meta=meta))
    assert eval(str(plain.value)) == (["3+4?"], ["so 7"], {"answer": ["7"], "solution": ["7"], "level": [None]})
    with pytest.raises(LookupError) as chat:
        judge("seen", "trl", Item("so 7", "7", CHAT, meta={"answer": 7}))
    said = [[{"role": "assistant", "content": "so 7"}]]
    assert eval(str(chat.value)) == ([list(CHAT)], said, {"answer": [7]})


def test_settings_reach_the_function_and_none_abstains(folder):
    assert judge("scaled", "trl", Item("a", ""), weight=0.5).score == 0.5
    assert judge("short", "verl", Item("so 7", "7"), method="flexible").score == 0.0
    assert judge("silent", "trl", Item("a", "")).status == "abstained"
    assert judge("compute_score", "verl", Item("so 7", "7")).score == 1.0, "without verl's columns the answer serves"
    other = {"data_source": "gsm8k", "index": 3, "prompt": "3+4?"}
    assert judge("told", "verl", Item("so 7", "7", meta=other)).score == 1.0, "and the other columns are extra_info"


def test_a_range_says_which_numbers_are_score_0_and_1(folder):
    out = judge("signed", "trl", Item("so 8", "7"))
    assert out.status == "error" and "range: [-1, 1]" in out.reason
    scores = [judge("signed", "trl", Item(text, "7"), range=[-1, 1]).score for text in ("so 7", "so 8")]
    assert scores == [1.0, 0.0]
    assert judge("scaled", "trl", Item("a", ""), weight=1.5, range=[0, 2]).score == 0.75
    assert judge("nan", "trl", Item("a", "")).status == "error"


@pytest.mark.parametrize("name", ["best_of", "centred", "ranked", "unlike", "noise"])
def test_what_compares_the_completions_of_a_call_is_found_at_the_start(folder, name):
    verdict = alone(made(name, "trl", range=[-1, 1])).build().verify(Item("", "7"))
    assert verdict.score == 0.0 and "compares the completions of a call" in verdict.reason


@pytest.mark.parametrize(
    "name, convention, reason",
    [
        ("one_only", "trl", "fails on several in a call: AssertionError"),
        ("holds", "trl", "it takes 'solution', which the problem has not; there are: prompts, completions, answer"),
        ("paced_quietly", "trl", "KeyError: 'trainer_state'"),
        ("signed", "trl", "returned -1; allowed: 0 to 1"),
        ("number", "trl", "it returned 1.0; allowed: a list"),
        ("many", "trl", "it returned 2 numbers for 1 completions"),
        ("words", "trl", "it returned 'good'; allowed: a number or None"),
        ("unnamed", "verl", "a dict without 'score'"),
    ],
)
def test_what_cannot_be_called_is_found_at_the_start(folder, name, convention, reason):
    verdict = alone(made(name, convention)).build().verify(Item("", "7"))
    assert verdict.score == 0.0 and reason in verdict.reason


def test_a_function_that_fails_on_some_completions_alone_is_no_fault_of_it(folder):
    assert alone(made("brittle", "trl")).build().verify(Item("", "7")).score == 1.0


REFUSED = {
    ("paced", "trl"): "takes 'trainer_state', which a verifier is not told",
    ("ids", "trl"): "takes 'completion_ids'",
    ("compute_score", "trl"): "has no parameter 'completions', but data_source, solution_str",
    ("strict", "verl"): "has no parameter 'solution_str', but completions, level; verl calls fn(data_source",
    ("two", "openrlhf"): "has the parameters queries, prompts; openrlhf calls fn(queries, prompts, labels)",
    ("holds", "TRL"): "as: 'TRL' is unknown; allowed: trl, verl, openrlhf; did you mean 'trl'?",
    ("holds", None): "as: None is unknown",
    ("Callable", "trl"): "is a type and no function",
    ("absent", "trl"): "does not import",
}


@pytest.mark.parametrize("name, convention", REFUSED)
def test_what_is_no_function_of_that_trainer_is_refused_in_one_line(folder, name, convention):
    with pytest.raises(ValueError) as caught:
        made(name, convention)
    assert REFUSED[name, convention] in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("bounds", [[1, 0], [0, 0], [0], 1, "0 1", [0, math.inf], [True, 2], None, {0: 1}])
def test_a_range_is_two_numbers(folder, bounds):
    with pytest.raises(ValueError, match="must be two numbers, the lower first"):
        made("holds", "trl", range=bounds)


def test_other_settings_and_built_ins_are_refused(folder):
    with pytest.raises(ValueError, match="has no setting 'methd', but solution_str, ground_truth, method"):
        made("short", "verl", methd="strict")
    with pytest.raises(ValueError, match="'math' is built in"):
        resolve({"use": "math", "as": "trl"})
    assert resolve({"use": "textwrap:indent"}).path == "textwrap:indent", "without `as` the name means what it did"
    assert textwrap.indent


def test_it_runs_behind_the_deadline_like_any_plug_in(folder):
    table = {"slow": made("hang", "trl"), "right": made("holds", "trl"), "brittle": made("brittle", "trl")}
    with Pool(table, workers=1, deadline=0.3, import_paths=[folder]) as pool:
        right = pool.submit(Item("so 7", "7", meta={"solution": "7"}), "right")
        crash = pool.submit(Item("", "7"), "brittle", "7")
        slow = pool.submit(Item("so 7", "7"), "slow")
        assert right.result().score == 1.0
        assert (crash.result().score, crash.result().status) == (0.0, "crash"), "the reference is judged: its own fault"
        assert slow.result().status == "error"
