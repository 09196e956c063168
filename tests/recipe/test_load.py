"""From YAML and overrides to complete stages; whatever is wrong is a RecipeError of one line."""

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from r1lab.errors import RecipeError
from r1lab.recipe import RlStageConfig, SftStageConfig
from r1lab.recipe.base import Kind, select
from r1lab.recipe.load import dump, parse_yaml, path_of, read, resolve, shipped, shipped_names

ONE = {"data": {"task": "addition"}, "steps": 2}
TWO = {
    "data": {"task": "addition"}, "learning_rate": 1e-5, "group_size": 4,
    "stages": [{"kind": "sft", "epochs": 2}, {"name": "reason", "steps": 3, "learning_rate": 1e-6}],
}  # fmt: skip


def plan(raw, *overrides):
    return resolve(*read(raw, overrides))


def refused(says, raw, *overrides):
    with pytest.raises(RecipeError, match=says) as error:
        plan(raw, *overrides)
    assert "\n" not in str(error.value)


def test_a_recipe_without_stages_is_one_stage():
    made = plan(ONE)
    assert (made.name, made.seed, made.out, len(made.stages)) == ("run", 0, None, 1)
    assert isinstance(made.stages[0], RlStageConfig) and made.stages[0].name == "rl"
    assert isinstance(plan({**ONE, "kind": "sft"}).stages[0], SftStageConfig)


def test_a_key_at_the_top_is_the_default_of_every_stage_that_has_it_and_the_stages_own_wins():
    sft, rl = plan(TWO).stages
    assert (sft.name, sft.learning_rate, sft.epochs) == ("sft", 1e-5, 2)
    assert (rl.name, rl.learning_rate, rl.group_size) == ("reason", 1e-6, 4)
    assert (sft.objective.preset, rl.objective.preset) == ("sft", "default")


def test_a_key_that_no_stage_here_has_is_refused_in_a_recipe_of_one():
    refused("group_size: unknown key", {**ONE, "kind": "sft", "group_size": 4})


@pytest.mark.parametrize("key, nearest", [("learning_rat", "learning_rate"), ("group_sise", "group_size"),
                                          ("stag", "stages"), ("optimiser", "optimizer")])  # fmt: skip
def test_an_unknown_key_comes_with_the_nearest_one(key, nearest):
    refused(f"^{key}: unknown key; did you mean '{nearest}'", ONE, f"{key}=1")


@pytest.mark.parametrize("override, says", [
    ("optimizer.beta3=1", r"optimizer\.beta3: unknown key; did you mean 'beta"),
    ("data.tusk=1", "tusk: unknown key"),
    ("eval.sets.test.tsk=addition", r"eval\.sets\.test\.tsk: unknown key; did you mean 'task'"),
    ("stop.max_token=5", "did you mean 'max_tokens'"),
    ("objective.advantages=mean", "did you mean 'advantage'"),
    ("objective.weight.polciy=ppo", r"objective\.weight\.polciy: unknown key; did you mean 'policy'"),
    ("objective.weight.context=one", "objective.weight.context: unknown key; known: policy, demo, prefix, pair"),
    ("prompts_per_step=0", "prompts_per_step: .*greater than 0, got 0"),
    ("group_size=-3", "group_size: .*greater than 0, got -3"),
    ("group_size=two", "group_size: .*got 'two'"),
    ("learning_rate=fast", "learning_rate: .*got 'fast'"),
    ("kind=dpo", "kind: 'dpo' must be one of sft, rl"),
    ("kind=[rl]", r"kind: \['rl'\] must be one of sft, rl"),
    ("seed=-1", "seed: -1 must be a whole number"),
    ("seed=true", "seed: True must be a whole number"),
    ("name=a/b", "name: 'a/b' must be letters"),
    ("out=5", "out: 5 must be a folder"),
    ("steps=null", "steps: missing in stage 'rl'; say how many, or set stop.max_tokens"),
    ("data=null", "data"),
    ("stages=[]", "stages: must be a list of mappings"),
    ("stages=5", "stages: must be a list of mappings"),
    ("learning_rate", "'learning_rate' is not key.path=value"),
    ("=5", "'=5' is not key.path=value"),
    ("steps.x=5", "'steps' is the value 2, nothing stands below it"),
    ("stop.patience=3", "`patience` and `metric` go together"),
    ("sampling.top_p=0.5", "allow_biased_sampling"),
    ("sampling.include_stop_str_in_output=true", "sampling.stop_after"),
    ("sampling={stop: [x, y], stop_after: [y]}", "sampling: 'y' stands under `stop`"),
    ("sampling={stop: ['']}", "sampling: a stop string is empty; leave it out"),
    ("sampling={stop_after: [a, '']}", "sampling: a stop string is empty; leave it out"),
])  # fmt: skip
def test_what_is_wrong_is_one_line_with_the_key_and_the_value(override, says):
    refused(says, ONE, override)


