"""Problems whose answer is the input itself: how well a model gives it again from a code. Shapes as in `task`.

Further: F numbers of an input, or columns; W numbers of an input given again (`Spec.reconstructed`); L of a code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dlrun.config.metrics import RECONSTRUCTION, VARIATIONAL
from dlrun.data.base import Dataset, Preprocessing, Spec
from dlrun.errors import ConfigError
from dlrun.models.gaussian import divergence
from dlrun.training.losses.base import Loss
from dlrun.training.losses.classes import BinaryCrossEntropy
from dlrun.training.losses.quantities import MSE
from dlrun.training.task import Task

_LOSS, _MSE, _KL = 0, 1, 2  # columns of what is kept
_PCA_COLUMNS, _PCA_ROWS = 1024, 10_000  # beyond which PCA would take seconds
_AT_ONCE = 4096  # rows whose errors are computed in 64 bits


class Reconstruction(Task):
    """Inputs given again, (B, W + L) with their codes. Targets are the inputs, flattened (B, F).

    An input's loss is the mean over its columns; a category's is the cross-entropy of its codes. Of a distribution
    over codes (B, W + 2 L) it is the negative evidence lower bound: the sum over the columns, as the logarithm of a
    probability, and `beta` times the divergence from the prior.

    Of the outputs only a few numbers a sample are kept, (B, 2 + L) or (B, 3 + L): loss, squared error, divergence,
    code.
    """

    name = "reconstruction"
    declared = RECONSTRUCTION
    meaning = (
        "the inputs again, each category as a score for each of its codes, then the code: of a distribution its means "
        "and the logarithms of its variances"
    )

    def __init__(self, criterion: Loss, preprocessing: Preprocessing, spec: Spec) -> None:
        super().__init__(criterion, preprocessing)
        _refuse_unfit(criterion)
        self.spec = spec
        pixels = isinstance(criterion, BinaryCrossEntropy)
        self.brightness = _Brightness(spec, preprocessing) if pixels else None
        if spec.beta is not None:
            self.declared = VARIATIONAL
        # The density of a normal distribution has half the squared error in its exponent.
        self.scale = 0.5 if isinstance(criterion, MSE) else 1.0

    @staticmethod
    def asked(spec: Spec) -> str:
        return "inputs to give again"

    def aims(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return inputs.flatten(1)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.criterion.reduced(self.sample_losses(outputs, targets, {}))

    def sample_losses(
        self, outputs: Tensor, targets: Tensor, numbers: Mapping[str, Tensor]
    ) -> Tensor:
        again, *distribution = self._parts(outputs)
        losses = self._column_losses(again, targets, numbers)
        if self.spec.beta is None:
            return losses.mean(1)
        return self.scale * losses.sum(1) + self.spec.beta * divergence(*distribution)

    def kept(self, outputs: Tensor, targets: Tensor) -> Tensor:
        outputs = outputs.detach()
        again, code, *log_variance = self._parts(outputs)
        columns = [
            self.sample_losses(outputs, targets, {}),
            self._squared_errors(again, targets).mean(1),
            *([divergence(code, *log_variance)] if log_variance else []),
        ]
        return torch.cat([torch.stack(columns, 1), code], 1)

    def kept_targets(self, targets: Tensor) -> Tensor:
        return targets.new_empty((len(targets), 0))  # what is kept of the outputs says all

    def plain_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs[:, _LOSS].mean()

    def scores(
        self, outputs: Tensor, targets: Tensor, target_std: Tensor, variance: Tensor
    ) -> dict[str, Tensor]:
        found = {"mse": outputs[:, _MSE].mean()}
        return found if self.spec.beta is None else {**found, "kl": outputs[:, _KL].mean()}

    def loss_unit(self, part: str) -> tuple[object, ...]:
        return (*super().loss_unit(part), self.spec.beta, self.spec.reconstructed)

    def codes(self, outputs: Tensor) -> Tensor:
        """The codes (N, L) in what was kept of the outputs, of distributions their means."""
        return outputs[:, -self.spec.latent :]

    def anomaly_scores(self, outputs: Tensor) -> Tensor:
        """(N,) from what was kept of the outputs: how badly each input was given again, its loss."""
        return outputs[:, _LOSS]

    def given_again(self, outputs: Tensor) -> Tensor:
        """Of plain numbers the inputs (B, F) as a model with these outputs gives them again, scaled as the inputs."""
        again = outputs[:, : self.spec.reconstructed]
        return again if self.brightness is None else self.brightness.undo(torch.sigmoid(again))

    def with_baselines(self, data: Dataset) -> Dataset:
        """The same data with what the mean of the training inputs, and PCA of as many numbers, reach."""
        train, tested = data.train.inputs, data.split(data.tested).inputs
        if self.spec.categories or not isinstance(train, Tensor) or len(train) < 2:
            return replace(data, baselines={})
        x, y = (part.flatten(1).cpu() for part in (train, tested))
        mean = x.mean(0, dtype=torch.float64)
        found = {"training mean": {"mse": _mse(y, lambda rows: mean.expand_as(rows))}}
        # A distribution gives up exactness for what it is: to be set beside PCA, it would have to be none.
        if self.spec.beta is None and self.spec.latent < x.shape[1] <= _PCA_COLUMNS:
            some = x[:: -(-len(x) // _PCA_ROWS)].double() - mean
            axes = principal_axes(some, self.spec.latent)
            error = _mse(y, lambda rows: mean + (rows - mean) @ axes @ axes.T)
            found[f"PCA of {self.spec.latent}"] = {"mse": error}
        return replace(data, baselines=found)

    def _parts(self, outputs: Tensor) -> tuple[Tensor, ...]:
        """The inputs given again (B, W), the code (B, L), and of distributions the logarithms of their variances."""
        latent = self.spec.latent
        widths = [self.spec.reconstructed, latent]
        return outputs.split(widths if self.spec.beta is None else [*widths, latent], 1)

    def _column_losses(self, again: Tensor, inputs: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        """(B, F)"""
        if self.brightness is not None:
            inputs = self.brightness(inputs)
        numbers, categories = self._columns(again, inputs)
        loss = self.criterion
        losses = [loss.rows(*numbers, own) if own else loss.function(*numbers, "none")]
        losses += [
            F.cross_entropy(scores, codes, reduction="none").unsqueeze(1)
            for scores, codes in categories
        ]
        return torch.cat(losses, 1) if categories else losses[0]

    def _squared_errors(self, again: Tensor, inputs: Tensor) -> Tensor:
        """(B, F); of a category the squared distance of its probabilities from the truth."""
        if self.brightness is not None:
            again = self.brightness.undo(torch.sigmoid(again))
        numbers, categories = self._columns(again, inputs)
        errors = [F.mse_loss(*numbers, reduction="none")]
        for scores, codes in categories:
            chances = torch.softmax(scores, 1)
            truth = torch.nn.functional.one_hot(codes, chances.shape[1]).to(chances.dtype)
            errors.append(((chances - truth) ** 2).sum(1, keepdim=True))
        return torch.cat(errors, 1) if categories else errors[0]

    def _columns(
        self, again: Tensor, inputs: Tensor
    ) -> tuple[tuple[Tensor, Tensor], list[tuple[Tensor, Tensor]]]:
        """The numbers given again and as they are; likewise the scores and the codes of each category."""
        categories = self.spec.categories
        if not categories:
            return (again, inputs), []
        count = inputs.shape[1] - len(categories)
        numbers, *scores = again.split([count, *categories], 1)
        codes = inputs[:, count:].long().unbind(1)
        return (numbers, inputs[:, :count]), list(zip(scores, codes, strict=True))


def _refuse_unfit(loss: Loss) -> None:
    """Refuse a loss that is not taken for each number of an input alone, or that weighs labels."""
    if not loss.tasks:
        raise ConfigError(
            f"loss {loss.name} is of your own, but a reconstruction takes the loss of each number of an input: use "
            "mse, mae, huber or binary_cross_entropy"
        )
    if isinstance(loss, BinaryCrossEntropy):
        neutral = {"label_smoothing": 0.0, "positive_weight": 1.0}
        for name, value in neutral.items():
            if (found := getattr(loss, name)) != value:
                raise ConfigError(
                    f"loss.{name} is {found}, but a reconstruction has no labels; set it to {value:g}"
                )


def principal_axes(centred: Tensor, count: int) -> Tensor:
    """The first principal axes (F, count) of centred rows (N, F)."""
    _, vectors = torch.linalg.eigh(centred.T @ centred)  # by ascending eigenvalues
    return vectors[:, -count:]


def _mse(rows: Tensor, again: Callable[[Tensor], Tensor]) -> float:
    """The mean squared error of what rows (N, F) are given again as, some at a time."""
    pieces = (piece.double() for piece in rows.split(_AT_ONCE))
    return sum(((piece - again(piece)) ** 2).sum().item() for piece in pieces) / rows.numel()


class _Brightness:
    """The brightness of pixels, from 0 to 1, of inputs (B, F) as a model takes them.

    Raises:
        ConfigError: the inputs are no pixels whose range is known.
    """

    def __init__(self, spec: Spec, preprocessing: Any) -> None:
        top = getattr(preprocessing, "pixel_max", 0.0)
        if spec.kind != "image" or not top:
            raise ConfigError(
                f"loss is binary_cross_entropy, which gives pixels again, but the inputs are {spec.kind}"
                f"{'' if spec.kind != 'image' else ' without a brightest value'}: use mse, mae or huber"
            )
        self._on: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}
        shape = spec.input_shape
        self._mean, self._std = (
            (torch.tensor(values, dtype=torch.float64) / top).expand(shape).flatten()
            for values in (preprocessing.mean, preprocessing.std)
        )

    def __call__(self, inputs: Tensor) -> Tensor:
        mean, std = self._scale(inputs)
        return (inputs * std + mean).clamp(0, 1)  # rounding, and noise that was added

    def undo(self, brightness: Tensor) -> Tensor:
        """Pixels as a model takes them."""
        mean, std = self._scale(brightness)
        return (brightness - mean) / std

    def _scale(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Kept on each device: a CUDA graph takes nothing from the memory of the CPU."""
        key = (like.device, like.dtype)
        if key not in self._on:
            self._on[key] = (self._mean.to(*key), self._std.to(*key))
        return self._on[key]
