"""What new rows of a series go through: filled, cut and scaled; and forecasts back in their own units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dlrun.data.base import Preprocessing
from dlrun.data.loaders import Split
from dlrun.data.series.series import Layout
from dlrun.data.series.windows import Cutting, FillRule, Known, fill

# One series has of its own:
_FIGURES = ("mean", "std", "target_mean", "target_std", "fallback", "naive")
_CHUNK = 4096  # windows made at once: the memory that float64 takes stays small


@dataclass(frozen=True)
class SeriesScaling(Preprocessing):
    """The scaling of a series, with all that decides how it is cut.

    Shapes: R rows, C columns as in `Layout`, of which the first F are inputs; D targets, H horizon; a sequence for
    a model has T steps of G features: the window, or with `known_future` the window and the horizon, in which the other
    columns are 0, and one feature more, which is 1 in the horizon.

    Attributes:
        mean, std: of the inputs (F,).
        target_mean, target_std: of the targets (H * D,), all targets of the first step first.
        fallback: means of the columns (C,) in training, for gaps with nothing before them.
        input_columns, target_columns, kinds: the layout.
        season, reading, known_future: as in `Series`.
        naive: of each target column, the mean error in training of a forecast by the row before, or by that of one
            `season` before; [] of a version that did not know it.
        members: of several series, the lists of numbers for each, by its name. The scaling's own are
            then the means of them, and targets are (N, 2 H D): scaled, and by what each was divided.
    """

    kind: ClassVar[str] = "series"
    mean: list[float]
    std: list[float]
    target_mean: list[float]
    target_std: list[float]
    fallback: list[float]
    input_columns: list[str]
    target_columns: list[str]
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
    known_future: list[str] = field(default_factory=list)
    naive: list[float] = field(default_factory=list)

    @property
    def future(self) -> int:
        """Rows after the origin that a sequence reaches."""
        return self.horizon if self.known_future else 0

    @property
    def input_shape(self) -> tuple[int, int]:
        """(T, G) of a sequence."""
        return self.window + self.future, len(self.mean) + bool(self.known_future)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Of the G features."""
        return (*self.layout.features, *(["in the future"] if self.known_future else []))

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
    def predicted(self) -> list[str]:
        return self.target_columns

    @property
    def traits(self) -> dict[str, list[str]]:
        """The columns that forecasts are made from, those among them that hold words, and those that are forecast."""
        return {
            "columns": self.input_columns,
            "targets": self.target_columns,
            "columns of words": [name for name in self.input_columns if name in self.kinds],
        }

    @property
    def layout(self) -> Layout:
        """Where columns go."""
        return Layout(self.input_columns, self.target_columns, self.kinds)

    @property
    def cutting(self) -> Cutting:
        """How rows are cut."""
        return Cutting.of(vars(self))

    def inputs(self, raw: np.ndarray) -> Tensor:
        """The sequence (1, T, G) at the end of the rows `raw` (R, C), NaN where missing.

        With `known_future` the last H rows are those to be forecast.
        """
        return self.windows(self.known(raw), self._last_origin(raw))

    def values(self, outputs: Tensor, raw: np.ndarray) -> Tensor:
        """Forecasts (1, H * D) in their own units from scores, for the rows `raw` as of `inputs`."""
        bases = self.bases(self.known(raw), self._last_origin(raw))
        return super().values(outputs, raw) + torch.from_numpy(bases)

    def _last_origin(self, raw: np.ndarray) -> np.ndarray:
        return np.array([len(raw) - 1 - self.future])

    def known(self, values_RC: np.ndarray) -> Known:
        """The rows without gaps."""
        return fill(values_RC, self.fill, np.asarray(self.fallback), self.season)

    def windows(self, known: Known, origins: np.ndarray) -> Tensor:
        """The sequence at each of N origins, scaled, float32 (N, T, G)."""
        mean, std = np.asarray(self.mean), np.asarray(self.std)
        count, cutting = len(mean), self.cutting
        sequences = torch.zeros(len(origins), *self.input_shape)
        differenced = [place for place in self.layout.target_places if place < count]
        ahead = self.layout.places_of(self.known_future)
        for start in range(0, len(origins), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            part = cutting.windows(known, origins[chunk], differenced)
            scaled = (part[:, :, :count] - mean) / std
            sequences[chunk, : self.window, :count] = torch.from_numpy(scaled)
            if ahead:
                later = cutting.rows_after(known, origins[chunk])[:, :, ahead]
                scaled = (later - mean[ahead]) / std[ahead]
                sequences[chunk, self.window :, ahead] = torch.from_numpy(scaled).float()
        if self.known_future:
            sequences[:, self.window :, -1] = 1
        return sequences

    def naive_errors(self, count: int) -> Tensor | None:
        """Of `count` samples, the errors of a naive forecast (N, H * D) in training, where they are known."""
        if not self.naive:
            return None
        return torch.tensor(self.naive, dtype=torch.float64).repeat(self.horizon).expand(count, -1)

    def bases(self, known: Known, origins: np.ndarray) -> np.ndarray:
        """The values (N, H * D) that predicted changes are added to."""
        bases = self.cutting.bases(known, origins)[:, :, self.layout.target_places]
        return bases.reshape(len(origins), len(self.target_mean))

    def in_own_units(self, part: Split, scores: Sequence[Tensor]) -> list[np.ndarray]:
        """The targets of samples, then the forecasts that each of `scores` (N, H * D) is, all (N, H, D)."""
        assert part.bases is not None, "samples of a series"
        targets, base, std = part.targets, part.bases.numpy(), np.asarray(self.target_std)
        if self.scaled_by_row:
            targets, divisors = targets.chunk(2, 1)
            std = divisors.double().cpu().numpy()
        else:
            base = base + np.asarray(self.target_mean)
        shape = (len(base), self.horizon, -1)
        return [
            (one.detach().double().cpu().numpy() * std + base).reshape(shape)
            for one in (targets, *scores)
        ]
