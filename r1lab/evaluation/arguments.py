"""From the arguments of `r1lab eval` and `r1lab probe` to an evaluation's specification. Samples nothing
(`r1lab.evaluation.runner`).

A recipe, where one is named, gives the defaults: its last stage's prompt, verifier, lengths, stop strings and workers;
a set may then be called by its name under `eval.sets`, and one that overlaps the recipe's training data is refused. Of
a run's folder its own recipe does the same, with its sets, columns and n too; an overlap is then said, not refused.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from r1lab import plugin
from r1lab.doctor.hardware import num_cores
from r1lab.errors import RecipeError
from r1lab.evaluation import leaks, named_sets, of_run
from r1lab.evaluation.completers import Completer, FileCompleter
from r1lab.evaluation.runner import EvaluationSpec
from r1lab.evaluation.scores import checked_ks
from r1lab.evaluation.server_completer import KEY_VARIABLE, Served
from r1lab.policy.location import locate, trust_remote_code
from r1lab.recipe import AnyStageConfig, EngineConfig, RlStageConfig, WorkersConfig, load, messages
from r1lab.recipe.base import Use
from r1lab.recipe.data import PromptConfig, SourceConfig
from r1lab.recipe.load import Plan, parse_yaml
from r1lab.records import EvaluationSet, Sampling
from r1lab.rollout import environment, verification
from r1lab.rollout.gold_answers import Golds
from r1lab.rollout.problems import fitting, load_problems
from r1lab_data import Problem
from r1lab_data.names import file_hint

MAX_BATCH = 256


@dataclass(frozen=True)
class Asked:
    """Arguments of an evaluation; None is the recipe's or, without one, the default that is named."""

    model: str | None = None
    """`embedded`, a Hugging Face folder, a hub id; with `server` the name it serves; none with `completions`."""
    on: str | None = None
    """A set's name (`r1lab.evaluation.named_sets`), a task, a file, a folder, a URL or a hub id."""
    n: int | None = None
    """Completions a problem; default 1, or what the file of completions holds."""
    k: Sequence[int] = ()
    """The k of pass@k; default: powers of two and n."""
    temperature: float | None = None
    """Default 1; 0 is greedy."""
    top_p: float | None = None
    max_new_tokens: int | None = None
    """Default 512."""
    stop: Sequence[str] | None = None
    """Strings that end a completion and leave its text."""
    stop_after: Sequence[str] | None = None
    """Strings that end it and stay."""
    prompt: str | None = None
    """plain (the default), chat or r1-zero."""
    format: str | None = None
    """Of a plain prompt, with {prompt} in it."""
    examples: Sequence[Mapping[str, str]] | Path | None = None
    """Worked examples {prompt, solution}, or a YAML, JSON or JSONL file of them."""
    system_prompt: str | None = None
    prefill_think: bool | None = None
    template_variables: Mapping[str, Any] | None = None
    """Of a chat prompt's template."""
    verifier: Use | Callable | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the verifier."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """Keys of `r1lab.recipe.SourceConfig` that differ from the set's: path, split, columns, where, limit, settings
    ..."""
    on_bad_gold: str = "error"
    """Reference answers that the verifier cannot use: `error`, or `drop` them."""
    trust_remote_code: bool = False
    """Run code that the model brings along; without it such a model is refused."""
    recipe: str | Path | dict | None = None
    overrides: Sequence[str] = ()
    """`key.path=value`, of the recipe."""
    engine: str | None = None
    """auto (the default), local, vllm or a dotted path."""
    max_batch: int | None = None
    """Completions decoded at once by the local engine; default 256."""
    threads: int = 0
    """0: as many as cores."""
    completions: Path | None = None
    """A file of completions, instead of a model."""
    server: str | None = None
    """Base URL of an OpenAI-compatible server, instead of a model here."""
    key_env: str = KEY_VARIABLE
    """Environment variable that holds the server's key."""
    seed: int = 0
    workers: WorkersConfig | None = None
    as_training: bool = False
    """Ask as the recipe's RL stage does (its sampling, and its own data where `on` is not said), not as its `eval`."""


