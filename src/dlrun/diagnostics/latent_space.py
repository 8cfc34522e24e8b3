"""What an autoencoder makes of its inputs: originals beside what it gives again, codes in a plane, new samples.

Shapes: N samples, L numbers of a code, C labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dlrun.data.base import Dataset
from dlrun.data.loaders import Split
from dlrun.diagnostics.decision_boundary import PALETTE
from dlrun.diagnostics.image_grid import image_grid
from dlrun.diagnostics.line_chart import Colour
from dlrun.diagnostics.plane import Dots, plane, ticks_of
from dlrun.inference.samples import sample_inputs
from dlrun.tracking.picture import Picture
from dlrun.training.loop import Engine
from dlrun.training.reconstruction import Reconstruction

_SAMPLES = 48


def reconstruction_pictures(
    engine: Engine, data: Dataset, part: Split, outputs: Tensor, captions: Sequence[str]
) -> Iterator[tuple[str, Picture]]:
    """By name: pairs of images, samples of a distribution, and the codes of a part in the colours of its labels.

    Args:
        outputs: what was kept of the model's outputs for the whole part.
        captions: of the first images of the part.
    """
    task, spec = engine.task, data.spec
    assert isinstance(task, Reconstruction)
    codes = task.codes(outputs).float().cpu().numpy()
    yield "latent_space", codes_picture(codes, *_labels(part, data))
    if spec.kind != "image":
        return
    first = part.first(len(captions))
    again = _given_again(engine, task, first.inputs)
    line = first.inputs.amax((1, 2, 3), keepdim=True).expand(*first.inputs.shape[:3], 1)
    pairs = torch.cat([first.inputs, line, again], 3).float().cpu().numpy()
    yield "reconstructions", image_grid(pairs, captions, columns=6, width=144)
    if spec.beta is not None:
        made = sample_inputs(engine.evaluated, task, number=_SAMPLES, seed=0)
        yield "samples", image_grid(made.float().cpu().numpy(), [""] * len(made), columns=12)


def codes_picture(codes_NL: np.ndarray, labels_N: np.ndarray, names: Sequence[str]) -> Picture:
    """The codes as dots; of more than two numbers their first two principal components."""
    known = np.isfinite(codes_NL).all(1)
    places, shares = in_plane(codes_NL[known])
    labels = labels_N[known]
    axes = "x, y: the numbers of the code"
    if shares is not None:
        said = " and ".join(f"{share:.0%}" for share in shares)
        axes = f"x, y: principal components, {said} of the variance"
    # More classes than colours share them, without names.
    count = min(len(names), len(PALETTE)) or 1
    shown = names if 0 < len(names) <= len(PALETTE) else [""] * count
    dots = [
        Dots(name, _colour(number), *places[labels % count == number].T)
        for number, name in enumerate(shown)
    ]
    title = f"codes of {len(places):,} samples, {codes_NL.shape[1]} numbers each"
    return plane(title, axes, *map(ticks_of, places.T), dots=dots)


def _colour(number: int) -> Colour:
    red, green, blue = PALETTE[number].astype(int).tolist()
    return red, green, blue


def in_plane(codes_NL: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The codes (N, 2), and how much of their variance that is; None where they have no more numbers than two."""
    if codes_NL.shape[1] <= 2:
        return np.pad(codes_NL, ((0, 0), (0, 2 - codes_NL.shape[1]))), None
    centred = codes_NL.astype(np.float64) - codes_NL.mean(0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    values, axes = values[::-1], axes[:, ::-1][:, :2]
    # An axis has no direction of its own: pictures of one run would flip from one to the next.
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), [0, 1]])
    return centred @ axes, values[:2] / max(values.sum(), 1e-300)


def _given_again(engine: Engine, task: Reconstruction, inputs: Tensor) -> Tensor:
    model: nn.Module = engine.evaluated.eval()
    with torch.inference_mode(), engine.device.autocast():
        again = task.given_again(model(inputs).to(engine.device.dtype))
    model.train()
    return again.view_as(inputs)


def _labels(part: Split, data: Dataset) -> tuple[np.ndarray, Sequence[str]]:
    """The number of each sample's class, and their names; one number where the data have no classes."""
    spec = data.spec.of_data
    if not spec.num_classes:
        return np.zeros(len(part), int), ()
    return part.targets.long().cpu().numpy(), spec.class_names
