"""Reward functions written for TRL, verl or OpenRLHF, called as they are, one completion at a time.

    trl        fn(prompts, completions, **columns) -> a list of numbers, None where it has nothing to say
    verl       fn(data_source, solution_str, ground_truth, extra_info) -> a number, or a dict with "score"
    openrlhf   fn(queries, prompts, labels) -> a list or a tensor of numbers, or a dict with "rewards" or "scores"

Not verifiers as reward functions of those trainers (`r1lab_verifiers.as_reward`).
"""

import inspect
import math
import numbers
import reprlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from r1lab_data.answers import text_of
from r1lab_data.names import did_you_mean
from r1lab_verifiers.verdict import Item, Verdict

AS, RANGE = "as", "range"
"""Settings of a recipe's verifier that are read here: which trainer the function is written for, and the numbers that
stand for score 0 and score 1."""
NOT_GIVEN = ("trainer_state", "completion_ids", "environments")
"""What TRL's trainer knows and a verifier is not told."""
TOLD_BY = {"trl": "completions", "verl": "solution_str", "openrlhf": "queries"}
"""A parameter of each convention that no verifier has."""
OWN_COLUMNS = ("prompt", "prompts", "completion", "completions", "completion_ids")
"""Columns that TRL hands over under other names, or not at all."""
OF_VERL = ("data_source", "prompt", "reward_model", "extra_info")
"""Columns of verl's datasets; where they lack `extra_info`, the others are it."""


class RewardFunction:
    """A reward function of another trainer as a verifier."""

    def __init__(self, function: Callable, settings: Mapping[str, Any]):
        """settings: the function's own keyword arguments, with `as` and `range`."""
        self.function = function
        self.convention: str = settings[AS]
        self.low, self.high = settings.get(RANGE, (0.0, 1.0))
        self.settings = _own(settings)

    def verify(self, item: Item) -> Verdict | float | None:
        (value,) = self.numbers([item])
        if value is None or math.isnan(value):
            return value
        if fault := self.out_of_range(value):
            return Verdict(None, "error", reason=fault)
        return (value - self.low) / (self.high - self.low)

    def numbers(self, items: Sequence[Item]) -> list[float | None]:
        """What the function gives several completions of one problem in one call. TypeError for anything else."""
        return [_number(value) for value in CONVENTIONS[self.convention](self, items)]

    def out_of_range(self, value: float | None) -> str:
        """Why a number is no score; empty where it is one."""
        if value is None or self.low <= value <= self.high:
            return ""
        return (
            f"the reward function returned {value:g}; allowed: {self.low:g} to {self.high:g}; say which numbers stand "
            f"for score 0 and 1, such as range: [-1, 1]; what training pays is the recipe's reward"
        )

    def call(self, arguments: Mapping[str, Any]) -> Any:
        """Call by keyword, with as many of the arguments as the function takes."""
        taken = _taken(self.function, arguments)
        if missing := [name for name in _required(self.function) if name not in taken]:
            known = ", ".join(name for name in arguments if not callable(arguments[name]))
            raise TypeError(f"it takes {', '.join(map(repr, missing))}, which the problem has not; there are: {known}")
        return _finished(self.function(**taken))


def _trl(reward: RewardFunction, items: Sequence[Item]) -> Sequence:
    rows = [_row(item) for item in items]
    arguments = {
        "prompts": [item.prompt if isinstance(item.prompt, str) else [*map(dict, item.prompt)] for item in items],
        "completions": [
            item.completion if isinstance(item.prompt, str) else [{"role": "assistant", "content": item.completion}]
            for item in items
        ],
        **{name: [row.get(name) for row in rows] for name in rows[0] if name not in OWN_COLUMNS},
        "log_extra": _say_nothing,
        "log_metric": _say_nothing,
        **reward.settings,
    }
    return _one_each(reward.call(arguments), items)


def _row(item: Item) -> dict:
    """A problem's columns, and its answer under that name where there is one that is not made of them."""
    answer = item.answer
    is_made = isinstance(answer, Mapping) and answer.items() <= item.meta.items()
    return dict(item.meta) if is_made or answer == "" else {"answer": answer, **item.meta}


def _verl(reward: RewardFunction, items: Sequence[Item]) -> Sequence:
    return [_verl_number(reward, item) for item in items]


def _verl_number(reward: RewardFunction, item: Item) -> Any:
    model = item.meta.get("reward_model")
    raw = model.get("ground_truth") if isinstance(model, Mapping) else None
    arguments = {
        "data_source": item.meta.get("data_source", ""),
        "solution_str": item.completion,
        "ground_truth": raw if _reads_as(raw, item.answer) else item.answer,
        "extra_info": item.meta.get("extra_info") or {key: item.meta[key] for key in item.meta if key not in OF_VERL},
    }
    value = reward.call(arguments | reward.settings)
    if not isinstance(value, Mapping):
        return value
    if "score" not in value:
        raise TypeError(f"it returned a dict without 'score': {reprlib.repr(dict(value))}")
    return value["score"]


def _openrlhf(reward: RewardFunction, items: Sequence[Item]) -> Sequence:
    prompts = [_as_text(item.prompt) for item in items]
    queries = [prompt + item.completion for prompt, item in zip(prompts, items)]
    # By position, as OpenRLHF does: what people call the parameters differs.
    value = _finished(reward.function(queries, prompts, [item.answer for item in items], **reward.settings))
    if isinstance(value, Mapping):
        key = next((name for name in ("rewards", "scores") if name in value), None)
        if key is None:
            raise TypeError(f"it returned a dict without 'rewards' or 'scores', but {', '.join(map(str, value))}")
        value = value[key]
    return _one_each(value, items)


