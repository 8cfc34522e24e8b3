"""Test-time augmentation: a run's model on several views of each image, whose predictions are averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.config.settings import Augment, parse
from dlrun.data.arrays.scaling import Scaling
from dlrun.data.images.augment import FLIPS, Augmentation
from dlrun.errors import ConfigError
from dlrun.inference.averaging import MeanModel, Order, Units
from dlrun.inference.load import Trained

_MOVES = ("shift", "rotation", "crop")
_SHIFT = 16  # the part of a side by which images are shifted where the run has no such change


@dataclass(frozen=True)
class View:
    """One way to look at images: mirrored along axes, then moved by what a seed draws, all images alike.

    So a prediction depends on no other image, and is the same every time.
    """

    flips: tuple[int, ...] = ()
    moves: Augmentation | None = None
    seed: int = 0

    def of(self, x_BCHW: Tensor) -> Tensor:
        """The images as they are seen."""
        x_BCHW = x_BCHW.flip(self.flips) if self.flips else x_BCHW
        if self.moves is None:
            return x_BCHW
        # As one image with the channels of all, which is moved by one draw.
        generator = torch.Generator(x_BCHW.device).manual_seed(self.seed)
        return self.moves(x_BCHW.flatten(0, 1)[None], generator)[0].view_as(x_BCHW)


class OnView(nn.Module):
    """A model that sees a view of its inputs."""

    def __init__(self, model: nn.Module, view: View) -> None:
        super().__init__()
        self.model, self.view = model, view

    def forward(self, x_BCHW: Tensor) -> Tensor:
        scores: Tensor = self.model(self.view.of(x_BCHW))
        return scores


def on_views(trained: Trained, plain: Mapping[str, Any], count: int) -> Trained:
    """The same with a model that averages its predictions over `count` views of each image, the plain image first.

    Raises:
        ConfigError: the inputs are no images, or are to be reconstructed.
    """
    spec = trained.spec
    if count == 1:
        return trained
    if spec.kind != "image" or spec.task == "reconstruction":
        of = "are to be reconstructed" if spec.kind == "image" else f"are {spec.kind}"
        raise ConfigError(f"--tta is for images with targets, but the inputs {of}: leave it out")
    settings = parse(plain)
    views = views_of(
        settings.dataset["augment"], trained.preprocessing, spec.input_shape, count, settings.seed
    )
    units = [Units.of(trained.preprocessing, spec)] * count if spec.task == "regression" else []
    order = Order.of(range(spec.num_outputs))
    models = [OnView(trained.model, view) for view in views]
    mean = MeanModel(models, [1 / count] * count, [order] * count, spec, units=units)
    return replace(trained, model=mean.eval())


def views_of(
    augment: Mapping[str, Any] | None,
    scaling: Scaling,
    shape: tuple[int, ...],
    count: int,
    seed: int,
) -> list[View]:
    """The plain image, its mirror images where the run has them, then moves: the run's own, or small shifts."""
    asked = augment or {}
    off = {field.name: 0 for field in fields(Augment)} | {"policy": None}
    off["shift_padding"] = asked.get("shift_padding", "zero")
    moves = {name: asked[name] for name in _MOVES if asked.get(name)}
    moves = moves or {"shift": max(1, min(shape[1:]) // _SHIFT)}
    change = Augmentation(Augment(**{**off, **moves}), scaling)
    axes = [axis for name, axis in FLIPS.items() if asked.get(name)]
    mirrored: list[tuple[int, ...]] = [(), *((axis,) for axis in axes)]
    views = [View(flips) for flips in mirrored]
    while len(views) < count:
        number = len(views)
        views.append(View(mirrored[number % len(mirrored)], change, seed + number))
    return views[:count]
