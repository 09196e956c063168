"""Runs' folders written by hand, compared: what is ranked, what is refused by name, what the page says."""

import json
import re

import numpy as np
import pytest

import r1lab
from r1lab.comparison import summary as answer
from r1lab.comparison import trials
from r1lab.comparison.compare import compare
from r1lab.comparison.findings import findings, tokens_to
from r1lab.comparison.page import side_by_side
from r1lab.errors import RecipeError, RunError
from r1lab.run.folder import evaluation_table

HOSTILE = "<script>alert(1)</script> \x1b[31m \u202e {{ 7 * 7 }} </pre><img src=http://evil.example/x>"
RNG = np.random.default_rng(0)
NOISE = RNG.random((10, 64))


def outcomes(share: float, seed: int, shift: int = 0) -> list[int]:
    """64 outcomes, nearly `share` of them right, the same easy problems first under every seed."""
    return [int(value) for value in (NOISE[seed + shift] + np.arange(64) / 64) / 2 < share]


@pytest.fixture
def four(folder_of_run):
    """Three seeds of four regimes: two far apart, two alike."""
    shares = {"zero": 0.3, "sft_rl": 0.8, "sft": 0.52, "reject": 0.5}
    return [
        folder_of_run(name, seed, outcomes(share, seed, 3 * at % 7))
        for at, (name, share) in enumerate(shares.items())
        for seed in range(3)
    ]


@pytest.fixture
def undrawn(monkeypatch):
    """For tests of words: drawing takes most of a page's time."""
    monkeypatch.setattr("r1lab.comparison.page.draw", lambda found: [])


def found_of(folders, on=None, targets=(), failed=None):
    read = trials.read(folders)
    names = dict.fromkeys(each.regime for each in read)
    return findings({name: [each for each in read if each.regime == name] for name in names}, on, targets, failed or {})


def names_of(found):
    return {refusal.name for each in found.contrasts for refusal in each.refusals}


def test_far_apart_is_ranked_and_alike_is_not(four):
    found = found_of(four)
    assert ("sft_rl", "zero") in found.ranking and ("sft_rl", "sft") in found.ranking
    assert {"sft", "reject"} not in [set(pair) for pair in found.ranking]
    alike = found.between("sft", "reject")
    assert [each.name for each in alike.refusals] == ["not_separated"] and alike.adjusted_p > 0.05
    assert alike.difference.low < 0 < alike.difference.high and alike.winner is None
    first = found.between("zero", "sft_rl")
    right = [np.mean(outcomes(0.3, seed)) - np.mean(outcomes(0.8, seed, 3)) for seed in range(3)]
    assert list(first.by_seed.values()) == pytest.approx(right)
    assert first.difference.value == pytest.approx(np.mean(right)) and first.winner == "sft_rl"
    assert first.corrected.high < 0 and first.corrected.low < first.difference.low


def test_the_answer_names_the_winner_with_its_interval(four):
    said = answer.answer(found_of(four))
    assert re.match(r"sft_rl ends higher than (reject|sft): \+\d+\.\d points \[\+\d+\.\d, \+\d+\.\d\], and above", said)
    assert "3 seeds, 64 problems of held" in said


def test_the_answer_says_what_is_open(four):
    said = answer.answer(found_of(four[:3] + four[6:]))
    assert re.match(r"No regime is shown to end highest: (sft|reject) scores most, but is not separated from", said)
    assert "sft is above zero." in said and re.search(r"With 3 seeds this could resolve about \d+ points there", said)


def test_one_seed_is_said_in_every_line_and_ranks_nothing(four):
    found = found_of(four[::3])
    assert found.ranking == [] and names_of(found) == {"one_seed"}
    text = answer.text(found)
    lines = [line for line in text.splitlines() if re.search(r"zero|sft|reject", line)]
    assert len(lines) > 10 and all(re.search("one seed|One seed|one_seed", line) for line in lines)
    summary = found.summary(answer.answer(found))
    assert summary["one_seed"] and all(each["one_seed"] for each in summary["contrasts"])


