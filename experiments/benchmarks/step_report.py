"""What the step benchmark says: rows and table. Measures nothing itself."""

import statistics

from bars import line, row

PACKAGES = ("r1lab", "trl", "torch", "transformers", "accelerate")


def brief(step: dict[str, float]) -> str:
    """A step's figures on one line."""
    return ", ".join(f"{key} {value:.0f}" if key == "tokens" else f"{key} {value:.2f} s" for key, value in step.items())


def rows_of(agreement: dict[str, float], sides: dict[str, dict], limits: dict[str, float], extra: dict) -> list[dict]:
    """The rows of the benchmark; ratios of time are TRL's figure over ours, of memory ours over TRL's."""
    trl = sides["trl"]
    found = []
    for side, figures in sides.items():
        if side == "trl":
            continue
        label = "" if side == "ours" else f"{side}_"
        for name, key in (("whole_step_vs_trl", "whole"), ("update_vs_trl", "update"), ("rollout_vs_trl", "rollout")):
            ratio = trl["median"][key] / figures["median"][key]
            found.append(row(label + name, ratio, ">=", limits.get(label + name)))
        share = figures["peak_memory_gib"] / trl["peak_memory_gib"]
        found.append(row(f"{label}peak_memory_vs_trl", share, "<=", limits.get(f"{label}peak_memory_vs_trl")))
    found[0] |= {"sides": sides} | extra
    if "mixed" in sides:
        found += [row(name, agreement[name], "<=", None) for name in ("mixed_logp_error_mean", "mixed_logp_error_max")]
        found.append(row("mixed_rollout_logp_error", sides["mixed"]["rollout_logp_error"], "<=", None))
    return [
        *found,
        row("gradient_cosine", agreement["cosine"], ">=", 0.999),
        row("gradient_norm_error", agreement["norm_error"], "<=", 0.01),
    ]


def table(rows: list[dict]) -> str:
    """What is printed."""
    figures, machine = rows[0], rows[0]["machine"]
    sides = figures["sides"]
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {figures['work']['threads']} threads; {versions}",
        f"median [least, most] of {len(sides['ours']['steps'])}; TRL at micro-batch {figures['work']['micro_batch']}",
    ]
    for key in sides["ours"]["median"]:
        spreads = "".join(f" {name} {spread(each, key):<24}" for name, each in sides.items())
        lines.append(f"{key:<18}{spreads}".rstrip())
    memory = "".join(f" {name} {each['peak_memory_gib']:<24.2f}" for name, each in sides.items())
    lines.append(f"{'peak memory, GiB':<18}{memory}".rstrip())
    for each in rows:
        lines.append(line(each, 26))
    return "\n".join(lines)


def spread(figures: dict, key: str) -> str:
    """Median, least and most of one figure of a side's steps."""
    values = [step[key] for step in figures["steps"]]
    places = 0 if key == "tokens" else 3
    return f"{statistics.median(values):.{places}f} [{min(values):.{places}f}, {max(values):.{places}f}]"
