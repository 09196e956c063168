"""The token ids between two turns of an episode: what closes the model's turn, frames what is observed, opens the next.

Under a chat template they are the template's own, found once by rendering sentinels and never again: earlier turns are
neither decoded nor rendered anew. An observation's content is encoded by itself, special tokens in it as plain text.
Knows no environment.
"""

import re
from collections.abc import Sequence
from itertools import chain, pairwise

from r1lab.records import Ids
from r1lab.rollout.renderer import PROBE, Renderer, marks_of

REPLY, OBSERVED = "r1lab-sentinel-reply", "r1lab-sentinel-observed"
THOUGHT = "r1lab-sentinel-thought"
PLACE = "{observation}"
TOOL_FRAME = "\n<output>\n{observation}\n</output>\n"
R1_ZERO_FRAME = "\nUser: {observation}\nAssistant:"
MARK = "\n[... {count} tokens cut ...]\n"


class Bridge:
    """From a turn and what was observed to the ids behind the turn. ValueError where a template has no such form."""

    def __init__(self, renderer: Renderer, role: str = "user", frame: str | None = None):
        """role: whose message an observation is, `user` or `tool`. frame: a text with `{observation}` that stands in
        place of the template's own message."""
        self.tokenizer, self.turn_end, self.role = renderer.tokenizer, renderer.turn_end, role
        self.closes: Ids = ()
        """What ends a turn that ended by itself in no token."""
        if frame is None and renderer.template == "chat":
            before, after = _of_template(renderer, role)
            ids = renderer.encode(before, bos=False)
            cut = ids.index(self.turn_end) + 1 if self.turn_end is not None and self.turn_end in ids else 0
            self.closes, self.before = ids[:cut], ids[cut:]
        else:
            before, _, after = frame_of(renderer, role, frame).partition(PLACE)
            self.before = renderer.encode(before, bos=False)
        self.after = renderer.encode(after, bos=False)
        self._encode = renderer.encode
        _refuse_special(self.tokenizer)
        whole = [mark for mark in marks_of(self.tokenizer) if self._is_whole(mark)]
        # "<|User|>" of a template whose tokenizer does not call it special; not "<|User" nor "User"
        self._marks = re.compile("|".join(map(re.escape, whole)) or r"(?!)")

    @property
    def least(self) -> int:
        """Tokens of a bridge around one token of content."""
        return len(self.closes) + len(self.before) + len(self.after) + 1

    def content(self, text: str) -> Ids:
        """What was observed, by itself; a special token written in it is plain text, and so is another mark of the
        template's, which is cut in two."""
        cuts = [0, *(match.start() + 1 for match in self._marks.finditer(text)), len(text)]
        return tuple(chain.from_iterable(self._plain(text[start:end]) for start, end in pairwise(cuts)))

    def _plain(self, text: str) -> Ids:
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        return tuple(ids)

    def _is_whole(self, mark: str) -> bool:
        """Whether the text of a mark is read as its token although special tokens are split."""
        return len(mark) > 1 and self.tokenizer.convert_tokens_to_ids(mark) in self._plain(mark)

    def ids(self, text: str, written: Sequence[int], room: int) -> tuple[Ids, int] | None:
        """Ids behind a turn of the ids `written`, at most `room`, and how many of the content were cut out of its
        middle. None where not even the frame fits."""
        is_closed = bool(written) and written[-1] == self.turn_end
        closes = () if is_closed else self.closes
        left = room - len(closes) - len(self.before) - len(self.after)
        content = self.content(text)
        if left < min(1, len(content)):
            return None
        content, count = self._cut(content, left)
        return (*closes, *self.before, *content, *self.after), count

    def _cut(self, content: Ids, most: int) -> tuple[Ids, int]:
        """The content, or its beginning and its end around a mark that says how much is missing."""
        if len(content) <= most:
            return content, 0
        mark = self.content(MARK.format(count=len(content)))
        kept = max(0, most - len(mark))
        if not kept:
            return content[:most], len(content) - most
        head = kept - kept // 2
        missing = len(content) - kept
        mark = self.content(MARK.format(count=missing))[: most - kept]
        return (*content[:head], *mark, *content[len(content) - kept // 2 :]), missing


def rewrites_turns(renderer: Renderer) -> bool:
    """Whether the chat template writes an earlier turn of the model otherwise than it was, as those do that drop what
    was thought."""
    if renderer.template != "chat":
        return False
    said = {"role": "assistant", "content": f"<think>\n{THOUGHT}\n</think>\n\n{REPLY}"}
    turns = [*renderer.messages(PROBE), said, {"role": "user", "content": OBSERVED}]
    try:
        return THOUGHT not in renderer.applied(turns, PROBE, add_generation_prompt=True)
    except ValueError:
        return False


def _of_template(renderer: Renderer, role: str) -> tuple[str, str]:
    """The template's text between a turn of the model and what follows, and behind that."""
    written = str(getattr(renderer.tokenizer, "chat_template", ""))
    if role == "tool" and "tool" not in written:
        raise ValueError(
            "the tokenizer's chat template has no form for tools; give environment.frame, such as "
            r'"\n<output>\n{observation}\n</output>\n", or use template plain'
        )
    turns = [*renderer.messages(PROBE), {"role": "assistant", "content": REPLY}]
    text = renderer.applied([*turns, {"role": role, "content": OBSERVED}], PROBE, add_generation_prompt=True)
    _, found, rest = text.partition(REPLY)
    before, there, after = rest.partition(OBSERVED)
    if not found or not there or REPLY in rest or OBSERVED in after:
        raise ValueError(
            f"the tokenizer's chat template does not write the model's turn and then the {role}'s; give "
            "environment.frame, or use template plain"
        )
    return before, after


def frame_of(renderer: Renderer, role: str, frame: str | None) -> str:
    """The text around what is observed, with its place, where no chat template says it. ValueError without a place."""
    if frame is not None:
        if frame.count(PLACE) != 1:
            raise ValueError(f"environment.frame {frame!r} must contain {PLACE} exactly once")
        return frame
    if role == "tool":
        return TOOL_FRAME
    return "\n" + renderer.format.replace("{prompt}", PLACE) if renderer.template == "plain" else R1_ZERO_FRAME


def _refuse_special(tokenizer) -> None:
    """ValueError for a tokenizer that makes a special token of its text whatever it is told: what a tool prints could
    then end a turn."""
    special = [token for token in (tokenizer.eos_token, tokenizer.bos_token) if token]
    for token in special:
        ids = tokenizer(token, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        if tokenizer.convert_tokens_to_ids(token) in ids:
            raise ValueError(
                f"the tokenizer reads the text {token!r} as its special token, also with split_special_tokens; what an "
                "environment answers could end a turn; use another tokenizer (a fast one of transformers can)"
            )
