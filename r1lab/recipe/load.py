"""From a YAML file and `key.path=value` to complete stages. What the knobs are stands in `r1lab.recipe`."""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from r1lab.errors import RecipeError, shown
from r1lab.recipe import (
    AnyStageConfig,
    DatasetStageConfig,
    EvalStageConfig,
    JudgeStageConfig,
    PreferenceStageConfig,
    ReferenceConfig,
    RejectStageConfig,
    RewardModelStageConfig,
    RlStageConfig,
    SftStageConfig,
    TrainStageConfig,
    messages,
)  # fmt: skip
from r1lab_data.names import did_you_mean, file_hint

MAX_YAML_VALUES = 100_000
"""Of a recipe: a few lines of aliases of aliases would stand for billions."""
TOP = ("name", "seed", "out", "stages")
KIND_OF_STAGE: dict[str, type[AnyStageConfig]] = {
    model.model_fields["kind"].default: model for model in get_args(AnyStageConfig)
}

DEFAULT_PRESETS = {"sft": "sft", "preference": "dpo"}
"""Of the kinds of stage whose preset is not `default`."""


@dataclass(frozen=True)
class Plan:
    """A resolved recipe: nothing downstream reads the file again."""

    name: str
    seed: int
    out: Path | None
    stages: tuple[AnyStageConfig, ...]
    base: Path
    """Folder that relative data paths and plug-ins are looked up from first."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2 floats (`1e-6` is a number), merges (`<<: *anchor`); a key written twice is refused."""

    def get_single_data(self):
        node = self.get_single_node()
        if node is not None and _num_values(node, {}) > MAX_YAML_VALUES:
            raise yaml.constructor.ConstructorError(
                None, None, f"aliases make more than {MAX_YAML_VALUES} values of it"
            )
        return None if node is None else self.construct_document(node)

    def construct_mapping(self, node, deep=False):
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        keys = [self.construct_object(key, deep=True) for key in own]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _num_values(node: yaml.Node, known: dict[int, int]) -> int:
    """Values that a node stands for once its aliases are written out; without end where it holds itself."""
    if id(node) not in known:
        known[id(node)] = MAX_YAML_VALUES + 1  # while it is being counted
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        flat = [part for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_num_values(part, known) for part in flat)
    return known[id(node)]


# PyYAML reads YAML 1.1, where 1e-6 is text: "1e-6", "-2.5E+3".
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse_yaml(text: str, where: str) -> Any:
    """Plain data of a YAML text. RecipeError in one line where it is none."""
    try:
        return yaml.load(text, Loader=_Loader)  # _Loader is a SafeLoader
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:  # PyYAML's on bad tags
        told = " ".join(str(error)[:600].split()) or type(error).__name__
        raise RecipeError(f"{where}: not YAML: {told}") from None


