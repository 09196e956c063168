"""GeneralPoints: make a target of cards; a rule says what the face cards count (arXiv 2501.17161).

The rule stands in the prompt, as it does there; what generalises to the other rule is asked of who trained on one. Not
its code: wording, demonstrations and the smaller hands are this module's, and its verifier is `countdown`.
"""

import random
from functools import cache
from itertools import combinations

from r1lab_data.problem import DataError
from r1lab_data.tasks.countdown import combine, moves
from r1lab_data.tasks.settings import one_of, share, whole

FACES = ("J", "Q", "K")
DECK = ("A", *map(str, range(2, 11)), *FACES) * 4
RULES = {"ten": (10, 10, 10), "ranks": (11, 12, 13)}
"""What J, Q and K count; an ace is 1."""
MAX_DRAWN_TARGET = 100
MAX_HANDS = 2_000


def general_points(
    rng: random.Random, cards: int = 4, target: int | None = 24, rule: str = "ten", face_share: float | None = None
) -> dict:
    """One hand as {prompt, answer, solution, meta, split_by}; its solution is one of many, and whole on the way.

    cards: how many, 2-4. target: what to make, 1-1000; None draws what the hand can make, at most 100. rule: what J, Q
    and K count, `ten` or `ranks` (11, 12, 13). face_share: share of the hands that hold one of them, 0-1; None leaves
    it to the deck. The same cards with the same target are in one split under both rules.
    """
    whole("general_points", "cards", cards, 2, 4)
    one_of("general_points", "rule", rule, tuple(RULES))
    if target is not None:
        whole("general_points", "target", target, 1, 1000)
    if face_share is not None:
        share("general_points", "face_share", face_share)
    with_face = None if face_share is None else rng.random() < face_share
    for _ in range(MAX_HANDS):
        hand = rng.sample(DECK, cards)
        if with_face in (None, any(card in FACES for card in hand)) and (made := _made(rng, hand, rule, target)):
            break
    else:
        raise DataError(
            f"task general_points: hardly {cards} cards make {target} so; take another target or more cards"
        )
    reached, expression, steps = made
    values = values_of(hand, rule)
    counted = " ".join(map(str, RULES[rule]))
    return {
        "prompt": f"J Q K = {counted}. Make {reached} of all of {' '.join(hand)}.",
        "answer": {"numbers": values, "target": reached},
        "solution": f"{' '.join(map(str, values))}. {steps}. Answer: {expression}",
        "meta": {"cards": cards, "rule": rule, "face": any(card in FACES for card in hand)},
        "split_by": f"{' '.join(sorted(hand))} {reached}",
    }


def values_of(hand: list[str], rule: str) -> list[int]:
    """What the cards count.

    >>> values_of(["A", "7", "Q"], "ten"), values_of(["A", "7", "Q"], "ranks")
    ([1, 7, 10], [1, 7, 12])
    """
    faces = {"A": 1, **dict(zip(FACES, RULES[rule]))}
    return [faces.get(card) or int(card) for card in hand]


def _made(rng: random.Random, hand: list[str], rule: str, target: int | None) -> tuple[int, str, str] | None:
    """(target, expression, steps) of the hand; None where there is none."""
    values = values_of(hand, rule)
    if target is None:
        drawn = combine(rng, values)
        return drawn if drawn[0] <= MAX_DRAWN_TARGET else None
    found = ways(tuple(sorted(values)), target)
    return (target, *rng.choice(found)) if found else None


@cache
def ways(values: tuple[int, ...], target: int) -> tuple[tuple[str, str], ...]:
    """Every (expression, steps) that makes the target of all values and whose values on the way are whole and above 0.

    >>> ways((2, 5, 7), 24)
    (('(5+7)*2', '7+5=12, 12*2=24'),)
    """
    found: dict[tuple[str, str], None] = {}

    def reach(parts: tuple[tuple[int, str], ...], steps: tuple[str, ...]) -> None:
        if len(parts) == 1 and parts[0][0] == target:
            found[parts[0][1][1:-1], ", ".join(steps)] = None
        for one, other in combinations(range(len(parts)), 2):
            rest = tuple(part for place, part in enumerate(parts) if place not in (one, other))
            (a, first), (b, second) = sorted((parts[one], parts[other]), key=lambda part: -part[0])
            for sign, value in moves(a, b):
                reach((*rest, (value, f"({first}{sign}{second})")), (*steps, f"{a}{sign}{b}={value}"))

    reach(tuple((value, str(value)) for value in values), ())
    return tuple(found)
