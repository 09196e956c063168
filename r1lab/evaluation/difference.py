"""Two evaluations of the same set, paired by problem. Not runs over seeds (`compare`).

Refused are two that cannot be compared: another set, or other versions of its verifiers. What else differs (n, the
prompt, the sampling) may be what is compared, and is said. Of several completions a problem, coverage too
(`r1lab.evaluation.coverage`), drawn as coverage.png.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from r1lab.errors import RecipeError
from r1lab.evaluation import coverage
from r1lab.evaluation.folder import RESULTS, read_manifest, read_rows
from r1lab.evaluation.scores import by_problem, is_right
from r1lab.run.files import atomic_file
from r1lab.run.folder import COMPLETIONS
from r1lab.run.manifest import differences
from r1lab.stats import intervals

MOST_ERROR_SHARE = 0.01
"""Share of completions that could not be judged, beyond which a difference says little."""


def folder_of(path: Path) -> Path:
    """The folder of an evaluation, given the folder or the results file in it."""
    return path.parent if path.name == RESULTS else path


def refuse(identity_now: Mapping[str, Any], other: Path) -> None:
    """RecipeError where the finished evaluation in `other` cannot be compared with one of this identity."""
    theirs = read_manifest(other)["identity"]
    for what in ("set", "verifiers"):
        if differing := differences(identity_now[what], theirs[what], "here", "there"):
            raise RecipeError(
                f"--against {other}: another {what.removesuffix('s')} ({'; '.join(differing[:3])}); compare "
                "evaluations of the same set by the same verifiers"
            )
    if identity_now["set"]["problems"] < 2:
        raise RecipeError(f"--against {other}: one problem has no interval; compare on more")
    if not (other / COMPLETIONS).is_file():
        raise RecipeError(f"--against {other}: it is not finished; run it to its end first")


def compare(one: Path, other: Path) -> dict[str, Any]:
    """Evaluation `one` minus `other`, finished and comparable, with its interval over problems."""
    mine, theirs = (read_manifest(folder)["identity"] for folder in (one, other))
    tables = [by_problem(read_rows(folder / COMPLETIONS)) for folder in (one, other)]
    scores = [{problem: sum(map(is_right, rows)) / len(rows) for problem, rows in table.items()} for table in tables]
    difference = intervals.paired_score_difference(scores[0], scores[1])
    signs = [(scores[0][problem] > score) - (scores[0][problem] < score) for problem, score in scores[1].items()]
    asked = ("n", "seed", "sampling", "prompt", "origin")
    here, there = ({key: each[key] for key in asked} for each in (mine, theirs))
    errors = [_errors(table) for table in tables]
    right = [
        coverage.outcomes([[is_right(row) for row in table[problem]] for problem in tables[0]]) for table in tables
    ]
    reached = coverage.coverage(right[1], right[0], mine["seed"])
    if reached.n > 1:
        _draw(one, mine["origin"], theirs["origin"], reached)
    return {
        "other": theirs["origin"],
        "difference": {"value": difference.value, "low": difference.low, "high": difference.high},
        "problems": {"better": signs.count(1), "same": signs.count(0), "worse": signs.count(-1)},
        "differs_in": differences(here, there, "here", "there"),
        "errors": errors,
        "coverage": reached,
        "is_resolved": not difference.low <= 0 <= difference.high and max(errors) <= MOST_ERROR_SHARE,
    }


def _draw(folder: Path, mine: Mapping[str, Any], theirs: Mapping[str, Any], reached: coverage.Coverage) -> None:
    """coverage.png beside the results, of both by their origins' names."""
    from r1lab.report.coverage import draw_coverage  # loads matplotlib

    lines = [
        (f"{what} {origin.get('model', '')}", [(each.k, getattr(each, side)) for each in reached.curve])
        for what, origin, side in (("against", theirs, "base"), ("this one", mine, "trained"))
    ]
    png = draw_coverage(lines)[0]
    atomic_file(folder / "coverage.png", lambda path: path.write_bytes(png))


def _errors(table: Mapping[str, list]) -> float:
    rows = [row for each in table.values() for row in each]
    return sum(row["status"] == "error" for row in rows) / len(rows)


def text(figures: Mapping[str, Any]) -> str:
    """The comparison in a few lines for people."""
    gap, problems = figures["difference"], figures["problems"]
    verdict = "" if figures["is_resolved"] else ": the interval does not separate them"
    if max(figures["errors"]) > MOST_ERROR_SHARE:
        verdict = f": over {MOST_ERROR_SHARE:.0%} of one's completions could not be judged, so this ranks nothing"
    lines = [
        f"paired difference {gap['value']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}]{verdict}",
        f"problems: {problems['better']} better, {problems['same']} the same, {problems['worse']} worse",
    ]
    reached = [coverage.text(figures["coverage"])] if figures["coverage"].n > 1 else []
    return "\n".join([*lines, *(f"differs in {each}" for each in figures["differs_in"][:6]), *reached])
