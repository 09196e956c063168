"""The figures of a report: what each shows is a row of `CHARTS`, how it is painted one of four functions.

A chart whose numbers no run has is left out. Themes, axes and legends stand in `r1lab.report.theme`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, cycle
from math import inf
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import EngFormatter, FormatStrFormatter, PercentFormatter

from r1lab import timing
from r1lab.health.rules import ROUNDING
from r1lab.report.runs import Curves
from r1lab.report.theme import DASHES, MARKERS, Theme, axes_grid, dress_axes, legend, png_pair, shown_label
from r1lab.stats.intervals import running_mean

SMOOTHED_POINTS = 40  # points from which on a curve is smoothed, the raw one staying behind it
VERDICTS = {
    "correct": "#009E73", "partial": "#F0E442", "wrong": "#D55E00", "no_answer": "#9AA0A6", "unparsable": "#CC79A7",
    "timeout": "#E69F00", "crash": "#7A3E9D", "undecided": "#56B4E9", "error": "#0072B2",
    "crossing": "#8C6D00", "abstained": "#B5A27F",
}  # fmt: skip
PHASES = dict(zip((*timing.PHASES, "other"), (*VERDICTS.values(), "#5F6B76"), strict=True))


@dataclass(frozen=True)
class Chart:
    """The numbers of one figure."""

    key: str
    paint: "Paint"
    unit: str = ""
    keys: tuple[tuple[str, str], ...] = ()
    """(metric, name of its line)."""
    prefix: str = ""
    """Instead of keys: every metric that begins so, if there are at least `fewest`."""
    fewest: int = 1
    is_share: bool = False
    may_log: bool = False
    """Logarithmic where the values span more than two powers of ten."""
    least_top: float = 0.0
    """Where a linear axis ends at least: what is far below is no event."""

    def has_data(self, runs: Sequence[Curves]) -> bool:
        if self.paint is paint_scores:
            return bool(_sets(runs))
        if self.paint is paint_calibration:
            return any(map(_calibrated, runs))
        if self.prefix:
            return max(len(run.names(self.prefix)) for run in runs) >= self.fewest
        return any(run.series(key)[0] for run in runs for key, _ in self.keys)


Paint = Callable[[Figure, Chart, Sequence[Curves], Theme], None]


class Picture(NamedTuple):
    """One figure: its PNG for light and for dark pages. Its words are the template's."""

    key: str
    is_wide: bool
    light: bytes
    dark: bytes


def draw(runs: Sequence[Curves]) -> list[Picture]:
    """Every figure for which some run has numbers, in the order of `CHARTS`."""
    return [_picture(chart, runs) for chart in CHARTS if chart.has_data(runs)]


