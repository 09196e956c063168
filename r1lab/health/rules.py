"""Rules that find what goes wrong in training, each with its remedy: rows of one stage's metrics in, a sentence out.

Pure: plain rows as metrics.jsonl has them, no file, no clock. Not what ends a run (`r1lab.run.stopping`,
`r1lab.feed.ErrorWindow`), nor how well it learned (`r1lab.report`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, takewhile
from statistics import fmean
from typing import Any, NamedTuple

Rows = Sequence[Mapping[str, Any]]
"""Of one stage in order, evaluations before the first step among them; what is missing is unknown."""
ROUNDING = 1e-9
"""Below it a gradient's norm, a spread of rewards or a distance is none."""
WINDOW_STEPS = 5
"""Steps whose mean is held against a limit."""
SIGNAL_STEPS = 10
"""Steps without signal that are an alarm."""
SECOND_STEPS, SECOND_JUDGED = 10, 30
"""Steps over which two verifiers are compared, and completions judged by both that it takes."""
TAUGHT_KL = 0.01
"""Nats a token between policy and reference from which on that teaches, whatever is paid (distillation)."""
MANY = 0.5
"""Share of completions from which on something is the reason that nothing was learned."""
LIMITS = {"error": 0.02, "timeout": 0.1, "abstained": 0.1}
"""Shares of verdicts without a verdict: the verifier's own failure, its deadline, its silence."""
MANY_LENIENT = 0.1
"""Share of completions that only the verifier that pays calls right."""
WIDE_GAP, GROWN_GAP, LEAST_GAP = 0.1, 10.0, 0.02
"""Nats between trainer and engine a token: too many, or so many times the first steps' and more than rounding makes
(some 1e-7 in float32, 0.01 to 0.06 where one of them computes in bfloat16)."""
COLLAPSED, STUCK, SOLVED = 0.1, 0.9, 0.9
"""Share of the first step's entropy that is left, share of groups that earn one reward, share of right completions from
which on that is no fault."""
SUNK, SUNK_STUCK = 0.5, 0.8
"""The first two where no more completions are right than at the start."""
RUNAWAY = 2.0
"""Times the first steps' length."""


class HealthRule(NamedTuple):
    """What is watched for, and the function that finds it."""

    about: str
    judge: Callable[[Rows, int], str | None]
    """A sentence with its remedy, empty where nothing is wrong, None where it cannot be judged yet: it looks at so many
    steps."""
    steps: int = WINDOW_STEPS
    is_relative: bool = False
    """It compares with steps before, so that a stage of fewer steps says nothing at its end either."""


SIGNAL_KEYS = ("update/grad_norm", "reward/mean", "reward/std", "group/zero_variance")
"""Metrics that say whether there was signal."""


def is_sampled(row: Mapping[str, Any]) -> bool:
    """Whether the step sampled completions, as SFT and evaluations do not."""
    return row.get("reward/mean") is not None or row.get("completion/mean") is not None


def values(rows: Iterable[Mapping[str, Any]], key: str) -> Iterator[float]:
    return (row[key] for row in rows if row.get(key) is not None)


def recent(rows: Rows, key: str, steps: int = WINDOW_STEPS) -> float | None:
    """The mean of the last `steps` values; None where there are fewer."""
    known = list(islice(values(reversed(rows), key), steps))
    return fmean(known) if len(known) == steps else None


def at_start(rows: Rows, key: str, steps: int) -> float | None:
    """The mean of the first `steps` values; None before as many more are there to be compared with them."""
    known = list(islice(values(rows, key), 2 * steps))
    return fmean(known[:steps]) if len(known) == 2 * steps else None


def errors(rows: Rows, steps: int) -> str | None:
    """Checks of the problems' own verifier, or of another part of the reward, that came to no verdict."""
    shares = {key: recent(rows, key, steps) for key in _verdict_keys(rows)}
    for key, share in shares.items():
        kind = key.rpartition("/")[2]
        if share is not None and share >= LIMITS[kind]:
            part = key.removeprefix("verdict/").removesuffix(kind).rstrip("/")
            return f"{share:.0%} of the verdicts{f' of {part}' if part else ''} {UNJUDGED[kind]}"
    return "" if any(share is not None for share in shares.values()) else None


UNJUDGED = {
    "error": "are the verifier's own failures, which leave their groups: try it by itself (r1lab audit) and mend it",
    "timeout": "are timeouts, and each costs a whole deadline or more: look at these completions (r1lab report), mend "
    "what hangs on them, or lower the verifier's time limit",
    "abstained": "abstain (None), and their completions leave their groups: a verifier that judges some problems only "
    "is better a part of reward:",
}


