"""Pairs of runs that differ in one thing: it is named, with the place where it first shows."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest

import r1lab
from r1lab.errors import RecipeError, RunError
from r1lab.run import journal

ROWS = [{"id": f"p{n}", "question": f"{n}+{n + 1}", "answer": str(2 * n + 1)} for n in range(4)]
LENIENT, STRICT = "tests.comparison.part_verdicts:lenient", "tests.comparison.part_verdicts:strict"


def trained(folder, rows=ROWS, **knobs):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"path": str(folder / "rows.jsonl"), "columns": {"prompt": "question", "id": "id"}}
    recipe = {
        "name": "parted", "data": source, "verifier": LENIENT, "prompt": {"format": "Q: {prompt}\nA:"},
        "max_new_tokens": 8, "prompts_per_step": 2, "group_size": 4, "threads": 1, "workers": {"count": 1}, "steps": 2,
        "print_samples": 0, "learning_rate": 1e-3, "optimizer": {"warmup_updates": 0}, "objective": {"preset": "grpo"},
    }  # fmt: skip
    return r1lab.train({**recipe, **knobs}, f"out={folder / 'run'}").path


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("base"))


def parted(base, other):
    found = r1lab.diff(base, other)
    return found, found.parting and (found.parting.layer, found.parting.step, found.parting.draw)


def test_equal_runs_part_nowhere_and_a_longer_one_only_holds_more(base, tmp_path):
    found, place = parted(base, trained(tmp_path, steps=3))
    assert place is None and found.knobs == () and "the second holds 1 more" in found.text()
    assert "nothing parts in the 2 steps that both hold" in found.text()


KNOBS = {
    "learning rate": ({"learning_rate": 2e-3}, "rl.learning_rate: 0.001", ("update", 1, None), "update/learning"),
    "beta2": ({"optimizer": {"warmup_updates": 0, "beta2": 0.5, "weight_decay": 0.5}}, "optimizer.beta2",
              ("update", 1, None), "the weights after it differ, as step 2"),
    "temperature": ({"temperature": 0.8}, "stages.rl.temperature", ("sampling", 1, 0), "temperature: 1.0"),
    "length": ({"max_new_tokens": 7}, "stages.rl.max_new_tokens", ("sampling", 1, 0), "max_new_tokens: 8"),
    "group size": ({"group_size": 3}, "stages.rl.group_size", ("sampling", 1, 0), "group_size: 4"),
    "verifier": ({"verifier": STRICT}, "verifiers.", ("verdict", 1, 0), "status"),
    "reward": ({"reward": {"score": 2.0}}, "stages.rl.reward.score", ("reward", 1, 0), "parts"),
    "advantage": ({"objective": {"preset": "grpo", "advantage": "rloo"}}, "objective.advantage", ("advantage", 1, 0),
                  "advantage: "),
    "aggregate": ({"objective": {"preset": "grpo", "aggregate": "token_mean"}}, "objective.aggregate",
                  ("advantage", 1, 0), "scale: "),
    "KL": ({"objective": {"preset": "grpo", "kl": {"coef": 0.1, "where": "loss"}}}, "objective.kl", None, ""),
    "prompt": ({"prompt": {"format": "Q: {prompt} \nA:"}}, "prompt.format", ("data", 1, 0), "the problem's prompt"),
    "seed": ({"seed": 3}, "seed: 0", ("data", 1, 0), "the problem drawn"),
    "prompts": ({"prompts_per_step": 3}, "prompts_per_step", ("data", 1, 2), "the draw is only in the second"),
}  # fmt: skip


FAST = ("temperature", "verifier", "advantage", "learning rate", "prompts")
"""One of each layer."""


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in KNOBS])
def test_one_knob_is_named_with_its_layer(base, tmp_path, name):
    knobs, line, wanted, said = KNOBS[name]
    found, place = parted(base, trained(tmp_path, **knobs))
    assert any(line in each for each in found.knobs), found.knobs
    assert (place == wanted or wanted is None) and said in found.parting.what, found.text()


@pytest.mark.parametrize(
    ("row", "said"),
    [({"question": "0+9"}, "the problem's prompt: from its token"), ({"answer": "z"}, "the problem's answer")],
)
def test_one_row_of_data_is_named(base, tmp_path, row, said):
    rows = [{**each, **row} for each in ROWS]
    found, place = parted(base, trained(tmp_path, rows=rows))
    assert place[0] == "data" and said in found.parting.what and found.knobs[0].startswith("data.rl/data: ")


def copied(base, tmp_path):
    shutil.copytree(base, tmp_path / "copy")
    return tmp_path / "copy"


def tampered(path, change):
    """A table with its columns changed by a function of them, and a right checksum."""
    kind = journal.ROLLOUTS if path.parent.name == "rollouts" else journal.SAMPLES
    table = journal.read(path, kind, "")
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    journal.write(path, change(columns), {journal.KIND: kind})


def replaced(name, place, value):
    def change(columns):
        values = columns[name].to_pylist()
        values[place] = value(values[place])
        return columns | {name: pa.array(values, columns[name].type)}

    return change


def at(place, value):
    return lambda values: [*values[:place], value(values[place]), *values[place + 1 :]]


TAMPERED = {
    "a token": ("rollouts", "completion_ids", 5, at(2, lambda token: token + 1), ("sampling", 2, 3, 1, 2)),
    "a log-probability": (
        "rollouts", "engine_logprobs", 5, at(1, lambda value: float(np.float32(value - 1))),
        ("update", 1, None, None, None),
    ),
    "a verdict": ("rollouts", "status", 5, lambda status: "undecided", ("verdict", 2, 3, 1, None)),
    "what was read": ("rollouts", "extracted", 5, lambda text: "?", ("verdict", 2, 3, 1, None)),
    "a reward": ("rollouts", "reward", 5, lambda reward: 7.0, ("reward", 2, 3, 1, None)),
    "a decision": ("rollouts", "member", 5, lambda member: "?", ("advantage", 2, 3, 1, None)),
    "seconds": ("rollouts", "seconds", 5, lambda seconds: 9.0, None),
    "a prompt": ("rollouts", "prompt_ids", 5, at(1, lambda token: token + 1), ("data", 2, 3, 1, 1)),
    "a problem": ("rollouts", "problem_id", 5, lambda name: "q", ("data", 2, 3, 1, None)),
    "an advantage": ("samples", "advantage", 5, at(1, lambda value: value + 1), ("advantage", 2, None, None, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_one_value_of_a_table_is_found(base, tmp_path, name):
    folder, column, place, value, wanted = TAMPERED[name]
    copy = copied(base, tmp_path)
    tampered(copy / folder / "rl-2.parquet", replaced(column, place, value))
    parting = r1lab.diff(base, copy).parting
    if wanted is None:
        assert parting is None
        return
    layer, step, draw, index, token = wanted
    assert (parting.layer, parting.step, parting.token) == (layer, step, token), parting
    assert draw is None or (parting.draw, parting.index) == (draw, index)


def test_one_metric_of_an_update_is_found_and_evaluations_and_times_are_not(base, tmp_path):
    copy = copied(base, tmp_path)
    rows = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    rows[1] |= {"time/total": 99.0, "eval/x/avg": 1.0}
    (copy / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert r1lab.diff(base, copy).parting is None
    rows[1]["update/grad_norm"] += 1
    (copy / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = r1lab.diff(base, copy).parting
    assert (found.layer, found.step) == ("update", 2) and found.what.startswith("update/grad_norm: ")


def told(one, other):
    with pytest.raises((RecipeError, RunError)) as end:
        r1lab.diff(one, other)
    assert "\n" not in str(end.value)
    return str(end.value)


def changed_manifest(base, tmp_path, change):
    copy = copied(base, tmp_path)
    manifest = json.loads((copy / "manifest.json").read_text())
    change(manifest)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


def test_what_cannot_be_compared_is_one_line(base, tmp_path):
    assert "is no run's folder (no manifest.json)" in told(base, tmp_path)
    other = changed_manifest(base, tmp_path / "a", lambda m: m["identity"]["stages"]["rl"].update(model="other/model"))
    assert "runs of different models (embedded and other/model)" in told(base, other)
    old = changed_manifest(base, tmp_path / "b", lambda manifest: manifest.pop("verifiers"))
    assert "lacks 'verifiers': another version wrote it" in told(base, old)
    (old / "manifest.json").write_text("{")
    assert "not JSON" in told(base, old)


def test_tables_of_an_older_version_are_one_line(base, tmp_path):
    copy = copied(base, tmp_path)
    path = copy / "rollouts" / "rl-1.parquet"
    table = journal.read(path, journal.ROLLOUTS, "")
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    journal.write(path, columns, {journal.KIND: b"rollouts/1"})
    assert "is of kind rollouts/1, not rollouts/2; compare by the version that wrote it" in told(base, copy)
    journal.write(path, {k: v for k, v in columns.items() if k != "stop_after"}, {journal.KIND: journal.ROLLOUTS})
    assert "an older version of r1lab wrote this table, which lacks stop_after" in told(base, copy)
    path.write_bytes(b"no table")
    assert "is damaged, or was not written by r1lab" in told(base, copy)
