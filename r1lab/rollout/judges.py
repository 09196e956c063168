"""A judge: a language model whose answer to a question, one of some options, is read off their probabilities. Not what
is asked about (`r1lab.stages.sampling`, a reward's part), nor classifiers (`r1lab.rollout.scorers`)."""

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import accumulate, permutations
from typing import Any

from transformers import PreTrainedTokenizerBase

from r1lab.engines.server.client import Gone, ServerRefusal, Wire
from r1lab.errors import RecipeError, RunError
from r1lab.policy import models
from r1lab.policy.frozen import FrozenModel
from r1lab.recipe.data import PromptConfig
from r1lab.recipe.scorers import JudgeScorerConfig
from r1lab.records import Ids
from r1lab.rollout.renderer import Renderer, marks_of, renderer_of
from r1lab.rollout.reward import Said
from r1lab_data import Problem
from r1lab_data.overlap import prompt_text
from r1lab_verifiers.verdict import Item, Verdict

PLACE = re.compile(r"\{(prompt|completion|answer|first|second|principle|critique)\}")
"""`{prompt}`, `{first}`; not `{x}`, which is text."""
MAX_REMEMBERED = 200_000
"""Questions whose answers a judge keeps."""
SERVED_LOGPROBS = 20
"""First tokens whose log-probabilities a server is asked for."""
UNFIT = (400, 413, 422)
"""Statuses by which a server refuses a question, such as one beyond its context."""


class LocalOptions:
    """The options' probabilities by the model's own weights: of all tokens of an option."""

    def __init__(self, config: JudgeScorerConfig, location: str):
        """RecipeError for a model that writes no text, or options that it cannot tell apart."""
        models.check(location)
        self.options, self.model = [*config.options], FrozenModel(location, "float32")
        check_options(self.model.tokenizer, config, "judge")
        self.renderer = _renderer(self.model.tokenizer, config)
        self.special_tokens = marks_of(self.model.tokenizer)
        self.limit = models.context_length(models.load_config(location)) or math.inf

    @property
    def parameters(self) -> int:
        return self.model.parameters

    def weights(self, text: str) -> list[float] | None:
        """None where the question is longer than the context."""
        prompt_ids, options = self._read(text)
        if len(prompt_ids) + max(map(len, options)) > self.limit:
            return None
        return [math.exp(float(self.model.logprobs(prompt_ids, ids).astype("float64").sum())) for ids in options]

    def num_tokens(self, text: str) -> int:
        """The question is read once an option."""
        prompt_ids, options = self._read(text)
        total = sum(len(prompt_ids) + len(ids) for ids in options)
        return total if len(prompt_ids) + max(map(len, options)) <= self.limit else 0

    def _read(self, text: str) -> tuple[Ids, list[Ids]]:
        """Ids of the question, and of each option without its end."""
        return self.renderer.render(Problem("judged", text, "")), _option_ids(self.renderer, self.options, text)


def _renderer(tokenizer: PreTrainedTokenizerBase, config: JudgeScorerConfig) -> Renderer:
    """What writes a question as the judge reads it."""
    return renderer_of(
        tokenizer, PromptConfig(template="chat") if config.chat else PromptConfig(format="{prompt}"), None
    )


def _option_ids(renderer: Renderer, options: Iterable[str], text: str) -> list[Ids]:
    """Ids of each option behind a question, without its end."""
    problem = Problem("judged", text, "")
    return [renderer.render_solution(replace(problem, solution=option))[:-1] for option in options]


def check_options(tokenizer: PreTrainedTokenizerBase, config: JudgeScorerConfig, where: str) -> None:
    """RecipeError where the tokens of one option begin another, which could then never be the more probable one."""
    ids = dict(zip(config.options, _option_ids(_renderer(tokenizer, config), config.options, "?")))
    for option, other in permutations(ids, 2):
        if ids[other][: len(ids[option])] == ids[option]:
            raise RecipeError(
                f"{where}.options: {other!r} begins with the tokens of {option!r} and is never the more probable one; "
                "take options that begin otherwise, as {yes: 1, no: 0}"
            )


