"""Verifiers serve as reward functions of TRL and verl, in workers that end with the process that asked."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import pytest

import r1lab_verifiers
from r1lab_verifiers import Verdict, as_reward, compute_score, resolve, reward

PAGE = Path(__file__).parents[2] / "verifiers" / "README.md"


@pytest.fixture(scope="module", autouse=True)
def ended():
    yield
    as_reward.close()


def asked(function, texts, **columns):
    return function(prompts=["1+1?"] * len(texts), completions=texts, completion_ids=[[1]] * len(texts), **columns)


def test_each_completion_gets_its_score_in_order_from_the_gold_column():
    function = reward("math", answer="solution")
    assert function.__name__ == "math"
    texts = [r"so \boxed{0.5}", "it is 3", r"\boxed{\frac12}", ""]
    assert asked(function, texts, solution=["1/2"] * 4, trainer_state=object()) == [1.0, 0.0, 1.0, 0.0]
    assert asked(reward("numeric", tolerance=0.1), ["7.05", "8"], answer=[7, 7.0]) == [1.0, 0.0]
    assert asked(reward({"use": "exact", "ignore_case": True}), ["yes", "no"], answer=[["Yes"], ["yes", "no"]]) == [
        1,
        1,
    ]


def test_chats_are_read_by_what_the_assistant_says():
    prompts = [[{"role": "user", "content": "What is 1+1? Not \\boxed{3}."}]]
    said = [
        [
            {"role": "assistant", "content": "so"},
            {"role": "tool", "content": "3"},
            {"role": "assistant", "content": "2"},
        ]
    ]
    assert reward("numeric")(prompts=prompts, completions=said, answer=["2"]) == [1.0]


def test_a_column_that_is_not_there_is_named_and_format_needs_none():
    with pytest.raises(
        ValueError, match="reward 'math': the dataset has no column 'answer'; there are: solution; give"
    ):
        asked(reward("math"), ["2"], solution=["2"], log_metric=print)
    assert asked(reward("format"), ["2", "<think>a</think> <answer>2</answer>"]) == [0.0, 1.0]


def test_statuses_go_to_trls_table_and_what_cannot_be_judged_gets_none_and_a_warning():
    logged = {}
    function = reward("countdown")
    with pytest.warns(UserWarning, match="reward 'countdown': not every completion can be judged"):
        scores = asked(function, ["1+2", "1+2"], answer=[{"numbers": [1, 2], "target": 3}, {"numbers": "x"}],
                       log_extra=logged.__setitem__)  # fmt: skip
    assert scores == [1.0, None] and logged == {"countdown verdict": ["correct", "error"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        assert asked(function, ["1+2"], answer=[{"numbers": "x"}]) == [None]


def test_verl_takes_the_score_from_a_dict():
    known = {"data_source": "openai/gsm8k", "ground_truth": "7", "extra_info": {"index": 1}}
    assert compute_score(solution_str="#### 7", **known) == {"score": 1.0, "acc": 1.0, "verdict": "correct"}
    assert compute_score("gsm8k", "#### 8", 7, verifier="numeric")["verdict"] == "wrong"
    assert compute_score("gsm8k", "1+2", {"numbers": "x"}, verifier="countdown") == {
        "score": 0.0, "acc": 0.0, "verdict": "error"
    }  # fmt: skip
    assert compute_score("gsm8k", "7.05", "7", verifier="numeric", tolerance=0.1)["acc"] == 1.0


def loaded(path):
    """As verl loads the file of a reward function."""
    spec = importlib.util.spec_from_file_location("custom_module", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_verl_loads_it_from_the_packages_file():
    module = loaded(r1lab_verifiers.__file__)
    assert module.compute_score("gsm8k", "#### 7", "7", None)["score"] == 1.0
    assert len(as_reward._POOLS) == 1, "one pool serves all of them"


def test_a_wrong_name_or_setting_is_refused_when_the_function_is_made():
    with pytest.raises(ValueError, match="did you mean 'math'"):
        reward("maths")
    with pytest.raises(ValueError, match="no setting 'tolerence'"):
        reward("numeric", tolerence=1)
    assert reward(resolve("exact")).__name__ == "exact"


HANGS = """
def hang(completion, answer):
    while completion == "hang": pass
    return completion == answer
"""


def test_a_completion_that_hangs_costs_its_deadline_and_gets_0(tmp_path, monkeypatch):
    (tmp_path / "hangs.py").write_text(HANGS)
    monkeypatch.syspath_prepend(str(tmp_path))
    start = time.monotonic()
    assert asked(reward("hangs:hang", deadline=0.3, workers=1), ["7", "hang", "8"], answer=["7"] * 3) == [1.0, 0.0, 0.0]
    assert time.monotonic() - start < 20


def test_a_forked_child_makes_workers_of_its_own():
    function = reward("exact")
    assert asked(function, ["a"], answer=["a"]) == [1.0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads
        child = os.fork()
    if child == 0:
        is_right = asked(function, ["a", "b"], answer=["a", "a"]) == [1.0, 0.0]
        as_reward.close()
        os._exit(0 if is_right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert asked(function, ["b"], answer=["a"]) == [0.0], "the parent's are still there"


SCRIPT = """
import os, sys, time
import r1lab_verifiers
from r1lab_verifiers import as_reward
assert "torch" not in sys.modules
r1lab_verifiers.compute_score("", "#### 7", "7")
(pool,) = as_reward._POOLS.values()
child = os.fork()
if child == 0:
    os.closerange(1, 3)
    time.sleep(60)
print(child, pool._server.pid, flush=True)
"""


def test_the_workers_end_with_the_process_also_where_a_child_of_it_lives_on():
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(SCRIPT)], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    child, template = map(int, done.stdout.split())
    os.kill(child, signal.SIGKILL)
    assert not os.path.exists(f"/proc/{template}")
    assert time.monotonic() - start < 9, "closing does not wait for what the child holds"


def test_a_verdict_without_a_score_is_none_and_a_gold_keeps_its_form():
    assert as_reward.gold_answer(["1"]) == "1" and as_reward.gold_answer([1, 2.0]) == {"any": ["1", "2"]}
    assert as_reward.gold_answer({"target": 1}) == {"target": 1} and as_reward.gold_answer(None) == ""
    assert Verdict(None, "abstained").score is None


@pytest.mark.vllm
def test_the_pages_lines_train_with_trl(tmp_path, monkeypatch):
    """In the environment of vLLM, which has TRL."""
    pytest.importorskip("trl")
    (block,) = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(block, names)
    (row,) = [row for row in names["trainer"].state.log_history if "rewards/math/mean" in row]
    assert 0 <= row["rewards/math/mean"] <= 1 and len(block.splitlines()) <= 12


def test_the_pages_lines_name_a_function_as_verl_loads_it():
    """As verl does: the file at `path` is run as a module of another name, and `name` called with `reward_kwargs`."""
    (block,) = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    given = dict(re.findall(r"^    \+?([\w.]+)=(.*?)(?: \\)?$", block, re.MULTILINE))
    wanted = {key.rpartition(".")[2]: value for key, value in given.items() if "reward_kwargs" in key}
    assert wanted == {"verifier": "math", "deadline": "2.0"} and "r1lab_verifiers.__file__" in block
    module = loaded(r1lab_verifiers.__file__)
    score = getattr(module, given["custom_reward_function.name"])
    known = {"data_source": "openai/gsm8k", "ground_truth": "7", "extra_info": {"index": 1}}
    assert score(solution_str="#### 7", **known, verifier="math", deadline=2.0)["acc"] == 1.0
