"""Presets held against formulas written from their papers: one scene, two gradients.

A test file has one function a preset: `formula(groups, step) -> loss`, float64 autograd on the groups of one update
(`step`: those of all updates of the step) as they were drawn, before any selection. `deviates` runs the preset and the
formula on the same scenes and returns the largest difference of their gradients over the largest gradient.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from r1lab.objective import build
from r1lab.objective.group import Again, Keep
from r1lab.objective.loss import row_loss, value_loss
from r1lab.objective.samples import prepared_updates, samples_of_group
from r1lab.policy.packing import pack
from r1lab.recipe import ObjectiveConfig
from r1lab.records import Draw, Group, Request, RequestId, Role, Rollout, Sampling, Scored
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

LENGTH = 16
"""max_new_tokens, the constant length of Dr. GRPO."""
STEP = 3
INPUTS = ("logp", "entropy", "logq", "values")
MIXED, RIGHT, WRONG = [1, 0, 0, 1, 0, 0, 0, 1], [1] * 8, [0] * 8
SHAPED = [0.7, 0.1, 0, 1, 0.1, 0, -0.2, 1]
SCENES = {
    "on policy": ([MIXED, RIGHT, WRONG], {}),
    "off policy": ([MIXED, RIGHT, WRONG], {"off_policy": True}),
    "reward parts": ([SHAPED, [1, 0.7] * 4, [0.1, 0] * 4], {"off_policy": True, "scores": [MIXED, RIGHT, WRONG]}),
    "truncated": ([MIXED, RIGHT, MIXED[::-1]], {"off_policy": True, "truncated": "mask"}),
    "two updates": ([MIXED, WRONG, MIXED[::-1], RIGHT], {"off_policy": True, "num_updates": 2}),
}


@dataclass(eq=False)
class Member:
    """A completion as a paper sees it: float64 vectors [T]; `logp`, `entropy`, `logq`, `values` are leaves."""

    reward: float
    score: float
    is_demo: bool
    is_greedy: bool
    is_cut: bool
    """Ended at the limit where such completions are masked: in the baseline, in no sum of the loss."""
    parts: dict
    """Of the reward, by name."""
    answer: str
    prefix: int
    """How many of its tokens were forced."""
    logp: torch.Tensor
    old: torch.Tensor
    engine: torch.Tensor
    ref: torch.Tensor
    entropy: torch.Tensor
    logq: torch.Tensor
    values: torch.Tensor

    @property
    def ratio(self) -> torch.Tensor:
        """R = p / p_old."""
        return (self.logp - self.old).exp()

    @property
    def rho(self) -> torch.Tensor:
        """The lab's default correction, min(p_old / p_engine, 2), which multiplies every policy term."""
        return (self.old - self.engine).exp().clamp(max=2.0)


class Make:
    """Requests and demonstrations of a draw."""

    def request(self, draw, index, forced_ids=(), forced_role=(), greedy=False):
        sampling = Sampling(max_new_tokens=LENGTH, temperature=0.0 if greedy else 1.0)
        name = RequestId("train/rl", draw.number, index)
        return Request(name, draw.problem.id, (5, 6), draw.number * 100 + index, sampling, forced_ids, forced_role)

    def demonstration(self, draw, index):
        ids = tuple(range(30, 37))
        nothing, version = np.full(7, np.nan, np.float32), np.full(7, -1, np.int32)
        return Rollout(self.request(draw, index), ids, np.full(7, Role.DEMO, np.int8), nothing, version, "eos", "")


def tables(number, index, size, off_policy):
    """The numbers of one completion's tokens, by name."""
    random = np.random.default_rng([number, index])
    logp = -random.uniform(0.05, 3, size)
    old = logp + random.normal(0, 0.3, size) if off_policy else logp
    return {
        "logp": logp,
        "old": old,
        "engine": old + random.normal(0, 0.4, size),
        "ref": logp + random.normal(0, 0.5, size),
        "entropy": random.uniform(0.1, 2, size),
        "logq": logp + random.normal(0, 0.2, size),
        "values": random.uniform(0, 1, size),
    }


