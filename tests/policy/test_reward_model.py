"""The reward model: its gradient is that of transformers' classifier in float64, however it is packed."""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from r1lab.errors import RecipeError, RunError
from r1lab.objective.labelled import reward_objective
from r1lab.objective.samples import prepared_updates
from r1lab.policy import classifier, models
from r1lab.policy.reward_model import RewardModel
from r1lab.recipe import RewardModelStageConfig
from r1lab.records import Role, Sample


@pytest.fixture
def make_model(tiny_model):
    def make(location=tiny_model, seed=0, **settings) -> RewardModel:
        torch.set_num_threads(1)
        quiet = {"precision": "float32", "optimizer": {"warmup_updates": 0}, "learning_rate": 1e-3, "steps": 1}
        stage = RewardModelStageConfig(**{"name": "rm", "data": {"task": "addition_pairs"}} | quiet | settings)
        return RewardModel(str(location), stage, total_updates=10, turn_end=1, seed=seed)

    return make


@pytest.fixture
def make_pairs(make_rollout):
    """Pairs of random ids behind one prompt each, of several lengths, scored at their ends."""

    def make(count=6, seed=0, margin=0.0) -> list[Sample]:
        random, samples = np.random.default_rng(seed), []
        for number in range(count):
            prompt = random.integers(3, 99, random.integers(1, 9)).tolist()
            for index, sign in enumerate((1.0, -1.0)):
                size = int(random.integers(1, 12))
                role = np.full(size, Role.CONTEXT, np.int8)
                role[-1] = Role.PAIR
                rollout = make_rollout(
                    prompt, random.integers(3, 99, size).tolist(), draw=number, index=index, role=role
                )
                advantage = np.where(role == Role.PAIR, np.float32(sign), np.float32(0))
                nothing = np.zeros(size, np.float32)
                more = {"margin": np.full(size, margin, np.float32)}
                samples.append(Sample(rollout, role, advantage, nothing, unit=number + 1, **more))
        return prepared_updates(reward_objective("pairs"), [samples], 1)[0]

    return make


def exact(model: RewardModel, samples, margin):
    """Loss and gradients of the pairs by transformers' own classifier in float64, each completion by itself."""
    double = AutoModelForSequenceClassification.from_config(model.model.config, attn_implementation="eager").double()
    double.load_state_dict(model.model.state_dict())
    double.eval()
    scores = []
    for sample in samples:
        ids = torch.tensor([sample.rollout.request.prompt_ids + sample.rollout.completion_ids])
        scores.append(double(input_ids=ids).logits[0, 0])
    leads = torch.stack([chosen - rejected for chosen, rejected in zip(scores[::2], scores[1::2])])
    loss = -torch.nn.functional.logsigmoid(leads - margin).mean()
    loss.backward()
    return float(loss.detach()), {name: weight.grad for name, weight in double.named_parameters()}


def learned(model: RewardModel, samples):
    """Loss and gradients before the step."""
    parts = model._learn(samples, np.arange(len(samples)), reward_objective("pairs"))
    return sum(part.loss for part in parts), {name: weight.grad for name, weight in model.model.named_parameters()}


@pytest.mark.parametrize("margin", [0.0, 0.7])
@pytest.mark.parametrize(
    "settings",
    [{}, {"micro_batch_tokens": 24}, {"attention": "padded"}, {"attention": "padded", "micro_batch_tokens": 40}],
    ids=["packed", "packed, small", "padded", "padded, small"],
)
def test_the_gradient_of_bradley_terry_is_that_of_transformers_classifier_in_float64(
    make_model, make_pairs, settings, margin
):
    model, samples = make_model(**settings), make_pairs(margin=margin)
    (loss, gradients), (expected, exact_gradients) = learned(model, samples), exact(model, samples, margin)
    assert model.shares_prompts == ("attention" not in settings)
    assert loss == pytest.approx(expected, rel=1e-5)
    for name, gradient in exact_gradients.items():
        largest = float(gradient.abs().max())
        assert float((gradients[name].double() - gradient).abs().max()) <= 2e-5 * largest + 1e-9, name


def test_packed_and_padded_scores_are_equal_and_follow_the_order_of_the_samples(make_model, make_pairs):
    samples = make_pairs()
    packed, padded = make_model().score(samples), make_model(attention="padded").score(samples[::-1])[::-1]
    assert [len(values) for values in packed] == [1] * len(samples)
    assert np.concatenate(packed) == pytest.approx(np.concatenate(padded), abs=1e-5)


