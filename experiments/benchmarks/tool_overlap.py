"""How much of a slow tool's time does sampling hide? Episodes with a tool of 50 ms beside an instant one.

    python experiments/benchmarks/tool_overlap.py [--rounds 7] [--json FILE]

64 episodes of four turns on the embedded model, 32 calls at once, one thread of torch; the two tools take turns, and
each round gives one ratio. Both sample the same tokens. What is compared is the median of the ratios.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from bars import finish, line, machine, row
from transformers import AutoModelForCausalLM, AutoTokenizer

from r1lab import embedded
from r1lab.engines.local.engine import LocalEngine
from r1lab.environments.resolve import ResolvedEnvironment
from r1lab.records import Request, RequestId, Sampling
from r1lab.rollout.bridge import Bridge
from r1lab.rollout.episode import EpisodePlan, Episodes
from r1lab.rollout.renderer import Renderer
from r1lab_data import Problem

DRAWS, GROUP, TURNS, SLOTS, TOOL_SECONDS = 8, 8, 4, 32, 0.05
MOST_RATIO = 1.3
Later = Callable[[Any], "Future[Any]"]


class AskingWorld:
    """Asks for another sum after every turn, once the tool has answered."""

    def __init__(self, later: Later):
        self.later, self.turns = later, 0

    def start(self) -> "Future[Any]":
        return at_once({"observation": None, "done": False, "reward": None, "info": {}})

    def step(self, text: str) -> "Future[Any]":
        self.turns += 1
        return self.later({"observation": f"{self.turns}23+456", "done": False, "reward": 0.0, "info": {}})

    def end(self) -> "Future[Any]":
        return at_once({"verdict": None})


class AskingHost:
    """Opens such worlds."""

    def __init__(self, later: Later):
        self.later = later

    def world(self, *_: Any) -> AskingWorld:
        return AskingWorld(self.later)


def at_once(value: Any) -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def measured(rounds: int) -> list[tuple[float, float]]:
    """Seconds of all episodes with the instant and with the slow tool, a pair a round."""
    torch.set_num_threads(1)
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(embedded.path()),
        AutoTokenizer.from_pretrained(embedded.path()),
    )
    engine = LocalEngine(model, tokenizer)
    engine.sync(((name, weight.detach()) for name, weight in model.named_parameters()), 0)
    renderer = Renderer(tokenizer, format="Q: {prompt}\nA:")
    problems = {f"p{n}": Problem(f"p{n}", f"{n}{n}1+34{n}", "1", source="s") for n in range(DRAWS)}
    requests = [
        Request(
            RequestId("t", draw, index),
            name,
            renderer.render(problem),
            100 * draw + index + 7,
            Sampling(max_new_tokens=200),
        )
        for draw, (name, problem) in enumerate(problems.items())
        for index in range(GROUP)
    ]
    plans = {"s": EpisodePlan(ResolvedEnvironment("x:Y"), TURNS, 100, Bridge(renderer))}

    def seconds(later: Later) -> float:
        host: Any = AskingHost(later)
        began = time.perf_counter()
        for _ in Episodes(plans, problems, renderer, host, 0).play(engine, requests):
            pass
        return time.perf_counter() - began

    with ThreadPoolExecutor(SLOTS) as threads:

        def slowly(value: Any) -> "Future[Any]":
            return threads.submit(lambda: (time.sleep(TOOL_SECONDS), value)[1])

        seconds(slowly)  # warm
        return [(seconds(at_once), seconds(slowly)) for _ in range(rounds)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    pairs = measured(asked.rounds)
    ratio = statistics.median(slow / instant for instant, slow in pairs)
    figures = [
        row("instant tool, s", statistics.median(instant for instant, _ in pairs), "<=", None, rounds=pairs),
        row("tool of 50 ms, s", statistics.median(slow for _, slow in pairs), "<=", None, **machine(["torch"])),
        row("median ratio", ratio, "<=", MOST_RATIO),
    ]
    print("\n".join(map(line, figures)))
    return finish(figures, asked.json)


if __name__ == "__main__":
    sys.exit(main())
