"""The four regimes that ship are comparable: one budget, one evaluation, one model, the same problems."""

import pytest

from r1lab.recipe import load

REGIMES = ("zero", "sft_then_rl", "rejection_sft", "sft_only")


def plan(name, *overrides):
    return load.resolve(*load.read(name, overrides))


@pytest.mark.parametrize("task", ["", "_countdown"])
def test_they_differ_in_their_stages_alone(task):
    plans = [plan(regime + task) for regime in REGIMES]
    for made in plans:
        last, first = made.stages[-1], plans[0].stages[-1]
        assert last.stop == first.stop and last.stop.max_tokens == (400_000 if task else 600_000)
        assert last.eval.sets == first.eval.sets and last.eval.n == first.eval.n == 1
        assert (last.prompt, last.learning_rate, last.model) == (first.prompt, first.learning_rate, "embedded")
        read = [source for stage in made.stages for source in stage.data.values() if not source.stage]
        known = [source.model_copy(update={"limit": None, "size": 0}) for source in read]
        assert all(source == known[0] for source in known), "demonstrations are the first of the same problems"
        if task:
            assert made.stages[0] == plans[0].stages[0], "the book is the same for all"
    assert [stage.kind for stage in plans[2].stages][-4:] == ["reject", "sft", "reject", "sft"]
