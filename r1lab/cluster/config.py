"""What `--cluster FILE` says: where Ray is, and what servers and trainers get of its machines. Not the recipe's knobs
(`r1lab.recipe`): placement changes no result and is in no run's hash."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from r1lab.errors import RecipeError, shown
from r1lab.recipe import messages
from r1lab.recipe.base import Above, Config, Count, Positive
from r1lab.recipe.load import parse_yaml
from r1lab_data.names import file_hint


class ServersConfig(Config):
    """The servers that sample."""

    count: Positive = 1
    gpus: Count = 0
    """Of each, on one machine: its model is spread over them (tensor parallel)."""
    cpus: Positive = 1
    """Of each."""
    engine: Literal["auto", "local", "vllm"] = "auto"
    """auto: vllm where it is installed and worth it, as everywhere."""
    resources: dict[str, Above] = {}
    """Of Ray's own names, of each: {"node:10.0.0.7": 0.001} is that machine."""


class TrainersConfig(Config):
    """Each of the `--processes`."""

    gpus: int = Field(default=0, ge=0, le=1, strict=True)
    """Of each; a trainer learns on one."""
    cpus: Positive = 1
    """Of each."""
    where: Literal["spread", "pack"] = "pack"
    """Over as many machines as there are, or as few as will do."""
    resources: dict[str, Above] = {}


class ClusterConfig(Config):
    """A cluster.yaml."""

    address: str | None = None
    """host:port of Ray's head, which this machine belongs to, or auto: the Ray that runs here. Left out: RAY_ADDRESS,
    else a Ray of this machine alone, for as long as the run."""
    wait_seconds: Above = 300.0
    """That Ray may take to make room: at the start, and for a server whose machine is gone."""
    servers: ServersConfig = ServersConfig()
    trainers: TrainersConfig = TrainersConfig()

    @field_validator("address")
    @classmethod
    def _is_reachable(cls, given: str | None) -> str | None:
        # "auto", "10.0.0.7:6379", "[fd00::7]:6379"; not "ray://10.0.0.7:10001"
        if given is not None and given != "auto" and not re.fullmatch(r"[^\s/]+:\d{1,5}", given):
            raise ValueError(f"{shown(given)} is no address; write auto, or host:port of Ray's head (port 6379)")
        return given

    def bundles(self, processes: int) -> dict[str, list[dict[str, float]]]:
        """What Ray is asked for: of each server and of each trainer, by Ray's names."""
        counts = {"servers": self.servers.count, "trainers": processes}
        return {role: [_bundle(getattr(self, role))] * count for role, count in counts.items()}


def _bundle(asked: ServersConfig | TrainersConfig) -> dict[str, float]:
    gpus = {"GPU": float(asked.gpus)} if asked.gpus else {}
    return {**asked.resources, "CPU": float(asked.cpus), **gpus}


def read(path: Path) -> ClusterConfig:
    """RecipeError in one line for whatever is wrong with the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8"
        raise RecipeError(f"--cluster: {path} cannot be read ({why}){file_hint(str(path), [Path.cwd()])}") from None
    values: Any = parse_yaml(text, f"--cluster: {path}")
    if values is None:
        values = {}
    if not isinstance(values, Mapping):
        raise RecipeError(f"--cluster: {path} holds {shown(values)}; it is a mapping, such as servers: {{count: 2}}")
    try:
        return ClusterConfig.model_validate(values)
    except ValidationError as error:
        raise RecipeError(f"--cluster: {path}: {messages.told(error, ClusterConfig, values)}") from None