def test_overrides_reach_into_mappings_lists_and_stages_by_name():
    sft = ("stages.sft.steps=7", "stages.sft.epochs=null")
    made = plan(TWO, "stages.reason.learning_rate=2e-6", *sft, "optimizer.beta1=0.8", "out=x", "seed=5")
    assert (made.stages[1].learning_rate, made.stages[0].steps, made.seed, str(made.out)) == (2e-6, 7, 5, "x")
    assert [stage.optimizer.beta1 for stage in made.stages] == [0.8, 0.8]
    assert plan(TWO, "stages.1.group_size=3").stages[1].group_size == 3
    assert plan({**ONE, "data": [{"task": "addition"}]}, "data.0.size=9").stages[0].data["addition"].size == 9
    assert TWO["stages"][0] == {"kind": "sft", "epochs": 2}  # the recipe given is not written to


def test_an_override_reaches_what_the_only_stage_of_a_list_says_itself():
    raw = {
        "data": {"task": "linear"},
        "group_size": 4,
        "stages": [{"kind": "rl", "steps": 2, "data": {"task": "addition"}}],
    }
    (stage,) = plan(raw, "data.size=9", "steps=3", "group_size=2").stages
    assert (stage.data["addition"].size, stage.steps, stage.group_size) == (9, 3, 2)


def test_sft_goes_by_steps_or_by_epochs_and_the_stages_own_wins_over_the_other_at_the_top():
    refused("steps 7 and epochs 2 both say how long; set one to null", TWO, "stages.sft.steps=7")
    refused("epochs: must be a number greater than 0 or null, got 0", TWO, "stages.sft.epochs=0")
    by_epochs = plan({**TWO, "steps": 9}).stages[0]
    assert (by_epochs.steps, by_epochs.epochs) == (None, 2)
    by_steps = plan({**TWO, "epochs": 9, "stages": [{"kind": "sft", "steps": 3}]}).stages[0]
    assert (by_steps.steps, by_steps.epochs) == (3, None)


REJECT = {**ONE, "max_new_tokens": 16, "stages": [{"kind": "reject"}, {"kind": "sft", "data": {"stage": "reject"}}]}


def test_a_reject_stage_makes_no_model_so_the_next_stage_starts_where_it_started():
    reject, sft = plan(REJECT).stages
    assert (reject.kind, reject.from_, reject.keep.threshold, reject.keep.max_per_problem) == ("reject", None, 1.0, 4)
    assert sft.from_ is None and sft.data["data"].stage == "reject"
    names = [stage.from_ for stage in plan(REJECT, "stages=[{kind: sft}, {kind: reject}, {kind: rl}]").stages]
    assert names == [None, "sft", "sft"]


@pytest.mark.parametrize(("override", "says"), [
    ("stages.sft.from=reject", "from: 'reject' is a reject stage, which makes a dataset and no model; leave"),
    ("stages.sft.data.stage=samples", "^data.stage: 'samples' is no earlier reject or judge stage of .sft. .reject."),
    ("stages.reject.data={stage: sft}", "'sft' is no earlier reject or judge stage of .reject. .there is none."),
    ("stages.sft.data.path=x", "this one has path .x., stage .reject."),
    ("stages.sft.data.split=eval", "what a stage makes is known"),
    ("stages.sft.eval={sets: {test: {stage: reject}}}", "eval.sets.test.stage: 'reject' is training data"),
    ("stages.reject.learning_rate=1e-3", "learning_rate: unknown key"),
    ("stages.reject.keep={language: english}", "language 'english' is not known; use one of en, de,"),
    ("stages.reject.keep={min_tokens: 9, max_tokens: 3}", "max_tokens 3 is below min_tokens 9"),
    ("stages.reject.keep={threshold: 2}", "keep.threshold: must be a number >= 0 and <= 1, got 2"),
    ("stages.reject.stop={max_hours: 1}", "a reject stage ends by steps, max_tokens or max_flops"),
    ("stages.sft.kind=eva", "kind: 'eva' must be one of sft, rl, reject"),
])  # fmt: skip
def test_what_is_wrong_with_a_reject_stage_or_its_reader_is_one_line(override, says):
    refused(says, REJECT, override)


