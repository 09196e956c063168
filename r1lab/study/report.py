"""One page about one run or several: what was gained, with intervals, how training went, and what the model wrote.

Reads run folders only (metrics.jsonl, manifest.json, rollouts/, eval/), computes no model and judges nothing again.
The page is one file without links; what a model wrote is escaped, cut and made visible. Words: report.html.j2.
"""

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path

import pyarrow.parquet as pq
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from r1lab.study.alarm import alarm
from r1lab.study.figures import Curves, draw
from r1lab.study.stats import Interval, paired_difference

COLUMNS = (
    "purpose", "draw", "problem_id", "prompt_text", "text", "num_tokens", "finish", "decision", "reward", "status",
    "extracted", "reason",
)  # fmt: skip
LONGEST = 3000
"""Characters shown of one text; its middle is left out."""


@dataclass(frozen=True)
class Outcome:
    """A line of the summary: one arm on one evaluation set. None is unknown, or not evaluated."""

    label: str
    set: str | None
    base: Interval | None
    """The evaluation before the run's first step; None where there was none."""
    final: Interval | None
    """The last one, not the best one."""
    gain: Interval | None
    """Paired by problem; its bounds are None where the tables under eval/ are missing."""
    errors: int
    """Completions of the last evaluation that could not be judged; they count as not right."""
    steps: int
    tokens: int | None
    """Budget tokens of training: sampled and trained, evaluation not counted."""
    seconds: float | None
    flops: float | None


@dataclass(frozen=True)
class Contrast:
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
    manifests = [_manifest(folder) for folder in folders]
    curves = [read(*each) for each in zip(folders, manifests, labels or _labels(folders, manifests))]
    page = _page(folders, out)
    page.parent.mkdir(parents=True, exist_ok=True)
    pictures = draw(curves)
    for picture in pictures:
        (page.parent / f"{picture.key}.png").write_bytes(picture.light)
    page.write_text(_render(folders, manifests, curves, pictures, notes), encoding="utf-8")
    return page


