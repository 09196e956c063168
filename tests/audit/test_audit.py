"""Rates by hand, golds that prove themselves, and pages that hold what was found."""

import json
import os
from pathlib import Path

import pytest

from r1lab.rollout import verification
from r1lab.stats.intervals import wilson

SHARED = os.environ.get("R1LAB_SHARED")
LABELLED = [
    {"id": "a", "completion": "5", "answer": "5", "expected": True, "type": "number", "source": "x"},
    {"id": "b", "completion": "5.0", "answer": "5", "expected": True, "type": "number", "source": "y"},
    {"id": "c", "completion": "1/2", "answer": "0.5", "expected": True, "type": "fraction", "source": "x"},
    {"id": "d", "completion": "6", "answer": "5", "expected": False, "type": "number", "source": "x"},
    {"id": "e", "completion": "7", "answer": "7", "expected": False, "type": "number", "source": "x"},
    {"id": "f", "completion": "<b>five\x1b[0m</b>", "answer": "five", "expected": False, "type": "word"},
]
QUICK = ("--workers", "1")


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    (folder / "stubs.py").write_text(
        "from r1lab_verifiers import Verdict\n"
        "def shaky(completion, answer):\n"
        "    if completion == '6': return Verdict(0.0, 'undecided')\n"
        "    if completion == '5.0': return float('nan')\n"
        "    return completion == answer\n"
        "def stuck(completion, answer):\n"
        "    while completion.replace('=', ' ').split()[-1] != answer: pass\n"
        "    return True\n"
        "def broken(completion, answer):\n"
        "    if completion.replace('=', ' ').split()[-1] != answer: raise OSError('no licence for \x1b[2J')\n"
        "    return True\n"
        "def deaf(completion, answer):\n"
        "    while True: pass\n"
        "class Program:\n"
        "    isolated = True\n"
        "    def witness(self, answer): return 'ok'\n"
        "    async def verify(self, item):\n"
        "        return Verdict(*((1.0, 'correct') if item.completion == 'ok' else (0.0, 'timeout')))\n"
    )
    return folder


def test_rates_are_those_worked_by_hand(command, rows):
    """numeric reads a, b, c, d as labelled, accepts e, which the label calls wrong, and cannot read f's gold."""
    code, out, err = command("audit", *QUICK, "--verifier", "numeric", rows(*LABELLED), "--json", "figures.json")
    assert (code, err) == (1, "")
    figures = json.loads(Path("figures.json").read_text())
    found = figures["verifiers"]["numeric"]
    assert found["confusion"] == {
        "right": {"accepted": 3, "rejected": 0, "error": 0},
        "wrong": {"accepted": 1, "rejected": 1, "error": 1},
    }
    assert found["false_positive"] == {"count": 1, **wilson(1, 2)._asdict()}
    assert found["false_negative"] == {"count": 0, **wilson(0, 3)._asdict()}
    assert found["right"] == {"count": 4, **wilson(4, 6)._asdict()}
    assert {name: each["right"]["count"] for name, each in found["by_type"].items()} == {
        "fraction": 1, "number": 3, "word": 0,
    }  # fmt: skip
    assert {name: each["rows"] for name, each in found["by_source"].items()} == {"x": 4, "y": 1}
    assert found["statuses"] == {
        "correct": {"right": 3, "wrong": 1}, "wrong": {"right": 0, "wrong": 1}, "error": {"right": 0, "wrong": 1},
    }  # fmt: skip
    assert [row["id"] for row in found["judged_wrongly"]] == ["e", "f"]
    assert 0 < found["seconds"]["p50"] <= found["seconds"]["p99"] and found["answers_per_second"] > 0
    text = out.decode()
    assert "50.0 % [9.5, 90.5]" in text and "Judged wrongly by numeric: 2" in text
    assert "<b>five\\u001b[0m</b>" in text and "\x1b" not in text


