"""The pages are true: links lead somewhere, Python and cheap commands run as written, recipes resolve.

A block in `py` or `sh` is not run (it needs a model that took minutes, or vLLM); so are the commands of NOT_RUN.
"""

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

from r1lab.cli import main as cli
from r1lab.objective import advantage, build, presets
from r1lab.objective.term import Term
from r1lab.recipe import load
from r1lab.recipe.explain import explain

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "",
    ".github",
    "r1lab",
    "r1lab/engines",
    "r1lab/environments",
    "r1lab/objective",
    "verifiers",
    "sandbox",
    "data",
    "experiments",
)
RESULTS = sorted((ROOT / "experiments" / "results").glob("*/README.md"))
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [*(page for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md"))), *RESULTS]
}
NOT_RUN = {
    "quickstart": "minutes; .ci/run starts it from the wheel",
    "train": "minutes; the recipe and its overrides are resolved, and --dry-run runs",
    "compare": "minutes; tests/comparison runs small ones, and the recipes are resolved",
    "probe": "needs a model of a run, or minutes; tests/evaluation runs small ones",
    "eval": "needs a set from the hub, a model or a server; tests/evaluation runs small ones",
    "report": "needs a finished run; tests/report makes one",
    "models": "downloads a wheel",
    "push": "needs the hub",
    "serve": "needs vLLM",
    "doctor": "takes half a minute; tests/doctor runs it",
}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)


def commands(pages=PAGES) -> list[list[str]]:
    """The arguments of every `r1lab` command that stands on a line of its own, comments taken away."""
    lines = [line for page in pages for line in re.findall(r"^    r1lab (.+)$", PAGES[page], re.MULTILINE)]
    return [list(given) for given in dict.fromkeys(tuple(shlex.split(line, comments=True)) for line in lines)]


def command_of(arguments: list[str]):
    """The command that the arguments name, and those that are left."""
    command, rest = typer.main.get_command(cli.app), list(arguments)
    while hasattr(command, "commands"):
        assert rest and rest[0] in command.commands, arguments
        command = command.commands[rest.pop(0)]
    return command, rest


