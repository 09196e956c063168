import contextlib
import time

import pytest

from r1lab_verifiers.code.program import NoProgram, code_in_prompt, complete_with_prompt, extract_program

BLOCK = "```python\nx = 1\n```"


@pytest.mark.parametrize(("completion", "expected"), [
    (BLOCK, "x = 1\n"),
    (f"```python\nx = 0\n```\nBetter:\n{BLOCK}", "x = 1\n"),
    (f"<think>```python\nx = 0\n```</think>{BLOCK}", "x = 1\n"),
    (f"{BLOCK}\nOutput:\n```\n1\n```", "x = 1\n"),
    (f"{BLOCK}\n```bash\nls\n```", "x = 1\n"),
    ("```\nx = 1\n```", "x = 1\n"),
    ("```py\r\nx = 1\r\n```", "x = 1\r\n"),
    ("~~~python\nx = 1\n~~~", "x = 1\n"),
    ("````python\ns = '''\n```\n'''\n````", "s = '''\n```\n'''\n"),
    ("```python\nx = 1", "x = 1"),
    ("```python\n    x = 1\n    y = 2\n```", "x = 1\ny = 2\n"),
    ("def f():\n    return 1\n", "def f():\n    return 1"),
    ("import sys\nprint(1)", "import sys\nprint(1)"),
    ("x = 1\x00", "x = 1\x00"),
])  # fmt: skip
def test_the_last_block_of_python_is_the_program(completion, expected):
    assert extract_program(completion) == expected


@pytest.mark.parametrize(("completion", "reason"), [
    ("", "no code block"),
    ("The answer is 7.", "no code block"),
    ("for example, this is prose", "no code block"),
    ("```java\nclass A {}\n```", "the code block is in java, not in Python"),
    ("```python\n\n```", "the code block is empty"),
    ("<think>" + BLOCK, "no code block"),
])  # fmt: skip
def test_a_completion_without_a_program_says_what_it_lacks(completion, reason):
    with pytest.raises(NoProgram, match=reason):
        extract_program(completion)


def test_a_long_program_is_taken_and_one_beyond_all_measure_is_not():
    assert len(extract_program("```python\n" + "x = 1\n" * 850_000 + "```")) == 5_100_000
    with pytest.raises(NoProgram, match="at most"):
        extract_program("```python\n" + "x" * (9 << 20) + "\n```")


def test_a_body_alone_continues_the_prompt():
    prompt = "def f(x):\n    '''Doc.'''\n"
    assert complete_with_prompt("    return x\n", "f", prompt) == "def f(x):\n    '''Doc.'''\n    return x\n\n"
    assert complete_with_prompt("return x", "f", prompt).endswith("\n    return x\n")
    whole = "def f(x):\n    return x\n"
    assert (
        complete_with_prompt(whole, "f", prompt) == whole and complete_with_prompt("x = 1", "f", "Write f.") == "x = 1"
    )


@pytest.mark.parametrize(("completion", "expected"), [
    ("Here:\r\n```python\r\nx = 1\r\n```\r\nDone.\r\n", "x = 1\r\n"),
    ("```python\nx = 1```", "x = 1"),
    ("```python\nx = 1```\nThen:\n```python\ny = 2```\nDone.", "y = 2"),
    ("```python\ns = '''\nno```\n'''\n```", "s = '''\nno```\n'''\n"),
    ("```python3.11\nx = 1\n```", "x = 1\n"),
    ("\ufeff```python\n\ufeffx = 1\n```", "x = 1\n"),
])  # fmt: skip
def test_fences_may_be_written_carelessly(completion, expected):
    assert extract_program(completion) == expected


def test_a_program_stands_below_what_its_prompt_imports_and_defines():
    prompt = "import math\ndef g(x):\n    return x\ndef f(x):\n    '''Doc.'''\n"
    assert complete_with_prompt("def f(x):\n    return g(x)\n", "f", prompt).startswith("import math\ndef g(x):")
    assert complete_with_prompt("from __future__ import annotations\ndef f(x): ...\n", "f", prompt).startswith(
        "from __future__"
    )
    assert code_in_prompt(f"Do it:\n```python\n{prompt}```\n") == prompt and code_in_prompt("Do it.") == "Do it."
    assert code_in_prompt(({"role": "user", "content": prompt},)) == prompt


SQUARE = "n = int(input())\nprint(n * n)\n"
FUNCTION = "def f(x):\n    return x * x\n"


