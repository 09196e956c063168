"""A set asked of a file or a model: figures counted by hand, folders resumed byte for byte, refusals in one line."""

import itertools
import json
from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

import r1lab
from r1lab.errors import RecipeError, RunError
from r1lab.evaluation import completers, runner
from r1lab.evaluation.scores import figures
from r1lab.recipe import WorkersConfig
from r1lab.stats import intervals

SUMS = [{"prompt": f"{a}+2", "answer": str(a + 2), "id": f"s{a}"} for a in range(6)]
ONE = WorkersConfig(count=1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder with sums.jsonl, six problems."""
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "sums.jsonl", SUMS)
    return tmp_path


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def evaluate(model=None, on="sums.jsonl", **asked):
    own = {"verifier": "numeric", "source": {"columns": {"id": "id"}}, "workers": ONE}
    return r1lab.evaluate(model, on, **{**own, **asked})


def written(texts_by_problem):
    return [{"id": name, "completion": text} for name, texts in texts_by_problem.items() for text in texts]


def test_a_file_of_completions_is_counted_as_by_hand(folder):
    texts = {f"s{a}": [f"It is {a + 2}.", "7", "so 7.0", "none"] for a in range(6)}
    done = evaluate(completions=lines(folder / "c.jsonl", written(texts)), out="e")
    # each has one right of four; a = 5 has three, 7 being right: 1/4 x 5/6 + 3/4 x 1/6
    assert done.figures["avg"]["value"] == pytest.approx(float(Fraction(1, 4) * 5 / 6 + Fraction(3, 4) / 6), abs=1e-12)
    # 7 and 7.0 are one answer and win each vote; right for a = 5 alone
    assert done.figures["maj"]["value"] == pytest.approx(1 / 6, abs=1e-12)
    assert done.figures["statuses"] == {"correct": 8, "wrong": 10, "no_answer": 6}
    assert [row["vote"] for row in done.rows[:4]] == [0, 1, 1, None]
    assert done.figures["manifest"] == json.loads((folder / "e" / "manifest.json").read_text())["hash"]
    assert not (folder / "e" / "parts").exists()


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=2, max_size=4), st.integers(1, 4))
def test_pass_at_k_of_the_figures_agrees_with_brute_force(right_NK, k):
    rows = [
        {"problem_id": str(i), "index": j, "score": float(right), "status": "wrong", "vote": None,
         "finish": "stop", "num_tokens": None} for i, right_K in enumerate(right_NK) for j, right in enumerate(right_K)
    ]  # fmt: skip
    found = figures(rows, name="s", seed=0, ks=[k])["pass"][str(k)]["value"]
    brute = Fraction(sum(any(chosen) for right_K in right_NK for chosen in itertools.combinations(right_K, k)))
    assert abs(found - brute / comb(4, k) / len(right_NK)) <= 1e-12


def test_an_evaluation_killed_anywhere_and_resumed_has_the_same_bytes(folder, monkeypatch):
    texts = {f"s{a}": [str(a), str(a + 2)] for a in range(6)}
    asked = {"completions": lines(folder / "c.jsonl", written(texts))}
    monkeypatch.setattr(completers.FileCompleter, "together", 4)  # blocks of two problems
    whole = evaluate(**asked, out="whole")
    real, count = runner.write_rows, itertools.count()

    def die_at(number):
        def write(path, rows, settings):
            if next(count) == number:
                raise RunError("killed")
            real(path, rows, settings)

        return write

    for number in (1, 3):  # of three blocks and then the whole table
        count = itertools.count()
        monkeypatch.setattr(runner, "write_rows", die_at(number))
        with pytest.raises(RunError, match="killed"):
            evaluate(**asked, out=f"cut{number}")
        monkeypatch.setattr(runner, "write_rows", real)
        assert len(list((folder / f"cut{number}" / "parts").glob("*.parquet"))) == number
        evaluate(**asked, out=f"cut{number}")
        for name in ("results.json", "completions.parquet"):
            assert (folder / f"cut{number}" / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_models_completions_are_the_same_after_a_resume_and_greedy_ones_repeat(folder, monkeypatch):
    asked = {"source": {"limit": 6, "settings": {"digits": 2}}, "format": "Q: {prompt}\nA:", "max_new_tokens": 40}
    asked |= {"on": "addition", "n": 2, "max_batch": 4, "threads": 1, "verifier": None}
    whole = evaluate("embedded", **asked, out="whole")
    assert [row["index"] for row in whole.rows] == [0, 1] * 6
    assert whole.rows[0]["prompt_text"].startswith("Q: ") and whole.rows[0]["num_tokens"] > 0
    evaluate("embedded", **asked, out="cut")
    (folder / "cut" / "completions.parquet").unlink()
    parts = folder / "cut" / "parts"
    parts.mkdir()
    settings = runner.digest([json.loads((folder / "cut" / "manifest.json").read_text())["identity"], 4])
    runner.write_rows(parts / "00000.parquet", whole.rows[:4], settings)  # as if killed after the first block
    evaluate("embedded", **asked, out="cut")
    assert (folder / "cut" / "completions.parquet").read_bytes() == (whole.path / "completions.parquet").read_bytes()
    greedy = evaluate("embedded", **{**asked, "temperature": 0, "source": {"limit": 2}}, out="greedy").rows
    assert greedy[0]["text"] == greedy[1]["text"] and greedy[2]["text"] == greedy[3]["text"]


def test_two_evaluations_are_compared_by_problem_and_others_are_refused(folder):
    right = lines(folder / "r.jsonl", written({f"s{a}": [str(a + 2)] * 2 for a in range(6)}))
    half = lines(folder / "h.jsonl", written({f"s{a}": [str(a + 2), "99" if a < 4 else str(a + 2)] for a in range(6)}))
    first = evaluate(completions=half, out="half")
    found = evaluate(completions=right, out="right", against="half/results.json").against
    # four problems gain one half, two nothing: mean 1/3, sd 0.258, t(5) = 2.571
    assert found["difference"]["value"] == pytest.approx(1 / 3)
    assert found["difference"]["low"] == pytest.approx(1 / 3 - 2.5706 * 0.2582 / 6**0.5, abs=1e-3)
    assert (found["problems"], found["is_resolved"]) == ({"better": 4, "same": 2, "worse": 0}, True)
    reached = found["coverage"]
    assert (reached.n, reached.kinds["sharpened"], reached.kinds["unchanged"]) == (2, 4, 2)
    assert [round(each.difference.value, 4) for each in reached.curve] == [0.3333, 0.0]
    assert (folder / "right" / "coverage.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(RecipeError, match="another set"):
        evaluate(completions=right, out="x", against=first.path, source={"columns": {"id": "id"}, "limit": 5})
    with pytest.raises(RecipeError, match="another verifier"):
        evaluate(completions=right, out="x", against=first.path, verifier="math")
    assert not (folder / "x").exists()


def test_errors_and_undecided_stay_in_n_as_not_right():
    row = {"index": 0, "vote": None, "finish": "stop", "num_tokens": None}
    rows = [
        {"problem_id": "a", "score": 1.0, "status": "correct", **row},
        {"problem_id": "b", "score": None, "status": "error", **row},
        {"problem_id": "c", "score": 0.0, "status": "undecided", **row},
    ]
    found = figures(rows, name="s", seed=0, ks=[])
    assert found["avg"]["value"] == intervals.wilson(1, 3).value
    assert (found["errors"], found["undecided"]) == (1, 1)


HALF = {"id": "s0", "completion": "2"}


@pytest.mark.parametrize("rows, says", [
    ([HALF], "5 of 6 problems have fewer than 1 completions, as 'sums/s1' with 0"),
    ([{"id": "s9", "completion": "2"}], "1 ids are of no problem of sums, as 's9'; the set's are as 'sums/s0'"),
    ([{"completion": "2"}], "line 1: no id"),
    ([{"id": "s0"}], "no completion"),
    ([], "holds no completion"),
    ([HALF | {"finish": "soon"}], "has finish 'soon'"),
    (written({f"s{a}": ["2"] * (1 + (a == 3)) for a in range(6)}), "from 1 to 2 completions"),
])  # fmt: skip
def test_a_file_that_does_not_answer_the_set_is_refused_and_nothing_is_written(folder, rows, says):
    path = lines(folder / "c.jsonl", rows)
    with pytest.raises(RecipeError, match="--completions: ") as error:
        evaluate(completions=path, out="e")
    assert says in str(error.value) and "\n" not in str(error.value)
    assert not (folder / "e").exists()


@pytest.mark.parametrize("asked, says", [
    ({"on": "gsm8kk"}, "did you mean 'gsm8k'"),
    ({"on": None}, "--on: missing"),
    ({"verifier": None}, "the set names no verifier; give --verifier"),
    ({"k": (2,)}, "pass@2 needs at least 2 completions a problem, and n is 1; give --n 2"),
    ({"n": 0}, "--n: 0"),
    ({"source": {"where": {"id": "nobody"}}}, "none of its 6 rows is as where"),
    ({"model": "nowhere"}, "neither 'embedded', nor a folder"),
    ({"overrides": ("steps=1",)}, "overrides a recipe, and none is named"),
    ({"model": "embedded", "max_new_tokens": 10_000}, "exceed the context"),
    ({"model": "embedded", "prompt": "plane"}, "--prompt"),
    ({"settings": {"tolerance": 0.1}, "verifier": None}, "of which verifier?"),
])  # fmt: skip
def test_a_mistake_is_refused_in_one_line_and_nothing_is_written(folder, asked, says):
    given_ = {"model": "embedded", **asked}
    with pytest.raises(RecipeError) as error:
        evaluate(**given_, out="e")
    assert says in str(error.value) and "\n" not in str(error.value)
    assert not (folder / "e").exists()


def test_a_set_that_overlaps_the_recipes_training_data_is_refused(folder):
    recipe = {"steps": 1, "data": {"path": "sums.jsonl"}, "verifier": "numeric"}
    with pytest.raises(RecipeError, match="6 of 6 problems stand in the training data"):
        evaluate("embedded", recipe=recipe, out="e")
    others = lines(folder / "others.jsonl", [{"prompt": "What is 7 less 3?", "answer": "4"}] * 2)
    recipe = {**recipe, "data": {"path": str(others)}, "eval": {"sets": {"held": {"path": "sums.jsonl"}}}}
    done = evaluate("embedded", "held", recipe=recipe, out="e", max_new_tokens=8, source={}, verifier=None, threads=1)
    assert done.figures["problems"] == 6


def test_another_evaluation_in_the_folder_is_refused_by_what_differs(folder):
    path = lines(folder / "c.jsonl", written({f"s{a}": ["2"] for a in range(6)}))
    evaluate(completions=path, out="e")
    with pytest.raises(RecipeError, match="is another evaluation"):
        evaluate(completions=path, out="e", verifier="math")
    (folder / "other").mkdir()
    (folder / "other" / "notes.txt").write_text("mine")
    with pytest.raises(RecipeError, match="not an evaluation's folder"):
        evaluate(completions=path, out="other")
