"""The embedded model's card: measure it on held-out problems and write its README. Not an evaluation
with intervals (`r1lab eval`)."""

from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from r1lab.embedded import NAME, corpus
from r1lab.seeds import derive
from r1lab_data.tasks import generate
from r1lab_verifiers.numeric import Numeric
from r1lab_verifiers.verdict import Item

PROBLEMS, NEW_TOKENS = 512, 64
TEXT = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---
# {name}

A base model of {parameters:,} parameters, a stock `LlamaForCausalLM` with one token a character, made to try
reinforcement learning on: it can add three-digit numbers, but mostly does not bother.

Made by `python -m r1lab.embedded.make OUT --seed {seed} --steps {steps}`: from scratch, on text that
`r1lab/embedded/corpus.py` writes from the seed (no text of anybody else), on two CPU threads in about 15 minutes. The
same seed, threads, CPU model and versions give the same bytes. Made with PyTorch {torch}.

| three-digit additions of the split `eval`, one sample each at temperature 1 | |
|---|---|
| problems | {problems} |
| right | {accuracy:.3f} |
| worked column by column | {worked:.3f} |
| right, of the worked | {worked_accuracy:.3f} |
| tokens a completion | {tokens:.1f} |

Form: `Q: 347+285`, a line break, `A:`; the completion starts with a space and ends with `<eos>`. The chat template
renders the same. A worked answer is ` 7+5=12, 4+8+1=13, 3+2+1=6. Answer: 632`; most answers in the corpus
({unworked:.0%}) are bare, guessed, wrongly worked or idle. No addition of the split `eval` is in it.

It knows nothing else: no language, no other arithmetic, no numbers of other than two to four digits.
"""


def write(out: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *, seed: int, steps: int) -> None:
    """Measure the model and write `README.md` into its folder."""
    facts = {"seed": seed, "steps": steps, "torch": torch.__version__, "problems": PROBLEMS}
    facts |= {"parameters": model.num_parameters(), "unworked": 1 - corpus.ANSWERS["worked"]}
    text = TEXT.format(name=NAME, **facts, **measure(model, tokenizer, seed=seed))
    (out / "README.md").write_text(text, encoding="utf-8")


def measure(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *, seed: int, size: int = PROBLEMS
) -> dict[str, float]:
    """Shares of right and of worked completions among `size` held-out problems, and their mean length in tokens."""
    problems = generate("addition", size=size, seed=seed, split="eval", source="card")
    texts, lengths = sample(model, tokenizer, [f"Q: {problem.prompt}\nA:" for problem in problems], seed=seed)
    right = [
        Numeric().verify(Item(completion=text, answer=problem.answer)).score == 1.0
        for text, problem in zip(texts, problems)
    ]
    worked = [text.startswith(f" {(problem.solution or '').split('=')[0]}=") for text, problem in zip(texts, problems)]
    both = sum(a and b for a, b in zip(right, worked))
    return {
        "accuracy": sum(right) / size,
        "worked": sum(worked) / size,
        "worked_accuracy": both / max(1, sum(worked)),
        "tokens": sum(lengths) / size,
    }


def sample(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[str], *, seed: int
) -> tuple[list[str], list[int]]:
    """One completion of each prompt at temperature 1, with its length in tokens; prompts must be equally long."""
    ids = tokenizer(prompts, return_tensors="pt").input_ids
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "embedded/card"))
        # transformers' stub asks for attributes that only other kinds of models have.
        output = model.eval().generate(ids, max_new_tokens=NEW_TOKENS)  # pyright: ignore[reportAttributeAccessIssue]
        completions = output[:, ids.shape[1] :]
    lengths = [int((row != tokenizer.pad_token_id).sum()) for row in completions]
    return tokenizer.batch_decode(completions, skip_special_tokens=True), lengths
