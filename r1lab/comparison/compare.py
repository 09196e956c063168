"""`r1lab compare`: recipes x seeds as paired runs at one budget, then what their differences show, with intervals.

Every run is an ordinary one in its own folder under `runs/` of the comparison's, at the same problems in the same order
as the others of its seed, and has the same evaluation. Nothing is ranked that its interval does not
separate, nor what was not evaluated,
verified or budgeted alike (`r1lab.comparison.comparable`). Writes comparison.json and report/.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1lab.comparison import trials
from r1lab.comparison.planned import Planned
from r1lab.comparison.trials import Trial
from r1lab.errors import RecipeError, RunError
from r1lab.recipe import load
from r1lab.run.files import atomic_file
from r1lab.run.folder import MANIFEST, admit
from r1lab.run.manifest import identity
from r1lab.stages.check import Checked, check

if TYPE_CHECKING:  # scipy
    from r1lab.comparison.findings import Findings

SEEDS = 3


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
) -> Comparison:
    """Run recipes (files, names, mappings) at seeds 0 to `seeds` - 1, or read runs' folders, and compare them.

    `overrides` (`key.path=value`) hold for every recipe, such as `stop.max_tokens=600000`, the common budget. `out` is
    the comparison's folder, `jobs` the runs at once, `on` the evaluation set (else the first that all share), `targets`
    scores whose cost the report tells. The same call goes on where it was stopped.

    RecipeError before anything is run where the recipes are wrong or cannot be compared; RunError after the report
    where a run failed.
    """
    if not recipes:
        raise RecipeError("compare needs recipes or runs' folders")
    if seeds < 1 or jobs < 1:
        raise RecipeError(f"seeds {seeds}, jobs {jobs}: each must be at least 1")
    read = trials.read([Path(given) for given in recipes if trials.is_run(given)])
    wanted = [given for given in recipes if not trials.is_run(given)]
    folder = Path(out or "comparisons") / ("" if out else "-".join(_name(each) for each in recipes)[:100])
    planned = _planned(wanted, overrides, seeds, folder)
    _check_names(planned, read)
    numbers = f"seeds {seeds}, jobs {jobs}" if (seeds, jobs) != (SEEDS, 1) else ""
    if not wanted and (said := overrides[0] if overrides else numbers):
        raise RecipeError(f"{said!r} changes nothing: folders of runs that are there are only read")
    _check_budgets(planned)
    _check_ready(planned)
    trials.shared_set({each.regime: _sets(each) for each in planned} | {each.name: each.sets for each in read}, on)
    from r1lab.comparison import jobs as launch  # these load torch and scipy, which no mistake above waits for
    from r1lab.comparison.findings import findings

    failed = launch.run_all(planned, jobs)
    made = [trials.trial(each.folder, each.regime) for each in planned if _has_rows(each)]
    found = findings(_by_regime([*made, *read], planned), on, targets, failed)
    comparison = _written(folder, found)
    if failed:
        name, why = next(iter(failed.items()))
        raise RunError(f"{len(failed)} of {len(planned)} runs failed, as {name}: {why}; {comparison.page} says which")
    return comparison


def _written(folder: Path, result: Findings) -> Comparison:
    from r1lab.comparison.page import write
    from r1lab.comparison.summary import answer

    page = write(result, folder / "report")
    text = json.dumps(result.summary(answer(result), folder), indent=1) + "\n"
    atomic_file(folder / "comparison.json", lambda path: path.write_text(text, encoding="utf-8"))
    return Comparison(folder, page, result)


def _planned(recipes: Sequence, overrides: Sequence[str], seeds: int, folder: Path) -> list[Planned]:
    """Seeds in turn, each of all regimes: what is there after the first turn is already a comparison."""
    fixed = next((each for each in overrides if each.partition("=")[0] in ("seed", "out", "name")), None)
    if fixed:
        raise RecipeError(f"override {fixed!r}: a comparison sets it for each run; use --seeds N and out=DIR")
    read = [load.read(each, overrides) for each in recipes]
    plans = [(load.resolve(raw, base).name, raw, base) for raw, base in read]
    return [
        Planned(name, seed, {**raw, "seed": seed, "out": str(folder / "runs" / f"{name}-{seed}")}, base)
        for seed in range(seeds)
        for name, raw, base in plans
    ]


def _check_names(planned: Sequence[Planned], read: Sequence[Trial]) -> None:
    """RecipeError where two runs are of one regime and one seed, or there is only one regime."""
    seen: dict[str, str] = {}
    places = [(each.name, str(each.folder)) for each in planned] + [(each.name, str(each.path)) for each in read]
    for name, where in places:
        if name in seen:
            raise RecipeError(
                f"{name} stands twice ({seen[name]} and {where}); give recipes a `name` of their own, and each run once"
            )
        seen[name] = where
    regimes = {each.regime for each in [*planned, *read]}
    if len(regimes) < 2:
        raise RecipeError(f"only one regime, {regimes.pop()}; give at least two recipes, or runs of two")


def _check_budgets(planned: Sequence[Planned]) -> None:
    """RecipeError where the recipes' own budgets differ: the runs could not be ranked."""
    stops = {each.regime: each.plan().stages[-1].stop for each in planned}
    budgets = {name: (stop.max_tokens, stop.max_flops) for name, stop in stops.items()}
    if len(set(budgets.values())) > 1:
        said = ", ".join(f"{name} {tokens or flops or 'nowhere'}" for name, (tokens, flops) in budgets.items())
        raise RecipeError(f"budgets differ, so nothing could be ranked: {said}; set one for all: stop.max_tokens=N")


def _sets(planned: Planned) -> list[str]:
    """Names of the sets that a planned run is evaluated on."""
    return list(dict.fromkeys(name for stage in planned.plan().stages for name in stage.eval.sets))


def _check_ready(planned: Sequence[Planned]) -> None:
    """RecipeError for what is wrong with a recipe, its data or a folder, before any of them is run."""
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
