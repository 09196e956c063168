"""Reads the problem's side: the gold answer, what it may mean, its kind in a word, and the options of a choice.

Not the completion's side (`extract`). A gold that cannot be read makes every verdict an error: `Math.check` says so
before anything is trained on it.
"""

import re
from dataclasses import replace
from functools import lru_cache

from r1lab_verifiers.math.read.answer import MAX_ANSWER_BYTES, read
from r1lab_verifiers.math.read.tree import (
    Based,
    ChosenOption,
    Matrix,
    Mul,
    Node,
    Num,
    Percent,
    Pow,
    Prose,
    Quantity,
    Ratio,
    Relation,
    Seq,
    SetOp,
    Text,
    TimeOfDay,
)
from r1lab_verifiers.text.region import boxes
from r1lab_verifiers.verdict import Item

MAX_GOLD_CHARACTERS = 20 * MAX_ANSWER_BYTES
"""Characters of a gold with its solution around it."""
MAX_SHORT_CHARACTERS = 400
"""Characters of a gold in which several boxes are the members of one answer."""
# "['70', '71']"; not "[70, 71]"
_LIST_TEXT = re.compile(r"\s*\[\s*(?:'[^'\n]*'|\"[^\"\n]*\")(?:\s*,\s*(?:'[^'\n]*'|\"[^\"\n]*\"))*\s*,?\s*\]\s*")
# "'70'"; not "70"
_QUOTED = re.compile(r"'([^'\n]*)'|\"([^\"\n]*)\"")
# "7/20 ### 0.35"; not "#### 7"
_FORMS = re.compile(r"(?<=\S)\s*(?<!#)###(?!#)\s*(?=\S)")
# "3", "\\frac"; not "north"
_MATHEMATICS = re.compile(r"[0-9]|\\[A-Za-z]|[_^=<>]")
# "\\text{", "$"; not "\\frac"
_WORD_FRAMES = re.compile(r"\\(?:text|textbf|mathrm|mbox|boxed|quad)(?![A-Za-z])")
_OPTION_COLUMNS = ("options", "choices")
# "(A) 7"; not "CIA. 7"
_OPTION_MARK = re.compile(r"(?<![A-Za-z0-9])\(?([A-J])[).:](?=[\s}$\\])")
# "12 $\qquad"; not "12"
_OPTION_FRAME = re.compile(
    r"^(?:[\s}$]|\\(?:quad|qquad|[ ~,;]))+|(?:[\s({$]|\\(?:quad|qquad|text(?:bf)?\s*\{|mathrm\s*\{|[ ~,;\\]))+$"
)
"""What stands around an option's text in the problem."""
_KIND_NAMES = {
    Based: "number in a base",
    ChosenOption: "choice",
    TimeOfDay: "time",
    Matrix: "matrix",
    Num: "number",
    Percent: "percent",
    Prose: "sentence",
    Quantity: "quantity",
    Ratio: "ratio",
    SetOp: "set",
    Text: "text",
}


def gold_texts(answer: object) -> list[str]:
    """Where a gold says its answer: in its boxes (several that differ, in a short text, are its members), else behind
    `####` or `answer is`, else all of it."""
    text = str(answer)
    if len(text) > MAX_GOLD_CHARACTERS or not text.strip():
        return []
    if (members := _listed(text)) is not None:
        return members
    if inside := list(dict.fromkeys(boxes(text))):
        return inside if len(text) < MAX_SHORT_CHARACTERS else inside[-1:]
    for marker in ("####", "answer is"):
        if marker in text and text.rpartition(marker)[2].strip():
            return [text.rpartition(marker)[2]]
    return [text]


def looks_like_mathematics(text: str) -> bool:
    """Whether a text holds digits or TeX other than a frame around words."""
    return _MATHEMATICS.search(_WORD_FRAMES.sub(" ", text)) is not None


