"""Episodes of a server's model, in text: the server is asked for one turn after the other, the world answers between.

What was said goes out as messages of a chat, or as text behind the prompt. The server tokenises, so nothing here is
exact to the token: a limit of observed tokens counts so many characters each. How runs play episodes is
`r1lab.rollout.episode`, and what a world answers `r1lab.environments`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from r1lab.environments.host import World
from r1lab.environments.pool import Answer, Broken
from r1lab.environments.tools import cut
from r1lab.errors import RecipeError
from r1lab.evaluation.completers import Completion
from r1lab.records import Finish, Request, RequestId, Rollout, Sampling, TurnRecord
from r1lab.rollout import environment
from r1lab.rollout.bridge import PLACE, frame_of
from r1lab.rollout.environment import Worlds
from r1lab.rollout.episode import with_words
from r1lab.rollout.renderer import Renderer, opening_of
from r1lab.seeds import derive
from r1lab_data import Problem

CHARACTERS_OF_A_TOKEN = 4
"""By which an observation's length is limited, where the server alone knows its tokens."""
Said = Sequence[dict[str, str]]
"""Messages after the problem's own: {role, content}, the model's turns and what was observed."""
Ask = Callable[[Problem, int, Sampling, int, Said], Completion]


class ServedEpisodes:
    """Plays episodes one at a time, from any thread."""

    def __init__(self, worlds: Worlds, renderer: Renderer):
        """RecipeError for a frame within the model's own message, which no chat endpoint continues."""
        self.worlds, self.host, self.frames = worlds, worlds.host(), {}
        for name, config in worlds.environments.items():
            resolved = environment.resolved(config)
            if renderer.template == "chat" and config.frame is not None:
                raise RecipeError("--server: environment.frame stands in the model's own message; take template plain")
            if renderer.template != "chat":
                try:
                    self.frames[name] = frame_of(renderer, resolved.role, config.frame)
                except ValueError as error:
                    raise RecipeError(str(error)) from None

    def tools_of(self, problem: Problem) -> list[dict[str, Any]]:
        """Schemas of the tools that a chat template is told of."""
        return [tool.schema for tool in environment.resolved(self.worlds.environments[problem.source]).tools]

    def text_of(self, problem: Problem, said: Said, prompt: str) -> str:
        """The next prompt: the problem's own, and what was said since."""
        frame, opening = self.frames[problem.source], opening_of(prompt)
        for number, each in enumerate(said):
            is_own = each["role"] == "assistant"
            text = each["content"] if number else each["content"].removeprefix(opening)  # which the prompt ends in
            prompt += text if is_own else frame.replace(PLACE, text)
        return prompt

    def play(self, ask: Ask, problem: Problem, name: RequestId, sampling: Sampling, seed: int) -> Completion:
        """One episode. `name` says which, `seed` is the evaluation's: its worlds are those of the same one by ids."""
        config = self.worlds.environments[problem.source]
        resolved = environment.resolved(config)
        purpose, row, index = name[:3]
        world_seed = derive(seed, f"{purpose}/environment", row)
        world = self.host.world(resolved, problem, world_seed, f"{row}/{index}", row * 31 + index)
        stops = tuple(each for each in resolved.stop_after if each not in sampling.all_stops)
        sampling = replace(sampling, stop_after=sampling.stop_after + stops)
        request = Request(name, problem.id, (), derive(seed, purpose, row, index), sampling)
        room = config.max_observation_tokens * CHARACTERS_OF_A_TOKEN
        return Play(request, problem, world, resolved.role, config.max_turns, room).to_its_end(ask)

    def close(self) -> None:
        self.host.close()


@dataclass
class Play:
    """One episode as it is played."""

    request: Request
    problem: Problem
    world: World
    role: str
    max_turns: int
    room: int
    """Characters that may still be observed."""
    said: list[dict[str, str]] = field(default_factory=list)
    turns: list[TurnRecord] = field(default_factory=list)
    num_tokens: int | None = 0
    """Sampled so far; None once the server did not say."""

    def to_its_end(self, ask: Ask) -> Completion:
        finish = self.begun(self.world.start().result())
        while finish is None:
            finish = self.turn(ask)
        if not self.has_failed:
            verdict = self.world.end().result()
            if isinstance(verdict, Broken):
                self.broken(verdict)
            elif verdict.get("verdict") is not None:
                self.note(verdict=verdict["verdict"])
        text = "\n".join(turn.info["text"] for turn in self.turns if "text" in turn.info)
        nothing = np.empty(0, np.float32)
        told = Rollout(self.request, (), nothing, nothing, nothing, finish, text, tuple(self.turns))
        index = self.request.id.index
        about = told.about_turns
        return Completion(self.problem.id, index, text, finish, self.num_tokens, None, about, told.failure)

    @property
    def has_failed(self) -> bool:
        return bool(self.turns) and bool(self.turns[-1].info.get("failed"))

    def begun(self, answer: Answer) -> Finish | None:
        if isinstance(answer, Broken):
            return self.broken(answer)
        if answer["observation"] is not None:
            self.problem = with_words(self.problem, self.heard(answer["observation"]))
        return None

    def turn(self, ask: Ask) -> Finish | None:
        """One turn and its answer; how the episode ended, or None."""
        number, most = len(self.turns), self.request.sampling.max_new_tokens
        seed = derive(self.request.seed, "turn", number) if number else self.request.seed
        sampling = replace(self.request.sampling, max_new_tokens=most - (self.num_tokens or 0))
        part = ask(self.problem, self.request.id.index, sampling, seed, self.said)
        if self.num_tokens is not None:
            self.num_tokens = None if part.num_tokens is None else self.num_tokens + part.num_tokens
        self.turns.append(TurnRecord(0, 0, None, {"text": part.text}))
        self.said.append({"role": "assistant", "content": part.text})
        if part.finish == "length":
            return "length"
        answer = self.world.step(part.text).result()
        if isinstance(answer, Broken):
            return self.broken(answer)
        self.note(**answer["info"])
        self.turns[-1] = replace(self.turns[-1], reward=answer["reward"])
        limits: dict[Finish, bool] = {
            "done": answer["done"], "turns": len(self.turns) >= self.max_turns,
            "length": (self.num_tokens or 0) >= most, "context": answer["observation"] is not None and self.room < 1,
        }  # fmt: skip
        ended: Finish | None = next((finish for finish, is_over in limits.items() if is_over), None)
        if answer["observation"] is not None:
            self.note(observation=answer["observation"])
            if ended is None:
                self.said.append({"role": self.role, "content": self.heard(answer["observation"])})
        return ended

    def heard(self, text: str) -> str:
        """An observation as far as there is room."""
        text = cut(text, self.room) if len(text) > self.room else text
        self.room -= len(text)
        return text

    def note(self, **info: Any) -> None:
        if not self.turns:
            self.turns.append(TurnRecord(0, 0))
        self.turns[-1] = replace(self.turns[-1], info={**self.turns[-1].info, **info})

    def broken(self, answer: Broken) -> Finish:
        """The world failed: the last action's fault, or its own."""
        self.note(verdict=answer.verdict, failed=True)
        return "done"
