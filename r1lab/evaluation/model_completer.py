"""Completions of a model, sampled by an engine of this process: one on disk, and a policy in training. Verifies nothing
(`r1lab.evaluation.completers`)."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePath
from typing import Any

import torch

from r1lab.distributed import ranks
from r1lab.engines import Engine, factory
from r1lab.engines.sync import publish
from r1lab.errors import RecipeError
from r1lab.evaluation.completers import Completion, Verify
from r1lab.evaluation.evaluate import evaluate
from r1lab.policy import models
from r1lab.policy.frozen import FrozenModel
from r1lab.policy.policy import Policy
from r1lab.recipe import EngineConfig
from r1lab.recipe.data import PromptConfig
from r1lab.records import Asking, Rollout
from r1lab.rollout import environment
from r1lab.rollout.environment import Worlds
from r1lab.rollout.episode import Episodes
from r1lab.rollout.renderer import Renderer, renderer_of
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

WAVES = 4
"""Times the sequences that an engine decodes at once: what it is asked together where it fills places by itself."""


class EngineCompleter(ABC):
    """What an engine of this process samples for a renderer's prompts; the ranks of a run share the work."""

    renderer: Renderer
    own_work: Callable[[], AbstractContextManager] = nullcontext
    """Around a rank's own share."""
    worlds: Worlds | None = None
    """What answers the model's turns; None: a completion is one turn."""
    episodes: Episodes | None = None

    @abstractmethod
    def opened(self) -> Engine:
        """The engine, with the weights that are evaluated."""

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

        if self.worlds is not None:
            self.episodes = self.worlds.opened(asking.eval_set.problems, self.renderer, asking.seed, self.episodes)
        parts = {"engine": self.opened(), "renderer": self.renderer, "own_work": self.own_work}
        parts["episodes"] = self.episodes
        judged = evaluate(asking, rows, verify=verified, **parts)
        return ((completion_of(rollout), verdict) for rollout, verdict in judged)

    def close(self) -> None:
        """What answers is given back; a run's engine goes on with the run."""
        if self.episodes is not None:
            self.episodes.host.close()
        self.episodes = None


class PolicyCompleter(EngineCompleter):
    """A policy in training, sampled by the run's engine. It is what it was trained to, so it is identified by that."""

    def __init__(
        self,
        policy: Policy,
        engine: Engine,
        renderer: Renderer,
        knobs: EngineConfig,
        trained: dict[str, Any],
        own_work: Callable[[], AbstractContextManager] = nullcontext,
        worlds: Worlds | None = None,
    ):
        """`trained` says by what run, in which stage and to what step."""
        self.policy, self.engine, self.renderer, self.own_work = policy, engine, renderer, own_work
        self.worlds = worlds
        self.identity = {**trained, "updates": policy.version, **(worlds.identity if worlds else {})}
        self.together = asked_together(knobs) * ranks.size()

    def opened(self) -> Engine:
        publish(self.engine, self.policy)
        return self.engine


class ModelCompleter(EngineCompleter):
    """A model on disk or of the hub; it is loaded when the first completion is asked for."""

    def __init__(
        self,
        location: str,
        prompt: PromptConfig,
        knobs: EngineConfig,
        *,
        threads: int = 0,
        worlds: Worlds | None = None,
    ):
        """RecipeError where the engine that the knobs name, or such a model, cannot run here."""
        models.check(location)
        self.threads, self.knobs = threads, knobs
        self.engine: Engine | None = None
        config = models.load_config(location)
        self.kind = factory.choose(knobs.kind, config).name
        own = knobs.model_copy(update={"kind": self.kind})
        context = factory.check(own, config)
        self.policy = FrozenModel(location, "float32")
        self.renderer = renderer_of(self.policy.tokenizer, prompt, context or models.context_length(config))
        self.worlds = worlds
        notes = environment.equip(self.renderer, worlds.environments) if worlds else []
        for note in (*self.renderer.notes, *notes):
            print(f"r1lab: {note}", file=sys.stderr)
        self.together = asked_together(own)
        self.identity = {"model": shown(location), "weights": models.weights_digest(location), "engine": self.kind}
        self.identity |= worlds.identity if worlds else {}

    def opened(self) -> Engine:
        if self.engine is None:
            if self.threads:
                torch.set_num_threads(self.threads)
            models.stops_at(self.policy.model, self.policy.tokenizer, self.renderer.turn_end)
            self.engine = factory.open_engine(self.kind, self.knobs, self.policy, self.renderer.verifier_text)
            publish(self.engine, self.policy)
        return self.engine

    def close(self) -> None:
        super().close()
        if self.engine is not None:
            self.engine.close()


def asked_together(knobs: EngineConfig) -> int:
    """Completions that an engine of this kind is asked for at once: a wave, or some times its places."""
    return knobs.max_batch if knobs.kind == "local" else WAVES * knobs.max_num_seqs


def completion_of(rollout: Rollout) -> Completion:
    name, index = rollout.request.problem_id, rollout.request.id.index
    ids, episode = rollout.completion_ids, (rollout.about_turns, rollout.failure)
    return Completion(name, index, rollout.text, rollout.finish, rollout.num_sampled, ids, *episode)


def shown(location: str) -> str:
    """A model's name for people: a hub id, or a folder's last name."""
    return PurePath(Path(location).resolve()).name if Path(location).is_dir() else location
