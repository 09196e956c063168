"""Verifiers of a run: resolved, versioned, run in worker processes. Not what training pays for a verdict
(`r1lab.rollout.reward`), nor the pool itself (`r1lab_verifiers.pool`)."""

import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import r1lab_verifiers as verifiers
from r1lab.errors import RecipeError, RunError
from r1lab.recipe import WorkersConfig
from r1lab.recipe.base import Use, digest
from r1lab.recipe.load import parse_yaml
from r1lab.recipe.scorers import is_scorer
from r1lab.records import Rollout
from r1lab.seeds import derive
from r1lab_data import Problem
from r1lab_sandbox.forkserver.forkserver import SandboxError
from r1lab_verifiers import reference_checks
from r1lab_verifiers.plugin import load
from r1lab_verifiers.pool.blame import failure_of
from r1lab_verifiers.pool.pool import Pool
from r1lab_verifiers.verdict import Item, Verdict
from r1lab_verifiers.version import version_of as verifier_version

T = TypeVar("T")
WORKERS = WorkersConfig()
SCORE, SECOND = "score", "second_verifier"
"""Names of the problem's own verifier and of the second opinion."""
AHEAD_PER_WORKER = 16
"""Completions in flight for each worker: enough that none waits, few enough that large ones fit into memory. Until a
check has come to a verdict it is one: where all of them hang, the first is known soon."""
CALLS_OF_A_TRIAL = 8
"""Deadlines that a reward function's trial has: it is called so often."""
FAILURES = {"timeout": "timed out", "crash": "crashed", "error": "gave no score"}


def key_of(spec: Use) -> str:
    """The key of a verifier in the run's table: its name, with a digest of its settings where it has some."""
    return spec if isinstance(spec, str) else f"{spec.get('use')}#{digest(spec)}"


def name_of(spec: Use | None) -> str | None:
    """A verifier's name or path."""
    return spec if isinstance(spec, str) or spec is None else spec.get("use")


def is_reward_function(spec: object) -> bool:
    """Whether a recipe's verifier is another trainer's reward function, which is given all columns of a row."""
    return isinstance(spec, Mapping) and "as" in spec


def resolve(specs: Iterable[Use]) -> dict[str, verifiers.Resolved]:
    """The run's table of verifiers. RecipeError for one that does not import or is of neither form."""
    table = {}
    for spec in specs:
        _refuse_scorer(spec)
        try:
            table[key_of(spec)] = verifiers.resolve(spec)
        except ValueError as error:
            raise RecipeError(f"verifier: {str(error).removeprefix('verifier ')}") from None
    return table


def _refuse_scorer(spec: object) -> None:
    """RecipeError for a learned scorer in a verifier's place, where worker processes would run it."""
    if is_scorer(spec):
        assert isinstance(spec, Mapping)  # so is each that names a scorer
        raise RecipeError(
            f"verifier: {spec['use']} is a learned scorer, a part of a reward (reward: {{NAME: {{use: {spec['use']}, "
            "...}}); in a verifier's place r1lab verify and r1lab audit CASES take one, nothing else does"
        )


def version_of(resolved: verifiers.Resolved) -> dict:
    """What a manifest says of a verifier: its settings, a hash of all it judges with, and its libraries' versions."""
    packages = resolved.settings.get("packages", getattr(load(resolved.path), "packages", ()))
    names = packages if isinstance(packages, list | tuple) else ()
    version = verifier_version(resolved.path, tuple(str(name) for name in names))
    return {"settings": dict(resolved.settings), "source": version.source, "packages": version.packages}


class VerifierUse(NamedTuple):
    """A row of the table of verifiers that are asked about a rollout, by name: `score`, a part of the reward, or
    `second_verifier`."""

    key: str = ""
    """In the run's table; empty: the problem's own verifier."""
    share: float = 1.0
    """Of the rollouts, a sample that their seeds decide."""

    def takes(self, rollout: Rollout) -> bool:
        return self.share == 1 or derive(rollout.request.seed, SECOND) < self.share * 2**63


