"""Knobs of the data: where problems come from and how one becomes a prompt. The rest stands in `r1lab.recipe`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from r1lab.recipe.base import FREE, RESULT, Above, Config, Count, Positive, Use
from r1lab.recipe.environment import EnvironmentConfig, one_of


class SourceConfig(Config):
    """Where problems come from: a dataset (`path`), a procedural task (`task`) or an earlier `reject` stage (`stage`).

    What says which problems is free: the hash of their content is part of the run's identity instead.
    """

    path: Annotated[str | None, FREE] = None
    """Hub id, local file or folder, or https URL."""
    task: Annotated[str | None, FREE] = None
    """Procedural task: addition, multiplication, countdown, general_points, linear, `gym:<reasoning-gym task>` ..."""
    stage: Annotated[str | None, FREE] = None
    """Earlier reject or judge stage of the same recipe, whose dataset it is."""
    config: Annotated[str | None, FREE] = None
    """Configuration (subset) of a hub dataset."""
    split: Annotated[str, FREE] = "train"
    """Split of the dataset; `train` and `eval` of a task never share a problem."""
    columns: Annotated[dict[str, str | dict[str, str]], FREE] = {}
    """Which column, or template of columns in braces, is the prompt, answer, solution and id."""
    answer_format: Annotated[str, FREE] = "plain"
    """How the answer stands in its column: plain, hash (after `####`), boxed, number, unit, any (a list of texts of
    which each is right). Of a code dataset, whose rows are read whole: mbpp, humaneval, apps, taco, livecodebench,
    codeforces, codecontests, kodcode."""
    where: Annotated[dict[str, Any], FREE] = {}
    """Only rows whose column holds this value, or one of these values."""
    distinct: Annotated[Literal["rows", "text", "template"], FREE] = "rows"
    """Of problems equal in text, or in all but their numbers, only the first."""
    holdout: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, FREE] = None
    """Share of the templates (texts with numbers masked) set aside, where a dataset has no split of its own."""
    holdout_by: Annotated[Literal["template", "text"], FREE] = "template"
    """What the share is of; text: of single problems, a plain random split that may part a template."""
    part: Annotated[Literal["rest", "held_out"], FREE] = "rest"
    """Which side of `holdout` this source is."""
    steps_at: Annotated[Annotated[str, Field(min_length=1)] | None, FREE] = None
    """Make a problem of each step of a solution, which this text parts, such as "\\n": the prompt ends in the steps
    before, the step is the answer, and `similar` its verifier where the source names none."""
    limit: Annotated[Positive | None, FREE] = None
    """Take the first so many problems."""
    size: Annotated[Positive, FREE] = 4096
    """Problems to generate (tasks)."""
    seed: Annotated[Count, FREE] = 0
    """Seed of the generated problems; the run's seed does not touch them (tasks)."""
    settings: Annotated[dict[str, Any], FREE] = {}
    """The task's difficulty settings."""
    on_bad_row: Annotated[Literal["error", "drop"], FREE] = "error"
    """Rows that make no problem, without an answer or a prompt: refuse the recipe, or leave them out and say how many.
    """
    on_long_prompt: Annotated[Literal["error", "drop"], FREE] = "error"
    """Prompts that leave the context no room for `max_new_tokens`: refuse the recipe, or leave them out."""
    verifier: Annotated[Use | None, RESULT] = None
    """Verifier of this source; else the stage's, else the task's own."""
    reward: Annotated[dict[str, float | dict[str, Any]] | None, RESULT] = None
    """What its completions are paid in an rl stage; else the stage's."""
    weight: Annotated[Above, RESULT] = 1.0
    """Share of the draws in a mixture, relative to the other sources."""
    shift: Annotated[bool, FREE] = False
    """Of an evaluation set: its problems are of another distribution than training's. A comparison shows it beside the
    others, and never chooses it by itself."""
    environment: Annotated[EnvironmentConfig | None, RESULT] = None
    """What answers the model's turns on this source; else the stage's."""
    tools: Annotated[tuple[Use, ...] | None, RESULT] = None
    """Tools that the model may call on this source: python, or functions as package.module:name."""

    @model_validator(mode="before")
    @classmethod
    def _judges_steps(cls, given: Any) -> Any:
        is_of_steps = isinstance(given, Mapping) and given.get("steps_at") is not None
        return {**given, "verifier": given.get("verifier") or "similar"} if is_of_steps else given

    @model_validator(mode="after")
    def _one_origin(self):
        origins = {"path": self.path, "task": self.task, "stage": self.stage}
        if sum(value is not None for value in origins.values()) != 1:
            has = ", ".join(f"{name} {value!r}" for name, value in origins.items() if value is not None)
            raise ValueError(
                "a source needs one of `path` (a dataset), `task` (generated problems) and `stage` (an earlier reject "
                f"stage), this one has {has or 'none'}"
            )
        one_of(self.environment, self.tools)
        if self.part == "held_out" and self.holdout is None:
            raise ValueError("`part: held_out` needs `holdout`, the share that is set aside, the same on both sides")
        if self.task is not None and (self.where or self.holdout or self.distinct != "rows"):
            raise ValueError("where, distinct and holdout choose among a dataset's rows; a task has `split` and `size`")
        if self.task is not None and (self.columns or self.config or self.answer_format != "plain"):
            raise ValueError(
                "columns, config and answer_format are about a dataset's layout; a task makes its problems"
            )
        if self.task is None and self.settings:
            raise ValueError("settings are a task's difficulty; a dataset's rows are chosen by where and limit")
        if self.stage is not None and (self.columns or self.config or self.split != "train" or self.where):
            raise ValueError(
                "columns, config, split and where are about a dataset's layout; what a stage makes is known"
            )
        if self.stage is not None and self.steps_at is not None:
            raise ValueError("steps_at parts worked solutions that are there; what a stage makes is learned whole")
        return self


class PromptConfig(Config):
    """How a problem becomes tokens; one renderer for SFT, RL and evaluation."""

    template: Annotated[Literal["plain", "chat", "r1-zero"], RESULT] = "plain"
    """plain text, the tokenizer's own chat template, or the R1-Zero paper's think/answer prompt."""
    format: Annotated[str, RESULT] = "Question: {prompt}\nAnswer:"
    """Text of a `plain` prompt."""
    examples: Annotated[tuple[dict[str, str], ...], RESULT] = ()
    """Worked examples {prompt, solution} before a `plain` prompt."""
    system_prompt: Annotated[str | None, RESULT] = None
    """Instruction before the problem."""
    prefill_think: Annotated[bool, RESULT] = False
    """End the prompt in `<think>`; the tag is put back before what the verifier reads, as it is where format or
    template end in it by themselves."""
    template_variables: Annotated[dict[str, Any], RESULT] = {}
    """Variables of a `chat` template, such as {enable_thinking: false}."""
