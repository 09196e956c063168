"""A run on data of which some references are wrong: the samples say so."""

import json

import pyarrow as pa
import pytest

import r1lab
from r1lab.audit.suspects import Samples, _agreement
from r1lab.cli.main import app
from r1lab.errors import RecipeError
from r1lab.run import journal
from r1lab_data import Problem

ROWS = [{"id": f"p{n}", "question": f"{n}+{n + 1}", "answer": str(2 * n + 1)} for n in range(8)]
WRONG, SAID = {"p2": "77", "p5": "88"}, {"p2": "5.0", "p5": "11"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Of problems p2 and p5 all samples but one say what is right, which their references are not; of the others each
    says something else."""
    folder = tmp_path_factory.mktemp("suspects")
    rows = [{**row, "answer": WRONG.get(row["id"], row["answer"])} for row in ROWS]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "name": "suspect", "data": {"path": str(folder / "rows.jsonl"), "columns": {"prompt": "question", "id": "id"}},
        "verifier": "numeric", "prompt": {"format": "Q: {prompt}\nA:"}, "max_new_tokens": 8, "prompts_per_step": 8,
        "group_size": 8, "threads": 1, "workers": {"count": 1}, "steps": 1, "print_samples": 0,
        "second_verifier": {"use": "regex", "pattern": ".", "share": 1.0},
    }  # fmt: skip
    run = r1lab.train(recipe, f"out={folder / 'run'}").path
    table = journal.read(run / "rollouts" / "rl-1.parquet", journal.ROLLOUTS, "")
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    names = [name.removeprefix("data/") for name in columns["problem_id"].to_pylist()]
    places = columns["index"].to_pylist()
    said = [SAID[name] if name in WRONG and place else str(100 + place) for name, place in zip(names, places)]
    columns["extracted"] = pa.array(said, pa.string())
    columns["score"], columns["status"] = pa.array([0.0] * len(said)), pa.array(["wrong"] * len(said))
    journal.write(run / "rollouts" / "rl-1.parquet", columns, {journal.KIND: journal.ROLLOUTS})
    return run


def test_wrong_references_are_found_with_the_answer_that_most_give(run):
    found = r1lab.suspects(run)
    told = [(row["problem_id"], row["reference"], row["answer"], row["count"]) for row in found.figures["suspects"]]
    assert told == [("data/p2", "77", "5.0", 7), ("data/p5", "88", "11", 7)] and found.failed
    assert "2 suspect references among 8 of 8 problems" in found.text()


def test_problems_that_the_second_verifier_judges_otherwise_are_listed(run):
    rows = r1lab.suspects(run).figures["second_verifier"]
    assert rows and all(row["judged_twice"] == 8 for row in rows)
    totals = [row["right_to_the_first_alone"] + row["right_to_the_second_alone"] for row in rows]
    assert totals == sorted(totals, reverse=True) and min(totals) > 0


def samples(*answers, reference="1"):
    made = Samples(Problem("p", "1+0", reference))
    made.extracted, made.right = list(answers), [answer == reference for answer in answers]
    made.texts = ["text"] * len(answers)
    return made


@pytest.mark.parametrize(
    ("answers", "votes", "is_suspect"),
    [
        (["2", "2", "2", "1"], [0, 0, 0, 3], True),
        (["2", "2", "3", "1"], [0, 0, 2, 3], False),
        (["2", "2", "2", None, None, None], [0, 0, 0, None, None, None], False),
        (["1", "1", "1", "2"], [0, 0, 0, 3], False),
        ([None, None, None, None], [None] * 4, False),
        (["2", "2.0", "2", "2"], [0, 0, 0, 0], True),
        (["2", "1", "2", "2"], [0, 0, 0, 0], False),
    ],
)
def test_only_more_than_half_that_agree_on_what_is_not_right_are_suspect(answers, votes, is_suspect):
    assert (_agreement(samples(*answers), votes) is not None) == is_suspect


def test_the_command_exports_them_and_reads_nothing_else(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        app(["audit", "--from", str(run), "--json", str(tmp_path / "found.json"), "--workers", "1"])
    assert end.value.code == 1 and "suspect references" in capsys.readouterr().out
    assert json.loads((tmp_path / "found.json").read_text())["suspects"]
    for more in (["--verifier", "math"], ["--dataset", "task:addition"], ["--limit", "3"], ["--attack"], ["c.jsonl"]):
        with pytest.raises(RecipeError, match="is not read beside --from"):
            app(["audit", "--from", str(run), *more])


def test_what_is_no_run_is_one_line(tmp_path):
    with pytest.raises(RecipeError, match="is no run's folder"):
        r1lab.suspects(tmp_path)
