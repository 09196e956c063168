"""Controls and noise: what replaces the problem's own verdict, in training only. Evaluation and the second opinion keep
the set's own verifier, and no other part of the reward is touched.

    train_verifier: {use: control, kind: random, rate: 0.27}        # right by chance, whatever was written
    train_verifier: {use: control, kind: shuffled}                  # judged against another problem's answer
    train_verifier: {use: control, kind: format, of: format}        # another verifier, which asks for a form
    train_verifier: {use: noisy, of: math, false_negative: 0.1, false_positive: 0.02}

`of` is a verifier, by default the problem's own (of the kind format: `format`). Chance is seeded by run, problem and
completion: a completion that is written twice is judged the same twice, as a flawed verifier judges it.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import r1lab_verifiers as verifiers
from r1lab.errors import RecipeError
from r1lab.records import Rollout
from r1lab.rollout.verification import SCORE, Verification, VerifierUse, done, item_of, key_of, resolve
from r1lab.seeds import derive
from r1lab_data import Problem
from r1lab_data.names import did_you_mean
from r1lab_verifiers.plugin import needs_answer
from r1lab_verifiers.verdict import Verdict

KINDS = {"random": ("rate",), "shuffled": ("of",), "format": ("of",)}
"""Of a control, with the settings that each reads."""
NOISE = ("of", "false_negative", "false_positive")
NAMES = ("control", "noisy")


class TrainVerifier:
    """What a recipe's `train_verifier` says, or nothing."""

    def __init__(self, setting: Any = None):
        """RecipeError where it says what cannot be."""
        settings = dict(setting) if isinstance(setting, Mapping) else {"use": setting}
        use = settings.pop("use", None)
        if setting is not None and use not in NAMES:
            raise RecipeError(
                f"train_verifier: {setting!r} is none; use {{use: control, kind: {' | '.join(KINDS)}}} or "
                f"{{use: noisy, false_negative, false_positive}}{did_you_mean(str(use), NAMES)}"
            )
        self.kind = self._kind(settings) if use == "control" else "noisy" if use else ""
        _refuse_unread(settings, self.kind)
        self.rate = _share(settings, "rate", 0.0)
        self.false_negative = _share(settings, "false_negative", 0.0)
        self.false_positive = _share(settings, "false_positive", 0.0)
        spec = settings.get("of", "format" if self.kind == "format" else None)
        refuse_elsewhere([("train_verifier.of", spec)])
        self.table = resolve([spec]) if spec is not None else {}
        self.key = key_of(spec) if spec is not None else ""

    def _kind(self, settings: dict[str, Any]) -> str:
        kind = settings.pop("kind", None)
        if kind not in KINDS:
            close = did_you_mean(str(kind), KINDS)
            raise RecipeError(f"train_verifier.kind: {kind!r} must be one of {', '.join(KINDS)}{close}")
        if kind == "random" and settings.get("rate") is None:
            raise RecipeError(
                "train_verifier.rate: missing; the share that is called right, such as the base model's own: `r1lab "
                "compare RECIPE --controls random` measures it, or give a number from 0 to 1"
            )
        return kind

    def check(
        self, sources: Mapping[str, Sequence[Problem]], paid: Collection[str], table: Mapping[str, verifiers.Resolved]
    ) -> None:
        """RecipeError where a control of these would be none; `paid` are sources whose reward has a score."""
        unjudged = [name for name in sources if self.kind and name not in paid]
        if unjudged:
            raise RecipeError(
                f"train_verifier: the reward of source {unjudged[0]!r} has no score, so no verdict can be replaced; "
                "leave it out, or pay a score"
            )
        for name, problems in sources.items() if self.kind == "shuffled" else ():
            for key in {self.key or problem.verifier for problem in problems}:
                if not needs_answer(table[key]):
                    raise RecipeError(
                        f"train_verifier.kind: shuffled, but {key} of source {name!r} reads no answer; take random"
                    )
            deranged(name, problems, 0)

    def verification(
        self,
        sources: Mapping[str, Sequence[Problem]],
        seed: int,
        table: Mapping[str, verifiers.Resolved],
        uses: Mapping[str, Mapping[str, VerifierUse]],
        *pool: Any,
    ) -> Verification:
        """What verifies rollouts, with this in the place of their own verdicts; `pool` are the further arguments of
        `Verification`."""
        if not self.kind:
            return Verification(table, uses, *pool)
        answers: dict[str, Any] = {}
        for name, problems in sources.items() if self.kind == "shuffled" else ():
            answers |= deranged(name, problems, derive(seed, f"train_verifier/{name}"))
        return TrainVerification(self, answers, seed, table, uses, *pool)

    def changed(self, verdict: Verdict, chance: float) -> Verdict:
        """What noise makes of a verdict; what could not be judged stays so."""
        is_right = verdict.score == 1.0
        if verdict.score is None or chance >= (self.false_negative if is_right else self.false_positive):
            return verdict
        score, status = (0.0, "wrong") if is_right else (1.0, "correct")
        return replace(verdict, score=score, status=status, reason=f"noise, it was {verdict.status}", steps=None)

    def by_chance(self, chance: float) -> Verdict:
        """A verdict that reads nothing of what was written."""
        score, status = (1.0, "correct") if chance < self.rate else (0.0, "wrong")
        return Verdict(score, status, reason="by chance")


