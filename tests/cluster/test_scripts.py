"""The scripts for several machines: they parse, the options they give exist, and with stand-ins for SLURM they start
what they say. No SLURM has run them."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import typer

from r1lab.cli.main import app
from r1lab.cluster import config

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "cluster"
SCRIPTS = sorted(path for path in FOLDER.iterdir() if path.suffix in (".sh", ".sbatch"))
STUBS = {
    "scontrol": 'printf "%s\\n" n1 n2 n3',
    "curl": "exit 0",
    "srun": """
        echo "srun $*" >> "$LOG"; tasks=1; trap 'kill -TERM $(jobs -p) 2> /dev/null' TERM
        while [[ $1 == --* ]]; do case $1 in --ntasks=*) tasks=${1#*=} ;; esac; shift; done
        for ((task = 0; task < tasks; task++)); do
          SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_NTASKS=$tasks SLURM_NNODES=1 "$@" & done
        code=0; for job in $(jobs -p); do wait "$job" || code=$?; done
        for job in $(jobs -p); do wait "$job" || code=$?; done; exit $code""",
    "r1lab": """
        echo "RANK=${RANK-} WORLD_SIZE=${WORLD_SIZE-} MASTER_ADDR=${MASTER_ADDR-} KEY=${#R1LAB_KEY} r1lab $*" >> "$LOG"
        if [[ $1 == serve ]]; then exec sleep 60; fi
        if [[ $* == *wait* ]]; then trap 'echo saved >> "$LOG"; exit 143' TERM; sleep 60 & wait; fi""",
    "ray": 'echo "ray $*" >> "$LOG"; if [[ $1 == start ]]; then exec sleep 60; fi',
    "torchrun": 'echo "torchrun $*" >> "$LOG"; echo --shutdown-timeout',
}


@pytest.fixture
def start(tmp_path):
    """start(script, *arguments, **environment) -> its process; what it started is in `log`."""
    for name, text in STUBS.items():
        stub = tmp_path / "bin" / name
        stub.parent.mkdir(exist_ok=True)
        stub.write_text(f"#!/usr/bin/env bash\n{text}\n")
        stub.chmod(0o755)

    def run(script: str, *arguments: str, **environment: str) -> subprocess.Popen:
        own = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "LOG": str(tmp_path / "log"), "POLL": "0.1"}
        own |= {"SLURM_JOB_NODELIST": "n[1-3]", **environment}
        return subprocess.Popen(["bash", str(FOLDER / script), *arguments], env={**os.environ, **own})

    return run


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_parses(script):
    assert subprocess.run(["bash", "-n", str(script)], capture_output=True).returncode == 0
    assert script.read_text().startswith("#!/usr/bin/env bash\n")


def options_of(command: str, text: str) -> set[str]:
    """`--host` of what follows a command, up to the end of its line, continued ones taken as one."""
    joined = text.replace("\\\n", " ")
    # "ray start --head --port=6379 --block &"; "exec torchrun --nnodes 2"
    return {
        option for rest in re.findall(rf"{command} ([^\n&|;']*)", joined) for option in re.findall(r"--[\w-]+", rest)
    }


@pytest.mark.parametrize("name", ["serve", "train"])
def test_options_of_the_commands_exist(name):
    asked = set().union(*(options_of(f"(?:exec|^) ?r1lab {name}", path.read_text()) for path in SCRIPTS))
    known = {option for each in typer.main.get_command(app).commands[name].params for option in each.opts}
    assert asked - known <= {"--tensor-parallel-size"}  # which goes to vLLM
    assert name == "train" or "--key-env" in asked


@pytest.mark.slow
def test_options_of_torchrun_exist():
    from torch.distributed.run import get_args_parser

    known = {option for action in get_args_parser()._actions for option in action.option_strings}
    assert {"--nnodes", "-m"} <= known and options_of("torchrun", (FOLDER / "torchrun.sh").read_text()) <= known


@pytest.mark.slow
def test_options_of_ray_exist():
    scripts = pytest.importorskip("ray.scripts.scripts", reason="Ray is not installed (extra ray)")
    known = {option for each in scripts.start.params for option in each.opts}
    assert options_of("ray start", (FOLDER / "ray.sbatch").read_text()) <= known


def test_the_example_of_a_cluster_yaml_is_one():
    found = config.read(FOLDER / "cluster.yaml")
    assert (found.address, found.servers.gpus, found.trainers.gpus) == ("auto", 1, 1)


def test_one_job_of_slurm_starts_servers_and_trainers_with_their_urls(start, tmp_path):
    ended = start("slurm.sbatch", "my.yaml", MODEL="org/model", GPUS="2", TRAINER_NODES="2").wait(60)
    lines = (tmp_path / "log").read_text().splitlines()
    commands = sorted(line for line in lines if line.startswith("RANK="))
    served, learned = ([line for line in commands if f" r1lab {name} " in line] for name in ("serve", "train"))
    assert ended == 0 and len(served) == 2 and len(learned) == 4
    assert all("KEY=32 r1lab serve org/model --host 0.0.0.0 --port 800" in line for line in served)
    assert learned[3] == (
        "RANK=3 WORLD_SIZE=4 MASTER_ADDR=n1 KEY=32 r1lab train my.yaml engine.kind=server "
        'engine.urls=["http://n3:8000","http://n3:8001"] engine.key_env=R1LAB_KEY'
    )
    steps = [line for line in lines if line.startswith("srun ")]
    assert "--nodelist=n3 --ntasks=2" in steps[0] and "--nodelist=n1,n2 --ntasks=4" in steps[1]


@pytest.mark.parametrize(("script", "rest"), [("slurm.sbatch", ()), ("ray.sbatch", ("--cluster", "cluster.yaml"))])
def test_a_signal_reaches_the_trainers_and_is_waited_for(start, tmp_path, script, rest):
    job, log = start(script, "wait.yaml", *rest, MODEL="m", GPUS="1", TRAINER_NODES="1"), tmp_path / "log"
    ends = time.monotonic() + 60
    while not (log.exists() and " r1lab train " in log.read_text()):
        assert job.poll() is None and time.monotonic() < ends
        time.sleep(0.05)
    time.sleep(0.3)  # until the stand-in listens
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 143 and "saved" in log.read_text()


def test_torchrun_gets_the_run_and_the_place_to_meet(start, tmp_path):
    assert start("torchrun.sh", "my.yaml", "out=run", HEAD="n1", MACHINES="2", GPUS="8").wait(60) == 0
    assert (tmp_path / "log").read_text().splitlines()[-1] == (
        "torchrun --nnodes 2 --nproc-per-node 8 --max-restarts 0 --shutdown-timeout 3600 --rdzv-backend c10d "
        "--rdzv-endpoint n1:29500 --rdzv-id r1lab -m r1lab train my.yaml out=run"
    )


@pytest.mark.parametrize(("script", "told"), [("slurm.sbatch", "MODEL"), ("torchrun.sh", "HEAD")])
def test_what_a_script_needs_is_named(script, told):
    done = subprocess.run(
        ["bash", str(FOLDER / script)], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True
    )
    assert done.returncode != 0 and told in done.stderr
