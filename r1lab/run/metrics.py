"""The metrics of a step: flat keys `area/name`, null where there was nothing to measure. Only `time/` holds times.

Pure functions of a step's block, samples and updates, plus the file they are appended to.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from r1lab.distributed.ranks import by_first, first
from r1lab.errors import RunError
from r1lab.health.monitor import HealthAlarm, HealthMonitor
from r1lab.records import Role, Sample, Scored, Settled, TurnRecord, Update
from r1lab_verifiers.verdict import STATUSES, UNSCORED


class MetricsFile:
    """`metrics.jsonl`: appended to, and cut back to a checkpoint's length on resume."""

    def __init__(self, path: Path, follow: Callable[[dict], None] | None = None):
        """`follow(row)` is called with each row as it was written."""
        self.path, self.follow = path, follow
        self.unfinished: dict = {}
        """The row of a step whose updates are made and whose evaluation a signal broke off."""
        self.monitor: HealthMonitor | None = None
        """Has seen the rows of the file, once there is a row to add."""
        first(self.path.touch)

    @property
    @by_first
    def size(self) -> int:
        return self.path.stat().st_size

    @by_first
    def truncate(self, size: int) -> None:
        """RunError where the file is shorter: rows that a checkpoint counts on are gone."""
        if size > self.size:
            raise RunError(
                f"{self.path} has {self.size} bytes where {size} were written; restore it or set another out="
            )
        os.truncate(self.path, size)
        self.monitor = None

    def state_dict(self) -> dict:
        return {"size": self.size, "unfinished": {key: _plain(value) for key, value in self.unfinished.items()}}

    def load_state_dict(self, state: dict) -> None:
        self.truncate(state["size"])
        self.unfinished = state.get("unfinished", {})

    def append(self, row: dict) -> list[HealthAlarm]:
        """Whole and on disk before a checkpoint counts on it, `health/*` added; the alarms that are new."""
        self.unfinished = {}  # on every rank: each looks there when the next stage begins
        return self._append({key: _plain(value) for key, value in row.items()})

    @by_first
    def _append(self, plain: dict) -> list[HealthAlarm]:
        if self.monitor is None:
            self.monitor = HealthMonitor()
            for line in self.path.read_text(encoding="utf-8").splitlines():
                self.monitor.observe(json.loads(line))
        health, alarms = self.monitor.observe(plain)
        plain |= health
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(plain, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if self.follow is not None:
            self.follow(plain)
        return alarms


def rollout_metrics(block: Sequence[Settled]) -> dict:
    """Rewards, verdicts, lengths and groups of a step's rollouts; null in a block of demonstrations."""
    members = [member for settled in block for member in settled.drawn.members if member.is_fresh]
    verdicts = [member.verdict for member in members if member.verdict is not None]
    lengths = np.array([member.rollout.num_sampled for member in members], np.float64)
    rewards = np.array([member.reward for member in members if member.reward is not None], np.float64)
    row = {
        "reward/mean": _mean(rewards),
        "reward/std": float(rewards.std()) if rewards.size else None,
        "pass/share": _mean([verdict.score == 1.0 for verdict in verdicts]),
        "completion/mean": _mean(lengths),
        "completion/p95": float(np.quantile(lengths, 0.95)) if lengths.size else None,
        "completion/truncated": _mean([member.rollout.is_truncated for member in members]),
    }
    others = sorted({name for member in members for name in member.verdicts})
    for name in others:
        timeouts = [m.verdicts[name].status == "timeout" for m in members if name in m.verdicts]
        row[f"verdict/{name}/timeout"] = _mean(timeouts)
        row[f"verdict/{name}/abstained"] = _mean(
            [m.verdicts[name].status == "abstained" for m in members if name in m.verdicts]
        )
    for name in sorted({name for member in members for name in member.raw}):
        raw = (member.raw[name] for member in members if name in member.raw)
        row[f"reward/raw/{name}"] = _mean([value for value in raw if isinstance(value, float)])
    for name in sorted({name for member in members for name in member.parts}):
        row[f"reward/part/{name}"] = _mean([member.parts[name] for member in members if name in member.parts])
    statuses = Counter(verdict.status for verdict in verdicts)
    row |= {f"verdict/{status}": statuses[status] / len(verdicts) if verdicts else None for status in STATUSES}
    return row | second_opinion_metrics(members) | episode_metrics(block) | _by_source(block) | _groups(block)


def episode_metrics(block: Sequence[Settled]) -> dict[str, float | None]:
    """Of the rollouts that an environment answered: turns, of the right ones too, calls a rollout and those that
    failed or were ended by the clock, and the share of observed tokens; turns by source where several have some. Empty
    where there is none."""
    played: dict[str, list[Scored]] = {}
    for settled in block:
        mine = [member for member in settled.drawn.members if member.is_fresh and member.rollout.turns]
        if mine:
            played.setdefault(settled.drawn.draw.problem.source, []).extend(mine)
    members = [member for listed in played.values() for member in listed]
    if not members:
        return {}
    counts = {
        name: [sum(_counted(turn, name) for turn in member.rollout.turns) for member in members]
        for name in ("calls", "failed_calls", "timeouts")
    }
    observed = sum(turn.observed - turn.end for member in members for turn in member.rollout.turns)
    tokens = sum(len(member.rollout.role) for member in members)
    row = {
        "episode/turns": _turns(members),
        "episode/turns_right": _turns([member for member in members if member.score == 1.0]),
        **{f"episode/{name}": _mean(values) for name, values in counts.items()},
        "episode/context_share": observed / tokens if tokens else None,
    }
    if len(played) > 1:
        row |= {f"episode/turns/{source}": _turns(listed) for source, listed in sorted(played.items())}
    return row


def _turns(members: Sequence[Scored]) -> float | None:
    return _mean([len(member.rollout.turns) for member in members])


def _counted(turn: TurnRecord, name: str) -> float:
    """What the environment notes of a turn under a name, where that is a number."""
    value = turn.info.get(name, 0)
    return value if isinstance(value, int | float) else 0


def second_opinion_metrics(members: Sequence[Scored]) -> dict[str, float | int | None]:
    """Of the rollouts that both verifiers could verify: how many, on what share they disagree (right or not), and the
    share that only the first (`lenient`) or only the second (`strict`) calls right. Empty where none has a second."""
    pairs = [(member.verdict, member.second) for member in members if member.verdict and member.second]
    if not pairs:
        return {}
    judged = [(a.score == 1, b.score == 1) for a, b in pairs if not {a.status, b.status} & UNSCORED]
    lenient, strict = (sum(pair == kind for pair in judged) for kind in ((True, False), (False, True)))
    return {
        "second/judged": len(judged),
        "second/errors": sum(b.status == "error" for _, b in pairs),
        "second/disagree": (lenient + strict) / len(judged) if judged else None,
        "second/lenient": lenient / len(judged) if judged else None,
        "second/strict": strict / len(judged) if judged else None,
    }


def _by_source(block: Sequence[Settled]) -> dict:
    passed: dict[str, list[bool]] = {}
    for settled in block:
        for member in settled.drawn.members:
            if member.is_fresh and member.verdict is not None:
                passed.setdefault(settled.drawn.draw.problem.source, []).append(member.verdict.score == 1.0)
    if len(passed) < 2:
        return {}
    return {f"pass/{source}": _mean(values) for source, values in sorted(passed.items())}


def _groups(block: Sequence[Settled]) -> dict:
    sampled = [
        settled.drawn.members
        for settled in block
        if any(member.is_fresh and member.reward is not None for member in settled.drawn.members)
    ]
    dropped = Counter(settled.reason for settled in block if settled.kept is None)
    return {
        "group/drawn": len(block),
        "group/kept": sum(settled.kept is not None for settled in block),
        "group/dropped": sum(dropped.values()),
        "group/zero_variance": _mean([_no_variance(members) for members in sampled]),
    } | {f"group/dropped/{reason}": count for reason, count in sorted(dropped.items())}


def _no_variance(members: Sequence[Scored]) -> bool:
    return len({member.reward for member in members if member.reward is not None}) < 2


def update_metrics(
    updates: list[Update], samples: list[Sample], clip: tuple[float, float] | None, clips_sequences: bool = False
) -> dict:
    """What the step's updates did, over their forwarded rows; policy statistics over its policy rows. `clip` is of a
    token's ratio, or of the mean ratio of a sequence."""
    parts = [update.rows for update in updates if update.rows] or [NO_ROWS]
    rows = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    left_out = Counter(sample.left_out for sample in samples if sample.left_out)
    row = {
        "loss/value": _mean([update.loss for update in updates]),
        "update/grad_norm": _mean([update.grad_norm for update in updates]),
        "update/learning_rate": updates[-1].learning_rate,
        "update/empty": sum(not update.rows for update in updates),
        "update/forwarded_share": 1 - sum(left_out.values()) / len(samples) if samples else None,
        "update/zero_advantage": left_out["zero_advantage"],
        "update/masked": left_out["masked"],
        "update/nonfinite": sum(_nonfinite(sample) for sample in samples),
        "policy/entropy": _mean(rows["entropy"]),
    }
    mine = _of_policy(rows)
    if "lead" in rows:
        row |= score_metrics(rows)
    elif len(updates) == 1:  # rows name the samples of their own update
        row |= pair_metrics(rows, [sample for sample in samples if not sample.left_out])
    return row | _policy_rows(mine) | _clipped(mine, clip, clips_sequences) | _mismatch(mine, _of_policy(parts[0]))


def score_metrics(rows: dict[str, np.ndarray]) -> dict:
    """Of a reward model's rows: the share on the right side of their label, or of the other completion of their pair,
    how far they are there, and how the scores spread."""
    scores, lead = rows["score"].astype(np.float64), rows["lead"].astype(np.float64)
    return {
        "policy/entropy": None,
        "scores/right": _mean(lead > 0),
        "scores/lead": _mean(lead),
        "scores/mean": _mean(scores),
        "scores/std": float(scores.std()) if scores.size else None,
    }


def pair_metrics(rows: dict[str, np.ndarray], forwarded: Sequence[Sample]) -> dict:
    """Of pairs that a policy learns: how far the chosen completion leads, in nats. A completion counts with its
    log-ratio to the reference or, without one, with its mean log-probability. Empty where no token is a pair's."""
    at = Role.PAIR.at(rows["role"])
    if not at.any():
        return {}
    logp, ref, sequence = rows["logp"][at].astype(np.float64), rows["ref"][at], rows["sequence"][at]
    has_ref = bool(np.isfinite(ref).all())
    totals = np.bincount(sequence, weights=logp - ref if has_ref else logp, minlength=len(forwarded))
    values = totals if has_ref else totals / np.bincount(sequence, minlength=len(forwarded)).clip(min=1)
    pairs: dict[int, list[float]] = {}
    for index in np.unique(sequence):
        sample = forwarded[index]
        pairs.setdefault(sample.unit, [0.0, 0.0])[int(sample.advantage[0] < 0)] = float(values[index])
    chosen, rejected = np.array(list(pairs.values())).T
    return {
        "pairs/right": _mean(chosen > rejected),
        "pairs/lead": _mean(chosen - rejected),
        "pairs/chosen": _mean(chosen),
        "pairs/rejected": _mean(rejected),
    }


def _of_policy(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key: value[Role.POLICY.at(rows["role"])] for key, value in rows.items()}


def _mismatch(rows: dict[str, np.ndarray], first: dict[str, np.ndarray]) -> dict:
    """|log pi_train - log pi_engine| at the version that sampled, and the shares of tokens by their ratio.

    Where the engine's own log-probabilities serve as the old ones, the trainer's are known for the rows of the block's
    first update only.
    """
    borrowed = rows["old"].size and np.array_equal(rows["old"], rows["engine"], equal_nan=True)
    trainer, engine = (first["logp"], first["engine"]) if borrowed else (rows["old"], rows["engine"])
    gap = trainer.astype(np.float64) - engine
    gap = gap[np.isfinite(gap)]
    shares = np.bincount(np.digitize(gap, np.log(RATIO_EDGES)), minlength=len(RATIO_BINS)) / max(1, gap.size)
    row = {
        "mismatch/mean": _mean(np.abs(gap)),
        "mismatch/p99": float(np.quantile(np.abs(gap), 0.99)) if gap.size else None,
        "mismatch/max": float(np.abs(gap).max()) if gap.size else None,
    }
    return row | {key: float(share) if gap.size else None for key, share in zip(RATIO_BINS, shares)}


RATIO_EDGES = (0.5, 0.8, 0.95, 1.05, 1.25, 2.0)
"""Of pi_train / pi_engine, a token."""
RATIO_BINS = tuple(
    f"mismatch/ratio/{low}_{high}" for low, high in zip((0, *RATIO_EDGES), (*RATIO_EDGES, "inf"), strict=True)
)
COLUMNS = ("logp", "entropy", "old", "engine", "ref", "advantage", "scale", "role", "sequence")
NO_ROWS: dict[str, np.ndarray] = dict.fromkeys(COLUMNS, np.empty(0, np.float32))
"""Of a step that forwarded nothing: its policy statistics are None."""


def _clipped(rows: dict[str, np.ndarray], clip: tuple[float, float] | None, by_sequence: bool) -> dict:
    """The shares of tokens, or of sequences, whose ratio the clip keeps from going further."""
    log_ratio, advantage = rows["logp"].astype(np.float64) - rows["old"], rows["advantage"]
    known = np.isfinite(log_ratio)
    if by_sequence:
        known &= rows["scale"] != 0
    log_ratio, advantage = log_ratio[known], advantage[known]
    if by_sequence and log_ratio.size:
        starts = np.flatnonzero(np.diff(rows["sequence"][known], prepend=-1))
        counts = np.diff(starts, append=log_ratio.size)
        log_ratio, advantage = np.add.reduceat(log_ratio, starts) / counts, advantage[starts]
    ratio = np.exp(log_ratio.clip(-20, 20))  # where exp overflows, the ratio is far beyond every clip
    return {
        "loss/clip_low": _mean((ratio < 1 - clip[0]) & (advantage < 0)) if clip else None,
        "loss/clip_high": _mean((ratio > 1 + clip[1]) & (advantage > 0)) if clip else None,
    }


def _policy_rows(rows: dict[str, np.ndarray]) -> dict:
    """Statistics over the policy rows [n] whose log-probabilities are finite; KL by k3."""
    exact = {key: rows[key].astype(np.float64) for key in ("logp", "old", "ref", "engine")}
    has_old, has_ref, has_engine = (np.isfinite(exact[key]) for key in ("old", "ref", "engine"))
    ratio = np.exp((exact["logp"] - exact["old"])[has_old].clip(-20, 20))
    drift = (exact["logp"] - exact["engine"])[has_engine].clip(-20, 20)
    to_ref = (exact["ref"] - exact["logp"])[has_ref].clip(-20, 20)
    return {
        "policy/kl_rollout": _mean(np.exp(drift) - 1 - drift),
        "policy/kl_ref": _mean(np.exp(to_ref) - 1 - to_ref),
        "ratio/mean": _mean(ratio),
        "ratio/min": float(ratio.min()) if ratio.size else None,
        "ratio/max": float(ratio.max()) if ratio.size else None,
    }


def num_sampled(block: Sequence[Settled]) -> int:
    """Tokens that were sampled for a block."""
    members = (member for settled in block for member in settled.drawn.members if member.is_fresh)
    return sum(member.rollout.num_sampled for member in members)


def staleness_metrics(block: Sequence[Settled], updates: Sequence[Update], began: int) -> dict:
    """Of a step that began with version `began` and whose rollouts may be a step older: by how many steps a sampled
    token is, in the mean, and what share of as many tokens of the policy itself they are worth, weighted by
    w = pi_train / pi_engine: (sum w)^2 / (n sum w^2)."""
    members = [member.rollout for settled in block for member in settled.drawn.members if member.is_fresh]
    sampled = [rollout.version[Role.POLICY.at(rollout.role)] for rollout in members]
    ages = np.concatenate([*sampled, np.empty(0)]) < began
    mine = [_of_policy(update.rows) for update in updates if update.rows] or [NO_ROWS]
    drift = np.concatenate([rows["logp"].astype(np.float64) - rows["engine"] for rows in mine])
    weight = np.exp(drift[np.isfinite(drift)].clip(-20, 20))
    share = float(weight.sum() ** 2 / (weight**2).sum() / weight.size) if weight.size else None
    return {"rollout/staleness": _mean(ages), "rollout/effective_sample_share": share}


def _nonfinite(sample: Sample) -> int:
    return int((~np.isfinite(sample.rollout.engine_logprobs[Role.POLICY.at(sample.rollout.role)])).sum())


def _mean(values) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _plain(value):
    """A JSON value; what is not finite is null."""
    if isinstance(value, (bool, str, int)) or value is None:
        return value
    return float(value) if np.isfinite(value) else None