def _picture(chart: Chart, runs: Sequence[Curves]) -> Picture:
    is_wide = chart.paint is paint_scores or (chart.paint is not paint_lines and len(runs) > 1)
    tall: dict[Paint, float] = {paint_scores: 3.9 * len(_sets(runs)), paint_phases: 1.3 + 0.42 * len(runs)}
    height = tall.get(chart.paint, 0.5 + 2.6 * -(-len(runs) // 3)) if is_wide else 3.1
    size = (9.6 if is_wide else 4.7, height)
    return Picture(chart.key, is_wide, *png_pair(size, lambda figure, theme: chart.paint(figure, chart, runs, theme)))


def _sets(runs: Sequence[Curves]) -> list[str]:
    """The evaluation sets, in order of appearance."""
    names = [name for run in runs for name in run.names("eval/") if name.endswith("/avg")]
    return list(dict.fromkeys(name.removesuffix("/avg") for name in names))


def paint_scores(figure: Figure, chart: Chart, runs: Sequence[Curves], theme: Theme) -> None:
    """One panel an evaluation set: score with its interval over budget tokens, all runs in it."""
    for ax, name in zip(axes_grid(figure, len(_sets(runs)), 1), _sets(runs)):
        dress_axes(ax, theme, "training budget so far (tokens)", f"{shown_label(name)}: right answers")
        _shade(ax, runs, "at/tokens", theme)
        for run, colour, marker in zip(runs, cycle(theme.runs), cycle(MARKERS)):
            points = run.series(f"eval/{name}/avg", "at/tokens")
            ax.plot(*points, color=colour, marker=marker, markersize=4.5, linewidth=1.8)
            (x, low), (_, high) = (run.series(f"eval/{name}/{end}", "at/tokens") for end in ("low", "high"))
            if len(low) == len(high):
                ax.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        _scale(ax, True)
    legend(figure, _run_handles(runs, theme, has_markers=True), theme)


def paint_lines(figure: Figure, chart: Chart, runs: Sequence[Curves], theme: Theme) -> None:
    """One panel: runs by colour, metrics by dash."""
    (ax,) = axes_grid(figure, 1, 1)
    dress_axes(ax, theme, "training steps, all stages", chart.unit)
    _shade(ax, runs, "at/step", theme)
    shown = [(key, name) for key, name in chart.keys if any(run.series(key)[0] for run in runs)]
    for run, colour in zip(runs, cycle(theme.runs)):
        for (key, _), dash in zip(shown, DASHES):
            _curve(ax, run, key, color=colour, linestyle=dash)
    _scale(ax, chart.is_share, chart.may_log, chart.least_top)
    dashes = [Line2D([], [], color=theme.ink, linestyle=dash, label=name) for (_, name), dash in zip(shown, DASHES)]
    legend(figure, _run_handles(runs, theme) + (dashes if len(shown) > 1 else []), theme)


def paint_parts(figure: Figure, chart: Chart, runs: Sequence[Curves], theme: Theme) -> None:
    """One panel a run: everything under a prefix; statuses stacked up to 1, anything else as lines."""
    names = list(dict.fromkeys(name for run in runs for name in run.names(chart.prefix)))
    table = dict(zip(names, theme.runs * len(names)))
    is_stacked = chart.prefix == "verdict/"
    if is_stacked:
        occurring = {name for name in names if any(any(run.series(chart.prefix + name)[1]) for run in runs)}
        table = {name: colour for name, colour in VERDICTS.items() if name in occurring}
    for i, (ax, run) in enumerate(zip(axes_grid(figure, len(runs), 3), runs)):
        dress_axes(ax, theme, "training steps, all stages", "" if i % 3 else chart.unit)
        ax.set_title(shown_label(run.label) if len(runs) > 1 else "", color=theme.ink, fontsize=9.5, loc="left")
        if is_stacked:
            _stack(ax, run, chart.prefix, table)
        else:
            for name, colour in table.items():
                _curve(ax, run, chart.prefix + name, color=colour, linestyle="-")
        _scale(ax, chart.is_share)
    ax.set_xlim(left=0)  # of all panels
    handles = [Patch(color=colour, label=shown_label(name.replace("_", " "))) for name, colour in table.items()]
    legend(figure, handles, theme)


def paint_calibration(figure: Figure, chart: Chart, runs: Sequence[Curves], theme: Theme) -> None:
    """One panel: how often came true what the last evaluation gave a probability, bin by bin, a line a run and set."""
    (ax,) = axes_grid(figure, 1, 1)
    dress_axes(ax, theme, "probability that the scores say", chart.unit)
    ax.plot([0, 1], [0, 1], color=theme.ink, linewidth=0.8, alpha=0.5)
    handles = []
    for run, colour in zip(runs, cycle(theme.runs)):
        for (name, bins), dash in zip(_calibrated(run).items(), DASHES):
            look = {"color": colour, "linestyle": dash, "marker": "o", "markersize": 4, "linewidth": 1.7}
            ax.plot([each["probability"] for each in bins], [each["share"] for each in bins], **look)
            label = shown_label(f"{run.label}: {name}" if len(runs) > 1 else name)
            handles.append(Line2D([], [], color=colour, linestyle=dash, label=label))
    _scale(ax, True)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    legend(figure, handles, theme)


def _calibrated(run: Curves) -> dict[str, list[dict[str, float]]]:
    """The bins of each set's last evaluation that has some."""
    found: dict[str, list[dict[str, float]]] = {}
    for row in run.rows:
        bins: dict[str, dict[str, dict[str, float]]] = {}
        for key, value in row.items():
            # "eval/held_out/calibration/0.9_1/share"; not "eval/held_out/avg"
            if match := re.fullmatch(r"eval/(.+)/calibration/([^/]+)/(\w+)", key):
                bins.setdefault(match[1], {}).setdefault(match[2], {})[match[3]] = value
        found |= {name: [each for _, each in sorted(of_set.items())] for name, of_set in bins.items()}
    return found


def paint_phases(figure: Figure, chart: Chart, runs: Sequence[Curves], theme: Theme) -> None:
    """One bar a run: seconds of the whole run by phase."""
    (ax,) = axes_grid(figure, 1, 1)
    dress_axes(ax, theme, chart.unit, "")
    spent = [{name: sum(run.series(f"time/{name}")[1]) for name in PHASES} for run in runs]
    for i, (run, seconds) in enumerate(zip(runs, spent)):
        seconds["other"] = max(0.0, sum(run.series("time/total")[1]) - sum(seconds.values()))
        lefts = accumulate(seconds.values(), initial=0.0)
        ax.barh(i, list(seconds.values()), left=list(lefts)[:-1], color=list(PHASES.values()), height=0.62)
    ax.set_yticks(range(len(runs)), [shown_label(run.label) for run in runs] if len(runs) > 1 else [""])
    ax.set_ylim(len(runs) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    used = {name: colour for name, colour in PHASES.items() if any(seconds[name] for seconds in spent)}
    legend(figure, [Patch(color=colour, label=name) for name, colour in used.items()], theme)


def _shade(ax: Axes, runs: Sequence[Curves], x: str, theme: Theme) -> None:
    """Mark the SFT stages: shaded where one run is drawn; of several as a bar above, for another run's steps that lie
    in the same place are no SFT."""
    stages = [(i, stage, run.rows) for i, run in enumerate(runs) for stage in sorted(run.sft)]
    steps = [(i, [row[x] for row in rows if row.get("stage") == stage]) for i, stage, rows in stages]
    spans = {(min(step), max(step)): i for i, step in reversed(steps)}
    above = ax.get_xaxis_transform()
    for (low, high), i in spans.items():
        if len(runs) == 1:
            ax.axvspan(low, high, color=theme.runs[0], alpha=0.1, linewidth=0)
        else:
            look = {"color": theme.runs[i % 6], "linewidth": 0, "clip_on": False}
            ax.add_artist(Rectangle((low, 1.015), high - low, 0.02, transform=above, **look))
    if spans:
        (low, high), i = min(spans.items())
        ax.text(low if len(runs) == 1 else high, 1.01, " SFT", color=theme.runs[i % 6], fontsize=8.5, transform=above)


def _curve(ax: Axes, run: Curves, key: str, **look) -> None:
    """One metric of one run, each stage by itself: a jump between stages is no slope."""
    for stage in dict.fromkeys(row["stage"] for row in run.rows):
        x, y = replace(run, rows=tuple(row for row in run.rows if row["stage"] == stage)).series(key)
        y = [0.0 if abs(value) < ROUNDING else value for value in y]  # else the axis would make a spike of rounding
        if is_long := len(x) >= SMOOTHED_POINTS:
            ax.plot(x, y, linewidth=0.6, alpha=0.35, color=look["color"])
        y = running_mean(y, len(y) // 40) if is_long else y
        ax.plot(x, y, linewidth=1.7, marker="o" if len(x) < 3 else None, markersize=4, **look)


def _stack(ax: Axes, run: Curves, prefix: str, table: dict[str, str]) -> None:
    rows = [row for row in run.rows if any(row.get(prefix + name) is not None for name in table)]
    shares = [running_mean([row.get(prefix + name) or 0.0 for row in rows], len(rows) // 40) for name in table]
    if rows:
        ax.stackplot([row["at/step"] for row in rows], *shares, colors=list(table.values()), linewidth=0)


def _scale(ax: Axes, is_share: bool, may_log: bool = False, least_top: float = 0.0) -> None:
    """What is never negative begins at 0; a share ends at 1 where it comes near."""
    values = [float(value) for line in ax.lines for value in np.asarray(line.get_ydata())] or [0.0]
    lowest, highest = min(values), max(values)
    if may_log and lowest > 0 and highest > 100 * lowest:
        ax.set_yscale("log")
    elif lowest >= 0:
        top = min(ax.get_ylim()[1] if highest > 0 else 1.0, 1.02 if is_share else inf)
        top = max(top, least_top) if highest > 0 else top
        ax.set_ylim(-0.01 * top if ax.lines else 0, top)  # a line at zero stays clear of the frame
    if is_share:
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    elif highest >= 1000 or 0 < highest < 0.01:
        ax.yaxis.set_major_formatter(EngFormatter(sep="") if highest >= 1000 else FormatStrFormatter("%.2g"))


def _run_handles(runs: Sequence[Curves], theme: Theme, has_markers: bool = False) -> list[Line2D]:
    if len(runs) < 2:
        return []
    looks = zip(cycle(theme.runs), cycle(MARKERS if has_markers else [""]))
    looks = [{"color": colour, "marker": marker, "markersize": 4.5} for (colour, marker), _ in zip(looks, runs)]
    return [Line2D([], [], linewidth=1.8, label=shown_label(run.label), **look) for run, look in zip(runs, looks)]


CLIPS = (("loss/clip_low", "below"), ("loss/clip_high", "above"))
TWICE = (("second/lenient", "right to the first alone"), ("second/strict", "to the second alone"))
TURNS = (("episode/turns", "turns"), ("episode/calls", "calls"), ("episode/failed_calls", "failing calls"))
CHARTS = (
    Chart("score", paint_scores),
    Chart("reward", paint_lines, "mean reward", (("reward/mean", ""),)),
    Chart("pass", paint_lines, "share of completions", (("pass/share", ""),), is_share=True),
    Chart("verdicts", paint_parts, "share of completions", prefix="verdict/", is_share=True),
    Chart("second", paint_lines, "share of those judged twice", TWICE, is_share=True, least_top=0.05),
    Chart("length", paint_lines, "tokens", (("completion/mean", "mean"), ("completion/p95", "95th percentile"))),
    Chart(
        "truncated", paint_lines, "share of completions", (("completion/truncated", ""),), is_share=True, least_top=0.05
    ),
    Chart("turns", paint_lines, "a completion", TURNS),
    Chart("context", paint_lines, "share of tokens", (("episode/context_share", ""),), is_share=True),
    Chart("entropy", paint_lines, "nats per token", (("policy/entropy", ""),)),
    Chart("groups", paint_lines, "share of groups", (("group/zero_variance", ""),), is_share=True),
    Chart("sft", paint_lines, "loss", (("sft/loss", ""),)),
    Chart("scores", paint_lines, "share on the right side", (("scores/right", ""),), is_share=True),
    Chart("calibration", paint_calibration, "share that came true"),
    Chart("gradient", paint_lines, "norm", (("update/grad_norm", ""),), may_log=True),
    Chart("clipped", paint_lines, "share of tokens", CLIPS, is_share=True, least_top=0.02),
    Chart("kl", paint_lines, "nats per token", (("policy/kl_rollout", ""),), least_top=1e-5),
    Chart("mismatch", paint_lines, "nats", (("mismatch/mean", "mean"), ("mismatch/max", "max")), may_log=True),
    Chart("parts", paint_parts, "paid per completion", prefix="reward/part/", fewest=2),
    Chart("sources", paint_parts, "share of completions", prefix="pass/", fewest=2, is_share=True),
    Chart("phases", paint_phases, "seconds", tuple((f"time/{name}", "") for name in PHASES)),
    Chart("speed", paint_lines, "tokens per second", (("time/tokens_per_second", ""),)),
    Chart("mfu", paint_lines, "share of the machine's FLOPs", (("time/mfu", ""),), is_share=True),
)
"""In the page's order. The words of each stand in report.html.j2 under its key."""
