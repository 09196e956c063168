"""Draws what `step.py --json` wrote: a step's phases, our sides beside TRL's.

python experiments/benchmarks/step_figure.py FIGURE.png FILE.json [FILE.json ...]
"""

import json
import sys
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

NAMES = {"trl": "TRL", "mixed": "r1lab, bf16", "ours": "r1lab"}
PHASES = {"rollout": "#0b62b0", "score": "#d9a400", "update": "#8cb4d8", "rest": "#59636e"}


def draw(files: list[Path], out: Path) -> None:
    """One panel a file: seconds of each phase, the median over the steps."""
    figure = Figure(figsize=(7.2, 1.0 + 1.3 * len(files)), layout="constrained")
    FigureCanvasAgg(figure)
    for ax, file in zip(figure.subplots(len(files), squeeze=False)[:, 0], files, strict=True):
        rows = {row["name"]: row for row in json.loads(file.read_text(encoding="utf-8"))}
        whole = rows["whole_step_vs_trl"]
        sides = [name for name in NAMES if name in whole["sides"]]
        for place, side in enumerate(sides):
            left = 0.0
            for phase, colour in PHASES.items():
                seconds = whole["sides"][side]["median"][phase]
                ax.barh(place, seconds, left=left, color=colour, height=0.6, label=phase if place else None)
                left += seconds
            ax.text(left, place, f" {whole['sides'][side]['median']['whole']:.3g} s", va="center", fontsize=9)
        ax.set_yticks(range(len(sides)), [NAMES[name] for name in sides])
        ax.set_title(f"{whole['work']['model']}: {whole['value']:.2f} times as fast", fontsize=10, loc="left")
        ax.spines[["top", "right"]].set_visible(False)
        ax.margins(x=0.12)
    figure.axes[-1].set_xlabel("seconds a step, median")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(PHASES), frameon=False, fontsize=9)
    figure.savefig(out, dpi=144)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} FIGURE.png FILE.json [FILE.json ...]")
    draw([Path(name) for name in sys.argv[2:]], Path(sys.argv[1]))