class TrainVerification(Verification):
    """Verification whose verdict on the problem itself is a control's or a noisy one; all else is as it was."""

    def __init__(
        self,
        control: TrainVerifier,
        answers: Mapping[str, Any],
        seed: int,
        table: Mapping[str, verifiers.Resolved],
        uses: Mapping[str, Mapping[str, VerifierUse]],
        *pool: Any,
    ):
        """`answers` are those judged against instead, by the problem's id."""
        others = {source: {name: use for name, use in named.items() if name != SCORE} for source, named in uses.items()}
        super().__init__(table, others, *pool)
        self.control, self.answers, self.seed = control, answers, seed

    def submit(self, rollout: Rollout, problem: Problem) -> dict[str, Future[Verdict]]:
        return {SCORE: self._score(rollout, problem), **super().submit(rollout, problem)}

    def _score(self, rollout: Rollout, problem: Problem) -> Future[Verdict]:
        control = self.control
        if (failure := rollout.failure) is not None:  # no verifier was asked
            return done(failure)
        if control.kind == "random":
            return done(control.by_chance(chance_of(problem, rollout.text, self.seed)))
        asked = replace(problem, answer=self.answers[problem.id], solution=None) if self.answers else problem
        item = item_of(asked, rollout.text, rollout.finish, rollout.num_sampled, rollout.about_turns)
        future = self.pool.submit(item, control.key or problem.verifier, asked.solution)
        if control.kind != "noisy":
            return future
        chance = chance_of(problem, rollout.text, self.seed)
        return changed_future(future, lambda verdict: control.changed(verdict, chance))


def chance_of(problem: Problem, text: str, seed: int) -> float:
    """A number in [0, 1) for a completion of a problem, always the same one."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return derive(seed, f"train_verifier/{problem.id}/{digest}") / 2**63


def changed_future(future: Future[Verdict], change: Callable[[Verdict], Verdict]) -> Future[Verdict]:
    """The verdict to come, changed; cancelled with each other."""
    after: Future[Verdict] = Future()

    def settle(before: Future[Verdict]) -> None:
        if before.cancelled():
            after.cancel()
        elif after.set_running_or_notify_cancel():  # False once it was cancelled itself
            if (error := before.exception()) is not None:
                after.set_exception(error)
            else:
                after.set_result(change(before.result()))

    future.add_done_callback(settle)
    after.add_done_callback(lambda it: it.cancelled() and future.cancel())
    return after


def deranged(name: str, problems: Sequence[Problem], seed: int) -> dict[str, Any]:
    """For each problem of a source another one's answer, never one equal to its own. RecipeError where more than half
    of the answers are one."""
    groups: dict[str, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(json.dumps(problem.answer, sort_keys=True, default=str), []).append(problem)
    most = max(map(len, groups.values()), default=0)
    if 2 * most > len(problems):
        raise RecipeError(
            f"train_verifier.kind: shuffled, but {most} of the {len(problems)} answers of source {name!r} are the "
            "same: no other order gives each problem a wrong one; take random"
        )
    order = sorted(groups, key=lambda answer: derive(seed, answer))
    listed = [problem for answer in order for problem in groups[answer]]
    # Answers lie beside their equals: as far on as the largest group is long stands another one.
    return {problem.id: listed[at - most].answer for at, problem in enumerate(listed)}


def refuse_elsewhere(named: Iterable[tuple[str, Any]]) -> None:
    """RecipeError where something judges by a control or noise that is not training's own verdict."""
    for where, spec in named:
        use = spec.get("use") if isinstance(spec, Mapping) else spec
        if use in NAMES:
            raise RecipeError(
                f"{where}: {use} replaces the verdict in training alone; set it as train_verifier of an rl or reject "
                f"stage, and name here what judges"
            )


def _refuse_unread(settings: Mapping[str, Any], kind: str) -> None:
    reads = NOISE if kind == "noisy" else KINDS.get(kind, ())
    unread = [key for key in settings if key not in reads]
    if unread:
        close = did_you_mean(str(unread[0]), reads)
        raise RecipeError(
            f"train_verifier.{unread[0]}: {kind} reads {' and '.join(reads)} alone, besides its kind{close}"
            if kind != "noisy"
            else f"train_verifier.{unread[0]}: noisy reads {', '.join(reads)}{close}"
        )


def _share(settings: Mapping[str, Any], name: str, default: float) -> float:
    value = settings.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise RecipeError(f"train_verifier.{name}: {value!r} must lie in [0, 1]; it is a share")
    return float(value)
