"""An engine of one's own, named in the recipe by dotted path: the local engine, with its speed printed.

    python experiments/examples/own_engine.py [FOLDER]

What every engine promises: `r1lab/engines/protocol.py`. One of another library keeps the same methods and shares
nothing else with this one.
"""

import sys
import time
from collections.abc import Iterator

import r1lab
from r1lab.engines.local.engine import LocalEngine
from r1lab.records import Rollout


class TalkingEngine(LocalEngine):
    """Samples at most 32 completions at once and prints tokens a second after every batch of requests."""

    def __init__(self, model, tokenizer, **settings):
        super().__init__(model, tokenizer, **{**settings, "max_batch": 32})

    def completed(self) -> Iterator[Rollout]:
        start, tokens = time.monotonic(), 0
        for rollout in super().completed():
            tokens += len(rollout.completion_ids)
            yield rollout
        if tokens:
            print(f"engine: {tokens} tokens of version {self.version}, {tokens / (time.monotonic() - start):.0f}/s")


RECIPE = {
    "name": "talking",
    "engine": {"kind": "own_engine:TalkingEngine"},
    "data": {"task": "addition", "size": 256},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 48,
    "prompts_per_step": 8,
    "learning_rate": 1e-4,
    "threads": 1,
    "steps": 2,
}

if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else "runs/own_engine"
    run = r1lab.train(RECIPE, f"out={folder}")
    print(run.path, [row["reward/mean"] for row in run.metrics])