def shipped(name: str) -> Path | None:
    """The one look-up of a recipe that ships: in an installed wheel or in a checkout. None where there is none."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "recipes", package.parent / "experiments" / "recipes"):
        path = folder / f"{name.removesuffix('.yaml')}.yaml"
        if path.is_file():
            return path
    return None


def shipped_names() -> list[str]:
    package = Path(__file__).resolve().parents[1]
    folders = (package / "recipes", package.parent / "experiments" / "recipes")
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})


def about(name: str) -> str:
    """What a shipped recipe says of itself: the first sentence of the comment that it begins with."""
    path = shipped(name)
    lines = path.read_text(encoding="utf-8").splitlines() if path else []
    comment = " ".join(line.removeprefix("#").strip() for line in takewhile(lambda line: line.startswith("#"), lines))
    # "from nothing. It"; not "the run of Dr. GRPO"
    return re.split(r"(?<!Dr)\. ", comment)[0].removesuffix(".") + "."


def read(recipe: str | Path | dict, overrides: Sequence[str] = ()) -> tuple[dict, Path]:
    """The recipe as plain data with the overrides applied, and the folder it stands in."""
    if isinstance(recipe, dict):
        raw, base = copy.deepcopy(recipe), Path.cwd()
    else:
        path = Path(recipe)
        file = path if path.is_file() else shipped(str(recipe))
        if file is None:
            known, close = ", ".join(shipped_names()), _recipe_hint(str(recipe))
            raise RecipeError(f"recipe {str(recipe)!r} is no file and none that ships ({known}){close}")
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"recipe {str(file)!r} cannot be read: {error}") from None
        raw, base = parse_yaml(text, str(file)), file.resolve().parent
        if isinstance(raw, dict):
            raw.setdefault("name", file.stem)
    if not isinstance(raw, dict):
        what = "is empty" if raw is None else f"holds {type(raw).__name__}"
        raise RecipeError(f"recipe {str(recipe)[:80]!r} {what}; a recipe is a mapping of keys to values")
    for override in overrides:
        _override(raw, override)
    return raw, base


def _recipe_hint(name: str) -> str:
    """The file beside the place that was named, or the shipped recipe, that was probably meant."""
    beside = file_hint(name, [Path.cwd()]) if "/" in name or name.endswith((".yaml", ".yml")) else ""
    return beside or did_you_mean(Path(name).stem, shipped_names())


def _override(raw: dict, override: str) -> None:
    """Set one `key.path=value` in place; stages are addressed by their name, other lists by position."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"override {override!r} is not key.path=value, such as learning_rate=1e-5")
    value = parse_yaml(text, f"override {key}")
    stages = raw.get("stages")
    stages = [stage for stage in stages if isinstance(stage, dict)] if isinstance(stages, list) else []
    head = key.split(".")[0]
    if head not in TOP and len(stages) > 1:
        names = [stage.get("name") or stage.get("kind") for stage in stages]
        owners = [name for name, stage in zip(names, stages, strict=True) if head in stage]
        if head == "steps" or owners:
            raise RecipeError(
                f"{override!r} is ambiguous in a recipe of stages {', '.join(map(str, names))}; "
                f"use stages.{(owners or names)[-1]}.{key}={text}"
            )
    node: Any = raw
    if head not in TOP and len(stages) == 1 and head in stages[0]:
        node = stages[0]  # its own wins over what stands at the top
    *path, last = key.split(".")
    for part in path:
        node = _descend(node, part, key)
    if isinstance(node, list):
        node[_position(node, last, key)] = value
    else:
        node[last] = value


def _descend(node: Any, part: str, key: str) -> Any:
    place: Any = _position(node, part, key) if isinstance(node, list) else part
    child = node[place] if isinstance(node, list) else node.setdefault(part, {})
    if child is None:
        child = node[place] = {}
    if not isinstance(child, (dict, list)):
        raise RecipeError(f"override {key!r}: {part!r} is the value {child!r}, nothing stands below it")
    return child


def _position(node: list, part: str, key: str) -> int:
    names = [item.get("name") or item.get("kind") if isinstance(item, dict) else None for item in node]
    if part in names:
        return names.index(part)
    if part in map(str, range(len(node))):
        return int(part)
    allowed = ", ".join(str(name) for name in names if name) or f"0 to {len(node) - 1}"
    close = did_you_mean(part, [str(name) for name in names if name])
    raise RecipeError(f"override {key!r}: {part!r} is not there; use one of {allowed}{close}")


def resolve(raw: dict, base: Path | None = None) -> Plan:
    """Complete stages: a key at the top is the default of every stage that has it, and the stage's own wins."""
    name, seed, out = raw.get("name", "run"), raw.get("seed", 0), raw.get("out")
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):  # "grpo-small", "run_2.1"
        raise RecipeError(f"name: {name!r} must be letters, digits, '.', '_' or '-'")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise RecipeError(f"seed: {seed!r} must be a whole number >= 0")
    if out is not None and not isinstance(out, (str, Path)):
        raise RecipeError(f"out: {out!r} must be a folder")
    top = {key: value for key, value in raw.items() if key not in TOP}
    listed = raw.get("stages", [{}])
    if not isinstance(listed, list) or not listed or not all(isinstance(item, dict) for item in listed):
        raise RecipeError(f"stages: must be a list of mappings, each with a kind ({', '.join(KIND_OF_STAGE)})")
    unknown = _unknown_at_the_top(top)
    wrong: list[str] = []
    stages: list[AnyStageConfig] = []
    for stage_keys in listed:
        made = _stage(_from(stage_keys, stages), top, single="stages" not in raw, unknown=unknown, wrong=wrong)
        stages += [made] if made else []
    wrong += [reason for stage in stages if isinstance(stage, RlStageConfig) and (reason := _without_end(stage))]
    if unknown or wrong:
        raise RecipeError(messages.line(list({key[0]: key for key in unknown}.values()), wrong, top))
    _check_names(stages)
    _check_origins(stages)
    return Plan(name, seed, Path(out) if out else None, tuple(stages), base or Path.cwd())


