"""Where the steps of a verdict end among a completion's tokens. Not what they are worth (`objective.step_credit`).

A verifier reads text and says at which character a step ends; the token that wrote that character is the step's last.
"""

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import accumulate

from r1lab.errors import RunError
from r1lab.objective.step_credit import StepCredit
from r1lab.records import Rollout, Scored
from r1lab.rollout.renderer import Renderer
from r1lab_verifiers.verdict import Verdict


def with_steps(scored: Scored, credit: StepCredit | None, renderer: Renderer, truncated: str = "score") -> Scored:
    """The rollout with the steps that its credit reads, in tokens; the last one reaches the completion's end.

    RunError where a verdict has steps that nothing reads. Steps that are none of this text make it an error of the
    verifier that said them, which leaves the group.
    """
    said = {"verdict": scored.verdict, **scored.verdicts}
    told = {name: verdict.steps for name, verdict in said.items() if verdict is not None and verdict.steps is not None}
    source = credit.source if credit else None
    if unread := sorted(set(told) - {source}):
        raise RunError(
            f"the {unread[0] if unread[0] == 'verdict' else f'reward {unread[0]!r}'} of request "
            f"{scored.rollout.request.id} has steps, which no credit reads; set objective.credit: {{use: steps, "
            f"source: {unread[0]}}}, or take a verifier that returns none (addition_columns: {{steps: false}})"
        )
    told |= {name: raw for name, raw in scored.raw.items() if isinstance(raw, tuple)}  # a scorer's: the part reads them
    if source == "environment" and scored.rollout.turns and scored.reward is not None:
        return replace(scored, steps=steps_of_turns(scored.rollout))
    if source not in told or scored.reward is None:
        return scored
    if (truncated == "zero" and scored.rollout.is_truncated) or not scored.rollout.text:
        return replace(scored, steps=())
    steps, rollout = told[source], scored.rollout
    opening = renderer.verifier_text((), rollout.request.prompt_ids)
    ends = end_tokens(
        [end for end, _ in steps],
        rollout.text,
        len(rollout.completion_ids),
        lambda count: opening + renderer.text.visible(rollout.completion_ids[:count]),
        [len(renderer.text.visible((token,))) for token in rollout.completion_ids],
    )
    if ends is None or not all(math.isfinite(score) for _, score in steps):
        return _broken(scored, source, steps)
    ends = [*ends[:-1], len(rollout.completion_ids)] if ends else []
    return replace(scored, steps=tuple((end, score) for end, (_, score) in zip(ends, steps, strict=True)))


def steps_of_turns(rollout: Rollout) -> tuple[tuple[int, float], ...]:
    """Each turn of an episode as a step, with what its environment paid for it; the last reaches the end."""
    ends = [turn.end for turn in rollout.turns[:-1]] + [len(rollout.role)]
    return tuple((end, turn.reward or 0.0) for end, turn in zip(ends, rollout.turns, strict=True))


def end_tokens(
    ends: Sequence[int], text: str, num_tokens: int, text_of: Callable[[int], str], sizes: Sequence[int] = ()
) -> list[int] | None:
    """How many tokens it takes to write `text` up to each of the characters `ends`, which rise. None where the two do
    not align: an end is outside of the text or before the first token, or no number of tokens writes it.

    `text_of(count)` is the text of the first tokens; `sizes`, about how many characters each token writes, say where to
    look first. Where a character is made of several tokens it is written with the last of them: what is decoded before
    ends in another character.
    """
    if list(ends) != sorted(set(ends)):
        return None
    written, found, low = cache(text_of), [], 1
    about = list(accumulate(sizes, initial=len(text_of(0))))
    for end in ends:
        if not 0 < end <= len(text) or written(0).startswith(text[:end]):
            return None

        def reaches(count: int, begin: str = text[:end]) -> bool:
            return written(count).startswith(begin)

        guess = min(max(low, bisect.bisect_left(about, end)), num_tokens)
        if not (guess >= low and reaches(guess) and (guess == low or not reaches(guess - 1))):
            guess = low + bisect.bisect_left(range(low, num_tokens + 1), True, key=reaches)
        if guess > num_tokens:
            return None
        found.append(low := guess)
    return found


def _broken(scored: Scored, source: str, steps: Sequence[tuple[int, float]]) -> Scored:
    reason = f"its steps {str(steps)[:120]} are none of the completion's {len(scored.rollout.text)} characters"
    error = Verdict(None, "error", reason=reason)
    if source == "verdict":
        return replace(scored, verdict=error, reward=None, parts={})
    return replace(scored, verdicts={**scored.verdicts, source: error}, reward=None, parts={})