def test_steps_are_scored_behind_each_of_their_last_tokens(make_model, make_rollout):
    model, ids = make_model(), [7, 8, 9, 10, 11]
    role = np.array([Role.CONTEXT, Role.PAIR, Role.CONTEXT, Role.CONTEXT, Role.PAIR], np.int8)
    nothing = np.zeros(5, np.float32)
    (scores,) = model.score([Sample(make_rollout([5, 6], ids, role=role), role, nothing, nothing)])
    with torch.no_grad():
        alone = [float(model.model(input_ids=torch.tensor([[5, 6, *ids[:end]]])).logits[0, 0]) for end in (2, 5)]
    assert scores == pytest.approx(alone, abs=1e-5)


def test_an_update_learns_and_a_loaded_state_goes_on_bit_for_bit(make_model, make_pairs, tmp_path):
    objective, samples = reward_objective("pairs"), make_pairs()
    model = make_model()
    losses = [model.update(samples, objective).loss for _ in range(8)]
    assert losses[-1] < losses[0] / 2
    model.save(tmp_path)
    other = make_model(seed=1)
    other.restore(tmp_path)
    other.load_state_dict(model.state_dict())
    rows = [each.update(samples, objective).rows["score"] for each in (model, other)]
    assert np.array_equal(*rows)


def test_the_head_follows_the_seed_and_nothing_else(make_model):
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(heads))
        heads.append(classifier.head_of(make_model(seed=seed).model).weight)
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_a_score_that_is_not_finite_ends_before_the_weights_change(make_model, make_pairs):
    model = make_model()
    with torch.no_grad():
        classifier.head_of(model.model).weight.fill_(float("nan"))
    before = {name: weight.clone() for name, weight in model.model.named_parameters()}
    with pytest.raises(RunError, match=r"the loss is not finite at problem 'p\d'"):
        model.update(make_pairs(), reward_objective("pairs"))
    assert all(
        torch.equal(weight, before[name]) for name, weight in model.model.named_parameters() if "score" not in name
    )


def test_a_reward_model_is_no_policy(make_model, tmp_path):
    make_model().save(tmp_path)
    for load in (models.check, models.load_model):
        with pytest.raises(RecipeError, match=r"is a reward model \(LlamaForSequenceClassification\), which scores"):
            load(str(tmp_path))
    classifier.check(str(tmp_path))


def test_a_classifier_of_several_labels_is_refused(make_model, tmp_path):
    make_model().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"], config["label2id"] = {"0": "a", "1": "b"}, {"a": 0, "b": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RecipeError, match="is a classifier of 2 labels, and a reward model has one"):
        classifier.check(str(tmp_path))


def test_a_tokenizer_that_pads_with_its_end_of_text_gets_another_padding(tiny_model, tmp_path, make_model):
    """As Qwen's and GPT-2's do; transformers would read the score before the end of text."""
    shutil.copytree(tiny_model, tmp_path, dirs_exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path)
    model = make_model(tmp_path)
    assert model.tokenizer.pad_token_id not in (None, 1)
    assert model.model.config.pad_token_id == model.tokenizer.pad_token_id


def test_a_tokenizer_with_one_special_token_gets_a_new_one(tmp_path):
    from tokenizers import Tokenizer
    from tokenizers import models as token_models
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(token_models.WordLevel({"a": 0, "b": 1, "<end>": 2}, unk_token="a"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", bos_token="<end>", pad_token="<end>")
    config = GPT2Config(vocab_size=3, n_embd=8, n_layer=1, n_head=1, n_positions=16, eos_token_id=2, bos_token_id=2)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    model = classifier.load_classifier(str(tmp_path))
    classifier.set_padding(model, tokenizer, 2)
    assert (model.config.pad_token_id, tokenizer.pad_token) == (3, classifier.PAD_TOKEN)
    assert model.get_input_embeddings().weight.shape[0] == 4
    classifier.check(str(tmp_path))


def test_a_family_without_a_linear_head_is_refused(tmp_path):
    from transformers import BertConfig, BertForMaskedLM

    small = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "vocab_size": 9,
    }
    BertForMaskedLM(BertConfig(**small)).save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).model_type == "bert"
    with pytest.raises(RecipeError, match="the classifier of bert does not read a linear layer"):
        classifier.check(str(tmp_path))
