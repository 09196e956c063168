"""A checksum of weights that are sent to an engine, taken at both ends: names, shapes and every bit, in order.

One pass over memory: sums of 64-bit words over blocks of `BLOCK_WORDS` words, then a hash of the sums. Not
cryptographic, and blind to a permutation inside one block, which no transport makes.
"""

import hashlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

BLOCK_WORDS = 4096


class Checksum:
    """A hash of names, types, shapes and bits, tensor by tensor."""

    def __init__(self):
        self.hash = hashlib.blake2b(digest_size=8)

    def add(self, name: str, tensor: Tensor) -> None:
        self.hash.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        values = tensor.detach().contiguous().view(-1)
        size = values.element_size()
        if values.storage_offset() * size % 8:
            values = values.clone()
        whole = values.numel() * size // 8 // BLOCK_WORDS * BLOCK_WORDS * 8 // size
        self._sums(values[:whole].view(torch.int64).view(-1, BLOCK_WORDS))
        self._sums(values[whole:].view(torch.int8).view(1, -1))

    def over(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights as they come, each added to the hash."""
        for name, tensor in weights:
            self.add(name, tensor)
            yield name, tensor

    def digest(self) -> str:
        """Sixteen hexadecimal digits."""
        return self.hash.hexdigest()

    def _sums(self, words: Tensor) -> None:
        """The sum of each row, int64, which wraps."""
        self.hash.update(words.sum(-1, dtype=torch.int64).cpu().numpy().tobytes())
