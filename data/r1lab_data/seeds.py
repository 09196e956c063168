"""Seeds: the generator for one purpose, from everything that names it. Not a global state.

Seeds are hashes (blake2b), never `seed + i`: neighbouring seeds of such a scheme share their items, and an evaluation
with "another seed" then holds problems of the training set.
"""

import json
import random
from hashlib import blake2b


def generator(*parts: str | int) -> random.Random:
    """The generator named by `parts`, for example (run seed, "addition", "train", 17)."""
    return random.Random(int.from_bytes(blake2b(json.dumps(parts).encode(), digest_size=16).digest(), "big"))
