"""Recipes crossed with values and controls: which arms there are, what each runs, and which are refused."""

import pytest

from r1lab.comparison import arms
from r1lab.comparison.compare import compare
from r1lab.comparison.design import Design, Sweep
from r1lab.errors import RecipeError
from r1lab.recipe import load
from r1lab.recipe.base import FREE, RESULT, ROUNDING

ZERO = {"name": "zero", "data": {"task": "addition", "size": 64}, "steps": 2, "lora": None}
SFT = {"name": "sft", "stages": [{"kind": "sft", "name": "demos", "data": {"task": "addition", "size": 64}}]}
BOTH = {"name": "both", "stages": [*SFT["stages"], {"kind": "rl", "steps": 1, "data": {"task": "addition"}}]}
NOISY = ZERO | {"name": "noisy", "train_verifier": {"use": "noisy", "false_negative": 0.1}}


def swept(recipe, text, *overrides):
    return arms.swept(recipe, overrides, arms.sweep_argument(text))


@pytest.mark.parametrize(("key", "kind"), [
    ("data.limit", RESULT), ("data.size", RESULT), ("data.addition.limit", RESULT), ("learning_rate", RESULT),
    ("objective.preset", RESULT), ("optimizer.warmup_updates", RESULT), ("objective.kl.coef", RESULT),
    ("train_verifier.rate", RESULT), ("lora.rank", RESULT), ("stages.0.learning_rate", RESULT),
    ("stages.rl.data.limit", RESULT), ("steps", FREE), ("stop.max_tokens", FREE), ("eval.n", FREE),
    ("eval.sets.test.size", FREE), ("eval.keep_best", RESULT), ("threads", ROUNDING), ("micro_batch_tokens", ROUNDING),
    ("data.limits", None), ("learning_rat", None), ("stages.sft.data.limit", None), ("stages", None),
    ("objective.kl.ceof", None), ("seed", None),
])  # fmt: skip
def test_what_kind_of_knob_a_key_is(key, kind):
    assert arms.kind_at(load.resolve(ZERO), key) is kind


def test_a_recipe_at_every_value_and_one_without_the_key_once():
    made = [arm for recipe in (ZERO, SFT, BOTH) for arm in swept(recipe, "stages.demos.data.limit=8,32")]
    assert [(arm.name, arm.recipe, arm.value) for arm in made] == [
        ("zero", "zero", None), ("sft-limit_8", "sft", "8"), ("sft-limit_32", "sft", "32"),
        ("both-limit_8", "both", "8"), ("both-limit_32", "both", "32"),
    ]  # fmt: skip
    assert [arm.plan().stages[0].data["addition"].limit for arm in made] == [None, 8, 32, 8, 32]
    assert [arm.plan().name for arm in made] == [arm.name for arm in made]


def test_values_may_be_lists_and_mappings():
    made = swept(ZERO, "objective={preset: grpo, clip_low: 0.1},{preset: dapo}")
    assert [arm.name for arm in made] == ["zero-objective_preset_grpo_clip_low_0.1", "zero-objective_preset_dapo"]
    assert [arm.plan().stages[0].objective.preset for arm in made] == ["grpo", "dapo"]


@pytest.mark.parametrize(("text", "says"), [
    ("data.limit", "is not key=value,value"), ("data.limit=8", "is not key=value,value"), ("=1,2", "is not key="),
    ("data.limit=8,8", "is not key=value,value"), ("data.limit=8,", "is not key=value,value"),
    ("eval.n=1,2", r"--sweep eval.n is of the kind FREE \(leaves the bytes of the metrics as they are\); sweep a key"),
    ("threads=1,2", r"--sweep threads is of the kind ROUNDING \(the same"), ("data.limit=0,8", "data.*limit"),
    ("learning_rate=fast,slow", "learning_rate"),
])  # fmt: skip
def test_a_sweep_that_is_none_is_refused(text, says):
    with pytest.raises(RecipeError, match=says):
        swept(ZERO, text)


def test_a_key_that_no_recipe_has_is_refused():
    sweep = arms.sweep_argument("data.limmit=8,16")
    made = [arm for recipe in (ZERO, SFT) for arm in arms.swept(recipe, (), sweep)]
    with pytest.raises(RecipeError, match=r"--sweep data\.limmit: no recipe has this key; did you mean 'data\.limit'"):
        arms.refuse_unknown(sweep, made)


def test_cells_whose_runs_would_be_equal_are_one():
    sweep = arms.sweep_argument("data.limit=8,64,100")
    made = swept(ZERO, "data.limit=8,64,100")
    same = {"zero-limit_8": "a", "zero-limit_64": "b", "zero-limit_100": "b"}
    kept, found = arms.shared(made, same, sweep)
    assert [arm.name for arm in kept] == ["zero-limit_8", "zero-limit_64"]
    assert found.cells == {"zero": {"8": "zero-limit_8", "64": "zero-limit_64", "100": "zero-limit_64"}}
    with pytest.raises(RecipeError, match="all of 8, 64, 100 make the same runs"):
        arms.shared(made, dict.fromkeys(same, "a"), sweep)


