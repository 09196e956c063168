"""From a problem to token ids and from token ids to what a verifier reads: the one renderer of SFT, RL and evaluation.

`plain` is a format with optional worked examples, `chat` the tokenizer's own template, `r1-zero` the prompt of
arXiv 2501.12948, table 1. Rendering asks nothing of a model and never cuts a text. What ends a completion stands in
`r1lab.engines.text`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from jinja2 import TemplateError

from r1lab.engines.text import TAGS, CompletionText, Ending
from r1lab.errors import RecipeError
from r1lab.recipe.data import PromptConfig
from r1lab.records import Role
from r1lab_data import Problem
from r1lab_data.problem import Conversation

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
OPENED = re.compile(r"(?:<think>|<answer>)(?=\s*\Z)")
"""`Assistant: <think>`, `</think>\n<answer>\n`; not `<think> </think>`."""
OPENING_TOKENS = 24
"""Tokens at a prompt's end that hold such a tag and the whitespace behind it, one a byte at most."""
MAX_OBSERVED = 1 << 30
"""Tokens of an answer in a demonstration: all there are."""
PROBE = Problem(id="probe", prompt="1+1", answer="2")
REPLY = "r1lab-sentinel-reply"
OWN_VARIABLES = ("messages", "add_generation_prompt", "continue_final_message", "tokenize", "bos_token", "eos_token")
"""Variables of a chat template that are ours or the tokenizer's."""
LEFT_OUT = {
    "user": ("what the user says", "give it as text"),
    "system": ("the system prompt", "leave system_prompt (or the data's system message) out"),
}
"""Roles whose messages a chat template must write: what they say, and the remedy."""


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
        template_variables: Mapping[str, Any] = {},
        context: int | None = None,
    ):
        """`examples` are mappings of `prompt` and `solution`; `template_variables` go to the chat template; `context`
        is the model's, in tokens, for `check`."""
        self.tokenizer, self.template, self.format = tokenizer, template, format
        self.examples, self.system_prompt, self.context = tuple(examples), system_prompt, context
        self.prefill_think, self.template_variables = prefill_think, dict(template_variables)
        self.notes: tuple[str, ...] = ()
        """What a user should know of these prompts, a line each."""
        _refuse_contradictions(self.template, self.format, self.examples)
        if self.template == "chat" and not getattr(tokenizer, "chat_template", None):
            raise ValueError("template chat needs a tokenizer with a chat template, and this one has none; use plain")
        _refuse_variables(self.template, self.template_variables, getattr(tokenizer, "chat_template", None))
        self.tools: dict[str, list[dict[str, Any]]] = {}
        """Schemas of the tools that a chat template is told of, by source."""
        self.observed: dict[str, int] = {}
        """Tokens that an episode may observe, by source."""
        self.bridges: dict[str, tuple[Any, tuple[str, ...]]] = {}
        """Of episodes' sources: the bridge between turns (`r1lab.rollout.bridge`), and the strings that end a turn."""
        self.rendered: tuple[Problem | None, tuple[int, ...]] = None, ()
        """The problem that was rendered last, and its ids: a group asks for them again and again."""
        self.bos = added_bos(tokenizer)
        self.text = CompletionText(tokenizer)
        self.turn_end = self.found_turn_end() if template == "chat" else tokenizer.eos_token_id
        """Id of the token that ends the assistant's turn: a demonstration's last, and what stops sampling."""

    def found_turn_end(self) -> int | None:
        """The token that the chat template writes behind an answer, which need not be the tokenizer's EOS."""
        eos, token = self.tokenizer.eos_token_id, self.tokenizer.eos_token
        turns = [*self.messages(PROBE), {"role": "assistant", "content": REPLY}]
        tail = self.applied(turns, PROBE, add_generation_prompt=False).partition(REPLY)[2].lstrip()
        ids = self.encode(tail) if tail else ()
        if ids and (ids[0] == eos or ids[0] in self.text.added):
            return ids[0]
        behind = f"{tail.split()[0]!r}, which is no token" if tail else "nothing"
        self.notes = (
            f"the tokenizer's chat template writes {behind} behind an answer; demonstrations end in {token!r} and "
            f"sampling stops there",
        )
        return eos

    def render(self, problem: Problem) -> tuple[int, ...]:
        """The prompt's token ids."""
        before, ids = self.rendered
        if before is not problem:
            ids = self.encode(self.prompt_text(problem))
            self.rendered = problem, ids
        return ids

    def render_solution(self, problem: Problem) -> tuple[int, ...]:
        """Ids of the demonstration as the policy would have written it after `render(problem)`, its end once."""
        if not problem.solution:
            raise ValueError(f"problem {problem.id} has no solution to demonstrate; give it one or leave it out")
        end = self.turn_end
        if end is None:
            raise ValueError("the tokenizer has no EOS token to end a demonstration with; set tokenizer.eos_token")
        prompt = self.prompt_text(problem)
        solution = self.solution_text(problem, problem.solution, prompt)
        start, whole = self.encode(prompt), self.encode(prompt + solution)
        # A tokenizer may merge across the seam, which a policy that continues the prompt cannot.
        ids = whole[len(start) :] if whole[: len(start)] == start else self.encode(solution, bos=False)
        return ids if ids[-1:] == (end,) else (*ids, end)

    def render_demonstration(self, problem: Problem) -> tuple[tuple[int, ...], tuple[Role, ...]]:
        """Ids of the demonstration and the role of each: DEMO, and CONTEXT for what answers between its turns."""
        said = problem.solution
        if not isinstance(said, Conversation) or len(said.messages) == 1:
            alone = self.render_solution(problem)
            return alone, (Role.DEMO,) * len(alone)
        if problem.source not in self.bridges:
            raise ValueError(
                f"the demonstration of problem {problem.id} has several turns and nothing answers them; set "
                "environment or tools"
            )
        bridge, stops = self.bridges[problem.source]
        ids: list[int] = []
        roles: list[Role] = []
        for number, message in enumerate(said.messages):
            text, is_own = message["content"], message["role"] == "assistant"
            if not is_own:
                new = bridge.ids(text, ids, MAX_OBSERVED)[0]
            elif number:
                new = self.encode(text if self.template == "chat" else spaced(text), bos=False)
            else:
                new = self.render_solution(replace(problem, solution=text))[:-1]
            if is_own and not text.endswith(stops) and self.turn_end is not None:
                new = (*new, self.turn_end)
            ids += new
            roles += [Role.DEMO if is_own else Role.CONTEXT] * len(new)
        return tuple(ids), tuple(roles)

    def verifier_text(
        self, completion_ids: Sequence[int], prompt_ids: Sequence[int] = (), ending: Ending | None = None
    ) -> str:
        """What a verifier reads: without special tokens and what ended it, and in front the tag that the prompt left
        open (without `prompt_ids`, that of a plain problem's prompt)."""
        prompt = self.text.decode(prompt_ids[-OPENING_TOKENS:]) if prompt_ids else self.prompt_text(PROBE)
        return opening_of(prompt) + self.text.of(completion_ids, ending)

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
        length, observed = len(self.encode(text)), self.observed.get(problem.source, 0)
        if length + max_new_tokens + observed <= self.context:
            return None
        also = f" and max_observation_tokens {observed}" if observed else ""
        told, spare = remedy(self.context - length - observed), self.context - length - max_new_tokens
        if observed and spare > 0:
            told = f"lower environment.max_observation_tokens to at most {spare}"
        return (
            f"problem {problem.id} renders to {length} tokens, which with max_new_tokens {max_new_tokens}{also} exceed "
            f"the context of {self.context}; {told} or {DROP}"
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
        system, answered, asked = conversation(problem)
        turns = [(example["prompt"], example["solution"]) for example in self.examples] + answered
        written = [f"{self.format.replace('{prompt}', said)}{spaced(reply)}\n\n" for said, reply in turns]
        return self.paragraphs(system) + "".join(written) + self.format.replace("{prompt}", asked)

    def r1_zero_text(self, problem: Problem) -> str:
        system, answered, asked = conversation(problem)
        if answered:
            raise ValueError(
                f"problem {problem.id} has an assistant's turn, which template r1-zero cannot write; use plain or chat"
            )
        asked = asked.rstrip()
        frame = R1_ZERO.replace("{prompt}.", "{prompt}") if asked.endswith((".", "?", "!")) else R1_ZERO
        return self.paragraphs(system) + frame.replace("{prompt}", asked)

    def paragraphs(self, system: list[str]) -> str:
        """The recipe's system prompt and the problem's own."""
        return "".join(f"{text}\n\n" for text in (self.system_prompt, *system) if text)

    def chat_text(self, problem: Problem) -> str:
        ends_with_user(problem)
        messages = self.messages(problem)
        text = self.applied(messages, problem, add_generation_prompt=True)
        for message in messages:
            if message["role"] in LEFT_OUT and message["content"].strip() not in text:
                what, remedy = LEFT_OUT[message["role"]]
                raise ValueError(
                    f"the tokenizer's chat template leaves out {what} in problem {problem.id}; {remedy}, use template "
                    f"plain, or a tokenizer with another chat template"
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
            variables = {**self.template_variables, **settings}
            if problem.source in self.tools:
                variables["tools"] = self.tools[problem.source]
            return self.tokenizer.apply_chat_template(messages, tokenize=False, **variables)
        except (TemplateError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
            told = " ".join(str(error)[:200].split()) or type(error).__name__
            raise ValueError(
                f"the tokenizer's chat template refuses problem {problem.id} ({told}); "
                f"leave system_prompt and examples out, or use template plain"
            ) from error

    def solution_text(self, problem: Problem, solution: str, prompt: str) -> str:
        """The demonstration with the whitespace that belongs between it and `prompt`."""
        if opening := opening_of(prompt):
            solution = solution.lstrip()
            rest = solution.removeprefix(opening)
            return rest.lstrip() if prompt[-1:].isspace() and rest != solution else rest
        if self.template != "chat":
            return spaced(solution)
        answered = [*self.messages(problem), {"role": "assistant", "content": solution}]
        whole = self.applied(answered, problem, add_generation_prompt=False)
        lead, found, _ = whole.removeprefix(prompt).partition(solution)
        return lead + solution if found and whole.startswith(prompt) and not lead.strip() else solution


def spaced(solution: str) -> str:
    """One space in front, unless there is whitespace already."""
    return solution if solution[:1].isspace() else f" {solution}"


def opening_of(prompt: str) -> str:
    """The tag that a prompt ends in, which the completion then begins behind; empty where there is none."""
    match = OPENED.search(prompt, max(0, len(prompt.rstrip()) - len("<answer>")))
    return match[0] if match else ""


def ends_with_user(problem: Problem) -> None:
    """ValueError where the conversation's last message is not the user's: the completion would follow an answer."""
    if not isinstance(problem.prompt, str) and problem.prompt[-1]["role"] != "user":
        raise ValueError(
            f"the last message of problem {problem.id} is the {problem.prompt[-1]['role']}'s, and a completion answers "
            f"the user's; take it out of the prompt (a demonstration goes into columns.solution)"
        )


def conversation(problem: Problem) -> tuple[list[str], list[tuple[str, str]], str]:
    """System messages, earlier questions with their answers, and what is asked now. ValueError for another order."""
    if isinstance(problem.prompt, str):
        return [], [], problem.prompt
    ends_with_user(problem)
    system: list[str] = []
    answered: list[tuple[str, str]] = []
    asked: list[str] = []
    for message in problem.prompt:
        role, content = message["role"], message["content"]
        if role == "user":
            asked.append(content)
        elif role == "system" and not asked and not answered:
            system.append(content)
        elif role == "assistant" and asked:
            answered.append(("\n\n".join(asked), content))
            asked = []
        else:
            raise ValueError(f"problem {problem.id} has a message of role {role!r} there, which chat alone can write")
    return system, answered, "\n\n".join(asked)


def added_bos(tokenizer) -> int | None:
    """The BOS id where the tokenizer puts one in front of a text by itself, else None."""
    bos = tokenizer.bos_token_id
    return bos if bos is not None and tokenizer("a")["input_ids"][:1] == [bos] else None


def marks_of(tokenizer) -> list[str]:
    """Texts that are tokens of their own by which what is written could end its turn or take another, longest first:
    special tokens, also those that have no name, and what else the chat template writes, but for thinking tags."""
    template, marks = str(tokenizer.chat_template or ""), {str(token) for token in tokenizer.all_special_tokens}
    for token in tokenizer.added_tokens_decoder.values():
        if token.special or (token.content.strip() and token.content in template and token.content not in TAGS):
            marks.add(token.content)
    return sorted(filter(None, marks), key=len, reverse=True)


def remedy(room: int) -> str:
    return f"lower max_new_tokens to at most {room}" if room > 0 else "shorten the format or the examples"


def refuse_contradictions(prompt: PromptConfig) -> None:
    """RecipeError where the prompt's settings contradict each other, whatever the tokenizer."""
    try:
        _refuse_contradictions(prompt.template, prompt.format, prompt.examples)
        _refuse_variables(prompt.template, prompt.template_variables, None)
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


def _refuse_variables(template: str, variables: Mapping[str, Any], written: object) -> None:
    """ValueError for a variable that would reach nothing; `written` is the tokenizer's chat template, if known."""
    if template != "chat" and variables:
        raise ValueError(f"template_variables go with template chat, not {template}; leave them out")
    for name in variables:
        if name in OWN_VARIABLES:
            raise ValueError(f"template_variables: {name} is set by the renderer; leave it out")
        # with the name "date": "{{ date }}"; not "{{ update }}"
        if isinstance(written, str) and not re.search(rf"\b{re.escape(name)}\b", written):
            raise ValueError(f"template_variables: the tokenizer's chat template reads no {name!r}; leave it out")


def renderer_of(tokenizer, prompt: PromptConfig, context: int | None) -> Renderer:
    """RecipeError where the prompt's settings contradict each other or the tokenizer."""
    try:
        return Renderer(tokenizer, context=context, **dict(prompt))
    except ValueError as error:
        raise RecipeError(f"prompt: {error}") from None
