"""Learned scorers: models that say how good completions are, called in batches once a wave. Not what training pays for
it (`r1lab.rollout.reward`), nor verifiers, whose worker processes load no torch.

A scorer returns a number, a probability a step, or a verdict for each item. What it cannot score is a verdict of status
`error`, so that the completion leaves its group and is counted.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from r1lab.errors import RecipeError
from r1lab.policy import classifier, models
from r1lab.recipe.data import PromptConfig
from r1lab.recipe.scorers import JudgeScorerConfig, RewardModelScorerConfig
from r1lab.records import Rollout
from r1lab.rollout.judges import Judge, plain_text
from r1lab.rollout.labelled import step_ids
from r1lab.rollout.renderer import marks_of, renderer_of
from r1lab.rollout.reward import Said, ScorerSpec
from r1lab.rollout.verification import item_of
from r1lab_data import Problem
from r1lab_verifiers.verdict import Item, Verdict

MAX_CONTEXT = 1 << 30
"""Tokens, where neither tokenizer nor model know a limit."""


class Scorer(Protocol):
    @property
    def parameters(self) -> int:
        """Weights that a token's forward pass multiplies; 0 where the model is elsewhere."""
        ...

    def num_tokens(self, item: Item) -> int:
        """Tokens that it reads of an item, padding not counted."""
        ...

    def score(self, items: Sequence[Item]) -> list[Said]:
        """What is said of each item, in their order."""
        ...


class Scorers:
    """The learned parts of a stage's rewards."""

    def __init__(self, live: Mapping[str, Scorer], parts: Mapping[str, Mapping[str, str]]):
        """`parts` name the scorer of each part, of each source of problems."""
        self.live, self.parts = live, parts

    def said(self, rollouts: Sequence[Rollout], problems: Mapping[str, Problem]) -> list[dict[str, Said]]:
        """Of each rollout, what each learned part of its source's reward says, by the part's name."""
        said: list[dict[str, Said]] = [{} for _ in rollouts]
        for scorer, asked in self._asked(rollouts, problems):
            values = scorer.score([item for _, _, item in asked])
            for (index, names, _), value in zip(asked, values, strict=True):
                said[index] |= dict.fromkeys(names, value)
        return said

    def judging(self, rollouts: Sequence[Rollout], problems: Mapping[str, Problem]) -> tuple[int, int]:
        """Tokens that are read of the rollouts, each by itself and never remembered, and the FLOPs of it."""
        tokens = flops = 0
        for scorer, asked in self._asked(rollouts, problems):
            read = sum(scorer.num_tokens(item) for _, _, item in asked)
            tokens, flops = tokens + read, flops + 2 * scorer.parameters * read
        return tokens, flops

    def _asked(
        self, rollouts: Sequence[Rollout], problems: Mapping[str, Problem]
    ) -> Iterator[tuple[Scorer, list[tuple[int, list[str], Item]]]]:
        """Each scorer with the rollouts that it is asked about: their places, the parts that it says, the items."""
        of_rollouts = [problems[rollout.request.problem_id] for rollout in rollouts]
        for key, scorer in self.live.items():
            names = {source: [name for name, own in parts.items() if own == key]
                     for source, parts in self.parts.items()}  # fmt: skip
            yield (
                scorer,
                [
                    (index, names[problem.source], _item(rollouts[index], problem))
                    for index, problem in enumerate(of_rollouts)
                    if names.get(problem.source)
                ],
            )


def made(spec: ScorerSpec, location: str) -> Scorer:
    """The scorer of a part, its model loaded. RecipeError for a model that is none."""
    if isinstance(spec.config, JudgeScorerConfig):
        return Judge(spec.config, location, spec.question)
    return ModelScorer(spec, spec.config, location)


class ModelScorer:
    """A sequence classifier of transformers with its own tokenizer, read behind the end of a completion or behind each
    of its lines."""

    def __init__(self, spec: ScorerSpec, config: RewardModelScorerConfig, location: str):
        self.config, self.reads_steps = config, spec.reads_steps
        classifier.check_scorer(location, config.label)
        self.model = classifier.load_scorer(location)
        if torch.cuda.is_available():
            self.model.to("cuda")  # pyright: ignore[reportArgumentType]  # transformers' decorator hides `self`
        self.label = classifier.label_of(self.model.config, config.label, location)
        self.head = classifier.head_of(self.model) if spec.reads_steps else None
        tokenizer = models.load_tokenizer(location)
        self.reader = ScorersReader(tokenizer, spec, self.model.config)
        self.padding = self.model.config.pad_token_id
        if self.padding is None:
            self.padding = tokenizer.pad_token_id
        self.has_padding = self.model.config.pad_token_id is not None or self.reader.is_encoder

    @property
    def parameters(self) -> int:
        return classifier.weights_of_a_token(self.model)

    def num_tokens(self, item: Item) -> int:
        read = self.reader.read(item, self.reads_steps)
        return 0 if isinstance(read, Verdict) else len(read.ids)

    def score(self, items: Sequence[Item]) -> list[Said]:
        read = [self.reader.read(item, self.reads_steps) for item in items]
        said: list[Said] = [each if isinstance(each, Verdict) else 0.0 for each in read]
        known = {index: each for index, each in enumerate(read) if not isinstance(each, Verdict)}
        for batch in self._batches(known):
            for index, values in zip(batch, self._forward([known[index] for index in batch]), strict=True):
                said[index] = _checked(values, known[index])
        return said

    def _batches(self, known: Mapping[int, "Read"]) -> Iterator[list[int]]:
        """Items of about one length together, as many as `batch_tokens` hold; alone where nothing can pad."""
        order = sorted(known, key=lambda index: (len(known[index].ids), index))
        batch: list[int] = []
        for index in order:
            width = len(known[index].ids)
            if batch and ((len(batch) + 1) * width > self.config.batch_tokens or not self.has_padding):
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    @torch.no_grad()
    def _forward(self, batch: Sequence["Read"]) -> list[list[float]]:
        """The score of each text or, of one read in steps, of each step."""
        width = max(len(each.ids) for each in batch)
        padded = [[*each.ids, *[self.padding or 0] * (width - len(each.ids))] for each in batch]
        mask = [[1] * len(each.ids) + [0] * (width - len(each.ids)) for each in batch]
        device = self.model.device
        inputs = {"input_ids": torch.tensor(padded, device=device), "attention_mask": torch.tensor(mask, device=device)}
        if self.head is None:
            logits = self.model(**inputs).logits.float()
            return [[float(value)] for value in self._of_label(logits)]
        hidden = self.model.base_model(**inputs).last_hidden_state
        scores = self.head(hidden).float().squeeze(-1).sigmoid().cpu()
        return [scores[row, list(each.ends)].tolist() for row, each in enumerate(batch)]

    def _of_label(self, logits: Tensor) -> Tensor:
        """[B] of logits [B, labels]: the one there is, or the probability of the label."""
        if self.label is None:
            return logits[:, 0]
        is_several = self.model.config.problem_type == "multi_label_classification"
        return (logits.sigmoid() if is_several else logits.softmax(-1))[:, self.label]


