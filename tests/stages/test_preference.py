"""A policy learns from pairs of a dataset: the gradient is that of the papers' formulas, whatever cuts the batch."""

import copy
import json

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM

from r1lab import loop, pipeline
from r1lab.errors import RecipeError
from r1lab.policy.policy import Policy
from r1lab.recipe import load as recipe_file
from r1lab.run.ledger import Ledger
from r1lab.run.progress import Progress
from r1lab.stages.prepare import prepare
from r1lab_data import labelled

EASY = {"digits": 2}
BASE = {
    "name": "pairs",
    "kind": "preference",
    "data": {"task": "addition_pairs", "size": 32, "settings": EASY},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "precision": "float32",
    "learning_rate": 1e-3,
    "optimizer": {"warmup_updates": 0},
    "prompts_per_step": 8,
    "steps": 2,
    "threads": 1,
}
PAIR = {"prompt": "1+1", "chosen": "2", "rejected": "3"}


def plan(tmp_path, name="run", **changes):
    return recipe_file.resolve({**BASE, "out": str(tmp_path / name), **changes})


def train(tmp_path, *arguments, **changes) -> pipeline.Run:
    return pipeline.train(plan(tmp_path, *arguments, **changes), Progress(quiet=True))


def dpo(chosen, rejected, beta=0.1):
    """arXiv 2305.18290, eq. 7."""
    return -logsigmoid(beta * ((chosen.logp - chosen.ref).sum() - (rejected.logp - rejected.ref).sum()))


def ipo(chosen, rejected):
    """arXiv 2310.12036, eq. 17, tau = 0.1."""
    return ((chosen.logp - chosen.ref).sum() - (rejected.logp - rejected.ref).sum() - 5.0) ** 2


def rpo(chosen, rejected):
    """arXiv 2405.16436; its repository multiplies eta 0.005 by beta 0.01."""
    return dpo(chosen, rejected, 0.01) - 5e-5 * chosen.logp.sum()


def simpo(chosen, rejected):
    """arXiv 2405.14734, eq. 6."""
    return -logsigmoid(2.0 * chosen.logp.mean() - 2.0 * rejected.logp.mean() - 1.0)


class Side:
    """A completion's log-probabilities under the policy, with a gradient, and under the reference, float64 [T]."""

    def __init__(self, policy, reference, rollout):
        prompt, ids = rollout.request.prompt_ids, torch.tensor([rollout.request.prompt_ids + rollout.completion_ids])
        logps = [model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1) for model in (policy, reference)]
        target = ids[0, len(prompt) :, None]
        self.logp, self.ref = logps[0].gather(1, target)[:, 0], logps[1].gather(1, target)[:, 0].detach()


def double(model) -> torch.nn.Module:
    config = copy.deepcopy(model.config)  # which would take the other way of attending too
    exact = AutoModelForCausalLM.from_config(config, attn_implementation="eager").double()
    exact.load_state_dict(model.state_dict())
    return exact.eval()


@pytest.mark.parametrize("settings", [{}, {"attention": "padded", "micro_batch_tokens": 256}], ids=["packed", "padded"])
@pytest.mark.parametrize("formula", [dpo, ipo, rpo, simpo])
def test_the_gradient_is_the_papers_in_float64(tmp_path, formula, settings):
    (ready,) = prepare(plan(tmp_path, objective={"preset": formula.__name__}, **settings))
    stage, objective = ready.stage, ready.objective
    policy = Policy(ready.location, stage, total_updates=2, temperature=1.0, needs_ref="ref" in objective.needs)
    torch.manual_seed(0)
    with torch.no_grad():  # as after some updates: the policy is not its reference any more
        for weight in policy.model.parameters():
            weight.add_(0.02 * weight.std() * torch.randn_like(weight))
    reference = double(policy.reference if policy.reference is not None else policy.model)
    feed = pipeline.train_stage.LabelledFeed(
        stage=stage, seed=0, sampler=sampler_of(ready), renderer=ready.renderer, objective=objective
    )
    block = feed.block(4)
    split = loop.split_into_updates(block, objective, stage)
    (samples,) = loop.prepare_updates(split, 1, objective, policy, stage, Ledger())
    policy._learn(samples, np.arange(len(samples)), objective)
    exact = double(policy.model)
    pairs = [[Side(exact, reference, member.rollout) for member in settled.kept.members] for settled in block]
    torch.stack([formula(*pair) for pair in pairs]).mean().backward()
    for (name, weight), other in zip(policy.model.named_parameters(), exact.parameters()):
        largest = float(other.grad.abs().max())
        assert float((weight.grad.double() - other.grad).abs().max()) <= 5e-5 * largest + 1e-9, name


def sampler_of(ready):
    from r1lab.rollout.sampler import Sampler

    return Sampler(ready.sources, [1.0], 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pipeline.Run:
    return train(tmp_path_factory.mktemp("preference"), steps=4)


def test_a_run_learns_and_says_how_far_the_chosen_leads(run):
    first, last = run.metrics[0], run.metrics[-1]
    assert first["loss/value"] == pytest.approx(np.log(2), abs=1e-6) and first["pairs/lead"] == pytest.approx(
        0, abs=1e-4
    )
    assert last["loss/value"] < first["loss/value"] and last["pairs/lead"] > 1 and 0.5 < last["pairs/right"] <= 1
    assert last["pairs/lead"] == pytest.approx(last["pairs/chosen"] - last["pairs/rejected"])
    assert json.loads((run.model / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]


def test_a_stage_stopped_and_resumed_is_the_unbroken_one(run, tmp_path):
    train(tmp_path, steps=2, schedule_steps=4)
    again = train(tmp_path, steps=4, schedule_steps=4)
    weights = [(each.path / "model/model.safetensors").read_bytes() for each in (run, again)]
    assert weights[0] == weights[1]


def test_trls_pairs_are_read_as_they_are_and_margins_are_said_to_be_unread(tmp_path, rows):
    said = [{"role": "user", "content": "1+1"}]
    sides = {
        name: [*said, {"role": "assistant", "content": text}] for name, text in (("chosen", "2"), ("rejected", "3"))
    }
    path = rows(PAIR | {"margin": 1.0}, PAIR | {"prompt": "2+1"}, *[sides] * 6)
    (ready,) = prepare(plan(tmp_path, data={"path": path}))
    assert all(labelled.of(problem).kind == "pairs" for problem in ready.problems.values())
    assert any("margins are a reward model's" in note for note in ready.notes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"objective": {"preset": "grpo"}}, "learns from pairs; use one of dpo, rpo, ipo, simpo"),
        ({"objective": {"preset": "sft"}}, "learns from pairs; use one of dpo, rpo, ipo, simpo"),
        ({"data": {"task": "addition_labels"}}, "labelled completions in a preference stage"),
        ({"data": {"task": "addition"}}, "no labelled completions"),
    ],
)
def test_what_is_no_pair_is_refused(tmp_path, changes, told):
    with pytest.raises(RecipeError) as error:
        train(tmp_path, **changes)
    assert told in str(error.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (PAIR | {"rejected": "2"}, "the same text"),
        (PAIR | {"prompt": None}, "no prompt"),
        (PAIR | {"margin": float("nan")}, "margin is NaN"),
        (PAIR | {"rejected": "3" * 600}, "the context 512"),
    ],
)
def test_bad_pairs_are_refused_in_one_line(tmp_path, rows, line, told):
    with pytest.raises(RecipeError) as error:
        train(tmp_path, data={"path": rows(line)})
    assert told in str(error.value) and "\n" not in str(error.value) and not (tmp_path / "run").exists()
