"""Two processes over gloo are one run: the same losses, whole after a kill, one line where one of them fails.

Every process has a launcher's environment. The last test is the command itself.
"""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from r1lab import embedded
from r1lab.records import Role

pytestmark = pytest.mark.slow

RECIPE = {
    "name": "two",
    "data": {"task": "addition", "size": 64, "settings": {"digits": 2}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 16,
    "learning_rate": 3e-4,
    "optimizer": {"warmup_updates": 0},
    "threads": 1,
    "workers": {"count": 1},
    "checkpoint_every": 1,
    "prompts_per_step": 3,
    "stages": [
        {"kind": "sft", "steps": 1},
        {
            "kind": "rl",
            "steps": 3,
            "group_size": 4,
            "updates_per_step": 2,
            "reward": {"score": 1.0, "length": -1.0},
            "objective": {"preset": "grpo"},
            "eval": {"every": 2, "sets": {"test": {"task": "addition", "split": "eval", "size": 5}}},
        },
    ],
}

PROCESS = """
os.environ.update({environment!r})
log = open({log!r}, "a", buffering=1)
os.dup2(log.fileno(), 2)
sys.stderr = log
from r1lab import errors, feed, loop, pipeline
from r1lab.policy import policy

def fail(error):
    raise error

def kill(number):
    os.kill(os.getpid(), number)

{code}
"""

TRAIN = """
from torch.distributed.tensor import DTensor
original = loop.train
def train(**parts):
    kinds = {{isinstance(weight, DTensor) for weight in parts["policy"].model.parameters()}}
    assert kinds == {{os.environ.get("EXPECT_SHARDS") == "yes"}}, kinds
    original(**parts)
loop.train = train
if os.environ.get("RANK") == {rank!r}:
    {death}
sys.argv = ["r1lab", "train", {recipe!r}]
from r1lab.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def start(forked):
    """So many processes, each with a launcher's environment; what they print on stderr goes to `log`."""

    def run(log: Path, code: str, count: int = 2, **environment: str) -> list:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = str(found.getsockname()[1])
        processes = []
        for rank in range(count):
            own = {"OMP_NUM_THREADS": "1", **environment}
            if count > 1:
                own |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
                        "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": port}  # fmt: skip
            processes.append(forked(PROCESS.format(environment=own, log=str(log), code=code)))
        return processes

    return run


@pytest.fixture(scope="module")
def train(start, ended):
    """Exit codes of a run in `out`; `death` is what one rank does before."""

    def run(out: Path, count: int = 2, death: str = "pass", rank: int = 1, waited_for: int = 2, **changes) -> list:
        stages = changes.pop("stages", RECIPE["stages"])
        deadline = changes.pop("deadline", "60")
        out.parent.mkdir(parents=True, exist_ok=True)
        recipe = out.with_suffix(".yaml")
        recipe.write_text(yaml.safe_dump({**RECIPE, "stages": stages, "out": str(out), **changes}))
        shards = "yes" if changes.get("parallel") == "fsdp2" and count > 1 else "no"
        code = TRAIN.format(rank=str(rank), death=death, recipe=str(recipe))
        log = out.with_suffix(".log")
        return ended(start(log, code, count, EXPECT_SHARDS=shards, R1LAB_RANK_DEADLINE=deadline), waited_for=waited_for)

    return run


def said(out: Path) -> list[str]:
    """Lines of the command itself on stderr."""
    return [line for line in out.with_suffix(".log").read_text().splitlines() if line.startswith("r1lab: ")]


def near(found: float | None, true: float | None, rel: float = 1e-5) -> bool:
    """A policy's loss is a sum of terms about 1 in size that cancel, so it is held to 1e-6 of those."""
    return found is true is None or found == pytest.approx(true, rel=rel, abs=1e-6)


