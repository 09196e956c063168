"""Hold each row of a run's metrics against the rules: which fire, and since when. Reads no file and prints nothing."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from r1lab.health.rules import RULES, is_sampled

AREAS = ("reward/", "pass/", "completion/", "episode/", "verdict/", "group/", "second/", "rollout/", "mismatch/",
         "update/", "policy/", "eval/")  # fmt: skip
"""Metrics that rules read; others are not kept."""


@dataclass(frozen=True)
class HealthAlarm:
    """A rule that fired in a stage."""

    rule: str
    stage: str
    step: int
    """At which it first fired."""
    text: str
    """What is wrong and the remedy, as it stood then or, in a diagnosis, when the rule last held."""
    last_step: int
    """At which it last held."""

    def line(self) -> str:
        return f"stage {self.stage}, step {self.step}: {self.rule}: {self.text}"


@dataclass(frozen=True)
class StageHealth:
    """What the rules say of a whole stage."""

    stage: str
    steps: int
    alarms: tuple[HealthAlarm, ...]
    """In the order in which they fired."""
    unjudged: tuple[str, ...]
    """Rules that had nothing to judge by, or too few steps."""
    silenced: tuple[str, ...] = ()
    """Rules that fired and that the recipe silences."""

    def told(self) -> str:
        """One line: how many rules fired, and which could not be judged."""
        fired = ", ".join(f"{alarm.rule} (step {alarm.step})" for alarm in self.alarms) or "no alarm"
        parts = [f"{fired} in {self.steps} step{'s' * (self.steps != 1)}"]
        parts += [f"silenced: {', '.join(self.silenced)}"] * bool(self.silenced)
        parts += [f"not judged: {', '.join(self.unjudged)}"] * bool(self.unjudged)
        return "; ".join(parts)

    def lasting(self) -> list[HealthAlarm]:
        """Alarms that held to the stage's end."""
        return [alarm for alarm in self.alarms if alarm.last_step == self.steps]


class HealthMonitor:
    """The rules on a run's rows as they come; every stage begins anew. What it says is a function of the rows alone, so
    a resumed run shows it the rows that are there."""

    def __init__(self) -> None:
        self.stage, self.rows = "", list[dict[str, Any]]()
        self.alarms: dict[str, HealthAlarm] = {}
        """Of the stage, by rule."""
        self.judged: set[str] = set()

    def observe(self, row: Mapping[str, Any]) -> tuple[dict[str, int | None], list[HealthAlarm]]:
        """The row's metrics, 1 under `health/<rule>` where a rule holds and null where it cannot be judged, and the
        alarms that are new. Empty of a row that samples nothing."""
        if (stage := str(row.get("stage"))) != self.stage:
            self.stage, self.rows, self.alarms, self.judged = stage, [], {}, set()
        self.rows.append({key: value for key, value in row.items() if key.startswith(AREAS) or key == "step"})
        if not is_sampled(row):
            return {}, []
        found, new = {}, []
        for name, rule in RULES.items():
            found[f"health/{name}"] = text = rule.judge(self.rows, rule.steps)
            if text is not None:
                self.judged.add(name)
            if text and self._fire(name, text, int(row.get("step") or len(self.rows))):
                new.append(self.alarms[name])
        return {key: None if text is None else int(bool(text)) for key, text in found.items()}, new

    def stage_over(self, off: Collection[str] = ()) -> StageHealth:
        """What is known once the stage has ended: of one of few steps, all of them are held against the rules."""
        sampled = [row for row in self.rows if is_sampled(row)]
        steps = int(sampled[-1].get("step", len(sampled))) if sampled else 0
        for name, rule in RULES.items():
            if sampled and len(sampled) < rule.steps and not rule.is_relative:
                text = rule.judge(self.rows, len(sampled))
                if text is not None:
                    self.judged.add(name)
                if text:
                    self._fire(name, text, steps)
        alarms = self.alarms.values()
        return StageHealth(
            self.stage,
            steps,
            tuple(alarm for alarm in alarms if alarm.rule not in off),
            tuple(name for name in RULES if name not in self.judged),
            tuple(alarm.rule for alarm in alarms if alarm.rule in off),
        )

    def _fire(self, name: str, text: str, step: int) -> bool:
        """Whether the alarm is a new one."""
        known = self.alarms.get(name)
        first = step if known is None else known.step
        self.alarms[name] = HealthAlarm(name, self.stage, first, text, step)
        return known is None


def diagnose(rows: Sequence[Mapping[str, Any]], off: Mapping[str, Collection[str]] = {}) -> list[StageHealth]:
    """What the rules say of a run's rows, stage by stage, those that sample nothing left out; `off` names the rules
    that are silenced, by stage."""
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        stages.setdefault(str(row.get("stage")), []).append(row)
    told = []
    for name, of_stage in stages.items():
        if any(map(is_sampled, of_stage)):
            monitor = HealthMonitor()
            for row in of_stage:
                monitor.observe(row)
            told.append(monitor.stage_over(off.get(name, ())))
    return told
