"""What a run's metrics warn of at its end, each with its remedy: a stage that learned nothing, checks that hang.
Plain rows in, sentences out; not a verdict on how well it learned."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

ROUNDING = 1e-9
"""Below it a gradient's norm, a spread of rewards or a distance is none."""
MANY = 0.5
"""Share of completions from which on something is the reason that nothing was learned."""
MANY_TIMEOUTS = 0.1


def warnings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each thing wrong, stage by stage. `rows` are those of metrics.jsonl; what is missing is unknown."""
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row.get("reward/mean") is not None:
            stages.setdefault(str(row.get("stage")), []).append(row)
    found = [rule(name, of_stage) for name, of_stage in stages.items() for rule in (_no_signal, _slow)]
    return [text for text in found if text]


def _no_signal(stage: str, rows: Sequence[Mapping[str, Any]]) -> str:
    gradients = [row["update/grad_norm"] for row in rows if row.get("update/grad_norm") is not None]
    if not gradients:  # a stage that only samples
        return ""
    rewards = {round(row["reward/mean"], 9) for row in rows}
    is_constant = len(rewards) == 1 and all((row.get("reward/std") or 0.0) < ROUNDING for row in rows)
    if max(gradients) >= ROUNDING and not is_constant:
        return ""
    what = f"every reward was {rewards.pop():.3g}" if is_constant else "rewards never differed within a group"
    steps = f"all {len(rows)} steps" if len(rows) > 1 else "its only step"
    return f"stage {stage} learned nothing: in {steps} {what}, and equal rewards teach nothing; {_remedy(rows)}"


def _remedy(rows: Sequence[Mapping[str, Any]]) -> str:
    """The likeliest reason first."""
    hung = _share(rows, "verdict/timeout") + _share(rows, "verdict/crash") + _share(rows, "verdict/error")
    unread = _share(rows, "verdict/no_answer") + _share(rows, "verdict/unparsable")
    if hung >= MANY:
        return f"{hung:.0%} of the checks hung, crashed or failed: try the verifier by itself (r1lab audit)"
    if (cut := _share(rows, "completion/truncated")) >= MANY:
        return f"{cut:.0%} of the completions were cut off: raise max_new_tokens, or look at where they should end"
    if unread >= MANY:
        return (
            f"in {unread:.0%} of the completions no answer could be read: look at what the model wrote (r1lab report), "
            "then at prompt and at what the verifier extracts"
        )
    if (right := _share(rows, "pass/share")) == 1:
        return "every completion was right: take harder problems"
    if right == 0:
        return (
            "no completion was right: take easier problems, worked examples in the prompt, a larger group_size, or an "
            "sft stage before; r1lab probe says what would give signal"
        )
    return "a larger group_size, or problems of middle difficulty, would mix right and wrong; r1lab probe says which"


def _slow(stage: str, rows: Sequence[Mapping[str, Any]]) -> str:
    timeouts = _share(rows, "verdict/timeout")
    if timeouts < MANY_TIMEOUTS:
        return ""
    return (
        f"{timeouts:.0%} of the verdicts of stage {stage} are timeouts, and each costs a whole deadline or more: look "
        "at these completions (r1lab report), mend what hangs on them, or lower the verifier's time limit"
    )


def _share(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    return fmean([row.get(key) or 0.0 for row in rows])
