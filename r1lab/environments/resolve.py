"""Which environment a recipe means: the table of built-ins, dotted paths, settings. Runs nothing but its import."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from r1lab import plugin
from r1lab.environments.schema import Signature
from r1lab.errors import RecipeError
from r1lab_data import Problem
from r1lab_data.names import did_you_mean
from r1lab_verifiers.plugin import load

ENVIRONMENTS = {
    "guess": "r1lab.environments.guess:Guess",
    "tools": "r1lab.environments.tools:Tools",
    "visible_tests": "r1lab.environments.visible_tests:VisibleTests",
}
"""Built-ins by name."""
ADAPTERS = {"trl": "r1lab.environments.adapters:TrlEnvironment", "openenv": "r1lab.environments.adapters:OpenEnvClient"}
"""`as:` another trainer's form of an environment."""
ROLES = ("user", "tool")
FORM = "an environment is a class made as Class(problem, seed, **settings) with reset() and step(text)"


@dataclass(frozen=True)
class ResolvedEnvironment:
    """Which environment, with which settings. Picklable: it travels to the workers, the live object does not."""

    path: str
    """`package.module:Class`"""
    settings: dict[str, Any] = field(default_factory=dict)
    replayable: bool = True
    role: str = "user"
    stop_after: tuple[str, ...] = ()
    has_verdict: bool = False
    is_confined: bool = False
    """It runs in this process and confines what it runs by itself."""

    @property
    def tools(self) -> list[Signature]:
        """What a model is told of, where the environment's turns are calls. RecipeError for what is no tool."""
        told: Any = getattr(load(self.path), "told_tools", None)
        return [] if told is None else list(told(self.settings).values())

    def make(self, problem: Problem, seed: int, **more: Any) -> Any:
        """A new instance; raises whatever it raises."""
        return load(self.path)(problem, seed, **self.settings, **more)


def resolve(use: str, settings: Mapping[str, Any], adapter: str = "", what: str = "environment") -> ResolvedEnvironment:
    """The environment of a recipe. RecipeError for one that does not import, has another form or no such setting."""
    path = ENVIRONMENTS.get(use, use)
    target = load(path) if use in ENVIRONMENTS else plugin.find(dict.fromkeys(ENVIRONMENTS), use, what)
    given = dict(settings)
    if adapter:
        if adapter not in ADAPTERS:
            raise RecipeError(
                f"{what}.as: {adapter!r} is none of {', '.join(ADAPTERS)}{did_you_mean(adapter, ADAPTERS)}"
            )
        given, path, target = {"factory": path, **given}, ADAPTERS[adapter], load(ADAPTERS[adapter])
        target.check(given, what)
    _check_form(use, target, what)
    _check_settings(use, target, given, what)
    if use in ENVIRONMENTS and callable(check := getattr(target, "check", None)):  # of a user's class it may be a move
        check(given, what)
    if callable(told := getattr(target, "told_tools", None)):
        told(given, what)
    role, stops = getattr(target, "role", "user"), getattr(target, "stop_after", ())
    if role not in ROLES:
        raise RecipeError(f"{what}: {use!r} has the role {role!r}; allowed: {' or '.join(ROLES)}")
    if not isinstance(stops, tuple | list) or not all(isinstance(each, str) and each for each in stops):
        raise RecipeError(f"{what}: {use!r} has stop_after {stops!r}; give a tuple of texts, such as ('</move>',)")
    return ResolvedEnvironment(
        path, given, bool(given.get("replayable", getattr(target, "replayable", True))), role, tuple(stops),
        target.judges(given) if hasattr(target, "judges") else callable(getattr(target, "verdict", None)),
        bool(getattr(target, "is_confined", False)),
    )  # fmt: skip


def _check_form(use: str, target: Any, what: str) -> None:
    lacking = [name for name in ("reset", "step") if not callable(getattr(target, name, None))]
    if not inspect.isclass(target) or lacking:
        lacks = f"has no {' and no '.join(lacking)}" if lacking else "is no class"
        raise RecipeError(f"{what}: {use!r} {lacks}; {FORM}")
    for name in ("reset", "step", "verdict"):
        if inspect.iscoroutinefunction(getattr(target, name, None)):
            raise RecipeError(f"{what}: {use!r} has an async {name}; {FORM}, none of them async")


def _check_settings(use: str, target: Any, settings: Mapping[str, Any], what: str) -> None:
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # written in C: the call itself will tell
        return
    names = [each.name for each in list(signature.parameters.values())[2:] if each.kind != each.VAR_KEYWORD]
    try:
        signature.bind(None, 0, **settings)
    except TypeError as error:
        unknown = [name for name in settings if name not in names]
        close = did_you_mean(str(unknown[0]), names) if unknown else ""
        told = f"has no setting {unknown[0]!r}" if unknown else f"cannot be made as Class(problem, seed) ({error})"
        raise RecipeError(f"{what}: {use!r} {told}; its settings: {', '.join(names) or 'none'}{close}") from None
