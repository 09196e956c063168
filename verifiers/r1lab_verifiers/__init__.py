"""Verifiers: they judge whether a completion is correct, and say why. Not what training pays for it
(`r1lab.rollout.reward`).

Beside each regular expression of this package stands a string in which it finds something, and one in which not.
The table of built-ins and the one look-up of a recipe's `verifier:`. Importing this package loads no verifier.
"""

from collections.abc import Callable, Iterable
from typing import Any

from r1lab_verifiers import plugin
from r1lab_verifiers.plugin import Resolved
from r1lab_verifiers.verdict import STATUSES, Item, Verdict, Verifier

BUILT_IN = {
    "addition_columns": "r1lab_verifiers.addition_columns:AdditionColumns",
    "choice": "r1lab_verifiers.choice:Choice",
    "code": "r1lab_verifiers.code.verifier:Code",
    "countdown": "r1lab_verifiers.countdown:Countdown",
    "environment": "r1lab_verifiers.environment:EpisodeVerdict",
    "exact": "r1lab_verifiers.exact:Exact",
    "format": "r1lab_verifiers.format:Format",
    "math": "r1lab_verifiers.math.verifier:Math",
    "math_verify": "r1lab_verifiers.math_verify:MathVerify",
    "numeric": "r1lab_verifiers.numeric:Numeric",
    "reasoning_gym": "r1lab_verifiers.reasoning_gym:Gym",
    "regex": "r1lab_verifiers.regex:Regex",
    "similar": "r1lab_verifiers.similar:Similar",
}


def resolve(spec: "str | dict | Callable | Resolved", import_paths: Iterable[str] = ()) -> Resolved:
    """What a recipe's `verifier:` means: a built-in's name, `package.module:name`, or `{use: either, **settings}`.

    A callable stands for its own path. `import_paths` go to the end of sys.path, for good. Imports the plug-in to check
    its form and its settings; raises ValueError, one line, where anything is wrong.
    """
    return plugin.resolve(spec, BUILT_IN, import_paths)


def reward(
    verifier: "str | dict | Callable | Resolved",
    *,
    answer: str = "answer",
    workers: int = 2,
    deadline: float = 5.0,
    memory_mb: int = 2048,
    **settings: Any,
) -> Callable[..., list[float | None]]:
    """A reward function for TRL: `GRPOTrainer(..., reward_funcs=r1lab_verifiers.reward("math", answer="solution"))`.

    answer: the dataset's column with the gold answer. workers, deadline, memory_mb: processes that judge at once,
    seconds of a check, MiB of a process. settings: the verifier's own. A completion that cannot be judged gets None,
    which TRL leaves out of the group's baseline. ValueError, one line, for a verifier that is none.
    """
    from r1lab_verifiers import as_reward  # threads and processes, which importing this package does not need

    resolved = _with(verifier, settings)
    name = next((name for name, path in BUILT_IN.items() if path == resolved.path), resolved.path.rpartition(":")[2])
    return as_reward.trl_function(resolved, name, answer, as_reward.PoolLimits(workers, deadline, memory_mb))


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: dict | None = None,
    *,
    verifier: "str | dict | Callable | Resolved" = "math",
    workers: int = 2,
    deadline: float = 5.0,
    memory_mb: int = 2048,
    **settings: Any,
) -> dict[str, float | str]:
    """verl's reward function: `custom_reward_function.path` is this file, `.name` is compute_score, and what follows
    the four stands in `custom_reward_function.reward_kwargs`: the verifier, its settings, the pool's limits (`reward`).

    The dict has `score`, `acc` (1.0 where it is right) and `verdict`, the status. verl knows no missing score: a
    completion that cannot be judged gets 0.
    """
    from r1lab_verifiers import as_reward

    meta = {"data_source": data_source, "extra_info": extra_info or {}}
    item = Item(solution_str, as_reward.gold_answer(ground_truth), meta=meta)
    return as_reward.verl_score(_with(verifier, settings), item, as_reward.PoolLimits(workers, deadline, memory_mb))


def _with(verifier: "str | dict | Callable | Resolved", settings: dict[str, Any]) -> Resolved:
    if not settings or isinstance(verifier, Resolved):
        return resolve(verifier)
    return resolve({**(verifier if isinstance(verifier, dict) else {"use": verifier}), **settings})


__all__ = [
    "BUILT_IN", "STATUSES", "Item", "Resolved", "Verdict", "Verifier", "compute_score", "resolve", "reward"
]  # fmt: skip
