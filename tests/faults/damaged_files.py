"""Copies of a good checkpoint with one bit or one block changed."""

import random
from collections.abc import Iterator

BLOCK = 4096


def flipped_bits(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """``content`` with one bit flipped, ``count`` times elsewhere."""
    places = random.Random(seed).sample(range(8 * len(content)), count)
    for place in places:
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        yield bytes(damaged)


def zeroed_blocks(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """``content`` with one block of 4 KiB that is not all zero set to zero, as a lost sector is."""
    starts = [at for at in range(0, len(content), BLOCK) if any(content[at : at + BLOCK])]
    for start in random.Random(seed).sample(starts, min(count, len(starts))):
        end = min(start + BLOCK, len(content))
        yield content[:start] + bytes(end - start) + content[end:]