def test_undecided_counts_by_its_score_and_errors_are_apart(command, rows, mine, monkeypatch):
    monkeypatch.syspath_prepend(mine)
    path = rows(*LABELLED[:4])
    (Path(path).parent / "stubs.py").write_bytes((mine / "stubs.py").read_bytes())
    assert command("audit", *QUICK, "--verifier", "stubs:shaky", path, "--json", "figures.json")[0] == 1
    found = json.loads(Path("figures.json").read_text())["verifiers"]["stubs:shaky"]
    assert found["statuses"]["undecided"] == {"right": 0, "wrong": 1}
    assert found["statuses"]["error"] == {"right": 1, "wrong": 0}
    assert (found["false_negative"]["count"], found["false_negative"]["n"]) == (1, 2)  # c of a and c; b is an error
    assert (found["false_positive"]["count"], found["false_positive"]["n"]) == (0, 1)
    assert (found["right"]["count"], found["right"]["n"]) == (2, 4)


@pytest.fixture
def stubs(rows, mine, monkeypatch):
    """stubs.py in the current folder; returns `rows`."""
    monkeypatch.syspath_prepend(mine)
    (Path(rows()).parent / "stubs.py").write_bytes((mine / "stubs.py").read_bytes())
    return rows


@pytest.mark.parametrize("name, status", [("stuck", "timeout"), ("broken", "crash")])
def test_a_check_that_hangs_or_crashes_is_a_failure_also_where_the_score_must_be_0(name, status, command, stubs):
    gold = ("--dataset", "task:addition", "--limit", "1", "--deadline", "0.2", "--json", "figures.json")
    code, out, _ = command("audit", *QUICK, "--verifier", f"stubs:{name}", *gold)
    figures = json.loads(Path("figures.json").read_text())
    wrong = {row["check"]: row["status"] for row in figures["failed"] if row["wanted"] == 0}
    assert code == 1 and wrong == dict.fromkeys(("first integer + 1", "first integer + 3", "other sign"), status)
    assert figures["checks"]["reference"]["count"] == 1 and figures["without_verdict"] == len(figures["failed"])
    assert b"hung or crashed: the verifier came to no verdict" in out and b"\x1b" not in out


@pytest.mark.parametrize("name", ["stuck", "broken", "deaf"])
def test_a_labelled_row_whose_check_hangs_or_crashes_is_judged_wrongly(name, command, stubs):
    path = stubs(LABELLED[0], LABELLED[3])
    code, out, _ = command(
        "audit", *QUICK, "--verifier", f"stubs:{name}", path, "--deadline", "0.2", "--json", "figures.json"
    )
    found = json.loads(Path("figures.json").read_text())["verifiers"][f"stubs:{name}"]
    assert code == 1 and found["confusion"]["wrong"] == {"accepted": 0, "rejected": 0, "error": 1}
    assert found["failed_checks"] == len(found["judged_wrongly"]) == (2 if name == "deaf" else 1)
    assert found["right"]["count"] == 2 - found["failed_checks"] and b"hung or crashed" in out


def test_a_timeout_that_a_verifier_reports_of_a_program_is_a_verdict(command, stubs):
    path = stubs({"completion": "loop", "answer": "1", "expected": False}, {**LABELLED[0], "completion": "ok"})
    code, _, _ = command("audit", *QUICK, "--verifier", "stubs:Program", path, "--json", "figures.json")
    found = json.loads(Path("figures.json").read_text())["verifiers"]["stubs:Program"]
    assert code == 0 and found["right"]["count"] == 2 and found["statuses"]["timeout"] == {"right": 0, "wrong": 1}


