"""What an older version of r1lab left is met in one line that names the keys and the remedy, not as another recipe."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from r1lab.comparison.trials import Trial
from r1lab.errors import RecipeError, RunError
from r1lab.recipe import load
from r1lab.records import Settled
from r1lab.run import checkpoint, journal
from r1lab.run import folder as run
from r1lab.run.manifest import identity, version_keys

RECIPE = {"name": "tiny", "data": {"task": "addition"}, "stages": [{"kind": "sft"}, {"kind": "rl", "steps": 4}]}


def opened(tmp_path: Path, *overrides: str):
    plan = load.resolve(*load.read({**RECIPE, "out": str(tmp_path / "r")}, overrides))
    return run.open_run(plan, {"addition": "d"}, verifier_versions={}, extra={})


@pytest.fixture
def older(tmp_path):
    """older(change) rewrites the manifest of a run as another version would have written it."""

    def change(edit) -> None:
        path = tmp_path / "r" / "manifest.json"
        if not path.exists():
            with opened(tmp_path):
                pass
        manifest = json.loads(path.read_text())
        edit(manifest)
        path.write_text(json.dumps(manifest))

    return change


def stages(manifest) -> dict:
    return manifest["identity"]["stages"]


EDITS = {
    "a knob": (lambda made: stages(made)["rl"]["sampling"].pop("stop_after"), "lacks stages.rl.sampling.stop_after;"),
    "knobs of both stages": (
        lambda made: [stage["sampling"].pop("stop_after") for stage in stages(made).values()],
        "lacks stages.sft.sampling.stop_after, stages.rl.sampling.stop_after;",
    ),
    "a group of knobs": (lambda made: stages(made)["rl"].pop("prompt"), "lacks stages.rl.prompt;"),
    "a knob of a source": (
        lambda made: stages(made)["rl"]["data"]["addition"].pop("weight"), "lacks stages.rl.data.addition.weight;",
    ),
    "a part of the manifest": (lambda made: made.pop("rounding"), "its manifest lacks rounding;"),
}  # fmt: skip


@pytest.mark.parametrize("what", EDITS)
def test_a_run_from_before_a_key_is_told_from_another_recipe(what, older, tmp_path):
    edit, told = EDITS[what]
    older(edit)
    with pytest.raises(RecipeError) as end, opened(tmp_path):
        pass
    said = str(end.value)
    assert "is the run of an older version of r1lab (" in said and told in said and "\n" not in said
    assert "go on with that version, or start anew with another out=" in said and "another recipe" not in said


def test_a_key_that_is_gone_since_makes_it_another_version(older, tmp_path):
    older(lambda made: stages(made)["rl"]["sampling"].update(beam=3))
    with pytest.raises(RecipeError, match=r"another version of r1lab .*: only it has stages\.rl\.sampling\.beam;"):
        opened(tmp_path).__enter__()


def test_what_differs_in_a_recipe_is_told_first_and_settings_are_no_keys_of_a_version(older, tmp_path):
    older(lambda made: stages(made)["rl"]["sampling"].pop("stop_after"))
    with pytest.raises(RecipeError, match=r"another recipe \(stages\.rl\.learning_rate: 0\.5 here") as end:
        opened(tmp_path, "stages.rl.learning_rate=0.5").__enter__()
    assert "stop_after" not in str(end.value)
    for one, other in (
        ("stages.rl.objective.kl={coef: 0.1}", "stages.rl.objective.kl={coef: 0.1, to_go: true}"),
        ("stages.rl.objective.preset=grpo", "stages.rl.objective.kl={coef: 0.1}"),
        ("stages.rl.lora={rank: 4}", "stages.rl.lora=null"),
        ("stages.rl.reward={score: 1.0}", "stages.rl.reward={score: 1.0, format: 0.5}"),
        ("stages.rl.data=[{task: addition}]", "stages.rl.data=[{task: addition}, {task: countdown}]"),
    ):
        plans = [load.resolve(*load.read(RECIPE, [each])) for each in (one, other)]
        assert version_keys(*(identity(plan, {}) for plan in plans)) == ([], [])


def test_the_same_recipe_goes_on(older, tmp_path):
    older(lambda made: None)
    with opened(tmp_path) as held:
        assert held.path == tmp_path / "r"


def test_a_table_without_a_column_says_so_and_names_no_problem(make_group, tmp_path):
    group = make_group([1.0, 0.0])
    path = tmp_path / "rl-1.parquet"
    journal.write_block(path, [Settled(group, group, "kept")])
    table = pq.read_table(path).drop_columns(["stop_after", "min_p"])
    journal.write(path, {name: table[name].combine_chunks() for name in table.column_names}, table.schema.metadata)
    with pytest.raises(RunError) as end:
        journal.read_block(path, {}.__getitem__)
    said = str(end.value)
    assert "older version of r1lab wrote this table, which lacks min_p, stop_after; go on with that version" in said
    assert "not in the data" not in said and "\n" not in said


class Kept:
    def __init__(self, **values):
        self.values = values

    def state_dict(self):
        return self.values

    def load_state_dict(self, state):
        self.values = {key: state[key] for key in self.values}


def test_a_checkpoint_without_a_part_of_a_state_is_one_line(tmp_path):
    checkpoint.save(tmp_path / "rl-1", {"feed": Kept(recent=1)})
    with pytest.raises(RunError, match="was made by another version: its feed lacks 'abstained'; remove the folder"):
        checkpoint.load(tmp_path / "rl-1", {"feed": Kept(recent=0, abstained=0)})


@pytest.mark.parametrize("theirs", [{"stop": []}, {"stop": [], "stop_after": []}, {}])
def test_stop_strings_that_an_older_run_did_not_know_are_none(theirs, tmp_path):
    stage = {"name": "rl", "kind": "rl", "sampling": theirs, "eval": {"sets": {"test": {}}}}
    trial = Trial("zero", 0, tmp_path, {"recipe": {"stages": [stage]}}, curves=None)
    assert trial._asked("rl", "test")["stop strings"] == "[[], []]"