def evaluation_spec(asked: Asked) -> tuple[EvaluationSpec, Completer]:
    """The specification of an evaluation, and what completes its problems. RecipeError in one line for whatever is
    wrong, before anything is written."""
    if asked.n is not None and (type(asked.n) is not int or asked.n < 1):
        raise RecipeError(f"--n: {asked.n!r} is no whole number from 1 on")
    _refuse_unread(asked)
    plan, notes = _plan(asked)
    is_run = plan is not None and asked.recipe is None
    if asked.overrides and plan is None:
        raise RecipeError(f"{asked.overrides[0]!r} overrides a recipe, and none is named; give --recipe")
    base = plan.base if plan else Path.cwd()
    plugin.importable(base, Path.cwd())
    stage = (of_run.stage_of(plan) if is_run else _stage(plan, asked)) if plan else None
    if is_run and stage is not None:
        asked = _as_run(asked, stage)
    workers = asked.workers or (stage.workers if stage else WorkersConfig(count=num_cores()))
    is_own = is_run and stage is not None and asked.on in stage.eval.sets
    place = base if is_own or not is_run else Path.cwd()  # a file that is named now lies here, not beside the recipe
    name, source = _source(asked, stage, place, is_run=is_run)
    assert source.verifier is not None  # `_source` refuses a set without one
    key = verification.key_of(source.verifier)
    table = verification.resolve([source.verifier])
    golds = Golds(table, asked.on_bad_gold, workers)
    is_whole = verification.is_reward_function(source.verifier)
    read = partial(
        load_problems, name=name, verifier=key, base=place, key=f"--on {name}", is_whole=is_whole, notes=notes
    )
    source, problems = _problems(source, read, is_borrowed=is_run and not asked.source)
    golds.try_plug_ins({name: problems}, base=base)
    eval_set = EvaluationSet(name, golds.usable(name, problems))
    if plan and not asked.as_training and not (is_own and not asked.source and not asked.overrides):
        _refuse_leaks(eval_set, source, plan, notes if is_run else None)
    sampling = _sampling(asked, stage)
    if asked.completions is None:
        checked_ks(asked.k, asked.n or 1)
    if asked.trust_remote_code or (stage is not None and stage.trust_remote_code and not is_run):
        trust_remote_code()
    worlds = environment.worlds_of(stage, name, source, workers, (str(base), str(Path.cwd())))
    origin, prompt = _origin(asked, stage, base, worlds)
    why = partial(origin.misfit, max_new_tokens=sampling.max_new_tokens)
    eval_set = replace(eval_set, problems=fitting(f"--on {name}", source, eval_set.problems, why, golds.notes))
    n = asked.n or (origin.least if isinstance(origin, FileCompleter) else 1)
    if is_run and plan and stage:
        notes.insert(
            0, _told_run(asked, plan, stage, source, f"{name}, n {n}, prompt {prompt.template}, verifier {key}")
        )
    note = {"notes": [*notes, *golds.notes], "recipe": plan.name if plan else None, "run": _run_of(asked.model)}
    sampling = Sampling() if isinstance(origin, FileCompleter) else sampling
    plain = {} if isinstance(origin, FileCompleter) else prompt.model_dump(mode="json")
    asking = (eval_set, n, asked.seed, sampling)
    return EvaluationSpec(*asking, table, checked_ks(asked.k, n), plain, workers, note, base), origin


OF_PROMPT = ("prompt", "format", "examples", "system_prompt", "prefill_think", "template_variables")
OF_SAMPLING = ("temperature", "top_p", "max_new_tokens", "stop", "stop_after")
OF_MODEL = ("engine", "max_batch", "threads", "trust_remote_code")
OPTIONS = {"system_prompt": "system", "template_variables": "template"}
"""Fields whose option is called otherwise."""


