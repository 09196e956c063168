"""The figure of coverage: pass@k over k, a line and a band a model. Themes stand in `r1lab.report.theme`."""

from collections.abc import Sequence
from itertools import cycle

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from r1lab.report.theme import DASHES, MARKERS, Theme, axes_grid, dress_axes, legend, png_pair, shown_label
from r1lab.stats.intervals import Interval

Line = tuple[str, Sequence[tuple[int, Interval]]]
"""A model's name, and its pass@k with interval at each k."""


def draw_coverage(lines: Sequence[Line]) -> list[bytes]:
    """PNG for light pages and for dark ones."""
    return png_pair((9.6, 4.2), lambda figure, theme: _paint(figure, lines, theme))


def _paint(figure: Figure, lines: Sequence[Line], theme: Theme) -> None:
    (ax,) = axes_grid(figure, 1, 1)
    dress_axes(ax, theme, "k, samples a problem", "problems solved within k samples")
    handles = []
    for (name, points), colour, marker, dash in zip(lines, cycle(theme.runs), cycle(MARKERS), cycle(DASHES)):
        look = {"color": colour, "linestyle": dash, "linewidth": 1.9, "marker": marker, "markersize": 5}
        at = [k for k, _ in points]
        ax.plot(at, [each.value for _, each in points], **look)
        ax.fill_between(at, [each.low for _, each in points], [each.high for _, each in points], color=colour,
                        alpha=0.16, linewidth=0)  # fmt: skip
        handles.append(Line2D([], [], label=shown_label(name), **look))
    ks = sorted({k for _, points in lines for k, _ in points})
    ax.set_xscale("log", base=2)
    ax.set_xticks(ks, [str(k) for k in ks])
    ax.minorticks_off()
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    legend(figure, handles, theme)
