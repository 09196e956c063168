"""Code for a model card: how the model is loaded and sampled in transformers. The prompt is that of
`r1lab.rollout.renderer`."""

import re
from collections.abc import Mapping, Sequence
from pprint import pformat

from r1lab.recipe import AnyStageConfig
from r1lab.rollout.renderer import THINK, Renderer
from r1lab_data import Problem

HOLE = "{question}"
QUESTION, ANSWER = "What is 12 + 30?", "42"
LOAD = """from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this folder, or the id of its repository on the hub
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
"""
LOAD_SCORER = """from transformers import AutoTokenizer, pipeline

folder = "."  # this folder, or the id of its repository on the hub
tokenizer = AutoTokenizer.from_pretrained(folder)
score = pipeline("text-classification", model=folder, tokenizer=tokenizer, function_to_apply="none")
"""


def example(stage: AnyStageConfig, sources: Mapping[str, Sequence[Problem]], renderer: Renderer) -> str:
    """A Python block that prints a greedy answer, or a score, asked as in training."""
    tasks = [name for name, source in stage.data.items() if source.task]
    first = sources[tasks[0]][0].prompt if tasks else QUESTION  # of a task, for no one's rows are shown
    asked = first if isinstance(first, str) else QUESTION
    lines = chat_lines(renderer) if stage.prompt.template == "chat" else text_lines(renderer)
    if stage.kind == "reward_model":
        end = renderer.tokenizer.convert_ids_to_tokens(renderer.turn_end)
        space = "" if stage.prompt.template == "chat" else " "
        said = [f"completion = {ANSWER!r}", f"text += {space!r} + completion + {end!r}"]
        code = [LOAD_SCORER, f"question = {asked!r}", *lines, *said, "print(score(text, add_special_tokens=False))"]
        return fenced("python", "\n".join(code) + "\n")
    strings = [*stage.sampling.stop, *stage.sampling.stop_after]
    stop = f", stop_strings={strings!r}, tokenizer=tokenizer" if strings else ""
    code = [
        LOAD,
        f"question = {asked!r}",
        *lines,
        'inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")',
        f"said = model.generate(**inputs, max_new_tokens={stage.max_new_tokens}, do_sample=False{stop})",
        'print(tokenizer.decode(said[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
    ]
    return fenced("python", "\n".join(code) + "\n")


def fenced(language: str, text: str) -> str:
    """A block of code, with a fence that nothing in it can close."""
    # "a ``` b"; not "a ' b"
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text}{fence}\n"


def text_lines(renderer: Renderer) -> list[str]:
    """The prompt as one text with a hole for the question; BOS in front where the tokenizer puts it there."""
    frame = renderer.prompt_text(Problem(id="", prompt=HOLE, answer=""))
    lines = [f"prompt = {frame!r}"]
    if renderer.template == "r1-zero":
        lines.append(f'if question.endswith((".", "?", "!")):\n    prompt = prompt.replace("{HOLE}.", "{HOLE}")')
    lines.append(f'text = prompt.replace("{HOLE}", question)')
    return [*lines, "text = tokenizer.bos_token + text"] if renderer.bos is not None else lines


def chat_lines(renderer: Renderer) -> list[str]:
    """The conversation through the tokenizer's own template."""
    turns = renderer.messages(Problem(id="", prompt=HOLE, answer=""))
    shown = pformat(turns, width=100).replace(repr(HOLE), "question")
    variables = f", **{renderer.template_variables!r}" if renderer.template_variables else ""
    lines = [
        f"messages = {shown}",
        f"text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True{variables})",
    ]
    if renderer.prefill_think:
        lines.append(f'if not text.rstrip().endswith("{THINK}"):')
        lines.append(f'    text += "{THINK}" if text[-1:].isspace() else " {THINK}"')
    return lines
