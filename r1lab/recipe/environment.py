"""Knobs of an environment: the world in which a model's turns are answered (`r1lab.environments`).

environment: {use: guess, max_turns: 7, max_observation_tokens: 96}      # of a stage, or of a data source
environment: mypkg.games:Maze                                            # a class of your own
tools: [python, mypkg.tools:search]           # short for environment: {use: tools, tools: [...]}
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from r1lab.recipe.base import RESULT, Config, Positive


class EnvironmentConfig(Config):
    """What answers the model's turns. Keys that are not listed here are the environment's own settings."""

    use: Annotated[str, RESULT]
    """guess, tools, or a class of your own as package.module:Class."""
    as_: Annotated[Literal["trl", "openenv"] | None, RESULT] = Field(default=None, alias="as")
    """Another trainer's form: trl is an environment factory, openenv a client."""
    max_turns: Annotated[Positive, RESULT] = 8
    """Turns of the model in one episode; the last one is not answered."""
    max_observation_tokens: Annotated[Positive, RESULT] = 512
    """Tokens of all that an episode observes, frames counted; they need room in the context beside `max_new_tokens`."""
    schedule: Annotated[Literal["lockstep", "free"], RESULT] = "lockstep"
    """lockstep: what is computed together does not depend on time; free: each episode goes on by itself, faster beside
    servers and slow tools, and the run is not bit-exact."""
    frame: Annotated[str | None, RESULT] = None
    """Text around an observation, with {observation} in it, in place of the template's own."""
    settings: Annotated[dict[str, Any], RESULT] = {}
    """The environment's own settings."""

    @model_validator(mode="before")
    @classmethod
    def _own_settings(cls, given: Any) -> Any:
        """A name alone, or settings beside the keys that every environment has."""
        if isinstance(given, str):
            return {"use": given}
        if not isinstance(given, dict):
            return given
        known = {*cls.model_fields, "as"}
        own = {key: value for key, value in given.items() if key not in known}
        kept = {key: value for key, value in given.items() if key in known}
        return {**kept, "settings": {**kept.get("settings", {}), **own}} if own else kept


def tools_environment(tools: tuple[Any, ...]) -> EnvironmentConfig:
    """What `tools:` is short for."""
    return EnvironmentConfig(use="tools", settings={"tools": list(tools)})


def one_of(environment: EnvironmentConfig | None, tools: tuple[Any, ...] | None) -> EnvironmentConfig | None:
    """The environment that two keys say. ValueError where both do."""
    if environment is not None and tools is not None:
        raise ValueError(
            "environment and tools stand together; tools is short for environment: {use: tools, tools: [...]}, so give "
            "one of them"
        )
    return tools_environment(tools) if tools is not None else environment
