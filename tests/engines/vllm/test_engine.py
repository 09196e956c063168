"""vLLM samples what the model says, as the local engine does, and every fault of a sync is found out."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import AutoModelForCausalLM, AutoTokenizer

from r1lab import embedded
from r1lab.engines import make
from r1lab.engines.sync import BOUNDS, probe, send
from r1lab.engines.vllm import diagnose, worker
from r1lab.errors import RunError
from r1lab.policy.policy import Policy
from r1lab.records import Role

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(diagnose.missing() is not None, reason=f"no vLLM: {diagnose.missing()}"),
]
TEXTS = [f"Q: {a}+{b}\nA:" for a, b in ((12, 34), (7, 8), (903, 118), (55, 6))]


def load():
    return AutoModelForCausalLM.from_pretrained(embedded.path(), dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def words():
    return AutoTokenizer.from_pretrained(embedded.path())


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return load()


@pytest.fixture(scope="module")
def running(model, words):
    """One engine for all tests of this file: it starts in seconds."""
    state = torch.random.get_rng_state()
    engine = make("vllm", model, words, max_num_seqs=64)
    assert torch.equal(torch.random.get_rng_state(), state) and torch.get_num_threads() == 1
    torch.set_num_threads(1)  # still torch's own function
    yield engine
    engine.close()


@pytest.fixture
def engine(running, model):
    """It has the weights of `model`, whatever the test before did."""
    running.sync(model.named_parameters(), 0)
    return running


@pytest.fixture
def policy(make_stage):
    """A trainer with weights of its own."""
    return Policy(str(embedded.path()), make_stage(threads=1), total_updates=9, temperature=1.0, needs_ref=False)


@pytest.fixture(scope="module")
def prompts(words):
    return [tuple(words(text)["input_ids"]) for text in TEXTS]


def requests(lab, prompts, size=3, **sampling):
    return [lab.request(d, ids, i, **sampling) for d, ids in enumerate(prompts) for i in range(size)]


def same(one, other):
    return all(
        a.completion_ids == b.completion_ids and np.array_equal(a.engine_logprobs, b.engine_logprobs)
        for a, b in zip(one, other, strict=True)
    )


def test_greedy_is_the_local_engines_token_for_token(lab, engine, model, words, prompts):
    asked = requests(lab, prompts, size=1, temperature=0, max_new_tokens=48)
    local = lab.engine_of(model, words)
    for ours, theirs in zip(lab.run(engine, asked), lab.run(local, asked)):
        assert (ours.completion_ids, ours.finish, ours.text) == (theirs.completion_ids, theirs.finish, theirs.text)
        np.testing.assert_allclose(ours.engine_logprobs, theirs.engine_logprobs, atol=1e-4)


@pytest.mark.parametrize(
    "sampling", [{}, {"temperature": 0.6}, {"top_p": 0.5, "temperature": 1.5}, {"top_k": 2}, {"min_p": 0.3}]
)
def test_log_probabilities_are_of_the_scaled_untruncated_distribution(lab, engine, model, prompts, sampling):
    greedy = [lab.request(9, prompts[0], temperature=0)]  # in the same batch, of temperature 1
    for rollout in lab.run(engine, requests(lab, prompts, **sampling) + greedy):
        scale = rollout.request.sampling.temperature or 1.0
        np.testing.assert_allclose(rollout.engine_logprobs, lab.reference_logprobs(model, rollout, scale), atol=1e-4)


def test_sampling_follows_the_policy(lab, engine, model):
    prompt = (40, 50, 60)
    asked = [lab.request(0, prompt, i, max_new_tokens=1, temperature=2.0) for i in range(3000)]
    with torch.no_grad():
        share = (model(torch.tensor([prompt])).logits[0, -1].double() / 2).softmax(-1).numpy()
    counts = np.bincount([rollout.completion_ids[0] for rollout in lab.run(engine, asked)], minlength=len(share))
    common = share * len(asked) >= 5
    found = np.append(counts[common], counts[~common].sum())
    assert common.sum() > 20
    assert chisquare(found, np.append(share[common], share[~common].sum()) * len(asked)).pvalue > 1e-3


def test_the_same_requests_give_the_same_bytes_after_other_work_and_in_other_company(lab, engine, prompts):
    state = torch.random.get_rng_state()
    first = lab.run(engine, requests(lab, prompts))
    lab.run(engine, [lab.request(9, prompts[0], i, max_new_tokens=60) for i in range(70)])
    torch.manual_seed(5)
    assert same(first, lab.run(engine, requests(lab, prompts)))
    torch.random.set_rng_state(state)
    alone = [lab.run(engine, [rollout.request])[0] for rollout in first[::4]]
    assert lab.ids(alone) == lab.ids(first[::4]) and len(set(lab.ids(first[:3]))) > 1
    assert torch.equal(torch.random.get_rng_state(), state)


def test_ends_are_told_apart_and_ids_kept(lab, engine, words, prompts):
    free = lab.run(engine, requests(lab, prompts, temperature=1.5))
    assert {rollout.finish for rollout in free} == {"eos", "length"}
    for rollout in free:
        assert (rollout.completion_ids[-1] == 1) == (rollout.finish == "eos") and 1 not in rollout.completion_ids[:-1]
    stop = words.decode(free[0].completion_ids[:3])[-2:]
    for whole, cut in zip(free, lab.run(engine, requests(lab, prompts, temperature=1.5, stop=(stop,)))):
        place = words.decode(whole.completion_ids).find(stop)
        expected = whole.completion_ids if place < 0 else whole.completion_ids[: place + 2]  # a token is a character
        assert cut.completion_ids == expected and (cut.finish == "stop") == (place >= 0)


def test_forced_tokens_come_first_and_are_not_sampled(lab, engine, model, words, prompts):
    forced = {"forced_ids": prompts[0][:3], "forced_role": (Role.PREFIX,) * 3}
    asked = [lab.request(0, prompts[0], 0, temperature=0, **forced)]
    asked.append(lab.request(0, prompts[0], 1, max_new_tokens=3, **forced))
    ours, all_forced = lab.run(engine, asked)
    theirs = lab.run(lab.engine_of(model, words), asked)[0]
    assert ours.completion_ids == theirs.completion_ids and ours.role.tolist() == theirs.role.tolist()
    assert np.isnan(ours.engine_logprobs[:3]).all() and np.isfinite(ours.engine_logprobs[3:]).all()
    assert (all_forced.completion_ids, all_forced.finish) == (prompts[0][:3], "length")


def test_what_is_aborted_is_still_yielded_and_weights_may_change_in_flight(lab, engine, model, prompts):
    asked = [lab.request(0, prompts[0], i, max_new_tokens=60, temperature=2.0) for i in range(70)]
    asked.append(lab.request(1, prompts[0], max_new_tokens=1))
    engine.submit(asked)
    stream = engine.completed()
    done = [next(stream)]
    engine.abort([request.id for request in asked[:5] + asked[66:70]])
    engine.sync(load().named_parameters(), 4)
    done += stream
    found = {rollout.request.id: rollout for rollout in done}
    assert len(done) == len(found) == 71
    assert {found[request.id].finish for request in asked[:5] + asked[66:70]} <= {"abort", "eos"}
    versions = [found[request.id].version.tolist() for request in asked[5:64]]
    assert all(each == sorted(each) and set(each) <= {0, 4} for each in versions) and any(
        4 in each for each in versions
    )


def test_requests_that_do_not_fit_are_refused_by_name(lab, engine, prompts):
    with pytest.raises(ValueError, match=r"train:3:0 .*engine\.max_model_len of 512; at most 502 new tokens fit"):
        engine.submit([lab.request(1, prompts[0]), lab.request(3, range(5, 15), max_new_tokens=503)])
    assert not engine.flying


def test_log_probabilities_that_are_not_finite_end_the_run_and_name_the_request(lab, engine, model, prompts):
    engine.sync(((name, weight * math.nan) for name, weight in model.named_parameters()), 7)
    with pytest.raises(RunError, match=r"train:\d:0 \(problem p\d\): .*nan at policy version 7"):
        lab.run(engine, requests(lab, prompts, size=1))
    engine.sync(model.named_parameters(), 8)
    assert len(lab.run(engine, requests(lab, prompts))) == 12


def moved(policy):
    """The policy after what a few large updates might do."""
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.mul_(1.05)
    return policy


def test_a_sync_passes_its_probe(engine, policy):
    assert send(engine, moved(policy).named_tensors, 1, policy) and engine.version == 1
    assert probe(engine, 1, policy) < 1e-5 < BOUNDS[torch.float32]
    assert not send(engine, policy.named_tensors, 1, policy)


def test_a_tied_head_that_stayed_as_it_was_is_found(engine, policy, monkeypatch):
    assert policy.model.config.tie_word_embeddings
    send(engine, policy.named_tensors, 1, policy)
    monkeypatch.setattr(worker, "repack_tied_head", lambda _: None)
    with pytest.raises(RunError, match=r"sync of version 2: .* differ from the policy's by .*allowed is 0.0001"):
        send(engine, moved(policy).named_tensors, 2, policy)


def test_keys_of_old_weights_are_found(engine, policy, monkeypatch):
    send(engine, policy.named_tensors, 1, policy)
    monkeypatch.setattr(engine.llm, "reset_prefix_cache", lambda **_: True)
    with pytest.raises(RunError, match=r"sync of version 2: .* differ from the policy's"):
        send(engine, moved(policy).named_tensors, 2, policy)


def test_weights_that_arrived_otherwise_are_named_by_both_checksums(engine, policy, monkeypatch):
    monkeypatch.setattr(engine.llm, "collective_rpc", lambda *_, **__: ["0123456789abcdef"])
    with pytest.raises(RunError, match=r"sent weights of checksum [0-9a-f]{16}, received by worker 0 0123456789abcdef"):
        send(engine, policy.named_tensors, 1, policy)
    assert engine.version == -1


def test_weights_of_another_model_are_refused(engine, model):
    weights = dict(model.named_parameters())
    with pytest.raises(ValueError, match="'what'"):
        engine.sync([("what", torch.zeros(1))], 1)
    with pytest.raises(ValueError, match=r"model\.norm\.weight.*\[128\], not \[1\]"):
        engine.sync([("model.norm.weight", torch.zeros(1))], 1)
    weights.pop("model.norm.weight")
    with pytest.raises(ValueError, match=r"left out 1 weights, 'model\.norm\.weight'"):
        engine.sync(weights.items(), 1)
    engine.sync(model.state_dict().items(), 2)  # both names of the tied head may come