def controls(recipes, text, rate_of=lambda arm: 0.25):
    made = [arm for recipe in recipes for arm in arms.swept(recipe, (), None)]
    return arms.controls_of(made, arms.controls_argument(text), rate_of)


def test_controls_replace_the_verdict_and_nothing_else():
    found = controls([ZERO, BOTH], "random,shuffled,format={use: regex, pattern: 'a,b'}")
    assert [(arm.name, arm.controls) for arm in found] == [
        (f"{name}-{kind}", name) for kind in ("random", "shuffled", "format") for name in ("zero", "both")
    ]
    told = [arm.plan().stages[-1].train_verifier for arm in found]
    assert told[0] == {"use": "control", "kind": "random", "rate": 0.25} and "of" not in told[2]
    assert told[4]["of"] == {"use": "regex", "pattern": "a,b"}
    plain, control = load.resolve(BOTH).stages, found[1].plan().stages
    assert plain[0] == control[0] and plain[1] == control[1].model_copy(update={"train_verifier": None})


def test_the_rate_is_measured_once_a_recipe_or_said():
    measured = []
    controls([ZERO, BOTH], "random", lambda arm: measured.append(arm.name) or 0.5)
    assert measured == ["zero", "both"]
    (only,) = controls([ZERO, SFT], "zero:random=0.1", lambda arm: pytest.fail("it was said"))
    assert only.plan().stages[0].train_verifier["rate"] == 0.1


@pytest.mark.parametrize(("recipes", "text", "says"), [
    ([SFT], "random", "sft only imitates (sft), so no verdict of it can be replaced; leave --controls out"),
    ([ZERO, SFT], "shuffled", "sft only imitates (sft), so no verdict of it can be replaced; name whose it is: "
     "--controls zero:shuffled"),
    ([ZERO], "radnom", "--controls 'radnom': give [RECIPE:]KIND[=VALUE], kinds random, shuffled, format; did you"),
    ([ZERO], "zerro:random", "no such recipe; of zero; did you mean 'zero'?"), ([ZERO], "format=", "give [RECIPE:]"),
    ([ZERO], "random=often", "random has a rate, a number from 0 to 1"), ([ZERO], ",", "give [RECIPE:]KIND"),
    ([NOISY], "random", "noisy has a train_verifier of its own"),
])  # fmt: skip
def test_controls_that_would_be_none_are_refused(recipes, text, says):
    with pytest.raises(RecipeError) as error:
        controls(recipes, text)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_pairs_are_those_of_a_value_and_of_a_control():
    cells = {"a": {"1": "a1", "2": "a2"}, "b": {"1": "b1", "2": "b2"}, "c": {"1": "c", "2": "c"}}
    design = Design({"a1-random": "a1"}, Sweep("key", cells))
    pairs = design.pairs(["a1", "a2", "b1", "b2", "c", "a1-random"])
    assert pairs == [("a1", "b1"), ("a1", "c"), ("b1", "c"), ("a2", "b2"), ("a2", "c"), ("b2", "c"),
                     ("a1", "a1-random")]  # fmt: skip
    assert Design({"r": "a"}).pairs(["a", "b", "r"]) == [("a", "b"), ("a", "r")]
    assert Design(sweep=Sweep("key", {"a": cells["a"]})).pairs(["a1", "a2"]) == [("a1", "a2")]


MISTAKES = {
    "controls of what only imitates": (["sft_only", "zero", "--controls", "random"], "sft_only only imitates (sft)"),
    "a key that is none": (["zero", "sft_then_rl", "--sweep", "data.limmit=1,2"], "no recipe has this key"),
    "a key that is no result": (["zero", "sft_then_rl", "--sweep", "eval.n=1,2"], "--sweep eval.n is of the kind FREE"),
    "a match that is none": (["zero", "sft_then_rl", "--match", "seconds"], "one of tokens, flops, problems"),
    "flops without a budget": (["zero", "sft_then_rl", "--match", "flops"], "set one for all: stop.max_flops=N"),
    "neither end nor best": (["zero", "sft_then_rl", "--by", "first"], "end or best"),
    "without a verifier": (["none.yaml", "--controls", "random=0.5"], "verifier: none for problem"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_nothing_is_run(command, tmp_path, mistake):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a?", "answer": "b"}\n')
    sets = "eval: {sets: {test: {task: addition, split: eval, size: 4}}}"
    (tmp_path / "none.yaml").write_text(f"data: {{path: {rows}}}\nsteps: 1\n{sets}\n")
    arguments, says = MISTAKES[mistake]
    code, _, err = command("compare", *arguments, "out=there")
    assert code == 2 and says in err and err.count("\n") == 1, err
    assert not (tmp_path / "there").exists()


def test_controls_of_folders_that_are_only_read_are_refused(folder_of_run):
    folders = [folder_of_run(name, 0, [0, 1]) for name in "ab"]
    for more in ({"controls": "random"}, {"sweep": "data.limit=1,2"}):
        with pytest.raises(RecipeError, match="changes nothing: folders of runs that are there are only read"):
            compare(folders, **more)
