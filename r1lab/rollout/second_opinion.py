"""A second verifier on a sample of the rollouts, as an alarm for false positives. It never changes a reward.

    second_verifier: math_verify                                  # a tenth of the rollouts
    second_verifier: {use: mypkg.checks:strict, share: 0.5}       # other keys are the verifier's own settings

A rate of `lenient` that grows while the reward does says that the policy has found what the first verifier lets pass.
"""

from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from r1lab.errors import RecipeError
from r1lab.records import Rollout, Scored
from r1lab.rollout.protocol import VerificationProtocol
from r1lab.rollout.verification import key_of, resolve
from r1lab.seeds import derive
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

DEFAULT_SHARE = 0.1


class SecondOpinion:
    """The second verifier, or none."""

    def __init__(self, setting: Any = None):
        settings = dict(setting) if isinstance(setting, dict) else {"use": setting}
        self.share = settings.pop("share", DEFAULT_SHARE)
        if isinstance(self.share, bool) or not isinstance(self.share, (int, float)) or not 0 < self.share <= 1:
            raise RecipeError(f"second_verifier.share: {self.share!r} must lie in (0, 1]; it is a share")
        spec: Any = settings if len(settings) > 1 else settings.get("use")
        self.table = resolve([spec]) if setting is not None else {}
        self.key = key_of(spec) if setting is not None else ""

    def submit(self, verification: VerificationProtocol, rollout: Rollout, problem: Problem) -> Future[Verdict] | None:
        """Start to verify this rollout where it is of the sample, which its seed decides."""
        if not self.key or derive(rollout.request.seed, "second_verifier") >= self.share * 2**63:
            return None
        return verification.submit(rollout, problem, self.key)

    @staticmethod
    def beside(scored: Scored, second: Future[Verdict] | None) -> Scored:
        """The scored rollout with the second verdict, where there is one."""
        return scored if second is None else replace(scored, second=second.result())