def test_a_second_verifier_stands_beside_the_first_and_it_is_said_who_was_right(command, rows):
    options = ("--verifier", "numeric", "--against", "exact", "--json", "figures.json", "--html", "page.html")
    code, out, _ = command("audit", *QUICK, *options, rows(*LABELLED))
    figures = json.loads(Path("figures.json").read_text())
    assert code == 1 and list(figures["verifiers"]) == ["numeric", "exact"]
    # exact: a right, b and c rejected, d right, e accepted, f rejected: five <b> is not five
    assert figures["disagreements"]["counts"] == {"both right": 2, "only numeric": 2, "only exact": 1, "neither": 1}
    assert [(row["id"], row["right"]) for row in figures["disagreements"]["rows"]] == [
        ("b", "numeric"), ("c", "numeric"), ("f", "exact"),
    ]  # fmt: skip
    assert "only numeric" in out.decode()
    page = Path("page.html").read_text()
    assert "&lt;b&gt;five" in page and "<b>five" not in page and "\x1b" not in page
    assert page.count("data:image/png;base64,") == 2 and "http" not in page.replace("http-equiv", "")


RIGHT, WRONG = {"completion": "5", "answer": "5"}, {"completion": "6", "answer": "5"}
LABELS = {
    "as labelled": ([{**RIGHT, "expected": True}, {**WRONG, "expected": False}], 0, 0, 0),
    "a false positive": ([{**RIGHT, "expected": False}], 1, 1, 0),
    "a false negative": ([{**WRONG, "expected": True}, {**RIGHT, "expected": True}], 1, 0, 1),
    "both": ([{**WRONG, "expected": True}, *2 * [{**RIGHT, "expected": False}]], 1, 2, 1),
    "no rows": ([], 0, 0, 0),
}


@pytest.mark.parametrize("labels", LABELS)
def test_any_verdict_that_differs_from_its_label_is_exit_1_and_counted_in_the_last_line(labels, command, rows):
    lines, expected, lenient, strict = LABELS[labels]
    code, out, _ = command("audit", *QUICK, "--verifier", "exact", rows(*lines))
    last = out.decode().strip().splitlines()[-1]
    assert (code, last) == (expected, f"exact: false positives: {lenient}, false negatives: {strict}")


def test_rows_without_a_label_are_not_readable_and_the_others_are_counted(command, rows):
    path = rows(LABELLED[0], {**LABELLED[0], "expected": 1}, {"completion": "5", "answer": "5"})
    code, out, err = command("audit", *QUICK, "--verifier", "exact", path)
    assert code == 1 and out.startswith(b"1 labelled completions, 2 rows not readable")
    assert "line 2: column 'expected' holds 1; a label is true or false" in err and "line 3: column 'expected'" in err


def test_a_file_without_rows_has_no_rates(command, rows):
    code, out, _ = command("audit", *QUICK, "--verifier", "exact", rows(), "--html", "page.html", "--json", "f.json")
    assert code == 0 and out.startswith(b"0 labelled completions") and b"%" not in out