def _unknown_at_the_top(top: dict) -> list[messages.Unknown]:
    """Keys that no kind of stage has, taken out of `top`, each with a hint."""
    known = list(dict.fromkeys([*TOP, *(key for config in KIND_OF_STAGE.values() for key in messages.keys(config))]))
    strangers = [key for key in top if key not in known]
    found = [messages.unknown_keys(str(key), top.pop(key), known, KIND_OF_STAGE) for key in strangers]
    return [each for listed in found for each in listed]


def _from(stage_keys: dict, before: list[AnyStageConfig]) -> dict:
    """A stage starts from the newest policy of those before, unless it says `from`, or `model` alone."""
    trained = [stage.name for stage in before if makes_policy(stage)]
    return {"from": trained[-1], **stage_keys} if trained and "model" not in stage_keys else stage_keys


def makes_policy(stage: AnyStageConfig) -> bool:
    """Whether what the stage trains writes text."""
    return isinstance(stage, TrainStageConfig) and not isinstance(stage, RewardModelStageConfig)


def _stage(
    stage_keys: dict, top: dict, *, single: bool, unknown: list[messages.Unknown], wrong: list[str]
) -> AnyStageConfig | None:
    """A complete stage; None where its keys or values are `unknown` or `wrong`, which are added there."""
    kind = stage_keys.get("kind", top.get("kind", "rl"))
    if not isinstance(kind, str) or kind not in KIND_OF_STAGE:
        hint = did_you_mean(str(kind), KIND_OF_STAGE) or "; methods are presets: objective: {preset: grpo}"
        raise RecipeError(f"kind: {shown(kind)} must be one of {', '.join(KIND_OF_STAGE)}{hint}")
    model = KIND_OF_STAGE[kind]
    # A stage's own length, in steps or in epochs, wins over the other one at the top.
    length = {"steps", "epochs"} if {"steps", "epochs"} & set(stage_keys) else set()
    of_model = messages.keys(model)
    inherited = {key: value for key, value in top.items() if (single or key in of_model) and key not in length}
    values = {**inherited, **stage_keys, "kind": kind}
    values.setdefault("name", kind)
    if "objective" in model.model_fields and isinstance(values.get("objective", {}), dict):
        values["objective"] = {"preset": DEFAULT_PRESETS.get(kind, "default"), **values.get("objective", {})}
    try:
        stage = model.model_validate(values)
    except ValidationError as error:
        unknown_here, wrong_here = messages.faults(error, model, values, KIND_OF_STAGE)
        unknown += unknown_here
        wrong += wrong_here
        return None
    return stage


def _without_end(stage: RlStageConfig) -> str | None:
    """What to say where nothing says when the stage ends, or a schedule."""
    length, schedule = stage.steps or stage.epochs, stage.optimizer.schedule
    if schedule != "constant" and not (stage.schedule_steps or length):
        return f"schedule_steps: needed by optimizer.schedule {schedule!r} without steps"
    if not (length or stage.stop.max_tokens or stage.stop.max_flops):
        return f"steps: missing in stage {stage.name!r}; say how many, or set stop.max_tokens or epochs"
    return None


def _check_names(stages: list[AnyStageConfig]) -> None:
    names = [stage.name for stage in stages]
    for position, stage in enumerate(stages):
        if not re.fullmatch(r"\w[\w.]*", stage.name):  # "sft", "rl_2.b"
            raise RecipeError(f"stage name {stage.name!r} must be letters, digits, '.' or '_'")
        if names.count(stage.name) > 1:
            raise RecipeError(f"two stages are named {stage.name!r}; give each a `name` of its own")
        if stage.from_ is not None and stage.from_ not in names[:position]:
            earlier, close = ", ".join(names[:position]) or "there is none", did_you_mean(stage.from_, names[:position])
            raise RecipeError(f"from: {stage.from_!r} is no earlier stage of {stage.name!r} ({earlier}){close}")