def _listed(text: str) -> list[str] | None:
    """The members of a gold that is a list's text, ['70'] or ["a", "b"]; None where it is none."""
    match = _LIST_TEXT.fullmatch(text)
    return [one or other for one, other in _QUOTED.findall(match[0])] if match else None


@lru_cache(maxsize=4096)
def gold_readings(answer: str) -> tuple[Node, ...]:
    """What a gold may mean; empty where it cannot be read. Several forms of it (`7/20 ### 0.35`) mean the same."""
    if "###" in answer and len(forms := _FORMS.split(answer)) > 1:
        return tuple(dict.fromkeys(node for form in forms for node in gold_readings(form)))
    readings = [read(text, is_gold=True) for text in gold_texts(answer)]
    if len(readings) < 2:
        return readings[0] if readings else ()
    return (joined([each for each in readings if each]),)


def joined(readings: list[tuple[Node, ...]]) -> Seq:
    """One list of what several places hold, each in its likeliest reading."""
    items = []
    for first, *_ in readings:
        items += first.items if isinstance(first, Seq) and first.kind == "list" else [first]
    return Seq("list", tuple(items))


def with_options(nodes: tuple[Node, ...], item: Item) -> tuple[Node, ...]:
    """The nodes, each bare letter with its option's text, where the problem has such an option."""
    if ChosenOption not in map(type, nodes):  # all but always
        return nodes
    if not any(isinstance(node, ChosenOption) and not node.text for node in nodes):
        return nodes
    known = _options_in_meta(item.meta) or _options_in_prompt(item.prompt)
    return tuple(
        replace(node, text=known.get(node.letter, "")) if isinstance(node, ChosenOption) and not node.text else node
        for node in nodes
    )


def _options_in_meta(meta: dict) -> dict[str, str]:
    """A column `options` or `choices`: texts in order, texts by letter, or {label: [...], text: [...]}."""
    options = next((meta[key] for key in _OPTION_COLUMNS if meta.get(key)), None)
    if isinstance(options, dict) and isinstance(options.get("text"), list):
        labels = options.get("label") or [chr(65 + at) for at in range(len(options["text"]))]
        options = dict(zip(labels, options["text"]))
    if isinstance(options, list | tuple):
        options = {chr(65 + at): text for at, text in enumerate(options)}
    return {str(letter): str(text) for letter, text in options.items()} if isinstance(options, dict) else {}


def _options_in_prompt(prompt: str | tuple[dict[str, str], ...]) -> dict[str, str]:
    """The last run of `(A) ... (B) ...` in the problem's text."""
    text = prompt if isinstance(prompt, str) else str(prompt[-1].get("content", "")) if prompt else ""
    run: list[re.Match] = []
    for mark in _OPTION_MARK.finditer(text):
        if mark[1] == "A":
            run = [mark]
        elif run and ord(mark[1]) == ord(run[-1][1]) + 1:
            run.append(mark)
    if len(run) < 2:
        return {}
    ends = [mark.start() for mark in run[1:]] + [len(text)]
    return {mark[1]: _OPTION_FRAME.sub("", text[mark.end() : end].partition("\n")[0]) for mark, end in zip(run, ends)}


def kind_of(readings: tuple[Node, ...]) -> str:
    """The kind of the likeliest reading, words only where there is no other; `unreadable` where there is none."""
    if not readings:
        return "unreadable"
    return _kind_name(next((node for node in readings if not isinstance(node, Text)), readings[0]))


def _kind_name(node: Node) -> str:
    match node:
        case Relation(_, ops):
            return "equation" if set(ops) == {"="} else "inequality"
        case Seq("tuple", items, brackets):
            return "interval" if len(items) == 2 and brackets not in ("", "()") else "tuple"
        case Seq(kind, _, _):
            return kind
        case Mul((Num(sign), inner)) if sign == -1:
            return _kind_name(inner)
        case Mul((Num(), Pow(Num(), Num(power)))) if power == -1:
            return "fraction"
    return _KIND_NAMES.get(type(node), "expression")