def _verdict_keys(rows: Rows) -> list[str]:
    keys = [key for key in rows[-1] if key.startswith("verdict/")]
    return [key for kind in LIMITS for key in keys if key.rpartition("/")[2] == kind]


def truncation(rows: Rows, steps: int) -> str | None:
    share = recent(rows, "completion/truncated", steps)
    if share is None or share < MANY:
        return None if share is None else ""
    return f"{share:.0%} of the completions are cut off: {_to_the_end(rows)}"


def _to_the_end(rows: Rows) -> str:
    """What lets completions end; an episode is cut off by its turns too."""
    limits = "environment.max_turns or max_new_tokens" if "episode/turns" in rows[-1] else "max_new_tokens"
    return f"raise {limits}, or look at where they should end"


def engine_gap(rows: Rows, steps: int) -> str | None:
    """Trainer and engine part on the same tokens: what is trained is not what was sampled."""
    gap, first = recent(rows, "mismatch/mean", steps), at_start(rows, "mismatch/mean", steps)
    if gap is None or recent(rows, "rollout/staleness", 1):  # of weights a step apart it says how far they moved
        return None
    if gap < WIDE_GAP and (first is None or gap < max(LEAST_GAP, GROWN_GAP * first)):
        return ""
    return (
        f"trainer and engine differ by {gap:.2g} nats a token"
        + (f", {first:.2g} at the start" if first is not None else "")
        + ": look whether the engine gets every update's weights and computes in the trainer's precision, or set "
        "objective.correction: {use: tis, cap: 2.0}"
    )


def second_verifier(rows: Rows, steps: int) -> str | None:
    """Completions that only the verifier that pays calls right."""
    count = second_opinion(rows[-steps:])
    if count.judged < SECOND_JUDGED:
        return None
    if count.lenient < MANY_LENIENT * count.judged:
        return ""
    return (
        f"of {count.judged} completions judged twice, {count.lenient} are right to the verifier that pays and wrong to "
        "the second one: read some (r1lab rejudge RUN --verifier SECOND), then pay by the stricter one"
    )


class SecondOpinionCount(NamedTuple):
    """Completions judged by both verifiers, and how many of them only one calls right."""

    judged: int
    lenient: int
    """Right to the first, which pays, and not to the second."""
    strict: int


def second_opinion(rows: Rows) -> SecondOpinionCount:
    judged = [row for row in rows if row.get("second/judged")]
    lenient, strict = (
        round(sum(row["second/judged"] * (row.get(f"second/{kind}") or 0.0) for row in judged))
        for kind in ("lenient", "strict")
    )
    return SecondOpinionCount(int(sum(row["second/judged"] for row in judged)), lenient, strict)


def held_out(rows: Rows, steps: int) -> str | None:
    """The reward rises and a held-out set falls below its best evaluation, their intervals apart. Judged where there is
    an evaluation."""
    ends = ("eval/", "/avg")
    sets = [key[len(ends[0]) : -len(ends[1])] for key in rows[-1] if key.startswith(ends[0]) and key.endswith(ends[1])]
    told = [_fallen(rows, name, steps) for name in sets]
    return next(filter(None, told), "" if "" in told else None)


def _fallen(rows: Rows, name: str, steps: int) -> str | None:
    avg, low, high = (f"eval/{name}/{key}" for key in ("avg", "low", "high"))
    places = [place for place, row in enumerate(rows) if all(row.get(key) is not None for key in (avg, low, high))]
    if len(places) < 2 or next(values(rows, "reward/mean"), None) is None:
        return None
    last, best = places[-1], max(places, key=lambda place: rows[place][avg])
    until_then = list(values(rows[: best + 1], "reward/mean"))[-steps:]
    paid_then = fmean(until_then or islice(values(rows, "reward/mean"), steps))
    paid_now = fmean(islice(values(reversed(rows), "reward/mean"), steps))
    if rows[last][high] >= rows[best][low] or paid_now <= paid_then:
        return ""
    return (
        f"the reward rises ({paid_then:.3g} to {paid_now:.3g}) while {name} falls "
        f"({rows[best][avg]:.3f} after step {rows[best].get('step', 0)} to {rows[last][avg]:.3f}): read what is paid "
        "for (r1lab report), judge it by another verifier (second_verifier:), and keep the best step "
        f"(eval.keep_best: {avg})"
    )


