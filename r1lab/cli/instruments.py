"""Commands that look at verifiers and at runs that are there. Each is a thin shell over one function; what they are
commands of is `r1lab.cli.main`."""

import json
from pathlib import Path
from typing import Annotated

import typer

import r1lab
from r1lab.cli import options as given


def audit(
    cases: Annotated[Path | None, typer.Argument(help="JSONL with completion, answer and expected; - is stdin")] = None,
    verifier: given.VerifierOrTask = None,
    against: Annotated[str | None, typer.Option(help="A second verifier on the same rows")] = None,
    dataset: Annotated[str | None, typer.Option(help="Instead of rows: a dataset, or task:NAME")] = None,
    split: Annotated[str | None, typer.Option(help="Of the dataset or task, else train")] = None,
    config: Annotated[str | None, typer.Option(help="Subset of a hub dataset")] = None,
    answer_format: Annotated[str | None, typer.Option(help="Of the dataset: hash, boxed, unit, mbpp ...")] = None,
    limit: Annotated[int | None, typer.Option(help="The first so many problems of the dataset")] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", metavar="RUN", help="Instead of rows: references that its samples deny")
    ] = None,
    attacks: Annotated[bool, typer.Option("--attack", help="Completions that must not score, made of golds")] = False,
    json_: Annotated[Path | None, typer.Option("--json", help="File for all figures")] = None,
    html: Annotated[Path | None, typer.Option(help="File for one page with tables and a figure")] = None,
    settings: given.Settings = None,
    columns: given.Columns = None,
    where: given.Where = None,
    workers: given.WorkersOption = None,
    deadline: given.Deadline = given.DEADLINE_SECONDS,
    memory_mb: given.Memory = given.MEMORY_MB,
) -> None:
    """A verifier's false positives and negatives on labelled rows; with --dataset, whether every gold proves itself;
    with --from, references of a run on whose problems most samples agree on another answer.

    Exit 1 where a verdict differs from its label, a gold's check failed, a row could not be read, the verifier hung or
    crashed on one, an attack scored, or a reference is suspect."""
    from r1lab.audit import attack, audit
    from r1lab.audit import dataset as golds

    pool = given.pool(workers, deadline, memory_mb)
    more = {"settings": given.values(settings, "--set"), "workers": pool}
    picked = {"columns": given.columns(columns), "where": given.values(where, "--where")}
    with audit.reported(json_, html, but=cases) as report:
        asked = {"split": split, "config": config, "answer_format": answer_format, "limit": limit}
        if from_ is not None:
            named = {"CASES.jsonl": cases, "--dataset": dataset, "--verifier": verifier, "--against": against}
            named |= {"--attack": attacks, "--set": settings, **{f"--{key}": value for key, value in picked.items()}}
            given.refuse_said({**named, **given.as_options(asked)}, "is not read beside --from, whose recipe says all")
        else:
            given.check_audit(cases, dataset, verifier, against, attacks, asked, picked)
        source = None if dataset is None else given.source(dataset, **asked, **picked)
        if from_ is not None:
            result = r1lab.suspects(from_, workers=pool)
        elif attacks:
            result = attack.attack(source, verifier, **more)
        elif source is not None:
            result = golds.audit_golds(source, verifier, **more)
        else:
            assert cases is not None and verifier is not None  # `check_audit`
            result = audit.audit(cases, verifier, against=against, **picked, **more)
        report(result)
    typer.echo(result.text())
    raise typer.Exit(1 if result.unreadable or result.failed else 0)


def diagnose(run: Annotated[Path, typer.Argument(help="A run's folder, finished or not")]) -> None:
    """What went wrong in a run's training, with the remedy: no signal, cut completions, collapse, a gap ...

    Exit 1 where a rule fired."""
    found = r1lab.diagnose(run)
    typer.echo(found.text())
    raise typer.Exit(1 if found.alarms else 0)


def diff(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Another's")],
    json_: Annotated[Path | None, typer.Option("--json", help="File for all of it")] = None,
) -> None:
    """Where two runs part: manifests, then the first step, draw, request and token, and the layer at fault.

    Exit 1 where they part."""
    from r1lab.run.files import written

    found = r1lab.diff(first, second)
    if json_ is not None:
        with written(json_, "--json") as file:
            file.write(json.dumps(found.figures(), indent=1).encode() + b"\n")
    typer.echo(found.text())
    raise typer.Exit(1 if found.parting else 0)


def rejudge(
    folder: Annotated[Path, typer.Argument(metavar="RUN_OR_EVAL", help="A run's folder, or an evaluation's")],
    verifier: given.Verifier,
    set_name: Annotated[str | None, typer.Option("--on", help="Of an evaluation: where its set lies now")] = None,
    last: Annotated[int | None, typer.Option(min=1, help="Of a run: the last so many steps of each stage")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="File for all figures")] = None,
    html: Annotated[Path | None, typer.Option(help="File for one page with the tables")] = None,
    settings: given.Settings = None,
    workers: given.WorkersOption = None,
    deadline: given.Deadline = given.DEADLINE_SECONDS,
    memory_mb: given.Memory = given.MEMORY_MB,
) -> None:
    """Stored completions judged by another verifier: flips with intervals, and groups that would teach otherwise.

    Exit 1 where a check hung, crashed or gave no score."""
    from r1lab.audit import audit

    pool = given.pool(workers, deadline, memory_mb)
    with audit.reported(json_, html) as report:
        knobs = {"settings": given.values(settings, "--set"), "set_name": set_name, "last": last, "workers": pool}
        result = r1lab.rejudge(folder, verifier, **knobs)
        report(result)
    typer.echo(result.text())
    raise typer.Exit(1 if result.failed else 0)
