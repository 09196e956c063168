"""The reward: from a verdict and a rollout to one real number, a weighted sum of named parts. Not what a verifier says.

    reward: {score: 1.0, format: 0.1, soft_overlong: {buffer: 128}}      # parts and weights
    reward: {score: {correct: 1, wrong: -50, no_answer: -50}}            # or a price for each status
    reward: {score: {undecided: drop}}                 # a proof that did not end: the rollout leaves its group

`score` is the problem's own verifier; a name of PARTS is a function of the rollout here; any other name is a verifier
that runs in the same pool. A second verifier judges a sample of the rollouts, as an alarm for false positives, and
changes no reward:

    second_verifier: math_verify                                  # a tenth of the rollouts
    second_verifier: {use: mypkg.checks:strict, share: 0.5}       # other keys are the verifier's own settings

Learned parts (`r1lab.recipe.scorers`) are models: `helpful: {use: reward_model, stage: NAME}`. With one of them `score`
may be left out; a verifier, where the problem has one, then says what is true and is not paid.

A rate of `lenient` that grows while the reward does says that the policy has found what the first verifier lets pass.
"""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import r1lab_verifiers as verifiers
from r1lab import plugin
from r1lab.errors import RecipeError
from r1lab.recipe.data import PromptConfig
from r1lab.recipe.scorers import AnyScorerConfig, RewardModelScorerConfig, is_scorer, scorer_of
from r1lab.records import Role, Rollout, Scored, Steps
from r1lab.rollout.verification import SCORE, SECOND, VerifierUse, key_of, resolve
from r1lab_data.language import SCRIPTS, share
from r1lab_data.names import did_you_mean
from r1lab_verifiers.verdict import STATUSES, UNSCORED, Verdict


def length(rollout: Rollout, *, target: int = 0, max_new_tokens: int = 512) -> float:
    """-max(0, tokens - target) / max_new_tokens: 0 up to `target` tokens, then a penalty that grows to -1."""
    return -max(0, rollout.num_sampled - target) / max_new_tokens


def soft_overlong(rollout: Rollout, *, buffer: int = 128, max_new_tokens: int = 512) -> float:
    """0 up to max_new_tokens - buffer tokens, then linear, -1 at max_new_tokens (DAPO, arXiv 2503.14476, eq. 13)."""
    over = rollout.num_sampled - (max_new_tokens - buffer)
    return -min(1.0, max(0, over) / buffer)


def repetition(rollout: Rollout, *, n: int = 4) -> float:
    """-(share of n-grams of tokens that repeat an earlier one), between -1 and 0."""
    ids = tuple(token for token, role in zip(rollout.completion_ids, rollout.role.tolist()) if role == Role.POLICY)
    grams = Counter(ids[start : start + n] for start in range(len(ids) - n + 1))
    total = sum(grams.values())
    return -(total - len(grams)) / total if total else 0.0


def language(rollout: Rollout, *, of: str = "en") -> float:
    """The share of the letters in words that are of the language's script, 1 without words (DeepSeek-R1, arXiv
    2501.12948: language consistency)."""
    found = share(rollout.text, of)
    return 1.0 if found is None else found


def environment(rollout: Rollout) -> float:
    """The sum of what the episode's environment paid for its turns."""
    return sum(turn.reward for turn in rollout.turns if turn.reward is not None)


Price = Callable[[Verdict], float | None]
"""What a verdict is paid; None: its rollout is dropped."""
PARTS: dict[str, Callable[..., float]] = {
    "length": length, "soft_overlong": soft_overlong, "repetition": repetition, "language": language,
    "environment": environment,
}  # fmt: skip


COMBINED: dict[str, Callable[[list[float]], float]] = {
    "product": math.prod, "min": min, "mean": statistics.fmean, "last": lambda scores: scores[-1],
}  # fmt: skip
Said = float | Steps | Verdict
"""What a learned scorer says of a completion."""
DEFAULT_SHARE = 0.1
"""Of the rollouts that a second verifier judges."""


@dataclass(frozen=True)
class ScorerSpec:
    """A learned part of a reward with all that its recipe says of it; no model is loaded for it."""

    config: AnyScorerConfig
    location: str | None
    """Where its model is; None: an earlier stage's, or that which the rewarded stage starts from."""
    prompt: PromptConfig | None
    """How it reads a problem; None: by its tokenizer's chat template, where it has one."""
    other_prompt: PromptConfig
    """Where it has none."""
    reads_steps: bool = False
    question: str = ""
    """A judge's."""


