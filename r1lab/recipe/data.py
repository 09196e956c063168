"""Knobs of the data: where problems come from and how one becomes a prompt. The rest stands in `r1lab.recipe`."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from r1lab.recipe.base import Above, Config, Count, Positive, Use


class SourceConfig(Config):
    """Where problems come from: a dataset (`path`), a procedural task (`task`) or an earlier `reject` stage (`stage`).

    What says which problems is free: the hash of their content is part of the run's identity instead.
    """

    path: str | None = None
    """Hub id, local file or folder, or https URL. Free."""
    task: str | None = None
    """Procedural task: addition, countdown, linear, multiplication, or `gym:<name>` of reasoning-gym. Free."""
    stage: str | None = None
    """Earlier reject stage of the same recipe, whose verified samples are the demonstrations. Free."""
    config: str | None = None
    """Configuration (subset) of a hub dataset. Free."""
    split: str = "train"
    """Split of the dataset; `train` and `eval` of a task never share a problem. Free."""
    columns: dict[str, str | dict[str, str]] = {}
    """Which column, or template of columns in braces, is the prompt, answer, solution and id. Free."""
    answer_format: str = "plain"
    """How the answer stands in its column: plain, hash (after `####`), boxed, number, unit, any (a list of texts of
    which each is right). Of a code dataset, whose rows are read whole: mbpp, humaneval, apps, taco, livecodebench,
    codeforces, codecontests, kodcode. Free."""
    where: dict[str, Any] = {}
    """Only rows whose column holds this value, or one of these values. Free."""
    distinct: Literal["rows", "text", "template"] = "rows"
    """Of problems equal in text, or in all but their numbers, only the first. Free."""
    holdout: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the templates (texts with numbers masked) set aside, where a dataset has no split of its own. Free."""
    holdout_by: Literal["template", "text"] = "template"
    """What the share is of; text: of single problems, a plain random split that may part a template. Free."""
    part: Literal["rest", "held_out"] = "rest"
    """Which side of `holdout` this source is. Free."""
    limit: Positive | None = None
    """Take the first so many problems. Free."""
    size: Positive = 4096
    """Problems to generate (tasks). Free."""
    seed: Count = 0
    """Seed of the generated problems; the run's seed does not touch them (tasks). Free."""
    settings: dict[str, Any] = {}
    """The task's difficulty settings. Free."""
    on_long_prompt: Literal["error", "drop"] = "error"
    """Prompts that leave the context no room for `max_new_tokens`: refuse the recipe, or leave them out. Free."""
    verifier: Use | None = None
    """Verifier of this source; else the stage's, else the task's own. Result."""
    weight: Above = 1.0
    """Share of the draws in a mixture, relative to the other sources. Result."""

    @model_validator(mode="after")
    def _one_origin(self):
        origins = {"path": self.path, "task": self.task, "stage": self.stage}
        if sum(value is not None for value in origins.values()) != 1:
            has = ", ".join(f"{name} {value!r}" for name, value in origins.items() if value is not None)
            raise ValueError(
                "a source needs one of `path` (a dataset), `task` (generated problems) and `stage` (an earlier reject "
                f"stage), this one has {has or 'none'}"
            )
        if self.part == "held_out" and self.holdout is None:
            raise ValueError("`part: held_out` needs `holdout`, the share that is set aside, the same on both sides")
        if self.task is not None and (self.where or self.holdout or self.distinct != "rows"):
            raise ValueError("where, distinct and holdout choose among a dataset's rows; a task has `split` and `size`")
        if self.stage is not None and (self.columns or self.config or self.split != "train" or self.where):
            raise ValueError(
                "columns, config, split and where are about a dataset's layout; what a stage makes is known"
            )
        return self


class PromptConfig(Config):
    """How a problem becomes tokens; one renderer for SFT, RL and evaluation."""

    template: Literal["plain", "chat", "r1-zero"] = "plain"
    """plain text, the tokenizer's own chat template, or the R1-Zero paper's think/answer prompt. Result."""
    format: str = "Question: {prompt}\nAnswer:"
    """Text of a `plain` prompt. Result."""
    examples: tuple[dict[str, str], ...] = ()
    """Worked examples {prompt, solution} before a `plain` prompt. Result."""
    system_prompt: str | None = None
    """Instruction before the problem. Result."""
    prefill_think: bool = False
    """End the prompt in `<think>`; the tag is put back before what the verifier reads, as it is where format or
    template end in it by themselves. Result."""
    template_variables: dict[str, Any] = {}
    """Variables of a `chat` template, such as {enable_thinking: false}. Result."""
