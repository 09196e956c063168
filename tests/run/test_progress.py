"""What a run prints: a line a step anywhere, a bar on a terminal alone."""

import io
import re
import signal

import pytest
from rich.console import Console

from r1lab.run.progress import Meter, Progress
from r1lab.run.signals import Grace

ROW = {
    "step": 3,
    "reward/mean": 0.52,
    "pass/share": 0.41,
    "loss/value": -0.1,
    "update/grad_norm": 0.25,
    "time/total": 2,
}


def line(row, capsys, **stage):
    progress = Progress("arm")
    progress.stage("rl", **{"steps": 5, "budget": None, **stage})
    progress.step({"step": 1, **row})
    return capsys.readouterr().err


def test_a_meter_off_a_terminal_says_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(Meter, "EVERY_SECONDS", 0.0)
    with Meter("verify") as meter:
        meter.add()
        monkeypatch.setattr(Meter, "EVERY_SECONDS", 100.0)
        meter.add()
        meter.say("line 3: [not] markup")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("verify: 1 rows, ") and first.endswith("/s") and second == "line 3: [not] markup"
    assert meter.done == 2


def test_a_meter_says_how_many_checks_hung_or_crashed_and_a_slow_pace_by_the_minute(capsys, monkeypatch):
    monkeypatch.setattr(Meter, "EVERY_SECONDS", 0.0)
    with Meter("audit") as meter:
        meter.began, meter.done, meter.failed = meter.began - 60, 7, 4
        meter.add(has_failed=True)
    assert capsys.readouterr().err == "audit: 8 rows, 5 hung or crashed, 8 a minute\n"


def test_the_share_of_right_answers_stands_beside_the_reward(capsys):
    assert line(ROW, capsys) == "arm rl step 3/5: reward 0.520, right 0.410, loss -0.100, grad 0.25, 2.0 s\n"


ALARMS = {
    "none": ({"verdict/timeout": 0.0, "verdict/crash": None, "eval/test/errors": 0}, ""),
    "timeouts": ({"verdict/timeout": 0.84}, "84.0% timeouts"),
    "crashes and errors": ({"verdict/crash": 0.031, "verdict/error": 0.01}, "3.1% crashes, 1.0% ERROR verdicts"),
    "of a part of the reward": ({"verdict/checks:strict#ab/timeout": 0.5}, "checks:strict#ab: 50.0% timeouts"),
    "of an evaluation": ({"eval/test/errors": 3, "eval/test/timeout": 7}, "test: 3 ERROR verdicts, test: 7 timeouts"),
    "no other status": ({"verdict/wrong": 0.5, "verdict/no_answer": 0.5}, ""),
}


@pytest.mark.parametrize("name", ALARMS)
def test_checks_that_hang_crash_or_fail_stand_on_the_steps_line(name, capsys):
    keys, said = ALARMS[name]
    assert line(keys, capsys) == f"arm rl step 1/5: {said}\n"


@pytest.fixture
def terminal():
    """A Progress on a terminal of 100 columns; what it wrote."""
    progress = Progress("arm")
    progress.console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system="standard")
    return progress, progress.console.file


@pytest.mark.parametrize(
    "steps, budget, said", [(1200, 10**6, "3/1,200 steps"), (None, 10**6, "2,500/1,000,000 tokens")]
)
def test_the_bar_has_a_unit(terminal, steps, budget, said):
    progress, screen = terminal
    progress.stage("rl", steps, budget)
    progress.step({**ROW, "tokens/budget": 2500})
    progress.close()
    assert said in screen.getvalue()


def test_a_line_too_long_goes_on_under_its_facts_and_breaks_between_them(terminal):
    progress, screen = terminal
    progress.stage("rl", 1000, None)
    more = {"completion/mean": 33.4, "policy/entropy": 0.1, "eval/held_out/avg": 0.5, "verdict/crash": 0.5}
    progress.step({**ROW, **more})
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).splitlines()
    at = next(at for at, text in enumerate(said) if "reward" in text)
    first, second = (text.rstrip() for text in said[at : at + 2])
    assert first.endswith("length 33, entropy 0.10, grad 0.25,") and len(first) <= 100
    assert second == f"{' ' * first.index('reward')}2.0 s, held_out 0.500, 50.0% crashes"
    assert "\x1b[1;31m50.0% crashes" in screen.getvalue(), "an alarm is not dim"


def test_a_bar_without_an_end_counts_what_is_done(terminal):
    progress, screen = terminal
    progress.stage("rl", None, None)
    progress.step(ROW)
    progress.close()
    assert "3 steps" in screen.getvalue() and "None" not in screen.getvalue()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_answered_at_once_and_leaves_no_bar(terminal, number):
    progress, screen = terminal
    progress.stage("rl", 5, None)
    with Grace(tell=progress.stopping) as grace:
        signal.raise_signal(number)
        said = screen.getvalue()
        assert f"{signal.Signals(number).name}: stopping after this step; again: at once" in said
        assert progress.bar is None and said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")  # the cursor is back
        assert grace.heard()
    progress.step(ROW)  # the step that was at work


def test_a_signal_amid_a_steps_line_ends_in_the_whole_line(terminal, monkeypatch):
    progress, screen = terminal
    progress.stage("rl", 5, None)
    write = progress.console.print
    monkeypatch.setattr(
        progress.console, "print", lambda *what, **how: (progress.stopping("SIGINT"), write(*what, **how))
    )
    monkeypatch.setattr(progress, "say", lambda text: write(text))
    progress.step(ROW)
    assert "0.520" in screen.getvalue() and "again: at once" in screen.getvalue() and progress.bar is None


def test_a_quiet_one_says_nothing(capsys):
    progress = Progress(quiet=True)
    progress.stage("rl", 5, None)
    progress.step(ROW)
    progress.samples([], 1, 1)
    progress.stopping("SIGINT")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("every, steps", [(0, []), (1, [1, 2, 3, 4]), (2, [1, 2, 4]), (10, [1, 10, 20])])
def test_samples_come_after_the_first_step_and_every_so_many(make_group, capsys, every, steps):
    from r1lab.records import Settled

    group = make_group([1.0, 0.0])
    progress, told = Progress(), []
    for step in range(1, 25 if every == 10 else 5):
        progress.samples([Settled(group, group, "kept")], step, every)
        if "right | " in capsys.readouterr().err.replace("right |\n", "right | "):
            told.append(step)
    assert told == steps
