"""Options that several commands share, and what their texts mean. Not the commands (`r1lab.cli.main`)."""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r1lab.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from r1lab.recipe import SourceConfig, WorkersConfig
    from r1lab.recipe.load import Plan
    from r1lab.stages.check import Checked

NAMED = "A verifier's name, package.module:name, or {use: name, setting: value}"
DEADLINE_SECONDS, MEMORY_MB = 5.0, 2048
Verifier = Annotated[str, typer.Option(help=NAMED)]
VerifierOrTask = Annotated[str | None, typer.Option(help=f"{NAMED}; a task has its own")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the verifier; may be repeated")
]
Columns = Annotated[
    list[str] | None,
    typer.Option(metavar="ROLE=COLUMN", help="Which column is what: completion=prediction,answer=gold"),
]
HandOn = Annotated[bool, typer.Option("--trust-remote-code", help="Also code that the model brings along")]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that the model brings along")]
Where = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN=VALUE", help="Only rows with this value, or one of [a, b]; null: without one"),
]
WorkersOption = Annotated[int | None, typer.Option(help="Processes at once; as many as cores where not said")]
Deadline = Annotated[float, typer.Option(help="Seconds a check may take")]
Memory = Annotated[int, typer.Option(help="MiB of one process")]
Compared = Annotated[
    list[str], typer.Argument(metavar="RECIPE...", help="Recipes, or runs' folders; then key.path=value for all")
]
Controls = Annotated[
    str,
    typer.Option(metavar="[RECIPE:]KIND,...", help="Verdicts replaced in training: random, shuffled, format=VERIFIER"),
]
Sweep = Annotated[str | None, typer.Option(metavar="KEY=VALUE,...", help="Each recipe at each value of a key")]
Match = Annotated[str | None, typer.Option(help="What budgets are matched in: tokens, flops or problems")]
By = Annotated[str, typer.Option(help="Which evaluation of a run counts: end or best")]
TASK = "task:"


def debug() -> list[str]:
    """`--debug` for another process, where this one has it."""
    return ["--debug"] if "--debug" in sys.argv[1:] else []


def values(texts: list[str] | None, option: str) -> dict[str, Any]:
    """`key=value` each, the value YAML. RecipeError where it is not."""
    from r1lab.recipe.load import parse_yaml

    settings = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise RecipeError(f"{option} {text!r} is not key=value")
        settings[key] = parse_yaml(value, f"{option} {key}")
    return settings


def columns(texts: list[str] | None) -> dict[str, str | dict[str, str]]:
    """`role=column` each, several with commas between; `answer={a: column, ...}` is a mapping."""
    from r1lab.recipe.load import parse_yaml

    columns_by_role: dict[str, str | dict[str, str]] = {}
    for text in texts or []:
        # "a=b,c=d"; not "a={b: c, d: e}"
        for part in re.split(r",(?=\w+=)", text):
            role, equals, column = part.partition("=")
            if not equals or not role or not column:
                raise RecipeError(f"--columns {part!r} is not role=column, such as completion=prediction")
            # "{a: b}"; not "{a}: b"
            is_mapping = re.match(r"\{\s*\w+\s*:\s", column)
            columns_by_role[role] = parse_yaml(column, f"--columns {role}") if is_mapping else column
    return columns_by_role


def pool(count: int | None, deadline: float, memory_mb: int) -> "WorkersConfig":
    """RecipeError names the option whose value cannot be."""
    from pydantic import ValidationError

    from r1lab.recipe import WorkersConfig, messages

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    values = {"count": cores if count is None else count, "deadline": deadline, "memory_mb": memory_mb}
    try:
        return WorkersConfig(**values)
    except ValidationError as error:
        key, colon, text = messages.told(error, WorkersConfig, values).partition(": ")
        option = {"count": "--workers", "deadline": "--deadline", "memory_mb": "--memory-mb"}[key]
        raise RecipeError(f"{option}{colon}{text}") from None