@pytest.mark.parametrize("override", ["steps=5", "learning_rate=1e-3"])
def test_an_override_that_several_stages_could_mean_is_refused_with_the_key_to_use(override):
    refused(f"ambiguous in a recipe of stages sft, reason; use stages.reason.{override}", TWO, override)


@pytest.mark.parametrize("override, says", [("stages.rl.steps=1", "'rl' is not there; use one of sft, reason"),
                                            ("stages.7.steps=1", "'7' is not there"),
                                            ("stages.²=1", "'²' is not there")])  # fmt: skip
def test_a_stage_that_is_not_there_is_refused(override, says):
    refused(says, TWO, override)


def test_stages_have_names_of_their_own_and_start_from_earlier_ones():
    twice = {**ONE, "stages": [{}, {}]}
    refused("two stages are named 'rl'", twice)
    refused("from: 'b' is no earlier stage of 'a'", {**ONE, "stages": [{"name": "a", "from": "b"}, {"name": "b"}]})
    refused("stage name 'a/b' must be", {**ONE, "stages": [{"name": "a/b"}]})
    refused(r"stage name '\.\.' must be", {**ONE, "stages": [{"name": ".."}]})
    assert plan({**ONE, "stages": [{"name": "a"}, {"name": "b", "from": "a"}]}).stages[1].from_ == "a"


def test_a_stage_starts_from_the_one_before_unless_it_says_otherwise():
    first, second = plan({**TWO, "model": "org/base"}).stages
    assert (first.from_, first.model, second.from_) == (None, "org/base", "sft")
    other = plan(TWO, "stages.reason.model=org/base").stages[1]
    assert (other.from_, other.model) == (None, "org/base")
    named = plan(TWO, "stages.reason={steps: 1, from: sft, model: org/base}").stages[1]
    assert named.from_ == "sft"  # what both say: `from` wins, so that a resolved recipe resolves to itself


def test_small_floats_are_numbers_and_a_key_written_twice_is_refused():
    read_back = parse_yaml("a: 1e-6\nb: 1.e3\nc: -.5E-2\nd: 1e+3\ne: e5\nf: 3\ng: 1.5\nh: 0x10", "here")
    assert read_back == {"a": 1e-6, "b": 1e3, "c": -5e-3, "d": 1e3, "e": "e5", "f": 3, "g": 1.5, "h": 16}
    with pytest.raises(RecipeError, match=r"^here: not YAML: key 'a' stands twice .*line 1"):
        parse_yaml("a: 1\nb: 2\na: 3", "here")
    with pytest.raises(RecipeError, match="key 'x' stands twice"):
        parse_yaml("data: {x: 1, x: 2}", "here")
    with pytest.raises(RecipeError, match="key 'x' stands twice"):
        parse_yaml("a: &a {y: 1}\nb: {<<: *a, x: 1, x: 2}", "here")


def test_an_anchor_is_merged_and_what_stands_beside_it_wins():
    read_back = parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: *a}", "here")
    assert read_back == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}


@pytest.mark.parametrize("text", ["a: [", "\t", "a: b: c", "!!python/object:os.system x", "!!timestamp x", "!!int ''",
                                  "!!bool x", "[" * 2000, "? [a]\n: 1", "\x00", "&a [*b]"])  # fmt: skip
def test_what_is_no_yaml_is_one_line(text):
    with pytest.raises(RecipeError, match=r"^here: not YAML: [^\n]*$"):
        parse_yaml(text, "here")


def test_a_file_names_the_run_and_what_is_none_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(ONE))
    assert plan(path).name == "mine" and plan(path).base == tmp_path
    path.write_text("- 1")
    refused("holds list; a recipe is a mapping of keys", path)
    path.write_bytes(b"\xff\xfe\xff")
    refused("mine.yaml", path)
    refused("'nowhere' is no file and none that ships .*quickstart_zero", "nowhere")


@pytest.mark.parametrize("name", shipped_names())
def test_every_recipe_that_ships_resolves(name):
    assert shipped(name).stem == shipped(f"{name}.yaml").stem == plan(name).name == name


