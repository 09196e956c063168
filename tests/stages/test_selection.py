"""What is kept of sampled completions, and what is counted against each filter; the dataset that comes of it."""

import json

import pytest

from r1lab.errors import RunError
from r1lab.recipe.reject import KeepConfig
from r1lab.records import Draw, Group, Scored, Settled
from r1lab.stages import dataset
from r1lab.stages.selection import JudgedPairs, VerifiedSolutions
from r1lab_data import Problem, language
from r1lab_data.loaders import load
from r1lab_verifiers.verdict import Verdict


@pytest.fixture
def block(make_rollout):
    """Groups of (text, score, tokens, finish) with a problem each."""

    def make(*groups, prompt="1+1", answer="2"):
        settled = []
        for number, members in enumerate(groups):
            problem = Problem(f"p{number}", f"{prompt}+{number}", answer, "numeric", source="s", meta={"hard": 1})
            scored = [
                Scored(
                    make_rollout((5,), range(7, 7 + size), draw=number, index=index, finish=finish, text=text),
                    Verdict(score, "error" if score is None else "correct" if score == 1 else "wrong"),
                    score,
                )
                for index, (text, score, size, finish) in enumerate(members)
            ]
            group = Group(Draw(number, problem, len(members)), tuple(scored))
            settled.append(Settled(group, group, "kept"))
        return settled

    return make


def selected(block, **keep) -> VerifiedSolutions:
    selection = VerifiedSolutions(KeepConfig(**keep))
    selection.add(block)
    return selection


def test_each_completion_is_refused_by_the_first_filter_it_does_not_pass(block):
    made = block([
        (" 2", 1.0, 3, "eos"),
        (" two", None, 3, "eos"),
        (" 3", 0.0, 3, "eos"),
        (" 2 and on", 1.0, 9, "length"),
        (" \n", 1.0, 3, "eos"),
        (" .", 1.0, 1, "eos"),
        (" 2 it is, after long thought", 1.0, 8, "eos"),
        (" это два", 1.0, 4, "eos"),
        ("  2!", 1.0, 3, "eos"),
        (" so 2", 1.0, 4, "eos"),
        (" hence 2", 1.0, 4, "eos"),
    ])  # fmt: skip
    selection = selected(made, min_tokens=2, max_tokens=5, language="en", max_per_problem=2)
    assert [row.member.rollout.text for row in selection.rows] == [" 2", " so 2"]
    assert dict(selection.refused) == dict.fromkeys(
        ("unjudged", "threshold", "truncated", "empty", "min_tokens", "max_tokens", "language", "duplicate",
         "max_per_problem"), 1,
    )  # fmt: skip
    counts = selection.metrics()
    assert (counts["reject/sampled"], counts["reject/kept"], counts["reject/problems"]) == (11, 2, 1)
    assert sum(value for key, value in counts.items() if key.startswith("reject/refused/")) == 9


def test_a_text_is_a_duplicate_within_its_problem_only_also_across_steps(block):
    first, second = block([(" 2", 1.0, 2, "eos")], [(" 2", 1.0, 2, "eos")])
    selection = VerifiedSolutions(KeepConfig())
    for part in ([first], [second], [first]):
        selection.add(part)
    assert len(selection.rows) == 2 and selection.refused["duplicate"] == 1 and selection.problems == 2


def test_an_empty_selection_names_the_filter_that_emptied_it_with_counts(block):
    made = block([(" 3", 0.0, 3, "eos"), (" 2", 1.0, 3, "length"), (" 4", 0.5, 3, "eos")])
    said = "none of 3 completions is left: 2 scored below keep.threshold, 1 were cut at max_new_tokens; "
    assert selected(made).why_empty() == said + "the last filter, truncated, emptied it"
    assert len(selected(made, threshold=0.5, truncated=True).rows) == 2


def test_language_is_the_script_of_words_and_a_formula_is_of_none():
    assert language.is_in("4+8=12, x=\u03b1", "en") and language.is_in("the sum \u03b1 is 5", "en")
    assert not language.is_in("\u7b54\u6848\u662f\u4e94 so", "en") and language.is_in("\u7b54\u6848\u662f\u4e94", "zh")


def write(tmp_path, selection):
    shared = {"model": "embedded", "recipe": "abc", "stage": "reject"}
    dataset.write(tmp_path / "data", selection, versions={"numeric": "v1"}, **shared)
    return tmp_path / "data"


@pytest.mark.parametrize("answer", ["2", {"numbers": [1, 1], "target": 2}])
def test_the_dataset_reads_like_any_local_one_and_says_where_each_row_comes_from(block, tmp_path, answer):
    made = block([(" 2", 1.0, 3, "eos"), (" so 2\u2028!", 1.0, 4, "eos")], answer=answer)
    folder = write(tmp_path, selected(made))
    row = json.loads((folder / "train.jsonl").read_text().splitlines()[0])
    assert (row["model"], row["recipe"], row["stage"], row["verifier_version"]) == ("embedded", "abc", "reject", "v1")
    assert (row["draw"], row["index"], row["seed"], row["temperature"], row["status"]) == (0, 0, 0, 1.0, "correct")
    ours = dataset.read(folder, "mine")
    assert [(each.solution, each.answer, each.verifier, each.meta) for each in ours] == [
        (text, answer, "numeric", {"hard": 1}) for text in (" 2", " so 2\u2028!")
    ]
    theirs = load(str(folder), source="mine", columns=dataset.columns_of(row))
    assert [(e.id, e.prompt, e.solution, e.answer) for e in theirs] == [
        (e.id, e.prompt, e.solution, e.answer) for e in ours
    ]
    card = (folder / "README.md").read_text()
    assert "2 demonstrations of 1 problems" in card and all(f"`{name}`" in card for name in dataset.PROVENANCE)
    assert set(row) == {"id", "prompt", "answer", "solution", *dataset.PROVENANCE}


def test_a_damaged_dataset_is_one_line(block, tmp_path):
    folder = write(tmp_path, selected(block([(" 2", 1.0, 3, "eos")])))
    (folder / "train.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(RunError, match=r"train.jsonl cannot be read \('prompt'\); remove the stage's folder"):
        dataset.read(folder, "mine")


def test_pairs_say_how_often_a_judge_prefers_what_the_verifier_scores_higher(block):
    """Of six pairs one is a tie, one unscored, one scored alike: of three the judge, who prefers what is long, is right
    about two."""
    pairs = [("22", 1.0, "3", 0.0), ("2", 0.4, "33", 0.5), ("2", 1.0, "33", 0.0), ("2", 1.0, "3", 0.0),
             ("22", None, "3", 0.0), ("22", 0.5, "3", 0.5)]  # fmt: skip
    made = block(*[[(one, a, 1, "eos"), (other, b, 1, "eos")] for one, a, other, b in pairs])

    def longer(draw, first, second):
        lead = (len(first.rollout.text) - len(second.rollout.text)) / 4
        return 0.5 + lead, 0.5 + lead, ""

    selection = JudgedPairs(KeepConfig(), preferences=longer)
    assert selection.metrics()["judge/agrees"] is None
    selection.add(made)
    said = selection.metrics()
    assert (said["reject/kept"], said["judge/told_apart"]) == (5, 3) and said["judge/agrees"] == pytest.approx(2 / 3)
