"""The page of a comparison: the answer first, then curves, differences, completions, costs. Words: comparison.html.j2.

One file without links, its figures as PNG beside it; what a model wrote is escaped, cut and made visible.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from r1lab.comparison import claims, summary
from r1lab.comparison.contrasts import Contrast
from r1lab.comparison.figures import draw
from r1lab.comparison.findings import Findings
from r1lab.report.pages import encoded, environment


def write(findings: Findings, folder: Path) -> Path:
    """The page index.html and its figures in `folder`; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = draw(findings)
    for picture in pictures:
        (folder / f"{picture.key}.png").write_bytes(picture.light)
    page = folder / "index.html"
    page.write_text(_render(findings, pictures), encoding="utf-8")
    return page


def _render(findings: Findings, pictures: Sequence) -> str:
    template = environment().get_template("comparison.html.j2")
    return template.render(
        found=findings,
        lead=summary.lead(findings),
        more=summary.more(findings),
        fair=claims.fair(findings),
        sections=claims.sections(findings),
        verdict=summary.verdict,
        pictures={each.key: (each.is_wide, encoded(each.light), encoded(each.dark)) for each in pictures},
        compared=side_by_side(findings),
        power=[each for each in findings.contrasts if each.resolvable],
        closest=closest(findings.contrasts),
    )


def closest(contrasts: Sequence[Contrast]) -> Contrast | None:
    """The tested pair that this many seeds resolve worst."""
    tested = [each for each in contrasts if each.resolvable]
    return max(tested, key=lambda each: each.resolvable[each.num_seeds], default=None)


def side_by_side(findings: Findings) -> list[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """For a few problems, each regime's completion at its first seed, last evaluation: (prompt, [(regime, row)]).

    Chosen by rule, not by eye: of the problems that all were asked, the first that all got right, the first that some
    did, the first that none did.
    """
    firsts = [(each.name, each.trials[0].last_evaluation(findings.on).rows) for each in findings.regimes]
    tables = [(name, {row["problem_id"]: row for row in reversed(rows)}) for name, rows in firsts]
    shared = [row["problem_id"] for row in firsts[0][1] if all(row["problem_id"] in table for _, table in tables)]
    kinds: dict[str, str] = {}
    for problem in dict.fromkeys(shared):
        right = sum(table[problem]["score"] == 1.0 for _, table in tables)
        kinds.setdefault("all" if right == len(tables) else "none" if right == 0 else "some", problem)
    chosen = [kinds[kind] for kind in ("all", "some", "none") if kind in kinds]
    return [
        (tables[0][1][problem]["prompt_text"] or problem, [(name, _shown(table[problem])) for name, table in tables])
        for problem in chosen
    ]


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a row the page shows: no nulls, and an evaluation pays no reward."""
    return {key: value for key, value in row.items() if value is not None and key != "prompt_text"}
