"""Loads the verifier that a recipe names, checks its form and settings, and makes whatever it returns a Verdict.

Not the table of built-ins (`verifiers`) and not how a verifier is kept from harm (`r1lab_verifiers.pool.pool`).
"""

import importlib
import inspect
import math
import numbers
import re
import reprlib
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from r1lab_data.answers import ANY
from r1lab_data.names import did_you_mean, import_hint
from r1lab_verifiers import reward_functions
from r1lab_verifiers.reward_functions import AS, RewardFunction
from r1lab_verifiers.verdict import RANGE_REMEDY, Item, Verdict, tidy

# "package.module:name"; not "package.module"
PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
IMPORT_SECONDS, IMPORT_TOLD_SECONDS = 60.0, 10.0
"""For a plug-in's module to be imported here, as long as in a worker, and after which a line says that it still is."""
FORMS = "a function f(completion, answer) or a class with verify(item)"


@dataclass(frozen=True)
class Resolved:
    """Which verifier, with which settings. Picklable: it travels to the workers, the live object does not."""

    path: str
    """`package.module:name`"""
    settings: dict = field(default_factory=dict)
    """Its own; `as` says that it is another trainer's reward function (`r1lab_verifiers.reward_functions`)."""
    isolated: bool = False
    """It confines what it runs by itself: the pool drives it in the parent."""
    preload: tuple[str, ...] = ()
    """Modules worth importing once before workers fork (built-ins only: a plug-in's might start threads)."""

    def build(self) -> "Live":
        """Import it and make it; raises whatever it raises."""
        target = load(self.path)
        if AS in self.settings:
            return Live(self.path, RewardFunction(target, self.settings), {})
        if inspect.isclass(target):
            return Live(self.path, _construct(target, self.settings), {})
        return Live(self.path, target, self.settings)


Table = Mapping[str, Resolved]
"""Verifiers by their keys."""


@dataclass(frozen=True)
class Live:
    """A verifier ready to use, both forms alike."""

    path: str
    target: Any
    """The function, or the object with `verify`."""
    settings: dict
    """Keyword arguments of the function."""

    @property
    def isolated(self) -> bool:
        """Whether the verifier isolates by itself what it runs."""
        return bool(getattr(self.target, "isolated", False))

    @property
    def is_seeded(self) -> bool:
        """Whether its verdicts depend on no random number of the global generator: that one need not be seeded."""
        return bool(getattr(self.target, "is_seeded", False))

    def verify(self, item: Item) -> Verdict:
        """The verdict on one completion; raises whatever the verifier raises. If async: not within an event loop."""
        answers = accepted(item.answer)
        if len(answers) == 1:  # all but always
            return self._verify_one(item if answers[0] is item.answer else replace(item, answer=answers[0]))
        return best([self._verify_one(replace(item, answer=answer)) for answer in answers])

    def _verify_one(self, item: Item) -> Verdict:
        value = self._call(item)
        if not isinstance(value, Verdict) and inspect.isawaitable(value):
            import asyncio  # half of what a worker's template would import, for few verifiers

            value = asyncio.run(_finish(value))
        return as_verdict(value, self.path)

    async def verify_async(self, item: Item) -> Verdict:
        """As `verify`, within an event loop."""
        verdicts = []
        for answer in accepted(item.answer):
            value = self._call(replace(item, answer=answer))
            verdicts.append(as_verdict(await value if inspect.isawaitable(value) else value, self.path))
        return best(verdicts)

    def witness(self, answer: str | dict) -> str:
        """A completion that this verifier should be able to judge, made from the gold answer, the first of several."""
        make = getattr(self.target, "witness", str)
        return make(accepted(answer)[0])

    def check(self, answer: str | dict) -> str | None:
        """Why nothing can be judged against this gold answer, or one of several; None where it can, or the verifier
        does not say."""
        if not callable(getattr(self.target, "check", None)):
            return None
        reasons = [self.target.check(each) for each in accepted(answer)]
        return next((str(reason) for reason in reasons if reason), None)

    def describe(self, answer: str | dict) -> str | None:
        """What kind of answer the gold is read as, the first of several; None where the verifier does not say."""
        describe = getattr(self.target, "describe", None)
        return str(describe(accepted(answer)[0])) if callable(describe) else None

    def doubt(self, answer: str | dict) -> str:
        """Why a gold answer, or one of several, may be read as less than it says; empty where nothing is in doubt."""
        doubt = getattr(self.target, "doubt", None)
        return next((str(why) for each in accepted(answer) if (why := doubt(each))), "") if callable(doubt) else ""

    def _call(self, item: Item) -> object:
        if hasattr(self.target, "verify"):
            return self.target.verify(item)
        return self.target(item.completion, item.answer, **self.settings)


