"""The README is true: its Python runs as written, its recipe resolves, its commands are the ones that exist."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from r1lab.objective import advantage, build, presets
from r1lab.objective.term import Term
from r1lab.recipe import ObjectiveConfig, load

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_it_has_exactly_two_set_up_commands():
    commands = [line for line in README.splitlines() if line.startswith("    python3 -m venv")]
    assert len(commands) == 2
    assert commands[0].endswith("r1lab quickstart") and commands[1].endswith(".venv/bin/pytest -n 2 --dist worksteal")


def test_the_loop_from_python_runs_as_written(forked_in, tmp_path):
    checks, learn = blocks("python")[:2]
    assert len(learn.strip().splitlines()) <= 13  # ten lines and the imports
    (tmp_path / "checks.py").write_text(checks)
    (tmp_path / "learn.py").write_text(learn)
    code = "sys.path.insert(0, '.')\nsys.argv = ['learn.py']\nrunpy.run_path('learn.py', run_name='__main__')"
    process = forked_in(tmp_path, code)
    process.join(150)
    assert process.exitcode == 0, (tmp_path / "stderr").read_text()
    model, rewards = (tmp_path / "stdout").read_text().split(" ", 1)
    assert (tmp_path / model / "model.safetensors").is_file()
    assert all(0 < float(reward) < 1 for reward in rewards.strip(" []\n").split(","))


def test_a_callable_without_an_importable_name_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match="at the top of a module beside your script"):
        load.path_of(lambda completion, answer: True)


def test_the_recipe_resolves():
    for text in blocks("yaml"):
        load.resolve(load.parse_yaml(text, "README"))


def test_every_recipe_that_ships_resolves():
    assert {"quickstart_zero", "quickstart_sft_rl", "gsm8k_zero"} <= set(load.shipped_names())
    for name in load.shipped_names():
        load.resolve(*load.read(name))


def test_a_new_advantage_is_one_function_and_one_row(monkeypatch):
    function, row = blocks("python")[2:]
    monkeypatch.setattr(advantage, "ADVANTAGES", dict(advantage.ADVANTAGES))
    monkeypatch.setattr("r1lab.objective.ADVANTAGES", advantage.ADVANTAGES)
    monkeypatch.setattr("r1lab.objective.PRESETS", dict(presets.PRESETS))
    exec(function, {"np": np, "Term": Term, "ADVANTAGES": advantage.ADVANTAGES})
    exec(row, {"PRESETS": sys.modules["r1lab.objective"].PRESETS, "Preset": presets.Preset})
    built = build(ObjectiveConfig(preset="median_grpo"), max_new_tokens=8, group_size=4)
    assert built.advantage.fn(np.array([0.0, 0.0, 1.0, 9.0])).tolist() == [-0.5, -0.5, 0.5, 8.5]


def test_the_commands_of_verify_and_audit_run_as_written(forked_in, tmp_path):
    section = README.partition("## Verify and audit")[2].partition("\n## ")[0]
    (tmp_path / "cases.jsonl").write_text(blocks("json")[0])
    commands = re.findall(r"^    r1lab (.*?)\s+#", section, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["verify", "audit", "audit", "audit"]
    for command in commands:
        process = forked_in(
            tmp_path, f"sys.argv = {['r1lab', *command.split()]!r}\nfrom r1lab.cli import main as cli\ncli.main()"
        )
        process.join(60)
        assert process.exitcode == 0, (tmp_path / "stderr").read_text()
    verdicts = [json.loads(line)["status"] for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    assert verdicts == ["correct", "wrong"] and (tmp_path / "audit.html").is_file()


def test_the_table_of_methods_is_that_of_the_presets():
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| ([^|]+) \|$", README, re.MULTILINE)
    assert rows == [
        (name, preset.formula.replace("|", r"\|") + " (refused)" * bool(preset.missing), preset.paper)
        for name, preset in presets.PRESETS.items()
    ]
