"""What the model wrote, on the console: chosen by rule, a few lines, harmless to a terminal."""

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from r1lab.records import Draw, Group, Role, Scored, Settled
from r1lab.run.sample_lines import sample_lines
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

RIGHT, WRONG = Verdict(1.0, "correct", "3"), Verdict(0.0, "wrong", "4", "not 3")


@pytest.fixture
def block(make_rollout):
    """Groups of (verdict, text); None: no verifier judged it."""

    def make(*groups, prompt="1+2"):
        settled = []
        for draw, members in enumerate(groups):
            problem = Problem(f"p{draw}", prompt, "3", source="s")
            scored = tuple(
                Scored(make_rollout((1,), (2,), draw=draw, index=at, text=text), verdict, 0.0, {})
                for at, (verdict, text) in enumerate(members)
            )
            group = Group(Draw(draw, problem, len(scored)), scored)
            settled.append(Settled(group, group, "kept"))
        return settled

    return make


def shown(block, width=60):
    return [line.plain.rstrip() for line in sample_lines(block, Console(width=width))]


def test_a_right_and_a_wrong_completion_of_one_problem_stand_under_it(block):
    groups = [(RIGHT, "a")], [(WRONG, "it is 4"), (WRONG, "no"), (RIGHT, "it is 3"), (RIGHT, "no")]
    assert shown(block(*groups)) == [
        "   problem | 1+2",
        "     right | it is 3",
        "     wrong | it is 4",
        "           | read as '4'; not 3",
    ]


def test_groups_of_one_kind_give_what_they_have(block):
    assert shown(block([(RIGHT, "a")], [(RIGHT, "b")])) == ["   problem | 1+2", "     right | a"]
    several = shown(block([(Verdict(0.0, "no_answer"), "a")], [(RIGHT, "b")]))
    assert several == ["   problem | 1+2", "     right | b", "   problem | 1+2", " no answer | a"]
    assert shown(block([(Verdict(None, "error", reason="broken"), "a")]))[1:] == [
        "     error | a",
        "           | broken",
    ]
    assert shown(block([(Verdict(0.5, "partial"), "half")]))[1] == "   partial | half"


def test_demonstrations_and_empty_blocks_show_nothing(block):
    (settled,) = block([(None, "demo")])
    (member,) = settled.drawn.members
    demo = replace(member, rollout=replace(member.rollout, role=np.full_like(member.rollout.role, Role.DEMO)))
    assert shown([replace(settled, drawn=Group(settled.drawn.draw, (demo,)))]) == shown([]) == []


def test_what_no_verifier_judged_is_shown_with_its_reward(block):
    assert any("+0" in line and "a text" in line for line in shown(block([(None, "a text")])))


def test_what_a_terminal_would_obey_is_written_out(block):
    hostile = "\x1b[2J\x1b]0;title\x07\rover\u202e\x9b31m\x00\ud800 [bold]x[/bold]"
    text = "\n".join(shown(block([(replace(WRONG, reason=hostile), hostile)], prompt=hostile), width=200))
    assert all(char.isprintable() or char == "\n" for char in text) and "[bold]x[/bold]" in text
    assert text.count("\\u001b[2J") == 3


def test_a_long_text_loses_its_middle(block):
    lines = shown(block([(RIGHT, "\n".join(f"line {at}" for at in range(40)))]))
    assert lines[1:] == [
        "     right | line 0",
        "           | line 1",
        "           | line 2",
        "           | [... 35 lines left out ...]",
        "           | line 38",
        "           | line 39",
    ]
    lines = shown(block([(RIGHT, "x" * 10**6 + "end")]))
    assert len(lines) == 7 and lines[-1].endswith("end") and all(len(line) <= 60 for line in lines)
    wide = sample_lines(block([(RIGHT, "\u5b57" * 300)]), Console(width=60))
    assert all(line.cell_len <= 60 for line in wide)


def test_a_conversation_shows_its_last_turn_and_an_empty_text_its_name(block):
    turns = ({"role": "system", "content": "be brief"}, {"role": "user", "content": "1+2"})
    assert shown(block([(WRONG, "")], prompt=turns)) == [
        "   problem | 1+2",
        "     wrong |",
        "           | read as '4'; not 3",
    ]