def accepted(answer: Any) -> list:
    """Every accepted answer: of `{"any": [...]}` each, else the answer alone."""
    several = answer.get(ANY) if isinstance(answer, dict) and len(answer) == 1 else None
    return several if isinstance(several, list) and several else [answer]


def best(verdicts: list[Verdict]) -> Verdict:
    """Of verdicts on one completion against several accepted answers: a right one, else an error, else the best."""
    if len(verdicts) > 1 and not any(verdict.score == 1.0 for verdict in verdicts):
        verdicts = [verdict for verdict in verdicts if verdict.status == "error"] or verdicts
    return max(verdicts, key=lambda verdict: -1.0 if verdict.score is None else verdict.score)


async def _finish(value: Awaitable) -> object:
    return await value


def as_verdict(value: Any, path: str) -> Verdict:
    """A verifier's Verdict, float or bool as a Verdict; None: it abstains. Else, NaN or outside [0, 1]: an error that
    says so. A built-in has no reason to abstain."""
    if isinstance(value, Verdict):
        return tidy(value)
    if value is None and not path.startswith(f"{__package__}."):
        return Verdict(None, "abstained")
    if not isinstance(value, numbers.Real) and callable(item := getattr(value, "item", None)):
        value = item()  # numpy's bool, a tensor of one number
    if not isinstance(value, numbers.Real):
        return Verdict(
            None, "error", reason=f"{path} returned {reprlib.repr(value)}; allowed: Verdict, float, bool, None"
        )
    score = float(value)
    if math.isnan(score) or not 0.0 <= score <= 1.0:
        return Verdict(
            None, "error", reason=f"{path} returned the score {score!r}; a score lies in [0, 1]: {RANGE_REMEDY}"
        )
    return Verdict(score, "correct" if score == 1.0 else "wrong" if score == 0.0 else "partial")


def resolve(spec: object, built_in: Mapping[str, str], import_paths: Iterable[str] = ()) -> Resolved:
    """See `verifiers.resolve`."""
    if isinstance(spec, Resolved):
        return spec
    extend_path(import_paths)
    if callable(spec):
        spec = _path_of(spec)
    settings = dict(spec) if isinstance(spec, Mapping) else {"use": spec}
    name = settings.pop("use", None)
    path = _find(name, built_in)
    try:
        with import_deadline(name):
            target = load(path)
    except (Exception, SystemExit) as error:  # the plug-in border: its import may do anything
        raise ValueError(
            f"verifier {name!r} does not import: {type(error).__name__}: {error}{import_hint(path)}"
        ) from error
    ours = path in built_in.values()
    if AS in settings:
        fault = "is built in; as: is for a function of yours" if ours else reward_functions.fault(target, settings)
        if fault:
            raise ValueError(f"verifier {name!r} {fault}")
        return Resolved(path, settings)
    _check_form(name, target)
    _check_settings(name, target, settings)
    preload = getattr(target, "preload", ()) if ours else ()
    resolved = Resolved(path, settings, bool(getattr(target, "isolated", False)), preload)
    if ours:
        resolved.build()  # refuses what a setting may not be; a plug-in's constructor is left to the workers
    return resolved


def extend_path(import_paths: Iterable[str]) -> None:
    """Append to sys.path what is not on it yet: last, so that a user's `data/` does not shadow ours."""
    for entry in map(str, import_paths):
        if entry not in sys.path:
            sys.path.append(entry)


