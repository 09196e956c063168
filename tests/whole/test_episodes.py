"""Runs with episodes: tools and plain problems together, killed anywhere and resumed, and twice the same bytes."""

import json
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import r1lab

TOOLS = '''
import random, time
from r1lab.environments.protocol import Turn

def add(a: int, b: int) -> int:
    """Add two numbers."""
    time.sleep(random.SystemRandom().random() / 50)  # late at random: no byte may depend on it
    return a + b

class Chatty:
    """Says something after every turn, and pays for short ones."""

    def __init__(self, problem, seed):
        self.seed, self.turns = seed, 0

    def reset(self):
        return None

    def step(self, text):
        self.turns += 1
        time.sleep(random.SystemRandom().random() / 50)
        if "9" in text:
            raise ValueError("nine")
        return Turn(f"no {self.seed % 7}", done="3" in text, reward=1 / (1 + len(text)), info={"calls": 1})

    def verdict(self):
        return 1.0 if self.turns > 1 else 0.0
'''
CHATTY = {"use": "tools_of_tests:Chatty", "max_turns": 3, "max_observation_tokens": 40}
RECIPE = {
    "name": "episodes", "model": "embedded", "threads": 1, "precision": "float32",
    "prompt": {"format": "Q: {prompt}\nA:"},
    "data": {
        "chat": {"task": "addition", "size": 16, "settings": {"digits": 1}, "verifier": "environment",
                 "environment": CHATTY},
        "plain": {"task": "addition", "size": 16, "seed": 1, "settings": {"digits": 2}},
    },
    "reward": {"score": 1.0, "environment": 0.5}, "max_new_tokens": 24, "prompts_per_step": 4, "group_size": 4,
    "steps": 3, "learning_rate": 1e-4, "checkpoint_every": 1, "sampling": {"stop": ["+"]},
    "eval": {"sets": {"held": {"task": "addition", "split": "eval", "size": 6, "settings": {"digits": 1},
                               "environment": CHATTY, "verifier": "environment"}}, "at_start": False},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("episodes")
    (made / "tools_of_tests.py").write_text(TOOLS, encoding="utf-8")
    (made / "recipe.yaml").write_text(json.dumps(RECIPE), encoding="utf-8")
    return made


def metrics_of(out: Path) -> list[dict]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


@pytest.fixture(scope="module")
def straight(folder):
    out = folder / "straight"
    r1lab.train(str(folder / "recipe.yaml"), f"out={out}")
    return out


def test_episodes_and_plain_problems_train_in_one_run(straight):
    rows = metrics_of(straight)
    assert len(rows) == 3 and all(row["episode/turns"] >= 1 for row in rows)
    table = pq.read_table(straight / "rollouts" / "rl-1.parquet").to_pylist()
    turns = {row["source"]: [] for row in table}
    for row in table:
        turns[row["source"]].append(json.loads(row["turns"]) if row["turns"] else None)
    assert set(turns["plain"]) == {None} and all(turns["chat"])
    assert any(len(each) > 1 for each in turns["chat"])
    for row in table:
        assert row["num_tokens"] == sum(role == 0 for role in row["role"])
    assert "eval/held/avg" in rows[-1] and {row["status"] for row in table} >= {"correct"}


@pytest.mark.slow
def test_two_runs_alike_give_the_same_bytes_whatever_tools_take(folder, straight):
    again = folder / "again"
    r1lab.train(str(folder / "recipe.yaml"), f"out={again}")
    assert metrics_of(again) == metrics_of(straight)
    for step in (1, 2, 3):
        one, other = (pq.read_table(out / "rollouts" / f"rl-{step}.parquet") for out in (straight, again))
        told = [repr(each.drop_columns(["seconds", "verdicts"]).to_pylist()) for each in (one, other)]  # NaN is not NaN
        assert told[0] == told[1]


@pytest.mark.parametrize(
    "death",
    [
        "import r1lab.rollout.episode as owner; at_call(owner.Episode, 'wait', 30)",
        pytest.param(
            "import r1lab.environments.host as owner; at_call(owner.PlayedWorld, 'step', 50)", marks=pytest.mark.slow
        ),
        pytest.param("import r1lab.run.journal as owner; at_call(owner, 'write_samples', 2)", marks=pytest.mark.slow),
    ],
    ids=["while a world answers", "while a world is asked", "behind the journal"],
)
def test_a_run_killed_anywhere_and_resumed_is_the_straight_one(folder, straight, forked_in, death, tmp_path):
    out = tmp_path / "killed"
    code = f"import r1lab\n{death}\nr1lab.train({str(folder / 'recipe.yaml')!r}, 'out={out}')"
    process = forked_in(folder, code)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    time.sleep(0.2)
    r1lab.train(str(folder / "recipe.yaml"), f"out={out}")
    assert metrics_of(out) == metrics_of(straight)
    weights = [(each / "model" / "model.safetensors").read_bytes() for each in (out, straight)]
    assert weights[0] == weights[1]
