"""Environments written for other trainers: TRL's environment factory and OpenEnv's client, as the environment of an
episode. Neither library is imported here.

    environment: {use: mypkg.games:WordGame, as: trl}
    environment: {use: mypkg.clients:connect, as: openenv, action: mypkg.clients:Action, field: message}
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from r1lab.environments import calls, schema
from r1lab.environments.protocol import Turn, cut
from r1lab.environments.tools import MAX_ANSWER_CHARACTERS
from r1lab.errors import RecipeError
from r1lab_data import Problem
from r1lab_verifiers.plugin import load
from r1lab_verifiers.pool.worker import describe
from r1lab_verifiers.verdict import Verdict

NOT_TOOLS = ("reset", "get_reward", "close")


class TrlEnvironment:
    """A class of TRL's `environment_factory`: `reset(**row)`, public methods that the model calls, `get_reward()`.

    A turn without a call ends the episode, which then is paid `get_reward()`, where there is one.
    """

    role, replayable, stop_after = "tool", True, calls.STOPS

    def __init__(self, problem: Problem, seed: int, factory: str, replayable: bool = True):
        self.problem, self.target = problem, load(factory)()
        self.tools = self.told_tools({"factory": factory})

    @staticmethod
    def check(settings: Mapping[str, Any], what: str) -> None:
        """RecipeError where a method could not be a tool."""
        target = load(settings["factory"])
        if not callable(getattr(target, "reset", None)):
            raise RecipeError(f"{what}: {settings['factory']!r} has no reset(**row), which as: trl calls")
        if not TrlEnvironment.told_tools(settings, what):
            raise RecipeError(f"{what}: {settings['factory']!r} has no public method, which would be a tool")

    @staticmethod
    def told_tools(settings: Mapping[str, Any], what: str = "environment") -> dict[str, schema.Signature]:
        """The factory's tools by name."""
        methods = methods_of(load(settings["factory"]))
        return {name: schema.signature_of(method, what) for name, method in methods}

    @staticmethod
    def judges(settings: Mapping[str, Any]) -> bool:
        """Whether it has a verdict."""
        return callable(getattr(load(settings["factory"]), "get_reward", None))

    def reset(self) -> str | None:
        row = {**self.problem.meta, "prompt": self.problem.prompt, "answer": self.problem.answer}
        said = self.target.reset(**_taken(self.target.reset, row))
        return said if isinstance(said, str) else None

    def step(self, text: str) -> Turn:
        found = calls.calls_of(text, self.tools)
        if not found:
            return Turn(done=True, reward=self._reward())
        answers, failed = [], 0
        for call in found:
            said = f"error: {call.error}" if call.error else self._call(call)
            failed += said.startswith("error: ")
            answers.append(cut(said, MAX_ANSWER_CHARACTERS))
        return Turn("\n".join(answers), info={"calls": len(found), "failed_calls": failed})

    def verdict(self) -> Verdict | float:
        reward = self._reward()
        return Verdict(None, "error", reason="the environment has no get_reward") if reward is None else reward

    def _call(self, call: calls.ToolCall) -> str:
        try:
            return str(getattr(self.target, call.name)(**call.arguments))
        except Exception as error:  # as TRL does: the model reads what went wrong
            return f"error: {describe(error)}"

    def _reward(self) -> float | None:
        get: Any = getattr(self.target, "get_reward", None)
        return None if get is None else float(get())


class OpenEnvClient:
    """A client of OpenEnv: `reset()` and `step(action)`, whose results have `observation`, `reward` and `done`.

    The environment lives elsewhere, so an episode is not played again and its failures are errors.
    """

    role, replayable, stop_after = "user", False, ()

    def __init__(
        self,
        problem: Problem,
        seed: int,
        factory: str,
        action: str | None = None,
        field: str = "message",
        show: str | None = None,
        replayable: bool = False,
    ):
        """action, field: the class of actions and its field that takes the model's text; None: the text itself. show:
        the field of an observation that the model reads; None: the observation as text."""
        self.client: Any = load(factory)()
        self.action: Callable[[str], Any] = (lambda text: text) if action is None else _action(load(action), field)
        self.show = show

    @staticmethod
    def check(settings: Mapping[str, Any], what: str) -> None:
        """RecipeError where the names do not lead anywhere."""
        for key in ("factory", "action"):
            if settings.get(key) is not None and not callable(_loaded(settings[key], f"{what}.{key}")):
                raise RecipeError(f"{what}.{key}: {settings[key]!r} is not callable")

    def reset(self) -> str | None:
        return self._text(getattr(result := self.client.reset(), "observation", result))

    def step(self, text: str) -> Turn:
        result = self.client.step(self.action(text))
        reward = getattr(result, "reward", None)
        return Turn(
            self._text(getattr(result, "observation", None)),
            bool(getattr(result, "done", False)),
            None if reward is None else float(reward),
        )

    def close(self) -> None:
        if callable(close := getattr(self.client, "close", None)):
            close()

    def _text(self, observation: Any) -> str | None:
        if observation is None:
            return None
        shown = getattr(observation, self.show) if self.show else observation
        return shown if isinstance(shown, str) else str(shown)


def methods_of(factory: Any) -> list[tuple[str, Callable]]:
    """The public methods of a class by name, as its instances have them; static methods are none, as in TRL."""
    names = [name for name in dir(factory) if not name.startswith("_") and name not in NOT_TOOLS]
    found = [(name, inspect.getattr_static(factory, name, None)) for name in names]
    return [(name, each.__get__(object(), factory)) for name, each in found
            if inspect.isfunction(each) or isinstance(each, classmethod)]  # fmt: skip


def _taken(function: Callable, row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a row the function takes; all of it where it takes any name."""
    parameters = inspect.signature(function).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return dict(row)
    return {each.name: row[each.name] for each in parameters if each.name in row}


def _action(kind: Callable, field: str) -> Callable[[str], Any]:
    return lambda text: kind(**{field: text})


def _loaded(path: str, what: str) -> Any:
    try:
        return load(path)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise RecipeError(f"{what}: {path!r} does not import: {type(error).__name__}: {error}") from None
