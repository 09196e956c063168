"""The model card of a finished run: README.md of its model folder, ready for the hub.

A pure function of the run: no clock, no machine, no path of this computer; what is local goes by its last name alone.
How the folder gets to the hub stands in `r1lab.hub.push`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Protocol
from urllib.parse import urlsplit

import yaml
from huggingface_hub import EvalResult, ModelCardData

from r1lab.hub import usage_example
from r1lab.recipe import AnyStageConfig, SourceConfig
from r1lab.recipe.load import Plan
from r1lab.records import EvaluationSet
from r1lab.rollout.renderer import Renderer
from r1lab.run.folder import RunFolder
from r1lab_data import Problem
from r1lab_data.files import HUB_ID, local
from r1lab_data.loaders import digest

TAGS = {
    "rl": ("reinforcement-learning", "verifiable-rewards"), "sft": ("sft",),
    "reward_model": ("reward-model", "reward-modeling"), "preference": ("preference-optimization",),
}  # fmt: skip
MADE_BY = {
    "rl": "RL with rewards that a program verifies", "sft": "SFT on demonstrations",
    "reward_model": "training of a score on labelled completions", "preference": "preference optimization on pairs",
}  # fmt: skip
TASKS = (("text-generation", "Text generation"), ("text-classification", "Text classification"))
"""The hub's names of what a policy and what a reward model does."""
# "org/name-1.5"; not "org/a/b"
REPO_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


class CardStage(Protocol):
    """What a card reads of a stage."""

    @property
    def stage(self) -> AnyStageConfig: ...

    @property
    def location(self) -> str | None:
        """Where its model is, or None where it starts from the stage `from`."""

    @property
    def sources(self) -> Mapping[str, Sequence[Problem]]:
        """Training problems by the source's name."""
        ...

    @property
    def sets(self) -> Sequence[EvaluationSet]: ...

    @property
    def renderer(self) -> Renderer: ...


def write(folder: Path, ready: Sequence[CardStage], plan: Plan, run: RunFolder) -> None:
    """README.md of a model's folder, in place of the one that came with it."""
    rows = [json.loads(line) for line in run.metrics.read_text(encoding="utf-8").splitlines()]
    (folder / "README.md").write_text(text(ready, plan, run.manifest, rows), encoding="utf-8")


def text(ready: Sequence[CardStage], plan: Plan, manifest: Mapping[str, Any], rows: list[dict]) -> str:
    """The card of the last stage's model, from the stages that led to it. What later stages did is not in it."""
    chain, known = lineage(ready), {each.stage.name for each in ready}
    rows = [row for row in rows if row["stage"] in known]
    scored = {eval_set.name: scores(eval_set.name, chain, rows) for eval_set in chain[-1].sets}
    front = front_matter(chain, plan, scored).to_yaml()
    name, kinds = base_name(chain[0]), ", then ".join(MADE_BY[each.stage.kind] for each in chain)
    parts = [
        f"---\n{front}\n---\n\n# {plan.name}\n",
        f"{name} after {kinds}. Made by r1lab; stage `{chain[-1].stage.name}` of run `{manifest['hash']}`.\n",
        "## Scores\n\n" + score_table(scored, chain[-1]),
        "## Use\n\n" + usage_example.example(chain[-1].stage, chain[-1].sources, chain[-1].renderer),
        "## Data\n\n" + data_table(chain, plan),
        "## Verifiers\n\n" + verifier_table(manifest["verifiers"]),
        "## Training\n\n" + training(chain, plan, manifest, rows),
        "## Limits\n\n" + limits(chain, plan, scored, manifest.get("notes", ())),
    ]
    return "\n".join(parts)


def lineage(ready: Sequence[CardStage]) -> Sequence[CardStage]:
    """The stages that the last one's model went through, in order."""
    by_name, chain = {each.stage.name: each for each in ready}, [ready[-1]]
    while chain[0].stage.from_ is not None:
        chain.insert(0, by_name[chain[0].stage.from_])
    return chain


def start_of(root: CardStage) -> str:
    """Where the model lies that a lineage starts from."""
    assert root.location is not None  # the first of a lineage starts from no stage
    return root.location


