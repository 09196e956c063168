"""Every row gets its verdict or is reported; a user's mistake costs one line and nothing is written."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from r1lab.evaluation import cases as cases_module
from r1lab.recipe import WorkersConfig
from r1lab.rollout import verification
from r1lab_verifiers import Verdict

RIGHT = {"id": "a", "completion": "The answer is 5", "answer": "5"}
QUICK = ("--workers", "1", "--verifier")


def judged(out: bytes) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_rows_keep_their_order_and_fields_and_gain_the_verdict(command, rows):
    wrong = {"id": 7, "completion": "6", "answer": 5, "more": {"deep": [1, None]}, "score": "old"}
    code, out, err = command("verify", *QUICK, "numeric", rows(RIGHT, "", wrong))
    first, second = judged(out)
    assert code == 0 and err.startswith("2 rows: 1 correct, 1 wrong; ") and err.count("\n") == 1
    assert {key: first[key] for key in RIGHT} == RIGHT and first["seconds"] > 0
    assert [first[key] for key in ("score", "status", "extracted", "reason")] == [1.0, "correct", "5", ""]
    assert second["more"] == wrong["more"] and second["id"] == 7 and second["answer"] == 5
    assert [second[key] for key in ("score", "status", "extracted", "reason")] == [0.0, "wrong", "6", "not 5"]


UNREADABLE = {
    "not JSON": ("{", "invalid JSON"),
    "not an object": ("[1]", "[1] is no JSON object"),
    "not UTF-8": (b'{"completion": "\xff", "answer": "5"}', "is not UTF-8"),
    "no completion": ({"answer": "5"}, "no completion (column 'completion')"),
    "null completion": ({"completion": None, "answer": "5"}, "no completion"),
    "completion is a list": ({"completion": ["5"], "answer": "5"}, "holds ['5']; a completion is text"),
    "no answer": ({"completion": "5"}, "no answer (column 'answer')"),
    "null answer": ({"completion": "5", "answer": None}, "no answer (column 'answer')"),
    "blank answer": ({"completion": "5", "answer": " \n"}, "no answer (column 'answer')"),
    "NaN answer": ('{"completion": "5", "answer": NaN}', "no answer (column 'answer')"),
    "boolean answer": ({"completion": "5", "answer": True}, "holds True; an answer is text, a number or an object"),
    "list of a boolean": ({"completion": "5", "answer": [False]}, "holds False; an answer is"),
    "list answer": ({"completion": "5", "answer": ["5", "6"]}, "holds a list of 2 items where one text is needed"),
    "half a surrogate in the answer": ({"completion": "5", "answer": "\ud800"}, "half a surrogate pair"),
    "too many digits": ('{"completion": "5", "answer": ' + "9" * 5000 + "}", "JSON that Python does not read"),
    "nested without end": ("[" * 100_000, "JSON that Python does not read"),
}


def test_a_row_that_cannot_be_read_is_reported_with_its_line_and_the_rest_goes_on(command, rows):
    lines = [line for line, _ in UNREADABLE.values()]
    path = rows(RIGHT, *lines, {**RIGHT, "id": "z"})
    code, out, err = command("verify", *QUICK, "numeric", path)
    *reported, summary = err.splitlines()
    assert code == 1 and [row["id"] for row in judged(out)] == ["a", "z"]
    assert summary.endswith(f"; {len(lines)} rows could not be read")
    for number, (line, (name, (_, message))) in enumerate(zip(reported, UNREADABLE.items(), strict=True), start=2):
        assert line.startswith(f"{path}, line {number}: ") and message in line, name


def test_a_line_that_is_longer_than_a_row_may_be_is_passed_over(command, rows, monkeypatch):
    monkeypatch.setattr(cases_module, "MAX_LINE_BYTES", 1 << 20)
    path = rows({**RIGHT, "completion": "5" * (3 << 20)}, RIGHT)
    code, out, err = command("verify", *QUICK, "numeric", path)
    assert code == 1 and [row["id"] for row in judged(out)] == ["a"]
    assert "line 1: longer than 1 MiB" in err


ANSWERS = {
    "int": (5, "5"),
    "negative int": (-5, "-5"),
    "int beyond 64 bits": (10**40, str(10**40)),
    "float": (0.1, "0.1"),
    "whole float": (145.0, "145"),
    "small float": (1e-07, "1e-07"),
    "list of one": (["5"], "5"),
    "text with white space": (" 5 ", "5"),
    "line ends": ("a\r\nb", "a\nb"),
    "object": ({"target": 1.50}, "{'target': 1.5}"),
}


def test_an_answer_reaches_the_verifier_as_a_loader_would_give_it(command, rows, tmp_path):
    (tmp_path / "echo.py").write_text(
        "from r1lab_verifiers import Verdict\n"
        "def show(completion, answer): return Verdict(1.0, 'correct', str(answer))\n"
    )
    lines = [{"id": name, "completion": "", "answer": answer} for name, (answer, _) in ANSWERS.items()]
    code, out, _ = command("verify", *QUICK, "echo:show", rows(*lines))
    assert code == 0
    assert {row["id"]: row["extracted"] for row in judged(out)} == {name: text for name, (_, text) in ANSWERS.items()}


def test_hostile_completions_are_judged_and_come_out_as_they_went_in(command, rows):
    texts = ["\ud800 so 5", "\x00\x1b[31m 5", "", "x" * 10_000_000 + " 5", "\u2028 5", "5 \U0001f600"]
    code, out, err = command("verify", *QUICK, "numeric", rows(*({**RIGHT, "completion": text} for text in texts)))
    found = judged(out)
    assert code == 0, err
    assert [row["completion"] for row in found] == texts
    assert [row["status"] for row in found] == ["correct", "correct", "no_answer", "correct", "correct", "correct"]


def test_a_row_nested_deeply_has_a_verdict_and_holds_nothing_up(command, rows):
    deep = '{"completion": "5", "answer": "5", "more": ' + 600 * "[" + 600 * "]" + "}"
    code, out, _ = command("verify", *QUICK, "numeric", rows(deep, RIGHT))
    first, second = judged(out)
    assert code == 0 and first["status"] in ("correct", "error") and second["status"] == "correct"


def test_a_verifier_that_compares_with_no_answer_needs_none(command, rows):
    code, out, _ = command("verify", *QUICK, "format", rows({"completion": "<think>a</think><answer>b</answer>"}))
    assert code == 0 and judged(out)[0]["score"] == 1.0


def test_columns_settings_and_where_choose_what_is_judged(command, rows):
    lines = [
        {"out": {"text": r"\boxed{4}, not 5"}, "gold": 4, "split": "a"},
        {"out": {"text": "4"}, "gold": 4, "split": "a"},
        {"out": {"text": "4"}, "gold": 4, "split": "b"},
        {"out": {"text": "4"}, "gold": 4},
    ]
    options = ["--columns", "completion=out.text,answer=gold", "--set", "extract=boxed"]
    code, out, _ = command("verify", *QUICK, "numeric", rows(*lines), *options, "--where", "split=[a, null]")
    assert code == 0 and [row["status"] for row in judged(out)] == ["correct", "no_answer", "no_answer"]
    code, out, _ = command("verify", *QUICK, "{use: numeric, extract: boxed}", rows(*lines), *options[:2])
    assert code == 0 and [row["status"] for row in judged(out)] == ["correct"] + 3 * ["no_answer"]


MISTAKES = {
    "unknown verifier": (["--verifier", "maths"], "verifier 'maths' is unknown"),
    "verifier that does not import": (["--verifier", "nowhere:f"], "'nowhere:f' does not import"),
    "unknown setting": (["--set", "tolerence=1"], "has no setting 'tolerence'"),
    "setting without a value": (["--set", "tolerance"], "--set 'tolerance' is not key=value"),
    "a setting's value": (["--set", "tolerance=2"], "tolerance 2 is outside [0, 1)"),
    "unknown role": (["--columns", "completoin=x"], "did you mean 'completion'?"),
    "a role without a column": (["--columns", "completion"], "is not role=column"),
    "a template": (["--columns", "completion={x"], "template '{x'"),
    "no such file": (["nowhere.jsonl"], "nowhere.jsonl: cannot be read: No such file"),
    "a folder": (["."], ".: cannot be read: Is a directory"),
    "out in no folder": (["--out", "no/where.jsonl"], "--out 'no/where.jsonl' cannot be written"),
    "out a folder": (["--out", "folder"], "--out 'folder' is no regular file"),
    "out a device": (["--out", "/dev/null"], "--out '/dev/null' is no regular file"),
    "out the input": (["--out", "cases.jsonl"], "--out 'cases.jsonl' is the input itself"),
    "out a link to the input": (["--out", "link.jsonl"], "--out 'link.jsonl' is the input itself"),
    "no workers": (["--workers", "0"], "--workers: must be a whole number greater than 0, got 0"),
    "no time": (["--deadline", "nan"], "--deadline: must be a number greater than 0, got nan"),
    "no memory": (["--memory-mb", "1"], "--memory-mb: must be a whole number >= 64, got 1"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_2_and_nothing_is_judged(name, command, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(verification, "opened_pool", None)
    arguments, message = MISTAKES[name]
    path = rows(RIGHT)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.jsonl").symlink_to(path)
    before = sorted(tmp_path.iterdir())
    given = [path] if arguments[0].startswith("--") else []
    verifier = [] if arguments[0] == "--verifier" else ["--verifier", "numeric"]
    code, out, err = command("verify", *given, *verifier, *arguments)
    assert (code, out, err.count("\n")) == (2, b"", 1), err
    assert message in err
    assert sorted(tmp_path.iterdir()) == before and json.loads(Path(path).read_text()) == RIGHT


def test_out_replaces_a_file_and_follows_a_link(command, rows, tmp_path):
    (tmp_path / "old.jsonl").write_text("old")
    (tmp_path / "link.jsonl").symlink_to("old.jsonl")
    code, out, _ = command("verify", *QUICK, "numeric", rows(RIGHT), "--out", "link.jsonl")
    assert (code, out) == (0, b"") and (tmp_path / "link.jsonl").is_symlink()
    assert judged((tmp_path / "old.jsonl").read_bytes())[0]["status"] == "correct"
    assert {path.name for path in tmp_path.iterdir()} == {"cases.jsonl", "old.jsonl", "link.jsonl"}


def test_an_empty_file_has_no_rows_and_is_no_fault(command, rows):
    code, out, err = command("verify", *QUICK, "numeric", rows())
    assert (code, out) == (0, b"") and err.startswith("0 rows: none; ")


PLUGINS = """
import asyncio, time
from r1lab_verifiers import Verdict