def figures(out: Path) -> list[dict]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def one(train, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("one") / "run"
    assert train(out, 1) == [0], out.with_suffix(".log").read_text()
    return out


@pytest.fixture(scope="module", params=["ddp", "fsdp2"])
def two(train, request, tmp_path_factory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp(request.param) / "run"
    assert train(out, parallel=request.param) == [0, 0], out.with_suffix(".log").read_text()
    return out, request.param


def test_two_processes_learn_what_one_learns(one, two):
    rows, truth = figures(two[0]), figures(one)
    assert [row.keys() for row in rows] == [row.keys() for row in truth]
    for row, true in zip(rows, truth):
        for key in ("loss/value", "reward/mean", "tokens/budget", "eval/test/score"):
            assert near(row.get(key), true.get(key)), (row["stage"], row["step"], key)
        assert near(row.get("update/grad_norm"), true.get("update/grad_norm"), 1e-4), (row["stage"], row["step"])
    assert any(row.get("update/grad_norm", 0) > 1e-3 for row in truth if row["stage"] == "rl" and row["step"])
    mine, true = weights(two[0]), weights(one)
    assert mine.keys() == true.keys()
    gap, size = ((sum(float(t.square().sum()) for t in each) ** 0.5) for each in (
        [mine[name] - true[name] for name in true], true.values()))  # fmt: skip
    assert gap <= 1e-4 * size  # AdamW's first steps are signs: what rounds about 0 moves either way
    manifest = json.loads((two[0] / "manifest.json").read_text())
    assert (manifest["processes"], manifest["rounding"]["rl"]["parallel"]) == (2, two[1])
    assert said(two[0]) == []


def test_a_run_of_two_that_lost_one_goes_on_bit_for_bit_or_with_one_process(train, two, tmp_path):
    straight, parallel = two
    out = tmp_path / "run"
    assert train(out, death="at_call(loop, 'learn', 3, lambda: kill(9))", parallel=parallel) == [1, -9]
    (line,) = said(out)
    assert line.startswith("r1lab: rank 0 of 2: another process is gone")
    shutil.copytree(out, tmp_path / "alone")
    assert train(out, parallel=parallel) == [0, 0]
    assert figures(out) == figures(straight)
    assert all(torch.equal(weights(out)[name], tensor) for name, tensor in weights(straight).items())
    assert train(tmp_path / "alone", 1, parallel=parallel) == [0]
    for row, true in zip(figures(tmp_path / "alone"), figures(straight), strict=True):
        assert near(row.get("loss/value"), true.get("loss/value"))
    assert "processes: 1 now, 2 before" in (tmp_path / "alone.log").read_text()
    notes = json.loads((tmp_path / "alone" / "manifest.json").read_text())["notes"]
    assert any(note.startswith("processes: 1 now, 2 before") for note in notes)


LEARNED = [
    {"kind": "reward_model", "name": "scores", "steps": 2, "prompts_per_step": 4,
     "data": {"task": "addition_pairs", "size": 16, "settings": {"digits": 2}}},
    {**RECIPE["stages"][1], "steps": 2, "eval": {}, "reward": {"helpful": {"use": "reward_model", "stage": "scores"}}},
]  # fmt: skip


def test_each_process_scores_its_own_draws_and_two_learn_what_one_learns(train, tmp_path):
    assert train(tmp_path / "one", 1, stages=LEARNED) == [0], (tmp_path / "one.log").read_text()
    assert train(tmp_path / "two", stages=LEARNED) == [0, 0], (tmp_path / "two.log").read_text()
    for row, true in zip(figures(tmp_path / "two"), figures(tmp_path / "one"), strict=True):
        for key in ("loss/value", "reward/raw/helpful", "reward/mean"):
            assert near(row.get(key), true.get(key), 1e-4), (row["stage"], row["step"], key)
    assert any(row.get("reward/raw/helpful") for row in figures(tmp_path / "two"))


PLAYED = [{
    **RECIPE["stages"][1], "steps": 2, "data": {"path": "numbers.jsonl"}, "verifier": "environment",
    "environment": {"use": "guess", "max_turns": 3, "max_observation_tokens": 40}, "sampling": {"stop": ["+", ","]},
    "reward": {"score": 0.0, "environment": 1.0, "length": -1.0}, "updates_per_step": 1,
    "eval": {"every": 2, "sets": {"test": {"path": "others.jsonl"}}},
}]  # fmt: skip


def test_two_processes_that_play_episodes_learn_what_one_learns(train, tmp_path):
    for name, letters in {"numbers": "abcdefgh", "others": "opqrs"}.items():
        rows = [json.dumps({"prompt": f"{letter}?", "answer": str(ord(letter) % 9)}) for letter in letters]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    assert train(tmp_path / "one", 1, stages=PLAYED) == [0], (tmp_path / "one.log").read_text()
    assert train(tmp_path / "two", stages=PLAYED) == [0, 0], (tmp_path / "two.log").read_text()
    for row, true in zip(figures(tmp_path / "two"), figures(tmp_path / "one"), strict=True):
        for key in ("loss/value", "reward/mean", "episode/turns", "episode/context_share", "eval/test/score"):
            assert near(row.get(key), true.get(key)), (row["step"], key)
        assert near(row.get("update/grad_norm"), true.get("update/grad_norm"), 1e-4), row["step"]
    *_, last = figures(tmp_path / "one")
    assert last["update/grad_norm"] > 1e-3 and last["episode/turns"] > 1


EVALUATED = [{**RECIPE["stages"][0], "eval": {**RECIPE["stages"][1]["eval"], "at_start": False}}, RECIPE["stages"][1]]
BROKEN_OFF = """
    from r1lab.evaluation import runner
    at_call(runner, "item_of", 1, lambda: kill(signal.SIGTERM))"""


@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_a_signal_to_one_rank_amid_an_evaluation_saves_the_step_of_all(train, tmp_path, parallel):
    changes = {"parallel": parallel, "checkpoint_every": 50, "stages": EVALUATED}
    assert train(tmp_path / "straight", **changes) == [0, 0]
    assert train(tmp_path / "run", death=BROKEN_OFF, **changes) == [143, 143]
    ended = "stopped by SIGTERM in the evaluation after step 1 of stage sft; the same command goes on from here"
    assert said(tmp_path / "run") == [f"r1lab: {ended}"]
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["sft-1"]
    assert train(tmp_path / "run", **changes) == [0, 0]
    assert figures(tmp_path / "run") == figures(tmp_path / "straight")
    straight = weights(tmp_path / "straight")
    assert all(torch.equal(weights(tmp_path / "run")[name], tensor) for name, tensor in straight.items())


SHORT = [{**RECIPE["stages"][1], "steps": 2, "eval": {}}]
FAILS = {
    "rank 1 while it samples": (1, "at_call(feed.Feed, '_sample', 2, lambda: fail(errors.RunError('no more')))"),
    "rank 0 while it writes": (0, "at_call(loop.journal, 'write_block', 1, lambda: fail(errors.RunError('no more')))"),
    "rank 1 in its update": (1, "at_call(policy.Policy, '_learn', 1, lambda: fail(errors.RecipeError('no more')))"),
}


@pytest.mark.parametrize("where", FAILS)
def test_a_rank_that_fails_ends_all_with_one_line(train, tmp_path, where):
    (rank, death), code = FAILS[where], 2 if "RecipeError" in FAILS[where][1] else 1
    assert train(tmp_path / "run", death=death, rank=rank, stages=SHORT) == [code, code]
    assert said(tmp_path / "run") == ["r1lab: no more"]


def test_a_rank_that_hangs_is_waited_for_until_the_deadline(train, tmp_path):
    death = "at_call(feed.Feed, '_sample', 1, lambda: kill(signal.SIGSTOP))"
    codes = train(tmp_path / "run", death=death, stages=SHORT, deadline="3", waited_for=1)
    assert codes == [1, None]
    assert "another process did not answer within 3 s (R1LAB_RANK_DEADLINE)" in said(tmp_path / "run")[0]


UPDATE = """
import pickle, torch
from r1lab.distributed import ranks, sharding
from r1lab.objective import build
from r1lab.policy.policy import Policy
from r1lab.recipe import ObjectiveConfig, RlStageConfig

def run():
    cases = pickle.load(open({cases!r}, "rb"))
    for name, (location, settings, preset, values, samples) in cases.items():
        torch.set_num_threads(1)
        stage = RlStageConfig(data={{"task": "addition"}}, **settings)
        policy = Policy(location, stage, total_updates=10, temperature=1.0, needs_ref=True, value_rate=values)
        if policy.value_head is not None:
            sharding.load(policy.value_head, {{"weight": torch.ones(1, 64) / 64, "bias": torch.ones(1)}})
        scores = policy.scores(samples)
        refs = policy.score(samples, reference=True)
        update = policy.update(samples, build(ObjectiveConfig(preset=preset), max_new_tokens=16, group_size=8))
        every = [weight for group in policy.optimizer.param_groups for weight in group["params"]]
        gradient = torch.cat([sharding.full_tensor(weight.grad).flatten() for weight in every])
        after = torch.cat([sharding.full_tensor(weight.detach()).flatten() for weight in every])
        sharded = sharding.is_sharded(policy.model)
        if ranks.is_first():
            rows = {{key: sorted(value.tolist()) for key, value in update.rows.items()}}
            found = (sharded, update.loss, gradient, after, rows, update.forwarded_tokens, scores, refs)
            torch.save(found, os.path.join({out!r}, name + ".pt"))

with ranks.session():
    run()
"""


def cases(make_samples, make_rollout, tiny_model, parallel):
    """Tied and untied heads, a value head, episodes, pairs; ranks of uneven work and one without any."""
    quiet = {"precision": "float32", "optimizer": {"warmup_updates": 0, "grad_clip": 0.0}, "learning_rate": 1e-3,
             "steps": 1, "parallel": parallel, "micro_batch_tokens": 30}  # fmt: skip
    given = make_samples(7, engine=-4.0)
    policy = [replace(s, returns=np.full(len(s.role), 0.3, np.float32), old=s.rollout.engine_logprobs,
                      ref=np.full(len(s.role), -4.0, np.float32)) for s in given]  # fmt: skip
    episodes = []
    for s in policy:  # two tokens of a turn, two observed, and so on
        role = np.where(np.arange(len(s.role)) // 2 % 2, Role.CONTEXT, Role.POLICY)
        prompt, ids = s.rollout.request.prompt_ids, s.rollout.completion_ids
        rollout = make_rollout(prompt, ids, index=s.rollout.request.id.index, role=role, engine=-4.0)
        episodes.append(replace(s, rollout=rollout, role=rollout.role, old=rollout.engine_logprobs))
    pairs = [replace(s, role=np.full_like(s.role, Role.PAIR), unit=1 + i // 2) for i, s in enumerate(policy[:6])]
    tied, untied = str(embedded.path()), str(tiny_model)
    return {
        "tied": (tied, quiet, "default", None, policy),
        "untied": (untied, quiet, "default", None, policy),
        "values": (untied, quiet, "ppo", 1.0, policy),
        "episodes": (untied, quiet, "ppo", 1.0, episodes),
        "pairs": (untied, quiet, "dpo", None, pairs),
        "one sample": (untied, quiet, "default", None, policy[:1]),
        "none": (untied, quiet, "default", None, []),
    }


@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_an_update_shared_out_is_the_whole_update(
    start, ended, make_samples, make_rollout, tiny_model, tmp_path, parallel
):
    import pickle

    todo = cases(make_samples, make_rollout, tiny_model, parallel)
    (tmp_path / "cases").write_bytes(pickle.dumps(todo))
    for count in (1, 2):
        out = tmp_path / str(count)
        out.mkdir()
        code = UPDATE.format(cases=str(tmp_path / "cases"), out=str(out))
        assert ended(start(tmp_path / "log", code, count)) == [0] * count, (tmp_path / "log").read_text()
    for name in todo:
        (_, loss, gradient, after, rows, tokens, scores, refs), (sharded, *found) = (
            torch.load(tmp_path / count / f"{name}.pt", weights_only=False) for count in "12"
        )
        assert sharded == (parallel == "fsdp2"), name
        assert found[0] == pytest.approx(loss, rel=1e-5, abs=1e-7), name
        assert (found[1] - gradient).norm() <= 1e-5 * gradient.norm() and found[4] == tokens, name
        assert (gradient.norm() > 1e-3) == (name != "none"), name
        clear = gradient.abs() >= 1e-4 * gradient.abs().max()  # Adam's first step is a sign: of noise, where it is less
        assert (found[2] - after)[clear].abs().max() < 2e-5 and (found[2] - after).abs().max() < 2.1e-3, name
        assert all(np.allclose(found[3][key], rows[key], 1e-4, 1e-5, equal_nan=True) for key in rows), name
        for own, true in zip([*found[5], *found[6]], [*scores, *refs], strict=True):
            both = [np.concatenate([np.ravel(each) for each in scored if each is not None]) for scored in (own, true)]
            assert np.allclose(*both, 1e-4, 1e-5, equal_nan=True), name


def test_sigterm_to_accelerates_launcher_finishes_the_step(tmp_path):
    recipe = tmp_path / "two.yaml"
    recipe.write_text(yaml.safe_dump({**RECIPE, "stages": [{**SHORT[0], "steps": 60}], "checkpoint_every": 60}))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--mixed_precision",
               "no", "-m", "r1lab", "train", str(recipe), f"out={tmp_path / 'run'}"]  # fmt: skip
    launcher = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    lines = []
    for line in launcher.stderr:  # to its end: what it started holds it too
        lines.append(line.rstrip())
        if "rl step " in line and "rl step 1/" not in line:  # one that has gone gets no second signal
            launcher.send_signal(signal.SIGTERM)
    launcher.wait()
    said = "\n".join(lines)
    last = int(re.findall(r"rl step (\d+)/60", said)[-1])
    end = f"r1lab: stopped by SIGTERM after step {last} of stage rl; the same command goes on from here"
    assert said.count("r1lab: ") == 1 and end in said, said
    assert 2 <= last < 40 and [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == [f"rl-{last}"]
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["processes"] == 2
