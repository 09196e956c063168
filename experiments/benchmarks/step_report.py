"""What the step benchmark says: rows and table. Measures nothing itself."""

import statistics

from bars import line, row

PACKAGES = ("r1lab", "trl", "torch", "transformers", "accelerate")


def brief(step: dict[str, float]) -> str:
    """A step's figures on one line."""
    return ", ".join(f"{key} {value:.0f}" if key == "tokens" else f"{key} {value:.2f} s" for key, value in step.items())


def rows_of(agreement: dict[str, float], sides: dict[str, dict], limit: float | None, extra: dict) -> list[dict]:
    """The rows of the benchmark; ratios are TRL's figure over ours."""
    ours, trl = sides["ours"], sides["trl"]

    def ratio(key: str) -> float:
        return trl["median"][key] / ours["median"][key]

    whole = row("whole_step_vs_trl", ratio("whole"), ">=", limit)
    return [
        row("gradient_cosine", agreement["cosine"], ">=", 0.999),
        row("gradient_norm_error", agreement["norm_error"], "<=", 0.01),
        whole | {"ours": ours, "trl": trl} | extra,
        row("update_vs_trl", ratio("update"), ">=", None),
        row("peak_memory_vs_trl", ours["peak_memory_gib"] / trl["peak_memory_gib"], "<=", None),
    ]


def table(rows: list[dict]) -> str:
    """What is printed."""
    figures, machine = rows[2], rows[2]["machine"]
    ours, trl = figures["ours"], figures["trl"]
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {figures['work']['threads']} threads; {versions}",
        f"median [least, most] of {len(ours['steps'])}; TRL at micro-batch {figures['work']['micro_batch']}",
    ]
    for key in ours["median"]:
        lines.append(f"{key:<20} ours {spread(ours, key):<26} trl {spread(trl, key)}")
    lines.append(f"{'peak memory, GiB':<20} ours {ours['peak_memory_gib']:<26.2f} trl {trl['peak_memory_gib']:.2f}")
    for each in rows:
        lines.append(line(each, 20))
    return "\n".join(lines)


def spread(figures: dict, key: str) -> str:
    """Median, least and most of one figure of a side's steps."""
    values = [step[key] for step in figures["steps"]]
    places = 0 if key == "tokens" else 3
    return f"{statistics.median(values):.{places}f} [{min(values):.{places}f}, {max(values):.{places}f}]"
