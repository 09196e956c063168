"""One page about one run or several: what was gained, with intervals, how training went, and what the model wrote.

Reads run folders only (metrics.jsonl, manifest.json, rollouts/, eval/), computes no model and verifies nothing again.
The page is one file without links; what a model wrote is escaped, cut and made visible. Words: report.html.j2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from r1lab.health.rules import RULES, second_opinion
from r1lab.report.diagnosis import of_run
from r1lab.report.figures import draw
from r1lab.report.pages import encoded, environment
from r1lab.report.runs import Curves, evaluation_sets, manifest_of, read, samples, scores_of
from r1lab.stats.intervals import Interval, paired_score_difference


class Estimate(NamedTuple):
    """A score, or a difference of two, whose interval may be unknown."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class ArmOutcome:
    """A line of the summary: one arm on one evaluation set. None is unknown, or not evaluated."""

    label: str
    set: str | None
    base: Estimate | None
    """The evaluation before the run's first step; None where there was none."""
    final: Estimate | None
    """The last one, not the best one."""
    gain: Interval | Estimate | None
    """Paired by problem; its bounds are None where the tables under eval/ are missing."""
    errors: int
    """Completions of the last evaluation that could not be judged; they count as not right."""
    steps: int
    tokens: int | None
    """Budget tokens of training: sampled and trained, evaluation not counted."""
    seconds: float | None
    flops: float | None


@dataclass(frozen=True)
class ArmContrast:
    """One arm's final score against the first arm's, paired by problem."""

    label: str
    reference: str
    set: str
    difference: Interval | None
    """None where the two were not evaluated on the same problems."""


def report(
    runs: Sequence[Path], out: Path | None = None, *, labels: Sequence[str] = (), notes: Sequence[str] = ()
) -> Path:
    """Write the page about `runs`, and its figures as PNG beside it; returns the page.

    `out` is the page (*.html) or its folder, else report/ in the first run's folder. `labels` name the runs, else
    their manifests do; `notes` are paragraphs printed under the summary.
    """
    folders = [Path(run) for run in runs]
    if not folders or (labels and len(labels) != len(folders)):
        raise ValueError(f"{len(folders)} runs and {len(labels)} labels: give at least one run, and no or equally many")
    manifests = [manifest_of(folder) for folder in folders]
    curves = [read(*each) for each in zip(folders, manifests, labels or _labels(folders, manifests))]
    page = _page(folders, out)
    page.parent.mkdir(parents=True, exist_ok=True)
    pictures = draw(curves)
    for picture in pictures:
        (page.parent / f"{picture.key}.png").write_bytes(picture.light)
    page.write_text(_render(folders, manifests, curves, pictures, notes), encoding="utf-8")
    return page


def summary_table(folders: Sequence[Path], curves: Sequence[Curves]) -> list[ArmOutcome]:
    """A line for each run and evaluation set; a run that was never evaluated has one line."""
    pairs = zip(folders, curves)
    return [_outcome(folder, run, name) for folder, run in pairs for name in evaluation_sets(run) or [None]]


def _outcome(folder: Path, run: Curves, name: str | None) -> ArmOutcome:
    rows = [row for row in run.rows if f"eval/{name}/avg" in row]
    has_base = bool(rows) and rows[0]["at/step"] == 0
    base = _estimate(rows[0], name) if has_base else None
    flops = [max((row[key] for row in run.rows if key in row), default=0) for key in ("flops/rollout", "flops/update")]
    return ArmOutcome(
        label=run.label,
        set=name,
        base=base,
        final=_estimate(rows[-1], name) if rows else None,
        gain=_gain(folder, rows, str(name)) if has_base and len(rows) > 1 else None,
        errors=int(rows[-1].get(f"eval/{name}/errors", 0)) if rows else 0,
        steps=int(run.rows[-1]["at/step"]),
        tokens=int(run.rows[-1]["at/tokens"]) or None,
        seconds=sum(run.series("time/total")[1]) or None,
        flops=sum(flops) or None,
    )


def _estimate(row: Mapping[str, Any], name: str | None) -> Estimate:
    return Estimate(row[f"eval/{name}/avg"], *(row.get(f"eval/{name}/{key}") for key in ("low", "high", "problems")))


def _gain(folder: Path, rows: Sequence[Mapping], name: str) -> Interval | Estimate:
    base, final = (scores_of(folder, row, name) for row in (rows[0], rows[-1]))
    if base.keys() == final.keys() and len(base) > 1:
        return paired_score_difference(final, base)
    return Estimate(rows[-1][f"eval/{name}/avg"] - rows[0][f"eval/{name}/avg"])


def contrasts(folders: Sequence[Path], curves: Sequence[Curves]) -> list[ArmContrast]:
    """Every other run's final score against the first run's, on each set both have."""
    arms = []
    for name in evaluation_sets(curves[0]):
        having = [(folder, run) for folder, run in zip(folders, curves) if name in evaluation_sets(run)]
        ends = [[row for row in run.rows if f"eval/{name}/avg" in row][-1] for _, run in having]
        lasts = [scores_of(folder, end, name) for (folder, _), end in zip(having, ends)]
        for (_, run), scores in list(zip(having, lasts))[1:]:
            is_paired = scores.keys() == lasts[0].keys() and len(scores) > 1
            difference = paired_score_difference(scores, lasts[0]) if is_paired else None
            arms.append(ArmContrast(run.label, curves[0].label, name, difference))
    return arms


def _labels(folders: Sequence[Path], manifests: Sequence[Mapping]) -> list[str]:
    """The manifests' names; where two are alike, with their seeds; else the folders' names, else their paths."""
    names = [str(m.get("name") or f.resolve().name) for f, m in zip(folders, manifests)]
    seeded = [f"{name}, seed {m.get('seed')}" for name, m in zip(names, manifests)]
    for labels in (names, seeded, [f.resolve().name for f in folders]):
        if len(set(labels)) == len(labels):
            return labels
    return [str(f) for f in folders]


def _page(folders: Sequence[Path], out: Path | None) -> Path:
    page = Path(out or folders[0] / "report")
    return page if page.suffix == ".html" else page / "index.html"


def _render(folders, manifests, curves, pictures, notes: Sequence[str]) -> str:
    page = environment().get_template("report.html.j2")
    return page.render(
        outcomes=summary_table(folders, curves),
        contrasts=contrasts(folders, curves),
        pictures=[(p.key, p.is_wide, encoded(p.light), encoded(p.dark)) for p in pictures],
        samples=[(run.label, samples(folder, run)) for folder, run in zip(folders, curves)],
        manifests=[(run.label, manifest) for run, manifest in zip(curves, manifests)],
        notes=notes,
        health=[(run.label, of_run(run, manifest)) for run, manifest in zip(curves, manifests)],
        judged_twice=[(run.label, count) for run in curves if (count := second_opinion(run.rows)).judged],
        rules=RULES,
        has_sft=any(run.sft for run in curves),
    )
