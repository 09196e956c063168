"""Learned scorers in a verifier's place, for `r1lab verify` and `r1lab audit`: verdicts of a reward model, by a
threshold on its score, or of a judge. Not how they score (`r1lab.rollout.scorers`)."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from r1lab.errors import RecipeError
from r1lab.recipe import WorkersConfig
from r1lab.recipe.base import Use
from r1lab.recipe.data import PromptConfig
from r1lab.recipe.load import parse_yaml
from r1lab.recipe.scorers import JudgeScorerConfig, is_scorer, scorer_of
from r1lab.rollout import scorer_specs, verification
from r1lab.rollout.reward import Said, ScorerSpec, number_of
from r1lab_verifiers import Resolved, plugin
from r1lab_verifiers.pool.pool import Pool
from r1lab_verifiers.verdict import Item, Verdict

if TYPE_CHECKING:  # who verifies without a model waits for no torch
    from r1lab.rollout.scorers import Scorer


def resolve(verifier: Use, settings: Mapping[str, object] = {}) -> Resolved | ScorerSpec:
    """A verifier, or a scorer where `use` names one. RecipeError in one line where it means nothing."""
    spec = parse_yaml(verifier, "verifier") if isinstance(verifier, str) and verifier.startswith("{") else verifier
    if not isinstance(spec, dict) or not is_scorer(spec):
        return verification.resolve_one(spec, settings)
    named: dict[str, object] = {**spec, **settings}
    config = scorer_of(named, "verifier")
    if config.path is None and getattr(config, "server", None) is None:
        raise RecipeError(
            "verifier: a scorer has its model here by a path, a folder or hub id; a judge may have a server"
        )
    return scorer_specs.spec_of(config, PromptConfig(), Path.cwd(), {}, "verifier")


def needs_answer(judge: Resolved | ScorerSpec) -> bool:
    """Whether a gold answer must be there."""
    if isinstance(judge, ScorerSpec):
        return "{answer}" in judge.question
    return plugin.needs_answer(judge)


def settings_of(judge: Resolved | ScorerSpec) -> dict:
    """As a manifest or a page shows them."""
    return judge.config.model_dump(mode="json") if isinstance(judge, ScorerSpec) else dict(judge.settings)


class Judges:
    """Verifiers in a pool, and scorers in this process."""

    def __init__(self, pool: Pool, scorers: Mapping[str, tuple[ScorerSpec, "Scorer"]]):
        self.pool, self.batches = pool, {name: Batch(*each) for name, each in scorers.items()}

    def submit(self, item: Item, name: str, solution: str | None = None) -> Future[Verdict]:
        if name in self.batches:
            return self.batches[name].submit(item)
        return self.pool.submit(item, name, solution)


class Batch:
    """Items that a scorer has still to score: all at once when the first of their verdicts is asked for."""

    def __init__(self, spec: ScorerSpec, scorer: "Scorer"):
        self.spec, self.scorer = spec, scorer
        self.waiting: list[tuple[Item, Future[Verdict]]] = []

    def submit(self, item: Item) -> Future[Verdict]:
        is_judge = isinstance(self.spec.config, JudgeScorerConfig)
        if not item.prompt and (not is_judge or "{prompt}" in self.spec.question):
            reason = "no prompt, which the scorer reads; name its column: prompt=..."
            return verification.done(Verdict(None, "error", reason=reason))
        future = LazyVerdict(self)
        self.waiting.append((item, future))
        return future

    def flush(self) -> None:
        waiting, self.waiting = self.waiting, []
        for (_, future), said in zip(waiting, self.scorer.score([item for item, _ in waiting]), strict=True):
            future.set_result(verdict_of(said, self.spec))


class LazyVerdict(Future):
    """A verdict that is computed, with all that wait beside it, when it is asked for."""

    def __init__(self, batch: Batch):
        super().__init__()
        self.batch = batch

    def result(self, timeout: float | None = None) -> Verdict:
        if not self.done():
            self.batch.flush()
        return super().result(timeout)


def verdict_of(said: Said, spec: ScorerSpec) -> Verdict:
    """Right where a score is above the threshold; the score stands where an answer is read."""
    if isinstance(said, Verdict):
        return said
    assert not isinstance(spec.config, JudgeScorerConfig)  # a judge gives verdicts
    number = number_of(said, spec.config)
    is_probability = isinstance(said, tuple) or spec.config.label is not None
    threshold = spec.config.threshold if spec.config.threshold is not None else 0.5 if is_probability else 0.0
    is_right = number > threshold
    steps = said if isinstance(said, tuple) else None
    return Verdict(float(is_right), "correct" if is_right else "wrong", f"{number:.6g}", steps=steps)


@contextmanager
def opened(table: Mapping[str, Resolved | ScorerSpec], workers: WorkersConfig) -> Iterator[Judges]:
    """Everything of a table, ready to judge. RecipeError for a model that is no scorer."""
    scorers = {name: (each, _made(each)) for name, each in table.items() if isinstance(each, ScorerSpec)}
    verifiers = {name: each for name, each in table.items() if not isinstance(each, ScorerSpec)}
    with verification.opened_pool(verifiers, workers) as pool:
        yield Judges(pool, scorers)


def _made(spec: ScorerSpec) -> "Scorer":
    from r1lab.rollout.scorers import made

    try:
        return made(spec, spec.location or "")
    except RecipeError as error:
        raise RecipeError(f"verifier: {str(error).removeprefix('model: ')}") from None
