from typing import Literal

import pytest

from r1lab.errors import RecipeError
from r1lab.objective.term import Term, call, lookup


def double(x, *, factor: float = 2.0, name: str = "d"):
    return factor * x


TABLE = {"double": Term(double, relative=True)}


def test_settings_are_bound_and_the_rest_of_the_row_stays():
    term = lookup(TABLE, {"use": "double", "factor": 3}, "here")
    assert term.fn(2) == 6 and term.relative and TABLE["double"].fn(2) == 4


def leveled(x, *, level: Literal["token", "seq_mean"] = "token"):
    return x


def test_a_level_above_the_token_couples_a_sequence():
    table = {"leveled": Term(leveled)}
    assert lookup(table, "leveled", "here").scope == "token"
    assert lookup(table, {"use": "leveled", "level": "seq_mean"}, "here").scope == "sequence"
    with pytest.raises(
        RecipeError, match=r"^here\.level: 'seq_sum' must be one of token, seq_mean; did you mean 'seq_mean'\?$"
    ):
        lookup(table, {"use": "leveled", "level": "seq_sum"}, "here")


def test_a_term_is_called_with_the_keywords_of_its_axis_and_those_it_takes():
    given = {"a": 1, "b": 2, "c": 3}
    assert call(Term(dict), given, "a") == {"a": 1}
    assert call(Term(dict, takes=("c",)), given, "a") == {"a": 1, "c": 3}


def test_of_the_recipes_defaults_a_function_takes_those_it_has_and_its_own_setting_wins():
    assert lookup(TABLE, "double", "here", factor=5.0, other=1).fn(2) == 10
    assert lookup(TABLE, {"use": "double", "factor": 3.0}, "here", factor=5.0).fn(2) == 6


@pytest.mark.parametrize("spec, says", [
    ("doubel", "here: 'doubel' is none of double .*did you mean 'double'"),
    ({"use": "double", "facter": 1}, "here: unknown setting 'facter'; allowed: factor, name"),
    ({"use": "double", "factor": "3"}, "here.factor: '3' must be a finite number"),
    ({"use": "double", "factor": float("nan")}, "here.factor: nan must be a finite number"),
    ({"use": "double", "factor": True}, "here.factor: True must be a finite number"),
    ({"use": "double", "name": 3}, "here.name: 3 must be str"),
    ({"factor": 3}, "here: .* must be a name, a dotted path"),
    (3, "here: 3 must be a name"),
    ("math:pi", "here: 'math:pi' is 3.14.*, which is no function"),
    ("no_such_module:f", "here: 'no_such_module:f' does not import: ModuleNotFoundError"),
    ("math:no_such", "does not import: AttributeError"),
    (":x", "does not import"), (".a:x", "does not import"),
])  # fmt: skip
def test_what_names_no_function_is_one_clear_line(spec, says):
    with pytest.raises(RecipeError, match=says) as error:
        lookup(TABLE, spec, "here")
    assert "\n" not in str(error.value)


def test_a_plug_in_whose_module_raises_is_one_clear_line(tmp_path, monkeypatch):
    (tmp_path / "broken_plugin.py").write_text("1 / 0\n")
    (tmp_path / "unwritten_plugin.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name, says in (("broken_plugin", "ZeroDivisionError: division by zero"), ("unwritten_plugin", "SyntaxError")):
        with pytest.raises(RecipeError, match=says):
            lookup(TABLE, f"{name}:f", "here")


def test_a_function_without_a_signature_has_no_settings():
    assert lookup(TABLE, "builtins:max", "here").fn(1, 2) == 2
