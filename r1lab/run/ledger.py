"""Tokens and FLOPs by purpose, over the whole run. Counted from the rollout table alone, so a resume counts the same.

Budget tokens are completion tokens sampled for training plus completion (or demonstration) tokens of every update's
batch, rows left out for zero weight counted; prompts, evaluation and what learned scorers read are not in it.
"""

from collections.abc import Sequence

from r1lab.records import Sample, Settled

TOKENS = ("sampled", "trained", "evaluated", "judged")
FLOPS = ("rollout", "score", "update", "evaluation", "judge")


class Ledger:
    """Counts tokens and FLOPs: a forward pass costs 2 FLOPs a weight and token, forward and backward 6."""

    def __init__(self) -> None:
        self.tokens = dict.fromkeys(TOKENS, 0)
        self.flops = dict.fromkeys(FLOPS, 0)

    @property
    def budget(self) -> int:
        return self.tokens["sampled"] + self.tokens["trained"]

    @property
    def training_flops(self) -> int:
        return sum(self.flops[key] for key in ("rollout", "score", "update", "judge"))

    def rollouts(self, block: Sequence[Settled], parameters: int, judging: tuple[int, int] = (0, 0)) -> None:
        """A step's sampling: each prompt's prefill once, each token that was sampled or observed once; and the tokens
        and FLOPs of the scorers that read it."""
        self.judged(*judging)
        for settled in block:
            rollouts = [member.rollout for member in settled.drawn.members if member.is_fresh]
            sampled = sum(rollout.num_sampled for rollout in rollouts)
            observed = sum(turn.observed - turn.end for rollout in rollouts for turn in rollout.turns)
            prompt = len(rollouts[0].request.prompt_ids) if rollouts else 0
            self.tokens["sampled"] += sampled
            self.flops["rollout"] += 2 * parameters * (prompt + sampled + observed)

    def update(self, samples: Sequence[Sample], forwarded_tokens: int, parameters: int) -> None:
        self.tokens["trained"] += sum(sample.rollout.num_trained for sample in samples)
        self.flops["update"] += 6 * parameters * forwarded_tokens

    def after_updates(self, samples: Sequence[Sample], passes: int) -> "Ledger":
        """What the tokens will be once these samples were learned so many times; FLOPs are known then."""
        later = Ledger()
        later.load_state_dict(self.state_dict())
        later.tokens["trained"] += passes * sum(sample.rollout.num_trained for sample in samples)
        return later

    def scored(self, tokens: int, parameters: int) -> None:
        self.flops["score"] += 2 * parameters * tokens

    def judged(self, tokens: int, flops: int) -> None:
        """What learned scorers or a judge read in training."""
        self.tokens["judged"] += tokens
        self.flops["judge"] += flops

    def evaluated(self, prompt_tokens: int, completion_tokens: int, parameters: int) -> None:
        self.tokens["evaluated"] += completion_tokens
        self.flops["evaluation"] += 2 * parameters * (prompt_tokens + completion_tokens)

    def row(self) -> dict[str, int]:
        """Metric keys, cumulative."""
        tokens = {f"tokens/{key}": value for key, value in self.tokens.items()}
        return tokens | {"tokens/budget": self.budget} | {f"flops/{key}": value for key, value in self.flops.items()}

    def state_dict(self) -> dict:
        return {"tokens": dict(self.tokens), "flops": dict(self.flops)}

    def load_state_dict(self, state: dict) -> None:
        self.tokens.update(state["tokens"])
        self.flops.update(state["flops"])
