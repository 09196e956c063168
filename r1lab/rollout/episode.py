"""Episodes of several turns between an engine and environments, stitched into one rollout each, token by token.

The next turn is a request with the same prompt and everything so far as forced ids; what the earlier turns' engine said
of them is put back afterwards. Which requests are computed together is a function of what was sampled, never of time:
two fixed cohorts (draw number mod 2) take turns, and one's next turn is submitted whole, in the order of its requests,
once all that it waits for is there, while the other samples. Not what a world answers (`r1lab.environments`), nor the
ids between turns (`r1lab.rollout.bridge`).
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np

from r1lab.engines.protocol import Engine
from r1lab.engines.text import Ending
from r1lab.environments.host import Host, World
from r1lab.environments.pool import Answer, Broken
from r1lab.environments.resolve import ResolvedEnvironment
from r1lab.records import Finish, Request, RequestId, Role, Rollout, TurnRecord
from r1lab.rollout.bridge import Bridge
from r1lab.rollout.renderer import Renderer
from r1lab.seeds import derive
from r1lab.timing import Watch
from r1lab_data import Problem

COHORTS = 2


@dataclass(frozen=True)
class EpisodePlan:
    """How the episodes of one source are played."""

    environment: ResolvedEnvironment
    max_turns: int
    max_observation_tokens: int
    """Of an episode, all its observations together."""
    bridge: Bridge
    is_free: bool = False
    """Each episode goes on by itself; which requests are computed together then depends on time."""


class Episodes:
    """Plays the episodes among requests; requests of problems without an environment are sampled as they are."""

    def __init__(
        self,
        plans: Mapping[str, EpisodePlan],
        problems: Mapping[str, Problem],
        renderer: Renderer,
        host: Host,
        seed: int,
    ):
        """`plans` by source; `seed` is the run's: every completion of a draw meets the same world."""
        self.plans, self.problems, self.renderer, self.host, self.seed = plans, problems, renderer, host, seed
        self.keys = count()

    def plan_of(self, request: Request) -> EpisodePlan | None:
        return self.plans.get(self.problems[request.problem_id].source)

    def opened(self, request: Request, plan: EpisodePlan) -> "Episode":
        purpose, draw, index, _ = request.id
        problem, seed = self.problems[request.problem_id], derive(self.seed, f"{purpose}/environment", draw)
        world = self.host.world(plan.environment, problem, seed, str(next(self.keys)), draw * 31 + index)
        return Episode(request, plan, world, problem, self.renderer)

    def play(
        self, engine: Engine, requests: Sequence[Request], watch: Watch | None = None
    ) -> Generator[Rollout, None, None]:
        """Every rollout as it finishes. Nothing else may be in flight; left early, nothing stays there."""
        episodes = {each.id: self.opened(each, plan) for each in requests if (plan := self.plan_of(each))}
        game = Game(engine, episodes, watch)
        try:
            over = [rollout for episode in episodes.values() if (rollout := game.waited(episode))]
            yield from over
            for rollout in over:
                del episodes[rollout.request.id]
            gone = {rollout.request.id for rollout in over}
            first = [episodes[each.id].next_request() if each.id in episodes else each
                     for each in requests if each.id not in gone]  # fmt: skip
            is_free = any(episode.plan.is_free for episode in episodes.values())
            yield from game.freely(first) if is_free else game.in_lockstep(first)
        finally:
            engine.abort(game.flying)
            for _ in engine.completed():
                pass


