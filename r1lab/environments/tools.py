"""The environment of tools: a turn's calls are run and answered; a turn without one is the end.

The calls are read in this process, which runs nothing of them: programs go to the sandbox, functions to the killable
workers. Several calls of a turn run at once; the answers stand in the order of the calls. A call that cannot be read,
that raises or that is ended by a limit is answered with the reason.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from r1lab import plugin
from r1lab.environments import calls, python, schema
from r1lab.environments.protocol import Turn, cut
from r1lab.errors import RecipeError
from r1lab.seeds import derive
from r1lab_data import Problem
from r1lab_sandbox.box import Sandbox
from r1lab_sandbox.records import Limits

MAX_ANSWER_CHARACTERS = 20_000
"""Of one call; the middle is cut."""
MAX_HUNG = 3
"""Calls of functions that hit the deadline, in an episode; each holds a worker for twice that, once more afresh."""


@dataclass(frozen=True)
class Tool:
    """One tool of a recipe."""

    signature: schema.Signature
    path: str = ""
    """Dotted path of its function; empty: the Python tool."""


class Means(Protocol):
    """What tools are run with, which episodes share."""

    def call(self, path: str, arguments: dict[str, Any], seed: int) -> "Future[tuple[str, str]]":
        """A function called in a killable worker: its text and a status (`ok`, `failed`, `timeout`, `crash`)."""
        ...

    @property
    def sandbox(self) -> Sandbox: ...

    @property
    def threads(self) -> ThreadPoolExecutor: ...


def of_recipe(tools: Sequence[Any], what: str = "tools") -> dict[str, Tool]:
    """Tools by name. RecipeError for one that does not import, has no type hints, or has another's name."""
    if not isinstance(tools, list | tuple) or not tools:
        raise RecipeError(f"{what}: {tools!r} must be a list such as [python, mypkg.tools:search]")
    made = []
    for spec in tools:
        if spec == calls.PYTHON:
            made.append(Tool(python.SIGNATURE))
        else:
            function = plugin.find(dict.fromkeys([calls.PYTHON]), spec, what)
            if not callable(function) or inspect.isclass(function):
                raise RecipeError(f"{what}: {spec!r} is {type(function).__name__}, not a function")
            if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
                raise RecipeError(f"{what}: {spec!r} is async or a generator; a tool returns its answer")
            made.append(Tool(schema.signature_of(function, what), spec))
    schema.refuse_names([tool.signature.name for tool in made], (), what)
    return {tool.signature.name: tool for tool in made}


class Tools:
    """The tools of one episode."""

    role, replayable, is_confined, stop_after = "tool", True, True, calls.STOPS

    def __init__(
        self,
        problem: Problem,
        seed: int,
        tools: Sequence[Any] = (),
        call_seconds: float = 5.0,
        episode_seconds: float = 60.0,
        memory_mb: int = 512,
        *,
        means: Means | None = None,
    ):
        """call_seconds, episode_seconds: wall clock of a program and of all of an episode; memory_mb: of a program."""
        self.tools, self.seed, self.means = of_recipe(tools), seed, means
        self.num_calls, self.num_hung = 0, 0
        self.signatures = {name: tool.signature for name, tool in self.tools.items()}
        limits = Limits(seconds=call_seconds, memory_mb=memory_mb, output_bytes=1 << 20)
        self.python: python.PythonTool | None = None
        if means is not None and calls.PYTHON in self.tools:
            self.python = python.PythonTool(means.sandbox, derive(seed, "python"), limits, episode_seconds)

    @staticmethod
    def check(settings: Mapping[str, Any], what: str = "environment") -> None:
        """RecipeError for limits that are none."""
        python.check_limits(settings, what)

    @staticmethod
    def told_tools(settings: Mapping[str, Any], what: str = "environment") -> dict[str, schema.Signature]:
        """The tools of a recipe's settings by name; `tools` is also their key where no environment is named."""
        return {name: tool.signature for name, tool in of_recipe(settings.get("tools", ())).items()}

    def reset(self) -> None:
        """The prompt says which tools there are."""

    def step(self, text: str) -> Turn:
        found = calls.calls_of(text, self.signatures)
        if not found:
            return Turn(done=True)
        answers = [self._started(call) for call in found]
        texts, statuses = zip(*(answer() for answer in answers))
        is_function = [not call.error and bool(self.tools[call.name].path) for call in found]
        self.num_hung += sum(status == "timeout" for status, does in zip(statuses, is_function) if does)
        info = {"calls": len(found), "failed_calls": sum(status != "ok" for status in statuses)}
        if limits := sum(status == "timeout" for status in statuses):
            info["timeouts"] = limits
        return Turn("\n".join(cut(text, MAX_ANSWER_CHARACTERS) for text in texts), info=info)

    def _started(self, call: calls.ToolCall) -> "Callable[[], tuple[str, str]]":
        """What gives the call's answer; functions run from now on, programs when they are asked for, in order."""
        if call.error:
            return lambda: (f"error: {call.error}", "unread")
        self.num_calls += 1
        tool = self.tools[call.name]
        if not tool.path:
            assert self.python is not None  # an episode is played with the means to run programs
            run, code = self.python.run, str(call.arguments.get("code", ""))
            return lambda: run(code)
        if self.num_hung >= MAX_HUNG:
            return lambda: (f"error: {self.num_hung} calls took too long; no function is called any more", "timeout")
        assert self.means is not None  # as above
        return self.means.call(tool.path, call.arguments, derive(self.seed, "call", self.num_calls)).result
