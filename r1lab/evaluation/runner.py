"""Evaluate one set with one origin of completions, in a folder of its own, resumed wherever it was killed: on command
(`evaluate`), as a stage, and during training, which has its own pool and lock (`completed`).

    manifest.json        specification, origin, software and machine; its hash names the folder
    parts/<block>.parquet     while it runs: a block of problems, whole or not there
    completions.parquet  one row a completion with its verdict and vote
    results.json         the figures (`r1lab.evaluation.scores`), with the manifest's hash

Blocks are completed one after the other, always the same ones, so a resumed evaluation equals an unbroken one byte for
byte. Where several processes share the work, rank 0 alone reads and writes. Not the arguments of the command
(`r1lab.evaluation.arguments`).
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import r1lab_verifiers as verifiers
from r1lab.distributed import ranks
from r1lab.errors import RecipeError
from r1lab.evaluation import difference as against
from r1lab.evaluation.completers import Completer, Completion
from r1lab.evaluation.folder import COLUMNS, RESULTS, is_done, read_manifest, read_rows, write_rows
from r1lab.evaluation.majority import Voting
from r1lab.evaluation.scores import figures
from r1lab.recipe import WorkersConfig
from r1lab.recipe.base import digest
from r1lab.records import Asking
from r1lab.rollout import verification
from r1lab.rollout.verification import item_of, version_of
from r1lab.run.files import PARTIAL, atomic_file, sweep
from r1lab.run.folder import COMPLETIONS, EVALUATIONS, LOCK, MANIFEST, locked
from r1lab.run.manifest import differences, surroundings
from r1lab.run.signals import terminable
from r1lab_data.loaders import digest as content_digest
from r1lab_verifiers.pool.pool import Pool
from r1lab_verifiers.verdict import Verdict

PARTS = "parts"
SAID_SECONDS = 10.0
"""Between two lines of progress, at least."""


@dataclass(frozen=True)
class EvaluationSpec(Asking):
    """What is evaluated: everything that decides the result but the origin of the completions."""

    table: Mapping[str, verifiers.Resolved]
    """Verifiers of the set's problems by key."""
    ks: Sequence[int]
    prompt: Mapping[str, Any]
    workers: WorkersConfig
    note: Mapping[str, Any]
    """What only informs: it is in the manifest and not in its hash."""
    base: Path | None = None
    """Folder of plug-ins, beside the current one."""

    @property
    def name(self) -> str:
        return self.eval_set.name

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All of it that makes two evaluations the same one, as plain data."""
        asked = [replace(problem, verifier="") for problem in self.eval_set.problems]  # who judges is another matter
        made_of = {
            "set": {"name": self.eval_set.name, "problems": len(asked), "content": content_digest(asked)},
            "verifiers": {key: version_of(each) for key, each in sorted(self.table.items())},
            "n": self.n,
            "seed": self.seed,
            "sampling": asdict(self.sampling),
            "prompt": self.prompt,
            "deadline": self.workers.deadline,
            "memory_mb": self.workers.memory_mb,
        }
        return json.loads(json.dumps(made_of, default=str))


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation left behind."""

    path: Path
    figures: dict[str, Any]
    """results.json."""
    against: dict[str, Any] | None = None
    """The paired comparison with another evaluation, where one was named."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One a completion, as in the parquet file."""
        return read_rows(self.path / COMPLETIONS)


def identity(spec: EvaluationSpec, origin: Completer) -> dict[str, Any]:
    """What makes two evaluations the same one, as plain data: what is evaluated, and whose completions."""
    return {**spec.identity, "origin": json.loads(json.dumps(origin.identity, default=str))}


def folder_of(spec: EvaluationSpec, origin: Completer, home: Path = Path()) -> Path:
    """The default folder of an evaluation, below that of the run whose model it is."""
    return home / EVALUATIONS / f"{spec.eval_set.name}-{digest(identity(spec, origin))}"


def evaluate(
    spec: EvaluationSpec, origin: Completer, out: Path, say: Callable[[str], None], other: Path | None = None
) -> Evaluation:
    """Complete, verify and write; go on where the folder stands. RecipeError where it is another evaluation's, or where
    `other`, an evaluation to compare with, is of another set or verifier."""
    identity_now = identity(spec, origin)
    if other is not None:
        against.refuse(identity_now, against.folder_of(other))
    _admit(out, identity_now)
    if not is_done(out / COMPLETIONS, digest(identity_now)):
        origin.check(spec)
    with terminable(f"finished blocks are in {out}: the same command goes on"), locked(out):
        _admit(out, identity_now)  # once more: another process may have held it in the meantime
        sweep(out)
        table = {**spec.table, **Voting(spec.table).table}
        pool = partial(verification.opened_pool, table, spec.workers, spec.base)
        note = {**surroundings(), "started": datetime.now(UTC).isoformat(timespec="seconds")}
        done = completed(spec, origin, out, pool, say, note)
    return done if other is None else replace(done, against=against.compare(out, against.folder_of(other)))


def completed(
    spec: EvaluationSpec,
    origin: Completer,
    out: Path,
    open_pool: Callable[[], AbstractContextManager[Pool]],
    say: Callable[[str], None],
    note: Mapping[str, Any],
) -> Evaluation:
    """Complete and verify what is missing in the folder, which nobody else writes, and put down the figures. All ranks
    of a run call it. `note` is what else the manifest says; the pool holds the spec's verifiers and those of its
    `Voting`."""
    identity_now = identity(spec, origin)
    key = digest(identity_now)
    if not ranks.first(is_done, out / COMPLETIONS, key):
        ranks.first(_note_start, out, identity_now, spec, origin, note)
        rows = _blocks(spec, origin, out, digest([identity_now, origin.together]), open_pool, say)
        ranks.first(write_rows, out / COMPLETIONS, rows, key)
    results = {"manifest": key, "set": spec.eval_set.name}
    results |= {name: identity_now[name] for name in ("origin", "sampling", "seed")}
    return Evaluation(out, ranks.first(_concluded, out, spec, results))


