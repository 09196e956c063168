"""Records of `r1lab doctor`: one finding, and a probe's answer. Plain data; the checks stand beside it."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["ok", "missing", "broken", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    area: str
    """The heading it stands under: devices, packages, isolation ..."""
    name: str
    """What was looked at."""
    state: State
    """`missing`: could be there. `broken`: is there and does not work. `note`: nothing to repair, but worth knowing."""
    detail: str
    """One line for people."""
    remedy: str = ""
    """The exact shell command where there is one, else a sentence; empty where nothing needs doing."""
    core: bool = False
    """Whether r1lab cannot train without it."""
    fix: tuple[str, ...] | None = None
    """A command line that is safe to run without asking, where the remedy is one."""

    @property
    def is_fatal(self) -> bool:
        return self.core and self.state == "broken"


@dataclass(frozen=True)
class ProbeAnswer:
    """What came back from a probe (`r1lab.doctor.probes`)."""

    facts: dict[str, Any] = field(default_factory=dict)
    """What it said, as far as it came."""
    problem: str | None = None
    """Why it did not come to its end, in one line."""


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """The one object that `--json` prints."""
    return {"ok": not any(each.is_fatal for each in findings), "findings": [asdict(each) for each in findings]}


def lines(findings: list[Finding]) -> list[str]:
    """Aligned lines under a heading for each area; below what is not ok stands its remedy."""
    width = max((len(finding.name) for finding in findings), default=0)
    text, area = [], None
    for finding in findings:
        if finding.area != area:
            area = finding.area
            text += ["", area] if text else [area]
        text.append(f"  {finding.state:<7}  {finding.name:<{width}}  {finding.detail}".rstrip())
        if finding.remedy and finding.state != "ok":
            text.append(f"  {'':<7}  {'':<{width}}  -> {finding.remedy}")
    fatal = [finding.name for finding in findings if finding.is_fatal]
    return [*text, "", f"the core is broken: {', '.join(fatal)}" if fatal else "the core works"]
