"""Turn groups into samples with advantages, and the samples of an update into scales and what is left out. Not the loss
of a row (`loss`)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from r1lab import plugin
from r1lab.errors import RecipeError, RunError
from r1lab.objective import credit, mix
from r1lab.objective.aggregate import scales
from r1lab.objective.group import is_greedy
from r1lab.objective.mask import TokenMask, token_mask, update_masks
from r1lab.objective.objective import Objective
from r1lab.objective.term import call
from r1lab.records import Group, Role, Sample, Scored


def samples_of_group(objective: Objective, group: Group) -> list[Sample]:
    """The members of a kept group with their advantages, on each of their tokens; a demonstration's is 1 where it is
    not compared with the others."""
    samples, margin = [], objective.rule.margin(group)
    given = objective.rule.labels(group)
    computed = advantages(objective, group.members) if given is None else given
    for member, advantage in zip(group.members, computed, strict=True):
        role = _roles(objective, member)
        is_given = Role.DEMO.at(role) & (not objective.credit.include_demo)
        on_token = np.where(is_given, 1.0, advantage).astype(np.float32)
        unit = group.draw.number + 1 if objective.rule.role is Role.PAIR else 0
        silent = np.zeros(len(role), np.float32)
        leads_by = None if margin is None else np.full(len(role), margin, np.float32)
        samples.append(
            Sample(member.rollout, role, on_token, silent, reward=float(member.paid), unit=unit, margin=leads_by)
        )
    if objective.rule.imitate:
        chosen = next(sample for sample in samples if sample.advantage[0] > 0)
        is_context = Role.CONTEXT.at(chosen.role)
        samples.append(replace(chosen, role=np.where(is_context, chosen.role, np.int8(Role.DEMO))))
    return samples


def advantages(objective: Objective, members: Sequence[Scored]) -> Sequence[float | np.ndarray]:
    """One advantage a member, or one of each of its tokens where steps are credited: of those compared as the recipe
    says, 0 of a greedy baseline, 1 of a demonstration."""
    joins = objective.credit.include_demo or not objective.rule.samples
    compared = [not is_greedy(member) and (member.is_sampled or joins) for member in members]
    of_members = np.array([0.0 if is_greedy(member) else 1.0 for member in members])
    chosen = [member for member, is_compared in zip(members, compared, strict=True) if is_compared]
    if not chosen:
        return of_members.tolist()
    if objective.step_credit is not None:
        epsilon = plugin.settings_of(objective.advantage.fn).get("epsilon")
        of_steps = iter(objective.step_credit.advantages(chosen, epsilon))
        return [next(of_steps) if joined else one for joined, one in zip(compared, of_members, strict=True)]
    rewards = np.array([member.reward for member in chosen], np.float64)
    given = {
        "scores": np.array([member.score for member in chosen], np.float64),
        "lengths": np.array([member.rollout.length for member in chosen]),
        "greedy": next((member.reward for member in members if is_greedy(member)), 0.0),
        "is_demo": np.array([not member.is_sampled for member in chosen]),
        "parts": {
            name: np.array([member.parts.get(name, 0.0) for member in chosen], np.float64)
            for name in dict.fromkeys(name for member in chosen for name in member.parts)
        },
        "answers": [member.verdict.extracted if member.verdict else None for member in chosen],
    }
    term = objective.advantage
    computed = np.asarray(term.fn(rewards, **{name: given[name] for name in term.takes}), np.float64)
    if computed.shape != rewards.shape or not np.isfinite(computed).all():
        raise RecipeError(f"objective.advantage: must return one finite number a completion, got {computed!r}")
    of_members[compared] = computed
    return of_members.tolist()


def prepared_updates(objective: Objective, batches: Sequence[Sequence[Sample]], step: int) -> list[list[Sample]]:
    """The samples of each update of a step with final advantages, normalised over the whole step, with scales, and with
    why a sample is not forwarded."""
    samples = iter(credited(objective, [sample for batch in batches for sample in batch]))
    done = [scaled(objective, [next(samples) for _ in batch], step) for batch in batches]
    return [[replace(sample, left_out=why_left_out(objective, sample)) for sample in batch] for batch in done]


def scaled(objective: Objective, samples: Sequence[Sample], step: int) -> list[Sample]:
    """The samples of one update with their scales and penalties, and with what sums over a sequence read where a mask
    trains a part of it."""
    masks = [token_mask(sample, truncated=objective.truncated) for sample in samples]
    masks = update_masks(samples, whole_pairs(samples, masks), objective.masks)
    is_joint = objective.mix is mix.none
    done = scales(samples, masks, aggregate=objective.aggregate, mix=objective.mix, step=step, is_joint=is_joint)
    if any((mask.counted != mask.trained).any() for mask in masks):
        done = [replace(sample, counted=mask.counted) for sample, mask in zip(done, masks, strict=True)]
    if not any(mask.penalty is not None and mask.penalty.any() for mask in masks):
        return done
    penalties = [mask.penalty.astype(np.float32) for mask in masks if mask.penalty is not None]
    return [replace(sample, penalty=penalty) for sample, penalty in zip(done, penalties, strict=True)]


def why_left_out(objective: Objective, sample: Sample) -> str:
    """Why the sample's gradient is identically zero, or an empty text where it is not."""
    if not sample.scale.any():
        return "masked"
    teaches = sample.advantage != 0
    for role, term in objective.weight.items():
        teaches |= term.unweighted & role.at(sample.role)
    # A steered entropy is measured over the same rows whether its bonus acts at this step or not.
    if objective.kl.in_loss or objective.entropy.is_on or objective.has_values:
        teaches |= Role.POLICY.at(sample.role)
    if sample.penalty is not None:
        teaches |= sample.penalty != 0
    return "" if (teaches & (sample.scale != 0)).any() else "zero_advantage"


