"""What may be claimed beyond which regime ends higher: that the verifier made it, that training reached more problems,
that it holds under a shift, that the comparison was fair. Sentences and tables, each with its interval; computes
nothing, and claims nothing that its interval does not separate."""

from collections.abc import Sequence
from dataclasses import replace

from r1lab.comparison.contrasts import Contrast
from r1lab.comparison.findings import Findings
from r1lab.comparison.spent import QUANTITIES
from r1lab.evaluation.coverage import KINDS
from r1lab.report.pages import count
from r1lab.report.tables import Section, percent, points
from r1lab.stats.intervals import Interval

SAMPLES_NOTE = (
    "pass@k is the share of problems that k samples solve (unbiased estimate); intervals are over problems{seeds}. By "
    "chance: as many as were to be expected had nothing changed, right samples shuffled between the two models."
)


def controlled(findings: Findings) -> list[str]:
    """Whether the verifier made it, of each control."""
    said, one = [], _one(findings)
    for control, arm in findings.design.controls.items():
        if (pair := findings.pair(arm, control)) is None:
            continue
        if pair.winner == arm:
            claim = f"{one}The verifier made it: {arm} ends above {control} by {points(difference_from(pair, arm))}."
        else:
            claim = f"{one}That the verifier made it is not shown: {arm} - {control} is {_difference(pair, arm)}."
        own = findings.named(control).gain
        said.append(claim if own is None else f"{claim} {control} itself gained {points(own)}, {separated(own)}.")
    return said


def swept(findings: Findings) -> list[str]:
    """What each value of the key shows, where several recipes were crossed with it."""
    sweep = findings.design.sweep
    if sweep is None or len(sweep.cells) < 2:
        return []
    said = []
    for value in sweep.values:
        names = list(dict.fromkeys(sweep.at(value).values()))
        pairs = [pair for pair in findings.contrasts if {pair.a, pair.b} <= set(names)]
        claims = [
            f"{pair.winner} higher ({points(difference_from(pair, pair.winner))})"
            if pair.winner
            else f"{pair.a} - {pair.b} {_difference(pair, pair.a)}"
            for pair in pairs
        ]
        said.append(f"{_one(findings)}At {sweep.key}={value}: {'; '.join(claims) or 'nothing to compare'}.")
    return said


def covered(findings: Findings) -> list[str]:
    """Of each arm what its coverage allows to say."""
    return [f"{_one(findings)}{each.name}: {each.coverage.sentence}." for each in findings.arms if each.coverage]


def fair(findings: Findings) -> str:
    """What all regimes had alike and what not."""
    by = {known: [QUANTITIES[name] for name, each in findings.matched.items() if each is known]
          for known in (True, False, None)}  # fmt: skip
    parts = [f"{words}: {', '.join(by[known])}" for known, words in
             ((True, "alike (within 2 %)"), (False, "not alike"), (None, "not known of all")) if by[known]]  # fmt: skip
    unit = {"tokens": "budget tokens", "flops": "training FLOPs", "problems": "distinct problems"}[findings.unit]
    return f"{_one(findings)}Matched in {unit}. {'; '.join(parts)}."


def sections(findings: Findings) -> list[Section]:
    """The tables, those without rows left out."""
    made = (_controls(findings), _sweep(findings), _shifted(findings), _best(findings), *_coverage(findings),
            _ledger(findings))  # fmt: skip
    having = [each for each in made if each is not None and each.rows]
    return [replace(each, rows=[(_label(findings, row[0]), *row[1:]) for row in each.rows]) for each in having]


def _one(findings: Findings) -> str:
    return "One seed: " if findings.num_seeds == 1 else ""


def _label(findings: Findings, name: object) -> str:
    return f"{name}, one seed" if findings.num_seeds == 1 else str(name)


def difference_from(contrast: Contrast, first: str) -> Interval:
    """The difference as `first` minus the other."""
    difference = contrast.difference
    assert difference is not None  # `is_tested`, or asked before
    if contrast.a == first:
        return difference
    return Interval(-difference.value, -difference.high, -difference.low, difference.n)


def separated(interval: Interval) -> str:
    """Whether an interval leaves out zero, in words."""
    return "which holds zero" if interval.low <= 0 <= interval.high else "separated from zero"


