"""The verifier `environment`: what the world of an episode said at its end. Judges nothing by itself."""

from dataclasses import dataclass
from typing import ClassVar

from r1lab_verifiers.verdict import Item, Verdict


@dataclass(frozen=True)
class EpisodeVerdict:
    """The environment's own verdict, which comes with the episode (`meta["environment"]`)."""

    needs_answer: ClassVar[bool] = False

    def verify(self, item: Item) -> Verdict:
        said = item.meta.get("environment")
        if not isinstance(said, dict) or "status" not in said:
            return Verdict(None, "error", reason="no environment said anything of this completion")
        return Verdict(said["score"], said["status"], said.get("extracted"), said.get("reason", ""))