def slug(heading: str) -> str:
    """A heading's anchor."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A folder with the files that the pages speak of."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "my.yaml").write_text(blocks("experiments/README.md", "yaml")[0])
    (folder / "cases.jsonl").write_text(blocks("verifiers/README.md", "json")[0])
    (folder / "grpo.yaml").write_text("{model_name_or_path: org/model, num_generations: 8, max_steps: 100, beta: 0.04}")
    program = "```python\na, b = map(int, input().split())\nprint(a + b)\n```"
    answer = {"inputs": ["3 4\n"], "outputs": ["7"]}
    (folder / "programs.jsonl").write_text(json.dumps({"id": "a", "completion": program, "answer": answer}) + "\n")
    task = {
        "task_id": 1, "text": "Write a function to add two numbers.", "code": "def add(a, b):\n    return a + b",
        "test_list": ["assert add(2, 3) == 5"], "test_setup_code": "",
    }  # fmt: skip
    (folder / "mbpp.jsonl").write_text(json.dumps(task) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(forked_in, prepared):
    """Runs commands one after the other in a process; what they printed."""

    def start(listed: list[list[str]]) -> str:
        code = f"from r1lab.cli import main as cli\nfor given in {listed!r}:\n"
        code += "    sys.argv = ['r1lab', *given]\n    try:\n        cli.main()\n    except SystemExit as end:\n"
        code += "        assert not end.code, given\n"
        process = forked_in(prepared, code)
        process.join(150)
        assert process.exitcode == 0, (prepared / "stderr").read_text()
        return (prepared / "stdout").read_text()

    return start


def test_the_first_page_has_exactly_two_set_up_commands_and_at_most_1300_words():
    commands = [line for line in PAGES["README.md"].splitlines() if line.startswith("    python3 -m venv")]
    assert len(commands) == 2
    assert commands[0].endswith("r1lab quickstart") and commands[1].endswith(".venv/bin/pytest -n 2 --dist worksteal")
    assert len(PAGES["README.md"].split()) <= 1300


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        path, _, anchor = target.partition("#")
        place = (ROOT / page).parent / path if path else ROOT / page
        if "://" not in target and not place.exists():
            broken.append(target)
        elif anchor and place.suffix == ".md" and "://" not in target:
            headings = re.findall(r"^#+ (.+)$", place.read_text(encoding="utf-8"), re.MULTILINE)
            broken += [target] * (anchor not in map(slug, headings))
    assert broken == []


def test_every_file_and_function_that_the_architecture_page_names_exists():
    named = re.findall(r"`([\w/]+\.py):(\w+)`", PAGES["r1lab/README.md"])
    texts = {path: file.read_text() for path, _ in named if (file := ROOT / "r1lab" / path).is_file()}
    missing = [f"{path}:{name}" for path, name in named
               if not re.search(rf"^ *def {name}\(", texts.get(path, ""), re.MULTILINE)]  # fmt: skip
    assert len(named) > 12 and missing == []


def test_every_test_that_a_page_names_exists():
    named = {name for text in PAGES.values() for name in re.findall(r"(?<![\w/])tests/[\w/.]*\w", text)}
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_tables_of_experiments_are_whole():
    folder = ROOT / "experiments"
    listed = set(re.findall(r"`?((?:recipes|results|examples|benchmarks)/[\w./]+)\)", PAGES["experiments/README.md"]))
    recipes = {f"recipes/{path.name}" for path in (folder / "recipes").glob("*.yaml")}
    pages = {f"results/{path.parent.name}/README.md" for path in RESULTS}
    examples = {f"examples/{path.name}" for path in (folder / "examples").glob("*.py")}
    assert recipes | pages | examples <= listed
    benchmarks = {path.name for path in (folder / "benchmarks").glob("*.py")} - {"bars.py"}
    assert [name for name in benchmarks if name not in PAGES["experiments/README.md"]] == []


def test_the_table_of_methods_is_that_of_the_presets():
    table = PAGES["r1lab/objective/README.md"].partition("## Presets")[2]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| ([^|]+) \| ([\d.e-]*) \| (.*) \|$", table, re.MULTILINE)
    assert [(name, formula, paper.strip(), note) for name, formula, paper, _, note in rows] == [
        (name, preset.formula.replace("|", r"\|"), preset.paper, preset.note)
        for name, preset in presets.PRESETS.items()
    ]
    for name, *_, deviation, _ in rows:
        assert 0 < float(deviation) <= 2e-4, name


def test_the_keys_that_others_terms_are_translated_to_exist():
    table = PAGES["README.md"].partition("## Coming from")[2].partition("\n\nEvery key")[0]
    keys = {key for row in table.splitlines() for key in re.findall(r"`([a-z_.]+)", row.rpartition(" | ")[2])}
    stage = load.resolve({"data": {"task": "addition"}, "steps": 1}).stages[0]
    known = {"server": "a value of engine.kind", "clip_high": "a key of objective", "mask": "a value of truncated"}
    for key in keys - set(known):
        head, _, rest = key.partition(".")
        assert head in type(stage).model_fields, key
        assert not rest or rest.partition(".")[0] in type(getattr(stage, head)).model_fields, key
    assert {"group_size", "max_new_tokens", "objective.kl.coef", "reuse"} <= keys


def test_the_recipes_of_all_pages_resolve():
    for page in PAGES:
        for text in blocks(page, "yaml"):
            load.resolve(load.parse_yaml(text, page))


def test_every_recipe_that_ships_resolves():
    assert {"quickstart_zero", "quickstart_sft_rl", "gsm8k_zero"} <= set(load.shipped_names())
    for name in load.shipped_names():
        load.resolve(*load.read(name))


def test_every_command_parses_and_its_recipes_and_overrides_are_real(prepared, monkeypatch):
    monkeypatch.chdir(prepared)
    listed = commands()
    assert len(listed) > 30
    for arguments in listed:
        command, rest = command_of(arguments)
        parsed = command.make_context(arguments[0], list(rest)).params  # a usage error names the page's mistake
        if parsed.get("explain"):
            explain(parsed["explain"])
        elif arguments[0] == "train":
            load.resolve(
                *load.read(parsed["recipe"], [each for each in parsed["overrides"] or () if each != "out=DIR"])
            )
        if parsed.get("recipe"):
            load.resolve(*load.read(parsed["recipe"]))


def test_every_option_within_a_sentence_exists():
    spans = [span for text in PAGES.values() for span in re.findall(r"`(?:\S*/)?r1lab ([a-z][^`]*)`", text)]
    assert spans
    for span in spans:
        command, rest = command_of(shlex.split(span, comments=True))
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= options, span


def test_the_cheap_commands_run_as_written(run, prepared):
    cheap = [given for given in commands() if given[0] not in NOT_RUN or {"--dry-run", "--explain"} & {*given}]
    cheap = [given for given in cheap if "code" not in given and "--from" not in given]  # which reads a run
    cheap = [given for given in cheap if given[0] != "train" or given[1] in ("my.yaml", "--explain")]
    assert {given[0] for given in cheap} == {"verify", "audit", "methods", "train", "convert"} and len(cheap) >= 8
    printed = run(cheap)
    assert "held_out" in printed and "grpo" in printed and "objective.kl: {estimator: k3_is, coef: 0.04}" in printed
    verdicts = [json.loads(line)["status"] for line in (prepared / "verdicts.jsonl").read_text().splitlines()]
    assert verdicts == ["correct", "wrong"] and (prepared / "audit.html").is_file()


@pytest.mark.sandbox
def test_the_commands_about_programs_run_as_written(run):
    listed = [given for given in commands(["verifiers/README.md"]) if "code" in given]
    assert [given[0] for given in listed] == ["verify", "audit"]
    assert '"status": "correct"' in run(listed)


def test_the_python_of_the_first_page_runs_as_written(forked_in, tmp_path):
    (code,) = blocks("README.md", "python")
    assert len(code.strip().splitlines()) <= 7
    process = forked_in(tmp_path, code)
    process.join(150)
    assert process.exitcode == 0, (tmp_path / "stderr").read_text()
    assert (tmp_path / "first" / "model" / "model.safetensors").is_file()
    assert len(json.loads((tmp_path / "stdout").read_text().splitlines()[-2])) == 3


def test_a_verifier_of_ones_own_runs_as_written(forked_in, tmp_path):
    checks, learn, *_ = blocks("verifiers/README.md", "python")
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


def test_the_verifiers_class_and_the_one_without_the_lab_run_as_written(capsys):
    *_, brief, alone = blocks("verifiers/README.md", "python")
    made = {"__name__": "brief"}
    sys.modules["brief"] = type(sys)("brief")  # a dataclass looks its module up
    try:
        exec(brief, made)
    finally:
        del sys.modules["brief"]
    item = made["Item"]
    assert [made["Brief"](words=2).verify(item(text, "")).status for text in ("", "a b", "a b c")] == [
        "no_answer", "correct", "wrong",
    ]  # fmt: skip
    exec(alone, {})
    assert capsys.readouterr().out == "1.0 correct 0.5\n"


def test_a_new_advantage_is_one_function_and_one_row(monkeypatch):
    function, row = blocks("r1lab/objective/README.md", "python")
    monkeypatch.setattr(advantage, "ADVANTAGES", dict(advantage.ADVANTAGES))
    monkeypatch.setattr("r1lab.objective.ADVANTAGES", advantage.ADVANTAGES)
    monkeypatch.setattr("r1lab.objective.PRESETS", dict(presets.PRESETS))
    exec(function, {"np": np, "Term": Term, "ADVANTAGES": advantage.ADVANTAGES})
    exec(row, {"PRESETS": sys.modules["r1lab.objective"].PRESETS, "Preset": presets.Preset})
    stage = load.resolve({"data": {"task": "addition"}, "steps": 1, "objective": {"preset": "median_grpo"}}).stages[0]
    built = build(stage.objective, max_new_tokens=8, group_size=4)
    assert built.advantage.fn(np.array([0.0, 0.0, 1.0, 9.0])).tolist() == [-0.5, -0.5, 0.5, 8.5]


def test_a_callable_without_an_importable_name_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match="at the top of a module beside your script"):
        load.path_of(lambda completion, answer: True)