def _refuse_origin(stage: AnyStageConfig, origin: AnyStageConfig) -> None:
    """RecipeError where a stage cannot start from another."""
    if isinstance(origin, EvalStageConfig):
        raise RecipeError(f"from: {origin.name!r} is an eval stage, which makes no model; leave `from` out")
    if isinstance(origin, DatasetStageConfig):
        raise RecipeError(
            f"from: {origin.name!r} is a {origin.kind} stage, which makes a dataset and no model; leave `from` out, or "
            f"read it by data: {{stage: {origin.name}}}"
        )
    if isinstance(origin, RewardModelStageConfig) and not isinstance(stage, RewardModelStageConfig):
        raise RecipeError(
            f"from: {origin.name!r} makes a reward model, which scores completions and writes none; leave `from` out "
            "to start from the newest policy, or name the stage that made it"
        )


def _refuse_reference(stage: AnyStageConfig, earlier: dict[str, AnyStageConfig]) -> None:
    """RecipeError where a reference is no policy of an earlier stage."""
    reference = getattr(stage, "reference", None)
    if not isinstance(reference, ReferenceConfig):
        return
    policies = [name for name, before in earlier.items() if makes_policy(before)]
    if reference.stage not in policies:
        raise RecipeError(
            f"reference.stage: {reference.stage!r} is no earlier stage of {stage.name!r} that makes a policy "
            f"({', '.join(policies) or 'there is none'}){did_you_mean(reference.stage, policies)}"
        )


def _check_origins(stages: list[AnyStageConfig]) -> None:
    """`from` is a stage that makes a model of the same kind, `data: {stage: ...}` one that makes a dataset."""
    for position, stage in enumerate(stages):
        earlier = {before.name: before for before in stages[:position]}
        if stage.from_ is not None:
            _refuse_origin(stage, earlier[stage.from_])
        _refuse_reference(stage, earlier)
        for name, source in stage.data.items():
            if source.stage is not None:
                where = "data" if len(stage.data) == 1 else f"data.{name}"
                _refuse_dataset(stage, source.stage, earlier, f"{where}.stage")
        for name, source in stage.eval.sets.items():
            if source.stage is not None:
                raise RecipeError(f"eval.sets.{name}.stage: {source.stage!r} is training data; give a path or a task")


def _refuse_dataset(stage: AnyStageConfig, wanted: str, earlier: dict[str, AnyStageConfig], where: str) -> None:
    """RecipeError where the stage `wanted` makes no dataset, or none that this one can read."""
    origin, makers = earlier.get(wanted), [each for each in earlier.values() if isinstance(each, DatasetStageConfig)]
    if not isinstance(origin, RejectStageConfig | JudgeStageConfig):
        names = [each.name for each in makers]
        raise RecipeError(
            f"{where}: {wanted!r} is no earlier reject or judge stage of {stage.name!r} "
            f"({', '.join(names) or 'there is none'}){did_you_mean(wanted, names)}"
        )
    labelled = isinstance(stage, RewardModelStageConfig | PreferenceStageConfig)
    readable = (
        ("pairs",) if labelled else ("solutions",) if isinstance(stage, SftStageConfig) else ("solutions", "problems")
    )
    if origin.write not in readable:
        what = {"solutions": "demonstrations, which are not labelled", "problems": "problems without demonstrations",
                "pairs": "pairs of completions"}[origin.write]  # fmt: skip
        raise RecipeError(
            f"{where}: {wanted!r} makes {what}; a stage of kind {stage.kind} reads {' or '.join(readable)} "
            f"(write: {readable[0]}), or give a path or a task"
        )


def dump(plan: Plan) -> str:
    """The resolved recipe as YAML, to be shown: secrets of web addresses are masked."""
    from r1lab_data.files import without_secrets  # its clients take time to load

    stages = without_secrets([stage.model_dump(mode="json", by_alias=True) for stage in plan.stages])
    for stage in stages:
        if "objective" in stage:  # what is not stated is the preset's
            stage["objective"] = {key: value for key, value in stage["objective"].items() if value is not None}
    whole = {"name": plan.name, "seed": plan.seed, "out": str(plan.out) if plan.out else None, "stages": stages}
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)


def path_of(verifier: Any) -> str:
    """`module:name` of a function or class. RecipeError where a worker could not import it by that name."""
    module, name = getattr(verifier, "__module__", None), getattr(verifier, "__qualname__", "")
    if module in (None, "__main__") or not name.isidentifier():
        raise RecipeError(
            f"verifier: {verifier!r} cannot be imported by its name in a worker process; "
            "define it at the top of a module beside your script and import it from there"
        )
    return f"{module}:{name}"
