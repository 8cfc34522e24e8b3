"""The kinds of problem that there are, and which one a data set and a loss ask for. Shapes as in `task`."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dlrun.config.instantiate import Component
from dlrun.config.metrics import LANGUAGE
from dlrun.config.settings import LossSettings
from dlrun.data.base import Preprocessing, Spec
from dlrun.errors import ConfigError
from dlrun.training.classification import Binary, Multiclass, Multilabel
from dlrun.training.reconstruction import Reconstruction
from dlrun.training.regression import (
    QuantileRegression,
    QuantilesByRow,
    Regression,
    RegressionByRow,
)
from dlrun.training.task import Task


class Language(Task):
    """The next token of a text: softmax over V scores at each step. Targets are token numbers (S, T).

    Of the outputs only two numbers a token are kept, (S * T, 2): the logarithm of the chance that the
    model gave to the token that came, and whether it was the likeliest. The loss is in nats a token.
    """

    name = "language"
    losses = ("cross_entropy",)
    declared = LANGUAGE
    meaning = "a softmax over the scores gives the probability of each token to come next"

    @staticmethod
    def asked(spec: Spec) -> str:
        return "text to continue"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(
            outputs.flatten(0, 1),
            targets.flatten(),
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,
        )

    def kept(self, outputs: Tensor, targets: Tensor) -> Tensor:
        scores, tokens = outputs.detach().flatten(0, 1), targets.flatten()
        log_chances = -F.cross_entropy(scores, tokens, reduction="none")
        return torch.stack((log_chances, scores.argmax(1) == tokens), 1)

    def kept_targets(self, targets: Tensor) -> Tensor:
        return targets.flatten()  # the last window of a text may be shorter than those before it

    def size(self, targets: Tensor) -> int:
        return targets.numel()

    def sample_losses(
        self, outputs: Tensor, targets: Tensor, label_smoothing: Tensor | None
    ) -> Tensor:
        raise NotImplementedError("texts are not trained in stacks")

    def plain_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -outputs[:, 0].mean()

    def scores(
        self, outputs: Tensor, targets: Tensor, target_std: Tensor, variance: Tensor
    ) -> dict[str, Tensor]:
        nats = self.plain_loss(outputs, targets)
        bits = nats / math.log(2)
        return {"accuracy": outputs[:, 1].mean(), "perplexity": nats.exp(), "bits": bits}


TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (Binary, Multiclass, Multilabel, Regression, Language, Reconstruction)
}


def spec_for(spec: Spec, settings: LossSettings, model: Component | None = None) -> Spec:
    """The `spec` of data for this model and loss: several quantiles have a score each.

    A class of models whose `task` is "reconstruction" gives its inputs again, from as many numbers as its parameter
    `latent` says; those with a parameter `beta` have a distribution over them.
    """
    if model is not None and getattr(model.target, "task", None) == Reconstruction.name:
        return _of_reconstruction(spec, **model.arguments)
    if settings.quantiles is None or spec.task != "regression":
        return spec
    quantiles = tuple(settings.quantiles)
    return replace(spec, num_outputs=spec.num_targets * len(quantiles), quantiles=quantiles)


def _of_reconstruction(spec: Spec, *, latent: int, beta: float | None = None, **_: Any) -> Spec:
    outputs = spec.reconstructed + latent * (1 if beta is None else 2)
    return replace(
        spec,
        task=Reconstruction.name,
        num_outputs=outputs,
        latent=latent,
        beta=beta,
        data=spec,
        class_names=(),
        target_names=(),
        labels=(),
    )


def make_task(spec: Spec, settings: LossSettings, preprocessing: Preprocessing) -> Task:
    """The task that `spec` asks for.

    Raises:
        ConfigError: a loss for another kind of problem.
    """
    task = TASKS[spec.task]
    if task is Regression and settings.name == "quantile":
        task = QuantileRegression
    loss = task.losses[0] if settings.name == "auto" else settings.name
    if loss not in task.losses:
        raise ConfigError(
            f"loss.name is {loss}, but the data set has {task.asked(spec)}: use {' or '.join(task.losses)} or auto"
        )
    if issubclass(task, Reconstruction):
        return task(settings, loss, preprocessing, spec)
    if issubclass(task, Regression) and preprocessing.scaled_by_row:
        task = RegressionByRow if task is Regression else QuantilesByRow
    return task(settings, loss, preprocessing, spec.target_names)
