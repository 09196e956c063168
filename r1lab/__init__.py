"""Reinforcement learning with verifiable rewards, R1-Zero style. The commands are `r1lab.cli.main`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1lab.errors import RecipeError, RunError

if TYPE_CHECKING:
    from r1lab.audit.audit import Audit
    from r1lab.comparison.compare import Comparison
    from r1lab.comparison.run_diff import RunDiff
    from r1lab.evaluation.probe import Probe
    from r1lab.evaluation.runner import Evaluation
    from r1lab.pipeline import Run
    from r1lab.report.diagnosis import Diagnosis

__all__ = [
    "RecipeError", "RunError", "compare", "diagnose", "diff", "evaluate", "probe", "rejudge", "suspects", "train"
]  # fmt: skip
__version__ = "0.3.0"


def train(
    recipe: dict[str, Any] | str | Path,
    *overrides: str,
    verifier: Callable | None = None,
    on_step: Callable[[dict[str, Any]], object] | None = None,
    from_checkpoint: int | str = "",
) -> "Run":
    """Run a recipe (a mapping, a file, or the name of one that ships) to its end, as `r1lab train` does.

    `overrides` are `key.path=value`.

    `verifier` is a function or class that workers can import: it becomes the recipe's `verifier: module:name`.
    `on_step(row)` is called with each row of metrics.jsonl once it is on disk; what it raises ends the run.
    `from_checkpoint` (a step, or `<stage>-<step>`) takes a run back to one of its checkpoints.
    RecipeError (a ValueError) where the recipe is wrong, and nothing is written; RunError where the run failed.
    """
    from r1lab.doctor import busy
    from r1lab.recipe import load
    from r1lab.stages import check

    busy.calm_threads()
    raw, base = load.read(recipe, overrides)
    if verifier is not None:
        raw["verifier"] = load.path_of(verifier)
    plan = load.resolve(raw, base)
    checked = check.early(plan)  # a mistake is told of before torch is loaded
    from r1lab import pipeline

    return pipeline.train(plan, checked=checked, on_step=on_step, from_checkpoint=str(from_checkpoint))


def compare(recipes: Sequence[dict[str, Any] | str | Path], *overrides: str, **options: Any) -> "Comparison":
    """Recipes x seeds as paired runs at one budget, compared with intervals, as `r1lab compare` does.

    `options` are `seeds`, `out`, `jobs`, `on`, `targets`, `controls`, `sweep`, `match` and `by` of
    `r1lab.comparison.compare.compare`. RecipeError where the recipes are wrong or cannot be compared, and nothing is
    run; RunError where a run failed.
    """
    from r1lab.comparison.compare import compare

    return compare(recipes, *overrides, **options)


def evaluate(
    model: str | None = None,
    on: str | None = None,
    *,
    out: str | Path | None = None,
    against: str | Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    **asked: Any,
) -> "Evaluation":
    """A model on a set of problems, as `r1lab eval` does: avg@n, pass@k, maj@n with intervals, resumed where it stands.
    Of a run's folder, on its held-out set and as its recipe says, where nothing else is asked.

    `asked` are the fields of `r1lab.evaluation.arguments.Asked`: n, temperature, prompt, verifier, completions, server
    and more. `out` is the evaluation's folder, else evals/<set>-<hash>, in the run's folder where a run is evaluated;
    `against` that of another evaluation of the same set, compared paired. `say` is told of progress. RecipeError where
    anything asked is wrong; RunError where it failed.
    """
    from r1lab.doctor import busy
    from r1lab.evaluation.arguments import Asked, evaluation_spec

    busy.calm_threads()
    spec, origin = evaluation_spec(Asked(model=model, on=on, **asked))
    from r1lab.evaluation import of_run, runner

    told = [*spec.note["notes"], busy.warning(getattr(origin, "threads", 1), "--threads 1")]
    for line in filter(None, told):
        say(line)
    home = Path() if asked.get("server") or asked.get("completions") else of_run.folder_of(model)
    folder = Path(out) if out else runner.folder_of(spec, origin, home)
    return runner.evaluate(spec, origin, folder, say, Path(against) if against else None)


def probe(
    models: str | Sequence[str] = (),
    on: str | None = None,
    *,
    group_size: int | None = None,
    out: str | Path | None = None,
    keep: tuple[float, float] | None = None,
    say: Callable[[str], None] = lambda line: None,
    **asked: Any,
) -> "Probe":
    """Will RL from these models learn on a set? As `r1lab probe` does: the share of mixed groups, and what follows.

    `asked` as for `evaluate`; with `recipe` alone, on its own training data, sampled as its RL stage samples. `out` is
    the probe's folder, else probes/<set>-<hash>. `keep`: problems whose share of right completions lies between two
    bounds are written as a dataset, `problems.jsonl` in each model's folder.
    """
    from r1lab.evaluation import probe as probing
    from r1lab.evaluation.arguments import Asked

    listed = [models] if isinstance(models, str) else list(models)
    more = {"size": group_size, "out": Path(out) if out else None, "keep": keep, "say": say}
    return probing.probe(listed, Asked(on=on, **asked), **more)


def diagnose(run: str | Path) -> "Diagnosis":
    """What the rules of health say of a run's folder, finished or not, as `r1lab diagnose` does: alarms with their
    steps and remedies. RecipeError where it is no run's."""
    from r1lab.report.diagnosis import diagnosed

    return diagnosed(Path(run))


def diff(first: str | Path, second: str | Path) -> "RunDiff":
    """Where two runs part, as `r1lab diff` does: their manifests, then the first step, draw, request and token, and the
    layer at fault. RecipeError where one is no run's folder or their models differ; RunError for a table of an older
    version."""
    from r1lab.comparison.run_diff import diff

    return diff(Path(first), Path(second))


def rejudge(folder: str | Path, verifier: str | dict[str, Any] | Callable, **options: Any) -> "Audit":
    """What a run's or an evaluation's folder holds, judged by another verifier, as `r1lab rejudge` does: its `figures`
    have the flips with intervals and the groups whose advantages change sign.

    `options` are `settings`, `set_name`, `last` and `workers` of `r1lab.audit.rejudge.rejudge`. RecipeError where the
    folder is neither, or where the verifier can use none of its answers.
    """
    from r1lab.audit.rejudge import rejudge
    from r1lab.recipe import load

    return rejudge(Path(folder), load.path_of(verifier) if callable(verifier) else verifier, **options)


def suspects(run: str | Path, **options: Any) -> "Audit":
    """References of a run's problems on which most samples agree on another answer, and problems that its second
    verifier judges otherwise, as `r1lab audit --from` does; ranked in its `figures`.

    `options` are `last` and `workers` of `r1lab.audit.suspects.suspects`. RecipeError where it is no run that sampled.
    """
    from r1lab.audit.suspects import suspects

    return suspects(Path(run), **options)