class Game:
    """Episodes that are played together with one engine."""

    def __init__(self, engine: Engine, episodes: dict[RequestId, "Episode"], watch: Watch | None):
        self.engine, self.episodes, self.watch = engine, episodes, watch
        self.flying: set[RequestId] = set()

    def in_lockstep(self, first: list[Request]) -> Iterator[Rollout]:
        """First turns together, then the turns of either cohort."""
        yield from self.sampled(first)
        cohorts = [[each for each in self.episodes.values() if each.draw % COHORTS == at] for at in range(COHORTS)]
        while any(cohorts):
            for place, cohort in enumerate(cohorts):
                ended = {episode.name: self.waited(episode) for episode in cohort}
                yield from (rollout for rollout in ended.values() if rollout)
                cohorts[place] = cohort = [episode for episode in cohort if ended[episode.name] is None]
                yield from self.sampled([episode.next_request() for episode in cohort])

    def freely(self, first: list[Request]) -> Iterator[Rollout]:
        """Each episode's next turn as soon as its world has answered."""
        left = dict(self.episodes)
        self.submit(first)
        while self.flying or left:
            for part in self.engine.completed():
                yield from self.landed(part)
                yield from self.moved(left)
            if left:
                with self.watch("tools") if self.watch else nullcontext():
                    wait([episode.waiting for episode in left.values()], return_when=FIRST_COMPLETED)
                yield from self.moved(left)

    def moved(self, left: dict[RequestId, "Episode"]) -> Iterator[Rollout]:
        """Those whose world has answered: over, or their next turn submitted."""
        in_engine = {name._replace(turn=0) for name in self.flying}
        batch = []
        for name, episode in list(left.items()):
            if name not in in_engine and episode.waiting.done():
                rollout = episode.wait()
                if rollout is None:
                    batch.append(episode.next_request())
                else:
                    del left[name]
                    yield rollout
        self.submit(batch)

    def sampled(self, batch: list[Request]) -> Iterator[Rollout]:
        """Sample a batch: turns go to their episodes, what is none is given back."""
        self.submit(batch)
        if batch:
            for part in self.engine.completed():
                yield from self.landed(part)

    def submit(self, batch: list[Request]) -> None:
        if batch:
            self.engine.submit(batch)
            self.flying.update(request.id for request in batch)

    def landed(self, part: Rollout) -> Iterator[Rollout]:
        """A turn goes to its episode; what is none is whole."""
        self.flying.discard(part.request.id)
        episode = self.episodes.get(part.request.id._replace(turn=0))
        if episode is None:
            yield part
        else:
            episode.take(part)

    def waited(self, episode: "Episode") -> Rollout | None:
        with self.watch("tools") if self.watch else nullcontext():
            return episode.wait()