@dataclass(frozen=True)
class Read:
    """A text as a scorer reads it."""

    ids: Sequence[int]
    ends: Sequence[int] = ()
    """Places of the ids behind which a step is scored."""
    characters: Sequence[int] = ()
    """Where each step ends in the completion's text; the last ones may be cut off, and are worth 0."""


class ScorersReader:
    """From an item to the ids that a scorer reads, in its own tokenizer and template."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, spec: ScorerSpec, config: PretrainedConfig):
        """RecipeError where the tokenizer cannot write the prompt, or ends no text."""
        prompt = spec.prompt or (PromptConfig(template="chat") if tokenizer.chat_template else spec.other_prompt)
        own = min(tokenizer.model_max_length, MAX_CONTEXT)  # a huge number where the tokenizer does not know
        self.limit = min(own, models.context_length(config) or MAX_CONTEXT)
        self.renderer = renderer_of(tokenizer, prompt, self.limit)
        self.special_tokens = marks_of(tokenizer)
        self.is_encoder = tokenizer.sep_token_id is not None
        if not self.is_encoder and self.renderer.turn_end is None:
            raise RecipeError("the scorer's tokenizer has no token that ends a text; set its eos_token")

    def read(self, item: Item, reads_steps: bool) -> Read | Verdict:
        """A verdict where the prompt is beyond the scorer's limit, or cannot be rendered. Of a completion that is too
        long, as no recipe's own limits let it be, what fits is read: it must not leave its group by its length."""
        said = plain_text(item.completion, self.special_tokens)
        problem = Problem(item.problem_id, item.prompt, "", solution=said)
        try:
            found = self._in_steps(problem, item.completion) if reads_steps else Read(self._ids(problem, said))
        except (ValueError, KeyError, TypeError) as error:  # rows of a file may hold anything
            return Verdict(None, "error", reason=f"the scorer cannot read it: {' '.join(str(error).split())[:300]}")
        if len(found.ids) <= self.limit:
            return found
        if (least := len(self._ids(problem, ""))) > self.limit:
            return Verdict(None, "error", reason=f"{least} tokens of the scorer's, which reads at most {self.limit}")
        return Read(found.ids[: self.limit], [end for end in found.ends if end < self.limit], found.characters)

    def _ids(self, problem: Problem, said: str) -> Sequence[int]:
        if self.is_encoder:  # an encoder's tokenizer puts its own tokens around a text
            prompt = self.renderer.prompt_text(problem)
            whole = prompt + self.renderer.solution_text(problem, said, prompt)
            return self.renderer.tokenizer(whole, verbose=False)["input_ids"]
        prompt_ids = self.renderer.render(problem)
        if not said:
            assert self.renderer.turn_end is not None  # of a decoder, checked above
            return (*prompt_ids, self.renderer.turn_end)
        return (*prompt_ids, *self.renderer.render_solution(problem))

    def _in_steps(self, problem: Problem, written: str) -> Read:
        """A step is a line; one without text belongs to the step before. It ends where it does in what was written."""
        lines: list[str] = []
        for line in written.splitlines(keepends=True):
            if lines and (not line.strip() or not lines[-1].strip()):
                lines[-1] += line
            else:
                lines.append(line)
        prompt_ids = self.renderer.render(problem)
        if not lines:
            return Read(self._ids(problem, ""), [len(prompt_ids)], [0])
        ids, ends = step_ids(self.renderer, problem, [plain_text(line, self.special_tokens) for line in lines])
        at = [len(prompt_ids) + end for end in ends]
        return Read((*prompt_ids, *ids), at, list(accumulate(map(len, lines))))


def _item(rollout: Rollout, problem: Problem) -> Item:
    return item_of(problem, rollout.text, rollout.finish, rollout.num_sampled, rollout.about_turns)


def _checked(values: Sequence[float], read: Read) -> Said:
    """A verdict where a score is no number."""
    if not all(map(math.isfinite, values)):
        return Verdict(None, "error", reason=f"the scorer's score is {next(v for v in values if not math.isfinite(v))}")
    if not read.characters:
        return values[0]
    unread = [0.0] * (len(read.characters) - len(values))
    return tuple(zip(read.characters, [*values, *unread], strict=True))
