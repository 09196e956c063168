"""Stages hand their model on, keep their best one, stop as told, and leave a folder that others can read."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from r1lab import pipeline
from r1lab.errors import RecipeError
from r1lab.evaluation.folder import read_rows
from r1lab.recipe import load
from r1lab.report import figures
from r1lab.report.report import report
from r1lab.run.folder import evaluation_table
from r1lab.run.progress import Progress
from r1lab.timing import PHASES

BASE = {
    "name": "pipe",
    "data": {"task": "addition", "size": 64, "settings": {"digits": 2}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 32,
    "learning_rate": 1e-3,
    "optimizer": {"warmup_updates": 0},
    "prompts_per_step": 4,
    "group_size": 4,
    "threads": 1,
    "workers": {"count": 1},
    "eval": {"every": 1, "sets": {"test": {"task": "addition", "split": "eval", "size": 8}}},
}


def train(tmp_path, **changes) -> pipeline.Run:
    raw = {**BASE, "out": str(tmp_path / "run"), **changes}
    return pipeline.train(load.resolve(raw), Progress(quiet=True))


@pytest.fixture(scope="module")
def one_step(tmp_path_factory) -> dict:
    """The metrics of one step of BASE."""
    return train(tmp_path_factory.mktemp("one"), steps=1).metrics[-1]


def weights(folder) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def test_rl_starts_from_the_sft_model_and_the_folder_is_a_model_that_loads(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "CHARTS", figures.CHARTS[:2])  # all of them: test_report.py
    run = train(tmp_path, stages=[{"kind": "sft", "steps": 3}, {"kind": "rl", "steps": 1}])
    sft = [row for row in run.metrics if row["stage"] == "sft"]
    rl = [row for row in run.metrics if row["stage"] == "rl"]
    assert [row["step"] for row in sft] == [0, 1, 2, 3] and [row["step"] for row in rl] == [0, 1]
    length = "eval/test/completion"
    assert rl[0][length] == sft[-1][length] > sft[0][length], "the demonstrations are longer than the base's answers"
    assert rl[-1]["tokens/budget"] > sft[-1]["tokens/budget"] > 0
    final, after_sft = weights(run.model), weights(run.path / "stages" / "sft" / "model")
    assert any(not torch.equal(final[name], after_sft[name]) for name in final)
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    assert tokenizer.decode(tokenizer("Q: 1+2")["input_ids"]) == "Q: 1+2"
    assert report([run.path]).stat().st_size > 10_000


def test_every_row_has_the_metrics_that_a_run_is_judged_by(one_step):
    row = one_step
    expected = """reward/mean reward/std reward/part/score pass/share verdict/correct verdict/wrong verdict/error
        group/zero_variance group/kept group/dropped completion/mean completion/p95 completion/truncated policy/entropy
        policy/kl_rollout loss/clip_low loss/clip_high ratio/mean ratio/max mismatch/mean mismatch/max update/grad_norm
        update/learning_rate update/forwarded_share update/empty time/rollout time/update time/evaluate time/total
        time/verify time/pack time/forward time/backward time/optimizer time/sync time/record time/mfu
        time/tokens_per_second tokens/sampled tokens/trained tokens/budget flops/rollout flops/update flops/evaluation
        eval/test/avg eval/test/low eval/test/high eval/test/n eval/test/errors"""
    assert set(expected.split()) <= set(row)
    assert row["mismatch/max"] < 1e-4, "engine and trainer agree in float32"
    phases = sum(row[f"time/{phase}"] for phase in PHASES)
    assert 0.9 * row["time/total"] < phases <= 1.001 * row["time/total"] and 0 < row["time/mfu"] < 2
    assert row["ratio/mean"] == 1.0 and row["loss/clip_high"] == 0.0, "one update follows one block"


def test_the_best_evaluated_step_becomes_the_model(tmp_path):
    run = train(tmp_path, steps=3, learning_rate=0.3, eval={**BASE["eval"], "keep_best": "eval/test/avg"})
    scores = [row["eval/test/avg"] for row in run.metrics]
    assert max(scores) == scores[0], "a rate of 0.3 must destroy the model, or this test says nothing"
    base = weights(run.path / "best" / "rl")
    assert all(torch.equal(base[name], value) for name, value in weights(run.model).items())


def test_patience_ends_a_stage_that_does_not_improve(tmp_path):
    run = train(tmp_path, steps=9, learning_rate=0.3, stop={"patience": 2, "metric": "eval/test/avg"})
    assert run.metrics[-1]["step"] < 9


def test_the_budget_ends_with_one_smaller_step_that_it_pays_for(tmp_path):
    run = train(tmp_path, stop={"max_tokens": 4000}, learning_rate=1e-5, prompts_per_step=8, eval={})
    spent = [row["tokens/budget"] for row in run.metrics]
    assert 3600 < spent[-1] < 4100
    assert run.metrics[-1]["group/drawn"] < 8


def test_several_updates_follow_one_block_with_recomputed_old_logprobs(tmp_path):
    run = train(tmp_path, steps=1, updates_per_step=2, reuse=2, objective={"preset": "grpo"}, eval={})
    row = run.metrics[-1]
    assert row["ratio/max"] > 1.001 > 0.999 > row["ratio/min"]
    assert row["policy/kl_ref"] > 0
    assert row["tokens/trained"] == 2 * row["tokens/sampled"]


VARIANTS = {
    "as it is": {},
    "micro": {"micro_batch_tokens": 64},
    "threads": {"threads": 2},
    "waves": {"engine": {"max_batch": 5}},
}


@pytest.mark.slow
def test_one_step_agrees_whatever_the_rounding_knobs(tmp_path):
    small = {"steps": 1, "eval": {}}
    rows = [train(tmp_path / name, **small, **change).metrics[-1] for name, change in VARIANTS.items()]
    for row in rows[1:]:
        for key in ("loss/value", "update/grad_norm", "policy/entropy"):
            assert row[key] == pytest.approx(rows[0][key], rel=1e-5), key


def test_an_evaluation_of_other_problems_is_not_read_from_an_older_table(tmp_path):
    sets = {"test": {"task": "addition", "split": "eval", "size": 8, "settings": {"digits": 2}}}
    train(tmp_path, steps=1, eval={"every": 1, "sets": sets})
    train(tmp_path, steps=1, eval={"every": 1, "sets": sets})
    other = {"test": {**sets["test"], "settings": {"digits": 4}}}
    longer = train(tmp_path, steps=2, eval={"every": 1, "sets": other})
    fresh = train(tmp_path / "fresh", steps=2, eval={"every": 1, "sets": other})
    assert longer.metrics[-1]["eval/test/avg"] == fresh.metrics[-1]["eval/test/avg"]
    table = read_rows(evaluation_table(longer.path, "rl", 2, "test"))
    assert all(len(row["prompt_text"]) == len("Q: 1234+1234\nA:") for row in table)


def test_a_mismatch_is_measured_also_where_the_engines_logprobs_are_the_old_ones(tmp_path):
    row = train(tmp_path, steps=1, updates_per_step=2, old_logprobs="engine", eval={}).metrics[-1]
    assert 0 < row["mismatch/mean"] < 1e-4


def test_with_one_update_the_ratio_is_one_or_to_the_sampler(one_step, tmp_path):
    assert one_step["ratio/max"] == one_step["ratio/min"] == 1
    row = train(tmp_path, steps=1, old_logprobs="engine", eval={}).metrics[-1]
    assert (row["ratio/max"], row["ratio/min"]) != (1, 1) and row["ratio/max"] == pytest.approx(1, abs=1e-4)


def test_an_earlier_stage_that_would_end_elsewhere_is_refused_and_the_folder_stays_as_it_was(tmp_path):
    stages = [{"kind": "sft", "steps": 1}, {"kind": "rl", "steps": 1}]
    run = train(tmp_path, stages=stages)
    before = (run.path / "manifest.json").read_bytes()
    with pytest.raises(RecipeError, match="stage sft is done"):
        train(tmp_path, stages=[{"kind": "sft", "steps": 2}, stages[1]])
    assert (run.path / "manifest.json").read_bytes() == before
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["rl-1"]
