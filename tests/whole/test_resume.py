"""A run killed anywhere and resumed is the unbroken run, bit for bit.

Every run is a process of its own. Scenarios patch one function to die with SIGKILL, as the kernel would.
"""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

RECIPE = {
    "name": "killed",
    "data": {"task": "addition", "size": 64, "settings": {"digits": 2}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 32,
    "learning_rate": 3e-4,
    "threads": 1,
    "workers": {"count": 1},
    "checkpoint_every": 2,
    "prompts_per_step": 4,
    "updates_per_step": 2,
    "stages": [
        {"kind": "sft", "steps": 2},
        {
            "kind": "rl",
            "steps": 4,
            "group_size": 4,
            "objective": {"preset": "grpo", "group": {"select": "drop_zero_variance", "refill": {"max_draws": 2}}},
            "eval": {"every": 2, "sets": {"test": {"task": "addition", "split": "eval", "size": 8}}},
        },
    ],
}

RUN = """
from r1lab import loop, pipeline
from r1lab.policy import policy
from r1lab.recipe import load as recipe_file
from r1lab.evaluation import model_completer, runner
from r1lab.run import checkpoint, files, progress, journal as tables
from r1lab.stages import train

{death}
pipeline.train(recipe_file.resolve({recipe!r}), progress.Progress(quiet=True))
"""

DEATHS = {
    "at a step boundary": "at_call(loop, 'record', 5, before=False)",
    "between rollout and update": "at_call(loop, 'learn', 4)",
    "while old log-probabilities are scored": "at_call(policy.Policy, 'scores', 2)",
    "while the reference scores": "at_call(policy.Policy, 'score', 5)",
    "while samples are written": "at_call(tables, 'write_samples', 5, before=False)",
    "between two updates of a block": "at_call(policy.Policy, 'update', 8)",
    "while a checkpoint is written": "at_call(files, '_sync_tree', 4)",
    "after a checkpoint, before the old one goes": "at_call(checkpoint, 'prune', 3)",
    "while a table is written": "at_call(tables, '_rollout_columns', 4, before=False)",
    "while the rename of a table is due": "at_call(files.os, 'replace', 9)",
    "during an evaluation": "at_call(runner, 'write_rows', 3)",
    "while a stage is handed on": "at_call(train, 'hand_on', 1)",
    "before the final model": "at_call(pipeline.shutil, 'copytree', 1)",
}
CHAINS = {
    "in seven places": {
        "while a stage is handed on": "at_call(train, 'hand_on', 1)",
        "between rollout and update": "at_call(loop, 'learn', 2)",
        "while the reference scores": "at_call(policy.Policy, 'score', 2)",
        "between two updates of a block": "at_call(policy.Policy, 'update', 6)",
        "during an evaluation": "at_call(runner, 'write_rows', 1)",
        "while a checkpoint is written": "at_call(files, '_sync_tree', 1)",
        "before the final model": "at_call(pipeline.shutil, 'copytree', 1)",
    },
    "in the other six": {
        "while a table is written": "at_call(tables, '_rollout_columns', 4, before=False)",
        "while samples are written": "at_call(tables, 'write_samples', 1, before=False)",
        "while old log-probabilities are scored": "at_call(policy.Policy, 'scores', 2)",
        "at a step boundary": "at_call(loop, 'record', 2, before=False)",
        "while the rename of a table is due": "at_call(files.os, 'replace', 3)",
        "after a checkpoint, before the old one goes": "at_call(checkpoint, 'prune', 1)",
    },
}
"""The same places one after the other, each in the process that resumed what the one before left: calls are its own."""
SETS = {
    "test": {"task": "addition", "split": "eval", "size": 8},
    "more": {"task": "addition", "split": "eval", "size": 5},
}
EVALUATED_OFTEN = [
    {**RECIPE["stages"][0], "eval": {"at_start": False, "sets": {"test": SETS["test"]}}},
    {**RECIPE["stages"][1], "eval": {"every": 3, "at_start": False, "sets": SETS}},
]
SIGNALS = [
    ("in an evaluation", "at_call(model_completer, 'publish', 1, act=amid)", "sft", 2),
    ("in its second start", "at_call(model_completer, 'publish', 1, act=amid)", "sft", 2),
    ("in a later stage's second set", "at_call(model_completer, 'publish', 3, act=amid)", "rl", 3),
    ("before the evaluation, in the update", "at_call(policy.Policy, 'update', 1, act=signalled)", "rl", 4),
]
"""Where SIGTERM comes, each in the process that resumed what the one before left, and the step that is saved then."""
SIGNALLED = """
def signalled():
    os.kill(os.getpid(), signal.SIGTERM)
def amid():
    at_call(runner, "item_of", 3, act=signalled)
learn, learned = loop.learn, open(LEARNED, "a", buffering=1)
loop.learn = lambda *parts: (learned.write("update\\n"), learn(*parts))[1]
"""


@pytest.fixture(scope="module")
def start(forked):
    """Exit code of a process that runs the recipe in `out`, dying as told."""

    def run(out: Path, death: str = "", **changes) -> int:
        process = forked(RUN.format(death=death, recipe={**RECIPE, "out": str(out), **changes}))
        process.join()
        return process.exitcode

    return run


def figures(out: Path) -> list[dict]:
    """Rows of metrics.jsonl as text, times aside."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [json.dumps({key: value for key, value in row.items() if not key.startswith("time/")}) for row in rows]


def weights(out: Path) -> bytes:
    return (out / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def unbroken(start, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("unbroken") / "run"
    assert start(out) == 0
    return out


@pytest.mark.slow  # a chain of deaths that ends in the unbroken run's bytes holds it too
def test_the_same_recipe_twice_gives_the_same_bytes(start, unbroken, tmp_path):
    assert start(tmp_path / "run") == 0
    assert figures(tmp_path / "run") == figures(unbroken)
    assert weights(tmp_path / "run") == weights(unbroken)


@pytest.mark.slow
def test_another_seed_gives_other_figures(start, unbroken, tmp_path):
    assert start(tmp_path / "run", seed=1) == 0
    assert figures(tmp_path / "run") != figures(unbroken)


def check(out: Path, unbroken: Path) -> None:
    assert figures(out) == figures(unbroken)
    assert weights(out) == weights(unbroken)
    assert not [path for path in out.rglob("*") if path.name.endswith(".partial")]


@pytest.mark.parametrize("chain", ["in seven places", pytest.param("in the other six", marks=pytest.mark.slow)])
def test_killed_and_resumed_again_and_again_equals_unbroken(start, unbroken, tmp_path, chain):
    for place, death in CHAINS[chain].items():
        assert start(tmp_path / "run", death) == -9, f"{place}: the scenario must have killed the run"
    assert start(tmp_path / "run") == 0
    check(tmp_path / "run", unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("death", DEATHS)
def test_killed_once_and_resumed_equals_unbroken(start, unbroken, tmp_path, death):
    assert start(tmp_path / "run", DEATHS[death]) == -9, "the scenario must have killed the run"
    assert start(tmp_path / "run") == 0
    check(tmp_path / "run", unbroken)


def test_every_place_stands_in_one_chain():
    assert sorted(place for chain in CHAINS.values() for place in chain) == sorted(DEATHS)


def tables(out: Path) -> dict[str, list]:
    """Who was drawn, what was sampled and what it was worth, of every table of rollouts and evaluations."""
    columns = ["problem_id", "index", "completion_ids", "text", "finish", "score", "status"]
    paths = sorted([*(out / "rollouts").iterdir(), *(out / "eval").glob("*/completions.parquet")])
    return {str(path.relative_to(out)): pq.read_table(path, columns=columns).to_pylist() for path in paths}


def check_signalled(start, out: Path, unbroken: Path, signals, **changes) -> None:
    """No checkpoint is there but those that signals leave; no update is made twice, and nothing differs."""
    learned = out.with_name("learned")
    for place, when, stage, step in signals:
        code = SIGNALLED.replace("LEARNED", repr(str(learned))) + when
        assert start(out, code, checkpoint_every=50, **changes) == 1, place  # Stopped, which the command makes 143 of
        assert (out / "checkpoints" / f"{stage}-{step}").is_dir(), place
    assert start(out, SIGNALLED.replace("LEARNED", repr(str(learned))), checkpoint_every=50, **changes) == 0
    check(out, unbroken)
    assert tables(out) == tables(unbroken)
    assert learned.read_text().count("update") == 2 + 4
    resumed = json.loads((out / "manifest.json").read_text())["resumed_at"]
    assert [(each["stage"], each["step"]) for each in resumed] == [(stage, step) for *_, stage, step in signals]


def test_a_signal_amid_an_evaluation_repeats_no_update_and_changes_nothing(start, unbroken, tmp_path):
    signals = [("in an evaluation", "at_call(model_completer, 'publish', 2, act=amid)", "rl", 2)]
    check_signalled(start, tmp_path / "run", unbroken, signals)


@pytest.mark.slow
def test_signals_around_evaluations_repeat_no_update_and_change_nothing(start, tmp_path):
    assert start(tmp_path / "unbroken", stages=EVALUATED_OFTEN) == 0
    check_signalled(start, tmp_path / "run", tmp_path / "unbroken", SIGNALS, stages=EVALUATED_OFTEN)


@pytest.mark.slow
def test_raising_the_steps_of_a_finished_run_goes_on(start, unbroken, tmp_path):
    shorter = [RECIPE["stages"][0], {**RECIPE["stages"][1], "steps": 2}]
    assert start(tmp_path / "raised", stages=shorter) == 0
    assert weights(tmp_path / "raised") != weights(unbroken)
    assert start(tmp_path / "raised") == 0
    assert weights(tmp_path / "raised") == weights(unbroken)
    assert figures(tmp_path / "raised") == figures(unbroken)