def read(folder: Path, manifest: Mapping, label: str) -> Curves:
    """A run's metrics; ValueError says what is missing."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        raise ValueError(f"{folder}: no metrics.jsonl; give the folder of a run that has done at least one step")
    rows = []
    for number, line in enumerate(lines := path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):  # a run may be writing its last line right now
                raise ValueError(f"{path}, line {number}: not JSON ({error}); resume the run to repair it") from None
    if not rows:
        raise ValueError(f"{path}: no rows; give a run that has done at least one step")
    stages = list(dict.fromkeys(str(row.get("stage")) for row in rows))
    return _placed(label, rows, frozenset(name for name in stages if _is_sft(name, rows, manifest)))


def _placed(label: str, rows: list[dict], sft: frozenset[str]) -> Curves:
    """Rows with finite numbers only, and where in the whole run each stands."""
    placed, before, at, tokens, stage = [], 0, 0, 0, None
    for row in rows:
        name = str(row.get("stage"))
        if name != stage:
            before, stage = at, name
        kept = {key: value for key, value in row.items() if isinstance(value, int | float) and isfinite(value)}
        at, tokens = before + kept.get("step", 0), kept.get("tokens/budget", tokens)
        kept |= {"stage": name, "at/step": at, "at/tokens": tokens}
        if name in sft and "loss/value" in kept:
            kept["sft/loss"] = kept["loss/value"]
        placed.append(kept)
    return Curves(label, tuple(placed), sft)


def _is_sft(name: str, rows: list[dict], manifest: Mapping) -> bool:
    stages = (manifest.get("recipe") or {}).get("stages") or []
    kinds = {stage.get("name"): stage.get("kind") for stage in stages if isinstance(stage, dict)}
    if kinds.get(name):
        return kinds[name] == "sft"
    keys = {key for row in rows if str(row.get("stage")) == name for key, value in row.items() if value is not None}
    return "loss/value" in keys and "reward/mean" not in keys


def summary_table(folders: Sequence[Path], curves: Sequence[Curves]) -> list[Outcome]:
    """A line for each run and evaluation set; a run that was never evaluated has one line."""
    pairs = zip(folders, curves)
    return [_outcome(folder, run, name) for folder, run in pairs for name in evaluation_sets(run) or [None]]


def evaluation_sets(run: Curves) -> list[str]:
    return [name.removesuffix("/avg") for name in run.names("eval/") if name.endswith("/avg")]


def _outcome(folder: Path, run: Curves, name: str | None) -> Outcome:
    rows = [row for row in run.rows if f"eval/{name}/avg" in row]
    has_base = bool(rows) and rows[0]["at/step"] == 0
    base = _interval(rows[0], name) if has_base else None
    flops = [max((row[key] for row in run.rows if key in row), default=0) for key in ("flops/rollout", "flops/update")]
    return Outcome(
        label=run.label,
        set=name,
        base=base,
        final=_interval(rows[-1], name) if rows else None,
        gain=_gain(folder, rows, name) if has_base and len(rows) > 1 else None,
        errors=int(rows[-1].get(f"eval/{name}/errors", 0)) if rows else 0,
        steps=int(run.rows[-1]["at/step"]),
        tokens=int(run.rows[-1]["at/tokens"]) or None,
        seconds=sum(run.series("time/total")[1]) or None,
        flops=sum(flops) or None,
    )


def _interval(row: Mapping, name: str) -> Interval:
    value, low, high, problems = (row.get(f"eval/{name}/{key}") for key in ("avg", "low", "high", "problems"))
    return Interval(value, low, high, problems)


def _gain(folder: Path, rows: Sequence[Mapping], name: str) -> Interval:
    base, final = (_scores(folder, row, name) for row in (rows[0], rows[-1]))
    if base.keys() == final.keys() and len(base) > 1:
        return paired_difference(final, base)
    return Interval(rows[-1][f"eval/{name}/avg"] - rows[0][f"eval/{name}/avg"], None, None, None)


def _scores(folder: Path, row: Mapping, name: str) -> dict[str, float]:
    """Share of right completions by problem in one evaluation; empty where its table is missing."""
    path = folder / "eval" / f"{row['stage']}-{row.get('step', 0):.0f}-{name}.parquet"
    rows = _table(path, ("problem_id", "score"))
    right: dict[str, list[bool]] = {}
    for line in rows if rows and "score" in rows[0] else []:
        right.setdefault(str(line.get("problem_id")), []).append(line.get("score") == 1)
    return {problem: sum(right_K) / len(right_K) for problem, right_K in right.items()}


def contrasts(folders: Sequence[Path], curves: Sequence[Curves]) -> list[Contrast]:
    """Every other run's final score against the first run's, on each set both have."""
    found = []
    for name in evaluation_sets(curves[0]):
        having = [(folder, run) for folder, run in zip(folders, curves) if name in evaluation_sets(run)]
        lasts = [_scores(folder, [r for r in run.rows if f"eval/{name}/avg" in r][-1], name) for folder, run in having]
        for (_, run), scores in list(zip(having, lasts))[1:]:
            is_paired = scores.keys() == lasts[0].keys() and len(scores) > 1
            difference = paired_difference(scores, lasts[0]) if is_paired else None
            found.append(Contrast(run.label, curves[0].label, name, difference))
    return found


def samples(folder: Path, run: Curves) -> list[tuple[str, int, list[dict]]]:
    """(stage, step, completions) at the start, middle and end of training; of RL stages where there are some."""
    order = {row["stage"]: i for i, row in reversed(list(enumerate(run.rows)))}
    files = [(match[1], int(match[2]), path) for path in sorted((folder / "rollouts").glob("*.parquet"))
             if (match := re.fullmatch(r"(.+)-(\d+)", path.stem))]  # fmt: skip
    files = [file for file in files if file[0] not in run.sft] or files
    files.sort(key=lambda file: (order.get(file[0], len(order)), file[1]))
    chosen = sorted({0, len(files) // 2, len(files) - 1}) if files else []
    return [(stage, step, pick(_table(path, COLUMNS))) for stage, step, path in (files[i] for i in chosen)]


def pick(rows: Sequence[dict]) -> list[dict]:
    """At most three completions, nulls left out: best and worst of the first group that has both, one more status."""
    rows = [{key: value for key, value in row.items() if value is not None and value == value} for row in rows]
    rows = [row for row in rows if row.get("purpose", "train").startswith("train") and "text" in row]
    groups: dict = {}
    for row in rows:
        if "reward" in row:
            groups.setdefault(row.get("draw", 0), []).append(row)
    ranked = [sorted(group, key=lambda row: -row["reward"]) for _, group in sorted(groups.items())]
    mixed = [group for group in ranked if group[0]["reward"] > group[-1]["reward"]]
    chosen = [mixed[0][0], mixed[0][-1]] if mixed else rows[:1]
    seen = {row.get("status") for row in chosen}
    return chosen + [row for row in rows if row.get("status") not in seen][:1]


def _table(path: Path, columns: Sequence[str]) -> list[dict]:
    """Rows of a table under the run, with those of `columns` that it has; none where there is no table."""
    if not path.is_file():
        return []
    try:
        names = pq.read_schema(path).names
        return pq.read_table(path, columns=[name for name in columns if name in names]).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise ValueError(f"{path}: not readable as parquet ({error}); remove the file to do without it") from None


def visible(text: str, longest: int = LONGEST) -> str:
    """Text as it stands, with control, bidirectional and other invisible characters written out, its middle cut."""
    if len(text) > longest:
        half = longest // 2
        text = f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\u{ord(char):04x}" for char in text)


def _manifest(folder: Path) -> dict:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); resume the run to repair it") from None
    return manifest if isinstance(manifest, dict) else {}


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
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        finalize=lambda value: visible(value, 10**9) if type(value) is str else value,
    )  # fmt: skip
    dumped = partial(json.dumps, indent=2, ensure_ascii=False, default=str)
    environment.filters |= {"visible": visible, "count": _count, "duration": _duration, "json": dumped}
    return environment.get_template("report.html.j2").render(
        outcomes=summary_table(folders, curves),
        contrasts=contrasts(folders, curves),
        pictures=[(p.key, p.is_wide, _encoded(p.light), _encoded(p.dark)) for p in pictures],
        samples=[(run.label, samples(folder, run)) for folder, run in zip(folders, curves)],
        manifests=[(run.label, manifest) for run, manifest in zip(curves, manifests)],
        notes=notes,
        alarms=list(filter(None, map(alarm, curves))),
        has_sft=any(run.sft for run in curves),
    )


def _encoded(png: bytes) -> Markup:
    return Markup("data:image/png;base64," + b64encode(png).decode())


def _count(value: float | None) -> str:
    """A number as people say it: 950, 12k, 3.4M."""
    if value is None:
        return "-"
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.4g}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if (whole := round(seconds)) < 3600:
        return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{seconds:.1f} s"
    return f"{whole // 3600} h {whole // 60 % 60:02} min"
