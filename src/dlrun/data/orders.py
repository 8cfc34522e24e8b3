"""In which order, and how often, the rows of a part come in an epoch: seed and epoch alone decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Resampling:
    """Rows that are drawn anew for each epoch, each as often on average as its weight says: systematic resampling.

    A row that is due e times in an epoch comes floor(e) or ceil(e) times. So where all are due at most once, none comes
    twice, and where all are due at least once, none is left out (Carpenter et al., 1999).

    Attributes:
        weights: of the rows (N,), at least 0, not all 0.
        size: rows of an epoch.
        groups: (N,) whole numbers; rows of one group come together as often as their weights say, but for rounding.
    """

    weights: Tensor
    size: int
    groups: Tensor | None = None

    def order(self, *, seed: int, epoch: int) -> Tensor:
        """The rows of an epoch (size,), the same on every device for the same seed and epoch."""
        draws = _generator(seed, epoch)
        rows = torch.randperm(len(self.weights), generator=draws)
        if self.groups is not None:
            rows = rows[self.groups[rows].argsort(stable=True)]
        due = self.weights.double()[rows].cumsum(0)
        offset = torch.rand((), dtype=torch.float64, generator=draws)
        so_far = (due / due[-1] * self.size - offset).ceil()
        so_far[-1] = self.size  # whatever the rounding
        drawn = rows.repeat_interleave(so_far.diff(prepend=so_far.new_zeros(1)).long())
        return drawn[torch.randperm(self.size, generator=draws)]


def balanced(targets: Tensor, how: Literal["oversample", "undersample"]) -> Resampling:
    """All classes that have rows equally often: as often as the most frequent of them has rows, or the rarest.

    Args:
        targets: the classes (N,).
    """
    classes = targets.long().cpu()
    counts = classes.bincount()
    present = counts[counts > 0]
    each = present.max() if how == "oversample" else present.min()
    return Resampling(1 / counts[classes].double(), int(each) * len(present), classes)


def epoch_order(size: int, *, seed: int, epoch: int) -> Tensor:
    """A permutation of 0 to size-1, the same on every device for the same seed and epoch."""
    return torch.randperm(size, generator=_generator(seed, epoch))


def _generator(seed: int, epoch: int) -> torch.Generator:
    # Seeds of neighbouring runs and epochs must not meet: 0x9E3779B97F4A7C15 spreads them over 64 bits.
    mixed = (seed * 0x9E3779B97F4A7C15 + epoch * 0xBF58476D1CE4E5B9 + 1) % 2**63
    return torch.Generator().manual_seed(mixed)