def act(completion, answer):
    if completion == "hang": time.sleep(1000)
    if completion == "raise": raise OSError("no")
    return True

class Apart:
    isolated = True
    async def verify(self, item):
        await asyncio.sleep(0)
        return Verdict(1.0, "correct", str(item.answer["tests"]))
"""


def test_a_user_s_verifier_may_hang_and_raise_and_a_witness_tells_whose_fault_it_is(command, rows, tmp_path):
    (tmp_path / "mine.py").write_text(PLUGINS)
    lines = [
        {"completion": "hang", "answer": "1"},
        {"completion": "fine", "answer": "1"},
        {"completion": "raise", "answer": "2", "solution": "raise"},
    ]
    code, out, _ = command("verify", *QUICK, "mine:act", rows(*lines), "--deadline", "0.5")
    assert code == 0
    assert [(row["status"], row["score"]) for row in judged(out)] == [
        ("timeout", 0.0),
        ("correct", 1.0),
        ("error", None),
    ]


def test_an_isolated_verifier_gets_an_answer_of_several_columns(command, rows, tmp_path):
    (tmp_path / "mine_apart.py").write_text(PLUGINS)
    path = rows({"completion": "x", "test_list": ["assert 1"]})
    code, out, _ = command("verify", *QUICK, "mine_apart:Apart", path, "--columns", "answer={tests: test_list, a: b}")
    assert code == 0 and judged(out)[0]["extracted"] == "['assert 1']"


VERIFY = """
os.dup2(os.open("cases.jsonl", os.O_RDONLY), 0)
sys.stdin = open(0)
sys.argv = ["r1lab", "verify", *{arguments!r}]
from r1lab.cli.main import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_leaves_nothing_and_says_so(number, rows, tmp_path, forked_in):
    (tmp_path / "slow.py").write_text(
        "import time\ndef f(c, a):\n    open('began', 'w').close()\n    time.sleep(30)\n    return True\n"
    )
    path = rows(*20 * [RIGHT])
    (tmp_path / "out.jsonl").write_text("old")
    arguments = ["--verifier", "slow:f", path, "--out", "out.jsonl", "--workers", "1", "--deadline", "60"]
    running = forked_in(tmp_path, VERIFY.format(arguments=arguments))
    while not (tmp_path / "began").exists():
        assert running.is_alive(), (tmp_path / "stderr").read_text()
        time.sleep(0.02)
    os.kill(running.pid, number)
    running.join(20)
    said = (tmp_path / "stderr").read_text()
    assert (running.exitcode, said) == (128 + number, "r1lab: stopped; 'out.jsonl' was not written\n")
    assert (tmp_path / "out.jsonl").read_text() == "old"
    left = {path.name for path in tmp_path.iterdir()} - {"__pycache__", "stdout", "stderr"}
    assert left == {"slow.py", "cases.jsonl", "out.jsonl", "began"}