MISTAKES = {
    "neither rows nor a dataset": ([], "give one of CASES.jsonl (labelled rows) and --dataset"),
    "rows and a dataset": (["cases.jsonl", "--dataset", "task:addition"], "give one of CASES.jsonl"),
    "a second verifier of golds": (
        ["--dataset", "task:addition", "--against", "exact"],
        "--against goes with labelled",
    ),
    "no such task": (["--dataset", "task:addtion"], "did you mean 'addition'?"),
    "no such dataset": (["--dataset", "nowhere/at/all.jsonl"], "nowhere/at/all.jsonl"),
    "no limit": (
        ["--dataset", "task:addition", "--limit", "0"],
        "--dataset: limit: must be a whole number greater than 0",
    ),
    "an answer format": (["--dataset", "cases.jsonl", "--answer-format", "latex"], "unknown answer_format 'latex'"),
    "the same verifier": (["cases.jsonl", "--against", "numeric"], "--against 'numeric' is the verifier itself"),
    "a page in no folder": (["cases.jsonl", "--html", "no/page.html"], "--html 'no/page.html' cannot be written"),
    "figures over the rows": (["cases.jsonl", "--json", "cases.jsonl"], "--json 'cases.jsonl' is the input itself"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_2_and_nothing_is_judged(name, command, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(verification, "opened_pool", None)
    arguments, message = MISTAKES[name]
    before = rows({"prompt": "1+1", **LABELLED[0]})
    code, out, err = command("audit", "--verifier", "numeric", *arguments)
    assert (code, out, err.count("\n")) == (2, b"", 1), err
    assert message in err and [str(path) for path in tmp_path.iterdir()] == [before]


def test_ctrl_c_leaves_no_file(command, rows, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(verification, "verdicts_in_order", stopped)
    path = rows(*LABELLED)
    for what in ([path], ["--dataset", "task:addition", "--limit", "2"]):
        code, out, err = command(
            "audit", *QUICK, "--verifier", "exact", *what, "--html", "page.html", "--json", "f.json"
        )
        assert (code, out, err) == (130, b"", "r1lab: stopped; nothing was written\n")
    assert [str(left) for left in tmp_path.iterdir()] == [path]


def test_a_verifier_must_be_named_where_the_data_names_none(command, rows):
    rows({"prompt": "1+1", "answer": "2"})
    assert "--verifier" in command("audit", "--dataset", "cases.jsonl")[2]


def test_every_gold_of_a_task_proves_itself_to_the_task_s_own_verifier(command):
    code, out, _ = command("audit", *QUICK, "--dataset", "task:addition", "--limit", "8", "--json", "figures.json")
    figures = json.loads(Path("figures.json").read_text())
    assert code == 0 and out.startswith(b"8 problems, ") and figures["verifier"] == "numeric"
    assert figures["checks"]["reference"]["count"] == figures["checks"]["first integer + 1"]["count"] == 8
    assert figures["failed"] == [] and figures["kinds"] == {} and figures["parsed"] is None


def test_a_gold_that_does_not_prove_itself_is_listed_with_the_reason(command, rows):
    lines = [
        {"q": "1/2 of 1?", "a": "1/2", "work": "it is 1/2"},
        {"q": "2+2?", "a": "4", "work": "so 5"},
        {"q": "Which way?", "a": "east", "work": "east"},
    ]
    options = ("--columns", "prompt=q,answer=a,solution=work", "--json", "figures.json", "--html", "page.html")
    code, out, _ = command("audit", *QUICK, "--verifier", "numeric", "--dataset", rows(*lines), *options)
    figures = json.loads(Path("figures.json").read_text())
    failed = {(row["id"], row["check"]): (row["status"], row["reason"]) for row in figures["failed"]}
    assert (
        code == 1
        and failed["audit/2", "reference"][1] in out.decode()
        and failed["audit/1", "reference"] == ("wrong", "not 4")
    )
    assert failed["audit/2", "reference"][0] == "error" and "is not a number" in failed["audit/2", "reference"][1]
    assert figures["checks"]["reference"]["count"] == 1 and figures["checks"]["other sign"]["count"] == 2
    assert "so 5" not in Path("page.html").read_text() and "not 4" in Path("page.html").read_text()


def test_a_verifier_that_accepts_all_or_nothing_but_the_text_is_found_out(command, rows, tmp_path):
    (tmp_path / "lax.py").write_text("def every(completion, answer): return True\n")
    path = rows({"prompt": "p", "answer": "1/2"}, {"prompt": "q", "answer": "12345"})
    assert command("audit", *QUICK, "--verifier", "lax:every", "--dataset", path, "--json", "figures.json")[0] == 1
    checks = json.loads(Path("figures.json").read_text())["checks"]
    assert {name: each["count"] for name, each in checks.items() if each["wanted"] == 0} == {
        "first integer + 1": 0, "first integer + 3": 0, "other sign": 0,
    }  # fmt: skip
    assert command("audit", *QUICK, "--verifier", "exact", "--dataset", path, "--json", "figures.json")[0] == 1
    checks = json.loads(Path("figures.json").read_text())["checks"]
    assert {name: each["count"] for name, each in checks.items() if each["wanted"] == 1} == {
        "reference": 2, "dollar signs": 0, "spaces": 2, "LaTeX fraction": 0, "separators added": 0,
    }  # fmt: skip


def test_a_verifier_that_can_says_what_kind_each_gold_is(command, rows):
    answers = ["5", r"\frac{1}{2}", "(1, 2)", "[0, 1)", r"\{1, 2\}", "east", "x^2+1", "y=2x", "5 cm", "-3/4"]
    path = rows(*({"prompt": str(at), "answer": answer} for at, answer in enumerate(answers)))
    code, out, _ = command("audit", *QUICK, "--verifier", "math", "--dataset", path, "--json", "figures.json")
    figures = json.loads(Path("figures.json").read_text())
    assert code == 0 and figures["failed"] == [], figures["failed"]
    assert figures["kinds"] == {
        "number": 1, "fraction": 2, "tuple": 1, "interval": 1, "set": 1, "text": 1, "expression": 1, "equation": 1,
        "quantity": 1,
    }  # fmt: skip
    assert (figures["parsed"]["count"], figures["parsed"]["n"]) == (9, 10)
    assert b"read as something other than text" in out


def test_answers_that_are_no_text_are_only_asked_for_their_reference(command):
    code, _, _ = command("audit", *QUICK, "--dataset", "task:countdown", "--limit", "4", "--json", "figures.json")
    figures = json.loads(Path("figures.json").read_text())
    assert code == 0 and list(figures["checks"]) == ["reference"] and figures["checks"]["reference"]["count"] == 4


def test_an_isolated_verifier_is_asked_about_solutions_alone(command, rows, tmp_path):
    (tmp_path / "jailed.py").write_text(
        "class Jailed:\n    isolated = True\n"
        "    async def verify(self, item): return item.completion in item.answer['tests']\n"
    )
    path = rows({"prompt": "p", "code": "f", "t": ["f"]}, {"prompt": "q", "code": None, "t": ["g"]})
    columns = ("--columns", "solution=code", "--columns", "answer={tests: t, setup: code}")
    code, _, _ = command("audit", "--verifier", "jailed:Jailed", "--dataset", path, *columns, "--json", "figures.json")
    figures = json.loads(Path("figures.json").read_text())
    assert code == 0 and figures["checks"]["reference"] == {**figures["checks"]["reference"], "count": 1, "n": 1}
    assert figures["without_reference"] == 1


@pytest.mark.skipif(not SHARED, reason="R1LAB_SHARED is unset: no labelled cases")
def test_the_labelled_cases_are_audited_as_they_stand(command):
    path = Path(SHARED) / "cases" / "math.jsonl"
    options = ("--columns", "completion=prediction,answer=gold,source=source_repo", "--where", "disputed=null")
    # The cases say what is equal; whether it is finished too is another matter.
    options += ("--set", "unevaluated=true")
    code, _, _ = command("audit", *QUICK, "--verifier", "math", path, *options, "--json", "figures.json")
    (found,) = json.loads(Path("figures.json").read_text())["verifiers"].values()
    assert code == 1 and found["rows"] == 235  # some right ones are rejected
    assert found["false_positive"]["count"] == 0 and found["false_negative"]["value"] <= 0.15


@pytest.mark.skipif(not SHARED, reason="R1LAB_SHARED is unset: no datasets")
def test_golds_of_gsm8k_and_math_prove_themselves_to_math(command):
    options = ("--columns", "prompt=question", "--answer-format", "hash", "--limit", "50", "--json", "figures.json")
    gsm8k = Path(SHARED) / "data" / "gsm8k" / "test.jsonl"
    assert command("audit", *QUICK, "--verifier", "math", "--dataset", gsm8k, *options)[0] == 0
    figures = json.loads(Path("figures.json").read_text())
    assert figures["failed"] == [] and figures["parsed"]["value"] == 1.0
