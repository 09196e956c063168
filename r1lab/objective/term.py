"""A function of an axis and what it needs: scores, arguments, coupled rows. Not the functions: each axis has a file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from r1lab import plugin
from r1lab.errors import RecipeError

Need = Literal["old", "ref", "values", "entropy"]
Scope = Literal["token", "sequence", "pair", "batch"]


@dataclass(frozen=True)
class Term:
    """A row of an axis: the function, what must be scored before it, and what it couples."""

    fn: Callable
    needs: frozenset[Need] = frozenset()
    """What `policy.scores` computes before the update; elsewhere the head supplies its own."""
    scope: Scope = "token"
    """Which head runs and what packing keeps together."""
    takes: tuple[str, ...] = ()
    """Keywords it is given beside those of every function of its axis."""
    relative: bool = False
    """An advantage that compares the members of a group, so a group of one teaches nothing."""
    ratio: bool = False
    """A weight that compares with old log-probabilities, which a demonstration does not have."""
    unweighted: bool = False
    """A weight that teaches where the advantage is 0, too."""


def lookup(table: Mapping[str, Term], spec: Any, what: str, **defaults: Any) -> Term:
    """The term a recipe names, its settings bound; of `defaults`, the recipe's own keys, it takes those it has.

    A user's own function, by dotted path, becomes a token-local Term unless it is a Term already. A setting `level`
    other than `token` couples the tokens of a sequence.
    """
    name, settings = plugin.split(spec, what)
    found = plugin.find(table, name, what)
    term = found if isinstance(found, Term) else Term(found)
    if not callable(term.fn):
        raise RecipeError(f"{what}: {name!r} is {found!r}, which is no function")
    own = {key: value for key, value in defaults.items() if key in plugin.settings_of(term.fn)}
    bound = plugin.bind(term.fn, {**own, **settings}, what)
    is_coupled = settings.get("level", "token") != "token"
    return replace(term, fn=bound, scope="sequence" if is_coupled else term.scope)


def call(term: Term, given: Mapping[str, Any], *names: str) -> Any:
    """The term's function on the keywords of its axis and those that it takes."""
    return term.fn(**{name: given[name] for name in (*names, *term.takes)})
