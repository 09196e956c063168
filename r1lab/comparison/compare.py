"""`r1lab compare`: recipes x seeds as paired runs at one budget, then what their differences show, with intervals.

Every run is an ordinary one in its own folder under `runs/` of the comparison's, at the same problems in the same order
as the others of its seed, and has the same evaluation. Nothing is ranked that its interval does not separate, nor what
was not evaluated, verified or budgeted alike (`r1lab.comparison.comparable`). Writes comparison.json and report/.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1lab.comparison import arms, trials
from r1lab.comparison.planned import Planned
from r1lab.comparison.spent import check_match
from r1lab.comparison.trials import Trial
from r1lab.errors import RecipeError, RunError
from r1lab.recipe.base import digest
from r1lab.run.files import atomic_file
from r1lab.run.folder import MANIFEST, admit
from r1lab.run.manifest import identity
from r1lab.stages.check import Checked, check

if TYPE_CHECKING:  # scipy
    from r1lab.comparison.design import Sweep
    from r1lab.comparison.findings import Findings

SEEDS = 3
BASE_COMPLETIONS = 4
"""Of a problem, by which a base model's share of right answers is measured."""


@dataclass(frozen=True)
class Comparison:
    """What a comparison left behind."""

    path: Path
    page: Path
    """The report."""
    findings: Findings

    @property
    def summary(self) -> dict[str, Any]:
        """As in comparison.json."""
        from r1lab.comparison.summary import answer

        return self.findings.summary(answer(self.findings))


def compare(
    recipes: Sequence[str | Path | dict[str, Any]],
    *overrides: str,
    seeds: int = SEEDS,
    out: str | Path | None = None,
    jobs: int = 1,
    on: str | None = None,
    targets: Sequence[float] = (),
    controls: str | Sequence[str] = (),
    sweep: str | None = None,
    match: str | None = None,
    by: str = "end",
) -> Comparison:
    """Run recipes (files, names, mappings) at seeds 0 to `seeds` - 1, or read runs' folders, and compare them.

    `overrides` (`key.path=value`) hold for every recipe, such as `stop.max_tokens=600000`, the common budget. `out` is
    the comparison's folder, `jobs` the runs at once, `on` the evaluation set (else the first that all share), `targets`
    scores whose cost the report tells. `controls` (`random`, `shuffled`, `format=VERIFIER`; of one recipe,
    `zero:random`) are runs whose verdicts are replaced in training, `sweep` (`data.limit=8,32`) crosses the recipes
    with the values of a key, `match` is what budgets are matched in (tokens, flops, problems), `by` which evaluation
    counts (end, best). The same call goes on where it was stopped.

    RecipeError before anything is run where the recipes are wrong or cannot be compared; RunError after the report
    where a run failed.
    """
    _check_numbers(recipes, seeds, jobs, by)
    check_match(match)
    read = trials.read([Path(given) for given in recipes if trials.is_run(given)])
    wanted = [given for given in recipes if not trials.is_run(given)]
    numbers = f"seeds {seeds}, jobs {jobs}" if (seeds, jobs) != (SEEDS, 1) else ""
    further = f"controls {controls}" if controls else f"sweep {sweep}" if sweep else ""
    if not wanted and (said := overrides[0] if overrides else numbers or further):
        raise RecipeError(f"{said!r} changes nothing: folders of runs that are there are only read")
    folder = Path(out or "comparisons") / ("" if out else "-".join(_name(each) for each in recipes)[:100])
    asked = (overrides, controls, sweep, match, on)
    arms_to_run, swept = _arms_to_run(wanted, *asked, seeds=seeds, read=read, folder=folder)
    planned = _planned(arms_to_run, seeds, folder)
    from r1lab.comparison import jobs as launch  # these load torch and scipy, which no mistake above waits for
    from r1lab.comparison.design import Design
    from r1lab.comparison.findings import findings

    failed = launch.run_all(planned, jobs)
    ran = [trials.trial(each.folder, each.regime) for each in planned if _has_rows(each)]
    design = Design({arm.name: arm.controls for arm in arms_to_run if arm.controls}, swept, match, by)
    comparison = _written(folder, findings(_by_regime([*ran, *read], planned), on, targets, failed, design))
    if failed:
        name, why = next(iter(failed.items()))
        raise RunError(f"{len(failed)} of {len(planned)} runs failed, as {name}: {why}; {comparison.page} says which")
    return comparison