CONVENTIONS: dict[str, Callable[[RewardFunction, Sequence[Item]], Sequence]] = {
    "trl": _trl,
    "verl": _verl,
    "openrlhf": _openrlhf,
}
NAMED = {"trl": ("completions",), "verl": ("solution_str",), "openrlhf": ()}
"""Parameters without which a function is none of that trainer's."""


SHAPES = {
    "trl": "fn(prompts, completions, **columns)",
    "verl": "fn(data_source, solution_str, ground_truth, extra_info)",
    "openrlhf": "fn(queries, prompts, labels)",
}


def convention_of(signature: inspect.Signature) -> str:
    """The trainer that a function with these parameters is written for, by the names of its first two; empty for none
    of them."""
    first = list(signature.parameters)[:2]
    return next((name for name, parameter in TOLD_BY.items() if parameter in first), "")


def fault(target: Any, settings: Mapping[str, Any]) -> str:
    """Why something cannot be called by `settings[AS]`'s convention; empty where nothing speaks against it so far."""
    convention, bounds = settings[AS], settings.get(RANGE, (0.0, 1.0))
    if not isinstance(convention, str) or convention not in CONVENTIONS:
        hint = did_you_mean(str(convention), CONVENTIONS)
        return f"as: {convention!r} is unknown; allowed: {', '.join(CONVENTIONS)}{hint}"
    shape = f"{convention} calls {SHAPES[convention]}"
    if not _is_range(bounds):
        return f"range: {bounds!r} must be two numbers, the lower first, such as [-1, 1]"
    if not callable(target) or inspect.isclass(target):
        return f"is a {type(target).__name__} and no function; {shape}"
    parameters = _parameters(target)
    if parameters is None:
        return ""
    names = [name for name, each in parameters.items() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    for name in (*NAMED[convention], *_own(settings)):
        if name not in names and not _takes_any(parameters):
            what = "has no setting" if name in settings else "has no parameter"
            return f"{what} {name!r}, but {', '.join(names) or 'none'}; {shape}"
    if convention == "trl" and (unknown := [name for name in NOT_GIVEN if name in _required(target)]):
        return f"takes {unknown[0]!r}, which a verifier is not told: it judges one completion, by itself"
    if convention == "openrlhf" and not _binds(target, (None, None, None), _own(settings)):
        return f"has the parameters {', '.join(names) or 'none'}; {shape}"
    return ""


def _own(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in (AS, RANGE)}


def _is_range(bounds: Any) -> bool:
    """Whether it is two finite numbers, the lower first."""
    is_pair = isinstance(bounds, list | tuple) and len(bounds) == 2
    if not is_pair or any(isinstance(each, bool) or not isinstance(each, int | float) for each in bounds):
        return False
    return -math.inf < bounds[0] < bounds[1] < math.inf


def _parameters(function: Callable) -> Mapping[str, inspect.Parameter] | None:
    """By name; None for what is written in C and does not say."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None


def _takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def _required(function: Callable) -> list[str]:
    """Parameters that must be given."""
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = _parameters(function) or {}
    return [name for name, each in parameters.items() if each.default is each.empty and each.kind not in optional]


def _taken(function: Callable, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that the function has parameters for; all where it takes any."""
    parameters = _parameters(function)
    if parameters is None or _takes_any(parameters):
        return dict(arguments)
    return {name: value for name, value in arguments.items() if name in parameters}


def _binds(function: Callable, values: Sequence, settings: Mapping[str, Any]) -> bool:
    try:
        inspect.signature(function).bind(*values, **settings)
    except TypeError:
        return False
    return True


def _one_each(values: Any, items: Sequence[Item]) -> Sequence:
    """The values as a list, one for each item."""
    try:
        values = list(values)
    except TypeError:
        raise TypeError(f"it returned {reprlib.repr(values)}; allowed: a list with one number a completion") from None
    if len(values) != len(items):
        raise TypeError(f"it returned {len(values)} numbers for {len(items)} completions")
    return values


def _number(value: Any) -> float | None:
    """A number as it is, also one of numpy or torch; None stays None."""
    if value is None:
        return None
    if not isinstance(value, numbers.Real) and callable(item := getattr(value, "item", None)):
        value = item()
    if not isinstance(value, numbers.Real):
        raise TypeError(f"it returned {reprlib.repr(value)}; allowed: a number or None for each completion")
    return float(value)


def _reads_as(raw: Any, answer: Any) -> bool:
    """Whether a dataset's own value is what was read as the answer: a number is read as text, and given back."""
    if isinstance(answer, Mapping):
        return raw == answer
    try:
        return (text_of(raw) or "").strip() == answer
    except TypeError:  # several values
        return False


def _as_text(prompt: Any) -> str:
    """A prompt as text: of a chat what its messages say, a line each."""
    return prompt if isinstance(prompt, str) else "\n".join(str(message["content"]) for message in prompt)


def _finished(value: Any) -> Any:
    """The value, waited for where the function is async."""
    if not inspect.isawaitable(value):
        return value
    import asyncio  # half of what a worker's template would import, for few functions

    return asyncio.run(_wait(value))


async def _wait(value: Awaitable) -> Any:
    return await value


def _say_nothing(*_: Any) -> None:
    """In place of the trainer's log."""
