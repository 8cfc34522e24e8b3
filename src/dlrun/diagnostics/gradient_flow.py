"""How much of the loss's gradient reaches each step of time: whether it vanishes or explodes on its way back."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dlrun.diagnostics.line_chart import Curve, line_chart
from dlrun.models.unroll import watching
from dlrun.tracking.picture import Picture
from dlrun.tracking.tracker import Tracker
from dlrun.training.loop import Engine

_TAG = "gradient_through_time"
_ROWS = 32  # sequences looked at: their mean is steady, and it costs little
_EARLY, _LATE = np.array((198, 219, 239)), np.array((8, 48, 107))  # pale to dark blue


class GradientFlow:
    """Plots, for one batch of training, the norm of d loss / d h_t over time steps t.

    h_t is the hidden state of the first layer, read forwards; the loss is that of one sequence,
    the norm a mean over sequences. It shrinks towards early steps where gradients vanish and grows
    where they explode (Bengio et al., 1994; Pascanu et al., 2013). The batch is the same all along,
    without dropout; no random number is sampled.

    Looked at after evaluations 1, 2, 4, 8, ..., and at the end: in all as often as is cheap.
    """

    def __init__(self) -> None:
        self.curves: dict[int, list[float]] = {}  # by training step

    def at_evaluation(self, engine: Engine, tracker: Tracker) -> None:
        """A curve, if it is time for one."""
        number = engine.evaluations
        if number & (number - 1) == 0:  # a power of two
            self.draw(engine, tracker)

    def draw(self, engine: Engine, tracker: Tracker) -> None:
        """The curve at this step, as scalars over time steps, and a picture of all so far."""
        self.curves = tracker.earlier_curves(_TAG) | self.curves  # of a resumed run
        if engine.step in self.curves:
            return
        norms = gradient_flow(engine)
        if not norms:
            warnings.warn(
                "the model reads its sequences in a way that shows no gradients of hidden states",
                stacklevel=2,
            )
            return
        self.curves[engine.step] = norms
        tracker.curve(f"{_TAG}/step {engine.step}", norms)
        tracker.image(f"{_TAG}/all", _picture(self.curves), engine.step)


def gradient_flow(engine: Engine) -> list[float]:
    """For each time step of a batch the norm of the gradient of a sequence's loss there, a mean over sequences.

    Empty where the model is the user's own and reads by torch's fused layers, or the layer is frozen.
    """
    inputs, targets = next(iter(engine.batches.epoch(0)))
    inputs, targets = inputs[:_ROWS], targets[:_ROWS]
    model, spec = engine.model, engine.data.spec
    model.eval()
    with watching() as states, engine.device.autocast():
        outputs = model.forward(inputs)  # not the model itself, which may be compiled
    engine.freezing.train(model)
    if spec.carries_state:
        outputs, _ = outputs
    loss = engine.task.loss(outputs.to(engine.device.dtype), targets)
    if engine.task.reduction == "mean":
        loss = loss * len(inputs)
    if not states or not all(state.requires_grad for state in states[0]):  # frozen, the latter
        return []
    return norms_through_time(loss, states[0], real_BT=inputs != 0 if spec.padded else None)


def norms_through_time(
    loss: Tensor, states: Sequence[Tensor], *, real_BT: Tensor | None = None
) -> list[float]:
    """Of each hidden state h_t (B, H), the norm of d loss / d h_t, a mean over the batch.

    Args:
        loss: a sum over sequences, so that each has the gradient of its own.
        real_BT: false where a sequence has ended; such steps are left out of the mean.
    """
    gradients_TBH = torch.stack(torch.autograd.grad(loss, states)).detach().float()
    norms_BT = gradients_TBH.norm(dim=2).T
    if real_BT is None:
        return norms_BT.mean(0).tolist()
    return ((norms_BT * real_BT).sum(0) / real_BT.sum(0).clamp(min=1)).tolist()


def _picture(curves: dict[int, list[float]]) -> Picture:
    shades = np.linspace(0, 1, len(curves))[:, None] if len(curves) > 1 else np.ones((1, 1))
    colours = (_EARLY + (_LATE - _EARLY) * shades).astype(int).tolist()
    lines = [
        Curve(f"step {step}", tuple(colour), _logarithm(norms))
        for colour, (step, norms) in zip(colours, curves.items(), strict=True)
    ]
    return line_chart("log10 of the gradient's norm at each time step", lines)


def _logarithm(norms: Sequence[float]) -> np.ndarray:
    values = np.asarray(norms)
    return np.log10(values, out=np.full(len(values), np.nan), where=values > 0)