def _check_numbers(recipes: Sequence, seeds: int, jobs: int, by: str) -> None:
    if not recipes:
        raise RecipeError("compare needs recipes or runs' folders")
    if seeds < 1 or jobs < 1:
        raise RecipeError(f"seeds {seeds}, jobs {jobs}: each must be at least 1")
    if by not in ("end", "best"):
        raise RecipeError(f"--by {by!r}: what counts is the end or the best evaluation of a run; end or best")


def _written(folder: Path, result: Findings) -> Comparison:
    from r1lab.comparison.page import write
    from r1lab.comparison.summary import answer

    page = write(result, folder / "report")
    text = json.dumps(result.summary(answer(result), folder), indent=1) + "\n"
    atomic_file(folder / "comparison.json", lambda path: path.write_text(text, encoding="utf-8"))
    return Comparison(folder, page, result)


def _arms_to_run(
    recipes: Sequence,
    overrides: Sequence[str],
    controls: str | Sequence[str],
    sweep: str | None,
    match: str | None,
    set_name: str | None,
    *,
    seeds: int,
    read: Sequence[Trial],
    folder: Path,
) -> tuple[list[arms.Arm], Sweep | None]:
    """Recipes, values and controls, all checked; only to measure a base model's rate is anything run."""
    made, asked = _arms(recipes, overrides, sweep), arms.controls_argument(controls)
    _check_names(made, read, seeds, bool(asked))
    planned = _planned(made, seeds, folder)
    _check_budgets(planned, match)
    identities = _check_ready(planned)
    shown = {each.regime: _sets(each) for each in planned} | {each.name: each.sets for each in read}
    trials.shared_set(shown, set_name, [name for each in planned for name in _sets(each, shifted=True)])
    made, swept = arms.shared(made, identities, arms.sweep_argument(sweep) if sweep else None)
    controlling = arms.controls_of(made, asked, lambda arm: _base_rate(arm, folder))
    _check_names([*made, *controlling], read, seeds)
    _check_ready(_planned(controlling, seeds, folder))
    return [*made, *controlling], swept


def _arms(recipes: Sequence, overrides: Sequence[str], sweep: str | None) -> list[arms.Arm]:
    """The recipes, each at every value of the key that is swept."""
    fixed = next((each for each in overrides if each.partition("=")[0] in ("seed", "out", "name")), None)
    if fixed:
        raise RecipeError(f"override {fixed!r}: a comparison sets it for each run; use --seeds N and out=DIR")
    crossed = arms.sweep_argument(sweep) if sweep else None
    made = [arm for given in recipes for arm in arms.swept(given, overrides, crossed)]
    arms.refuse_unknown(crossed, made)
    return made


def _planned(chosen: Sequence[arms.Arm], seeds: int, folder: Path) -> list[Planned]:
    """Seeds in turn, each of all regimes: what is there after the first turn is already a comparison."""
    return [
        Planned(arm.name, seed, {**arm.raw, "seed": seed, "out": str(folder / "runs" / f"{arm.name}-{seed}")}, arm.base)
        for seed in range(seeds)
        for arm in chosen
    ]


def _check_names(chosen: Sequence[arms.Arm], read: Sequence[Trial], seeds: int, has_controls: bool = False) -> None:
    """RecipeError where two runs are of one regime and one seed, or there is only one regime."""
    seen: dict[str, str] = {}
    places = [(f"{arm.name}, seed {seed}", f"{arm.name}-{seed}") for arm in chosen for seed in range(seeds)]
    for name, where in [*places, *((each.name, str(each.path)) for each in read)]:
        if name in seen:
            raise RecipeError(
                f"{name} stands twice ({seen[name]} and {where}); give recipes a `name` of their own, and each run once"
            )
        seen[name] = where
    regimes = {*(arm.name for arm in chosen), *(each.regime for each in read)}
    if len(regimes) < 2 and not has_controls:
        raise RecipeError(f"only one regime, {regimes.pop()}; give at least two recipes, or runs of two")