def _concluded(out: Path, spec: EvaluationSpec, results: dict[str, Any]) -> dict[str, Any]:
    """The results with the figures, on disk; the blocks go."""
    shutil.rmtree(out / PARTS, ignore_errors=True)
    results |= figures(read_rows(out / COMPLETIONS), name=spec.eval_set.name, seed=spec.seed, ks=spec.ks)
    text = json.dumps(results, indent=1) + "\n"
    atomic_file(out / RESULTS, lambda path: path.write_text(text, encoding="utf-8"))
    return results


def _admit(out: Path, identity_now: dict[str, Any]) -> None:
    if out.exists() and not out.is_dir():
        raise RecipeError(f"--out: {out} is a file; name a folder")
    if not (out / MANIFEST).exists():
        if any(each.name not in (LOCK, PARTS) and not each.name.endswith(PARTIAL) for each in out.glob("*")):
            raise RecipeError(f"--out: {out} is not an evaluation's folder (no {MANIFEST}) and not empty; name another")
        return
    there = read_manifest(out)["identity"]
    changed = differences(identity_now, there, "here", "in the folder")
    parts = [(name, identity_now[name], there.get(name) or {}) for name in ("sampling", "prompt")]
    news = [f"{name}.{key}" for name, here, theirs in parts for key in here if key not in theirs and theirs]
    if changed and all(line.startswith(tuple(f"{key}:" for key in news)) for line in changed):
        raise RecipeError(
            f"--out: {out} is the evaluation of an older version of r1lab, which lacks {', '.join(news)}; name another "
            "folder"
        )
    if changed:
        more = f"; {len(changed) - 3} more" if len(changed) > 3 else ""
        raise RecipeError(f"--out: {out} is another evaluation ({'; '.join(changed[:3])}{more}); name another folder")


def _note_start(
    out: Path, identity_now: dict[str, Any], spec: EvaluationSpec, origin: Completer, note: Mapping[str, Any]
) -> None:
    manifest = {
        "kind": "evaluation", "hash": digest(identity_now), "identity": identity_now, "together": origin.together,
        **spec.note, **note,
    }  # fmt: skip
    text = json.dumps(manifest, indent=1, default=str) + "\n"
    atomic_file(out / MANIFEST, lambda path: path.write_text(text, encoding="utf-8"))


def _blocks(
    spec: EvaluationSpec,
    origin: Completer,
    out: Path,
    settings: str,
    open_pool: Callable[[], AbstractContextManager[Pool]],
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """The rows of all blocks; those that are there are read, the others completed."""
    num, size = len(spec.eval_set.problems), max(1, origin.together // spec.n)
    blocks = [range(start, min(num, start + size)) for start in range(0, num, size)]
    paths = [out / PARTS / f"{number:05}.parquet" for number in range(len(blocks))]
    is_there = ranks.first(lambda: [is_done(path, settings) for path in paths])
    missing = [(block, path) for block, path, done in zip(blocks, paths, is_there) if not done]
    if len(missing) < len(blocks):
        say(f"{out}: goes on with block {len(blocks) - len(missing) + 1} of {len(blocks)}")
    if missing:
        voting = Voting(spec.table)
        began = told = time.monotonic()
        with open_pool() as pool:
            try:
                for count, (block, path) in enumerate(missing, 1):
                    ranks.first(write_rows, path, _block(spec, origin, block, pool, voting), settings)
                    if count < len(missing) and (now := time.monotonic()) - told >= SAID_SECONDS:
                        left, told = (now - began) / count * (len(missing) - count), now
                        say(f"{spec.eval_set.name}: {block.stop} of {num} problems, some {left:.0f} s left")
            finally:
                origin.close()
    return ranks.first(lambda: [row for path in paths for row in read_rows(path)])


def _block(spec: EvaluationSpec, origin: Completer, block: range, pool: Pool, voting: Voting) -> list[dict[str, Any]]:
    def verify(answer: Completion, problem):
        if answer.failure is not None:
            return verification.done(answer.failure)
        item = item_of(problem, answer.text, answer.finish, answer.num_tokens or 0, answer.about_turns)
        return pool.submit(item, problem.verifier, problem.solution)

    judged = list(origin.answers(spec, block, verify))
    groups = [judged[start : start + spec.n] for start in range(0, len(judged), spec.n)]
    problems = [spec.eval_set.problems[row] for row in block]
    asked = [
        (problem.verifier, [verdict.extracted for _, verdict in group]) for problem, group in zip(problems, groups)
    ]
    votes = [vote for each in ranks.first(voting.votes, pool, asked) for vote in each]
    prompts = {problem.id: origin.prompt_of(problem) for problem in problems}
    return [row_of(answer, verdict, vote, prompts[answer.problem_id]) for (answer, verdict), vote in zip(judged, votes)]


def row_of(answer: Completion, verdict: Verdict, vote: int | None, prompt: str | None) -> dict[str, Any]:
    """A row of the table: plain, and text that any file can hold."""
    own = {name: getattr(answer, name) for name in COLUMNS if hasattr(answer, name)}
    row = {**own, "prompt_text": prompt, **verification.told(verdict), "vote": vote}
    return {
        key: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for key, value in row.items()
    }
