"""An audit for people: tables as text for a terminal, or one HTML page with a figure. Computes nothing."""

import shutil
import textwrap
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from r1lab.run.visible import visible
from r1lab.stats.intervals import Interval

TEXT_CELL_CHARACTERS, HTML_CELL_CHARACTERS, REASON_CHARACTERS = 120, 600, 600
"""Characters of a cell, and of a reason on lines of its own."""
PLAIN_COLUMNS = 100
"""Width of a text that goes to no terminal."""
LEAST_COLUMNS, NAME_COLUMNS = 12, 44
"""Columns that the cell of a word keeps, and a name where it is the only word of its row."""
MOST_HTML_ROWS = 1000
"""Rows of a table."""


@dataclass(frozen=True)
class Section:
    """A table with its title. The first `num_words` columns are words, the others figures."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[Sequence[object]]
    note: str = ""
    num_words: int = 1
    shown: int = 10**9
    """Rows shown in a terminal; a page shows MOST_HTML_ROWS."""
    has_reason: bool = False
    """The last column is a reason: in a terminal it stands whole under its row."""


@dataclass(frozen=True)
class Panel:
    """A chart of shares with their intervals: one line a label, one mark a series."""

    title: str
    rows: Sequence[tuple[str, Sequence[Interval | None]]]


def percent(share: Interval | None) -> str:
    """`1.5 % [0.4, 5.3]`, or a dash."""
    if share is None:
        return "-"
    return f"{100 * share.value:.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def points(interval: Interval | None) -> str:
    """`+3.1 points [+1.0, +5.2]`, or a dash."""
    if interval is None:
        return "-"
    return f"{100 * interval.value:+.1f} points [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


def cell(value: object, longest: int) -> str:
    """On one line, cut, with what a terminal would obey or cannot be seen written out."""
    text = "-" if value is None else str(value)
    cut = text[: longest - 3] + "..." if len(text) > longest else text
    return visible(cut.replace("\n", " ").replace("\t", " "), len(cut))


def as_text(sections: Sequence[Section]) -> str:
    """The tables for a terminal, as wide as it is; cells that do not fit go over several lines."""
    width = shutil.get_terminal_size((PLAIN_COLUMNS, 24)).columns
    return "\n\n".join("\n".join(_lines(section, width)) for section in sections if section.rows)


def _lines(section: Section, width: int) -> list[str]:
    rows = section.rows[: section.shown]
    num = len(section.header) - section.has_reason
    table = [section.header[:num], *([cell(value, TEXT_CELL_CHARACTERS) for value in row[:num]] for row in rows)]
    widths = _widths(table, section.num_words, width)
    lines = [section.title]
    for at, row in enumerate(table):
        cells = [textwrap.wrap(text, most, break_on_hyphens=False) or [""] for text, most in zip(row, widths)]
        for parts in zip_longest(*cells, fillvalue=""):
            padded = (
                text.ljust(most) if column < section.num_words else text.rjust(most)
                for column, (text, most) in enumerate(zip(parts, widths))
            )
            lines.append(f"  {'  '.join(padded)}".rstrip())
        reason = rows[at - 1][-1] if section.has_reason and at else None
        if reason:
            lines += textwrap.wrap(
                cell(reason, REASON_CHARACTERS), max(width, 40), initial_indent=" " * 6, subsequent_indent=" " * 6
            )
    left = len(section.rows) - section.shown
    return [*lines, *([f"  ... {left} more"] if left > 0 else [])]


def _widths(table: Sequence[Sequence[str]], num_words: int, width: int) -> list[int]:
    """Columns of a terminal for each column of the table: the widest words give way until all fit."""
    widths = [max(1, *map(len, column)) for column in zip(*table)]
    least = NAME_COLUMNS if num_words == 1 else LEAST_COLUMNS
    while sum(widths) + 2 * len(widths) > width:
        widest = max(range(min(num_words, len(widths))), key=widths.__getitem__)
        if widths[widest] <= least:
            break
        widths[widest] -= 1
    return widths


def as_html(title: str, sections: Sequence[Section], panels: Sequence[Panel], series: Sequence[str]) -> bytes:
    """One file without links; what a model wrote is escaped, cut and made visible."""
    from r1lab.report.pages import environment

    pictures = [b64encode(png).decode() for png in draw(panels, series)] if panels else []
    page = (
        environment()
        .get_template("audit.html.j2")
        .render(
            title=title,
            sections=[section for section in sections if section.rows],
            pictures=pictures,
            cell=lambda value: cell(value, HTML_CELL_CHARACTERS),
            most=MOST_HTML_ROWS,
        )
    )
    return page.encode()


def draw(panels: Sequence[Panel], series: Sequence[str]) -> list[bytes]:
    """The panels beside each other as PNG, for light pages and for dark ones."""
    from r1lab.report.theme import png_pair

    num_rows = max(len(panel.rows) for panel in panels)

    def paint(figure, theme) -> None:
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
            _paint(axes, panel, series, theme)
            axes.set_ylim(num_rows - 0.5, -0.5)
        if len(series) > 1:
            figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(series),
                          fontsize=9, labelcolor=theme.ink, frameon=False)  # fmt: skip

    return png_pair((9.6, 1.2 + 0.3 * num_rows), paint)


def _paint(axes, panel: Panel, series: Sequence[str], theme) -> None:
    from matplotlib.ticker import PercentFormatter

    from r1lab.report.theme import MARKERS

    for at, name in enumerate(series):
        offset = 0.25 * (at - (len(series) - 1) / 2)
        points = [
            (share, row + offset) for row, (_, shares) in enumerate(panel.rows) if (share := shares[at]) is not None
        ]
        for share, y in points:
            axes.plot([share.low, share.high], [y, y], color=theme.runs[at], linewidth=1.6, solid_capstyle="butt")
        xs, ys = [share.value for share, _ in points], [y for _, y in points]
        axes.plot(xs, ys, MARKERS[at], color=theme.runs[at], markersize=5, label=name)
    axes.set_facecolor(theme.paper)
    axes.set_title(panel.title, color=theme.ink, fontsize=10, loc="left")
    axes.set_yticks(range(len(panel.rows)), [label for label, _ in panel.rows])
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.tick_params(colors=theme.ink, labelsize=8, length=0)
    axes.grid(axis="x", color=theme.faint)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