class Episode:
    """One episode as it is played."""

    def __init__(self, request: Request, plan: EpisodePlan, world: World, problem: Problem, renderer: Renderer):
        own = request.sampling
        stops = own.stop_after + tuple(each for each in plan.environment.stop_after if each not in own.all_stops)
        self.first = replace(request, sampling=replace(own, stop_after=stops))
        self.plan, self.world, self.problem, self.renderer = plan, world, problem, renderer
        self.ids: list[int] = []
        self.role: list[int] = []
        self.logprobs: list[np.ndarray] = []
        self.version: list[np.ndarray] = []
        self.turns: list[TurnRecord] = []
        self.sampled = self.observed = 0
        self.finish: Finish | None = None
        self.waiting: Future[Answer] = world.start()

    @property
    def name(self) -> RequestId:
        return self.first.id

    @property
    def draw(self) -> int:
        return self.first.id.draw

    def next_request(self) -> Request:
        """The next turn's: everything so far is forced."""
        turn, first = len(self.turns), self.first
        if not turn:
            return first
        most = len(self.ids) + first.sampling.max_new_tokens - self.sampled
        return replace(
            first,
            id=first.id._replace(turn=turn),
            seed=derive(first.seed, "turn", turn),
            sampling=replace(first.sampling, max_new_tokens=most),
            forced_ids=tuple(self.ids),
            forced_role=tuple(map(Role, self.role)),
        )

    def take(self, part: Rollout) -> None:
        """Stitch a sampled turn behind what is there, and ask the world about it."""
        start = len(self.ids)
        new = part.completion_ids[start:]
        context = (*self.first.prompt_ids, *self.ids)
        self._add(new, Role.POLICY, part.engine_logprobs[start:], part.version[start:])
        self.sampled += len(new)
        text = self.renderer.verifier_text(new, context, Ending(part.finish, part.request.sampling))
        self.turns.append(TurnRecord(len(self.ids), len(self.ids), None, {"text": text}))
        if part.finish in ("length", "abort"):
            self._end(part.finish)
        else:
            self.waiting = self.world.step(text)

    def wait(self) -> Rollout | None:
        """Once the world has answered: the rollout where the episode is over, None where it goes on."""
        answer = self.waiting.result()
        if self.finish is None:
            if isinstance(answer, Broken):
                return self._broken(answer)
            self._hear(answer)
            if self.finish is None:
                return None
            answer = self.waiting.result()
        if isinstance(answer, Broken):
            return self._broken(answer)
        if answer.get("verdict") is not None:
            self._note(verdict=answer["verdict"])
        return self.rollout()

    def rollout(self) -> Rollout:
        """All turns as one."""
        assert self.finish is not None  # it is over
        empty = np.empty(0, np.float32)
        return Rollout(
            self.first,
            tuple(self.ids),
            np.array(self.role, np.int8),
            np.concatenate([empty, *self.logprobs]),
            np.concatenate([np.empty(0, np.int32), *self.version]),
            self.finish,
            "\n".join(turn.info["text"] for turn in self.turns if "text" in turn.info),
            tuple(self.turns),
        )

    def _hear(self, answer: dict[str, Any]) -> None:
        """What the world answered to the last turn, or said before the first."""
        if not self.turns:
            if answer["observation"] is not None:
                self._prepend(answer["observation"])
            return
        self.turns[-1] = replace(self.turns[-1], reward=answer["reward"])
        self._note(**answer["info"])
        limits: dict[Finish, bool] = {
            "done": answer["done"],
            "turns": len(self.turns) >= self.plan.max_turns,
            "length": self.sampled >= self.first.sampling.max_new_tokens,
        }
        ended: Finish | None = next((finish for finish, is_over in limits.items() if is_over), None)
        if ended is not None:
            if answer["observation"] is not None:
                self._note(observation=answer["observation"])  # for people: the model does not read it
            self._end(ended)
        elif answer["observation"] is not None:
            self._observe(answer["observation"])

    def _observe(self, text: str) -> None:
        """Append an observation, or end where it does not fit."""
        self._note(observation=text)
        bridged = self.plan.bridge.ids(text, self.ids, self.plan.max_observation_tokens - self.observed)
        if bridged is None:
            return self._end("context")
        ids, count = bridged
        version = self.version[-1][-1:] if len(self.version[-1]) else np.zeros(1, np.int32)
        self._add(ids, Role.CONTEXT, np.full(len(ids), np.nan, np.float32), np.repeat(version, len(ids)))
        self.observed += len(ids)
        self.turns[-1] = replace(self.turns[-1], observed=len(self.ids))
        if count:
            self._note(cut=count)

    def _prepend(self, text: str) -> None:
        """Put what the world says at first behind the problem's own words; where it is too long, its beginning."""
        room = len(self.first.prompt_ids) + self.plan.max_observation_tokens
        ids = self.renderer.render(with_words(self.problem, text))
        while len(ids) > room and text:
            text = text[: len(text) * room // (len(ids) + 1)]
            ids = self.renderer.render(with_words(self.problem, text)) if text else self.first.prompt_ids
        self.observed += max(0, len(ids) - len(self.first.prompt_ids))
        self.first = replace(self.first, prompt_ids=ids)

    def _add(self, ids: Sequence[int], role: Role, logprobs: np.ndarray, version: np.ndarray) -> None:
        self.ids += ids
        self.role += [int(role)] * len(ids)
        self.logprobs.append(logprobs.astype(np.float32))
        self.version.append(version.astype(np.int32))

    def _note(self, **info: Any) -> None:
        if not self.turns:
            self.turns.append(TurnRecord(0, 0))
        self.turns[-1] = replace(self.turns[-1], info={**self.turns[-1].info, **info})

    def _end(self, finish: Finish) -> None:
        self.finish, self.waiting = finish, self.world.end()

    def _broken(self, answer: Broken) -> Rollout:
        """The world failed: the last action's fault, or its own."""
        self.finish = self.finish or "done"
        self._note(verdict=answer.verdict, failed=True)
        return self.rollout()


def with_words(problem: Problem, text: str) -> Problem:
    """The problem whose last words to the model are these."""
    if isinstance(problem.prompt, str):
        return replace(problem, prompt=f"{problem.prompt}\n{text}" if problem.prompt else text)
    *before, last = problem.prompt
    return replace(problem, prompt=(*before, {**last, "content": f"{last['content']}\n{text}"}))
