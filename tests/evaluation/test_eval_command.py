"""`r1lab eval` and `r1lab probe` from the command line: what they print, write and refuse."""

import json

SUMS = [{"prompt": f"{a}+2", "answer": str(a + 2), "id": f"s{a}"} for a in range(4)]
GIVEN = [{"id": f"s{a}", "completion": text} for a in range(4) for text in (f"{a + 2}", "5")]
HOW = ("--on", "sums.jsonl", "--verifier", "numeric", "--columns", "id=id", "--workers", "1")


def test_a_file_of_completions_is_evaluated_compared_and_probed(command, rows, tmp_path):
    rows(*SUMS, name="sums.jsonl")
    given = ("--completions", rows(*GIVEN, name="given.jsonl"))
    code, out, _ = command("eval", *HOW, *given, "--out", "first", "--k", "1")
    # five right of eight: one of two, but both for a = 3
    assert code == 0 and "avg@2     0.6250" in out.decode() and "pass@1    0.6250" in out.decode()
    assert sorted(path.name for path in (tmp_path / "first").glob("[!.]*")) == [
        "completions.parquet", "manifest.json", "results.json",
    ]  # fmt: skip
    code, out, _ = command("eval", *HOW, *given, "--against", "first")
    assert code == 0 and "paired difference +0.0000" in out.decode() and len(list(tmp_path.glob("evals/sums-*"))) == 1
    code, out, _ = command("probe", *HOW, *given, "--out", "probe", "--group-size", "2")
    assert code == 0 and "Yes: RL from here has signal: 0.75" in out.decode()
    assert json.loads((tmp_path / "probe" / "probe.json").read_text())[0]["mixed"]["2"]["value"] == 0.75


def test_mistakes_are_one_line_on_stderr_and_exit_2(command, rows):
    rows(*SUMS, name="sums.jsonl")
    for arguments, says in [
        (("eval", "embedded", "--on", "gsm8kk"), "did you mean 'gsm8k'"),
        (("eval", *HOW), "MODEL: missing"),
        (("eval", "embedded", *HOW, "--n", "2", "--k", "4"), "give --n 4"),
        (("eval", "embedded", *HOW, "--on-bad-gold", "keep"), "--on-bad-gold"),
        (("eval", "embedded", *HOW, "--with", "digits"), "is not key=value"),
        (("probe", *HOW), "MODEL: missing"),
        (("probe", "embedded", *HOW, "--n", "1"), "a group of one"),
    ]:
        code, out, err = command(*arguments)
        assert (code, out) == (2, b"") and says in err and err.count("\n") == 1 and err.startswith("r1lab: ")