def entropy(rows: Rows, steps: int) -> str | None:
    """The policy's entropy is gone, its groups earn one reward each, and the problems are not solved."""
    left, first = recent(rows, "policy/entropy", steps), next(values(rows, "policy/entropy"), None)
    stuck, right = recent(rows, "group/zero_variance", steps), recent(rows, "pass/share", steps)
    if left is None or first is None or stuck is None or right is None:
        return None
    began = at_start(rows, "pass/share", steps)
    is_gone = left <= COLLAPSED * first and stuck >= STUCK
    is_sinking = began is not None and right <= began and left <= SUNK * first and stuck >= SUNK_STUCK
    if right >= SOLVED or not (is_gone or is_sinking):
        return ""
    return (
        f"the policy's entropy fell from {first:.2g} to {left:.2g} nats a token while {right:.0%} of the completions "
        f"are right, and {stuck:.0%} of the groups earn one reward: nothing new is tried; go back to a checkpoint "
        "before, with a smaller learning_rate, objective.clip_high raised, or objective.entropy.coef above 0"
    )


def length(rows: Rows, steps: int) -> str | None:
    """Completions grow and are no more often right."""
    now, first = recent(rows, "completion/mean", steps), at_start(rows, "completion/mean", steps)
    if now is None or first is None:
        return None
    scores = [(recent(rows, key, steps), at_start(rows, key, steps)) for key in ("pass/share", "reward/part/score")]
    gained = any(a is not None and b is not None and a > b + ROUNDING for a, b in scores)
    if now < RUNAWAY * first or gained:
        return ""
    return (
        f"completions grew from {first:.0f} to {now:.0f} tokens and are no more often right: see what they are filled "
        "with (r1lab report), then pay for brevity (reward: {soft_overlong: 1}) or take what pays for length out of "
        "the reward"
    )


def steps_without_signal(rows: Rows) -> int:
    """The last steps in a row that had no gradient, or in all of which every completion earned the same. A
    demonstration in a group that no completion equals is a signal."""
    backwards = rows[::-1]
    silent = takewhile(lambda row: (row.get("update/grad_norm") or 0.0) < ROUNDING, backwards)
    equal = takewhile(lambda row: _has_one_reward(row) and _paid(row) == _paid(backwards[0]), backwards)
    return max(len(list(silent)), len(list(equal)))


def signal_rows(rows: Rows) -> Iterator[Mapping[str, Any]]:
    """The steps that `steps_without_signal` counts among: those that sample and learn."""
    return (row for row in rows if is_sampled(row) and row.get("update/grad_norm") is not None)


def _has_one_reward(row: Mapping[str, Any]) -> bool:
    mixed = row.get("group/zero_variance")
    is_taught = (row.get("policy/kl_ref") or 0.0) >= TAUGHT_KL
    return not is_taught and (row.get("reward/std") or 0.0) < ROUNDING and (mixed is None or mixed == 1)


def _paid(row: Mapping[str, Any]) -> float:
    return round(row.get("reward/mean") or 0.0, 9)


def no_signal(rows: Rows, steps: int) -> str | None:
    """Rewards that never differ: nothing is learned from them."""
    learned = list(signal_rows(rows))
    if not learned or len(learned) < steps:
        return None
    count = steps_without_signal(learned)
    if count < steps:
        return ""
    lost = learned[-count:]
    if all(map(_has_one_reward, lost)) and len({_paid(row) for row in lost}) == 1:
        what = f"every reward was {_paid(lost[0]):.3g}"
    else:
        what = "rewards never differed within a group"
    where = f"in its last {count} steps" if count < len(learned) else f"in all {count} steps"
    where = "in its only step" if len(learned) == 1 else where
    return f"learned nothing: {where} {what}, and equal rewards teach nothing; {_reason(lost)}"


def _reason(rows: Rows) -> str:
    """The likeliest reason and its remedy."""
    hung = sum(_share(rows, f"verdict/{kind}") for kind in ("timeout", "crash", "error"))
    unread = _share(rows, "verdict/no_answer") + _share(rows, "verdict/unparsable")
    if hung >= MANY:
        return f"{hung:.0%} of the checks hung, crashed or failed: try the verifier by itself (r1lab audit)"
    if (cut := _share(rows, "completion/truncated")) >= MANY:
        return f"{cut:.0%} of the completions were cut off: {_to_the_end(rows)}"
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


def _share(rows: Rows, key: str) -> float:
    return fmean([row.get(key) or 0.0 for row in rows])


RULES = {
    "errors": HealthRule("checks that fail, hang or abstain", errors),
    "truncation": HealthRule("completions cut off", truncation),
    "engine_gap": HealthRule("trainer and engine apart", engine_gap, is_relative=True),
    "second_verifier": HealthRule("a second verifier that disagrees", second_verifier, SECOND_STEPS),
    "held_out": HealthRule("held-out problems falling while the reward rises", held_out, is_relative=True),
    "entropy": HealthRule("collapse of entropy", entropy, is_relative=True),
    "length": HealthRule("runaway length", length, is_relative=True),
    "no_signal": HealthRule("no signal", no_signal, SIGNAL_STEPS),
}
"""By name; of those that fire at one step the first is the likeliest cause of the others."""
