import sys

import pytest

from r1lab.errors import RecipeError
from r1lab.plugin import bind, find, importable, nearest, settings_of, split


def function(value, *, needed, factor: float = 2.0, size: int = 3, name: str = "n", anything=None):
    return factor * value


def test_a_name_and_a_mapping_are_name_and_settings():
    assert split("ppo", "w") == ("ppo", {}) and split({"use": "ppo", "dual": 3}, "w") == ("ppo", {"dual": 3})
    for wrong in (3, None, ["ppo"], {"dual": 3}, {"use": 3}):
        with pytest.raises(RecipeError, match=r"^w: .* must be a name, a dotted path"):
            split(wrong, "w")


def test_a_built_in_goes_before_a_dotted_path_and_what_is_neither_is_refused_with_the_nearest():
    assert find({"math:pi": 3, "mean": 1}, "math:pi", "w") == 3 and find({}, "math:pi", "w") > 3.1
    with pytest.raises(
        RecipeError, match=r"^w: 'maen' is none of mean and no dotted path module:name; did you mean 'mean'"
    ):
        find({"mean": 1}, "maen", "w")
    for wrong in (None, 3, ["mean"], {}):
        with pytest.raises(RecipeError, match=r"^w: .* must be a name or a dotted path"):
            find({"mean": 1}, wrong, "w")


def test_settings_are_keyword_only_parameters_with_a_default():
    assert settings_of(function) == {"factor": 2.0, "size": 3, "name": "n", "anything": None}
    assert settings_of(bind(function, {"factor": 3.0}, "w"))["factor"] == 3.0 and settings_of(max) == {}


@pytest.mark.parametrize(
    "settings", [{"factor": 3}, {"factor": 0.5}, {"size": 4}, {"name": "m"}, {"anything": [1]}, {}]
)
def test_a_setting_of_its_defaults_kind_is_bound(settings):
    assert bind(function, settings, "w")(2.0, needed=1) == 2.0 * settings.get("factor", 2.0)


@pytest.mark.parametrize("settings", [
    {"facto": 3}, {"needed": 3}, {"value": 1}, {"factor": "3"}, {"factor": True}, {"factor": float("inf")},
    {"size": 4.0}, {"size": False}, {"name": 3}, {3: 3},
])  # fmt: skip
def test_another_setting_is_refused(settings):
    with pytest.raises(RecipeError, match=r"^w(: unknown setting|\.\w+: .* must be )"):
        bind(function, settings, "w")


def test_folders_of_plug_ins_go_to_the_end_of_the_path_and_only_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", ["first"])
    importable(tmp_path, tmp_path)
    importable(tmp_path)
    assert sys.path == ["first", str(tmp_path)]


def test_the_nearest_name_has_the_same_letters_or_the_same_first_one():
    names = ["ppo", "grpo", "gspo", "gfpo"]
    assert [nearest(name, names) for name in ("gpro", "gppo", "gsspo", "pppo", "zzzz")] == [
        "grpo", "grpo", "gspo", "ppo", None,
    ]  # fmt: skip
