"""Record a step: its times, its row of metrics, its lines on the console. Not the metrics themselves
(`r1lab.run.metrics`)."""

import resource
from collections.abc import Sequence

import torch

from r1lab.recipe import AnyStageConfig
from r1lab.records import Settled
from r1lab.run.folder import RunFolder
from r1lab.run.metrics import MetricsFile
from r1lab.run.progress import Progress


def seconds_of(seconds: dict[str, float], block: Sequence[Settled], stage: AnyStageConfig, tokens: int) -> dict:
    """Seconds of each phase, budget tokens a second, and the share of verdicts that took over half of the deadline:
    the only figures that may differ between equal runs."""
    total = sum(seconds.values())
    verdicts = [scored.verdict for settled in block for scored in settled.drawn.members if scored.verdict is not None]
    slow = sum(verdict.seconds > stage.workers.deadline / 2 for verdict in verdicts)
    return (
        {f"time/{name}": value for name, value in seconds.items()}
        | _gpu_peak()
        | {
            "time/total": total,
            "time/tokens_per_second": tokens / max(1e-9, total - seconds.get("evaluate", 0.0)),
            "time/near_deadline": slow / len(verdicts) if verdicts else None,
            "time/peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        }
    )


def _gpu_peak() -> dict[str, float]:
    """Most memory that tensors took on this process's GPU since the last time; nothing on a CPU."""
    if not torch.cuda.is_initialized():
        return {}
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return {"time/gpu_peak_memory_gib": peak}


def record(
    run: RunFolder, metrics: MetricsFile, progress: Progress, stage: AnyStageConfig, step: int, row: dict
) -> None:
    """Write the row, its line and a line for each new alarm; the manifest says whether a verdict was ever decided by
    the clock."""
    row = {"stage": stage.name, "step": step, **row}
    alarms = metrics.append(row)
    progress.step(row)
    for alarm in alarms:
        if alarm.rule not in stage.health.off:
            progress.say(f"warning: {alarm.line()}")
    if any(value for key, value in row.items() if key.endswith("/timeout")):
        run.note("a verdict was decided by the clock (timeout): such a run need not repeat bit for bit")