class Scene:
    """Groups as the objective's rule draws them, as the lab has them and as a paper does."""

    def __init__(self, objective, rewards, *, off_policy=False, scores=None, truncated="score", num_updates=1):
        self.objective, self.off_policy, self.num_updates = objective, off_policy, num_updates
        self.masks_cut = truncated == "mask"
        self.drawn = [self._draw(n, *pair) for n, pair in enumerate(zip(rewards, scores or rewards, strict=True))]

    def _draw(self, number, rewards, scores):
        draw = Draw(number, Problem(f"p{number}", "1+1", "2", source="s"), len(rewards))
        plan = self.objective.rule.plan(draw, Make())
        given = iter(zip([*rewards, 0.5], [*scores, 0.0]))
        group = Group(draw, tuple(self._member(item, *((1, 1) if is_demo(item) else next(given))) for item in plan))
        while isinstance(decision := self.objective.rule.settle(group), Again):
            more = [self._member(item, index % 3 == 0, index % 3 == 0) for index, item in enumerate(decision.requests)]
            group = Group(draw, (*group.members, *more))
        return group

    def _member(self, item, reward, score):
        if is_demo(item):
            return Scored(item, None, 1.0)
        number, index = item.id.draw, item.id.index
        size = len(item.forced_ids) + 3 + index % 4
        role = np.array([*item.forced_role, *[Role.POLICY] * (size - len(item.forced_ids))], np.int8)
        engine = tables(number, index, size, self.off_policy)["engine"]
        engine = np.where(role == Role.POLICY, engine, np.nan).astype(np.float32)
        finish = "length" if self.masks_cut and index % 3 == 1 else "eos"
        rollout = Rollout(item, tuple(range(7, 7 + size)), role, engine, np.zeros(size, np.int32), finish, "")
        verdict = Verdict(float(score), "correct" if score == 1 else "wrong", extracted=str(index % 3))
        return Scored(rollout, verdict, float(reward), {"score": float(score), "rest": float(reward - score)})

    def of_paper(self):
        """The drawn groups as lists of `Member`, a list an update; and the leaves by completion."""
        leaves, groups = {}, []
        for group in self.drawn:
            members = []
            for member in group.members:
                rollout, name = member.rollout, member.rollout.request.id
                columns = tables(name.draw, name.index, len(rollout.role), self.off_policy)
                columns = {key: torch.tensor(value, requires_grad=key in INPUTS) for key, value in columns.items()}
                leaves[name] = columns
                members.append(
                    Member(
                        member.reward,
                        member.score,
                        member.verdict is None,
                        rollout.request.sampling.temperature == 0,
                        rollout.finish == "length",
                        member.parts,
                        member.verdict.extracted if member.verdict else "",
                        len(rollout.request.forced_ids),
                        **columns,
                    )
                )
            groups.append(members)
        return self._updates(groups), leaves

    def _updates(self, groups):
        k = self.num_updates
        return [groups[len(groups) * part // k : len(groups) * (part + 1) // k] for part in range(k)]

    def of_lab(self):
        """Gradients of each update's loss by input and completion, through the lab's own path."""
        kept = [self.objective.rule.settle(group) for group in self.drawn]
        kept = [decision.group if isinstance(decision, Keep) else None for decision in kept]
        batches = [
            [self._scored(sample) for group in part if group for sample in samples_of_group(self.objective, group)]
            for part in self._updates(kept)
        ]
        return [self._gradients(batch) for batch in prepared_updates(self.objective, batches, STEP)]

    def _scored(self, sample):
        name = sample.rollout.request.id
        columns = tables(name.draw, name.index, len(sample.role), self.off_policy)
        wanted = {*self.objective.needs} | ({"old"} if self.off_policy else set())
        return replace(sample, **{key: columns[key].astype(np.float32) for key in wanted})

    def _gradients(self, samples):
        found = {}
        for batch in pack(samples, micro_batch_tokens=10**6, device=torch.device("cpu")):
            names = [samples[index].rollout.request.id for index in batch.sequence.tolist()]
            starts = np.flatnonzero(np.r_[True, np.diff(batch.sequence.numpy()) != 0])
            roles = [samples[batch.sequence[start]].role for start in starts]
            learned = [np.flatnonzero(role != Role.CONTEXT) for role in roles]  # what is context has no row
            position = np.concatenate(learned)
            rows = [
                tables(names[start].draw, names[start].index, len(role), self.off_policy)
                for start, role in zip(starts, roles, strict=True)
            ]
            inputs = {
                key: torch.tensor(
                    np.concatenate([row[key][at] for row, at in zip(rows, learned, strict=True)]),
                    dtype=torch.float32,
                    requires_grad=True,
                )
                for key in INPUTS
            }
            every = slice(0, len(names))
            logq = inputs["logq"] if self.objective.kappa else None
            loss = row_loss(self.objective, batch, inputs["logp"], inputs["entropy"], every, logq).sum()
            if self.objective.has_values:
                loss = loss + value_loss(self.objective, batch, inputs["values"]).sum()
            gradients = torch.autograd.grad(loss, list(inputs.values()), allow_unused=True)
            for key, gradient in zip(inputs, gradients, strict=True):
                for at, name in enumerate(names):
                    token = (key, name, int(position[at]))
                    found[token] = found.get(token, 0.0) + (0.0 if gradient is None else float(gradient[at]))
        return found


def is_demo(item) -> bool:
    return isinstance(item, Rollout)


@pytest.fixture(scope="session")
def deviates():
    """The largest deviation of a preset's gradient from a formula's over the scenes, relative to the largest entry."""

    def deviates(formula, preset, **knobs):
        worst = 0.0
        for name, (rewards, settings) in SCENES.items():
            truncated = settings.get("truncated", "score")
            config = ObjectiveConfig(preset=preset, **knobs)
            objective = build(config, max_new_tokens=LENGTH, group_size=8, truncated=truncated)
            scene = Scene(objective, rewards, **settings)
            updates, leaves = scene.of_paper()
            step = [group for groups in updates for group in groups]
            for groups, found in zip(updates, scene.of_lab(), strict=True):
                expected = gradients_of(formula(groups, step), leaves)
                largest = max([abs(value) for value in expected.values()], default=0.0)
                for token in expected.keys() | found.keys():
                    gap = abs(expected.get(token, 0.0) - found.get(token, 0.0))
                    assert not gap or largest, (preset, name, token, gap)
                    worst = max(worst, gap / (largest or 1.0))
                    assert gap <= 2e-4 * largest, (preset, name, token, expected.get(token), found.get(token))
        return worst

    return deviates


def gradients_of(loss, leaves):
    """Its derivative by each leaf, by input, completion and token; zeros are left out."""
    if not isinstance(loss, torch.Tensor) or not loss.requires_grad:
        return {}
    flat = [(key, name, columns[key]) for name, columns in leaves.items() for key in INPUTS]
    gradients = torch.autograd.grad(loss, [leaf for *_, leaf in flat], allow_unused=True)
    return {
        (key, name, token): value
        for (key, name, _), gradient in zip(flat, gradients, strict=True)
        for token, value in enumerate([] if gradient is None else gradient.tolist())
        if value
    }