def warnings(table: Mapping[str, verifiers.Resolved]) -> list[str]:
    """What every step's line warns of: verifiers that run programs without isolation."""
    bare = [key for key, each in table.items() if each.isolated and each.settings.get("isolation") == "none"]
    return [f"{key}: programs run WITHOUT ISOLATION" for key in bare]


def item_of(
    problem: Problem, text: str, finish: str = "stop", num_tokens: int = 0, about_turns: Mapping[str, Any] = {}
) -> Item:
    """What a verifier is given of a completion of the problem; of an episode, what was said in its turns too."""
    meta = {**problem.meta, **about_turns} if about_turns else problem.meta
    return Item(text, problem.answer, problem.prompt, problem.id, finish, num_tokens, meta)


def told(verdict: Verdict) -> dict[str, float | str | None]:
    """What tables show of a verdict."""
    return {name: getattr(verdict, name) for name in ("score", "status", "extracted", "reason")}


def _pool(table: Mapping[str, verifiers.Resolved], workers: WorkersConfig, import_paths: Iterable[str]) -> Pool:
    limits = {"deadline": workers.deadline, "memory_mb": workers.memory_mb}
    return Pool(table, workers=workers.count, import_paths=import_paths, **limits)


class Verification:
    """Verifies rollouts in the pool of worker processes."""

    def __init__(
        self,
        table: Mapping[str, verifiers.Resolved],
        uses: Mapping[str, Mapping[str, VerifierUse]],
        workers: WorkersConfig,
        import_paths: tuple[str, ...] = (),
    ):
        """`uses` are of each source of problems."""
        self.pool, self.uses = _pool(table, workers, import_paths), uses

    def submit(self, rollout: Rollout, problem: Problem) -> dict[str, Future[Verdict]]:
        """Start every verifier that is asked about this rollout."""
        item = item_of(problem, rollout.text, rollout.finish, rollout.num_sampled, rollout.about_turns)
        asked = {name: use.key or problem.verifier for name, use in self.uses[problem.source].items()
                 if use.takes(rollout)}  # fmt: skip
        if (failure := rollout.failure) is not None:
            return {name: done(failure) for name in asked}  # also where the problem has no verifier: nobody else tells
        return {name: self.pool.submit(item, key, problem.solution) for name, key in asked.items() if key}

    def close(self) -> None:
        self.pool.close()


def done(verdict: Verdict) -> Future[Verdict]:
    """A verdict that is there already, as one to come."""
    future: Future[Verdict] = Future()
    future.set_result(verdict)
    return future


def resolve_one(verifier: Use, settings: Mapping[str, object] = {}) -> verifiers.Resolved:
    """What a recipe's `verifier:` means, here also as its YAML text. RecipeError in one line where it means nothing."""
    spec = parse_yaml(verifier, "verifier") if isinstance(verifier, str) and verifier.startswith("{") else verifier
    if settings:
        spec = {**(spec if isinstance(spec, dict) else {"use": spec}), **settings}
    _refuse_scorer(spec)
    try:
        return verifiers.resolve(spec, [str(Path.cwd())])
    except ValueError as error:
        raise RecipeError(" ".join(str(error).split())) from None


def verifier_label(verifier: Use, settings: Mapping[str, object] = {}) -> str:
    """What a verifier is called in tables."""
    return " ".join([str(verifier), *(f"{name}={value}" for name, value in settings.items())])