def _check_budgets(planned: Sequence[Planned], match: str | None) -> None:
    """RecipeError where the recipes' own budgets differ: the runs could not be ranked."""
    if match == "problems":  # what they were trained on is counted after they ran
        return
    stops = {each.regime: each.plan().stages[-1].stop for each in planned}
    budgets = {name: (stop.max_tokens, stop.max_flops) for name, stop in stops.items()}
    if match == "flops" and (open_ended := [name for name, (_, flops) in budgets.items() if not flops]):
        raise RecipeError(f"--match flops: {open_ended[0]} has no budget of FLOPs; set one for all: stop.max_flops=N")
    if len(set(budgets.values())) > 1:
        said = ", ".join(f"{name} {tokens or flops or 'nowhere'}" for name, (tokens, flops) in budgets.items())
        raise RecipeError(f"budgets differ, so nothing could be ranked: {said}; set one for all: stop.max_tokens=N")


def _base_rate(arm: arms.Arm, folder: Path) -> float:
    """The share of right answers of the arm's base model on its training problems, measured once."""
    from r1lab.evaluation import probe, runner
    from r1lab.evaluation.arguments import Asked, evaluation_spec

    plan = arm.plan()
    more = {"recipe": arm.given, "overrides": arm.overrides, "threads": plan.stages[0].threads}
    spec, origin = evaluation_spec(Asked(model=plan.stages[0].model, as_training=True, n=BASE_COMPLETIONS, **more))
    spec = probe.sampled(spec)
    base = runner.evaluate(spec, origin, runner.folder_of(spec, origin, folder / "base"), lambda line: None)
    rate = round(base.figures["avg"]["value"], 4)
    if not rate:
        raise RecipeError(
            f"--controls random: the base model of {arm.name} had none of {len(base.rows)} completions right, so "
            "chance would pay nothing; say a rate: --controls random=0.1"
        )
    return rate


def _sets(planned: Planned, shifted: bool = False) -> list[str]:
    """Names of the sets that a planned run is evaluated on, or of those of another distribution alone."""
    sets = [pair for stage in planned.plan().stages for pair in stage.eval.sets.items()]
    return list(dict.fromkeys(name for name, source in sets if source.shift or not shifted))


def _check_ready(planned: Sequence[Planned]) -> dict[str, str]:
    """Each regime's identity but for its seed, in short. RecipeError for what is wrong with a recipe, its data or a
    folder, before any of them is run."""
    identities: dict[str, str] = {}
    names = list(dict.fromkeys(each.regime for each in planned))
    checked: dict[str, list[Checked]] = {}
    for name in names:
        with _named(name):
            checked[name] = check(next(each for each in planned if each.regime == name).plan())
            if not any(each.sets for each in checked[name]):
                raise RecipeError("eval.sets: none, so there is nothing to compare by; name held-out problems")
    if names:
        from r1lab.stages.prepare import prepare  # loads torch, which no mistake above waits for
    for name in names:
        runs = [each for each in planned if each.regime == name]
        with _named(name):
            ready = prepare(runs[0].plan(), checked[name])
            digests = {key: value for each in ready for key, value in each.digests.items()}
            for each in runs:
                if (each.folder / MANIFEST).is_file():
                    trials.manifest_of(each.folder)  # of this version
                admit(each.folder, identity(each.plan(), digests))
            identities[name] = digest({**identity(runs[0].plan(), digests), "seed": None})
    return identities


@contextmanager
def _named(recipe: str) -> Iterator[None]:
    """Say in a RecipeError which recipe it is in."""
    try:
        yield
    except RecipeError as error:
        raise RecipeError(f"{recipe}: {error}") from None


def _has_rows(planned: Planned) -> bool:
    metrics = planned.folder / "metrics.jsonl"
    return (planned.folder / MANIFEST).is_file() and metrics.is_file() and metrics.stat().st_size > 0


def _by_regime(trials_read: Sequence[Trial], planned: Sequence[Planned]) -> Mapping[str, list[Trial]]:
    """In the order given; a regime all of whose runs failed has none."""
    order = dict.fromkeys([*(each.regime for each in planned), *(each.regime for each in trials_read)])
    return {
        name: sorted((each for each in trials_read if each.regime == name), key=lambda each: each.seed)
        for name in order
    }


def _name(recipe: str | Path | dict) -> str:
    return str(recipe.get("name", "run")) if isinstance(recipe, dict) else Path(recipe).stem
