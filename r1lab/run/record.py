"""The end of a step: its times, its row of metrics, its line on the console. Not what the figures are (`metrics`)."""

import resource
from collections.abc import Sequence

from r1lab.recipe import StageConfig
from r1lab.records import Settled
from r1lab.run.folder import RunFolder
from r1lab.run.metrics import MetricsFile
from r1lab.run.progress import Progress
from r1lab.timing import details


def times(seconds: dict[str, float], block: Sequence[Settled], stage: StageConfig, tokens: int, policy, feed) -> dict:
    """Of a step that learns: beside `seconds_of`, where the update's time went."""
    own = details(seconds, policy.watch, feed.watch, peak=policy.matmul_rate())
    return seconds_of(seconds, block, stage, tokens) | own


def seconds_of(seconds: dict[str, float], block: Sequence[Settled], stage: StageConfig, tokens: int) -> dict:
    """Seconds of each phase, budget tokens a second, and the share of verdicts that took over half of the deadline:
    the only figures that may differ between equal runs."""
    total = sum(seconds.values())
    members = [member for settled in block for member in settled.drawn.members if member.verdict is not None]
    slow = sum(member.verdict.seconds > stage.workers.deadline / 2 for member in members)
    return {f"time/{name}": value for name, value in seconds.items()} | {
        "time/total": total,
        "time/tokens_per_second": tokens / max(1e-9, total - seconds.get("evaluate", 0.0)),
        "time/near_deadline": slow / len(members) if members else None,
        "time/peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def record(run: RunFolder, metrics: MetricsFile, progress: Progress, stage: StageConfig, step: int, row: dict) -> None:
    """One row, one line; the manifest says whether a verdict was ever decided by the clock."""
    row = {"stage": stage.name, "step": step, **row}
    metrics.append(row)
    progress.step(row)
    if any(value for key, value in row.items() if key.endswith("/timeout")):
        run.note("a verdict was decided by the clock (timeout): such a run need not repeat bit for bit")