def base_card(root: CardStage) -> dict[str, Any]:
    """`base_model` and `license`: a hub id itself, or what the card of a local folder says of it."""
    location = start_of(root)
    if not Path(location).is_dir():
        return {"base_model": location}
    card = Path(location) / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    # "---\nlicense: mit\n---"; not "# A title"
    front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    try:
        said = yaml.safe_load(front[1]) if front else {}
    except yaml.YAMLError:
        said = {}
    said = said if isinstance(said, dict) else {}
    # "apache-2.0"; not "see LICENSE"
    known = {"license": re.compile(r"[a-z0-9.-]+"), "base_model": REPO_ID}
    return {
        key: said[key] for key, form in known.items() if isinstance(said.get(key), str) and form.fullmatch(said[key])
    }


def base_name(root: CardStage) -> str:
    """For people: the hub id, or the folder's own name."""
    if root.stage.model == "embedded":
        return "The embedded model of r1lab"
    origin = base_card(root).get("base_model")
    location = start_of(root)
    if not Path(location).is_dir():
        return f"`{location}`"
    return f"`{Path(location).resolve().name}`" + (f" (from `{origin}`)" if origin else "")


def front_matter(chain: Sequence[CardStage], plan: Plan, scored: Mapping[str, list[dict]]) -> ModelCardData:
    """The card's metadata by the hub's specification."""
    last, sources = chain[-1], [source for each in chain for source in each.stage.data.values()]
    results = [
        EvalResult(
            task_type=TASKS[is_scorer(last)][0],
            task_name=TASKS[is_scorer(last)][1],
            metric_type="accuracy",
            metric_name=f"avg@{lines[-1]['n']}",
            metric_value=round(lines[-1]["avg"], 6),
            **dataset_of(name, last.stage.eval.sets[name], plan),
        )
        for name, lines in scored.items()
        if lines
    ]
    return ModelCardData(
        **base_card(chain[0]),
        library_name="transformers",
        pipeline_tag=TASKS[is_scorer(last)][0],
        tags=["r1lab", *dict.fromkeys(tag for each in chain for tag in TAGS[each.stage.kind])],
        datasets=sorted({source.path for source in sources if source.path and is_on_hub(source, plan)}) or None,
        **({"model_name": plan.name, "eval_results": results} if results else {}),
    )


def is_scorer(card_stage: CardStage) -> bool:
    """Whether the model scores completions and writes none."""
    return card_stage.stage.kind == "reward_model"


def is_on_hub(source: SourceConfig, plan: Plan) -> bool:
    """Whether the source's path is a hub id, decided as the loader does."""
    return bool(source.path and HUB_ID.fullmatch(source.path) and local(source.path, plan.base) is None)


def dataset_of(name: str, source: SourceConfig, plan: Plan) -> dict[str, Any]:
    """What an `EvalResult` says of a set; the type is the hub id where there is one, else a name that no hub id can be
    taken for."""
    kind, config = f"r1lab-{source.task}" if source.task else f"local-{name}", None
    if source.path and is_on_hub(source, plan):
        kind, config = source.path, source.config
    return {"dataset_name": name, "dataset_type": kind, "dataset_config": config, "dataset_split": source.split}


def scores(name: str, chain: Sequence[CardStage], rows: list[dict]) -> list[dict]:
    """Of one set, the first evaluation comparable to the last, and that of the model itself; only one where equal.

    The model is that of the last evaluation or, with `keep_best`, of the best.
    """
    last, wanted = chain[-1], setting(chain[-1], name)
    comparable = {each.stage.name for each in chain if setting(each, name) == wanted}
    evaluated = [row for row in rows if row["stage"] in comparable and f"eval/{name}/avg" in row]
    final, keep = [row for row in evaluated if row["stage"] == last.stage.name], last.stage.eval.keep_best
    if not final:
        return []
    chosen = max(final, key=lambda row: row[keep]) if keep else final[-1]
    shown = [evaluated[0], chosen] if evaluated[0] is not chosen else [chosen]
    keys = ("avg", "low", "high", "n", "problems", "errors", "timeout", "undecided", "abstained", "auc", "ece")
    return [{key: row.get(f"eval/{name}/{key}") for key in keys} | {"at": (row["stage"], row["step"])} for row in shown]


