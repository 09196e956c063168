"""A recipe of a stranger ends in one line, whatever its text is."""

import pytest

from r1lab.errors import RecipeError
from r1lab.recipe import load

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize("text", [
    BOMB,
    BOMB.replace("[", "{k: [").replace("]", "]}"),
    "a: &a [*a]\n",
    "a: &a {b: *a}\n",
    "a: " + "[" * 5000 + "]" * 5000,
    "{" * 5000,
    "a: !!python/object/apply:os.system [id]\n",
    "a: &a !!binary x\n" + "b: " + "y" * 100_000 + ": z\n",
    "? " * 3000,
    "- " * 5000 + "x",
])  # fmt: skip
def test_a_hostile_text_ends_in_one_short_line(text):
    with pytest.raises(RecipeError) as caught:
        load.parse_yaml(text, "r.yaml")
    told = str(caught.value)
    assert told.startswith("r.yaml: not YAML: ") and "\n" not in told and len(told) < 800


def test_an_override_is_read_by_the_same_rules():
    with pytest.raises(RecipeError, match="override data: not YAML: aliases make more than"):
        load.read({}, ["data=" + "[&a [1,1,1,1,1,1,1,1,1,1], " + "&b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a], "
                       + "&c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b], &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c], "
                       + "&e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]]"])  # fmt: skip


@pytest.mark.parametrize(("text", "value"), [
    ("a: &a {b: 1}\nc: *a\nd: {<<: *a, e: 2}\n", {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}),
    ("", None),
    ("a: 1e-6\n", {"a": 1e-6}),
    ("- &x [1, 2]\n- *x\n- *x\n", [[1, 2]] * 3),
    ("a: " + str([1] * 20_000), {"a": [1] * 20_000}),
])  # fmt: skip
def test_aliases_within_reason_are_read(text, value):
    assert load.parse_yaml(text, "r.yaml") == value


def test_a_shown_recipe_has_no_secrets_of_addresses():
    plan = load.resolve({"data": {"path": "https://me:k3y@a.org/x.jsonl?token=k3y"}, "steps": 1})
    assert "k3y" not in load.dump(plan) and "https://a.org/x.jsonl?..." in load.dump(plan)
    assert next(iter(plan.stages[0].data.values())).path.endswith("token=k3y")
