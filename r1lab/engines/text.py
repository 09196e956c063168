"""From a completion's token ids to the text that verifiers, environments and datasets read.

What ended the completion leaves the text: a stop string, the end-of-turn token. So do special tokens, but for those
that are think or answer tags. The ids stay as they were sampled; nothing here changes them. What the prompt already
wrote of the completion is the renderer's (`r1lab.rollout.renderer`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from r1lab.records import Finish, Sampling

TAGS = frozenset({"<think>", "</think>", "<answer>", "</answer>"})


@dataclass(frozen=True)
class Ending:
    """What ended a completion."""

    finish: Finish
    sampling: Sampling
    """Whose stop strings, where one of them ended it."""
    forced: int = 0
    """Tokens in front that were not sampled; no stop string is looked for in them."""


TextOf = Callable[[Sequence[int], Sequence[int], Ending], str]
"""`text_of(completion_ids, prompt_ids, ending)` makes `Rollout.text`."""


class CompletionText:
    """The text of ids by one tokenizer."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self.added = frozenset(added)
        """Tokens that stand for a fixed text, such as those of a chat template."""
        self.tags = {number for number, token in added.items() if token.content in TAGS}
        self.special = {number for number, token in added.items() if token.special} - self.tags
        self.has_special_tags = any(added[number].special for number in self.tags)

    def of(self, ids: Sequence[int], ending: Ending | None = None) -> str:
        """The text without special tokens and without what ended it; `ending` None: nothing is known of that."""
        if ending is None or ending.finish in ("length", "abort") or len(ids) == ending.forced:
            return self.visible(ids)
        if ending.finish == "eos":  # the token that ends a turn need not be marked as special
            return self.visible(ids if ids[-1] in self.tags else ids[:-1])
        return self.until_stopped(ids, ending)

    def until_stopped(self, ids: Sequence[int], ending: Ending) -> str:
        """The text up to the stop string that was completed first, and with it where it is one to stay."""
        sampled = ids[ending.forced :]
        text = self.decode(sampled)
        end = stopped_at(text, ending.sampling.stop, ending.sampling.stop_after)
        if end is None:
            return self.visible(ids)
        whole = len(sampled)
        # A token may hold more than the stop string, and half a character decodes to another one than the whole.
        while not text[:end].startswith(before := self.decode(sampled[:whole])):
            whole -= 1
        is_cut_special = whole < len(sampled) and sampled[whole] in self.special
        return self.visible(ids[: ending.forced + whole]) + ("" if is_cut_special else text[len(before) : end])

    def visible(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens left out."""
        if not self.has_special_tags:
            return self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return self.decode([number for number in ids if number not in self.special])

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


def stopped_at(text: str, stop: Sequence[str], stop_after: Sequence[str]) -> int | None:
    """Where a completion ends that is read a character at a time: before the first of `stop`, behind the first of
    `stop_after`. Of two that end at one character the longer counts. None where the text holds none."""
    found = []
    for strings, stays in ((stop, False), (stop_after, True)):
        for each in strings:
            if (start := text.find(each)) >= 0:
                end = start + len(each)
                found.append((end, start, end if stays else start))
    return min(found)[2] if found else None
