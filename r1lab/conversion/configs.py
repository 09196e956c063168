"""Read configs of TRL (YAML, or a dump as JSON) and of verl (overrides `key=value`, also inside a shell script). Not
what they mean (`trl`, `verl`); nothing of a script is run."""

import ast
import operator
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from r1lab.errors import RecipeError, shown
from r1lab.recipe.load import parse_yaml

# "actor_rollout_ref.rollout.n=5", "+trainer.val_before_train=True"; not "project_name='GRPO'", "--runtime-env=a.b"
OVERRIDE = re.compile(r"\+{0,2}(?P<key>[A-Za-z_]\w*(?:\.\w+)+)=(?P<value>.*)", re.DOTALL)
# "n_resp_per_prompt=16", "MODEL_PATH=~/models"; not "data.train_batch_size=4", "a = b"
ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<value>.*)", re.DOTALL)
# "$((1024 * 20))"
ARITHMETIC = re.compile(r"\$\(\((?P<sum>[^()]*(?:\([^()]*\)[^()]*)*)\)\)")
# "${MODEL_PATH}", "${NNODES:-16}", "$HOME"; not "$(pwd)", "$@"
VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)(?::?[-=](?P<default>[^{}]*))?\}|(?P<bare>[A-Za-z_]\w*))")
OPERATORS: dict[type, Callable] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.floordiv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
MAX_ROUNDS, MAX_CHARACTERS = 20, 100_000
"""Variables inside variables that are filled in, and what is put into a word at most."""


def read_text(path: Path) -> str:
    """RecipeError where the file cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def trl_config(path: Path) -> dict[str, Any]:
    """The keys of a TRL config; YAML reads JSON too."""
    if path.suffix == ".py":
        raise RecipeError(f"{path}: a script is not run; give its config: json.dump(GRPOConfig(...).to_dict(), file)")
    given = parse_yaml(read_text(path), str(path))
    if not isinstance(given, dict) or not given:
        raise RecipeError(f"{path}: holds {shown(given)}; a TRL config is a mapping of keys to values")
    return {str(key): value for key, value in given.items()}


def verl_overrides(path: Path) -> dict[str, Any]:
    """verl's keys by their dotted paths, the last of each: from a shell script or a file with one a line."""
    variables: dict[str, str] = {"HOME": "~"}
    overrides: dict[str, Any] = {}
    for words in _commands(read_text(path)):
        for word in words:
            if match := OVERRIDE.fullmatch(word):
                overrides[match["key"]] = _value(filled(match["value"], variables))
            elif len(words) == 1 and (match := ASSIGNMENT.fullmatch(word.removeprefix("export "))):
                variables[match["name"]] = filled(match["value"], variables)
    if not overrides:
        raise RecipeError(f"{path}: no override such as data.train_batch_size=1024 in it")
    return overrides


def _commands(text: str) -> list[list[str]]:
    """The words of each line, continued ones joined, comments and `export` taken away."""
    commands = []
    text = ARITHMETIC.sub(lambda match: re.sub(r"\s+", "", match[0]), text)
    for line in text.replace("\r\n", "\n").replace("\\\n", " ").split("\n"):
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # a quote that is closed on another line
            words = line.split()
        commands.append(words[1:] if words[:1] in (["export"], ["declare"], ["local"]) else words)
    return commands


def filled(text: str, variables: Mapping[str, str]) -> str:
    """A shell word with its variables and sums put in; what is not known stays as it is."""

    left = MAX_CHARACTERS

    def known(match: re.Match) -> str:
        nonlocal left
        value = variables.get(match["braced"] or match["bare"])
        value = match["default"] if value is None else value
        left -= len(value or "")
        return match[0] if value is None or left < 0 else value

    for _ in range(MAX_ROUNDS):
        replaced = ARITHMETIC.sub(lambda match: _sum(match, variables), VARIABLE.sub(known, text))
        if replaced == text:
            break
        text = replaced
    return text


def _sum(match: re.Match, variables: Mapping[str, str]) -> str:
    try:
        return str(_computed(ast.parse(match["sum"].strip(), mode="eval").body, variables))
    except (SyntaxError, ValueError, KeyError, ZeroDivisionError, RecursionError):
        return match[0]


def _computed(node: ast.AST, variables: Mapping[str, str]) -> int:
    """A sum of whole numbers and variables, without running anything."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_computed(node.left, variables), _computed(node.right, variables))
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name):
        return int(filled(variables[node.id], variables))
    raise ValueError


def _value(text: str) -> Any:
    """As Hydra reads it; a text where it is no YAML."""
    try:
        return parse_yaml(text, "value") if text.strip() else ""
    except RecipeError:
        return text
