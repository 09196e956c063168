"""What a run says on the console: a signal answered at once, checks that hang on the step's line, one word at the end
where nothing was learned."""

import json
import signal
import time

import pytest
import yaml

from r1lab import pipeline
from r1lab.recipe import load
from r1lab.run.progress import Progress

RECIPE = {
    "name": "said", "steps": 4, "threads": 1, "max_new_tokens": 16, "prompts_per_step": 2, "group_size": 4,
    "data": {"task": "addition", "size": 64, "settings": {"digits": 2}}, "prompt": {"format": "Q: {prompt}\nA:"},
    "workers": {"count": 1, "deadline": 0.2},
}  # fmt: skip
TRAIN = """
from r1lab import loop
at_call(loop, "learn", 2, act=lambda: os.kill(os.getpid(), {number}))
sys.argv = ["r1lab", "train", {recipe!r}, "out=run"]
from r1lab.cli.main import main
main()
"""
CHECKS = """
def stuck(completion, answer):
    while completion.startswith(" "): pass  # as a completion does, and a solution does not
    return True
def never(completion, answer):
    return False
"""


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_the_first_signal_is_answered_at_once_and_the_exit_code_says_which(number, forked_in, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    running = forked_in(tmp_path, TRAIN.format(number=int(number), recipe="recipe.yaml"))
    running.join(60)
    name = signal.Signals(number).name
    said = (tmp_path / "stderr").read_text().splitlines()
    at = said.index(f"{name}: stopping after this step; again: at once")
    assert said[at + 1].startswith("rl step 2/4: ") and running.exitcode == 128 + number
    assert said[at + 2 :] == [f"r1lab: stopped by {name} after step 2 of stage rl; the same command goes on from here"]
    assert (tmp_path / "run" / "checkpoints" / "rl-2").is_dir()


EVALUATE = """
from r1lab.evaluation import runner
at_call(runner, "item_of", {submitted}, act=lambda: os.kill(os.getpid(), {number}), before=False)
sys.argv = ["r1lab", "train", "recipe.yaml", "out=run"]
from r1lab.cli.main import main
main()
"""
WAITS = """
import os, time
def waits(completion, answer):
    while os.path.exists("wait") and answer not in completion: time.sleep(0.02)
    return answer in completion
"""


@pytest.mark.parametrize(("number", "submitted", "step"), [
    (signal.SIGINT, 1, 0), pytest.param(signal.SIGTERM, 6, 0, marks=pytest.mark.slow),
    pytest.param(signal.SIGINT, 6 + 2, 1, marks=pytest.mark.slow),
])  # fmt: skip
def test_a_signal_amid_an_evaluation_ends_it_at_once_and_resume_makes_it_anew(
    number, submitted, step, forked_in, tmp_path
):
    sets = {"held_out": {"task": "addition", "split": "eval", "size": 6, "settings": {"digits": 2}}}
    (tmp_path / "recipe.yaml").write_text(
        yaml.safe_dump({**RECIPE, "verifier": "waits:waits", "workers": {"count": 1, "deadline": 60.0}, "steps": 1,
                        "eval": {"sets": sets}})
    )  # fmt: skip
    (tmp_path / "waits.py").write_text(WAITS)
    if step == 0:
        (tmp_path / "wait").touch()
    began, name = time.monotonic(), signal.Signals(number).name
    running = forked_in(tmp_path, EVALUATE.format(number=int(number), submitted=submitted))
    running.join(50)
    said = (tmp_path / "stderr").read_text().splitlines()
    place = f"in the evaluation after step {step} of stage rl"
    assert said[-1] == f"r1lab: stopped by {name} {place}; the same command goes on from here"
    assert f"{name}: stopping after this step; again: at once" in said[-2]
    assert running.exitcode == 128 + number and time.monotonic() - began < 50
    assert not (tmp_path / "run" / "eval" / f"rl-{step}-held_out" / "completions.parquet").exists()
    assert (tmp_path / "run" / "checkpoints" / f"rl-{step}").is_dir() == bool(step)  # what was learned is saved
    (tmp_path / "wait").unlink(missing_ok=True)
    again = forked_in(tmp_path, EVALUATE.format(number=int(number), submitted=10**6))
    again.join(60)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert again.exitcode == 0 and [row["step"] for row in rows] == [0, 1]
    assert all("eval/held_out/avg" in row for row in rows)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """A run with these changes: its rows without times, and what it said."""
    (tmp_path / "checks.py").write_text(CHECKS)
    monkeypatch.syspath_prepend(tmp_path)

    def train(**changes) -> tuple[list[dict], list[str]]:
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        done = pipeline.train(load.resolve({**RECIPE, "out": str(out), "steps": 1, **changes}, tmp_path), Progress())
        rows = [{key: value for key, value in row.items() if not key.startswith("time/")} for row in done.metrics]
        return rows, capsys.readouterr().err.splitlines()

    return train


def test_a_verifier_that_hangs_on_what_is_sampled_is_said_on_the_steps_line(run):
    (row,), said = run(verifier="checks:stuck", group_size=2)
    share = row["verdict/timeout"]
    (line,) = [line for line in said if line.startswith("rl step 1/1: ")]
    assert share >= 0.5 and line.endswith(f"{share:.1%} timeouts")
    assert any("checks hung, crashed or failed: try the verifier by itself (r1lab audit)" in line for line in said)


def test_a_run_without_signal_ends_in_one_warning_with_the_remedy(run):
    (row,), said = run(verifier="checks:never")
    assert row["update/grad_norm"] == 0
    (warning,) = [line for line in said if line.startswith("warning: ")]
    assert said[-1] == warning and "no_signal: learned nothing: in its only step every reward was 0" in warning
    assert "no completion was right: take easier problems" in warning


def test_samples_on_the_console_change_nothing_that_is_kept(run):
    more = {"steps": 2, "prompts_per_step": 8, "max_new_tokens": 32, "data": {"task": "addition", "size": 64}}
    (silent, without), (shown, said) = run(**more, print_samples=0), run(**more, print_samples=1)
    assert json.dumps(silent) == json.dumps(shown)
    assert sum(" problem | " in line for line in said) >= 2 and not any(" | " in line for line in without)
    assert not any(line.startswith("warning: ") for line in said), said
