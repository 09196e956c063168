"""Why two regimes are not ranked, each reason by name. Looks at conditions, not scores; no interval is computed here.

failed unfinished seeds      a run is missing, so what is left is a choice
evaluation_set               other problems, another sampling, another source: not one examination
verifier_version             verified by something else
budget                       over 2 % apart in what was spent, or in what budgets are matched in
errors                       over 1 % of a run's completions could not be judged
one_seed too_few_problems    nothing to tell chance from a difference by
best                         which evaluation was the best is not known
not_separated                the interval holds zero, by itself or after Holm's correction
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from r1lab.comparison.spent import MOST_APART_SHARE, apart
from r1lab.comparison.trials import Trial

MOST_ERROR_SHARE = 0.01


@dataclass(frozen=True)
class Refusal:
    """A reason, in a sentence."""

    name: str
    reason: str


def reasons_not_to_rank(
    a: Sequence[Trial], b: Sequence[Trial], set_name: str, unit: str, failed: Mapping[str, str]
) -> list[Refusal]:
    """Every reason not to rank two regimes on a set; `failed` says of runs that ended in an error, by `Trial.name`."""
    trials = [*a, *b]
    regimes = (a[0].regime, b[0].regime)
    gone = [f"{name} failed: {why}" for name, why in failed.items() if name.rpartition(", seed ")[0] in regimes]
    unfinished = [trial.name for trial in trials if not trial.manifest["finished"]]
    refusals = [
        *(Refusal("failed", why) for why in gone),
        *(Refusal("unfinished", f"{name} has not finished") for name in unfinished),
        *_seeds(a, b),
        *_differing(trials, "evaluation_set", lambda trial: trial.last_evaluation(set_name).conditions),
        *_differing(trials, "verifier_version", lambda trial: trial.verifiers(set_name)),
        *_budget(trials, unit),
    ]
    last_evaluations = [(trial.name, trial.last_evaluation(set_name)) for trial in trials]
    for name, last_evaluation in last_evaluations:
        if last_evaluation.error_share > MOST_ERROR_SHARE:
            share = f"{last_evaluation.errors} of {len(last_evaluation.rows)} completions of {name} could not be judged"
            refusals.append(Refusal("errors", f"{share}, over {MOST_ERROR_SHARE:.0%}"))
    if len(last_evaluations[0][1].problems) < 2:
        refusals.append(Refusal("too_few_problems", "one problem has no spread to judge by; evaluate on more"))
    if len({trial.seed for trial in a} & {trial.seed for trial in b}) == 1:
        refusals.append(Refusal("one_seed", "one seed: it says how these two runs differ, not which way is better"))
    return refusals


def _seeds(a: Sequence[Trial], b: Sequence[Trial]) -> list[Refusal]:
    seeds = [sorted(each.seed for each in trials) for trials in (a, b)]
    if seeds[0] == seeds[1]:
        return []
    said = " and ".join(f"{trials[0].regime} has {_listed(own)}" for trials, own in zip((a, b), seeds))
    return [Refusal("seeds", f"not run with the same seeds: {said}")]


def _differing(trials: Sequence[Trial], name: str, conditions: Callable) -> list[Refusal]:
    """A refusal for each condition that not all trials share; what one of them does not know is not held against it."""
    found = [(each, conditions(each)) for each in trials]
    reasons = []
    for key in dict.fromkeys(key for _, known in found for key in known):
        having = [(each, known[key]) for each, known in found if key in known]
        first, value = having[0]
        other = next(((each, theirs) for each, theirs in having if theirs != value), None)
        if other is not None:
            reasons.append(
                f"{key} {'differ' if key.endswith('s') else 'differs'}: "
                f"{_short(value)} in {first.name}, {_short(other[1])} in {other[0].name}"
            )
    return [Refusal(name, each) for each in reasons]


def _budget(trials: Sequence[Trial], unit: str) -> list[Refusal]:
    spent = {each.name: getattr(each, unit) for each in trials}
    if unknown := [name for name, value in spent.items() if value is None]:
        return [Refusal("budget", f"{unknown[0]}: its {unit} are not known, its rollouts are gone")]
    least, most = min(spent, key=spent.__getitem__), max(spent, key=spent.__getitem__)
    share = apart(list(spent.values()))
    if share <= MOST_APART_SHARE:
        return []
    had = "was trained on" if unit == "problems" else "spent"
    spread = f"{least} {had} {spent[least]:,} {unit}, {most} {spent[most]:,}"
    return [Refusal("budget", f"{spread}: {share:.1%} apart, over {MOST_APART_SHARE:.0%}")]


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds)) or "none"


def _short(text: str) -> str:
    return (text if len(text) <= 60 else f"{text[:57]}...") or "(the problems' own)"
