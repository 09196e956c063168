"""What the model wrote, for the console: one right completion of a step's block and one wrong, cut to a few lines. Not
the report's samples, which are read from the tables (`r1lab.report.runs`)."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from r1lab.records import Scored, Settled
from r1lab.run.visible import visible
from r1lab_data import Problem

MOST_CHARACTERS, MOST_LINES, PROMPT_LINES = 600, 6, 2
"""Of one text; its middle is left out."""
INDENT_COLUMNS = 11


def sample_lines(block: Sequence[Settled], console: Console) -> list[Text]:
    """Lines as wide as the console; none where nothing was sampled, as in a step of demonstrations."""
    lines, shown = [], None
    for problem, scored in pick(block):
        if problem is not shown:
            lines += _lines("problem", "dim", _question(problem), console, PROMPT_LINES)
            shown = problem
        name = _named(scored)
        lines += _lines(name, "green" if name == "right" else "red", scored.rollout.text, console, MOST_LINES)
        if name != "right" and (why := _why(scored)):
            lines += _lines("", "", why, console, PROMPT_LINES, text_style="dim")
    return lines


def pick(block: Sequence[Settled]) -> list[tuple[Problem, Scored]]:
    """A right completion and a wrong one: of the first group that has both, else the first of each."""
    first: dict[bool, tuple[Problem, Scored]] = {}
    for settled in block:
        of_group: dict[bool, tuple[Problem, Scored]] = {}
        for member in settled.drawn.members:
            if member.is_sampled:
                of_group.setdefault(member.score == 1, (settled.drawn.draw.problem, member))
        if len(of_group) == 2:
            first = of_group
            break
        first = of_group | first
    return [first[is_right] for is_right in (True, False) if is_right in first]


def _question(problem: Problem) -> str:
    """The problem without its template; of a conversation its last turn."""
    return problem.prompt if isinstance(problem.prompt, str) else str(problem.prompt[-1].get("content", ""))


def _named(scored: Scored) -> str:
    """What is said of a completion in a word: its verdict or, where it has none, its reward."""
    if scored.verdict is None:
        return "no reward" if scored.reward is None else f"{scored.reward:+.3g}"
    return "right" if scored.verdict.score == 1 else scored.verdict.status.replace("_", " ")


def _why(scored: Scored) -> str:
    if scored.verdict is None:
        return ""
    read = f"read as {scored.verdict.extracted!r}" if scored.verdict.extracted else ""
    return "; ".join(filter(None, (read, scored.verdict.reason)))


def _lines(name: str, style: str, text: str, console: Console, most: int, text_style: str = "") -> Iterator[Text]:
    """The text beside its name, over at most so many lines; what a terminal would obey is written out."""
    width = max(20, console.width - INDENT_COLUMNS - 2)
    plain = visible(text, MOST_CHARACTERS, " [... {} characters left out ...] ").strip("\n").expandtabs(4)
    parts = [part.plain for line in plain.split("\n") for part in Text(line).wrap(console, width) or [Text()]]
    if len(parts) > most:
        head, tail = most // 2, most - 1 - most // 2
        gap = f"[... {len(parts) - head - tail} lines left out ...]"
        parts = [*parts[:head], gap, *(parts[-tail:] if tail else [])]
    for at, part in enumerate(parts):
        yield Text.assemble(
            ((name if at == 0 else "").rjust(INDENT_COLUMNS - 1), style), (" | ", "dim"), (part, text_style)
        )