def setting(card_stage: CardStage, name: str) -> Any:
    """What two evaluations must share to be compared; None where the stage has no such set."""
    eval_set = next((eval_set for eval_set in card_stage.sets if eval_set.name == name), None)
    if eval_set is None:
        return None
    stage, knobs = card_stage.stage, card_stage.stage.eval
    longest = knobs.max_new_tokens or stage.max_new_tokens
    sampling = (knobs.n, knobs.temperature, knobs.top_p, longest, stage.sampling.stop, stage.sampling.stop_after)
    return digest(eval_set.problems), *sampling, stage.prompt


def score_table(scored: Mapping[str, list[dict]], last: CardStage) -> str:
    """Share of right answers, a line per set and moment."""
    lines = [
        f"| {name} | {moment(score, shown)} ({score['at'][0]}, step {score['at'][1]}) "
        f"| {score['avg']:.3f} | {score['low']:.3f} to {score['high']:.3f} | {score['problems']} x {score['n']} |"
        for name, shown in scored.items()
        for score in shown
    ]
    if not lines:
        return "Not evaluated on held-out problems.\n"
    knobs = last.stage.eval
    head = "| set | when | share right | 95 % interval | problems x samples |\n|---|---|---|---|---|\n"
    if is_scorer(last):
        told = [
            f"{name}: area under the ROC curve {figure(shown[-1]['auc'])}, expected calibration error "
            f"{figure(shown[-1]['ece'])}"
            for name, shown in scored.items()
            if shown
        ]
        note = "Right is a pair whose chosen completion has the larger score, or a score above 0 where the label is 1 "
        return head + "\n".join(lines) + f"\n\n{note}and below where it is 0. {'; '.join(told)}.\n"
    note = f"Sampled at temperature {knobs.temperature:g}, top_p {knobs.top_p:g}, at most "
    note += f"{knobs.max_new_tokens or last.stage.max_new_tokens} tokens; right is a verifier's score of 1. Intervals: "
    note += "Wilson's for one sample a problem, else the bootstrap over problems.\n"
    return head + "\n".join(lines) + "\n\n" + note


def figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def moment(score_row: dict, shown: list[dict]) -> str:
    """What is called before is an evaluation before a stage's first step."""
    return "after" if score_row is shown[-1] else "before" if score_row["at"][1] == 0 else "earlier"


def data_table(chain: Sequence[CardStage], plan: Plan) -> str:
    """Where problems came from, how many, and the hash of what they hold."""
    lines = ["| used by | source | from | split | problems | content hash |", "|---|---|---|---|---|---|"]
    for each in chain:
        for name, problems in each.sources.items():
            lines.append(_data_line(f"{each.stage.name} (training)", name, each.stage.data[name], problems, plan))
    for eval_set in chain[-1].sets:
        source = chain[-1].stage.eval.sets[eval_set.name]
        lines.append(_data_line("evaluation", eval_set.name, source, eval_set.problems, plan))
    return "\n".join(lines) + "\n"


def _data_line(use: str, name: str, source: SourceConfig, problems, plan: Plan) -> str:
    made = f"task {source.task}" if source.task else f"verified samples of stage {source.stage}"
    origin = clean(source.path, "path", plan) if source.path else made
    if is_on_hub(source, plan):
        origin += f" ({source.config})" if source.config else ""
    cells = (use, name, origin, source.split, len(problems), f"`{digest(problems)}`")
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|")


def verifier_table(verifiers: Mapping[str, dict]) -> str:
    """Each verifier of the run: its version is the hash of all it judges with."""
    if not verifiers:
        return "None: nothing was sampled.\n"
    lines = [
        f"| `{key}` | `{_cell(json.dumps(clean(each['settings'])))}` | `{each['source']}` | {_libraries(each)} |"
        for key, each in sorted(verifiers.items())
    ]
    return "| verifier | settings | version | libraries |\n|---|---|---|---|\n" + "\n".join(lines) + "\n"


