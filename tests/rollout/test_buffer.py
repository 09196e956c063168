"""A step's block is read, taken from the thread, or sampled now; its weights are those that the schedule says."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from r1lab.errors import RunError
from r1lab.records import Group, Settled
from r1lab.rollout.buffer import RolloutBuffer, versions_of
from r1lab_data import Problem


class Feed:
    """Blocks of one group, of the weights `version`; one that is asked for while `held` is not set waits."""

    def __init__(self, make_group):
        self.make_group, self.version, self.asked, self.held = make_group, 0, [], threading.Event()
        self.held.set()

    def block(self, prompts):
        version = self.version
        self.asked.append(prompts)
        assert self.held.wait(20)
        if prompts < 0:
            raise RunError("no server is left")
        group = self.make_group([1.0, 0.0])
        members = (
            replace(each, rollout=replace(each.rollout, version=np.full(3, version, np.int32)))
            for each in group.members
        )
        group = Group(group.draw, tuple(members))
        return [Settled(group, group, "kept")]


@pytest.fixture
def opened(tmp_path, make_stage, make_group):
    """opened(max_staleness, began, now) -> a buffer over this test's folder, as another start of the run has it: the
    last step began with version `began`, the next begins with `now`."""
    notes = []
    run = SimpleNamespace(rollouts=lambda stage, step: tmp_path / f"{stage}-{step}.parquet", note=notes.append)

    def make(max_staleness=1, began=0, now=0):
        stage, feed, versions = make_stage(max_staleness=max_staleness), Feed(make_group), [now]
        about = lambda _: "1+1", lambda name: Problem(name, "1+1", "2", source="s"), lambda: versions[0]
        buffer = RolloutBuffer(stage, run, feed, *about)
        buffer.began, buffer.notes, buffer.versions = began, notes, versions
        return buffer

    return make


def table(buffer, step):
    return buffer.run.rollouts("rl", step)


def test_without_staleness_a_block_is_sampled_when_it_is_taken_or_read(opened):
    buffer = opened(0)
    assert versions_of(buffer.take(1, 5)) == {0} and table(buffer, 1).exists() and buffer.feed.asked == [5]
    buffer.quiet()
    again = opened(0)
    assert versions_of(again.take(1, 5)) == {0} and again.feed.asked == [] and again.unused(2) == []


def test_the_next_block_is_sampled_meanwhile_and_is_on_disk_at_the_quiet_point(opened):
    buffer = opened()
    buffer.take(1, 4)
    buffer.feed.held.clear()
    buffer.start(2, 3)
    assert not table(buffer, 2).exists()  # the caller goes on
    buffer.feed.held.set()
    buffer.quiet()
    assert table(buffer, 2).exists()
    buffer.feed.version = buffer.versions[0] = 1
    assert versions_of(buffer.take(2, 3)) == {0} and buffer.began == 1 and buffer.feed.asked == [4, 3]


def test_what_is_on_disk_or_has_no_prompts_is_not_sampled_again(opened):
    buffer = opened()
    buffer.take(1, 4)
    buffer.start(2, 4)
    buffer.quiet()
    again = opened()
    again.take(1, 4)
    again.start(2, 4)
    again.start(3, 0)
    again.quiet()
    assert again.feed.asked == [] and versions_of(again.take(2, 4)) == {0}


def test_what_befalls_the_thread_is_raised_at_the_quiet_point(opened):
    buffer = opened()
    buffer.take(1, 4)
    buffer.start(2, -1)
    with pytest.raises(RunError, match="no server is left"):
        buffer.quiet()
    assert not table(buffer, 2).exists()


def test_a_thread_that_ends_after_the_run_writes_nothing(opened):
    buffer = opened()
    buffer.take(1, 4)
    buffer.feed.held.clear()
    buffer.start(2, 4)
    buffer.close()
    buffer.feed.held.set()
    buffer.quiet()
    assert not table(buffer, 2).exists()


@pytest.mark.parametrize("max_staleness, due", [(0, 8), (1, 4)])
def test_a_table_of_other_weights_than_the_schedules_is_refused(opened, max_staleness, due):
    made = opened(max_staleness)  # four updates a step: step 3 begins with version 8
    for version, is_right in ((due, True), (due + 1, False), (0, False)):
        made.feed.version = version
        made._sampled(3, 1)
        buffer = opened(max_staleness, began=4, now=8)
        buffer.has_taken = True  # not the first step after a start
        if is_right:
            assert versions_of(buffer.take(3, 1)) == {due}
        else:
            with pytest.raises(RunError, match=rf"of weights {version}, and step 3 learns from those of weights {due}"):
                buffer.take(3, 1)


def test_the_first_step_after_a_raised_end_may_have_the_newest_weights_and_says_so(opened):
    buffer = opened(began=1, now=2)
    buffer.feed.version = 2
    assert versions_of(buffer.take(3, 1)) == {2}  # ahead it would have been sampled with 1
    assert len(buffer.notes) == 1 and "step 3 was sampled with the newest weights" in buffer.notes[0]
    assert versions_of(opened(began=1, now=2).take(3, 1)) == {2}


def test_a_block_that_stays_unused_is_paid_for_once(opened):
    buffer = opened()
    buffer.take(1, 4)
    buffer.start(2, 4)
    buffer.quiet()
    assert len(buffer.unused(2)) == 1
    again = opened()
    again.load_state_dict(buffer.state_dict())
    block = again.take(2, 4)
    assert again.unpaid(2, block) == [] and again.unpaid(3, block) == block and again.unused(3) == []
