"""How large the next step may be and when a stage ends: steps, budget, patience, hours, no signal. Also which step was
best."""

import math
import time
from collections import deque

from r1lab.distributed.ranks import first
from r1lab.errors import RecipeError
from r1lab.health.rules import SIGNAL_KEYS, signal_rows, steps_without_signal
from r1lab.recipe import AnyStageConfig
from r1lab.run.ledger import Ledger


class Stopping:
    """Decides how many prompts the next step has; 0 ends the stage."""

    def __init__(self, stage: AnyStageConfig, steps: int | None, longest_cost: float):
        self.stage, self.steps = stage, steps
        self.cost = longest_cost
        """Budget tokens of one problem: the longest possible in the first step, then the mean of the step before."""
        self.flops_cost = 0.0
        self.best: float | None = None
        self.best_step = 0
        self.watched: float | None = None
        self.waited = 0
        self.ended = ""
        self.signals: deque[dict] = deque(maxlen=stage.stop.no_signal or 0)
        """What the last steps say of their signal."""
        self.goal = goal_of(stage)
        self.seconds = 0.0
        self.since = time.monotonic()

    def num_prompts(self, step: int, ledger: Ledger) -> int:
        """Problems of step number `step` (from 1): a full step, one last smaller one that the budget pays for, or 0."""
        stop, full = self.stage.stop, self.stage.prompts_per_step
        if self.ended or (self.steps is not None and step > self.steps):
            return 0
        if stop.max_hours and first(self._elapsed) >= stop.max_hours * 3600:
            return self._end("max_hours")
        count = full
        if stop.max_tokens:
            count = min(count, math.floor((stop.max_tokens - ledger.budget) / self.cost))
        if stop.max_flops and self.flops_cost:
            count = min(count, math.floor((stop.max_flops - ledger.training_flops) / self.flops_cost))
        return count if count > 0 else self._end("budget")

    def spent(self, prompts: int, tokens: int, flops: int) -> None:
        """What a step of so many problems cost. A last smaller step ends the stage."""
        self.cost, self.flops_cost = max(1, tokens) / prompts, flops / prompts
        if prompts < self.stage.prompts_per_step:
            self._end("budget")

    def learned(self, row: dict) -> None:
        """Take note of a step's metrics: `stop.no_signal` ends a stage that learns nothing."""
        limit = self.stage.stop.no_signal
        self.signals.extend({key: row.get(key) for key in SIGNAL_KEYS} for row in signal_rows([row]))
        if limit and steps_without_signal(list(self.signals)) >= limit:
            self._end("no_signal")

    def evaluated(self, step: int, row: dict) -> bool:
        """Take note of an evaluation; True where it is the best so far by `eval.keep_best`."""
        stop, keep = self.stage.stop, self.stage.eval.keep_best
        if stop.metric and (value := _metric(row, stop.metric)) is not None:
            self.waited = 0 if self.watched is None or value > self.watched else self.waited + 1
            self.watched = value if self.watched is None else max(self.watched, value)
            if self.waited >= (stop.patience or 0):  # `metric` and `patience` go together
                self._end("patience")
        value = _metric(row, keep) if keep else None
        if value is None or (self.best is not None and value <= self.best):
            return False
        self.best, self.best_step = value, step
        return True

    def _end(self, reason: str) -> int:
        self.ended = reason
        return 0

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.since

    def state_dict(self) -> dict:
        keys = ("cost", "flops_cost", "best", "best_step", "watched", "waited", "ended", "goal")
        state = {key: getattr(self, key) for key in keys}
        return state | {"seconds": self._elapsed(), "signals": list(self.signals)}

    def load_state_dict(self, state: dict) -> None:
        """`ended` is decided anew only where steps or stop were changed since."""
        ended = state["ended"] if state["goal"] == self.goal else ""
        for key, value in state.items():
            setattr(self, key, value)
        self.signals = deque(state.get("signals", ()), maxlen=self.stage.stop.no_signal or 0)
        self.ended, self.goal, self.since = ended, goal_of(self.stage), time.monotonic()


def goal_of(stage: AnyStageConfig) -> dict:
    """The settings that decide where the stage ends, as plain data."""
    stop = stage.stop.model_dump()
    if stop["no_signal"] is None:  # which older runs, whose goals this is compared with, do not know
        del stop["no_signal"]
    return {"steps": stage.steps, "epochs": getattr(stage, "epochs", None), **stop}


def _metric(row: dict, name: str) -> float | None:
    if name not in row:
        known = ", ".join(key for key in row if key.startswith("eval/"))
        raise RecipeError(f"metric {name!r} is not evaluated; use one of {known}")
    return row[name]
