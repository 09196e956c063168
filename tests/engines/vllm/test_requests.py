"""Requests to vLLM's parameters and back, without vLLM: by hand."""

import math

import numpy as np
import pytest

from r1lab.engines import rollouts
from r1lab.engines.vllm import requests
from r1lab.engines.vllm.requests import VllmCompletion
from r1lab.errors import RunError
from r1lab.records import Role


def text_of(ids, prompt_ids, ending):
    return " ".join(map(str, ids))


def sampled(token_ids=(7, 1), logprobs=(-0.5, -0.25), reason="stop", stop=1, versions=((3, 2),)):
    return VllmCompletion(token_ids, logprobs, reason, stop, versions)


def test_every_eos_id_stops_and_forced_tokens_count(lab):
    request = lab.request(0, (5, 6), forced_ids=(8, 9), forced_role=(Role.PREFIX, Role.DEMO), stop=("a", "b"))
    found = requests.parameters(request, {2, 1})
    assert requests.prompt_ids(request) == [5, 6, 8, 9] and found["max_tokens"] == 22
    assert found["stop_token_ids"] == [1, 2] and found["stop"] == ["a", "b"] and found["seed"] == request.seed < 2**63


@pytest.mark.parametrize(
    ("reason", "stop", "expected"),
    [("stop", 1, "eos"), ("stop", "\n", "stop"), ("length", None, "length"), ("abort", None, "abort")],
)
def test_reasons_are_told_apart(lab, reason, stop, expected):
    found = requests.rollout(lab.request(0, (5,)), sampled(reason=reason, stop=stop), text_of)
    assert found.finish == expected and found.completion_ids == (7, 1) and found.text == "7 1"


def test_each_token_says_which_weights_wrote_it(lab):
    request = lab.request(0, (5,), forced_ids=(8,), forced_role=(Role.PREFIX,))
    spans = requests.spans([("3", 0, 1), ("4", 1, 2)])
    found = requests.rollout(request, sampled(versions=spans), text_of)
    assert found.version.tolist() == [3, 3, 4] and found.role.tolist() == [Role.PREFIX, Role.POLICY, Role.POLICY]
    assert math.isnan(found.engine_logprobs[0]) and found.engine_logprobs[1:].tolist() == [-0.5, -0.25]
    assert found.engine_logprobs.dtype == np.float32 and found.version.dtype == np.int32


def test_a_request_that_forces_everything_is_not_sampled(lab):
    request = lab.request(0, (5,), forced_ids=(8, 9), forced_role=(Role.DEMO,) * 2, max_new_tokens=2)
    assert not rollouts.needs_sampling(request)
    assert rollouts.unsampled(request, "length", text_of).completion_ids == (8, 9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_log_probability_that_is_not_finite_names_its_request(lab, bad):
    with pytest.raises(RunError, match=r"train:4:2 \(problem p4\): .*token 1 is .* at policy version 3"):
        requests.rollout(lab.request(4, (5,), 2), sampled(logprobs=(-1.0, bad)), text_of)


def test_an_answer_that_is_not_whole_names_its_request(lab):
    with pytest.raises(RunError, match=r"train:0:0 .* 2 tokens, 1 log-probabilities and versions of 2"):
        requests.rollout(lab.request(0, (5,)), sampled(logprobs=(-1.0,)), text_of)


def test_what_vllm_would_do_otherwise_is_refused(lab):
    with pytest.raises(ValueError, match=r"train:0:0 .*exceed engine\.max_model_len of 25; at most 24 new"):
        requests.check(lab.request(0, (5,), max_new_tokens=25), context=25, vocabulary=100)
    for temperature in (0.001, 2.1):
        with pytest.raises(ValueError, match=rf"train:0:0 .*from 0.01 to 2.0, or at 0 .*not at {temperature}"):
            requests.check(lab.request(0, (5,), temperature=temperature), context=99, vocabulary=100)
    requests.check(lab.request(0, (5,), temperature=0), context=99, vocabulary=100)
