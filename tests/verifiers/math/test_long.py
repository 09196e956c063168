"""A completion of a megabyte holds a process no longer than a moment, whatever stands in it over and over."""

import time

import pytest

from r1lab_verifiers import Item, resolve

MATH = resolve("math").build()
SIZE = 1_000_000
SECONDS = 0.5  # some 0.03 on an idle core; what is not linear takes minutes
PIECES = {
    "digits": '7', "spaces": ' ', "open brackets": '(', "closed brackets": ')', "braces": '{',
    "square brackets": '[', "dollars": '$', "spaced dollars": ' $ ', "money": '$5 ', "pairs of dollars": '$$',
    "backslashes": '\\', "TeX brackets": '\\(', "TeX displays": '\\[', "answer is": 'answer is ',
    "the answer is 7": 'the answer is 7. ', "answers on lines": 'answer is\n',
    "answer in parentheses": 'answer (', "answer, comma": 'answer, ', "answer to": 'answer to ',
    "boxes": '\\boxed{', "closed boxes": '\\boxed{7}', "boxes in paragraphs": '\\boxed{7}\n\n',
    "new lines": '\n', "blank lines": '\n \n', "hashes": '#### ', "hashes without spaces": '#',
    "hashes on lines": '#### 7\n', "stars": '**', "bold": '**7** ', "bold open": '**7',
    "annotations": '<<1+1=2>>', "annotations open": '<<', "thinking": '<think>', "thinking closed": '</think>',
    "answer tags": '<answer>', "commas": '1,', "thousands": '1,234', "groups": '123 ', "points": '7.',
    "slashes": '1/2 ', "letters": 'a', "words": 'apple ', "sentences": 'Ann has 7. ', "or": 'or ',
    "not": 'not ', "is": 'is ', "is 7": 'is 7 ', "equals": '= ', "chain": '7 = ', "because": 'because 7 ',
    "so": 'so 7 ', "wait": 'Wait, 7. ', "no": 'no, ', "percent": '%', "text": '\\text{',
    "text closed": '\\text{a}', "frac": '\\frac', "begin": '\\begin{align}', "end": '\\end{align}',
    "ampersands": '&', "rows": '\\\\ ', "accents": '\xe9', "Chinese": '\u7b54\u6848',
    "foreign digits": '\u09e9', "quotes": "'", "options": '(A) ', "letters apart": 'A, ', "times": '7:30 ',
    "underscores": '_', "carets": '^', "hyphens": '-', "tabs": '\t', "carriage returns": '\r', "NUL": '\x00',
    "pipes": '|', "end marks": '<|', "tildes": '~', "after": 'after 7 ', "units": '7 cm ',
    "turns": '\nQ: ', "turns on a line": 'Q: ', "turns with answers": '\nQ: \\boxed{7}',
    "names of turns": '\nQuestion', "Q": 'Q',
}  # fmt: skip


@pytest.mark.parametrize("name", PIECES)
@pytest.mark.parametrize("frame", ["%s", "%s\nThe answer is 7."])
def test_a_megabyte_is_judged_in_a_moment(name, frame):
    text = frame.replace("%s", PIECES[name] * (SIZE // len(PIECES[name])))
    judge_in_time(Item(text, "7"), SECONDS)


@pytest.mark.parametrize("name", PIECES)
def test_an_answer_as_long_as_may_be_is_judged_in_a_moment(name):
    text = PIECES[name] * (4000 // len(PIECES[name]))
    for frame in ("\\boxed{%s}", "#### %s", "<answer>%s</answer>", "the answer is %s"):
        judge_in_time(Item(frame.replace("%s", text), "7"), SECONDS)  # it may be a list of thousands


def judge_in_time(item, seconds):
    best = float("inf")
    for _ in range(3):  # the machine may be busy with something else
        start = time.process_time()
        MATH.verify(item)
        best = min(best, time.process_time() - start)
        if best < seconds:
            break
    assert best < seconds
