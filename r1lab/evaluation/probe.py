"""`r1lab probe`: sample models on a set as training would, and forecast whether RL from each has signal.

The evaluations are those of `r1lab eval`, in a folder each and resumed like them; what follows from their verdicts is
`r1lab.evaluation.forecast`'s.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from r1lab.doctor import busy
from r1lab.errors import RecipeError
from r1lab.evaluation import runner, scores
from r1lab.evaluation.arguments import Asked, evaluation_spec
from r1lab.evaluation.forecast import SIZES, Forecast, Share, difficulties, forecast, mixed_shares, scores_of, solved
from r1lab.evaluation.runner import Evaluation, EvaluationSpec
from r1lab.recipe.base import digest
from r1lab.rollout import verification
from r1lab.run.files import atomic_file
from r1lab.seeds import derive
from r1lab_data import Problem
from r1lab_verifiers import Item, resolve

DEFAULT_N, DEFAULT_SIZE = 16, 8
DEFAULT_PROBLEMS = 256
"""Problems sampled of a larger set where no limit is asked for: the share of mixed groups is then known to some 0.06,
and a probe costs less than a few steps of the training that it may save."""
UNREADABLE = ("no_answer", "unparsable")


@dataclass(frozen=True)
class Probed:
    """One model's evaluation and forecast."""

    model: str
    figures: dict[str, Any]
    """An evaluation's, with `readable`, `format`, `solved`."""
    mixed: dict[int, Share]
    """Expected share of mixed groups by group size; the rest has zero variance."""
    forecast: Forecast
    path: Path

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        mixed = {str(size): asdict(share) for size, share in self.mixed.items()}
        zero = {str(size): 1 - share.value for size, share in self.mixed.items()}
        said = asdict(self.forecast)
        return {"model": self.model, "forecast": said, "mixed": mixed, "zero_variance": zero, "figures": self.figures}


@dataclass(frozen=True)
class Probe:
    """Several models on one set."""

    models: tuple[Probed, ...]
    path: Path
    """Folder with probe.json and an evaluation's folder a model."""

    def text(self) -> str:
        lines = [_text(each) for each in self.models]
        if len(self.models) > 1:
            best = max(self.models, key=lambda each: each.forecast.mixed.value)
            lines.append(f"most signal: {best.model}, {best.forecast.mixed} mixed")
        return "\n".join(lines)


def probe(
    models: Sequence[str],
    asked: Asked,
    *,
    size: int | None,
    out: Path | None,
    say: Callable[[str], None],
    keep: tuple[float, float] | None = None,
) -> Probe:
    """Evaluate each model and forecast; with `keep` also write the problems of such pass rates. RecipeError where an
    argument is wrong, before anything is written; RunError where it failed."""
    if not models and asked.completions is None:
        raise RecipeError("MODEL: missing; name one or several, such as a base model and its SFT checkpoint")
    if keep is not None and not 0 <= keep[0] <= keep[1] <= 1:
        raise RecipeError(f"--keep: {keep[0]:g} {keep[1]:g} are no least and greatest share, such as 0.2 0.8")
    asked = replace(asked, as_training=True)
    if asked.n is None and asked.completions is None:
        asked = replace(asked, n=DEFAULT_N)
    specs = [evaluation_spec(replace(asked, model=model)) for model in models or [None]]
    num = len(specs[0][0].eval_set.problems)
    if asked.completions is None and asked.source.get("limit") is None:
        specs = [(sampled(spec), origin) for spec, origin in specs]
    size = _size(size, asked, specs[0][0].n)
    own = [runner.identity(*each) for each in specs]
    folder = out or Path("probes") / f"{specs[0][0].eval_set.name}-{digest(own)}"
    names = _names(models or [str(next(iter(specs[0][1].identity.values())))])
    notes = [note for spec, _ in specs for note in spec.note["notes"]]
    notes += [busy.warning(getattr(origin, "threads", 1), "--threads 1") for _, origin in specs]
    for note in filter(None, dict.fromkeys(notes)):
        say(note)
    say(_cost(specs[0][0], num, len(specs)))
    probed = []
    for number, (name, (spec, origin)) in enumerate(zip(names, specs)):
        place = folder / f"{number}-{Path(name).name}"
        say(f"probing {name}")
        done = runner.evaluate(spec, origin, place, say)
        probed.append(_probed(name, spec, done, size))
        if keep is not None:
            say(_kept(spec.eval_set.problems, done, keep))
    text = json.dumps([each.plain() for each in probed], indent=1) + "\n"
    atomic_file(folder / "probe.json", lambda path: path.write_text(text, encoding="utf-8"))
    return Probe(tuple(probed), folder)