@pytest.mark.parametrize("completion", [
    f"<think>a</think><answer>```python\n{SQUARE}```</answer>", f"<answer>\n{SQUARE}</answer>",
    f"<answer>{SQUARE}</answer>",
    f"```python\n{SQUARE}```</answer>", f"```python\n{SQUARE}```\n</answer><|im_end|>", f"```python\n{SQUARE}</answer>",
    f"```python\n{SQUARE}```<|im_end|>", f"```python\n{SQUARE}<|endoftext|>", f"{SQUARE}</s>",
    f"```python\n{SQUARE}``` This reads one number.", f"```python\n{SQUARE}```. Done.", f"```python\n{SQUARE}````",
    f"Here is the code:\n\n{SQUARE}", f"Here is the code:\n{SQUARE}\nIt squares the number.",
    f"Sure: ```python\n{SQUARE}```",
    f"<!-- ```python\n{SQUARE}``` -->", f"Solution:```\n{SQUARE}```", f"``` {{.python}}\n{SQUARE}```",
    f"```python title='a.py'\n{SQUARE}```", f"```\n{SQUARE}```\nInput:\n```\n3\n```\nOutput:\n```\n9\n```",
    f"```python\n{SQUARE}```\n<answer>The code above.</answer>",
    f"<answer>Here it is:\n```python\n{SQUARE}```\n</answer>",
    f"<think>don't</think>\n```python\n{SQUARE}```", f"```markdown\n```python\n{SQUARE}```\n```",
    *(f"{mark}\n" + "".join(f"{indent}{line}\n" for line in ("```python", *SQUARE.splitlines(), "```"))
      for mark, indent in (("- Code:", "    "), ("1. Code:", "   "), ("- Code:", "\t"), ("Quoted:", "> "))),
])  # fmt: skip
def test_models_write_fences_and_tags_in_many_ways(completion):
    assert extract_program(completion).strip("\n") == SQUARE.strip("\n")


@pytest.mark.parametrize(("completion", "expected"), [
    (f"{FUNCTION}```", FUNCTION), (f"{FUNCTION}```\nThis squares the number.", FUNCTION),
    (f"{FUNCTION}```\nExample:\n```python\nprint(f(2))\n```\n", FUNCTION), (f"Here:\n\n{FUNCTION}```", FUNCTION),
    ("    return x\n```\nDone.", "return x"),
])  # fmt: skip
def test_a_fence_that_was_opened_before_the_completion_is_closed_in_it(completion, expected):
    assert extract_program(completion).strip("\n") == expected.strip("\n")


@pytest.mark.parametrize("prompt", ["Square.\n```python\n", "Square: ```py\n", ({"role": "user", "content": "```\n"},)],
                         ids=str)  # fmt: skip
def test_a_prompt_that_ends_within_a_block_is_continued(prompt):
    for completion in (SQUARE, f"{SQUARE}```", f"{SQUARE}```\nMore:\n```python\nx = 1\n```\n"):
        assert extract_program(completion, prompt).strip("\n") == SQUARE.strip("\n")
    assert extract_program("```python\nx = 2\n```", "Do ```python\nx = 1\n``` again.") == "x = 2\n"


@pytest.mark.parametrize("program", [
    "x = '</think>'\n", "x = '<think>'\n",
    "def f():\n    \"\"\"\n    ```\n    f()\n    ```\n    \"\"\"\n    return 1\n",
    '"""\n```\nf(1)\n```\n"""\ndef f(x):\n    return x\n', "# ```\nx = 1\n",
])  # fmt: skip
def test_what_a_program_holds_in_its_texts_does_not_end_it(program):
    assert extract_program(f"```python\n{program}```") == program


@pytest.mark.parametrize("completion", [
    "I do not know.", " The answer is 7.", "<answer>42</answer>", "In Python:\n\nno code here.", "1. First\n2. Second",
    "Let us think. If x = 3 then y is 4.", "I would use a loop: for each item, print it.",
    "<think>```python\nx = 1\n```",
    f"<think>{SQUARE}",
])  # fmt: skip
def test_words_alone_are_no_program(completion):
    with pytest.raises(NoProgram):
        extract_program(completion)


LONG, SECONDS = 1_000_000, 0.5  # some 0.03 on an idle core; what is not linear takes minutes
LINES = ("\n", "`", "~", "a", "a,", "a[", "x;", "x = 1\n", " ", "\n ", "- ", ">", "<think>", "</think>", "<answer>",
         "</s>", "<|im_end|>", "\t", "\r\n", "# c\n", "from x import",
         "'</think>'", "```\n", "~~~\n", "```py\nx = 1```\n", "if this is so\n", "(\n", '"""', "def ",
         "a" * 900 + "```python\n")  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_a_long_text_is_read_at_once(line):
    text = line * (LONG // len(line))
    for completion in (
        text,
        f"```python\n{text}",
        f"```python\n{text}\n```",
        f"```{text}`\n",
        f"{text}```python\nx\n```",
        f"words\n```\n{text}\n```\nmore",
        f"words here\nfoo(\n{text}",
    ):
        assert _seconds(extract_program, completion) < SECONDS
        assert _seconds(complete_with_prompt, completion, "f", "def f(x):\n") < SECONDS


def _seconds(read, *given):
    """The least of a few tries, since the machine may be busy with something else."""
    best = float("inf")
    for _ in range(5):
        start = time.thread_time()
        with contextlib.suppress(NoProgram):
            read(*given)
        best = min(best, time.thread_time() - start)
        if best < SECONDS:
            break
    return best
