"""What a comparison claims beyond its ranking: controls, coverage, shifts, a fair ledger, the best evaluation."""

import numpy as np
import pytest

from r1lab.comparison import claims, summary, trials
from r1lab.comparison.compare import compare
from r1lab.comparison.design import Design, Sweep, controls_among
from r1lab.comparison.findings import findings
from r1lab.evaluation.folder import write_rows
from r1lab.evaluation.model_completer import completion_of
from r1lab.evaluation.runner import row_of
from r1lab.report.tables import as_text
from r1lab.run.folder import evaluation_table
from r1lab_verifiers.verdict import Verdict

RNG = np.random.default_rng(0)
NOISE = RNG.random((10, 64))
CONTROL = {"use": "control", "kind": "random", "rate": 0.3}


def outcomes(share, seed, shift=0):
    return [int(value) for value in (NOISE[seed + shift] + np.arange(64) / 64) / 2 < share]


def found_of(folders, design=None, on=None):
    read = trials.read(folders)
    names = dict.fromkeys(each.regime for each in read)
    regimes = {name: [each for each in read if each.regime == name] for name in names}
    return findings(regimes, on, (), {}, design)


@pytest.fixture
def runs(folder_of_run):
    """runs(name, share): three seeds that began at 0.3."""

    def make(name, share, replaced=None, **more):
        identity = {"preset": "zero", "stages": {"rl": {"train_verifier": replaced or "none"}}}
        return [
            folder_of_run(name, seed, outcomes(share, seed), before=(outcomes(0.3, seed, 3), outcomes(0.4, seed, 5)),
                          manifest={"identity": {"seed": seed, **identity}}, train_verifier=replaced, **more)
            for seed in range(3)
        ]  # fmt: skip

    return make


def test_the_verifier_made_it_where_the_control_is_left_behind(runs):
    found = found_of([*runs("zero", 0.85), *runs("zero-random", 0.3, CONTROL)])
    assert found.design.controls == {"zero-random": "zero"}
    said = summary.answer(found)
    assert said.startswith("The verifier made it: zero ends above zero-random by +") and "which holds zero" in said
    assert [each.name for each in found.best_first] == ["zero"]
    gains = {each.name: each.gain for each in found.regimes}
    assert gains["zero"].low > 0.3 and gains["zero-random"].low < 0 < gains["zero-random"].high
    right = [np.mean(outcomes(0.85, seed)) - np.mean(outcomes(0.3, seed, 3)) for seed in range(3)]
    assert gains["zero"].value == pytest.approx(np.mean(right))


def test_it_is_not_said_where_the_control_gains_as_much(runs):
    found = found_of([*runs("zero", 0.7), *runs("zero-random", 0.69, CONTROL)])
    said = summary.lead(found)
    assert said.startswith("That the verifier made it is not shown: zero - zero-random is +")
    assert "(not separated)" in said and "zero-random itself gained +" in said and "separated from zero" in said
    assert "not shown" in as_text(claims.sections(found)) and "random 0.3" in as_text(claims.sections(found))


def test_other_regimes_are_not_compared_with_a_control(runs):
    found = found_of([*runs("zero", 0.8), *runs("zero-random", 0.3, CONTROL), *runs("other", 0.5, source="abc")],
                     Design({"zero-random": "zero"}))  # fmt: skip
    assert [(each.a, each.b) for each in found.contrasts] == [("zero", "other"), ("zero", "zero-random")]
    said = summary.answer(found)
    assert said.startswith("zero ends higher than other: +") and "The verifier made it: zero" in said
    assert "zero is above" not in said


def test_a_control_is_told_by_its_run(runs, folder_of_run):
    control = {"zero-random": runs("zero-random", 0.3, CONTROL), "zero": runs("zero", 0.8)}
    read = {name: trials.read(folders) for name, folders in control.items()}
    assert controls_among(read) == {"zero-random": "zero"}
    alone = trials.read([folder_of_run("a", 0, [0, 1]), folder_of_run("b", 0, [0, 1])])
    assert controls_among({each.regime: [each] for each in alone}) == {}


def test_only_what_judged_the_evaluation_has_to_be_of_one_version(folder_of_run):
    judged = {"numeric": {"source": "1", "settings": {}}}
    other = {"format": {"source": "2", "settings": {}}}
    folders = [folder_of_run("a", seed, outcomes(0.2, seed), manifest={"verifiers": judged}) for seed in range(3)]
    more = {"verifiers": judged | other}
    folders += [folder_of_run("b", seed, outcomes(0.9, seed), manifest=more) for seed in range(3)]
    changed = {"verifiers": judged | {"format": {"source": "3", "settings": {}}}}
    folders += [folder_of_run("c", seed, outcomes(0.5, seed), manifest=changed) for seed in range(3)]
    assert len(found_of(folders).ranking) == 3
    newer = {"verifiers": {"numeric": {"source": "2", "settings": {}}}}
    folders[:3] = [folder_of_run("a", seed, outcomes(0.2, seed), manifest=newer) for seed in range(3)]
    assert len(found_of(folders).ranking) == 1