def check_update(objective: Objective, samples: Sequence[Sample]) -> None:
    """RunError, before any compute, where an update misses what its terms read."""
    for sample in samples:
        name = sample.rollout.request.id
        if not np.isfinite(sample.advantage).all():
            raise RunError(f"an advantage of request {name} is not finite; look at objective.advantage and reward")
        if "ref" in objective.needs and sample.ref is None:
            raise RunError(
                f"request {name} has no reference log-probabilities, which objective.kl or a weight reads; "
                "make the policy with needs_ref=True and score the samples under the reference"
            )


def credited(objective: Objective, samples: Sequence[Sample]) -> list[Sample]:
    """KL in the reward and GAE, token by token, then the scaling of the step's advantages."""
    done = [_credited(objective, sample) for sample in samples]
    if (scale := objective.credit.scale) == "none":
        return done
    at = [Role.POLICY.at(s.role) & token_mask(s, truncated=objective.truncated).counted for s in done]
    if not any(kept.any() for kept in at):
        return done
    flat = np.concatenate([sample.advantage[kept] for sample, kept in zip(done, at, strict=True)]).astype(np.float64)
    rewards = np.array([sample.reward for sample, kept in zip(done, at, strict=True) if kept.any()], np.float64)
    parts = np.split(credit.SCALES[scale](flat, rewards), np.cumsum([kept.sum() for kept in at])[:-1])
    return [_with(sample, kept, part) for sample, kept, part in zip(done, at, parts, strict=True)]


def whole_pairs(samples: Sequence[Sample], masks: Sequence[TokenMask]) -> list[TokenMask]:
    """Where one completion of a pair counts for nothing, the other does neither."""
    broken = {sample.unit for sample, mask in zip(samples, masks, strict=True) if not mask.counted.any()} - {0}
    nothing = [np.zeros(len(sample.role), bool) for sample in samples]
    return [
        TokenMask(none, none) if sample.unit in broken else mask
        for sample, mask, none in zip(samples, masks, nothing, strict=True)
    ]


def _roles(objective: Objective, member: Scored) -> np.ndarray:
    """The rollout's roles, or those that the rule gives sampled tokens; a greedy baseline is only context."""
    role = member.rollout.role
    if is_greedy(member):
        return np.full_like(role, Role.CONTEXT)
    return role if objective.rule.role is None else np.where(Role.POLICY.at(role), np.int8(objective.rule.role), role)


def _credited(objective: Objective, sample: Sample) -> Sample:
    if not (objective.kl.in_reward or objective.has_values):
        return sample
    at = Role.POLICY.at(sample.role)
    paid = _distance(objective, sample, at)
    if not objective.has_values:
        return _with(sample, at, sample.advantage[at] + (credit.to_go(paid) if objective.kl.to_go else paid))
    returns = np.zeros(len(at), np.float32)
    if not at.any():
        return replace(sample, returns=returns)
    paid[-1] += sample.reward
    assert sample.values is not None  # the policy has a value head and scored the sample
    values = sample.values[at].astype(np.float64)
    learned = credit.gae(paid, values, gamma=objective.credit.gamma, lam=objective.credit.lam)
    returns[at] = learned + values
    return replace(_with(sample, at, learned), returns=returns)


def _distance(objective: Objective, sample: Sample, at: np.ndarray) -> np.ndarray:
    """What each policy token [T] pays for its distance to the reference; nothing where that is not finite."""
    if not objective.kl.in_reward:
        return np.zeros(int(at.sum()))
    assert sample.old is not None and sample.ref is not None  # `Objective.needs` has both
    old, ref = (torch.from_numpy(each[at].astype(np.float64)) for each in (sample.old, sample.ref))
    distance = call(objective.kl.term, {"logp": old, "ref": ref, "old": old}, "logp", "ref").numpy()
    return -objective.kl.coef * np.where(np.isfinite(distance), distance, 0.0)


def _with(sample: Sample, at: np.ndarray, values: np.ndarray) -> Sample:
    """The sample with these advantages on the tokens `at`."""
    advantage = sample.advantage.copy()
    advantage[at] = values
    return replace(sample, advantage=advantage)
