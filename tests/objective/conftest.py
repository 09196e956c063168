"""What a test of whole objectives needs: groups through a rule, and the weight that each token ends with."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from r1lab.objective import build
from r1lab.objective.group import Keep
from r1lab.objective.loss import row_loss
from r1lab.objective.samples import prepared_updates, samples_of_group
from r1lab.policy.packing import pack
from r1lab.recipe import ObjectiveConfig
from r1lab.records import Draw, Group, Request, RequestId, Role, Rollout, Sampling, Scored
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

SOLUTION = tuple(range(30, 40))


class Make:
    """Requests and demonstrations made by hand; prompts are the problem's number."""

    def __init__(self, max_new_tokens=64):
        self.sampling = Sampling(max_new_tokens=max_new_tokens)

    def request(self, draw, index, forced_ids=(), forced_role=(), greedy=False):
        sampling = replace(self.sampling, temperature=0.0) if greedy else self.sampling
        name = RequestId("train/rl", draw.number, index)
        return Request(name, draw.problem.id, (5, 6), draw.number * 100 + index, sampling, forced_ids, forced_role)

    def demonstration(self, draw, index):
        size = len(SOLUTION)
        nothing = np.full(size, np.nan, np.float32)
        role, version = np.full(size, Role.DEMO, np.int8), np.full(size, -1, np.int32)
        return Rollout(self.request(draw, index), SOLUTION, role, nothing, version, "eos", "")


@pytest.fixture(scope="session")
def make():
    return Make()


@pytest.fixture(scope="session")
def made():
    """An objective of these knobs."""
    return lambda group_size=8, **knobs: build(ObjectiveConfig(**knobs), max_new_tokens=16, group_size=group_size)


@pytest.fixture(scope="session")
def answer():
    """A request answered with a reward."""
    return lambda request, reward: answered(request, reward, size=3, engine=-1.0)


def answered(request, reward, *, size, engine):
    """A completion of `size` sampled tokens behind what is forced."""
    ids = (*request.forced_ids, *range(7, 7 + size))
    role = np.array([*request.forced_role, *[Role.POLICY] * size], np.int8)
    logprobs = np.where(role == Role.POLICY, engine, np.nan).astype(np.float32)
    rollout = Rollout(request, ids, role, logprobs, np.zeros(len(ids), np.int32), "eos", "")
    return Scored(
        rollout,
        Verdict(float(reward >= 1), "correct" if reward >= 1 else "wrong"),
        float(reward),
        {"score": float(reward)},
    )


@pytest.fixture(scope="session")
def draw_group():
    """A group as the rule plans it: requests are answered with these rewards, lengths 3, 4, 5, 3, ..."""

    def draw_group(objective, rewards, number=0, engine=-1.0, greedy=0.0) -> Group:
        draw = Draw(number, Problem(f"p{number}", "1+1", "2", source="s"), len(rewards))
        members, given = [], iter([*rewards, greedy])
        for index, item in enumerate(objective.rule.plan(draw, Make())):
            if isinstance(item, Rollout):
                members.append(Scored(item, None, 1.0))
            else:
                members.append(answered(item, next(given, 0.0), size=3 + index % 3, engine=engine))
        return Group(draw, tuple(members))

    return draw_group


def learned(objective, groups, *, step=1, shift=0.0, ref=-1.5):
    """w = -dL/dlogp of each token by request and role, through settling, scores, scales, packing and the rows' loss.

    The current log-probability is -1, old is `shift` below it, the reference's `ref`, the entropy 0.5.
    """
    settled = [objective.rule.settle(group) for group in groups]
    samples = [
        sample for each in settled if isinstance(each, Keep) for sample in samples_of_group(objective, each.group)
    ]
    told = {"ref": ref, "old": -1.0 - shift, "entropy": 0.5, "values": 0.0}
    names = {*objective.needs, "old"}
    samples = [replace(s, **{name: np.full(len(s.role), told[name], np.float32) for name in names}) for s in samples]
    (samples,) = prepared_updates(objective, [samples], step)
    found = {}
    for batch in pack(samples, micro_batch_tokens=10**6, device=torch.device("cpu")):
        logp = torch.full((len(batch.target),), -1.0, requires_grad=True)
        logq = logp * 1.0 if objective.kappa else None
        loss = row_loss(objective, batch, logp, torch.full_like(logp, 0.5), slice(0, len(logp)), logq).sum()
        (by_logp,) = torch.autograd.grad(loss, logp)
        for index in batch.sequence.unique().tolist():
            at = batch.sequence == index
            name = (samples[index].rollout.request.id.draw, samples[index].rollout.request.id.index)
            found[(*name, int(samples[index].role[-1]))] = (-by_logp[at]).tolist()
    return {key: weights for key, weights in sorted(found.items()) if any(weights)}


@pytest.fixture(scope="session")
def weights_of():
    return learned
