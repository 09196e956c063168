"""One real vLLM server: same numbers as the local engine, weights that arrive, kill -9 in the middle of a step."""

import signal
import threading

import numpy as np
import pytest
import server_child
import torch

from r1lab import embedded
from r1lab.engines import make
from r1lab.engines.server.engine import ServerEngine
from r1lab.engines.sync import send
from r1lab.errors import RunError
from r1lab.policy import models
from r1lab.policy.frozen import LogprobScorer

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(500)]
PROMPTS = [(10, 11, 12), tuple(range(20, 60)), (30,), tuple(range(3, 99)) * 4]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    more = ["--dtype", "float32", "--max-num-seqs", "16"]
    with server_child.Child(str(embedded.path()), tmp_path_factory.mktemp("vllm") / "server.log", more=more) as child:
        child.wait()
        yield child


@pytest.fixture(scope="module")
def tokenizer():
    return models.load_tokenizer(str(embedded.path()))


@pytest.fixture
def model():
    torch.set_num_threads(1)
    return models.load_model(str(embedded.path()), torch.float32)


@pytest.fixture
def connect(server, tokenizer):
    """connect(model, **settings) -> (engine, lines)"""
    engines = []

    def start(model, **settings):
        lines = []
        engines.append(ServerEngine(model, tokenizer, urls=[server.url], say=lines.append, **settings))
        send(engines[-1], model.named_parameters, 0)
        return engines[-1], lines

    yield start
    for engine in engines:
        engine.close()


def requests(lab, size=4, **sampling):
    sampling = {"max_new_tokens": 48, **sampling}
    return [lab.request(draw, ids, index, **sampling) for draw, ids in enumerate(PROMPTS) for index in range(size)]


def gap(lab, model, rollouts, temperature=1.0):
    return max(
        np.abs(lab.reference_logprobs(model, each, temperature) - each.engine_logprobs).max() for each in rollouts
    )


def changed(model, seed=0):
    """Other weights, in place."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    return model


def test_greedy_is_the_local_engine_token_for_token(lab, model, tokenizer, connect):
    local = make("local", model, tokenizer)
    send(local, model.named_parameters, 0)
    wanted = lab.run(local, requests(lab, 1, temperature=0))
    found = lab.run(connect(model)[0], requests(lab, 1, temperature=0))
    assert lab.ids(found) == lab.ids(wanted) and [each.finish for each in found] == [each.finish for each in wanted]
    for ours, theirs in zip(found, wanted):
        np.testing.assert_allclose(ours.engine_logprobs, theirs.engine_logprobs, atol=1e-4)


@pytest.mark.parametrize("sampling", [{"temperature": 0.7}, {"temperature": 1.3, "top_p": 0.5, "top_k": 7}])
def test_log_probabilities_are_of_the_scaled_untruncated_distribution(lab, model, connect, sampling):
    rollouts = lab.run(connect(model)[0], requests(lab, **sampling))
    assert gap(lab, model, rollouts, sampling["temperature"]) < 1e-4


def test_seeds_make_a_rollout(lab, model, connect):
    engine, _ = connect(model)
    first, again = (lab.run(engine, requests(lab)) for _ in range(2))
    other = lab.run(engine, requests(lab, seed=1))
    assert lab.ids(first) == lab.ids(again) != lab.ids(other)


def test_new_weights_arrive_and_old_keys_are_gone(lab, model, connect):
    engine, _ = connect(model)
    lab.run(engine, requests(lab))
    send(engine, changed(model).named_parameters, 1)
    rollouts = lab.run(engine, requests(lab))
    assert gap(lab, model, rollouts) < 1e-4 and {int(each.version[0]) for each in rollouts} == {1}


def test_a_policy_that_is_not_what_was_sent_stops_the_run(lab, model, connect):
    engine, _ = connect(model)
    stale = {name: weight.clone() for name, weight in model.named_parameters()}
    changed(model)
    with pytest.raises(RunError, match=r"the log-probabilities of server http:.* differ from the policy's by"):
        send(engine, stale.items, 1, LogprobScorer(model))


def test_a_server_that_hangs_is_given_up_and_taken_back(lab, model, server, connect):
    engine, lines = connect(model, deadline=3.0)
    wanted = lab.run(engine, requests(lab))
    engine.submit(requests(lab))
    server.signal(signal.SIGSTOP)
    threading.Timer(6.0, server.signal, [signal.SIGCONT]).start()
    found = {each.request.id: each for each in engine.completed()}
    assert lab.ids([found[each.id] for each in requests(lab)]) == lab.ids(wanted)
    assert "for 3 s (engine.deadline)" in lines[0] and "is back and has weights" in lines[-1]


def test_kill_9_in_the_middle_of_a_step_loses_nothing_and_doubles_nothing(lab, model, server, connect):
    engine, lines = connect(model, deadline=60.0)
    send(engine, changed(model).named_parameters, 1)
    asked, found = requests(lab, 16, max_new_tokens=100), []
    engine.submit(asked)
    for rollout in engine.completed():
        found.append(rollout)
        if len(found) == 8:
            server.signal(signal.SIGKILL)
            server.start()
    assert sorted(each.request.id for each in found) == sorted(each.id for each in asked)
    assert {version for each in found for version in each.version.tolist()} == {1}
    assert gap(lab, model, found) < 1e-4
    assert "is given up" in lines[0] and "is back and has weights" in lines[-1]
