"""Make the embedded base model from a seed: `python -m r1lab.embedded.make OUT --seed 0`.

Plain pretraining (next character, every token counts) of a small stock Llama on `corpus.py`, in PyTorch on a CPU. Not
the lab's loop: a base model is what that loop starts from. The same seed, threads, CPU model and versions give the same
bytes.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from r1lab.embedded import card, corpus
from r1lab.seeds import derive

PAD, EOS, UNK = "<pad>", "<eos>", "<unk>"
CHARACTERS = "\n" + "".join(chr(code) for code in range(32, 127))
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}{{ 'A: ' + message.content + eos_token }}"
    "{% elif message.role == 'user' %}{{ 'Q: ' + message.content + '\\n' }}"
    "{% else %}{{ message.content + '\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}A:{% endif %}"
)
SHAPE: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
}
BATCH_ROWS, ROW_TOKENS = 64, 128
STEPS, WARM_UP_STEPS, LEARNING_RATE = 1400, 100, 3e-3
THREADS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    model, tokenizer = make(arguments.out, seed=arguments.seed, steps=arguments.steps, log=True)
    card.write(arguments.out, model, tokenizer, seed=arguments.seed, steps=arguments.steps)


def make(
    out: Path, *, seed: int = 0, steps: int = STEPS, log: bool = False
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Train for `steps` updates and write the Hugging Face folder `out`. Sets PyTorch's thread count."""
    torch.set_num_threads(THREADS)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, seed)
    train(model, batches(tokenizer, seed), steps=steps, log=log)
    save(out, model, tokenizer)
    return model, tokenizer


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character: printable ASCII and the line break, anything else `<unk>`. No beginning token."""
    vocabulary = {token: index for index, token in enumerate([PAD, EOS, UNK, *CHARACTERS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        clean_up_tokenization_spaces=False,
        model_max_length=SHAPE["max_position_embeddings"],
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Fresh weights from `seed`, without touching the global generator's state."""
    special: dict[str, Any] = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True, bos_token_id=None, **special, **SHAPE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "embedded/weights"))
        return LlamaForCausalLM(config).float()


def batches(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches without end: ids, positions (from 0 in each page) and page numbers, int64 [BATCH_ROWS, ROW_TOKENS]."""
    vocabulary = tokenizer.get_vocab()
    texts = corpus.documents(random.Random(derive(seed, "embedded/corpus")))
    pages = ([vocabulary[character] for character in text] + [vocabulary[EOS]] for text in texts)
    rows = packed(pages, ROW_TOKENS, vocabulary[PAD])
    while True:
        ids, positions, numbers = (torch.tensor(column) for column in zip(*islice(rows, BATCH_ROWS)))
        yield ids, positions, numbers


def packed(pages: Iterator[list[int]], width: int, pad: int) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """Rows of whole pages: ids, positions, page numbers (-1 where only padding is). A longer page is cut to `width`."""
    ids, positions, numbers = [], [], []
    for page in pages:
        page = page[:width]
        if len(ids) + len(page) > width:
            rest = width - len(ids)
            yield ids + [pad] * rest, positions + [0] * rest, numbers + [-1] * rest
            ids, positions, numbers = [], [], []
        number = numbers[-1] + 1 if numbers else 0
        ids, positions, numbers = ids + page, positions + list(range(len(page))), numbers + [number] * len(page)


def train(model: LlamaForCausalLM, stream: Iterator, *, steps: int, log: bool = False) -> None:
    """AdamW with warm-up and a cosine down to zero; the loss is the mean over all predicted tokens of a batch."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05)
    start = time.monotonic()
    for step, batch in enumerate(islice(stream, steps)):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * pace(step, steps)
        value = loss(model, *batch)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if log and (step % 100 == 99 or step == steps - 1):
            print(f"step {step + 1}/{steps}  loss {value.item():.4f}  {time.monotonic() - start:.0f} s", flush=True)


def pace(step: int, steps: int) -> float:
    """Share of the peak learning rate: linear up over WARM_UP_STEPS, then half a cosine to zero."""
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    return 0.5 * (1 + math.cos(math.pi * (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS)))


def loss(model: LlamaForCausalLM, ids: Tensor, positions: Tensor, numbers: Tensor) -> Tensor:
    """Mean cross-entropy of the next token within its page, in nats; pages of one row do not see each other."""
    together = numbers[:, None, :, None] == numbers[:, None, None, :]
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    logits = model(ids, attention_mask=together & causal, position_ids=positions, use_cache=False).logits
    inside = (numbers[:, 1:] == numbers[:, :-1]) & (numbers[:, 1:] >= 0)
    return torch.nn.functional.cross_entropy(logits[:, :-1][inside], ids[:, 1:][inside])


def save(out: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """The Hugging Face folder, with what ends a completion and how it is sampled: temperature 1, nothing cut off."""
    model.generation_config = GenerationConfig(
        do_sample=True, top_k=0, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    name_old_class(out / "tokenizer_config.json")
    for file in out.iterdir():
        file.chmod(0o644)


def name_old_class(file: Path) -> None:
    """Name the tokenizer's class as every release of transformers knows it, not only 5 and later."""
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
