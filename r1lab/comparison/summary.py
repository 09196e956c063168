"""The answer of a comparison in sentences, each with its interval, and its tables for a terminal. Computes nothing.

With one seed every line says so.
"""

from collections.abc import Sequence

from r1lab.comparison import claims
from r1lab.comparison.claims import difference_from
from r1lab.comparison.contrasts import Contrast
from r1lab.comparison.findings import Findings, Regime
from r1lab.report.pages import count, duration
from r1lab.report.tables import Section, as_text, points
from r1lab.stats.intervals import Interval


def answer(findings: Findings) -> str:
    """Which regime ends higher, or why that cannot be said; what else is ranked; what it rests on."""
    return " ".join([lead(findings), *more(findings)])


def lead(findings: Findings) -> str:
    """The first sentence."""
    if claimed := claims.swept(findings):
        return " ".join(claimed)
    best, *others = findings.best_first
    if not others:
        return " ".join(claims.controlled(findings)) or f"{best.name} stands alone: its control has no run."
    pairs = [findings.between(best.name, each.name) for each in others]
    if findings.num_seeds == 1:
        return _one_seed(best, others[0], findings)
    if not any(each.is_tested for each in findings.contrasts):
        why, said = pairs[0].refusals[0], points(difference_from(pairs[0], best.name)) if pairs[0].difference else ""
        differ = f" As they ran, {best.name} differs from {others[0].name} by {said}." if said else ""
        return f"Not ranked ({why.name.replace('_', ' ')}): {why.reason}.{differ}"
    if all(each.winner == best.name for each in pairs):
        rest = "" if len(others) == 1 else ", and above every other regime"
        return f"{best.name} ends higher than {others[0].name}: {points(difference_from(pairs[0], best.name))}{rest}."
    unsettled = "; ".join(_against(each, best.name) for each in pairs if each.winner != best.name)
    return f"No regime is shown to end highest: {best.name} scores most, but is not separated from {unsettled}."


def more(findings: Findings) -> list[str]:
    """What else is ranked, what these seeds could have resolved, and what it rests on."""
    ranked: dict[str, list[str]] = {}
    for higher, lower in findings.ranking:
        if {higher, lower} & findings.design.controls.keys():
            continue  # said of the control
        ranked.setdefault(higher, []).append(lower)
    order = [each.name for each in findings.best_first if each.name in ranked]
    has_winner = order and len(ranked[order[0]]) == len(findings.arms) - 1
    if claims.swept(findings) or len(findings.arms) == 1:
        said = claims.controlled(findings) if len(findings.arms) > 1 else []
        return [*said, *claims.covered(findings), design(findings)]
    said = [f"{name} is above {_listed(ranked[name])}." for name in (order[1:] if has_winner else order)]
    unsettled = [each for each in findings.contrasts if each.is_tested and not each.winner]
    if unsettled:
        size = max(each.resolvable[each.num_seeds] for each in unsettled)
        said.append(f"With {findings.num_seeds} seeds this could resolve about {100 * size:.0f} points there.")
    return [*said, *claims.controlled(findings), *claims.covered(findings), design(findings)]


def _one_seed(best: Regime, other: Regime, findings: Findings) -> str:
    pair = findings.between(best.name, other.name)
    if pair.difference is None:
        return f"One seed, and not the same problems: nothing can be said of {best.name} and {other.name}."
    return (
        f"One seed ranks nothing: this run of {best.name} differs from that of {other.name} by "
        f"{points(difference_from(pair, best.name))}, over problems alone; another seed may turn it round."
    )


def _against(contrast: Contrast, best: str) -> str:
    other, refused = contrast.b if contrast.a == best else contrast.a, contrast.refusals[0]
    if refused.name != "not_separated" or contrast.difference is None:
        return f"{other} ({refused.name.replace('_', ' ')}: {refused.reason})"
    return f"{other} ({points(difference_from(contrast, best))})"


def design(findings: Findings) -> str:
    """What the sentence rests on."""
    spent = [getattr(trial, findings.unit) for each in findings.regimes for trial in each.trials]
    unit = "budget tokens" if findings.unit == "tokens" else "training FLOPs"
    least, most = count(min(spent)), count(max(spent))
    budget = f"{least} {unit}" if least == most else f"{least} to {most} {unit}"
    return f"({_seeds(findings.num_seeds)}, {findings.num_problems} problems of {findings.on}, {budget} a run.)"


def verdict(contrast: Contrast) -> str:
    """What is to be said of a pair, in a few words; of one seed, that it is one."""
    if contrast.winner:
        return f"{contrast.winner} higher"
    names = [refusal.name.replace("_", " ") for refusal in contrast.refusals]
    return "not ranked: " + ", ".join(dict.fromkeys(names))


def text(findings: Findings) -> str:
    """The answer, the regimes and their differences, every refusal."""
    refused = [
        f"  {contrast.a} - {contrast.b}: {refusal.reason} ({refusal.name})"
        for contrast in findings.contrasts
        for refusal in contrast.refusals
    ]
    tables = as_text([_regimes(findings), _contrasts(findings), *claims.sections(findings)])
    more_said = ["", "Not ranked", *refused] if refused else []
    return "\n".join([answer(findings), "", tables, *more_said, claims.fair(findings), *findings.notes])


def _regimes(findings: Findings) -> Section:
    rows = []
    for regime in sorted(findings.regimes, key=lambda each: -each.score.value):
        costs = count(regime.mean("tokens")), count(regime.mean("flops")), duration(regime.mean("seconds"))
        rows.append((regime.name, _percent(regime.score), _seeds(len(regime.trials)), *costs))
    header = ("regime", "right, % [95 %]", "seeds", "tokens", "FLOPs", "time")
    return Section(f"Right answers on {findings.on}, and the mean cost of a run", header, rows)


def _contrasts(findings: Findings) -> Section:
    rows = []
    for contrast in findings.contrasts:
        pair, p = f"{contrast.a} - {contrast.b}", "-" if contrast.adjusted_p is None else f"{contrast.adjusted_p:.2g}"
        rows.append((pair, points(contrast.difference), p, _seeds(contrast.num_seeds), verdict(contrast)))
    return Section("Differences", ("pair", "difference [95 %]", "p (Holm)", "seeds", "verdict"), rows)


def _seeds(num: int) -> str:
    return "one seed" if num == 1 else f"{num} seeds"


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
