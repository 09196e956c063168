"""Randomness as an argument: every seed is a hash of what it is for. Never Python's `hash`, never `seed + i`."""

import hashlib


def derive(seed: int, purpose: str, draw: int = 0, index: int = 0) -> int:
    """A 63-bit seed from (run seed, purpose, draw, index); blake2b, so neighbours share nothing."""
    key = f"{seed}|{purpose}|{draw}|{index}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1
