"""The options that `r1lab eval` and `r1lab probe` share, and what their texts mean. Not the commands
(`r1lab.cli.main`)."""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from r1lab.cli import options as given
from r1lab.errors import RecipeError

TemplateVariables = Annotated[
    list[str] | None, typer.Option("--template", metavar="KEY=VALUE", help="A variable of the chat template")
]
TaskSettings = Annotated[
    list[str] | None, typer.Option("--with", metavar="KEY=VALUE", help="A task's setting, such as digits=6")
]


def shared(
    on: Annotated[str | None, typer.Option(help="A set's name, a task, a file, a folder, a URL or a hub id")] = None,
    n: Annotated[int | None, typer.Option("--n", help="Completions a problem")] = None,
    k: Annotated[list[int] | None, typer.Option("--k", help="A k of pass@k; may be repeated")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy; 1 where not said")] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus: share of probability kept")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Longest completion; 512 where not said")] = None,
    stop: Annotated[list[str] | None, typer.Option(help=r"Text that ends a completion; \n is a line's end")] = None,
    stop_after: Annotated[list[str] | None, typer.Option(help="Text that ends it too, and stays in it")] = None,
    prompt: Annotated[str | None, typer.Option(help="plain, r1-zero or chat")] = None,
    format_: Annotated[str | None, typer.Option("--format", help=r"Of a plain prompt: 'Q: {prompt}\nA:'")] = None,
    examples: Annotated[Path | None, typer.Option(help="Worked examples: YAML or JSONL of prompt, solution")] = None,
    system: Annotated[str | None, typer.Option(help="System prompt")] = None,
    prefill_think: Annotated[bool, typer.Option("--prefill-think", help="End the prompt in <think>")] = False,
    template_variables: TemplateVariables = None,
    verifier: Annotated[str | None, typer.Option(help=f"{given.NAMED}; a set by name has its own")] = None,
    settings: given.Settings = None,
    on_bad_gold: Annotated[str, typer.Option(help="Golds that cannot be judged: error, or drop")] = "error",
    path: Annotated[str | None, typer.Option(help="A local copy of a set by name")] = None,
    split: Annotated[str | None, typer.Option(help="Of the dataset or task")] = None,
    config: Annotated[str | None, typer.Option(help="Subset of a hub dataset")] = None,
    columns: given.Columns = None,
    answer_format: Annotated[str | None, typer.Option(help="hash, boxed, unit, mbpp ...")] = None,
    where: given.Where = None,
    difficulty: TaskSettings = None,
    limit: Annotated[int | None, typer.Option(help="The first so many problems")] = None,
    recipe: Annotated[str | None, typer.Option(help="Gives prompt, verifier, lengths; its data must not leak")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, local, vllm, or a dotted path")] = None,
    max_batch: Annotated[int | None, typer.Option(help="Completions decoded at once; 256 where not said")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: all cores")] = 0,
    completions: Annotated[Path | None, typer.Option(help="JSONL of id and completion, instead of a model")] = None,
    server: Annotated[str | None, typer.Option(help="URL of an OpenAI-compatible server that serves MODEL")] = None,
    key_env: Annotated[str, typer.Option(help="Environment variable of the server's key")] = "OPENAI_API_KEY",
    trust_remote_code: given.Trust = False,
    seed: Annotated[int, typer.Option(help="Of the samples")] = 0,
    workers: given.WorkersOption = None,
    deadline: given.Deadline = given.DEADLINE_SECONDS,
    memory_mb: given.Memory = given.MEMORY_MB,
) -> dict[str, Any]:
    """Fields of `r1lab.evaluation.arguments.Asked`."""
    knobs = {
        "path": path, "split": split, "config": config, "answer_format": answer_format, "limit": limit,
        "columns": given.columns(columns), "where": given.values(where, "--where"),
        "settings": given.values(difficulty, "--with"),
    }  # fmt: skip
    said = (workers, deadline, memory_mb) != (None, given.DEADLINE_SECONDS, given.MEMORY_MB)
    if on_bad_gold not in ("error", "drop"):
        raise RecipeError(f"--on-bad-gold: {on_bad_gold!r} is neither error nor drop")
    return {
        "on": on, "n": n, "k": k or (), "temperature": temperature, "top_p": top_p, "max_new_tokens": max_new_tokens,
        "stop": None if stop is None else [_lines(each) for each in stop], "prompt": prompt,
        "stop_after": None if stop_after is None else [_lines(each) for each in stop_after],
        "template_variables": given.values(template_variables, "--template") or None,
        "format": None if format_ is None else _lines(format_), "examples": examples, "system_prompt": system,
        "prefill_think": prefill_think or None, "verifier": verifier, "settings": given.values(settings, "--set"),
        "on_bad_gold": on_bad_gold, "source": {key: value for key, value in knobs.items() if value not in (None, {})},
        "recipe": recipe, "engine": engine, "max_batch": max_batch, "threads": threads, "completions": completions,
        "server": server, "key_env": key_env, "seed": seed, "trust_remote_code": trust_remote_code,
        "workers": given.pool(workers, deadline, memory_mb) if said else None,
    }  # fmt: skip


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the shared options; what they mean together comes in as its argument `asked`."""
    options = inspect.signature(command).parameters
    common = inspect.signature(shared).parameters

    @wraps(command)
    def run(**arguments: Any) -> None:
        asked = shared(**{name: arguments.pop(name) for name in common})
        command(**arguments, asked=asked)

    merged = [*(each for name, each in options.items() if name != "asked"), *common.values()]
    # typer reads `__signature__`, which the stub of `wraps` lacks.
    signature = inspect.Signature([each.replace(kind=each.KEYWORD_ONLY) for each in merged])
    run.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]
    run.__annotations__ = {each.name: each.annotation for each in merged}
    return run


def _lines(text: str) -> str:
    r"""The text with `\n` as a line's end, as a shell hands it over."""
    return text.replace("\\n", "\n")


def sets_of_run(
    model: str | None, asked: dict[str, Any], overrides: Sequence[str], *, has_place: bool
) -> Sequence[str | None]:
    """The sets to evaluate: what `--on` says or, of a run's folder alone, those that its recipe holds out. RecipeError
    where these are several and an option goes with one."""
    from r1lab.evaluation import of_run

    is_alone = all(asked[key] is None for key in ("on", "recipe", "completions", "server"))
    names = of_run.own_sets(model, overrides) if is_alone else []
    if len(names) > 1 and has_place:
        raise RecipeError(f"--out, --against: go with one set; the run has {', '.join(names)}: name one with --on")
    return names or [asked["on"]]