def test_stdin_to_stdout(rows, tmp_path, forked_in):
    rows(*3 * [RIGHT])
    running = forked_in(tmp_path, VERIFY.format(arguments=[*QUICK, "numeric", "-"]))
    running.join(30)
    assert running.exitcode == 0, (tmp_path / "stderr").read_text()
    assert [row["score"] for row in judged((tmp_path / "stdout").read_bytes())] == 3 * [1.0]


def test_a_reader_that_leaves_early(rows, tmp_path):
    """A fresh process: what it cannot write it must not say again as the interpreter ends."""
    command = [sys.executable, "-m", "r1lab.cli.main", "verify", *QUICK, "numeric", rows(*200 * [RIGHT])]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running.stdout.close()
    assert running.wait(timeout=30) == 1
    assert b"Traceback" not in running.stderr.read()


def test_no_more_than_a_window_is_in_flight():
    """Futures that are done only when asked for: the number drawn and not yet handed out stays bounded."""
    drawn = []

    class Late(Future):
        def done(self):
            return False

    def asked():
        for number in range(500):
            future = Late()
            future.set_result(Verdict(1.0, "correct"))
            drawn.append(number)
            yield number, [future]

    workers = WorkersConfig(count=2)
    for number, _ in verification.verdicts_in_order(asked(), workers):
        assert len(drawn) - number <= verification.AHEAD_PER_WORKER * workers.count + 1
    assert number == 499


