"""Verifiers: they judge whether a completion is correct, and say why. Not what training pays for it
(`r1lab.rollout.reward`).

Beside each regular expression of this package stands a string in which it finds something, and one in which not.
The table of built-ins and the one look-up of a recipe's `verifier:`. Importing this package loads no verifier.
"""

from collections.abc import Callable, Iterable

from r1lab_verifiers import plugin
from r1lab_verifiers.plugin import Resolved
from r1lab_verifiers.verdict import STATUSES, Item, Verdict, Verifier

BUILT_IN = {
    "choice": "r1lab_verifiers.choice:Choice",
    "code": "r1lab_verifiers.code.verifier:Code",
    "countdown": "r1lab_verifiers.countdown:Countdown",
    "exact": "r1lab_verifiers.exact:Exact",
    "format": "r1lab_verifiers.format:Format",
    "math": "r1lab_verifiers.math.verifier:Math",
    "math_verify": "r1lab_verifiers.math_verify:MathVerify",
    "numeric": "r1lab_verifiers.numeric:Numeric",
    "reasoning_gym": "r1lab_verifiers.reasoning_gym:Gym",
    "regex": "r1lab_verifiers.regex:Regex",
}


def resolve(spec: "str | dict | Callable | Resolved", import_paths: Iterable[str] = ()) -> Resolved:
    """What a recipe's `verifier:` means: a built-in's name, `package.module:name`, or `{use: either, **settings}`.

    A callable stands for its own path. `import_paths` go to the end of sys.path, for good. Imports the plug-in to check
    its form and its settings; raises ValueError, one line, where anything is wrong.
    """
    return plugin.resolve(spec, BUILT_IN, import_paths)


__all__ = ["BUILT_IN", "STATUSES", "Item", "Resolved", "Verdict", "Verifier", "resolve"]
