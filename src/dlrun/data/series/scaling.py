"""What new rows of a series go through: filled, cut and scaled; and forecasts back in their own units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dlrun.data.base import Preprocessing
from dlrun.data.series.series import Layout
from dlrun.data.series.windows import Cutting, FillRule, Known, fill

_FIGURES = ("mean", "std", "target_mean", "target_std", "fallback")  # one series has of its own
_CHUNK = 4096  # windows made at once: the memory that float64 takes stays small


@dataclass(frozen=True)
class SeriesScaling(Preprocessing):
    """The scaling of a series, with all that decides how it is cut.

    Shapes: R rows, C columns as in `Layout`, of which the first F are inputs; D targets, H horizon.

    Attributes:
        mean, std: of the inputs (F,).
        target_mean, target_std: of the targets (H * D,), all targets of the first step first.
        fallback: means of the columns (C,) in training, for gaps with nothing before them.
        inputs_taken, targets_told, kinds: the layout.
        season, reading: as in `Series`.
        members: of several series, the first five of these lists for each, by its name. The scaling's own are
            then the means of them, and targets are (N, 2 H D): scaled, and by what each was divided.
    """

    kind: ClassVar[str] = "series"
    mean: list[float]
    std: list[float]
    target_mean: list[float]
    target_std: list[float]
    fallback: list[float]
    inputs_taken: list[str]
    targets_told: list[str]
    kinds: dict[str, list[str]]
    window: int
    horizon: int
    difference: int
    seasonal_difference: int | None
    difference_inputs: bool
    fill: FillRule
    season: int | None
    reading: dict[str, Any]
    members: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    @property
    def scaled_by_row(self) -> bool:
        """As of every `Preprocessing`."""
        return bool(self.members)

    def of(self, name: str) -> SeriesScaling:
        """The scaling of one of several series, as if it were the only one; of one series, that itself."""
        if not self.members:
            return self
        lists: dict[str, Any] = self.members[name]
        return replace(self, **lists, members={})

    @classmethod
    def joined(cls, members: Mapping[str, SeriesScaling]) -> SeriesScaling:
        """The scaling of several series from those of each, which differ in their figures alone."""
        each = {
            name: {figure: getattr(one, figure) for figure in _FIGURES}
            for name, one in members.items()
        }
        means: dict[str, Any] = {
            figure: np.mean([one[figure] for one in each.values()], axis=0).tolist()
            for figure in _FIGURES
        }
        return replace(next(iter(members.values())), **means, members=each)

    @property
    def traits(self) -> dict[str, list[str]]:
        """The columns that forecasts are made from, those among them that hold words, and those that are forecast."""
        return {
            "columns": self.inputs_taken,
            "targets": self.targets_told,
            "columns of words": [name for name in self.inputs_taken if name in self.kinds],
        }

    @property
    def layout(self) -> Layout:
        """Where columns go."""
        return Layout(self.inputs_taken, self.targets_told, self.kinds)

    @property
    def cutting(self) -> Cutting:
        """How rows are cut."""
        return Cutting.of(vars(self))

    def inputs(self, raw: np.ndarray) -> Tensor:
        """The window at the end of the rows `raw` (R, C), NaN where missing, as a model takes it: (1, W, F)."""
        return self.windows(self.known(raw), np.array([len(raw) - 1]))

    def values(self, outputs: Tensor, raw: np.ndarray) -> Tensor:
        """Forecasts (1, H * D) of what comes after the rows `raw` (R, C), in their own units, from scores."""
        bases = self.bases(self.known(raw), np.array([len(raw) - 1]))
        return super().values(outputs, raw) + torch.from_numpy(bases)

    def known(self, values_RC: np.ndarray) -> Known:
        """The rows without gaps."""
        return fill(values_RC, self.fill, np.asarray(self.fallback), self.season)

    def windows(self, known: Known, origins: np.ndarray) -> Tensor:
        """What is seen at each of N origins, scaled, float32 (N, W, F)."""
        mean, std = np.asarray(self.mean), np.asarray(self.std)
        windows = torch.empty(len(origins), self.window, len(mean))
        differenced = [place for place in self.layout.target_places if place < len(mean)]
        for start in range(0, len(origins), _CHUNK):
            part = self.cutting.windows(known, origins[start : start + _CHUNK], differenced)
            scaled = (part[:, :, : len(mean)] - mean) / std
            windows[start : start + _CHUNK] = torch.from_numpy(scaled)
        return windows

    def bases(self, known: Known, origins: np.ndarray) -> np.ndarray:
        """The values (N, H * D) that predicted changes are added to."""
        bases = self.cutting.bases(known, origins)[:, :, self.layout.target_places]
        return bases.reshape(len(origins), len(self.target_mean))