@contextmanager
def import_deadline(what: object) -> Iterator[None]:
    """TimeoutError in the block once it has taken IMPORT_SECONDS. Only in the main thread, where signals are heard;
    what hangs in C is not ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    began, is_told = time.monotonic(), False

    def look(*_) -> None:
        nonlocal is_told
        if time.monotonic() - began >= IMPORT_SECONDS:
            raise TimeoutError(f"not done within {IMPORT_SECONDS:g} s; nothing may wait while it is imported")
        if not is_told:
            print(f"{what!r} is still being imported; it has {IMPORT_SECONDS:g} s", file=sys.stderr, flush=True)
            is_told = True

    handler = signal.signal(signal.SIGALRM, look)
    # Again and again: the module may catch what is raised.
    timer = signal.setitimer(signal.ITIMER_REAL, min(IMPORT_TOLD_SECONDS, IMPORT_SECONDS), 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


def load(path: str) -> Any:
    """What stands at `package.module:name`; imports the module, raises whatever that raises."""
    module, _, name = path.partition(":")
    target = importlib.import_module(module)
    for part in name.split("."):
        target = getattr(target, part)
    return target


def needs_answer(verifier: Resolved) -> bool:
    """Whether it compares with a gold answer at all; one that does not says `needs_answer = False`, and a reward
    function of TRL reads whichever columns it names."""
    return verifier.settings.get(AS) != "trl" and bool(getattr(load(verifier.path), "needs_answer", True))


def _find(name: object, built_in: Mapping[str, str]) -> str:
    if isinstance(name, str) and name in built_in:
        return built_in[name]
    if isinstance(name, str) and PATH.fullmatch(name):
        return name
    hint = did_you_mean(str(name), built_in)
    raise ValueError(f"verifier {name!r} is unknown: use one of {', '.join(built_in)}, or package.module:name{hint}")


def _path_of(target: Callable) -> str:
    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", "<unnamed>")
    if module in (None, "__main__") or "<" in name:
        raise ValueError(
            f"verifier {module}:{name} cannot be named by its path, which workers need: "
            "define it at the top of a module that can be imported"
        )
    return f"{module}:{name}"


def _check_form(name: object, target: Any) -> None:
    check = getattr(target, "verify", None) if inspect.isclass(target) else target
    if not callable(check):
        raise ValueError(f"verifier {name!r} is a {type(target).__name__}; allowed: {FORMS}")
    if inspect.iscoroutinefunction(check) and not getattr(target, "isolated", False):
        raise ValueError(
            f"verifier {name!r} is async, allowed only in a class that declares `isolated = True`; "
            "make verify a plain function"
        )


def _check_settings(name: object, target: Any, settings: dict) -> None:
    if _has_bare_fields(target):
        allowed = _bare_fields(target)
        fits = settings.keys() <= set(allowed)
    else:
        fits, allowed = _binds(name, target, settings)
    if not fits:
        unknown = ", ".join(sorted(map(repr, settings.keys() - set(allowed))))
        what = f"has no setting {unknown}" if unknown else "lacks a setting"
        close = did_you_mean(min(map(str, settings.keys() - set(allowed)), default=""), allowed)
        raise ValueError(f"verifier {name!r} {what}; its settings: {', '.join(allowed) or 'none'}{close}")


def _binds(name: object, target: Any, settings: dict) -> tuple[bool, list[str]]:
    """Whether the call would be accepted, and which settings there are."""
    positional = () if inspect.isclass(target) else ("completion", "answer")
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # written in C: the call itself will tell
        return True, []
    names = [p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if positional and (convention := reward_functions.convention_of(signature)):
        raise ValueError(
            f"verifier {name!r} has the parameters {signature} of a reward function for {convention}; say so: "
            f"verifier: {{use: {name}, {AS}: {convention}}}"
        )
    if positional and not _takes(signature, positional):
        raise ValueError(f"verifier {name!r} has the parameters {signature}; allowed: {FORMS}")
    return _takes(signature, positional, settings), names[len(positional) :]


def _takes(signature: inspect.Signature, positional: tuple, settings: dict | None = None) -> bool:
    bind = signature.bind_partial if settings is None else signature.bind
    try:
        bind(*positional, **(settings or {}))
    except TypeError:
        return False
    return True


def _has_bare_fields(target: object) -> bool:
    """A class without a constructor: its annotated attributes are its settings."""
    return inspect.isclass(target) and target.__init__ is object.__init__


def _bare_fields(target: type) -> list[str]:
    return [name for base in reversed(target.__mro__) for name in inspect.get_annotations(base)]


def _construct(target: type, settings: dict) -> object:
    if not _has_bare_fields(target):
        return target(**settings)
    made = target()
    for name, value in settings.items():
        setattr(made, name, value)
    return made