def _refuse_unread(asked: Asked) -> None:
    """RecipeError for what says how completions are made where nothing reads it."""
    if asked.completions is not None:
        unread, why = (*OF_SAMPLING, *OF_PROMPT, *OF_MODEL, "key_env"), "--completions are there already"
    elif asked.server is not None:
        unread, why = OF_MODEL, "the server has the model; what it needs is said where it is started"
    else:
        unread, why = ("key_env",), "goes with --server"
    for name in unread:
        if getattr(asked, name) != Asked.__dataclass_fields__[name].default:
            raise RecipeError(f"--{OPTIONS.get(name, name).replace('_', '-')}: {why}; leave it out")


def _plan(asked: Asked) -> tuple[Plan | None, list[str]]:
    """The recipe that is named or, of a run's folder, its own; and what is to be said of it."""
    if asked.recipe is not None:
        return load.resolve(*load.read(asked.recipe, asked.overrides)), []
    if asked.as_training or asked.server is not None:
        return None, []
    try:
        return of_run.plan_of(asked.model, asked.overrides), []
    except RecipeError as error:
        if asked.on is None or asked.overrides:
            raise
        return None, [f"without the run's settings: {error}"]


def _as_run(asked: Asked, stage: AnyStageConfig) -> Asked:
    """The arguments with what the run's stage says in place of what they leave open: the set, n, threads."""
    on = asked.on
    if on is None and len(stage.eval.sets) != 1:
        has = f"several sets, {', '.join(stage.eval.sets)}" if stage.eval.sets else "no held-out sets (eval.sets)"
        raise RecipeError(f"--on: missing; the run {asked.model} has {has}; name one, or a task, a file or a hub id")
    on = next(iter(stage.eval.sets)) if on is None else on
    return replace(asked, on=on, n=asked.n or stage.eval.n, threads=asked.threads or stage.threads)


def _told_run(asked: Asked, plan: Plan, stage: AnyStageConfig, source: SourceConfig, settings: str) -> str:
    columns = ", ".join(f"{role}={column}" for role, column in source.columns.items())
    return (
        f"{asked.model}: as the run says (recipe {plan.name}, stage {stage.name}), where no option does: set {settings}"
        + (f", columns {columns}" if columns else "")
    )


def _problems(
    source: SourceConfig, read: Callable[[SourceConfig], list[Problem]], *, is_borrowed: bool
) -> tuple[SourceConfig, list[Problem]]:
    """The set's problems, and how they were read: a file not laid out as the run's has columns of the usual names."""
    try:
        return source, read(source)
    except RecipeError:
        if not is_borrowed or source.path is None or not source.columns:
            raise
        usual = source.model_copy(update={"columns": {}, "answer_format": "plain"})
        with suppress(RecipeError):
            return usual, read(usual)
        raise


def _stage(plan: Plan, asked: Asked) -> AnyStageConfig:
    """The stage whose settings hold: the last one, or the last of RL."""
    if not asked.as_training:
        return plan.stages[-1]
    of_rl = [stage for stage in plan.stages if stage.kind == "rl"]
    if not of_rl:
        raise RecipeError(f"--recipe {plan.name}: has no stage of kind rl; probe with --on SET instead")
    return of_rl[-1]


