"""What a run asks of a cluster, as plain data: which servers of which model, how much in all, what cannot be. Starts
nothing and asks Ray nothing (`r1lab.cluster.driver`)."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r1lab import embedded
from r1lab.cluster import config as cluster_config
from r1lab.cluster.actor import Place
from r1lab.cluster.config import ClusterConfig
from r1lab.errors import RecipeError, shown
from r1lab.policy.location import is_remote_code_trusted, locate, trust_remote_code
from r1lab.recipe import AnyStageConfig, load, messages
from r1lab.recipe.load import Plan
from r1lab_sandbox.ray_slots import SLOT_CORES


@dataclass(frozen=True)
class PlacedRun:
    """A run and where it goes."""

    config: ClusterConfig
    processes: int
    plan: Plan
    overrides: tuple[str, ...]
    """Those of the command line, and those that make the cluster's servers the recipe's."""

    @property
    def serving(self) -> list[AnyStageConfig]:
        """The stages that sample from the servers."""
        return [stage for stage in self.plan.stages if stage.engine.kind == "server"]


@dataclass(frozen=True)
class ServedModel:
    """What every server is started with."""

    location: str
    """Of the model, as each machine finds it."""
    kind: str
    """local or vllm"""
    dtype: str
    options: tuple[str, ...]
    """The rest of its command line."""

    def arguments(self, host: str, port: int, key_variable: str) -> list[str]:
        """Of `r1lab`."""
        where = ["--host", host, "--port", str(port), "--key-env", key_variable]
        return ["serve", self.location, "--engine", self.kind, "--dtype", self.dtype, *where, *self.options]


def read(cluster: Path, recipe: str, overrides: Sequence[str], processes: int | None) -> PlacedRun:
    """RecipeError for what is wrong with either file, and for what of both does not go together."""
    if "WORLD_SIZE" in os.environ:
        raise RecipeError(
            f"--cluster starts the processes itself, and a launcher started {os.environ['WORLD_SIZE']}; use one of them"
        )
    if processes is not None and processes < 1:
        raise RecipeError(f"--processes: {processes} must be at least 1")
    config = cluster_config.read(cluster)
    placed = [*overrides, *_engine_overrides(load.read(recipe, overrides)[0], config)]
    plan = load.resolve(*load.read(recipe, placed))
    placement = PlacedRun(config, processes or 1, plan, tuple(placed))
    if not placement.serving:
        raise RecipeError("--cluster: no stage samples, so its servers would have no work; leave it out")
    return placement


def _engine_overrides(raw: Mapping[str, Any], config: ClusterConfig) -> Iterator[str]:
    """`engine` of every stage that has one, with so many servers. What is no recipe is left to those who read it."""
    stages = raw.get("stages")
    if not isinstance(stages, list):
        stages, path = [raw], ""
    else:
        path = "stages.{}."
    for number, stage in enumerate(stages):
        kind = stage.get("kind", raw.get("kind", "rl")) if isinstance(stage, dict) else None
        if kind in load.KIND_OF_STAGE and "engine" in messages.keys(load.KIND_OF_STAGE[kind]):
            name = f"stage {stage.get('name', kind)}: " if path else ""
            engine = _placed(stage.get("engine", raw.get("engine")), config, name)
            yield f"{path.format(number)}engine={json.dumps(engine, default=str)}"


def _placed(engine: Any, config: ClusterConfig, name: str) -> Any:
    given = {"kind": engine} if isinstance(engine, str | None) else engine
    if not isinstance(given, Mapping):
        return engine
    kind = given.get("kind") or "auto"
    if kind != "server":
        raise RecipeError(
            f"{name}engine.kind: {shown(kind)} beside --cluster, which starts servers; write engine: server"
        )
    for key in ("urls", "replicas"):
        if given.get(key):
            raise RecipeError(
                f"{name}engine.{key}: {shown(given[key])} beside --cluster, which starts servers.count: "
                f"{config.servers.count} of its own; give one of them"
            )
    parallel = given.get("tensor_parallel", 1)
    if parallel not in (1, config.servers.gpus):
        raise RecipeError(
            f"{name}engine.tensor_parallel: {shown(parallel)}, and servers.gpus of --cluster is {config.servers.gpus}; "
            "a server's model is spread over its GPUs, so leave the recipe's out"
        )
    return {**given, "replicas": config.servers.count}


def asked_for(placement: PlacedRun) -> dict[str, float]:
    """What all servers and trainers take together, by Ray's names, and the verifiers' slots."""
    asked: dict[str, float] = {}
    for role in placement.config.bundles(placement.processes).values():
        for bundle in role:
            for name, amount in bundle.items():
                asked[name] = asked.get(name, 0.0) + amount
    asked["CPU"] += _slots(placement.plan) * placement.processes * SLOT_CORES
    return asked


def require_room(placement: PlacedRun, machines: Sequence[Mapping[str, float]]) -> None:
    """RecipeError, with the sum, where the machines have less than what is asked for, or no single one has room for one
    server or trainer."""
    bundles = placement.config.bundles(placement.processes)
    slots = _slots(placement.plan) * placement.processes
    for name, asked in asked_for(placement).items():
        has = sum(machine.get(name, 0.0) for machine in machines)
        parts = [f"{len(role)} {title} x {role[0][name]:g}" for title, role in bundles.items() if role[0].get(name)]
        if name == "CPU" and slots:
            parts.append(f"{slots} slots of verifiers x {SLOT_CORES:g}")
        if asked > has:
            raise RecipeError(
                f"--cluster: {' + '.join(parts)} = {asked:g} {name} asked for, and Ray's machines have {has:g}; "
                "ask for less, or start Ray on more machines"
            )
    for title, role in bundles.items():
        if not any(all(machine.get(name, 0.0) >= amount for name, amount in role[0].items()) for machine in machines):
            asked_text = ", ".join(f"{amount:g} {name}" for name, amount in role[0].items())
            raise RecipeError(
                f"--cluster: no machine of Ray's has room for one of the {title} ({asked_text}); ask for less of each"
            )


def _slots(plan: Plan) -> int:
    """The most slots that a stage's verifiers take on Ray for each trainer; 1 where they take what is free."""
    found = [0]
    for stage in plan.stages:
        for spec in (stage.verifier, *(source.verifier for source in stage.data.values())):
            if isinstance(spec, Mapping) and spec.get("workers") == "ray":
                slots = spec.get("slots")
                found.append(slots if isinstance(slots, int) and slots > 0 else 1)
    return max(found)


