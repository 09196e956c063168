"""Weights come whole or not at all, and every token says which wrote it."""

import math

import numpy as np
import pytest
import torch

from r1lab.errors import RunError


@pytest.mark.parametrize("tied", [True, False])
def test_sync_brings_every_weight_also_the_tied_head(lab, tokenizer, tied):
    old, new = lab.llama(seed=0, tied=tied), lab.llama(seed=1, tied=tied)
    engine = lab.engine_of(old, tokenizer)
    before = lab.run(engine, lab.groups())
    engine.sync(new.named_parameters(), 7)
    after = lab.run(engine, lab.groups())
    assert lab.ids(before) != lab.ids(after) and {int(v) for r in after for v in r.version} == {7}
    for rollout in after:
        np.testing.assert_allclose(rollout.engine_logprobs, lab.reference_logprobs(new, rollout), atol=1e-5)
    engine.sync(old.state_dict().items(), 8)  # both names of a tied head may come
    assert lab.ids(lab.run(engine, lab.groups())) == lab.ids(before)


def test_the_engine_keeps_its_own_copy_of_the_weights(lab, tokenizer):
    model = lab.llama()
    engine = lab.engine_of(model, tokenizer)
    before = lab.run(engine, lab.groups())
    for parameter in model.parameters():
        parameter.data.zero_()
    assert lab.ids(lab.run(engine, lab.groups())) == lab.ids(before)


def test_a_sync_that_does_not_fit_is_refused_by_name(lab, tokenizer):
    model = lab.llama()
    engine = lab.engine_of(model, tokenizer)
    weights = dict(model.named_parameters())
    with pytest.raises(ValueError, match="'what'"):
        engine.sync([("what", torch.zeros(1))], 1)
    with pytest.raises(ValueError, match=r"model\.norm\.weight.*\[64\], not \[1\]"):
        engine.sync([("model.norm.weight", torch.zeros(1))], 1)
    weights.pop("model.norm.weight")
    with pytest.raises(ValueError, match=r"left out 1 weights, 'model\.norm\.weight'"):
        engine.sync(weights.items(), 1)
    engine.submit(lab.groups())
    with pytest.raises(RuntimeError, match="publish"):
        list(engine.completed())


def test_versions_are_those_of_the_weights_that_wrote_each_token(lab, tokenizer):
    model = lab.llama()
    engine = lab.engine_of(model, tokenizer)
    engine.submit(
        [
            lab.request(0, lab.PROMPTS[0], max_new_tokens=1),
            lab.request(1, lab.PROMPTS[1], max_new_tokens=5, temperature=3),
        ]
    )
    stream = engine.completed()
    next(stream)
    engine.sync(model.named_parameters(), 3)
    (rest,) = stream
    # The second token was drawn from what the old weights had computed before the first was yielded.
    assert rest.version.tolist() == [0, 0, *[3] * (len(rest.completion_ids) - 2)] and rest.version.dtype == np.int32


def test_logits_that_are_not_finite_end_the_run_and_name_the_request(lab, tokenizer):
    model = lab.llama()
    broken = {name: tensor * math.nan for name, tensor in model.named_parameters()}
    engine = lab.engine_of(model, tokenizer)
    engine.sync(broken.items(), 4)
    engine.submit(lab.groups())
    with pytest.raises(RunError, match=r"train:0:0 \(problem p0\).*version 4"):
        list(engine.completed())
    engine.sync(model.named_parameters(), 5)
    assert len(lab.run(engine, lab.groups())) == 12