def _source(asked: Asked, stage: AnyStageConfig | None, base: Path, *, is_run: bool) -> tuple[str, SourceConfig]:
    """The set's name and source, its verifier resolved: the argument's, its own, else the recipe's."""
    named = dict(stage.eval.sets) if stage is not None else {}
    if asked.as_training and stage is not None:
        named |= stage.data
        if asked.on is None:
            asked = replace(asked, on=next(iter(stage.data)))
    if asked.on is None:
        raise RecipeError(f"--on: missing; name a set ({', '.join(named_sets.SETS)}), a task, a file or a hub id")
    spec = _verifier(asked)
    if asked.on in named:
        source = named[asked.on]
        if source.stage is not None:
            raise RecipeError(f"--on {asked.on}: stage {source.stage!r} makes this dataset; name a set that is there")
        of_task = named_sets.verifier_of(source.task) if source.task else None
        use = spec or source.verifier or (stage and stage.verifier) or of_task
        if use is None:
            raise RecipeError(f"--on {asked.on}: the set names no verifier; give --verifier (numeric, math, ...)")
        return asked.on, named_sets.source_config(asked.on, {**source.model_dump(), "verifier": use, **asked.source})
    layout = {"verifier": stage.verifier} if stage is not None and asked.on not in named_sets.SETS else {}
    if is_run and stage is not None and layout and named_sets.is_dataset(asked.on):
        layout = of_run.layout_of(stage)
    knobs = {**layout, **({"verifier": spec} if spec else {}), **asked.source}
    return named_sets.source_of(asked.on, base, named, **knobs)


def _verifier(asked: Asked) -> Use | None:
    spec = asked.verifier
    if spec is None:
        if asked.settings:
            raise RecipeError(f"--set {next(iter(asked.settings))}: of which verifier? give --verifier")
        return None
    if callable(spec):
        spec = load.path_of(spec)
    if isinstance(spec, str) and spec.startswith("{"):
        spec = parse_yaml(spec, "--verifier")
    return {**(spec if isinstance(spec, dict) else {"use": spec}), **asked.settings} if asked.settings else spec


def _origin(
    asked: Asked, stage: AnyStageConfig | None, base: Path, worlds: environment.Worlds | None
) -> tuple[Completer, PromptConfig]:
    """What completes the problems: exactly one of a model, a file and a server."""
    prompt = _prompt(asked, stage)
    if asked.completions is not None:
        if asked.model is not None or asked.server is not None:
            raise RecipeError("--completions: a file answers instead of a model or a server; leave those out")
        return FileCompleter(Path(asked.completions)), prompt
    if asked.model is None:
        raise RecipeError("MODEL: missing; name a model (embedded, a folder, a hub id), or give --completions FILE")
    if asked.server is not None:
        return Served(asked.server, asked.model, prompt, key_env=asked.key_env, worlds=worlds), prompt
    if type(asked.threads) is not int or asked.threads < 0:
        raise RecipeError(f"--threads: {asked.threads!r} is no count")
    location = locate(asked.model, base)
    from r1lab.evaluation.model_completer import ModelCompleter  # loads torch, which no mistake above waits for

    return ModelCompleter(location, prompt, _engine(asked, stage), threads=asked.threads, worlds=worlds), prompt


def _engine(asked: Asked, stage: AnyStageConfig | None) -> EngineConfig:
    """The recipe's engine with what the arguments say put in its place."""
    said = {"kind": asked.engine, "max_batch": asked.max_batch}
    is_open = (
        stage is not None and asked.engine is None and not (asked.recipe is None and stage.engine.kind == "server")
    )
    base = stage.engine.model_dump() if stage is not None and is_open else {"max_batch": MAX_BATCH}
    values = {**base, **{key: value for key, value in said.items() if value is not None}}
    try:
        return EngineConfig(**values)
    except ValidationError as error:
        key, colon, text = messages.told(error, EngineConfig, values).partition(": ")
        option = {"kind": "--engine", "max_batch": "--max-batch"}.get(key)
        raise RecipeError(f"{option}{colon}{text}" if option else f"--engine: {key}{colon}{text}") from None


def _prompt(asked: Asked, stage: AnyStageConfig | None) -> PromptConfig:
    """The recipe's prompt with what the arguments say put in its place."""
    given = {key: getattr(asked, key) for key in ("format", "system_prompt", "prefill_think", "template_variables")}
    given |= {"template": asked.prompt, "examples": None if asked.examples is None else _examples(asked.examples)}
    knobs = {key: value for key, value in given.items() if value is not None}
    if stage is not None and "template" not in knobs:
        knobs = {**stage.prompt.model_dump(), **knobs}
    try:
        return PromptConfig(**knobs)
    except ValidationError as error:
        raise RecipeError(f"--prompt: {messages.told(error, PromptConfig, knobs)}") from None


