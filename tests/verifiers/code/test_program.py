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
