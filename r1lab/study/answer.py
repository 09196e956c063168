"""The answer of a comparison in sentences, each with its interval, and its tables for a terminal. Computes nothing.

With one seed every line says so.
"""

from collections.abc import Sequence

from r1lab.study.contrasts import Contrast
from r1lab.study.findings import Findings, Regime
from r1lab.study.page import Section, as_text
from r1lab.study.stats import Interval
from r1lab.study.template import count, duration

ONE = "one seed"


def answer(found: Findings) -> str:
    """Which regime ends higher, or why that cannot be said."""
    best, *others = found.best_first
    pairs = [found.between(best.name, each.name) for each in others]
    if found.num_seeds == 1:
        said = _one_seed(best, others, found)
    elif not any(each.is_tested for each in found.contrasts):
        refused = found.contrasts[0]
        why = refused.refusals[0]
        said = f"Not ranked ({why.name.replace('_', ' ')}): {why.reason}."
    elif all(each.winner == best.name for each in pairs):
        rest = "" if len(others) == 1 else ", and above every other regime"
        said = f"{best.name} ends higher than {others[0].name}: {points(turned(pairs[0], best.name))}{rest}."
    else:
        said = _undecided(best, pairs, found)
    return f"{said} {design(found)}"


def _one_seed(best: Regime, others: Sequence[Regime], found: Findings) -> str:
    pair = found.between(best.name, others[0].name)
    if pair.difference is None:
        return f"One seed, and not the same problems: nothing can be said of {best.name} and {others[0].name}."
    return (
        f"One seed ranks nothing: this run of {best.name} differs from that of {others[0].name} by "
        f"{points(turned(pair, best.name))}, over problems alone; another seed may turn it round."
    )


def _undecided(best: Regime, pairs: Sequence[Contrast], found: Findings) -> str:
    """The best one is not told from some others; what it is above, and what else is ranked."""
    open_ = [each for each in pairs if each.winner != best.name]
    said = "; ".join(_against(each, best.name) for each in open_)
    above = [_other(each, best.name) for each in pairs if each.winner == best.name]
    more = f" It is above {_listed(above)}." if above else ""
    rest = [f"{higher} above {lower}" for higher, lower in found.ranking if higher != best.name]
    also = f" Ranked: {'; '.join(rest)}." if rest else ""
    return (
        f"No regime is shown to end highest: {best.name} has the highest score, but is not ranked {said}.{more}{also}"
    )


def _against(each: Contrast, best: str) -> str:
    other = _other(each, best)
    refused = each.refusals[0]
    if refused.name != "not_separated" or each.difference is None:
        return f"against {other} ({refused.name.replace('_', ' ')}: {refused.reason})"
    small = f", and {each.num_seeds} seeds would show {100 * each.resolvable[each.num_seeds]:.1f} at least"
    return f"against {other} ({points(turned(each, best))}{small})"


def design(found: Findings) -> str:
    """What the sentence rests on."""
    spent = [getattr(trial, found.unit) for each in found.regimes for trial in each.trials]
    unit = "budget tokens" if found.unit == "tokens" else "training FLOPs"
    least, most = count(min(spent)), count(max(spent))
    budget = f"{least} {unit}" if least == most else f"{least} to {most} {unit}"
    seeds = "one seed" if found.num_seeds == 1 else f"{found.num_seeds} seeds"
    return f"({seeds}, {found.num_problems} problems of {found.on}, {budget} a run)"


def turned(each: Contrast, first: str) -> Interval:
    """The difference as `first` minus the other."""
    found = each.difference
    return found if each.a == first else Interval(-found.value, -found.high, -found.low, found.n)


def points(found: Interval | None) -> str:
    """`+3.1 points [+1.0, +5.2]`, or a dash."""
    if found is None:
        return "-"
    return f"{100 * found.value:+.1f} points [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


def verdict(each: Contrast) -> str:
    """What is to be said of a pair, in a few words; of one seed, that it is one."""
    if each.winner:
        return f"{each.winner} higher"
    names = [refusal.name.replace("_", " ") for refusal in each.refusals]
    return "not ranked: " + ", ".join(dict.fromkeys(names))


def text(found: Findings) -> str:
    """The answer, the regimes and their differences, every refusal."""
    refused = [
        f"  {each.a} - {each.b}: {refusal.reason} ({refusal.name})"
        for each in found.contrasts
        for refusal in each.refusals
    ]
    tables = as_text([_regimes(found), _contrasts(found)])
    return "\n".join([answer(found), "", tables, *(["", "Not ranked", *refused] if refused else [])])


def _regimes(found: Findings) -> Section:
    rows = [
        (
            each.name,
            _percent(each.score),
            ONE if each.has_one_seed else f"{len(each.trials)} seeds",
            count(each.mean("tokens")),
            count(each.mean("flops")),
            duration(each.mean("seconds")),
        )
        for each in found.best_first
    ]
    header = ("regime", "right, % [95 %]", "seeds", "tokens", "FLOPs", "time")
    return Section(f"Right answers on {found.on}, and the mean cost of a run", header, rows)


def _contrasts(found: Findings) -> Section:
    rows = [
        (
            f"{each.a} - {each.b}",
            points(each.difference),
            "-" if each.adjusted_p is None else f"{each.adjusted_p:.2g}",
            ONE if each.num_seeds == 1 else f"{each.num_seeds} seeds",
            verdict(each),
        )
        for each in found.contrasts
    ]
    return Section("Differences", ("pair", "difference [95 %]", "p (Holm)", "seeds", "verdict"), rows)


def _percent(found: Interval) -> str:
    return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def _other(each: Contrast, name: str) -> str:
    return each.b if each.a == name else each.a


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
