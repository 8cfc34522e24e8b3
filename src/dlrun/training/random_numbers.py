"""The random states that models, the user's own too, may draw from: seeded for a run, and for each of its ranks."""

from __future__ import annotations

import random

import numpy as np
import torch

from dlrun.training.ranks import Ranks


def seed_everything(seed: int, device: torch.device) -> None:
    """Set every random state that a model on `device`, the user's own too, may draw from."""
    random.seed(seed)
    np.random.seed(seed)
    # As torch.manual_seed, which takes down a stack trace for each kind of device that is not there.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)
    if device.type == "mps":
        torch.mps.manual_seed(seed)


def draw_apart(seed: int, ranks: Ranks, generator: torch.Generator) -> None:
    """Give this rank random numbers of its own, where the first one draws as a run of one process."""
    own = int(np.random.SeedSequence((seed, ranks.share.index)).generate_state(1)[0])
    seed_everything(own, generator.device)
    generator.manual_seed(own)