class ServedOptions:
    """The same of an OpenAI-compatible server, by the log-probabilities of the one token that it answers with; an
    option that is none of the likeliest weighs nothing."""

    special_tokens = ()
    parameters = 0
    """What it reads is counted, what that costs is not: nobody here knows how large its model is."""

    def __init__(self, config: JudgeScorerConfig):
        assert config.server is not None  # who has none is local
        self.options, self.name, self.is_chat = [*config.options], config.model, config.chat
        self.wire = Wire(config.server)
        self.has_answered = False
        self.num_read: dict[bytes, int] = {}
        """Tokens of each question, as the server counted them."""

    def weights(self, text: str) -> list[float] | None:
        """None where the server refuses this question and answers another, as one beyond its context. RunError where it
        cannot be asked, or says no log-probabilities."""
        try:
            reply = self._reply(text)
        except ServerRefusal as error:
            if error.status not in UNFIT or not self._answers():
                raise _unasked(error) from None
            self.num_read[_digest(text)] = 0
            return None
        except Gone as error:
            raise _unasked(error) from None
        self.has_answered = True
        if len(self.num_read) >= MAX_REMEMBERED:
            self.num_read.clear()
        self.num_read[_digest(text)] = _prompt_tokens(reply)
        found = dict.fromkeys(self.options, 0.0)
        for token, logprob in self._likeliest(reply):
            if token.strip() in found:
                found[token.strip()] += math.exp(logprob)
        return list(found.values())

    def _answers(self) -> bool:
        """Whether it is the question that the server refuses, and not what is asked of all of them."""
        if not self.has_answered:
            with suppress(Gone, ServerRefusal):
                self._reply("?")
                self.has_answered = True
        return self.has_answered

    def _reply(self, text: str) -> Any:
        body: dict[str, Any] = {"model": self.name, "max_tokens": 1, "temperature": 0.0}
        if self.is_chat:
            asked = {"messages": [{"role": "user", "content": text}], "logprobs": True, "top_logprobs": SERVED_LOGPROBS}
        else:
            asked = {"prompt": text, "logprobs": SERVED_LOGPROBS}
        return self.wire.post(f"/v1/{'chat/' * self.is_chat}completions", body | asked)

    def num_tokens(self, text: str) -> int:
        """What the server says of it, which is asked where it has not been; 0 where it does not say."""
        if _digest(text) not in self.num_read:
            self.weights(text)
        return self.num_read[_digest(text)]

    def _likeliest(self, reply: Any) -> list[tuple[str, float]]:
        """The first token's alternatives with their log-probabilities."""
        try:
            logprobs = reply["choices"][0]["logprobs"]
            if self.is_chat:
                return [(str(each["token"]), float(each["logprob"])) for each in logprobs["content"][0]["top_logprobs"]]
            return [(str(token), float(logprob)) for token, logprob in logprobs["top_logprobs"][0].items()]
        except (LookupError, TypeError, ValueError, AttributeError):
            raise RunError(
                f"judge: {self.wire.url} says no log-probabilities of what it answers, which a judge is read by; ask "
                "another server, or judge by a model's path"
            ) from None


def _unasked(error: Exception) -> RunError:
    return RunError(f"judge: {error}; the same command goes on from here")


def _prompt_tokens(reply: Any) -> int:
    """Tokens that the server read; 0 where it does not say."""
    try:
        return max(0, int(reply["usage"]["prompt_tokens"]))
    except (LookupError, TypeError, ValueError):
        return 0


def _digest(text: str) -> bytes:
    """What a question is remembered by."""
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=16).digest()


