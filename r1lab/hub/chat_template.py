"""What makes a model's folder know how it was asked: a chat template that renders a question as the training prompt,
and the strings that ended a completion. Not the prompt itself (`r1lab.rollout.renderer`), which this says in Jinja.

`tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True)` gives the ids that
the policy was trained on, also with turns before. Of a tokenizer's own template (`prompt: {template: chat}`) what the
recipe adds is put around it, unless the messages hold it already; one that drops thinking from earlier turns is used no
further than the first turn of the model, where training played episodes.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

from r1lab.recipe import PolicyStageConfig
from r1lab.rollout.bridge import Bridge, rewrites_turns
from r1lab.rollout.renderer import PROBE, R1_ZERO, THINK, Renderer, spaced

TEMPLATE_FILE, TOKENIZER_FILE = "chat_template.jinja", "tokenizer_config.json"
OPEN_THINK = (
    "{%- if not ns.text.rstrip().endswith(" + repr(THINK) + ") -%}"
    "{%- set ns.text = ns.text + (" + repr(THINK) + " if ns.text[-1:].isspace() else " + repr(f" {THINK}") + ") -%}"
    "{%- endif -%}"
)


def write(folder: Path, renderer: Renderer, stage: PolicyStageConfig) -> None:
    """Put both into a model's folder that is being made; one that cannot be said in a template keeps its own."""
    if (template := chat_template(renderer)) is not None:
        (folder / TEMPLATE_FILE).write_text(template, encoding="utf-8")
    # Not in the generation configuration: with stop strings there `generate` fails for who hands it no tokenizer, and
    # so do transformers' pipelines.
    path = folder / TOKENIZER_FILE
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    strings = [*stage.sampling.stop, *stage.sampling.stop_after]
    if strings or "stop_strings" in config:
        config |= {"stop_strings": strings}
        path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def chat_template(renderer: Renderer) -> str | None:
    """The Jinja of a renderer's prompts; None where the tokenizer's own stays as it is."""
    return _around_own(renderer) if renderer.template == "chat" else _of_text(renderer)


def _of_text(renderer: Renderer) -> str:
    """A plain or R1-Zero prompt: system texts as paragraphs, then each question in its frame, with its answer."""
    before = renderer.paragraphs([])
    shown = [(example["prompt"], example["solution"]) for example in renderer.examples]
    examples = "".join(f"{renderer.format.replace('{prompt}', said)}{spaced(reply)}\n\n" for said, reply in shown)
    if renderer.template == "r1-zero":
        head, tail = R1_ZERO.split("{prompt}")
        framed = (
            "{%- set asked = ns.asked.rstrip() -%}{%- set ns.text = ns.text + "
            f"{_literal(head)} + asked + ({_literal(tail.removeprefix('.'))} if asked.endswith(('.', '?', '!')) "
            f"else {_literal(tail)}) -%}}"
        )
    else:
        head, tail = renderer.format.split("{prompt}")
        framed = f"{{%- set ns.text = ns.text + {_literal(head)} + ns.asked + {_literal(tail)} -%}}"
    bos = "bos_token + " if renderer.bos is not None else ""
    return (
        f"{{%- set ns = namespace(text={_literal(before)}, asked='', has_asked=false) -%}}"
        "{%- for message in messages if message.role == 'system' and message.content -%}"
        "{%- set ns.text = ns.text + message.content + '\\n\\n' -%}{%- endfor -%}"
        f"{{%- set ns.text = ns.text + {_literal(examples)} -%}}"
        "{%- for message in messages if message.role != 'system' -%}"
        "{%- if message.role == 'user' -%}"
        "{%- set ns.asked = ns.asked + ('\\n\\n' if ns.has_asked else '') + message.content -%}"
        "{%- set ns.has_asked = true -%}"
        "{%- else -%}"
        + framed
        + (OPEN_THINK if renderer.prefill_think else "")
        + "{%- set ns.text = ns.text + ('' if message.content[:1].isspace() else ' ') + message.content"
        " + (eos_token if loop.last else '\\n\\n') -%}"
        "{%- set ns.asked = '' -%}{%- set ns.has_asked = false -%}"
        "{%- endif -%}{%- endfor -%}"
        "{%- if ns.has_asked -%}" + framed + (OPEN_THINK if renderer.prefill_think else "") + "{%- endif -%}"
        f"{{{{- {bos}ns.text -}}}}"
    )