def _libraries(version: Mapping[str, Any]) -> str:
    return _cell(", ".join(f"{name} {number}" for name, number in version.get("packages", {}).items())) or "none"


def training(chain: Sequence[CardStage], plan: Plan, manifest: Mapping[str, Any], rows: list[dict]) -> str:
    """Tokens and FLOPs of the run up to this model, versions, and its stages' resolved recipe to unfold."""
    spent, names = rows[-1] if rows else {}, {each.stage.name for each in chain}
    flops = {key: value for key, value in spent.items() if key.startswith("flops/")}
    lines = [
        f"- Run: `{manifest['hash']}` (hash of seed, data and every knob that changes the numbers); seed {plan.seed}",
        *(f"- Tokens {key.partition('/')[2]}: {value:,}" for key, value in spent.items() if key.startswith("tokens/")),
        f"- FLOPs: {sum(flops.values()):.3g}"
        + "".join(f", {key.partition('/')[2]} {value:.3g}" for key, value in flops.items() if value),
        "- Versions: " + ", ".join(f"{name} {version}" for name, version in manifest["packages"].items()),
    ]
    if manifest.get("commit"):
        lines.append(f"- Commit of r1lab: `{manifest['commit']}`")
    stages = [clean(stage, "", plan) for stage in manifest["recipe"]["stages"] if stage["name"] in names]
    recipe = {"name": plan.name, "seed": plan.seed, "stages": stages}
    dumped = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
    unfold = "<details>\n<summary>The resolved recipe</summary>"
    return "\n".join(lines) + f"\n\n{unfold}\n\n{usage_example.fenced('yaml', dumped)}\n</details>\n"


def limits(chain: Sequence[CardStage], plan: Plan, scored: Mapping[str, list[dict]], notes: Sequence[str]) -> str:
    """What the scores do not say, completions that were not judged, and what the run noted of itself."""
    last = chain[-1]
    counts = {
        f"{name}: {lines[-1][key]} {key}"
        for name, lines in scored.items()
        for key in ("errors", "timeout", "undecided", "abstained")
        if lines and lines[-1][key]
    }
    lines = [
        f"- One run with one seed ({plan.seed}): the intervals are over problems, not over training runs.",
        *(SCORER_LIMITS if is_scorer(last) else _policy_limits(last)),
        *([f"- Counted as not right though not judged wrong: {', '.join(sorted(counts))}."] if counts else []),
        *(f"- Noted in the run: {note}." for note in notes),
    ]
    return "\n".join(lines) + "\n"


SCORER_LIMITS = (
    "- A score says what the labels said, mistakes and habits too; a policy trained on it finds what it lets pass.",
    "- It holds for the prompt above; other problems, prompts and languages were not tried.",
    "- The label is read behind the last token: end a whole completion as in training.",
)


def _policy_limits(last: CardStage) -> list[str]:
    return [
        "- Right is what a program accepts. Reasoning before an answer was not judged.",
        "- Scores hold for the prompt and sampling above; other problems, prompts and languages were not tried.",
        f"- Completions beyond {last.stage.max_new_tokens} tokens were never sampled"
        + (f"; the context is {last.renderer.context} tokens." if last.renderer.context else "."),
        "- Nothing was done for safety: what the base model would say, this one may say too.",
    ]


def clean(value: Any, key: str = "", plan: Plan | None = None) -> Any:
    """A recipe's value without this computer's paths: a local path by its last name, a URL without user and query."""
    if isinstance(value, dict):
        return {name: clean(item, name, plan) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item, key, plan) for item in value]
    if not isinstance(value, str):
        return value
    # "https://a.b/c"; not "httpx://a"
    if re.match(r"https?://", value):
        parts = urlsplit(value)
        return f"{parts.scheme}://{parts.hostname}{parts.path}"
    is_path = key in ("path", "model") and (local(value, plan.base if plan else None) is not None or ".." in value)
    # "~/data/x.jsonl"; not "/no_think", a prompt
    if is_path or re.fullmatch(r"(file:)?(/|~|\.\.?/)[^\n]*/[^\n]*", value):
        return PurePath(value).name
    return value