def test_a_reward_function_of_another_trainer_is_given_the_rows_columns(command, rows, tmp_path):
    (tmp_path / "mine_of_trl.py").write_text(
        "def fn(completions, solution, level): return [float(s in c) for c, s in zip(completions, solution)]\n"
        "def asks(completions, answer): return [float(a in c) for c, a in zip(completions, answer)]\n"
    )
    path = rows(
        {"completion": "it is 7", "solution": "7", "level": 1}, {"completion": "8", "solution": "7", "level": 2}
    )
    code, out, _ = command("verify", *QUICK, "{use: 'mine_of_trl:fn', as: trl}", path)
    assert code == 0 and [row["score"] for row in judged(out)] == [1.0, 0.0]
    code, out, _ = command(
        "verify", *QUICK, "mine_of_trl:asks", path, "--set", "as=trl", "--columns", "answer=solution"
    )
    assert [row["score"] for row in judged(out)] == [1.0, 0.0]
    code, out, _ = command("verify", *QUICK, "{use: 'mine_of_trl:asks', as: trl}", path)
    assert all("it takes 'answer', which the problem has not" in row["reason"] for row in judged(out))


COLUMNS = {"prediction": "5", "gold": "5", "kind": "sum"}


@pytest.mark.parametrize(("columns", "says"), [
    ("completion=predicton,answer=gold", "no column 'predicton' for completion; there are: prediction, gold, kind; "),
    ("completion=prediction,answer=glod", "no column 'glod' for answer; there are: gold, prediction, kind; did"),
    ("completion=prediction,answer=truth", "no column 'truth' for answer; there are: prediction, gold, kind"),
    ("completion=prediction,answer=gold,id=number", "no column 'number' for id"),
    ("completion=prediction,answer=gold,id=knd", "no column 'knd' for id; there are: kind, prediction, gold; did you"),
    ("completion={predicton}!,answer=gold", "no column 'predicton' for completion"),
    ("completion=prediction,answer={tests: glod}", "no column 'glod' for answer"),
    ("complation=prediction", "'complation' is unknown; did you mean 'completion'?"),
])  # fmt: skip
def test_a_column_that_no_row_has_is_refused_with_those_there_are(command, rows, columns, says):
    path = rows(COLUMNS, COLUMNS)
    code, out, err = command("verify", *QUICK, "exact", path, "--columns", columns)
    assert (code, out, err.count("\n")) == (2, b"", 1) and says in err


def test_a_column_that_stands_in_some_row_is_read_where_it_is(command, rows):
    code, out, err = command("verify", *QUICK, "exact", rows({"gold": "5"}, COLUMNS), "--columns",
                             "completion=prediction,answer=gold")  # fmt: skip
    assert code == 1 and len(judged(out)) == 1 and "1 rows could not be read" in err


def test_a_column_that_may_be_missing_is_not_refused_in_a_long_file(command, rows):
    path = rows(*[COLUMNS] * cases_module.PEEKED_ROWS, {**COLUMNS, "number": 7})
    code, out, _ = command("verify", *QUICK, "exact", path, "--columns", "completion=prediction,answer=gold,id=number")
    assert code == 0 and len(judged(out)) == cases_module.PEEKED_ROWS + 1


def test_a_file_that_is_not_there_is_told_of_with_the_nearest(command, rows, tmp_path, monkeypatch):
    path = Path(rows(COLUMNS))
    code, _, err = command("verify", *QUICK, "exact", str(path.with_name(f"x{path.name}")))
    assert code == 2 and f"did you mean '{path}'?" in err
