"""The figures of a comparison: scores over the budget, the differences, where each run ended. Themes stand in
`r1lab.report.theme`."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, PercentFormatter

from r1lab.comparison.contrasts import Contrast
from r1lab.comparison.design import Sweep
from r1lab.comparison.findings import Findings, Regime
from r1lab.report.coverage import Line, draw_coverage
from r1lab.report.figures import Picture
from r1lab.report.theme import DASHES, MARKERS, Theme, axes_grid, dress_axes, legend, png_pair, shown_label
from r1lab.stats.intervals import Interval

GRID = 200
"""Places at which seeds' curves are averaged."""


def draw(findings: Findings) -> list[Picture]:
    """Every figure that has numbers, in the page's order."""
    paired = [(pair, pair.difference) for pair in findings.contrasts if pair.difference is not None]
    pictures = [Picture("curves", True, *png_pair((9.6, 4.2), lambda figure, theme: _curves(figure, findings, theme)))]
    if paired:
        size = (9.6, 1.1 + 0.42 * len(paired))
        pictures.insert(
            0, Picture("differences", True, *png_pair(size, lambda figure, theme: _forest(figure, paired, theme)))
        )
    size = (9.6, 1.1 + 0.42 * len(findings.regimes))
    pictures.append(Picture("ends", True, *png_pair(size, lambda figure, theme: _ends(figure, findings, theme))))
    if findings.design.sweep is not None:
        sweep = findings.design.sweep
        look = png_pair((9.6, 4.2), lambda figure, theme: _sweep(figure, findings, sweep, theme))
        pictures.insert(0, Picture("sweep", True, *look))
    if lines := _coverage_lines(findings):
        pictures.append(Picture("coverage", True, *draw_coverage(lines)))
    return pictures


def _coverage_lines(findings: Findings) -> list[Line]:
    """The model they began with, once, and what each regime made of it; none where one sample says nothing."""
    arms = [(each.name, each.coverage) for each in findings.regimes if each.coverage and each.coverage.n > 1]
    if not arms:
        return []
    base = ("before training", [(each.k, each.base) for each in arms[0][1].curve])
    return [base, *((name, [(each.k, each.trained) for each in coverage.curve]) for name, coverage in arms)]


def band(regime: Regime, set_name: str) -> tuple[np.ndarray, np.ndarray]:
    """Tokens [GRID], scores_SX [seeds, GRID] on straight lines between evaluations, as far as every seed went."""
    points = [np.array(trial.points(set_name)) for trial in regime.trials]
    start, end = max(each[0, 0] for each in points), min(each[-1, 0] for each in points)
    x = np.linspace(start, max(start, end), GRID)
    return x, np.stack([np.interp(x, each[:, 0], each[:, 1]) for each in points])