def _around_own(renderer: Renderer) -> str | None:
    """The tokenizer's template with the recipe's system prompt, worked examples and variables before it and what opens
    the completion behind it; where it would rewrite an episode's turns, these as they were. None where there is nothing
    to add."""
    own = renderer.tokenizer.chat_template
    added = renderer.messages(PROBE)[:-1]
    opened = renderer.prompt_text(PROBE).removeprefix(renderer.chat_text(PROBE))
    rewrites = bool(renderer.bridges) and rewrites_turns(renderer)
    if not isinstance(own, str) or not (added or renderer.template_variables or opened or rewrites):
        return None
    # A newline behind each block, which Jinja takes away here: their template begins at the start of a line.
    lines = [f"{{% set {name} = {_literal(value)} %}}\n" for name, value in renderer.template_variables.items()]
    if added:
        start = f"messages[:{len(added)}] | map(attribute='content') | list"
        is_new = f"{{% if {start} != {_literal([message['content'] for message in added])} %}}"
        lines.append(f"{is_new}{{% set messages = {_literal(added)} + messages %}}{{% endif %}}\n")
    behind = f"{{% if add_generation_prompt %}}{{{{ {_literal(opened)} }}}}{{% endif %}}" if opened else ""
    asked, turns = _turns_kept(renderer, len(added), opened) if rewrites else ("", "")
    return "".join(lines) + asked + own.removesuffix("\n") + behind + turns


def _turns_kept(renderer: Renderer, start: int, opened: str) -> tuple[str, str]:
    """Jinja before and behind a template that would rewrite earlier turns: it renders what comes before the first turn
    of the model (from message `start` on), and the turns stand behind that as in episodes, with the bridges' texts."""
    decoded = partial(renderer.tokenizer.decode, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    bridges = {"user": _template_bridge(renderer, "user"), "tool": _template_bridge(renderer, "tool")}
    bridges |= {bridge.role: bridge for bridge, _ in renderer.bridges.values()}
    texts = {role: (decoded(each.closes + each.before), decoded(each.after)) for role, each in bridges.items() if each}
    asked, unasked = (
        renderer.applied(renderer.messages(PROBE), PROBE, add_generation_prompt=at) for at in (True, False)
    )
    prompted, end = asked.removeprefix(unasked), "" if renderer.turn_end is None else decoded([renderer.turn_end])
    before, after = ({role: each[at] for role, each in texts.items()} for at in (0, 1))
    plain_after = {role: text.removesuffix(prompted) for role, text in after.items()}
    is_open = [text.rstrip().endswith(THINK) for text in (prompted + opened, next(iter(after.values())))]
    head = (
        f"{{% set kept = namespace(first=none, text='') %}}{{% for m in messages[{start}:] %}}"
        "{% if m.role == 'assistant' and kept.first is none %}"
        f"{{% set kept.first = loop.index0 + {start} %}}{{% endif %}}"
        "{% endfor %}{% set kept_turns = [] if kept.first is none else messages[kept.first:] %}"
        "{% set kept_asks = add_generation_prompt %}{% if kept_turns %}{% set messages = messages[:kept.first] %}"
        "{% set add_generation_prompt = true %}{% endif %}\n"
    )
    tail = (
        "{% for m in kept_turns -%}{%- set kept.text = m.content or '' -%}{%- if m.role == 'assistant' -%}"
        "{%- if m.reasoning_content -%}{%- set kept.text = '<think>\\n' + m.reasoning_content.strip('\\n') + "
        "'\\n</think>\\n\\n' + kept.text.lstrip('\\n') -%}{%- endif -%}"
        f"{{%- if kept.text.startswith('{THINK}') and ({is_open[0]} if loop.first else {is_open[1]}) -%}}"
        f"{{%- set kept.text = kept.text[{len(THINK)}:].removeprefix('\\n') -%}}{{%- endif -%}}"
        f"{{{{- kept.text + ({_literal(end)} if loop.last else '') -}}}}"
        "{%- else -%}"
        f"{{%- set before, after = {_literal(before)}, {_literal(after)} -%}}"
        f"{{%- set plain = {_literal(plain_after)} -%}}"
        "{{- before[m.role] if kept_turns[loop.index0 - 1].role == 'assistant' else '\\n' -}}{{- kept.text -}}"
        "{%- if loop.last -%}{{- after[m.role] if kept_asks else plain[m.role] -}}"
        "{%- elif kept_turns[loop.index0 + 1].role == 'assistant' -%}{{- after[m.role] -}}{%- endif -%}"
        "{%- endif -%}{%- endfor -%}"
    )
    return head, tail


def _template_bridge(renderer: Renderer, role: str) -> Bridge | None:
    try:
        return Bridge(renderer, role)
    except ValueError:
        return None


def _literal(value: Any) -> str:
    """A value as Jinja reads it: Python's, in ASCII, with its own words for the three constants."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return ascii(value)