def served(placement: PlacedRun) -> ServedModel:
    """RecipeError where the stages do not sample from one model of one type."""
    from r1lab.engines import factory  # torch comes with it
    from r1lab.policy import models

    plan, servers = placement.plan, placement.config.servers
    serving, roots = placement.serving, _roots(plan)
    places = dict.fromkeys(roots[stage.name] for stage in serving)
    if len(places) > 1:
        raise RecipeError(
            f"--cluster: its servers serve one model, and the stages start from {' and '.join(places)}; run them apart"
        )
    (location,) = places
    if any(getattr(stage, "trust_remote_code", False) for stage in plan.stages):
        trust_remote_code()
    stage, known, kind = serving[0], models.load_config(locate(location)), servers.engine
    if kind == "auto":
        kind = factory.choose("auto", known, getattr(stage, "lora", None)).name
    heads = known.get_text_config().num_attention_heads
    if kind == "vllm" and heads % max(1, servers.gpus):
        raise RecipeError(f"--cluster: servers.gpus: {servers.gpus} do not share {heads} attention heads evenly")
    if kind == "local" and servers.gpus > 1:
        raise RecipeError(f"--cluster: servers.gpus: {servers.gpus}, and a server of the local engine takes 1 at most")
    dtypes = dict.fromkeys(_dtype(each, kind, placement.config.trainers.gpus > 0) for each in serving)
    if len(dtypes) > 1:
        raise RecipeError(f"--cluster: its servers compute in one type, and the stages ask for {' and '.join(dtypes)}")
    options = ["--threads", str(servers.cpus)] if kind == "local" else []
    if kind == "vllm":
        options += ["--tensor-parallel-size", str(max(1, servers.gpus))]
        options += ["--max-num-seqs", str(stage.engine.max_num_seqs)]
        options += ["--max-model-len", str(stage.engine.max_model_len)] if stage.engine.max_model_len else []
    options += ["--trust-remote-code"] if is_remote_code_trusted() else []
    return ServedModel(location, kind, next(iter(dtypes)), tuple(options))


def _roots(plan: Plan) -> dict[str, str]:
    """The model that each stage's goes back to: a name that ships, a whole path, or a hub id."""
    roots: dict[str, str] = {}
    for stage in plan.stages:
        if stage.from_ is not None:
            roots[stage.name] = roots[stage.from_]
        elif stage.model in embedded.MODELS:
            roots[stage.name] = stage.model
        else:
            place = locate(stage.model, plan.base)
            roots[stage.name] = str(Path(place).absolute()) if Path(place).is_dir() else place
    return roots


def _dtype(stage: AnyStageConfig, kind: str, on_gpu: bool) -> str:
    """As `r1lab.engines.factory.settings` has it of a policy that is loaded."""
    if stage.engine.dtype != "auto":
        return stage.engine.dtype
    precision = getattr(stage, "precision", "auto")
    is_half = precision in ("bf16_autocast", "pure_bf16") or (precision == "auto" and on_gpu)
    return "bfloat16" if is_half and (on_gpu or kind == "vllm") else "float32"


def launcher_environments(places: Sequence[Place], have_gpus: bool) -> list[dict[str, str]]:
    """What a launcher tells each trainer, in rank order. Those of one machine see all of their GPUs, each takes the one
    of its LOCAL_RANK."""
    nodes = [place.node for place in places]
    shared = {"MASTER_ADDR": places[0].address, "MASTER_PORT": str(places[0].port), "WORLD_SIZE": str(len(places))}
    made = []
    for rank, place in enumerate(places):
        own = {"RANK": str(rank), "LOCAL_RANK": str(nodes[:rank].count(place.node))}
        own["LOCAL_WORLD_SIZE"] = str(nodes.count(place.node))
        if have_gpus:
            own["CUDA_VISIBLE_DEVICES"] = ",".join(each.gpus for each in places if each.node == place.node)
        made.append(shared | own)
    return made