def _kept(problems: Sequence[Problem], done: Evaluation, keep: tuple[float, float]) -> str:
    """Write the problems whose share of right completions lies between the bounds; a line that says how many."""
    scores: dict[str, list[float]] = {}
    for row in done.rows:
        scores.setdefault(row["problem_id"], []).extend([] if row["score"] is None else [row["score"]])
    rates = {name: sum(score == 1 for score in given) / len(given) for name, given in scores.items() if given}
    rows = [
        {"id": problem.id, "prompt": problem.prompt, "answer": problem.answer,
         **({} if problem.solution is None else {"solution": problem.solution}),
         "pass_rate": rates[problem.id], "judged": len(scores[problem.id])}
        for problem in problems if problem.id in rates and keep[0] <= rates[problem.id] <= keep[1]
    ]  # fmt: skip
    text, path = "".join(json.dumps(row, default=str) + "\n" for row in rows), done.path / "problems.jsonl"
    atomic_file(path, lambda file: file.write_text(text, encoding="utf-8"))
    return f"{len(rows)} of {len(problems)} problems have a pass rate from {keep[0]:g} to {keep[1]:g}: {path}"


def sampled(spec: EvaluationSpec) -> EvaluationSpec:
    """On DEFAULT_PROBLEMS of its problems, drawn by the seed: the first of a sorted set are not like the others."""
    problems = spec.eval_set.problems
    if len(problems) <= DEFAULT_PROBLEMS:
        return spec
    chosen = Random(derive(spec.seed, "probe/problems")).sample(range(len(problems)), DEFAULT_PROBLEMS)
    return replace(spec, eval_set=replace(spec.eval_set, problems=[problems[at] for at in sorted(chosen)]))


def _cost(spec: EvaluationSpec, num: int, num_models: int) -> str:
    """What is about to be sampled, in one line."""
    problems = len(spec.eval_set.problems)
    some = f" (of {num:,}; --limit takes as many as it says)" if problems < num else ""
    each = f" for each of {num_models} models" if num_models > 1 else ""
    return (
        f"{spec.eval_set.name}: {problems:,} problems{some} x {spec.n} completions of at most "
        f"{spec.sampling.max_new_tokens:,} tokens: {problems * spec.n:,} completions{each}"
    )


def _names(models: Sequence[str]) -> list[str]:
    """The models as they were named; one that was named twice is counted."""
    return [
        name if models.count(name) == 1 else f"{name} ({models[: at + 1].count(name)})"
        for at, name in enumerate(models)
    ]


def _size(size: int | None, asked: Asked, n: int) -> int:
    """The group size of the forecast: the argument's, the recipe's, else 8. RecipeError where n cannot say it."""
    wanted = size
    if wanted is None and asked.recipe is not None:
        from r1lab.recipe import load

        plan = load.resolve(*load.read(asked.recipe, asked.overrides))
        wanted = [stage.group_size for stage in plan.stages if stage.kind == "rl"][-1]
    wanted = wanted or DEFAULT_SIZE
    if wanted < 2 or n < 2:
        raise RecipeError(f"--group-size {wanted} with n {n}: a group of one has no differences; give two at least")
    if wanted > n and (size is not None or asked.recipe is not None):
        raise RecipeError(
            f"--group-size: groups of {wanted} cannot be forecast from {n} completions a problem; give --n {wanted}"
        )
    return min(wanted, n)


def _probed(name: str, spec: EvaluationSpec, done: Evaluation, size: int) -> Probed:
    rows = done.rows
    by_scores = scores_of(rows)
    mixed = mixed_shares(by_scores, sorted({each for each in (*SIZES, size, spec.n) if each <= spec.n}), spec.seed)
    if not mixed:
        raise RecipeError(
            f"--on {spec.eval_set.name}: every verdict is an error, so nothing can be forecast; see {done.path}"
        )
    figures = {
        **done.figures,
        "readable": 1 - sum(row["status"] in UNREADABLE for row in rows) / len(rows),
        "format": _format(spec, rows),
        "solved": solved(by_scores),
    }
    meta_of = {problem.id: problem.meta for problem in spec.eval_set.problems}
    kinds = difficulties(rows, meta_of, min(size, max(mixed)))
    return Probed(name, figures, mixed, forecast(figures, mixed, kinds, size), done.path)


def _format(spec: EvaluationSpec, rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Share of completions in the form that the prompt r1-zero asks for; None where nothing asks for one."""
    if spec.prompt.get("template") != "r1-zero":
        return None
    with verification.opened_pool({"format": resolve("format")}, spec.workers) as pool:
        verdicts = [pool.submit(Item(row["text"], ""), "format") for row in rows]
        return sum(verdict.result().score == 1.0 for verdict in verdicts) / len(rows)


def _text(probed: Probed) -> str:
    figures = probed.figures
    kept = figures["solved"]
    lines = [
        f"{probed.model}",
        scores.text(figures),
        f"  readable  {figures['readable']:.1%} of the completions hold an answer"
        + ("" if figures["format"] is None else f"; {figures['format']:.1%} have the form <think>, <answer>"),
        f"  problems  {kept['never']:.0%} never solved, {kept['sometimes']:.0%} sometimes, {kept['always']:.0%} always",
        "  mixed     " + ", ".join(f"{share} of groups of {size}" for size, share in probed.mixed.items()),
        f"  zero var. {', '.join(f'{1 - share.value:.2f} of {size}' for size, share in probed.mixed.items())}",
        probed.forecast.sentence,
    ]
    return "\n".join(lines + [f"  - {remedy}" for remedy in probed.forecast.remedies])