def test_a_shifted_set_stands_beside_and_is_not_chosen(folder_of_run, tmp_path, monkeypatch):
    folders = [folder_of_run("a", seed, outcomes(0.2, seed), far_N=outcomes(0.7, seed)) for seed in range(3)]
    folders += [folder_of_run("b", seed, outcomes(0.9, seed), far_N=outcomes(0.1, seed)) for seed in range(3)]
    found = found_of(folders)
    assert found.on == "held" and list(found.shifted) == ["far"]
    assert found.ranking == [("b", "a")] and found.shifted["far"][0].winner == "a"
    text = as_text(claims.sections(found))
    assert "held (as trained)" in text and "far (shifted)" in text and "a higher" in text
    assert found_of(folders, on="far").ranking == [("a", "b")]
    made = compare(folders, out=tmp_path / "out")
    assert "far (shifted)" in made.page.read_text() and made.summary["shifted"]["far"][0]["winner"] == "a"


def test_the_best_evaluation_is_chosen_by_the_other_half(runs, folder_of_run):
    best, worst = [1] * 64, [0] * 64
    folders = [folder_of_run("a", seed, worst, before=(outcomes(0.3, seed), best)) for seed in range(3)]
    folders += [folder_of_run("b", seed, outcomes(0.6, seed), before=(worst, worst)) for seed in range(3)]
    found = found_of(folders)
    assert found.named("a").best.value == 1 and found.named("a").end.value == 0 and found.ranking == [("b", "a")]
    assert found_of(folders, Design(by="best")).ranking == [("a", "b")]
    odd = [at % 2 for at in range(64)]  # right by chance on one half alone: chosen there, it counts on the other
    (run,) = trials.read([folder_of_run("c", 0, worst, before=(worst, odd))])
    assert run.right_N("held", "best").mean() == 0


def test_the_best_evaluation_is_not_known_where_a_table_is_gone(folder_of_run):
    folders = [folder_of_run(name, seed, outcomes(share, seed)) for name, share in {"a": 0.2, "b": 0.9}.items()
               for seed in range(3)]  # fmt: skip
    found = found_of(folders)
    assert found.named("a").best is None and found.named("a").gain is None and found.named("a").coverage is None
    (pair,) = found_of(folders, Design(by="best")).contrasts
    assert [each.name for each in pair.refusals] == ["best"] and pair.difference is None


def test_a_sweep_says_each_value(runs):
    folders = [run for name, share in {"a-1": 0.3, "a-2": 0.85, "b": 0.5}.items() for run in runs(name, share)]
    sweep = Sweep("data.limit", {"a": {"8": "a-1", "32": "a-2"}, "b": {"8": "b", "32": "b"}})
    found = found_of(folders, Design(sweep=sweep))
    said = summary.lead(found)
    assert "At data.limit=8: b higher (+" in said and "At data.limit=32: a-2 higher (+" in said
    text = as_text(claims.sections(found))
    assert "Right answers on held by data.limit" in text


def test_coverage_is_of_the_model_before_the_first_step(folder_of_run, make_rollout):
    def table(path, counts):
        rows = []
        for draw, right in enumerate(counts):
            for index in range(4):
                verdict = Verdict(float(index < right), "correct" if index < right else "wrong")
                completion = completion_of(make_rollout((5,), (7,), draw=draw, index=index))
                rows.append(row_of(completion, verdict, None, "Q"))
        write_rows(path, rows, "x")

    folders = []
    for name, after in {"a": [4, 2, 0, 0], "b": [1, 1, 1, 1]}.items():
        for seed in range(2):
            folders.append(folder_of_run(name, seed, [0, 0, 0, 0], before=([0] * 4,), n=4))
            table(evaluation_table(folders[-1], "rl", 0, "held"), [1, 2, 1, 0])
            table(evaluation_table(folders[-1], "rl", 2, "held"), after)
    found = found_of(folders)
    assert found.named("a").coverage.kinds == {"solved": 0, "lost": 2, "sharpened": 2, "dulled": 0, "unchanged": 4}
    assert found.named("b").coverage.kinds == {"solved": 2, "lost": 0, "sharpened": 0, "dulled": 2, "unchanged": 4}
    assert "a: Training" in summary.answer(found) and "pass@4" in as_text(claims.sections(found))


def test_what_was_matched_and_what_not_is_said(runs):
    found = found_of([*runs("a", 0.3), *runs("b-random", 0.8, CONTROL)])
    assert found.matched["tokens"] is True and found.matched["problems"] is None
    said = claims.fair(found)
    assert said.startswith("Matched in budget tokens. alike (within 2 %): budget tokens, training FLOPs;")
    assert "not known of all: distinct problems" in said
    (pair,) = found_of([*runs("a", 0.3), *runs("b-random", 0.8, CONTROL)], Design(match="problems")).contrasts
    assert [each.name for each in pair.refusals] == ["budget"] and "its rollouts are gone" in pair.refusals[0].reason


def test_keep_best_that_not_all_have_is_said(folder_of_run):
    folders = [folder_of_run("a", seed, outcomes(0.2, seed), keep_best="eval/held/avg") for seed in range(2)]
    folders += [folder_of_run("b", seed, outcomes(0.9, seed)) for seed in range(2)]
    assert found_of(folders).notes == [
        "keep_best is set in a alone; the ends and, for every regime alike, the best evaluations are both shown"
    ]
