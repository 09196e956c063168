import pytest
from typer.testing import CliRunner

from r1lab.cli import main as cli
from r1lab.errors import RecipeError
from r1lab.objective import explain
from r1lab.objective.presets import COMMON, OUT, PRESETS


def test_the_table_has_a_line_for_every_preset_in_order():
    table, _, out = explain.table().partition("\n\nnot here:\n")
    lines = table.splitlines()
    assert [line.split()[0] for line in out.splitlines()] == list(OUT) and not set(OUT) & set(PRESETS)
    assert [line.split()[0] for line in lines] == list(PRESETS)
    assert all(preset.paper in line and preset.formula in line for line, preset in zip(lines, PRESETS.values()))


@pytest.mark.parametrize("name", PRESETS)
def test_an_explanation_names_formula_paper_every_field_and_what_is_needed(name):
    text = explain.explain(name)
    assert PRESETS[name].paper in text and PRESETS[name].formula in text
    marked = {line.split(":")[0][2:] for line in text.splitlines() if line.startswith("* ")}
    default = {**COMMON, **PRESETS["default"].fields}
    assert marked == {key for key, value in {**COMMON, **PRESETS[name].fields}.items() if value != default[key]}
    assert all(f"  {key}: " in text or f"* {key}: " in text for key in COMMON)
    assert "head, which is chosen by itself" in text and "None" not in text and "METHODS" not in text


def test_needs_are_those_of_the_objective():
    assert "a reference model" in explain.explain("grpo") and "a reference model" not in explain.explain("dapo")
    assert "a value head" in explain.explain("ppo") and "two-phase head" in explain.explain("gspo")
    assert "a solution of every problem" in explain.explain("luffy") and "kind sft" in explain.explain("dft")
    assert "soft_overlong" in explain.explain("dapo")


def test_a_recipes_name_is_told_to_be_one():
    with pytest.raises(RecipeError, match="'rlhf' is a recipe, not a preset; r1lab train rlhf --dry-run"):
        explain.explain("rlhf")
    assert "a solution of every problem" in explain.explain("relift")


def test_a_method_that_is_not_here_says_why():
    assert "not here: mu of imitation and reinforcement learned" in explain.explain("amft")


def test_an_unknown_method_is_one_line_with_the_nearest():
    with pytest.raises(RecipeError, match=r"^methods: 'gpro' .*did you mean 'grpo'\?$"):
        explain.explain("gpro")


def test_the_command_prints_both():
    run = CliRunner().invoke
    assert run(cli.app, ["methods"]).stdout.strip() == explain.table()
    assert run(cli.app, ["methods", "grpo"]).stdout.strip() == explain.explain("grpo")
