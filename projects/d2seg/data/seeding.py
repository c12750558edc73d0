"""Random numbers that depend on the seed and on a place in the run, on nothing else.

Each optimizer step, and each training sample, starts from generators seeded by (seed, its number).
So a resumed run draws what the uninterrupted one would have drawn, without a saved state.
"""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from detectron2.utils import comm


def choose_seed(seed: int) -> int:
    """``seed``, or where it is negative a random one, the same in all processes."""
    return seed if seed >= 0 else comm.shared_random_seed()


def seed_step(seed: int, iteration: int) -> None:
    """Seed python, numpy and torch (all devices) for one step; differs between processes."""
    _seed_host(seed, comm.get_rank(), iteration)
    torch.manual_seed(_number(seed, comm.get_rank(), iteration))


@contextlib.contextmanager
def seeded_sample(seed: int, position: int) -> Iterator[None]:
    """Seeds python, numpy and torch (CPU) for one sample, and puts them back afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    _seed_host(seed, position)
    # not torch.manual_seed, which would disturb the generators of the model's device too
    torch.default_generator.manual_seed(_number(seed, position))
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _seed_host(*key: int) -> None:
    number = _number(*key) % 2**32
    random.seed(number)
    np.random.seed(number)


def _number(*key: int) -> int:
    """64 bits of a hash of the key; near keys give unrelated numbers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