def _difference(pair: Contrast, first: str) -> str:
    why = ", ".join(dict.fromkeys(refusal.name.replace("_", " ") for refusal in pair.refusals))
    return f"{points(difference_from(pair, first)) if pair.difference else 'not known'} ({why or 'lower'})"


def _controls(findings: Findings) -> Section:
    rows = []
    for control, arm in findings.design.controls.items():
        pair, trials = findings.pair(arm, control), findings.named(control).trials
        replaced = dict(trials[0].train_verifier or {})
        kind = " ".join(str(replaced[key]) for key in ("kind", "rate") if key in replaced)
        gains = [points(findings.named(name).gain) for name in (arm, control)]
        over = points(difference_from(pair, arm)) if pair and pair.difference else "-"
        verdict = "the verifier made it" if pair and pair.winner == arm else "not shown"
        rows.append((arm, kind, *gains, over, verdict))
    header = ("regime", "control", "gain", "control's gain", "over the control", "verdict")
    return Section("Gain over the control", header, rows, "The verdict replaced in training, all else the same.", 2)


def _sweep(findings: Findings) -> Section | None:
    sweep = findings.design.sweep
    if sweep is None:
        return None
    rows = [
        (recipe, *(percent(findings.named(cells[value]).score) if value in cells else "-" for value in sweep.values))
        for recipe, cells in sweep.cells.items()
    ]
    return Section(f"Right answers on {findings.on} by {sweep.key}", ("recipe", *sweep.values), rows)


def _shifted(findings: Findings) -> Section | None:
    if not findings.shifted:
        return None
    names = list(findings.shifted)
    rows: list[tuple[str, ...]] = [
        (each.name, percent(each.score), *(percent(each.shifted.get(name)) for name in names))
        for each in findings.regimes
    ]
    for pair in findings.contrasts:
        there = [
            next(each for each in findings.shifted[name] if (each.a, each.b) == (pair.a, pair.b)) for name in names
        ]
        rows.append((f"{pair.a} - {pair.b}", *(_ranked(each) for each in (pair, *there))))
    header = ("regime", f"{findings.on} (as trained)", *(f"{name} (shifted)" for name in names))
    return Section("In distribution and under a shift", header, rows)


def _ranked(pair: Contrast) -> str:
    return f"{points(pair.difference)}: {f'{pair.winner} higher' if pair.winner else 'not ranked'}"


def _best(findings: Findings) -> Section | None:
    if not any(each.best for each in findings.regimes):
        return None
    rows = [(each.name, percent(each.end), percent(each.best)) for each in findings.regimes]
    note = (
        "keep_best, offered to every regime alike: for each half of the problems the evaluation that was best on the "
        f"other half. Pairs are compared by the {findings.design.by}."
    )
    return Section("The end and the best evaluation", ("regime", "end", "best"), rows, note)


def _coverage(findings: Findings) -> list[Section]:
    arms = [(each.name, each.coverage) for each in findings.regimes if each.coverage]
    if not arms:
        return []
    ks = sorted({each.k for _, coverage in arms for each in coverage.curve})
    rows = []
    for name, coverage in arms:
        at = {each.k: each for each in coverage.curve}
        rows.append((name, *(f"{100 * at[k].base.value:.1f} -> {100 * at[k].trained.value:.1f} % "
                             f"({points(at[k].difference)})" if k in at else "-" for k in ks)))  # fmt: skip
    seeds = " and seeds" if findings.num_seeds > 1 else ""
    curve = Section("Coverage: pass@k before and after", ("regime", *(f"pass@{k}" for k in ks)), rows,
                    SAMPLES_NOTE.format(seeds=seeds))  # fmt: skip
    kinds = [
        (name, *(f"{coverage.kinds[kind]} (by chance {coverage.by_chance[kind]:.1f})" for kind in KINDS))
        for name, coverage in arms
    ]
    note = "Of problems x seeds. " + "; ".join(KINDS.values()) + "."
    return [curve, Section("Problems solved, lost, sharpened", ("regime", *KINDS), kinds, note)]


def _ledger(findings: Findings) -> Section:
    rows: list[Sequence[object]] = [
        (each.name, *(count(value) for value in each.spent.values())) for each in findings.regimes
    ]
    words = {True: "yes", False: "no", None: "-"}
    rows.append(("alike (within 2 %)", *(words[each] for each in findings.matched.values())))
    return Section("What each run was given and spent", ("regime, mean of a run", *QUANTITIES.values()), rows)
