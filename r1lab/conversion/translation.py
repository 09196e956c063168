"""A recipe in the making and the table that goes with it. Not what a key of TRL or verl means (`trl`, `verl`)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from r1lab.conversion.foreign import counterpart
from r1lab.errors import RecipeError, shown

SAME, DIFFERS, DEFAULT, NONE, BY_HAND, FILL = (
    "translated",
    "differs in meaning",
    "not said there: its default, which is another one here",
    "no counterpart",
    "left as it is here; the key that says otherwise",
    "to fill in before the recipe runs",
)
KINDS = (FILL, DIFFERS, DEFAULT, BY_HAND, NONE, SAME)
ORDER = (
    "name", "seed", "model", "trust_remote_code", "data", "prompt", "verifier", "reward", "steps", "epochs",
    "prompts_per_step", "group_size", "updates_per_step", "reuse", "max_new_tokens", "temperature", "sampling",
    "truncated", "objective", "learning_rate", "optimizer",
)  # fmt: skip
"""Of a recipe's keys; others follow."""
ALWAYS = "always"
"""In place of keys, for what is so there whatever a config says."""
OFF = (False, 0, "", [], {}, "no", "none")
"""Values that turn nothing on."""
KEY_CHARACTERS = 48
"""Width of the table's first column; a longer one has a line of its own."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    kind: str
    theirs: str
    """Keys with their values."""
    here: str = ""
    note: str = ""
    keys: tuple[str, ...] = ()
    """Theirs without their values."""


class Translation:
    """What a config says, key by key; a key with the value null is not said."""

    def __init__(self, given: Mapping[str, Any]):
        self.given = {key: value for key, value in given.items() if value is not None}
        self.recipe: dict[str, Any] = {}
        self.rows: list[Row] = []
        self._told: set[str] = set()
        self._shown: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        """A value as it is, or their default; the key needs no row of its own any more."""
        self._told.add(key)
        return self.given.get(key, default)

    def number(self, key: str, default: Any) -> Any:
        """The same where a number is needed. RecipeError for anything else."""
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise RecipeError(f"{key}: {shown(value)} must be a number")
        return value

    def whole(self, key: str, default: int) -> int:
        """The same where a count above 0 is needed."""
        value = self.number(key, default)
        if value != int(value) or value < 1:
            raise RecipeError(f"{key}: {shown(value)} must be a whole number above 0")
        return int(value)

    def put(self, keys: str, place: str, value: Any, note: str = "") -> None:
        """Set a recipe's key by its dotted path, and say which keys of theirs (with spaces between) it is."""
        *path, last = place.split(".")
        node = self.recipe
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
        said = self._said(keys)
        kind = DEFAULT if not said else DIFFERS if note else SAME
        here = f"{place}: {flow(value)}"
        self.rows.append(Row(kind, said or keys.split()[0], here, note, tuple(keys.split()) if said else ()))

    def switch(self, key: str, place: str, value: Any) -> None:
        """A key that turns on what is off here."""
        if self.get(key):
            self.put(key, place, value)

    def rename(self, key: str, place: str, *, theirs: Any, ours: Any, note: str = "") -> None:
        """A key that is called otherwise; left out where nothing is said and the defaults are the same."""
        value = self.get(key, theirs)
        if key in self.given or value != ours:
            self.put(key, place, value, note)

    def leave(self, keys: str, note: str) -> None:
        """Keys without a counterpart, where they are said."""
        if said := self._said(keys):
            self.rows.append(Row(NONE, said, note=note, keys=tuple(keys.split())))

    def fill(self, place: str, value: Any, note: str) -> None:
        """What a config does not say and a recipe needs; the value stands for it."""
        self.put(ALWAYS, place, value)
        self.rows[-1] = Row(FILL, f"{place}: {flow(value)}", note=note)

    def ask(self, what: str, note: str) -> None:
        """A row of what is to be filled in."""
        self.rows.append(Row(FILL, what, note=note))

    def rest(self) -> None:
        """Rows for the keys that have none: by the table of names, else all in one line."""
        for key in [key for key, value in self.given.items() if key not in self._told and value not in OFF]:
            here, _, note = counterpart(key, self.given[key]).partition("; ")
            if here == "no key":
                self.leave(key, note)
            elif here:
                self.rows.append(Row(BY_HAND, self._said(key), here, note))
            else:
                self.leave(key, "")
        silent = [key for key in self.given if key not in self._shown]
        if silent:
            self.rows.append(Row(SAME, ", ".join(f"{key}={flow(self.given[key])}" for key in silent)))

    @property
    def read(self) -> set[str]:
        """Keys that were looked at, said or not."""
        return self._told

    def ordered(self) -> dict:
        """The recipe as it is written."""
        return {key: self.recipe[key] for key in (*ORDER, *self.recipe) if key in self.recipe}

    def text(self) -> str:
        """The table for people."""
        lines: list[str] = []
        for kind in KINDS:
            rows = [row for row in self.rows if row.kind == kind and (row.here or row.note)]
            bare = [row.theirs for row in self.rows if row.kind == kind and not (row.here or row.note)]
            width = min(KEY_CHARACTERS, max((len(row.theirs) for row in rows), default=0))
            told = [_line(row, width) for row in rows]
            about = "as it is here, or read with others" if kind == SAME else "nothing here reads"
            told += [f"  {about}: {', '.join(bare)}"] if bare else []
            lines += [kind, *told] if told else []
        return "\n".join(lines)

    def _said(self, keys: str) -> str:
        names = [key for key in dict.fromkeys(keys.split()) if key in self.given]
        self._told.update(keys.split())
        self._shown.update(names)
        return ", ".join(f"{key}={flow(self.given[key])}" for key in names)


def _line(row: Row, width: int) -> str:
    told = f"{row.here} ({row.note})" if row.here and row.note else row.here or row.note
    if len(row.theirs) > width:
        return f"  {row.theirs}\n  {'':{width}}  {told}"
    return f"  {row.theirs:{width}}  {told}"


def flow(value: Any) -> str:
    """A value on one line, as YAML that a recipe takes."""
    if isinstance(value, str | bool | int | float | None):
        return str(value) if isinstance(value, str) else json.dumps(value)
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1_000_000).strip()


def written(recipe: dict, comments: Iterable[str]) -> str:
    """The recipe as a file."""
    head = "".join(f"# {line}\n" for line in comments)
    plain = json.loads(json.dumps(recipe))  # what stands twice is written twice, without anchors
    return head + yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110)
