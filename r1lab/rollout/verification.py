"""From a rollout to an item in the verifier pool. Not what training pays for the verdict (`r1lab.rollout.reward`)."""

import hashlib
import importlib.util
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path

import r1lab_verifiers as verifiers
from r1lab.errors import RecipeError
from r1lab.recipe import Workers
from r1lab.recipe.base import Use, digest
from r1lab.records import Rollout
from r1lab_data import Problem
from r1lab_verifiers.pool.pool import Pool
from r1lab_verifiers.verdict import Item, Verdict


def key_of(spec: Use) -> str:
    """The key of a verifier in the run's table: its name, with a digest of its settings where it has some."""
    return spec if isinstance(spec, str) else f"{spec.get('use')}#{digest(spec)}"


def resolve(specs: Iterable[Use]) -> dict[str, verifiers.Resolved]:
    """The run's table of verifiers. RecipeError for one that does not import or is of neither form."""
    table = {}
    for spec in specs:
        try:
            table[key_of(spec)] = verifiers.resolve(spec)
        except ValueError as error:
            raise RecipeError(f"verifier: {error}") from None
    return table


def version_of(resolved: verifiers.Resolved) -> dict:
    """What a manifest says of a verifier: where it stands, its settings, and a hash of its source."""
    module = importlib.util.find_spec(resolved.path.partition(":")[0])
    source = Path(module.origin).read_bytes() if module and module.origin else b""
    return {
        "path": resolved.path,
        "settings": dict(resolved.settings),
        "source": hashlib.blake2b(source, digest_size=6).hexdigest(),
    }


def warnings(table: Mapping[str, verifiers.Resolved]) -> list[str]:
    """What every step has to say of its verifiers: programs that run without walls."""
    bare = [key for key, each in table.items() if each.isolated and each.settings.get("isolation") == "none"]
    return [f"{key}: programs run WITHOUT ISOLATION" for key in bare]


def item_of(problem: Problem, text: str, finish: str = "stop", num_tokens: int = 0) -> Item:
    """What a verifier is given of a completion of the problem."""
    return Item(
        completion=text,
        answer=problem.answer,
        prompt=problem.prompt,
        problem_id=problem.id,
        finish=finish,
        num_tokens=num_tokens,
        meta=problem.meta,
    )


class Judge:
    """The pool, spoken to in rollouts."""

    def __init__(self, table: Mapping[str, verifiers.Resolved], workers: Workers, import_paths: tuple[str, ...] = ()):
        self.pool = Pool(
            table,
            workers=workers.count,
            deadline=workers.deadline,
            memory_mb=workers.memory_mb,
            import_paths=import_paths,
        )

    def __call__(self, rollout: Rollout, problem: Problem, verifier: str = "") -> Future[Verdict]:
        """The verdict of the problem's own verifier, or of another one of the table."""
        item = item_of(problem, rollout.text, rollout.finish, len(rollout.completion_ids))
        return self.pool.submit(item, verifier or problem.verifier, problem.solution)

    def close(self) -> None:
        self.pool.close()
