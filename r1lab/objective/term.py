"""What a function of the objective says of itself. Not the functions: each axis has its own file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from r1lab import plugin
from r1lab.errors import RecipeError

Need = Literal["old", "ref", "values", "entropy"]


@dataclass(frozen=True)
class Term:
    """A row of an axis: the function, what must be scored before it, and what it couples."""

    fn: Callable
    needs: frozenset[Need] = frozenset()
    """What `policy.score` computes before the update; elsewhere the head supplies its own."""
    scope: Literal["token", "sequence", "pair", "batch"] = "token"
    """Which head runs and what packing keeps together."""
    relative: bool = False
    """An advantage that compares the members of a group, so a group of one teaches nothing."""


def lookup(table: Mapping[str, Term], spec: Any, what: str, **defaults: Any) -> Term:
    """The term a recipe names, its settings bound; of `defaults`, the recipe's own keys, it takes those it has.

    A user's own function, by dotted path, becomes a token-local Term unless it is a Term already.
    """
    name, settings = plugin.split(spec, what)
    found = plugin.find(table, name, what)
    term = found if isinstance(found, Term) else Term(found)
    if not callable(term.fn):
        raise RecipeError(f"{what}: {name!r} is {found!r}, which is no function")
    if term.scope != "token" or term.needs - {"old", "ref"}:
        raise RecipeError(
            f"{what}: {name!r} couples or reads more than its own token ({term.scope}, "
            f"{', '.join(sorted(term.needs)) or 'nothing'}), which no head here computes"
        )
    own = {key: value for key, value in defaults.items() if key in plugin.settings_of(term.fn)}
    return replace(term, fn=plugin.bind(term.fn, {**own, **settings}, what))
