"""A verifier that comes to no verdict on its own references is refused before training; one that judges some is kept
and said."""

import sys

import pytest

from r1lab.errors import RecipeError
from r1lab.evaluation.arguments import Asked, evaluation_spec
from r1lab.recipe import load
from r1lab.stages import check
from r1lab.stages.dry_run import dry_run
from r1lab_verifiers.pool.pool import Pool

CHECKS = """
import os, signal, sys, time
from r1lab_verifiers import Verdict

def sleeps(completion, answer): time.sleep(1e9)
def spins(completion, answer):
    while True: pass
def swallows(completion, answer):
    while True:
        try: time.sleep(1)
        except BaseException: pass
def raises(completion, answer): raise ValueError("my table is gone")
def leaves(completion, answer): sys.exit(0)
def dies(completion, answer): os.kill(os.getpid(), signal.SIGKILL)
def hoards(completion, answer): return bytearray(8 << 30)
def nan(completion, answer): return float("nan")
def words(completion, answer): return "right"
class Unmade:
    def __init__(self): raise OSError("no licence")
    def verify(self, item): return True
class Late:
    def __init__(self): time.sleep(1e9)
    def verify(self, item): return True
class Apart:
    isolated = True
    async def verify(self, item): raise ValueError("apart")

def wrong(completion, answer): return False
def silent(completion, answer): return None
def strict(completion, answer): return completion == answer
def slow(completion, answer):
    time.sleep(0.05)
    return True
def odd(completion, answer):
    if int(answer) % 2: time.sleep(1e9)
    return True
def first(completion, answer):
    if answer != "0": raise ValueError(answer)
    return True
def unsure(completion, answer): return Verdict(0.0, "undecided")
def of_programs(completion, answer): return Verdict(0.0, "timeout")
"""


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A recipe of ten problems with the answers 0 to 9 and this verifier, resolved."""
    (tmp_path / "checks.py").write_text(CHECKS)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sys.modules.pop("checks", None)

    def make(verifier: str = "", **changes):
        rows = "".join(f'{{"prompt": "say {n} now", "answer": "{n}", "solution": "so {n}"}}\n' for n in range(10))
        (tmp_path / "rows.jsonl").write_text(rows)
        raw = {"data": {"path": "rows.jsonl"}, "verifier": verifier or "exact", "steps": 1, "max_new_tokens": 8,
               "workers": {"deadline": 0.3, "memory_mb": 1024, "count": 2}}  # fmt: skip
        return load.resolve({**raw, **changes}, tmp_path)

    yield make
    sys.modules.pop("checks", None)


NEVER = {
    "checks:sleeps": "3 timed out (no verdict within 0.3 s",
    "checks:spins": "3 timed out",
    "checks:swallows": "3 timed out",
    "checks:raises": "3 crashed (ValueError: my table is gone",
    "checks:leaves": "3 crashed (SystemExit",
    "checks:dies": "3 crashed",
    "checks:hoards": "3 crashed (MemoryError",
    "checks:nan": "3 gave no score (checks:nan returned the score nan",
    "checks:words": "3 gave no score (checks:words returned 'right'",
    "checks:Unmade": "of 1 reference answers tried: 1 crashed (making the verifier: OSError: no licence",
}


@pytest.mark.parametrize("verifier", NEVER)
def test_one_that_comes_to_no_verdict_is_refused_in_one_line(plan, verifier):
    with pytest.raises(RecipeError) as end:
        check.check(plan(verifier))
    said = str(end.value)
    assert said.startswith(f"data: verifier {verifier} came to no verdict on ") and NEVER[verifier] in said
    assert f"r1lab audit --verifier {verifier} --dataset" in said and "raise workers.deadline" in said
    assert "0.3 s" in said and "\n" not in said


@pytest.mark.parametrize("verifier", [
    "checks:wrong", "checks:silent", "checks:strict", "checks:slow", "checks:unsure", "checks:of_programs", "exact",
])  # fmt: skip
def test_one_that_comes_to_verdicts_is_kept_without_a_word(plan, verifier):
    (checked,) = check.check(plan(verifier))
    assert len(checked.problems) == 10 and checked.notes == []


def test_one_that_judges_some_is_kept_with_the_counts(plan):
    for verifier, told in (
        ("checks:odd", "1 of 3 reference answers tried: 1 timed out (no verdict within 0.3 s"),
        ("checks:first", "2 of 3 reference answers tried: 2 crashed (ValueError: 9"),
    ):
        (checked,) = check.check(plan(verifier))
        (note,) = checked.notes
        assert len(checked.problems) == 10 and note.startswith(
            f"data: verifier {verifier} came to no verdict on {told}"
        )


def test_a_part_of_the_reward_a_second_verifier_and_an_evaluation_set_are_tried_too(plan):
    held_out = {"sets": {"test": {"path": "rows.jsonl", "verifier": "checks:raises"}}}
    for changes, where in (
        ({"reward": {"score": 1, "checks:raises": 0.1}}, "data: "),
        ({"second_verifier": {"use": "checks:raises", "share": 0.5}}, "data: "),
        ({"eval": held_out}, "data test: "),
        ({"kind": "sft", "eval": held_out}, "data test: "),
    ):
        with pytest.raises(RecipeError, match=f"{where}verifier checks:raises came to no verdict on 3 of 3"):
            check.check(plan(**changes))
    check.check(plan(kind="sft", verifier="checks:raises"))  # nothing of it is judged


@pytest.mark.parametrize("columns", [{}, {"solution": "solution"}])
def test_one_that_isolates_itself_is_tried_on_solutions_or_answers_that_are_texts(plan, columns):
    with pytest.raises(RecipeError, match=r"verifier checks:Apart came to no verdict on 3 of 3 .* 3 crashed"):
        check.check(plan("checks:Apart", data={"path": "rows.jsonl", "columns": columns}))


def test_one_that_isolates_itself_is_not_tried_where_nothing_it_may_run_is_known(plan):
    mapping = {"answer": {"tests": "answer", "more": "prompt"}}
    (checked,) = check.check(plan("checks:Apart", data={"path": "rows.jsonl", "columns": mapping}, on_bad_gold="drop"))
    assert len(checked.problems) == 10 and checked.notes == []


@pytest.mark.slow
def test_one_that_is_never_made_is_given_up_after_the_first_reference(plan, monkeypatch):
    monkeypatch.setitem(Pool.__init__.__kwdefaults__, "build_deadline", 3.0)
    with pytest.raises(RecipeError, match=r"1 of 1 .* 1 timed out .making the verifier: no verdict within 3 s"):
        check.check(plan("checks:Late"))


def test_a_dry_run_and_an_evaluation_refuse_it_too(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="verifier checks:sleeps came to no verdict on 3 of 3"):
        dry_run(plan("checks:sleeps"))
    workers = plan().stages[0].workers
    with pytest.raises(RecipeError, match="data rows: verifier checks:sleeps came to no verdict on 3 of 3"):
        evaluation_spec(Asked(model="embedded", on="rows.jsonl", verifier="checks:sleeps", workers=workers))