def _examples(given: Sequence[Mapping[str, str]] | Path) -> Sequence[Mapping[str, str]]:
    """What a file holds, or what is given itself."""
    if not isinstance(given, str | Path):
        return tuple(given)
    try:
        text = Path(given).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = file_hint(str(given), [Path.cwd()]) if isinstance(error, FileNotFoundError) else ""
        raise RecipeError(f"--examples {str(given)!r} cannot be read: {error}{hint}") from None
    if Path(given).suffix == ".jsonl":
        text = "".join(f"- {line}\n" for line in text.splitlines() if line.strip())
    examples = parse_yaml(text, f"--examples {given}")
    if not isinstance(examples, list) or not all(isinstance(example, dict) for example in examples):
        raise RecipeError(f"--examples {str(given)!r}: holds no list of {{prompt, solution}}")
    return examples


def _sampling(asked: Asked, stage: AnyStageConfig | None) -> Sampling:
    """The evaluation's sampling: the recipe's under `eval`, else untruncated at temperature 1."""
    heat, nucleus, longest = 1.0, 1.0, 512
    if stage is not None:
        knobs = stage.eval
        heat, nucleus, longest = knobs.temperature, knobs.top_p, knobs.max_new_tokens or stage.max_new_tokens
        if asked.as_training and isinstance(stage, RlStageConfig):
            heat, nucleus, longest = stage.temperature, stage.sampling.top_p, stage.max_new_tokens
    sampling = Sampling(
        temperature=float(_first(asked.temperature, heat)),
        top_p=float(_first(asked.top_p, nucleus)),
        max_new_tokens=_first(asked.max_new_tokens, longest),
        stop=tuple(_first(asked.stop, stage and stage.sampling.stop, ())),
        stop_after=tuple(_first(asked.stop_after, stage and stage.sampling.stop_after, ())),
    )
    is_valid = sampling.temperature >= 0 and 0 < sampling.top_p <= 1 and sampling.max_new_tokens >= 1
    if not is_valid or "" in sampling.all_stops:
        raise RecipeError(
            f"sampling: temperature {sampling.temperature}, top_p {sampling.top_p}, max_new_tokens "
            f"{sampling.max_new_tokens}, stop {list(sampling.all_stops)}: needs temperature >= 0, 0 < top_p <= 1, "
            "max_new_tokens >= 1, no empty stop"
        )
    return sampling


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _refuse_leaks(eval_set: EvaluationSet, source: SourceConfig, plan: Plan, notes: list[str] | None) -> None:
    """RecipeError where the set shares problems with the training data of any stage of the recipe; a line in `notes`
    instead, where they are given."""
    trained = [pair for stage in plan.stages for pair in stage.data.items() if not pair[1].stage]
    train: list[Problem] = []
    try:
        for name, train_source in trained:
            train += load_problems(train_source, name, "", plan.base)
        by_nature = leaks.is_ours(source.task) and all(leaks.is_ours(train_source.task) for _, train_source in trained)
        allowed = any(eval_set.name in stage.eval.allow_masked_overlap for stage in plan.stages)
        leaks.check_set(eval_set, train, may_mask=by_nature or allowed or source.holdout_by == "text")
    except RecipeError as error:
        if notes is None:
            raise
        notes.append(f"beside the run's training data: {error}")


def _run_of(model: str | None) -> str | None:
    """The hash of the run whose folder holds the model, where it is one's."""
    path = Path(model or ".").resolve()
    for parent in (path, *path.parents) if model and path.is_dir() else ():
        try:
            return str(json.loads((parent / "manifest.json").read_text(encoding="utf-8"))["hash"])
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return None
