"""Recipes run and compared: resumed is unbroken, a failed run is named, mistakes are refused before anything runs."""

import json
from pathlib import Path

import pytest

import r1lab
from r1lab.comparison import jobs as launch
from r1lab.comparison import trials
from r1lab.comparison.compare import compare
from r1lab.errors import RecipeError, RunError
from r1lab.run import journal

RECIPE = {
    "name": "zero",
    "data": {"task": "addition", "size": 64, "settings": {"digits": 1}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 12,
    "learning_rate": 3e-4,
    "threads": 1,
    "workers": {"count": 1},
    "checkpoint_every": 1,
    "prompts_per_step": 4,
    "group_size": 2,
    "steps": 2,
    "eval": {"sets": {"test": {"task": "addition", "split": "eval", "size": 8, "settings": {"digits": 1}}}},
}
OTHER = RECIPE | {"name": "other", "learning_rate": 1e-3}

CODE = """
from r1lab import loop
from r1lab.comparison import page
from r1lab.comparison.compare import compare

page.draw = lambda found: []
{death}
compare({recipes!r}, seeds={seeds}, out={out!r}, **{more!r})
"""


@pytest.fixture
def start(forked):
    """Exit code of a process that compares the two recipes, dying as told."""

    def run(out: Path, seeds: int, death: str = "", **more) -> int:
        process = forked(CODE.format(death=death, recipes=[RECIPE, OTHER], seeds=seeds, out=str(out), more=more))
        process.join()
        return process.exitcode

    return run


def figures(out: Path) -> dict:
    """comparison.json, its seconds aside."""
    found = json.loads((out / "comparison.json").read_text())
    for each in found["regimes"].values():
        del each["seconds"]
    return found


@pytest.mark.parametrize("seeds", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_in_the_middle_and_resumed_gives_the_same_numbers(start, tmp_path, seeds):
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    assert start(unbroken, seeds) == 0
    assert start(killed, seeds, f"at_call(loop, 'learn', {4 * seeds})") == -9, "in the last step of the last run"
    assert not (killed / "comparison.json").exists()
    assert start(killed, seeds) == 0
    found = figures(unbroken)
    assert figures(killed) == found and found["one_seed"] == (seeds == 1)
    assert list(found["regimes"]["zero"]["runs"].values()) == [f"runs/zero-{seed}" for seed in range(seeds)]
    resumed = json.loads((killed / "runs" / f"other-{seeds - 1}" / "manifest.json").read_text())["resumed_at"]
    assert resumed == [{"stage": "rl", "step": 1}]


DECIDES = ("problem_id", "completion_ids", "engine_logprobs", "score", "status", "reason", "reward")
CROSSED = {"controls": "zero:random=0.5,zero:shuffled", "sweep": "learning_rate=1e-3,0.001,3e-4", "match": "problems"}


@pytest.mark.slow
def test_sweeps_and_controls_killed_in_the_middle_resume_bit_for_bit(start, tmp_path):
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    assert start(unbroken, 1, **CROSSED) == 0
    deaths = [start(killed, 1, f"at_call(loop, 'learn', {at})", **CROSSED) for at in (3, 4)]
    assert deaths == [-9] * 2 and not (killed / "comparison.json").exists()
    assert start(killed, 1, **CROSSED) == 0
    found = figures(unbroken)
    assert figures(killed) == found
    assert found["sweep"]["cells"]["zero"] == {
        "1e-3": "zero-learning_rate_1e-3", "0.001": "zero-learning_rate_1e-3", "3e-4": "zero-learning_rate_3e-4"
    }  # fmt: skip
    names = [f"{name}-learning_rate_{rate}" for name in ("zero", "other") for rate in ("1e-3", "3e-4")]
    kinds = [f"{name}-{kind}" for kind in ("random", "shuffled") for name in names[:2]]
    assert sorted(found["regimes"]) == sorted([*names, *kinds]), "runs of equal cells are shared"
    for run in (unbroken / "runs").iterdir():
        other = killed / run.relative_to(unbroken)
        for file in run.glob("model/*.safetensors"):
            assert file.read_bytes() == (other / file.relative_to(run)).read_bytes(), file
        for file in run.glob("rollouts/*"):
            tables = [journal.read_rows(each / "rollouts" / file.name, DECIDES) for each in (run, other)]
            assert tables[0] == tables[1] and tables[0][0].keys() == {*DECIDES}
        rows = [[{key: value for key, value in json.loads(line).items() if not key.startswith("time/")}
                 for line in (each / "metrics.jsonl").read_text().splitlines()]
                for each in (run, other)]  # fmt: skip
        assert rows[0] == rows[1]


def test_a_control_is_measured_run_and_read(tmp_path, monkeypatch):
    monkeypatch.setattr("r1lab.comparison.page.draw", lambda found: [])
    monkeypatch.setattr("r1lab.comparison.compare._base_rate", lambda arm, folder: 0.5)
    made = compare([RECIPE | {"steps": 1}], seeds=1, out=tmp_path / "out", controls="random")
    assert made.summary["controls"] == {"zero-random": "zero"}
    spent = made.summary["regimes"]["zero"]["spent"]
    assert (spent["problems"], spent["demonstrations"], spent["verdicts"]) == (4, 0, 8)
    assert spent["tokens"] == spent["sampled"] + spent["trained"] and spent["evaluated"] > 0
    read = compare(sorted((tmp_path / "out" / "runs").iterdir()), out=tmp_path / "read")
    assert read.summary["controls"] == {"zero-random": "zero"}


def test_a_base_model_that_is_never_right_has_no_random_control(tmp_path):
    with pytest.raises(RecipeError, match=r"zero had none of \d+ completions right, so chance would pay nothing"):
        compare([RECIPE | {"verifier": "exact"}], seeds=1, out=tmp_path, controls="random")


def test_demonstrations_and_their_tokens_are_counted_once(tmp_path):
    demos = {"kind": "sft", "name": "demos", "epochs": 3, "data": RECIPE["data"] | {"limit": 4}}
    recipe = {**RECIPE, "stages": [demos, {"kind": "rl", "steps": 1, "data": RECIPE["data"]}]}
    run = r1lab.train({key: value for key, value in recipe.items() if key not in ("data", "steps")}, f"out={tmp_path}")
    spent = trials.read([run.path])[0].spent()
    assert (spent["demonstrations"], spent["verdicts"]) == (4, 8) and 4 <= spent["problems"] <= 8
    assert spent["teacher_tokens"] * 3 < spent["trained"] + 1e-9 <= spent["teacher_tokens"] * 3 + spent["sampled"]


def test_a_failed_run_is_named_and_the_others_are_compared(tmp_path, monkeypatch):
    original = launch.pipeline.train

    def train(plan, progress):
        if plan.name == "other" and plan.seed == 1:
            raise RunError("the disk is full")
        return original(plan, progress)

    monkeypatch.setattr(launch.pipeline, "train", train)
    monkeypatch.setattr("r1lab.comparison.page.draw", lambda found: [])
    with pytest.raises(RunError, match="1 of 4 runs failed, as other, seed 1: the disk is full"):
        compare([RECIPE | {"steps": 1}, OTHER | {"steps": 1}], seeds=2, out=tmp_path / "out")
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    names = {each["name"] for each in found["contrasts"][0]["refused"]}
    assert {"failed", "seeds", "one_seed"} <= names and found["failed"] == {"other, seed 1": "the disk is full"}
    assert "other, seed 1 failed:" in (tmp_path / "out" / "report" / "index.html").read_text()


@pytest.mark.slow
def test_processes_at_once_give_the_numbers_of_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr("r1lab.comparison.page.draw", lambda found: [])
    made = [r1lab.compare([RECIPE, OTHER], seeds=1, out=tmp_path / str(jobs), jobs=jobs).path for jobs in (1, 2)]
    assert figures(made[0]) == figures(made[1])


MISTAKES = {
    "unknown recipe": (["quickstart_zero", "nowhere"], "recipe 'nowhere' is no file and none that ships"),
    "one recipe": (["quickstart_zero"], "only one regime, quickstart_zero"),
    "twice": (["quickstart_zero", "quickstart_zero"], "quickstart_zero, seed 0 stands twice"),
    "budgets that differ": (["quickstart_zero", "mawps_smollm2"], "budgets differ, so nothing could be ranked"),
    "unknown key": (["quickstart_zero", "quickstart_sft_rl", "learning_rat=1"], "did you mean 'learning_rate'?"),
    "the seed": (["quickstart_zero", "quickstart_sft_rl", "seed=3"], "use --seeds N and out=DIR"),
    "no seeds": (["quickstart_zero", "quickstart_sft_rl", "--seeds", "0"], "each must be at least 1"),
    "a model that is not there": (["quickstart_zero", "quickstart_sft_rl", "model=nowhere"], "quickstart_zero: "),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_nothing_is_run(command, tmp_path, mistake):
    arguments, says = MISTAKES[mistake]
    code, _, err = command("compare", *arguments, "out=there")
    assert code == 2 and says in err and err.count("\n") == 1
    assert not (tmp_path / "there").exists()


def test_a_folder_of_another_recipe_is_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("r1lab.comparison.page.draw", lambda found: [])
    compare([RECIPE | {"steps": 1}, OTHER | {"steps": 1}], seeds=1, out=tmp_path)
    changed = OTHER | {"steps": 1, "learning_rate": 0.5}
    with pytest.raises(ValueError, match=r"other: .*other-0 is the run of another recipe"):
        compare([RECIPE | {"steps": 1}, changed], seeds=2, out=tmp_path)
    assert not (tmp_path / "runs" / "zero-1").exists()


@pytest.mark.parametrize(("on", "says"), [
    ("tset", r"evaluation set 'tset' is not of all runs \(zero: test, other: test\); .* did you mean 'test'\?$"),
    ("colour", r"evaluation set 'colour' is not of all runs .* name one with --on$"),
])  # fmt: skip
def test_a_set_that_no_recipe_has_is_refused_before_anything_runs(tmp_path, monkeypatch, on, says):
    monkeypatch.setattr(launch, "run_all", lambda *_: pytest.fail("it ran"))
    with pytest.raises(RecipeError, match=says):
        compare([RECIPE, OTHER], seeds=1, out=tmp_path / "out", on=on)
    assert not (tmp_path / "out").exists()


def test_recipes_without_a_common_set_are_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "run_all", lambda *_: pytest.fail("it ran"))
    other = OTHER | {"eval": {"sets": {"held_out": RECIPE["eval"]["sets"]["test"]}}}
    with pytest.raises(RecipeError, match=r"no evaluation set is of all runs \(zero: test, other: held_out\)"):
        compare([RECIPE, other], seeds=1, out=tmp_path / "out")
