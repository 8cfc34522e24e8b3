"""Random numbers that follow from what they are for, whatever process draws them and when."""

from __future__ import annotations

import zlib

import numpy as np


def trial_seed(seed: int, number: int) -> int:
    """A seed of 32 bits for the trial `number` of a sweep with `seed`, unrelated to its neighbours'."""
    return int(_sequence(seed, number).generate_state(1)[0])


def generator(seed: int, *purpose: int | str) -> np.random.Generator:
    """A generator of its own for each purpose, such as a round and the name of a parameter."""
    # Python's own hash of a text differs from process to process.
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in purpose]
    return np.random.default_rng(_sequence(seed, *words))


def _sequence(seed: int, *words: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=words)