class Judge:
    """A language model that answers a question about a text with one of some options, read off their probabilities.
    Each question is computed by itself, so an answer depends on its text alone and is kept."""

    def __init__(self, config: JudgeScorerConfig, location: str, question: str):
        """`location` is that of the model, where no server has it."""
        self.config, self.question = config, question
        self.model = LocalOptions(config, location) if config.server is None else ServedOptions(config)
        self.remembered: dict[bytes, list[float] | None] = {}

    @property
    def parameters(self) -> int:
        return self.model.parameters

    def num_tokens(self, item: Item) -> int:
        """Of its question, whether its answer is remembered or not."""
        try:
            prompt = prompt_text(Problem(item.problem_id, item.prompt, ""))
        except (KeyError, TypeError):
            return 0
        return self.num_tokens_of(prompt=prompt, completion=item.completion, answer=str(item.answer))

    def num_tokens_of(self, **parts: str) -> int:
        return self.model.num_tokens(filled(self.question, self.model.special_tokens, **parts))

    def score(self, items: Sequence[Item]) -> list[Said]:
        return [self._verdict(item) for item in items]

    def preferences(self, **parts: str) -> tuple[float, float] | None:
        """How far `first` is preferred to `second`, from 0 to 1, as they stand and exchanged; None: no answer."""
        there, back = self.ask(**parts), self.ask(**_turned(parts))
        if isinstance(there, Verdict) or isinstance(back, Verdict):
            return None
        return self._worth(there), 1 - self._worth(back)

    def judging(self, **parts: str) -> tuple[int, int]:
        """Tokens that `preferences` reads, and the FLOPs of it."""
        tokens = self.num_tokens_of(**parts) + self.num_tokens_of(**_turned(parts))
        return tokens, 2 * self.parameters * tokens

    def _worth(self, weights: Sequence[float]) -> float:
        """The mean worth of the options, by their probabilities."""
        return sum(weight * worth for weight, worth in zip(weights, self.config.options.values())) / sum(weights)

    def _verdict(self, item: Item) -> Verdict:
        try:
            prompt = prompt_text(Problem(item.problem_id, item.prompt, ""))
        except (KeyError, TypeError):  # rows of a file may hold anything
            return Verdict(None, "error", reason="its prompt is neither a text nor messages of role and content")
        weights = self.ask(prompt=prompt, completion=item.completion, answer=str(item.answer))
        if isinstance(weights, Verdict):
            # Where nothing is written and the judge has an answer, it is the completion that keeps it from one.
            is_to_blame = not isinstance(self.ask(prompt=prompt, completion="", answer=str(item.answer)), Verdict)
            return Verdict(0.0, "unparsable", reason=weights.reason) if is_to_blame else weights
        options = [*self.config.options]
        told = ", ".join(f"{option} {weight:.3g}" for option, weight in zip(options, weights))
        best = max(weights)
        if sum(weight == best for weight in weights) > 1 and not self.config.soft:
            return Verdict(0.0, "undecided", reason=told)
        worth = list(self.config.options.values())
        score = worth[weights.index(best)]
        if self.config.soft:
            score = min(1.0, self._worth(weights))
        status = "correct" if score == 1 else "wrong" if score == 0 else "partial"
        return Verdict(score, status, options[weights.index(best)], told)

    def ask(self, **parts: str) -> list[float] | Verdict:
        """The probability of each option; a verdict `error` where they have too little together to decide, or where the
        question does not fit the model's context."""
        text = filled(self.question, self.model.special_tokens, **parts)
        key = _digest(text)
        if key not in self.remembered:
            if len(self.remembered) >= MAX_REMEMBERED:
                self.remembered.clear()
            self.remembered[key] = self.model.weights(text)
        weights = self.remembered[key]
        if weights is None:
            return Verdict(None, "error", reason="the question exceeds the judge's context, or its server refuses it")
        if not sum(weights) >= self.config.least or not sum(weights):  # also where it is NaN
            options = ", ".join(self.config.options)
            return Verdict(
                None, "error", reason=f"the judge answers none of {options}: together {sum(weights):.2g} of its "
                f"probability, and least is {self.config.least:g}",
            )  # fmt: skip
        return weights


def _turned(parts: dict[str, str]) -> dict[str, str]:
    """The parts of a comparison with the two completions exchanged."""
    return parts | {"first": parts["second"], "second": parts["first"]}


def plain_text(text: str, special_tokens: Iterable[str]) -> str:
    """The text with a space where it spells a special token: what is judged must not end its turn or take another."""
    return _marks(special_tokens).sub(" ", readable(text))  # "<eos>", "<|im_end|>"; not "<eo s>"


def filled(question: str, special_tokens: Iterable[str], **parts: str) -> str:
    """A text with its places filled, each once: what is put in is no place again, and spells no special token, not
    together with what stands beside it either. Those of the question itself stay."""
    pieces = PLACE.split(question)  # its own text, a place's name, its own text, ...
    pieces[1::2] = [readable(parts[name]) if name in parts else f"{{{name}}}" for name in pieces[1::2]]
    ends = [0, *accumulate(map(len, pieces))]
    own = list(zip(ends[::2], ends[1::2]))

    def kept(match: re.Match) -> str:
        return match[0] if any(begin <= match.start() and match.end() <= end for begin, end in own) else " "

    return _marks(special_tokens).sub(kept, "".join(pieces))


def readable(text: str) -> str:
    """The text as any tokenizer takes it: half a surrogate pair is no character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _marks(special_tokens: Iterable[str]) -> re.Pattern:
    """Any of them, the longest first; where there is none, what never is."""
    special = sorted(filter(None, special_tokens), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, special)) or r"(?!)")
