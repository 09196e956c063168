"""Knobs of learned parts of a reward: a model's score, or a judge's verdict. How they are computed stands in
`r1lab.rollout.scorers`.

    reward:
      helpful: {use: reward_model, stage: scores, weight: 1}        # an earlier stage's model
      harmless: {use: reward_model, path: org/reward-model}         # a sequence classifier with its own tokenizer
      polite: {use: judge, prompt: polite.txt, options: {yes: 1, no: 0}}
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ValidationError, field_validator, model_validator

from r1lab.errors import RecipeError, shown
from r1lab.recipe.base import RESULT, Config, Finite, Positive, Share
from r1lab.recipe.data import PromptConfig


class ScorerConfig(Config):
    """What every learned part has: where its model is, and its weight."""

    stage: Annotated[str | None, RESULT] = None
    """Earlier stage of the same recipe whose model it is."""
    path: Annotated[str | None, RESULT] = None
    """A folder, of a model or a run, or a hub id."""
    weight: Annotated[Finite, RESULT] = 1.0
    """Of its score in the reward."""

    @model_validator(mode="after")
    def _one_model(self):
        if self.stage is not None and self.path is not None:
            raise ValueError(f"stage {self.stage!r} and path {self.path!r} are two models; give one of both")
        return self


class RewardModelScorerConfig(ScorerConfig):
    """A sequence classifier of transformers that scores completions, or each of their steps."""

    use: Annotated[Literal["reward_model"], RESULT] = "reward_model"
    """A model with a scalar head."""
    reads: Annotated[Literal["completion", "steps"] | None, RESULT] = None
    """steps: a score behind every line, as of a process reward model. Default: what the stage learned from; else the
    completion."""
    combine: Annotated[Literal["product", "min", "mean", "last"], RESULT] = "product"
    """How the probabilities of a completion's steps become its score."""
    threshold: Annotated[Finite | None, RESULT] = None
    """Above it `r1lab verify` and `r1lab audit` call a completion right; default: 0, of probabilities 0.5."""
    label: Annotated[str | None, RESULT] = None
    """Of a classifier of several labels, the one whose probability is the score."""
    prompt: Annotated[PromptConfig | None, RESULT] = None
    """How it reads a problem. Default: its stage's; else its tokenizer's chat template or, where there is none, the
    prompt of the stage that is rewarded."""
    batch_tokens: Annotated[Positive, RESULT] = 16384
    """Tokens that it reads at once, padding counted."""

    @model_validator(mode="after")
    def _has_model(self):
        if self.stage is None and self.path is None:
            raise ValueError("needs a model: stage (an earlier reward_model stage) or path (a folder or hub id)")
        return self


class JudgeScorerConfig(ScorerConfig):
    """A language model that answers a question about a completion with one of some options."""

    use: Annotated[Literal["judge"], RESULT] = "judge"
    """A model with a question; without `stage` and `path` it is the one that the stage starts from, as it starts."""
    prompt: Annotated[str, RESULT]
    """File with the question, which holds {prompt} and {completion}, perhaps {answer}; of a judge stage {first} and
    {second} in the completion's place, perhaps {principle}."""
    options: Annotated[dict[str, Share], RESULT]
    """Answers and what each is worth, as {yes: 1, no: 0}."""
    soft: Annotated[bool, RESULT] = False
    """Score by the options' probabilities, not by the most probable one alone."""
    least: Annotated[Share, RESULT] = 0.01
    """Probability that the options must have together, else the judge has not answered: `error`."""
    server: Annotated[str | None, RESULT] = None
    """URL of an OpenAI-compatible server, in the place of a model here; it must say log-probabilities. An option is one
    token then. Its answers are not promised to repeat."""
    model: Annotated[str | None, RESULT] = None
    """The server's model, by its name there."""
    chat: Annotated[bool, RESULT] = False
    """Ask in the tokenizer's chat template."""

    @model_validator(mode="after")
    def _served(self):
        if (self.server is None) != (self.model is None):
            raise ValueError("server and model go together: a URL, and the name of its model there")
        if self.server is not None and (self.stage is not None or self.path is not None):
            raise ValueError("server, stage and path are several models; give one of them")
        if self.server is not None and (long := [option for option in self.options if len(option.split()) != 1]):
            raise ValueError(f"options: a server is read by one token, and {long[0]!r} is no single word")
        return self

    @field_validator("options")
    @classmethod
    def _decides(cls, options: dict[str, float]) -> dict[str, float]:
        if len(set(options.values())) < 2:
            raise ValueError(f"{options} say nothing apart; give two or more of different worth, as {{yes: 1, no: 0}}")
        if blank := [option for option in options if not option.strip()]:
            raise ValueError(f"{blank[0]!r} is no answer that a model could give; write a word")
        return options

    @field_validator("options", mode="before")
    @classmethod
    def _words(cls, given: Any) -> Any:
        """YAML reads `yes` and `no` without quotes as truth values."""
        if not isinstance(given, Mapping):
            return given
        return {{True: "yes", False: "no"}.get(key, key): float(value) if isinstance(value, int) else value
                for key, value in given.items()}  # fmt: skip


AnyScorerConfig = RewardModelScorerConfig | JudgeScorerConfig
SCORERS: dict[str, type[RewardModelScorerConfig] | type[JudgeScorerConfig]] = {
    "reward_model": RewardModelScorerConfig,
    "judge": JudgeScorerConfig,
}


def is_scorer(setting: Any) -> bool:
    """Whether a part of a reward, or a verifier that a command names, is learned."""
    return isinstance(setting, Mapping) and setting.get("use") in SCORERS


def scorer_of(setting: Mapping[str, Any], what: str) -> AnyScorerConfig:
    """RecipeError in one line for what is wrong with it."""
    try:
        return SCORERS[setting["use"]].model_validate(dict(setting))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, (what, *first["loc"])))
        known = f"; allowed: {', '.join(SCORERS[setting['use']].model_fields)}"
        told = first["msg"].replace("Input should be", "must be")
        if first["type"] == "extra_forbidden":
            told = f"unknown key{known}"
        elif first["type"] == "missing":
            told = f"missing; a {setting['use']} must have it"
        elif first["type"] == "value_error":
            told = told.removeprefix("Value error, ")
        else:
            told = f"{told}, got {shown(first['input'])}"
        raise RecipeError(f"{place}: {' '.join(told.split())}") from None
