"""The figures of an evaluation from its rows: avg@n, pass@k, maj@n with intervals, statuses, lengths. Pure.

In-training evaluation prints fewer of them (`r1lab.evaluation.evaluate.summary`); what a share and its interval are
stands there.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from r1lab.errors import RecipeError
from r1lab.evaluation.evaluate import depths, share_right
from r1lab.evaluation.majority import maj_at_n
from r1lab.seeds import derive
from r1lab.stats import intervals
from r1lab_verifiers.verdict import STATUSES

Row = Mapping[str, Any]
"""problem_id, index, score, status, vote, finish, num_tokens of one completion."""


def by_problem(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Each problem's rows, in the order they stand in."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["problem_id"], []).append(row)
    return found


def is_right(row: Row) -> bool:
    """Score 1; `error` and `undecided` are not right."""
    return row["score"] == 1.0


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

    has_votes = any(row["vote"] is not None for row in rows)
    majority = [[maj_at_n([row["vote"] for row in group], right_K)] for group, right_K in zip(groups, right_NK)]
    return {
        "problems": len(groups),
        "n": len(groups[0]),
        "avg": interval(right_NK, ""),
        "pass": {
            str(k): interval(
                [[intervals.pass_at_k(len(right_K), sum(right_K), k)] for right_K in right_NK], f"/pass@{k}"
            )
            for k in ks
        },
        "maj": interval(majority, "/maj") if has_votes else None,
        "score": sum(row["score"] or 0.0 for row in rows) / len(rows),
        "statuses": statuses(rows),
        "errors": sum(row["status"] == "error" for row in rows),
        "undecided": sum(row["status"] == "undecided" for row in rows),
        **lengths(rows),
    }


def statuses(rows: Sequence[Row]) -> dict[str, int]:
    counts = Counter(row["status"] for row in rows)
    return {status: counts[status] for status in STATUSES if counts[status]}


def lengths(rows: Sequence[Row]) -> dict[str, float | None]:
    """Tokens of a completion, None where nobody counted them, and the share cut at the longest allowed."""
    tokens = sorted(row["num_tokens"] for row in rows if row["num_tokens"] is not None)
    return {
        "tokens_mean": sum(tokens) / len(tokens) if tokens else None,
        "tokens_p95": tokens[(19 * len(tokens) - 1) // 20] if tokens else None,
        "truncated": sum(row["finish"] == "length" for row in rows) / len(rows),
    }


def text(found: Mapping[str, Any]) -> str:
    """The figures for people, a line each; every interval is of 95 %, over problems."""
    count, n = found["problems"], found["n"]
    lines = [f"{found['set']}: {count} problems x {n} completions", _line(f"avg@{n}", found["avg"])]
    lines += [_line(f"pass@{k}", each) for k, each in found["pass"].items()]
    if found["maj"]:
        lines.append(_line(f"maj@{n}", found["maj"]))
    elif n > 1:
        lines.append(f"  maj@{n}    none: the verifier extracts no answers to group")
    lines.append(f"  score     {found['score']:.4f} on average")
    lines.append("  verdicts  " + ", ".join(f"{count} {status}" for status, count in found["statuses"].items()))
    if found["tokens_mean"] is not None:
        lines.append(f"  length    {found['tokens_mean']:.1f} tokens, 95 % below {found['tokens_p95'] + 1}")
    lines.append(f"  cut off   {found['truncated']:.1%}")
    if found["errors"] or found["undecided"]:
        lines.append(f"  counted as not right: {found['errors']} error (not judged), {found['undecided']} undecided")
    return "\n".join(lines)


def _line(name: str, found: Mapping[str, float | None]) -> str:
    bounds = "one problem has no interval" if found["low"] is None else f"[{found['low']:.4f}, {found['high']:.4f}]"
    return f"  {name:<9} {found['value']:.4f} {bounds}"