class Reward:
    """The reward of a recipe: its parts, their weights, and the verifiers that are asked about a rollout."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        max_new_tokens: int,
        truncated: str = "score",
        second: Any = None,
        pays: bool = True,
    ):
        """`pays`: something is learned from it, so it must have a part."""
        if pays and SCORE not in settings and not any(map(is_scorer, settings.values())):
            raise RecipeError(
                f"reward: {dict(settings)!r} has no part `score`, the problem's own verifier; add score: 1.0"
            )
        if SCORE not in settings and truncated == "zero":
            raise RecipeError(
                "truncated: 'zero' pays the price of score 0, and the reward has no part `score`; use mask"
            )
        self.truncated = truncated
        self.score = _price(SCORE, settings[SCORE]) if SCORE in settings else None
        self.learned: dict[str, AnyScorerConfig] = {}
        """Parts whose scorers stand in `r1lab.rollout.scorers`."""
        self.functions: dict[str, Callable[[Rollout], float]] = {}
        self.table: dict[str, verifiers.Resolved] = {}
        self.uses = {SCORE: VerifierUse()}
        self.prices: dict[str, Price] = {}
        for name, setting in settings.items():
            if name in PARTS:
                self.functions[name] = _part(name, setting, max_new_tokens)
            elif is_scorer(setting):
                assert isinstance(setting, Mapping)  # so is each that names a scorer
                self.learned[name] = scorer_of(setting, f"reward.{name}")
            elif name != SCORE:
                _refuse_unknown(name, setting)
                spec, price = _verifier(name, setting)
                self.prices[name] = price
                self._ask(name, spec)
        if second is not None:
            spec, share = _second_opinion(second)
            self._ask(SECOND, spec, share)

    def _ask(self, name: str, spec: Any, share: float = 1.0) -> None:
        self.table |= resolve([spec])
        self.uses[name] = VerifierUse(key_of(spec), share)

    def scored(self, rollout: Rollout, verdicts: Mapping[str, Verdict], said: Mapping[str, Said] = {}) -> Scored:
        """Reward and parts; reward None where a part is `error` or has the price `drop`, or where the problem's own
        verifier abstained. Another part that abstained pays 0, and the second opinion nothing. `said` is what learned
        parts say."""
        verdict, others = verdicts.get(SCORE), {name: verdicts[name] for name in self.prices}
        judged = {name: value for name, value in said.items() if isinstance(value, Verdict)}
        raw: dict[str, float | Steps] = {}
        raw |= {name: value for name, value in said.items() if not isinstance(value, Verdict)}
        raw |= {name: each.score for name, each in judged.items() if each.score is not None}
        unpaid = Scored(rollout, verdict, None, {}, others | judged, verdicts.get(SECOND), raw)
        if any(each.status == "error" for each in unpaid.verdicts.values()):
            return unpaid
        prices = {name: self.prices[name](each) if each.score is not None else 0.0 for name, each in others.items()}
        if self.score is not None:
            assert verdict is not None  # a recipe is refused that pays for a verifier which a problem lacks
            if verdict.score is None:
                return unpaid
            prices = {SCORE: self.score(self._as_paid(rollout, verdict)), **prices}
        prices |= {name: config.weight * number_of(raw[name], config) for name, config in self.learned.items()}
        parts = {name: price for name, price in prices.items() if price is not None}
        if len(parts) < len(prices):
            return unpaid
        parts |= {name: function(rollout) for name, function in self.functions.items()}
        return replace(unpaid, reward=sum(parts.values(), 0.0), parts=parts)

    def _as_paid(self, rollout: Rollout, verdict: Verdict) -> Verdict:
        if self.truncated == "zero" and rollout.is_truncated:
            return Verdict(score=0.0, status="wrong", reason="cut at max_new_tokens")
        return verdict

    def demonstration(self, rollout: Rollout) -> Scored:
        """A demonstration is paid what score 1 is paid."""
        paid = None if self.score is None else self.score(Verdict(score=1.0, status="correct"))
        return Scored(rollout, None, paid, {"score": paid} if paid is not None else {})


def _refuse_unknown(name: str, setting: Any) -> None:
    """RecipeError for a part that is neither a function here nor a verifier."""
    if name == SECOND:
        raise RecipeError(f"reward: {SECOND!r} is the second opinion, which is not paid; call the part by another name")
    known = [*PARTS, *verifiers.BUILT_IN]
    is_named = ":" in name or name in known or (isinstance(setting, Mapping) and "use" in setting)
    if not is_named:
        raise RecipeError(
            f"reward: no part and no verifier: {name!r}; parts: {', '.join(['score', *PARTS])}; verifiers: "
            f"{', '.join(verifiers.BUILT_IN)}, or {{use: package.module:name}}{did_you_mean(name, known)}"
        )


def number_of(raw: float | Steps, config: AnyScorerConfig) -> float:
    """One number of what a scorer says: of steps their product, least, mean or last."""
    if not isinstance(raw, tuple):
        return raw
    assert isinstance(config, RewardModelScorerConfig)  # a judge gives no steps
    return COMBINED[config.combine]([score for _, score in raw])


def _second_opinion(setting: Any) -> tuple[Any, float]:
    """The verifier of `second_verifier`, and its share of the rollouts."""
    settings = dict(setting) if isinstance(setting, dict) else {"use": setting}
    share = settings.pop("share", DEFAULT_SHARE)
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise RecipeError(f"second_verifier.share: {share!r} must lie in (0, 1]; it is a share")
    return (settings if len(settings) > 1 else settings.get("use")), share


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or abs(value) == float("inf"):
        raise RecipeError(f"reward.{what}: {value!r} must be a number")
    return float(value)


def _price(part: str, setting: Any) -> Price:
    """A weight on the score, or `{weight, <status>: price}` where statuses have prices of their own; None: dropped.

    Only `undecided` can be dropped: what else a completion causes by itself it must not escape by.
    """
    if not isinstance(setting, Mapping):
        weight, prices = _number(setting, part), {}
    else:
        weight = _number(setting.get("weight", 1.0), f"{part}.weight")
        allowed = ["weight", *(status for status in STATUSES if status not in UNSCORED)]
        unknown = [key for key in setting if key not in allowed]
        if unknown:
            close = did_you_mean(str(unknown[0]), allowed)
            raise RecipeError(f"reward.{part}: unknown key {unknown[0]!r}; allowed: {', '.join(allowed)}{close}")
        prices = {
            key: None if (key, value) == ("undecided", "drop") else _number(value, f"{part}.{key}")
            for key, value in setting.items()
            if key != "weight"
        }
    # What has no score is never priced.
    return lambda verdict: prices.get(verdict.status, weight * (verdict.score or 0.0))


def _part(name: str, setting: Any, max_new_tokens: int) -> Callable[[Rollout], float]:
    settings = dict(setting) if isinstance(setting, Mapping) else {"weight": setting}
    weight = _number(settings.pop("weight", 1.0), f"{name}.weight")
    defaults = {"max_new_tokens": max_new_tokens} if "max_new_tokens" in plugin.settings_of(PARTS[name]) else {}
    function = plugin.bind(PARTS[name], {**defaults, **settings}, f"reward.{name}")
    least = {"target": 0, "buffer": 1, "n": 1, "max_new_tokens": 1}
    if name == "language" and settings.get("of", "en") not in SCRIPTS:
        raise RecipeError(f"reward.language.of: {settings['of']!r} is not known; use one of {', '.join(SCRIPTS)}")
    for key, value in settings.items():
        if key in least and value < least[key]:
            raise RecipeError(f"reward.{name}.{key}: {value!r} must be at least {least[key]}")
    bound = {**plugin.settings_of(PARTS[name]), **defaults, **settings}
    if name == "soft_overlong" and bound["buffer"] > bound["max_new_tokens"]:
        raise RecipeError(
            f"reward.soft_overlong.buffer: {bound['buffer']} exceeds max_new_tokens {bound['max_new_tokens']}, "
            "so that every completion would be punished; lower it"
        )
    return partial(_weighted, function, weight)


def _weighted(function: Callable[[Rollout], float], weight: float, rollout: Rollout) -> float:
    return weight * function(rollout)


def _verifier(name: str, setting: Any) -> tuple[Any, Price]:
    settings = dict(setting) if isinstance(setting, Mapping) else {"weight": setting}
    price = _price(name, {key: settings.pop(key) for key in ("weight", *STATUSES) if key in settings})
    use = settings.pop("use", name)
    return ({"use": use, **settings} if settings else use), price