def check_reward_functions(asked: Iterable[tuple[verifiers.Resolved, Problem]], workers: WorkersConfig) -> None:
    """Try reward functions of other trainers (`as:`) on a problem each, in a worker. RecipeError for one that cannot be
    called, or that compares the completions of a call."""
    asked = [(resolved, problem) for resolved, problem in asked if "as" in resolved.settings]
    if not asked:
        return
    table = {str(number): reference_checks.alone(resolved) for number, (resolved, _) in enumerate(asked)}
    longer = workers.model_copy(update={"deadline": CALLS_OF_A_TRIAL * workers.deadline})
    with opened_pool(table, longer) as pool:
        futures = [
            pool.submit(item_of(problem, problem.solution or ""), key, is_reference=True)
            for key, (_, problem) in zip(table, asked)
        ]
        for (resolved, problem), future in zip(asked, futures):
            verdict = _verdict(future)
            if verdict.score != 1:
                named = f"{resolved.path} (as: {resolved.settings['as']})"
                raise RecipeError(f"verifier: {named} cannot judge {problem.id!r}: {verdict.reason}")


@contextmanager
def opened_pool(
    table: Mapping[str, verifiers.Resolved], workers: WorkersConfig, base: Path | None = None
) -> Iterator[Pool]:
    """A pool, closed at the end; the folder `base` and the current one are importable. RunError where its sandbox
    fails."""
    for line in warnings(table):
        print(f"r1lab: {line}", file=sys.stderr)
    try:
        with _pool(table, workers, [*([str(base)] if base else []), str(Path.cwd())]) as pool:
            yield pool
    except SandboxError as error:
        raise RunError(f"verifier: {error}") from None


def reference_table(table: Mapping[str, verifiers.Resolved]) -> dict[str, verifiers.Resolved]:
    """What a pool holds so that `submit_reference` can ask it: each verifier, and what judges its own references."""
    return {**table, **{f"reference/{key}": reference_checks.reference(each) for key, each in table.items()}}


def submit_reference(pool: Pool, problem: Problem, key: str) -> Future[Verdict]:
    """The verdict to come on the problem's solution or, where there is none, on an answer made of its reference."""
    name = key if problem.solution is not None else f"reference/{key}"
    return pool.submit(item_of(problem, problem.solution or ""), name, problem.solution, is_reference=True)


def verdicts_in_order(
    asked: Iterable[tuple[T, list[Future[Verdict]]]], workers: WorkersConfig
) -> Iterator[tuple[T, list[Verdict]]]:
    """Each with its verdicts, in the order they were submitted; the next is drawn only while less than a window is in
    flight."""
    waiting: deque[tuple[T, list[Future[Verdict]]]] = deque()
    ahead = 1
    for each in asked:
        waiting.append(each)
        while waiting and (len(waiting) > ahead * workers.count or all(future.done() for future in waiting[0][1])):
            what, verdicts = _finished(*waiting.popleft())
            ahead = ahead if all(verdict.has_failed for verdict in verdicts) else AHEAD_PER_WORKER
            yield what, verdicts
    yield from (_finished(*each) for each in waiting)


def told_failures(verdicts: Sequence[Verdict]) -> str:
    """How checks came to no verdict, and the last one's reason: `2 timed out, 1 crashed (no verdict within 5 s)`. Empty
    where all came to one."""
    failures = [(kind, verdict.reason) for verdict in verdicts if (kind := failure_of(verdict))]
    counts = Counter(kind for kind, _ in failures)
    told = ", ".join(f"{counts[kind]} {how}" for kind, how in FAILURES.items() if counts[kind])
    return f"{told} ({failures[-1][1].removeprefix(f'{failures[-1][0]}: ')})" if failures else ""


def _finished(what: T, futures: list[Future[Verdict]]) -> tuple[T, list[Verdict]]:
    return what, [_verdict(future) for future in futures]


def _verdict(future: Future[Verdict]) -> Verdict:
    try:
        return future.result()
    except (RecipeError, RunError):  # of a learned scorer, whose server or model is not there
        raise
    except Exception as error:  # an item that no worker can be sent: nested too deeply to be pickled
        return Verdict(None, "error", reason=f"it cannot be sent to a worker: {type(error).__name__}: {error}"[:500])
