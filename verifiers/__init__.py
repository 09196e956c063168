"""Says what is true of a completion, and why. Not what training pays for it (`r1lab.reward`).

The table of built-ins and the one look-up of a recipe's `verifier:`. Importing this package loads no verifier.
"""

from collections.abc import Callable, Iterable

from verifiers import plugin
from verifiers.plugin import Resolved
from verifiers.verdict import STATUSES, Item, Verdict

BUILT_IN = {
    "choice": "verifiers.choice:Choice",
    "code": "verifiers.code:Code",
    "countdown": "verifiers.countdown:Countdown",
    "exact": "verifiers.exact:Exact",
    "format": "verifiers.format:Format",
    "math": "verifiers.math.verifier:Math",
    "math_verify": "verifiers.math_verify:MathVerify",
    "numeric": "verifiers.numeric:Numeric",
    "reasoning_gym": "verifiers.gym:Gym",
    "regex": "verifiers.regex:Regex",
}


def resolve(spec: "str | dict | Callable | Resolved", import_paths: Iterable[str] = ()) -> Resolved:
    """What a recipe's `verifier:` means: a built-in's name, `package.module:name`, or `{use: either, **settings}`.

    A callable stands for its own path. `import_paths` go to the end of sys.path, for good. Imports the plug-in to check
    its form and its settings; raises ValueError, one line, where anything is wrong.
    """
    return plugin.resolve(spec, BUILT_IN, import_paths)


__all__ = ["BUILT_IN", "STATUSES", "Item", "Resolved", "Verdict", "resolve"]
