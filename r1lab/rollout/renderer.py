"""From a problem to token ids and from token ids to what a verifier reads: the one renderer of SFT, RL and evaluation.

`plain` is a format with optional worked examples, `chat` the tokenizer's own template, `r1-zero` the prompt of
arXiv 2501.12948, table 1. Rendering asks nothing of a model and never cuts a text.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from jinja2 import TemplateError

from r1lab.errors import RecipeError
from r1lab.recipe.data import PromptConfig
from r1lab_data import Problem

FORMAT = "Question: {prompt}\nAnswer:"
R1_ZERO = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant "
    "first thinks about the reasoning process in the mind and then provides the user with the answer. The reasoning "
    "process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> "
    "reasoning process here </think> <answer> answer here </answer>. User: {prompt}. Assistant:"
)
THINK = "<think>"
DROP = "drop the problem (on_long_prompt: drop, beside its path or task)"
TEMPLATES = ("plain", "chat", "r1-zero")


class Renderer:
    """How problems, demonstrations and completions are written. Every mistake in the settings is a ValueError."""

    def __init__(
        self,
        tokenizer,
        *,
        template: str = "plain",
        format: str = FORMAT,
        examples: Sequence[Mapping[str, str]] = (),
        system_prompt: str | None = None,
        prefill_think: bool = False,
        context: int | None = None,
    ):
        """`examples` are mappings of `prompt` and `solution`; `context` is the model's, in tokens, for `check`."""
        self.tokenizer, self.template, self.format = tokenizer, template, format
        self.examples, self.system_prompt, self.context = tuple(examples), system_prompt, context
        self.prefill_think = prefill_think
        _refuse_contradictions(self.template, self.format, self.examples)
        if self.template == "chat" and not getattr(tokenizer, "chat_template", None):
            raise ValueError("template chat needs a tokenizer with a chat template, and this one has none; use plain")
        self.bos = added_bos(tokenizer)
        self.opening = THINK if self.opens_thinking() else ""
        """What the prompt already wrote of the completion."""

    def opens_thinking(self) -> bool:
        """Whether prompts end in an open think tag, by setting or by the tokenizer's template."""
        if self.prefill_think or self.template != "chat":
            return self.prefill_think
        return self.chat_text(Problem(id="probe", prompt="1+1", answer="2")).rstrip().endswith(THINK)

    def render(self, problem: Problem) -> tuple[int, ...]:
        """The prompt's token ids."""
        return self.encode(self.prompt_text(problem))

    def render_solution(self, problem: Problem) -> tuple[int, ...]:
        """Ids of the demonstration as the policy would have written it after `render(problem)`, with EOS once."""
        if not problem.solution:
            raise ValueError(f"problem {problem.id} has no solution to demonstrate; give it one or leave it out")
        eos = self.tokenizer.eos_token_id
        if eos is None:
            raise ValueError("the tokenizer has no EOS token to end a demonstration with; set tokenizer.eos_token")
        prompt = self.prompt_text(problem)
        solution = self.solution_text(problem, problem.solution, prompt)
        start, whole = self.encode(prompt), self.encode(prompt + solution)
        # A tokenizer may merge across the seam, which a policy that continues the prompt cannot.
        ids = whole[len(start) :] if whole[: len(start)] == start else self.encode(solution, bos=False)
        return ids if ids[-1:] == (eos,) else (*ids, eos)

    def verifier_text(self, completion_ids: Sequence[int], prompt_ids: Sequence[int] = ()) -> str:
        """What a verifier reads: special tokens removed, a prefilled think tag put back in front."""
        text = self.tokenizer.decode(list(completion_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return self.opening + text

    def check(self, problems: Iterable[Problem], max_new_tokens: int) -> None:
        """ValueError with the first problem whose prompt and `max_new_tokens` do not fit the context."""
        for problem in problems:
            if reason := self.misfit(problem, max_new_tokens):
                raise ValueError(reason)

    def misfit(self, problem: Problem, max_new_tokens: int) -> str | None:
        """Why the problem's prompt and `max_new_tokens` do not fit the context, or None."""
        if self.context is None:
            return None
        text = self.prompt_text(problem)
        if len(text) > self.longest_token * self.context:  # said at once: ten megabytes are tokenized for a minute
            return (
                f"problem {problem.id} renders to {len(text):,} characters, which exceed the context of "
                f"{self.context} tokens (of at most {self.longest_token} characters each); {DROP}"
            )
        length = len(self.encode(text))
        if length + max_new_tokens <= self.context:
            return None
        return (
            f"problem {problem.id} renders to {length} tokens, which with max_new_tokens {max_new_tokens} exceed the "
            f"context of {self.context}; {remedy(self.context - length)} or {DROP}"
        )

    @cached_property
    def longest_token(self) -> int:
        """Characters of the longest token."""
        return max(map(len, self.tokenizer.get_vocab()))

    def encode(self, text: str, *, bos: bool = True) -> tuple[int, ...]:
        """Ids of `text`, with BOS once in front where the tokenizer adds it; a chat template brings its own."""
        # verbose: a text beyond the context is refused by `check`, not warned of by the tokenizer.
        ids = tuple(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        if bos and self.bos is not None and self.template != "chat" and ids[:1] != (self.bos,):
            return (self.bos, *ids)
        return ids

    def prompt_text(self, problem: Problem) -> str:
        """The text that is tokenized, without an added BOS."""
        text = {"plain": self.plain_text, "chat": self.chat_text, "r1-zero": self.r1_zero_text}[self.template](problem)
        if not self.prefill_think or text.rstrip().endswith(THINK):
            return text
        return text + (THINK if text[-1:].isspace() else f" {THINK}")

    def plain_text(self, problem: Problem) -> str:
        examples = [
            f"{self.format.replace('{prompt}', example['prompt'])}{spaced(example['solution'])}\n\n"
            for example in self.examples
        ]
        return self.system_paragraph() + "".join(examples) + self.format.replace("{prompt}", question(problem))

    def r1_zero_text(self, problem: Problem) -> str:
        asked = question(problem).rstrip()
        frame = R1_ZERO.replace("{prompt}.", "{prompt}") if asked.endswith((".", "?", "!")) else R1_ZERO
        return self.system_paragraph() + frame.replace("{prompt}", asked)

    def system_paragraph(self) -> str:
        return f"{self.system_prompt}\n\n" if self.system_prompt else ""

    def chat_text(self, problem: Problem) -> str:
        text = self.applied(self.messages(problem), problem, add_generation_prompt=True)
        for message in user_messages(problem):
            if message.strip() not in text:
                raise ValueError(
                    f"the tokenizer's chat template leaves out what the user says in problem {problem.id}; "
                    f"use template plain, or a tokenizer with another chat template"
                )
        return text

    def messages(self, problem: Problem) -> list[dict[str, str]]:
        """The conversation up to the completion: system prompt, worked examples, the problem's own messages."""
        turns = [{"role": "system", "content": self.system_prompt}] if self.system_prompt else []
        for example in self.examples:
            turns.append({"role": "user", "content": example["prompt"]})
            turns.append({"role": "assistant", "content": example["solution"]})
        if isinstance(problem.prompt, str):
            return [*turns, {"role": "user", "content": problem.prompt}]
        return [*turns, *map(dict, problem.prompt)]

    def applied(self, messages: list[dict[str, str]], problem: Problem, **settings) -> str:
        try:
            return self.tokenizer.apply_chat_template(messages, tokenize=False, **settings)
        except (TemplateError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
            told = " ".join(str(error)[:200].split()) or type(error).__name__
            raise ValueError(
                f"the tokenizer's chat template refuses problem {problem.id} ({told}); "
                f"leave system_prompt and examples out, or use template plain"
            ) from error

    def solution_text(self, problem: Problem, solution: str, prompt: str) -> str:
        """The demonstration with the whitespace that belongs between it and `prompt`."""
        if self.opening:
            return solution.lstrip().removeprefix(THINK)
        if self.template != "chat":
            return spaced(solution)
        answered = [*self.messages(problem), {"role": "assistant", "content": solution}]
        whole = self.applied(answered, problem, add_generation_prompt=False)
        lead, found, _ = whole.removeprefix(prompt).partition(solution)
        return lead + solution if found and whole.startswith(prompt) and not lead.strip() else solution


def spaced(solution: str) -> str:
    """One space in front, unless there is whitespace already."""
    return solution if solution[:1].isspace() else f" {solution}"


def question(problem: Problem) -> str:
    """What is asked, as one text."""
    return "\n\n".join(user_messages(problem))


def user_messages(problem: Problem) -> list[str]:
    """What the user says."""
    if isinstance(problem.prompt, str):
        return [problem.prompt]
    return [message["content"] for message in problem.prompt if message["role"] == "user"]


def added_bos(tokenizer) -> int | None:
    """The BOS id where the tokenizer puts one in front of a text by itself, else None."""
    bos = tokenizer.bos_token_id
    return bos if bos is not None and tokenizer("a")["input_ids"][:1] == [bos] else None


def remedy(room: int) -> str:
    return f"lower max_new_tokens to at most {room}" if room > 0 else "shorten the format or the examples"


def refuse_contradictions(prompt: PromptConfig) -> None:
    """RecipeError where the prompt's settings contradict each other, whatever the tokenizer."""
    try:
        _refuse_contradictions(prompt.template, prompt.format, prompt.examples)
    except ValueError as error:
        raise RecipeError(f"prompt: {error}") from None


def _refuse_contradictions(template: str, format: str, examples: Sequence[Mapping[str, str]]) -> None:
    if template not in TEMPLATES:
        raise ValueError(f"template {template!r} is unknown; use one of {', '.join(TEMPLATES)}")
    if format.count("{prompt}") != 1:
        raise ValueError(f"format {format!r} must contain {{prompt}} exactly once")
    if template != "plain" and format != FORMAT:
        raise ValueError(f"format goes with template plain, not {template}; leave format out or use plain")
    if template == "r1-zero" and examples:
        raise ValueError("template r1-zero takes no worked examples; leave examples out or use plain or chat")
    for number, example in enumerate(examples):
        if not {"prompt", "solution"} <= set(example):
            raise ValueError(f"example {number} has the keys {sorted(example)}; it needs prompt and solution")


def renderer_of(tokenizer, prompt: PromptConfig, context: int | None) -> Renderer:
    """RecipeError where the prompt's settings contradict each other or the tokenizer."""
    try:
        return Renderer(tokenizer, context=context, **dict(prompt))
    except ValueError as error:
        raise RecipeError(f"prompt: {error}") from None