def _curves(figure: Figure, findings: Findings, theme: Theme) -> None:
    """A line a regime, the mean over its seeds; the band from the lowest seed to the highest."""
    (ax,) = axes_grid(figure, 1, 1)
    dress_axes(ax, theme, "training budget so far (tokens)", f"{shown_label(findings.on)}: right answers")
    looks = list(zip(findings.regimes, cycle(theme.runs), cycle(MARKERS), cycle(DASHES)))
    for regime, colour, marker, dash in looks:
        x, scores_SX = band(regime, findings.on)
        ax.fill_between(x, scores_SX.min(0), scores_SX.max(0), color=colour, alpha=0.16, linewidth=0)
        ax.plot(x, scores_SX.mean(0), color=colour, linestyle=dash, linewidth=1.9, marker=marker, markersize=5,
                markevery=(GRID // 12, GRID // 6))  # fmt: skip
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set_ylim(bottom=-0.01)
    legend(figure, [_handle(*look) for look in looks], theme)


def _handle(regime: Regime, colour: str, marker: str, dash) -> Line2D:
    look = {"color": colour, "marker": marker, "markersize": 5, "linestyle": dash, "linewidth": 1.9}
    return Line2D([], [], label=shown_label(regime.name), **look)


def _forest(figure: Figure, paired: Sequence[tuple[Contrast, Interval]], theme: Theme) -> None:
    """A line a pair: the 95 % interval thick, the corrected one thin; filled where the pair is ranked."""
    (ax,) = axes_grid(figure, 1, 1)
    dress_axes(ax, theme, "difference, points of right answers", "")
    ax.axvline(0, color=theme.ink, linewidth=1.1)
    for row, (pair, difference) in enumerate(paired):
        colour = theme.runs[0] if pair.winner else theme.ink
        if pair.corrected is not None:
            ax.plot([100 * pair.corrected.low, 100 * pair.corrected.high], [row, row], color=colour, linewidth=1)
        ends = [100 * difference.low, 100 * difference.high]
        ax.plot(ends, [row, row], color=colour, linewidth=3.4, solid_capstyle="butt")
        ax.plot(100 * difference.value, row, "o", color=colour, markersize=8, markeredgewidth=1.6,
                markerfacecolor=colour if pair.winner else theme.paper)  # fmt: skip
        seeds = [100 * value for value in pair.by_seed.values()]
        ax.plot(seeds, [row + 0.27] * len(seeds), "|", color=theme.ink, markersize=6, alpha=0.75)
    ax.set_yticks(range(len(paired)), [f"{shown_label(pair.a)} - {shown_label(pair.b)}" for pair, _ in paired])
    ax.set_ylim(len(paired) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)


def _sweep(figure: Figure, findings: Findings, sweep: Sweep, theme: Theme) -> None:
    """A line a recipe over the values of the key, with its interval as a band; one that lacks the key is level."""
    (ax,) = axes_grid(figure, 1, 1)
    counted = "at the end" if findings.design.by == "end" else "at its best"
    dress_axes(ax, theme, shown_label(sweep.key), f"{shown_label(findings.on)}: right answers {counted}")
    handles, at = [], {value: place for place, value in enumerate(sweep.values)}
    known = {each.name for each in findings.regimes}
    for (recipe, cells), colour, marker, dash in zip(
        sweep.cells.items(), cycle(theme.runs), cycle(MARKERS), cycle(DASHES)
    ):
        having = [(at[value], findings.named(name).score) for value, name in cells.items() if name in known]
        x, scores = [place for place, _ in having], [score for _, score in having]
        look = {"color": colour, "linestyle": dash, "linewidth": 1.9, "marker": marker, "markersize": 5}
        ax.fill_between(x, [each.low for each in scores], [each.high for each in scores], color=colour, alpha=0.16,
                        linewidth=0)  # fmt: skip
        ax.plot(x, [each.value for each in scores], **look)
        handles.append(Line2D([], [], label=shown_label(recipe), **look))
    ax.set_xticks(range(len(at)), [shown_label(value) for value in at])
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    legend(figure, handles, theme)


def _ends(figure: Figure, findings: Findings, theme: Theme) -> None:
    """A panel a set, a line a regime: a mark a run, the mean with its interval; sets of another distribution beside."""
    panels = axes_grid(figure, 1 + len(findings.shifted), 1 + len(findings.shifted))
    _ends_of_set(panels[0], findings, theme)
    for ax, set_name in zip(panels[1:], findings.shifted):
        dress_axes(ax, theme, f"{shown_label(set_name)} (shifted), at the end", "")
        for row, (regime, colour, marker) in enumerate(zip(findings.regimes, cycle(theme.runs), cycle(MARKERS))):
            if (score := regime.shifted.get(set_name)) is not None:
                ax.plot([100 * score.low, 100 * score.high], [row, row], color=colour, linewidth=3.4)
                ax.plot(100 * score.value, row, marker, color=colour, markersize=8)
        ax.xaxis.set_major_formatter(PercentFormatter(100))
        ax.grid(axis="y", visible=False)


def _ends_of_set(ax: Axes, findings: Findings, theme: Theme) -> None:
    dress_axes(ax, theme, f"{shown_label(findings.on)}: right answers at the end", "")
    for row, (regime, colour, marker) in enumerate(zip(findings.regimes, cycle(theme.runs), cycle(MARKERS))):
        ax.plot([100 * regime.score.low, 100 * regime.score.high], [row, row], color=colour, linewidth=3.4)
        ax.plot(100 * regime.score.value, row, marker, color=colour, markersize=8)
        ends = [100 * value for value in regime.by_seed.values()]
        ax.plot(ends, [row + 0.27] * len(ends), "|", color=theme.ink, markersize=7)
        if regime.base is not None:
            ax.plot(100 * regime.base, row, marker, color=colour, markersize=7, markerfacecolor=theme.paper)
    ax.xaxis.set_major_formatter(PercentFormatter(100))
    ax.set_yticks(range(len(findings.regimes)), [shown_label(regime.name) for regime in findings.regimes])
    ax.set_ylim(len(findings.regimes) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