REFUSED = {
    "budget": {"tokens": 1021},
    "evaluation_set": {"problem": "Question:"},
    "verifier_version": {"source": "another"},
    "unfinished": {"manifest": {"finished": False}},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_was_not_examined_judged_or_paid_alike_is_not_ranked(folder_of_run, name):
    folders = [folder_of_run("a", seed, outcomes(0.2, seed)) for seed in range(3)]
    more = [folder_of_run("b", seed, outcomes(0.9, seed), **REFUSED[name] if seed == 1 else {}) for seed in range(3)]
    found = found_of(folders + more)
    (only,) = found.contrasts
    assert found.ranking == [] and name in names_of(found) and "b, seed 1" in only.refusals[0].reason
    assert f"({name.replace('_', ' ')})" in answer.answer(found)
    assert only.adjusted_p is None and only.win is None


def test_two_percent_and_one_percent_are_the_limits(folder_of_run):
    fine = [folder_of_run("a", seed, outcomes(0.2, seed)) for seed in range(2)]
    fine += [folder_of_run("b", seed, outcomes(0.9, seed), tokens=1020) for seed in range(2)]
    assert "budget" not in names_of(found_of(fine))
    right = [*outcomes(0.9, 0)[1:], None]  # 1 of 64 is over 1 %
    broken = [folder_of_run("c", 0, right), folder_of_run("c", 1, outcomes(0.9, 1))]
    (only,) = found_of(fine[:2] + broken).contrasts
    assert [(each.name, "1 of 64 completions of c, seed 0" in each.reason) for each in only.refusals] == [
        ("errors", True)
    ]


def test_sampling_of_the_evaluation_is_part_of_it(folder_of_run):
    folders = [folder_of_run("a", seed, outcomes(0.2, seed)) for seed in range(2)]
    folders += [folder_of_run("b", seed, outcomes(0.9, seed), temperature=0.5) for seed in range(2)]
    (only,) = found_of(folders).contrasts
    assert [each.reason for each in only.refusals] == ["temperature differs: 1.0 in a, seed 0, 0.5 in b, seed 0"]


def test_other_problems_have_no_difference_at_all(folder_of_run):
    folders = [folder_of_run("a", seed, [0, 1, 1]) for seed in range(2)]
    folders += [folder_of_run("b", seed, [0, 1]) for seed in range(2)]
    (only,) = found_of(folders).contrasts
    assert only.difference is None and "evaluation_set" in [each.name for each in only.refusals]


def test_seeds_that_one_lacks_and_runs_that_failed_are_named(four):
    found = found_of(four[:5], failed={"sft_rl, seed 2": "the disk is full"})
    (only,) = found.contrasts
    reasons = {each.name: each.reason for each in only.refusals}
    assert reasons["seeds"].endswith("zero has 0, 1, 2 and sft_rl has 0, 1")
    assert reasons["failed"] == "sft_rl, seed 2 failed: the disk is full"
    assert only.difference is not None and found.ranking == []


def test_tokens_to_a_score_stand_on_lines_between_evaluations(four):
    assert tokens_to([(0, 0.2), (100, 0.1), (200, 0.5)], 0.3) == 150
    assert tokens_to([(0, 0.2), (100, 0.1)], 0.3) is None
    reached = found_of(four[:6], targets=[0.5]).regimes[0].reached
    assert 0.5 in [each.target for each in reached]
    assert [each.num for each in reached if each.target == 0.5] == [0]


def test_a_set_that_not_all_have_is_refused_and_named(four):
    with pytest.raises(RecipeError, match="'test' is not of all runs"):
        found_of(four, on="test")


def test_folders_become_a_page_and_figures(four, tmp_path, capsys):
    made = compare(four[:6], out=tmp_path / "out", targets=[0.4])
    written = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert written["ranking"] == [{"higher": "sft_rl", "lower": "zero"}]
    assert written["regimes"]["zero"]["runs"]["0"] == "../zero-0"
    pictures = {path.stem: path.read_bytes() for path in made.page.parent.glob("*.png")}
    assert set(pictures) == {"differences", "curves", "ends"}
    assert all(image.startswith(b"\x89PNG") for image in pictures.values())
    page = made.page.read_text()
    assert page.index("sft_rl ends higher than zero") < page.index("<img")
    sources = re.findall(r"""<[a-z]+[^>]*?\b(?:src|srcset|href|action)\s*=\s*["']?([^"'\s>]+)""", page)
    assert len(sources) == 6 and all(source.startswith("data:image/png;base64,") for source in sources)


def test_what_models_and_recipes_wrote_is_escaped(folder_of_run, tmp_path, undrawn):
    more = {"texts": (HOSTILE, "fine"), "problem": HOSTILE, "manifest": {"notes": [HOSTILE]}}
    folders = [folder_of_run("a", seed, [0, 1, 1, 0], **more) for seed in range(2)]
    folders += [folder_of_run("b", seed, [1, 1, 0, 0], **more) for seed in range(2)]
    page = compare(folders, out=tmp_path / "out").page.read_text()
    assert "<script" not in page and "<img src=http" not in page and "\x1b" not in page and "\u202e" not in page
    assert "&lt;script&gt;alert(1)" in page and "{{ 7 * 7 }}" in page


def test_completions_are_chosen_by_rule(folder_of_run):
    folders = [folder_of_run("a", 0, [0, 1, 1], texts="xyz"), folder_of_run("b", 0, [0, 0, 1], texts="uvw")]
    shown = side_by_side(found_of(folders))
    assert [prompt for prompt, _ in shown] == ["Q: p2", "Q: p1", "Q: p0"]
    assert [[row["text"] for _, row in rows] for _, rows in shown] == [["z", "w"], ["y", "v"], ["x", "u"]]


def test_other_training_data_are_told(folder_of_run):
    folders = [folder_of_run("a", seed, [0, 1, 1], manifest={"data": {"rl/addition": "x"}}) for seed in range(2)]
    folders += [folder_of_run("b", seed, [0, 1, 0], manifest={"data": {"sft/data": "y"}}) for seed in range(2)]
    found = found_of(folders)
    assert found.notes == ["a, b: not all were trained on one set of problems"] and found.ranking == []
    assert found.notes[0] in answer.text(found)


MISTAKES = {
    "a name no recipe can have": (
        lambda write: write("b", 0, [0, 1], manifest={"name": "b\x1b[31m"}),
        "its name or seed",
    ),
    "an older version": (
        lambda write: write("b", 0, [0, 1], manifest={"packages": {"r1lab": "0.0.7"}}),
        f"was written by r1lab 0.0.7, this is {r1lab.__version__}",
    ),
    "no version": (lambda write: write("b", 0, [0, 1], manifest={"packages": {}}), "by r1lab (no version)"),
    "one regime": (lambda write: write("a", 1, [0, 1]), "only one regime, a"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_folders_that_cannot_be_compared_are_refused_in_one_line(command, folder_of_run, tmp_path, mistake):
    make, says = MISTAKES[mistake]
    code, _, err = command("compare", folder_of_run("a", 0, [0, 1]), make(folder_of_run), "out=there")
    assert code == 2 and says in err and err.count("\n") == 1
    assert not (tmp_path / "there").exists()


def test_no_run_and_the_same_run_twice_are_refused(command, folder_of_run, tmp_path):
    run = folder_of_run("a", 0, [0, 1])
    (tmp_path / "empty").mkdir()
    code, _, err = command("compare", run, "empty")
    assert code == 2 and "empty is no run's folder (no manifest.json)" in err
    code, _, err = command("compare", run, run)
    assert code == 2 and "a, seed 0 stands twice" in err
    code, _, err = command("compare", run, folder_of_run("b", 0, [0, 1]), "steps=3")
    assert code == 2 and "'steps=3' changes nothing" in err
    code, _, err = command("compare", run, folder_of_run("b", 0, [0, 1]), "--seeds", "5")
    assert code == 2 and "'seeds 5, jobs 1' changes nothing" in err


def test_equal_names_of_other_recipes_are_told_apart(folder_of_run, tmp_path):
    run = folder_of_run("a", 0, [0, 1])
    other = folder_of_run("a", 1, [1, 1], manifest={"identity": {"seed": 1, "preset": "b"}})
    labels = [each.regime for each in trials.read([run, other])]
    assert len(set(labels)) == 2 and all(label.startswith("a-") for label in labels)


def test_a_missing_table_says_what_to_do(folder_of_run):
    runs = [folder_of_run(name, 0, [0, 1]) for name in "ab"]
    evaluation_table(runs[1], "rl", 2, "held").unlink()
    with pytest.raises(RunError, match="the last evaluation of b, seed 0"):
        found_of(runs)