def check_train(recipe: str, explain: str | None, options: dict[str, Any]) -> None:
    """RecipeError unless a recipe is named or `--explain` stands alone; `options` are the others by their names."""
    if explain is not None:
        refuse_said({"RECIPE": recipe, **options}, "is not read beside --explain KEY, which says what holds everywhere")
    elif not recipe:
        raise RecipeError("train: names no recipe; a YAML file, or one that ships (r1lab recipes)")
    elif not options["--dry-run"]:
        refuse_said({"--full": options["--full"]}, "goes with --dry-run, which prints the recipe")
        why = "goes with --dry-run, which counts memory; CUDA_VISIBLE_DEVICES chooses GPUs"
        refuse_said({"--device": options["--device"]}, why)


def check_audit(
    cases: Path | None,
    dataset: str | None,
    verifier: str | None,
    against: str | None,
    attacks: bool,
    of_dataset: dict[str, Any],
    of_rows: dict[str, Any],
) -> None:
    """RecipeError unless labelled rows and their verifier are asked for, golds, which are a dataset's, or attacks; also
    for what is said beside and would not be read. `of_dataset` are fields of a dataset's source, `of_rows` those that
    labelled rows have too."""
    named = as_options(of_dataset)
    if attacks:
        if cases is not None or against is not None:
            raise RecipeError("--attack makes its completions itself; leave CASES.jsonl and --against out")
        if dataset is None:
            picked = {f"--{name}": value for name, value in of_rows.items()}
            refuse_said({**named, **picked}, "goes with --dataset; --attack without one has problems of its own")
        if dataset is None and verifier is None:
            raise RecipeError("--verifier: give one (math, numeric, ...)")
        return
    if (cases is None) == (dataset is None):
        raise RecipeError("audit: give one of CASES.jsonl (labelled rows) and --dataset (problems with golds)")
    if dataset is not None and against is not None:
        raise RecipeError("--against goes with labelled rows, not with --dataset; audit the second one by itself")
    if dataset is None:
        refuse_said(named, "goes with --dataset; of labelled rows --where takes some")
    if dataset is None and verifier is None:
        raise RecipeError("--verifier: give one (math, numeric, ...)")


def as_options(values: dict[str, Any]) -> dict[str, Any]:
    """Values under the names of their options."""
    return {f"--{name.replace('_', '-')}": value for name, value in values.items()}


def refuse_said(options: dict[str, Any], why: str) -> None:
    """RecipeError that names the first of the options that has a value."""
    said = next((name for name, value in options.items() if value not in (None, "", False, {}, [])), None)
    if said is not None:
        raise RecipeError(f"{said}: {why}")


def source(dataset: str, **knobs: Any) -> "SourceConfig":
    """The data source that a dataset's path, hub id or `task:NAME` stands for."""
    from pydantic import ValidationError

    from r1lab.recipe import SourceConfig, messages

    is_task = dataset.startswith(TASK)
    place = {"task": dataset.removeprefix(TASK)} if is_task else {"path": dataset}
    knobs = {key: value for key, value in knobs.items() if value is not None}
    try:
        return SourceConfig(**place, **knobs)
    except ValidationError as error:
        raise RecipeError(f"--dataset: {messages.told(error, SourceConfig, place | knobs)}") from None


def recipes(texts: list[str]) -> tuple[list[str], list[str], str | None]:
    """Recipes, overrides and the folder `out=` of one list of arguments."""
    overrides = [text for text in texts if "=" in text and not Path(text).exists()]
    out = [text.partition("=")[2] for text in overrides if text.startswith("out=")]
    rest = [text for text in overrides if not text.startswith("out=")]
    return [text for text in texts if text not in overrides], rest, out[-1] if out else None


def tell_start(plan: "Plan", checked: "Sequence[Checked] | None") -> None:
    """The first line of a run, where it waits for torch from now on; `checked` is None in one of several processes."""
    if checked is None or "torch" in sys.modules:
        return
    from r1lab.run.folder import folder
    from r1lab.run.manifest import identity, r1lab_version

    place = folder(plan, identity(plan, {key: value for each in checked for key, value in each.digests.items()}))
    aside(f"r1lab {r1lab_version()}: recipe {plan.name}, run in {place}; loading torch")


def aside(line: str) -> None:
    """Progress goes beside what is asked for."""
    typer.echo(line, err=True)