@pytest.mark.parametrize("raw", [
    ONE, TWO, {**ONE, "objective": {"preset": "dapo"}, "stop": {"max_flops": 1e15}}, {**TWO, "model": "org/base"},
    {**ONE, "stages": [{"name": "a", "model": "org/a"}, {"name": "b", "model": "org/b"}, {"name": "c", "from": "a"}]},
    {**ONE, "stages": [{"kind": "rl"}, {"kind": "eval", "eval": {"sets": {"held": {"task": "addition"}}}}]},
    {"kind": "reward_model", "data": {"task": "addition_pairs"}, "epochs": 1}, *shipped_names(),
])  # fmt: skip
def test_a_resolved_recipe_resolves_to_itself(raw):
    made = plan(raw)
    again = resolve(parse_yaml(dump(made), "dump"), made.base)
    assert [select(s, k) for s in again.stages for k in Kind] == [select(s, k) for s in made.stages for k in Kind]
    assert (again.name, again.seed, again.out) == (made.name, made.seed, made.out)


@pytest.mark.parametrize(("key", "value"), [("data", {"task": "addition"}), ("steps", 3), ("prompts_per_step", 7)])
def test_a_key_that_a_stage_has_not_is_refused_also_beside_what_a_run_says(key, value):
    (told,) = parse_yaml(dump(plan({"kind": "eval", "eval": {"sets": {"held": {"task": "addition"}}}})), "dump")[
        "stages"
    ]
    assert resolve({"stages": [told]}).stages[0].kind == "eval"
    refused(f"{key}: an eval stage has none", {"stages": [{**told, key: value}]})


def test_a_verifier_is_named_by_its_module_or_refused():
    assert path_of(yaml.safe_load).endswith("yaml:safe_load")
    with pytest.raises(RecipeError, match="cannot be imported by its name"):
        path_of(lambda completion, answer: 1.0)


PARTS = st.sampled_from([
    "stages", "0", "1", "-1", "²", "", "sft", "reason", "rl", "kind", "name", "seed", "out", "data", "task", "path",
    "eval", "addition", "columns", "sets", "objective", "kl", "coef", "group", "weight", "policy", "optimizer", "stop",
    "reward", "max_tokens", "score", "steps", "from", "learning_rate", "prompt", "examples", "engine", "verifier",
    "model", "x",
])  # fmt: skip
VALUES = st.one_of(
    st.sampled_from([
        "", "null", "1", "-1", "0", "1e-6", ".nan", ".inf", "true", "[]", "{}", "[1]", "{a: 1}", "[[a]]", "a", "rl",
        "{1: 2}", "[{kind: rl}]", "[{}]", "[null]", "&a [*a]", "!!set {a}", "2020-01-01", "{task: x}", "9" * 30,
        "[{task: addition}]", "{kind: [1]}", "{? [1] : 2}", "!!binary aGk=",
    ]),
    st.text(max_size=12),
)  # fmt: skip


@settings(max_examples=400, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from([ONE, TWO]), st.lists(st.tuples(st.lists(PARTS, min_size=1, max_size=4), VALUES), max_size=4))
def test_whatever_is_overridden_gives_a_plan_or_a_recipe_error_of_one_line(raw, changes):
    try:
        plan(raw, *(f"{'.'.join(path)}={value}" for path, value in changes))
    except RecipeError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(("name", "close"), [
    ("quickstart_zro", "quickstart_zero"), ("quickstart_zro.yaml", "quickstart_zero"), ("Zero", "zero"),
    ("./mine.yml", "mine.yaml"), ("recipes/mine.yaml", None), ("nothing-like-it", None),
    ("mien.yaml", "mine.yaml"),
])  # fmt: skip
def test_a_recipe_that_is_nowhere_is_told_of_with_the_nearest(tmp_path, monkeypatch, name, close):
    (tmp_path / "mine.yaml").write_text("steps: 1")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as error:
        read(name)
    assert str(error.value).endswith(f"zero_countdown){f'; did you mean {close!r}?' if close else ''}")


@pytest.mark.parametrize(("override", "close"), [
    ("stages.reason.from=stf", "sft"), ("stages.reson.steps=1", "reason"), ("stages.other.steps=1", None),
])  # fmt: skip
def test_the_name_of_a_stage_is_told_of_with_the_nearest(override, close):
    with pytest.raises(RecipeError) as error:
        plan(TWO, override)
    assert str(error.value).endswith(f"; did you mean {close!r}?" if close else "use one of sft, reason")
