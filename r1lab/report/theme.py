"""Shared by all figures: two themes, a grid of axes, their style, PNG bytes out. Not what is drawn.

Data in, PNG bytes out: nothing reads a file or keeps a global (matplotlib's object interface, not pyplot). Colours are
Okabe and Ito's, told apart by the colour-blind; markers and dashes tell lines apart without any.
"""

from collections.abc import Callable
from io import BytesIO
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import LineStyleType

MARKERS = "osD^vP"
DASHES: tuple[LineStyleType, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1, 1, 1)))


class Theme(NamedTuple):
    paper: str
    ink: str
    faint: str
    runs: tuple[str, ...]


LIGHT = Theme("#ffffff", "#1f2328", "#d8dee4", ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C6D00", "#56B4E9"))
DARK = Theme("#161b22", "#d6dde4", "#353c45", ("#56B4E9", "#E69F00", "#2CC295", "#E59CC4", "#F0E442", "#8FA7FF"))


def png_pair(size: tuple[float, float], paint: Callable[[Figure, Theme], None]) -> list[bytes]:
    """A figure of so many inches as PNG, painted for a light page and for a dark one."""
    images = []
    for theme in (LIGHT, DARK):
        figure = Figure(figsize=size, dpi=150, layout="constrained", facecolor=theme.paper)
        paint(figure, theme)
        # Without the name of the software: other versions of matplotlib shall not change the file for that alone.
        figure.savefig(buffer := BytesIO(), format="png", metadata={"Software": None})
        images.append(buffer.getvalue())
    return images


def axes_grid(figure: Figure, num: int, columns: int) -> list[Axes]:
    """So many axes in a grid of so many columns."""
    shape = (-(-num // columns), min(num, columns))
    grid = list(figure.subplots(*shape, squeeze=False, sharex=True, sharey=columns > 1).flat)
    for ax in grid[num:]:
        ax.remove()
    return grid[:num]


def dress_axes(ax: Axes, theme: Theme, x: str, y: str) -> None:
    """Colours, grid and the axes' names."""
    ax.set_facecolor(theme.paper)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(theme.faint)
    ax.grid(color=theme.faint, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(colors=theme.ink, labelsize=8.5, length=0, labelbottom=True)
    ax.set_xlabel(x, color=theme.ink, fontsize=9)
    ax.set_ylabel(y, color=theme.ink, fontsize=9)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def legend(figure: Figure, handles: list, theme: Theme) -> None:
    """Above the axes, in as many rows as it takes; none without handles."""
    if handles:
        look = {"frameon": False, "fontsize": 8.5, "labelcolor": theme.ink, "handlelength": 1.6, "columnspacing": 1.2}
        inches = max(1.35, 0.5 + 0.075 * max(len(handle.get_label()) for handle in handles))
        rows = -(-len(handles) // max(1, int(figure.get_figwidth() / inches)))
        columns = -(-len(handles) // rows)
        figure.legend(handles=handles, loc="outside upper left", ncols=columns, borderaxespad=0.1, **look)


def shown_label(label: str) -> str:
    """A label matplotlib shows as it stands: no mathematics, not hidden by a leading underscore, not endless."""
    text = "".join(char if char.isprintable() else "?" for char in label)
    return (" " if text.startswith("_") else "") + (text if len(text) <= 40 else text[:37] + "...").replace("$", r"\$")
