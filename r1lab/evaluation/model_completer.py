"""Completions of a model, sampled by an engine of this process. Verifies nothing (`r1lab.evaluation.completers`)."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path, PurePath

import torch

from r1lab import engines
from r1lab.engines import factory
from r1lab.engines.sync import send
from r1lab.errors import RecipeError
from r1lab.evaluation.completers import Completion, Verify
from r1lab.evaluation.evaluate import evaluate
from r1lab.policy import models
from r1lab.policy.frozen import FrozenModel
from r1lab.recipe import EngineConfig
from r1lab.recipe.data import PromptConfig
from r1lab.records import Asking, Rollout
from r1lab.rollout.renderer import renderer_of
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

WAVES = 4
"""Times the sequences that an engine decodes at once: what it is asked together where it fills places by itself."""


class ModelCompleter:
    """A model's completions, sampled by an engine of this process; it is loaded when the first one is asked for."""

    def __init__(self, location: str, prompt: PromptConfig, knobs: EngineConfig, *, threads: int = 0):
        """RecipeError where the engine that the knobs name, or such a model, cannot run here."""
        models.check(location)
        self.threads, self.knobs = threads, knobs
        self.engine: engines.Engine | None = None
        config = models.load_config(location)
        self.kind = factory.choose(knobs.kind, config).name
        context = factory.check(knobs.model_copy(update={"kind": self.kind}), config)
        self.policy = FrozenModel(location, "float32")
        self.renderer = renderer_of(self.policy.tokenizer, prompt, context or models.context_length(config))
        for note in self.renderer.notes:
            print(f"r1lab: {note}", file=sys.stderr)
        self.together = knobs.max_batch if self.kind == "local" else WAVES * knobs.max_num_seqs
        self.identity = {"model": shown(location), "weights": weights_digest(location), "engine": self.kind}

    def check(self, asking: Asking) -> None:
        try:
            self.renderer.check(asking.eval_set.problems, asking.sampling.max_new_tokens)
        except ValueError as error:
            raise RecipeError(str(error)) from None

    def prompt_of(self, problem: Problem) -> str | None:
        return self.renderer.prompt_text(problem)

    def misfit(self, problem: Problem, max_new_tokens: int) -> str | None:
        return self.renderer.misfit(problem, max_new_tokens)

    def answers(self, asking: Asking, rows: range, verify: Verify) -> Iterator[tuple[Completion, Verdict]]:
        def verified(rollout: Rollout, problem: Problem) -> Future[Verdict]:
            return verify(completion_of(rollout), problem)

        judged = evaluate(asking, rows, engine=self._opened(), renderer=self.renderer, verify=verified)
        return ((completion_of(rollout), verdict) for rollout, verdict in judged)

    def _opened(self) -> engines.Engine:
        if self.engine is None:
            if self.threads:
                torch.set_num_threads(self.threads)
            models.stops_at(self.policy.model, self.policy.tokenizer, self.renderer.turn_end)
            self.engine = factory.open_engine(self.kind, self.knobs, self.policy, self.renderer.verifier_text)
            send(self.engine, self.policy.named_tensors, 0, self.policy)
        return self.engine

    def close(self) -> None:
        if self.engine is not None:
            self.engine.close()


def completion_of(rollout: Rollout) -> Completion:
    ids = rollout.completion_ids
    return Completion(
        rollout.request.problem_id, rollout.request.id.index, rollout.text, rollout.finish, len(ids), tuple(ids)
    )


def shown(location: str) -> str:
    """A model's name for people: a hub id, or a folder's last name."""
    return PurePath(Path(location).resolve()).name if Path(location).is_dir() else location


def weights_digest(location: str) -> str:
    """A digest of every file that decides what a folder's model writes; of a hub id, the commit of its
    configuration."""
    folder = Path(location)
    if not folder.is_dir():
        return str(getattr(models.load_config(location), "_commit_hash", None))
    state = hashlib.blake2b(digest_size=12)
    for path in sorted(_weighty(folder)):
        state.update(f"{path.name}\n".encode())
        with path.open("rb") as file:
            while part := file.read(1 << 22):
                state.update(part)
    return state.hexdigest()


def _weighty(folder: Path) -> Sequence[Path]:
    kinds = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")
    return [path for path in folder.iterdir() if path.suffix in kinds and path.is_file()]
