"""The figures of an evaluation from its rows: avg@n, pass@k, maj@n with intervals, statuses, lengths. Pure.

A run's metrics have fewer of them (`summary`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from r1lab.errors import RecipeError
from r1lab.evaluation.majority import maj_at_n
from r1lab.records import TRUNCATED
from r1lab.seeds import derive
from r1lab.stats import intervals
from r1lab_verifiers.verdict import STATUSES

Row = Mapping[str, Any]
"""problem_id, index, score, status, vote, finish, num_tokens of one completion."""


def depths(n: int) -> list[int]:
    """The k of pass@k that n completions a problem can say: powers of two, and n.

    >>> depths(6)
    [2, 4, 6]
    """
    return [2**power for power in range(1, n.bit_length()) if 2**power < n] + [n]


def share_right(right_NK: Sequence[Sequence[float]], seed: int) -> tuple[float, float | None, float | None]:
    """avg@n over problems with its interval (value, low, high).

    One completion a problem has Wilson's interval, several the bootstrap over problems; where all problems agree on all
    or nothing the bootstrap would have no width, and Wilson's over problems stands in; one problem has none.
    """
    means = [sum(map(float, right_K)) / len(right_K) for right_K in right_NK]
    if len(means) == 1 and (len(right_NK[0]) > 1 or means[0] not in (0, 1)):
        return means[0], None, None
    if all(len(right_K) == 1 and right_K[0] in (0, 1) for right_K in right_NK) or set(means) in ({0.0}, {1.0}):
        return intervals.wilson(round(sum(means)), len(means))[:3]
    return intervals.clustered_bootstrap(right_NK, seed=seed)[:3]


def by_problem(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Each problem's rows, in the order they stand in."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["problem_id"], []).append(row)
    return found


def is_right(row: Row) -> bool:
    """Score 1; `error`, `abstained` and `undecided` are not right."""
    return row["score"] == 1.0


def mean_score(rows: Sequence[Row]) -> float:
    """An error counts as 0."""
    return sum(row["score"] or 0.0 for row in rows) / len(rows)


def checked_ks(ks: Sequence[int], n: int) -> list[int]:
    """The k of pass@k to say: those asked for, else powers of two and n. RecipeError for one that n cannot say."""
    for k in ks:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise RecipeError(f"--k: {k!r} is no whole number from 1 on")
        if k > n:
            raise RecipeError(f"--k: pass@{k} needs at least {k} completions a problem, and n is {n}; give --n {k}")
    return sorted(set(ks)) or (depths(n) if n > 1 else [])


def figures(rows: Sequence[Row], *, name: str, seed: int, ks: Sequence[int]) -> dict[str, Any]:
    """Plain data for JSON. Every interval is over problems."""
    groups = list(by_problem(rows).values())
    right_NK = [[is_right(row) for row in group] for group in groups]

    def interval(values_NK: Sequence[Sequence[float]], what: str) -> dict[str, float | None]:
        value, low, high = share_right(values_NK, derive(seed, f"bootstrap/{name}{what}"))
        return {"value": value, "low": low, "high": high}

    def passed(k: int) -> dict[str, float | None]:
        return interval([[intervals.pass_at_k(len(right_K), sum(right_K), k)] for right_K in right_NK], f"/pass@{k}")

    has_votes = any(row["vote"] is not None for row in rows)
    majority = [[maj_at_n([row["vote"] for row in group], right_K)] for group, right_K in zip(groups, right_NK)]
    return {
        "problems": len(groups),
        "n": len(groups[0]),
        "avg": interval(right_NK, ""),
        "pass": {str(k): passed(k) for k in ks},
        "maj": interval(majority, "/maj") if has_votes else None,
        "score": mean_score(rows),
        "statuses": statuses(rows),
        "errors": sum(row["status"] == "error" for row in rows),
        "undecided": sum(row["status"] == "undecided" for row in rows),
        "abstained": sum(row["status"] == "abstained" for row in rows),
        **lengths(rows),
    }


def statuses(rows: Sequence[Row]) -> dict[str, int]:
    counts = Counter(row["status"] for row in rows)
    return {status: counts[status] for status in STATUSES if counts[status]}


def lengths(rows: Sequence[Row]) -> dict[str, float | None]:
    """Tokens, of all and of a completion, None where nobody counted them, and the share cut at the longest allowed."""
    tokens = sorted(row["num_tokens"] for row in rows if row["num_tokens"] is not None)
    return {
        "tokens": sum(tokens) if tokens else None,
        "tokens_mean": sum(tokens) / len(tokens) if tokens else None,
        "tokens_p95": tokens[(19 * len(tokens) - 1) // 20] if tokens else None,
        "truncated": sum(row["finish"] in TRUNCATED for row in rows) / len(rows),
    }


def text(figures: Mapping[str, Any]) -> str:
    """The figures for people, a line each; every interval is of 95 %, over problems."""
    count, n = figures["problems"], figures["n"]
    lines = [f"{figures['set']}: {count} problems x {n} completions", _line(f"avg@{n}", figures["avg"])]
    lines += [_line(f"pass@{k}", each) for k, each in figures["pass"].items()]
    if figures["maj"]:
        lines.append(_line(f"maj@{n}", figures["maj"]))
    elif n > 1:
        lines.append(f"  maj@{n}    none: the verifier extracts no answers to group")
    lines.append(f"  score     {figures['score']:.4f} on average")
    lines.append("  verdicts  " + ", ".join(f"{count} {status}" for status, count in figures["statuses"].items()))
    if figures["tokens_mean"] is not None:
        lines.append(f"  length    {figures['tokens_mean']:.1f} tokens, 95 % below {figures['tokens_p95'] + 1}")
    lines.append(f"  cut off   {figures['truncated']:.1%}")
    if figures["errors"] or figures["undecided"] or figures.get("abstained"):
        abstained = f", {figures['abstained']} abstained" if figures.get("abstained") else ""
        lines.append(
            f"  counted as not right: {figures['errors']} error (not judged), {figures['undecided']} undecided"
            + abstained
        )
    return "\n".join(lines)


def _line(name: str, figure: Mapping[str, float | None]) -> str:
    bounds = "one problem has no interval" if figure["low"] is None else f"[{figure['low']:.4f}, {figure['high']:.4f}]"
    return f"  {name:<9} {figure['value']:.4f} {bounds}"


def summary(figures: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation's figures as metrics of its set, under `eval/<set>/`.

    A completion is right where its score is 1; `error`, `abstained` and `undecided` stay in n as not right.
    """
    avg, n = figures["avg"], figures["n"]
    row = {"avg": avg["value"], "low": avg["low"], "high": avg["high"], "n": n, "problems": figures["problems"]}
    row |= {f"pass@{k}": each["value"] for k, each in figures["pass"].items()}
    if figures["maj"] and n > 1:
        row[f"maj@{n}"] = figures["maj"]["value"]
    row |= {"score": figures["score"], "errors": figures["errors"], "timeout": figures["statuses"].get("timeout", 0)}
    row |= {"undecided": figures["undecided"], "abstained": figures["abstained"], "completion": figures["tokens_mean"]}
    return {f"eval/{figures['set']}/{key}": value for key, value in row.items()}
