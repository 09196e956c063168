"""Who plays `guess_zero` how well: models beside players without one, on every number, paired by number.

    python experiments/benchmarks/guess_players.py MODEL... [--base embedded] [--games 32] [--json FILE]

The players: uniform (any number each turn), consistent (any number that the answers allow) and bisection. A game that
is not won counts as all its turns. MODELs are those of several seeds; their games are paired with the base's.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import r1lab
from r1lab.recipe.load import read
from r1lab.stats.intervals import mean_interval, paired_difference

LOW, HIGH, TURNS = 1, 31, 7
NUMBERS = range(LOW, HIGH + 1)
Games = dict[int, list[int | None]]
"""By number: the turns of each game, None where it was not won."""


def uniform(low: int, high: int, draw: random.Random) -> int:
    """Any number, whatever was answered."""
    return draw.randint(LOW, HIGH)


def consistent(low: int, high: int, draw: random.Random) -> int:
    """Any number that the answers allow."""
    return draw.randint(low, high)


def bisection(low: int, high: int, draw: random.Random) -> int:
    """The middle of what the answers allow."""
    return (low + high) // 2


def played(player: Callable[[int, int, random.Random], int], games: int) -> Games:
    """Games of a player on every number."""
    draw = random.Random(0)
    return {number: [_game(player, number, draw) for _ in range(games)] for number in NUMBERS}


def _game(player: Callable[[int, int, random.Random], int], number: int, draw: random.Random) -> int | None:
    low, high = LOW, HIGH
    for turn in range(1, TURNS + 1):
        guess = player(low, high, draw)
        if guess == number:
            return turn
        low, high = (max(low, guess + 1), high) if guess < number else (low, min(high, guess - 1))
    return None


def of_model(model: str, games: int) -> Games:
    """Games of a model on every number, as an `eval` stage of the recipe's prompt and environment plays them."""
    recipe, base = read("guess_zero")
    source = {**recipe["data"], "path": str(base / recipe["data"]["path"])}
    kept = ("prompt", "environment", "verifier", "max_new_tokens", "sampling")
    with tempfile.TemporaryDirectory() as folder:
        stage = {name: recipe[name] for name in kept}
        stage |= {"kind": "eval", "model": model, "eval": {"n": games, "sets": {"games": source}}}
        r1lab.train({"name": "guess_players", "threads": 1, **stage}, f"out={folder}/run")
        (table,) = Path(folder).glob("run/stages/*/games/completions.parquet")
        rows = pq.read_table(table).to_pylist()
    found: Games = {number: [] for number in NUMBERS}
    for row in rows:
        found[int(row["problem_id"].rpartition("/")[2])].append(int(row["extracted"]) if row["score"] == 1 else None)
    return found


def shares(games: Games) -> dict[str, float]:
    """Share of won games by number."""
    return {str(number): sum(turns is not None for turns in each) / len(each) for number, each in games.items()}


def lengths(games: Games) -> dict[str, float]:
    """Turns by number; a lost game took all."""
    return {str(number): sum(turns or TURNS for turns in each) / len(each) for number, each in games.items()}


def row_of(name: str, games: Games) -> dict[str, Any]:
    won = [turns for each in games.values() for turns in each if turns is not None]
    interval = mean_interval(list(shares(games).values()))
    return {
        "player": name, "won": interval.value, "won_low": interval.low, "won_high": interval.high,
        "turns_of_won": sum(won) / len(won) if won else None, "games": sum(map(len, games.values())),
    }  # fmt: skip


def against(name: str, games: Games, base: Games) -> dict[str, Any]:
    """Differences to the base, paired by number."""
    won, fewer = paired_difference(shares(games), shares(base)), paired_difference(lengths(base), lengths(games))
    return {
        "player": name, "won_more": won.value, "won_more_low": won.low, "won_more_high": won.high,
        "fewer_turns": fewer.value, "fewer_turns_low": fewer.low, "fewer_turns_high": fewer.high,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--base", default="embedded")
    parser.add_argument("--games", type=int, default=32)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    players = {each.__name__: played(each, 20_000 // len(NUMBERS)) for each in (uniform, consistent, bisection)}
    base = of_model(given.base, given.games)
    models = {name: of_model(name, given.games) for name in given.models}
    rows = [row_of(name, games) for name, games in {**players, given.base: base, **models}.items()]
    pairs = [against(name, games, base) for name, games in models.items()]
    for row in rows + pairs:
        print(" ".join(f"{key}={f'{value:.3f}' if isinstance(value, float) else value}" for key, value in row.items()))
    if given.json:
        given.json.write_text(json.dumps({"players": rows, "against_base": pairs}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
