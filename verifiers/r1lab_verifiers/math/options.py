"""The options of a multiple-choice problem, where the problem tells them: a letter then stands for its option's text.

Text in, text out. Which letter was chosen is `words` and `extract`'s to say.
"""

import re
from dataclasses import replace

from r1lab_verifiers.math.read.tree import Choice, Node
from r1lab_verifiers.verdict import Item

_KEYS = ("options", "choices")
_MARK = re.compile(r"(?<![A-Za-z0-9])\(?([A-J])[).:](?=[\s}$\\])")
_FRAME = re.compile(
    r"^(?:[\s}$]|\\(?:quad|qquad|[ ~,;]))+|(?:[\s({$]|\\(?:quad|qquad|text(?:bf)?\s*\{|mathrm\s*\{|[ ~,;\\]))+$"
)


def with_options(nodes: tuple[Node, ...], item: Item) -> tuple[Node, ...]:
    """The nodes, each bare letter with its option's text, where the problem has such an option."""
    if not any(isinstance(node, Choice) and not node.text for node in nodes):
        return nodes
    known = _from_meta(item.meta) or _from_prompt(item.prompt)
    return tuple(
        replace(node, text=known.get(node.letter, "")) if isinstance(node, Choice) and not node.text else node
        for node in nodes
    )


def _from_meta(meta: dict) -> dict[str, str]:
    """A column `options` or `choices`: texts in order, texts by letter, or {label: [...], text: [...]}."""
    found = next((meta[key] for key in _KEYS if meta.get(key)), None)
    if isinstance(found, dict) and isinstance(found.get("text"), list):
        labels = found.get("label") or [chr(65 + at) for at in range(len(found["text"]))]
        found = dict(zip(labels, found["text"]))
    if isinstance(found, list | tuple):
        found = {chr(65 + at): text for at, text in enumerate(found)}
    return {str(letter): str(text) for letter, text in found.items()} if isinstance(found, dict) else {}


def _from_prompt(prompt: str | tuple[dict[str, str], ...]) -> dict[str, str]:
    """The last run of `(A) ... (B) ...` in the problem's text."""
    text = prompt if isinstance(prompt, str) else str(prompt[-1].get("content", "")) if prompt else ""
    run: list[re.Match] = []
    for mark in _MARK.finditer(text):
        if mark[1] == "A":
            run = [mark]
        elif run and ord(mark[1]) == ord(run[-1][1]) + 1:
            run.append(mark)
    if len(run) < 2:
        return {}
    ends = [mark.start() for mark in run[1:]] + [len(text)]
    return {mark[1]: _FRAME.sub("", text[mark.end() : end].partition("\n")[0]) for mark, end in zip(run, ends)}
