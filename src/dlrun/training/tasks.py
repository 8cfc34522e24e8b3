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
from dlrun.data.base import Preprocessing, Spec
from dlrun.data.loaders import Split
from dlrun.errors import ConfigError
from dlrun.training.classification import Binary, Multiclass, Multilabel
from dlrun.training.losses.base import Loss
from dlrun.training.losses.choice import fitting
from dlrun.training.losses.quantities import Quantile
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
    declared = LANGUAGE
    meaning = "a softmax over the scores gives the probability of each token to come next"

    @staticmethod
    def asked(spec: Spec) -> str:
        return "text to continue"

    def fit_for_loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return outputs.flatten(0, 1), targets.flatten()

    def kept(self, outputs: Tensor, targets: Tensor) -> Tensor:
        scores, tokens = outputs.detach().flatten(0, 1), targets.flatten()
        log_chances = -F.cross_entropy(scores, tokens, reduction="none")
        return torch.stack((log_chances, scores.argmax(1) == tokens), 1)

    def kept_targets(self, targets: Tensor) -> Tensor:
        return targets.flatten()  # the last window of a text may be shorter than those before it

    def size(self, targets: Tensor) -> int:
        return targets.numel()

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


def learned_spec(spec: Spec, model: Component) -> Spec:
    """What this model is to learn of the data with `spec`.

    A class of models whose `task` is "reconstruction" gives its inputs again, from as many numbers as its parameter
    `latent` says; those with a parameter `beta` have a distribution over them.

    Raises:
        ConfigError: such a class has no `latent`.
    """
    if getattr(model.target, "task", None) != Reconstruction.name:
        return spec
    if not isinstance(model.arguments.get("latent"), int):
        raise ConfigError(
            f"model._target_ is {model.target.__name__}, a class that gives its inputs again, but has no setting "
            "latent, a whole number: how many numbers describe an input; add it"
        )
    return _of_reconstruction(spec, **model.arguments)


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


def suited(loss: Loss, spec: Spec) -> Loss:
    """What `loss` is for the data of `spec`, auto the usual one.

    Raises:
        ConfigError: it is for another kind of problem.
    """
    loss = loss.suited(spec)
    if spec.task not in (loss.tasks or TASKS):
        names = " or ".join(one.name for one in fitting(spec.task))
        raise ConfigError(
            f"loss is {loss.name}, but the data set has {TASKS[spec.task].asked(spec)}: use loss={names} or auto"
        )
    return loss


def make_task(
    spec: Spec, loss: Loss, preprocessing: Preprocessing, train: Split | None = None
) -> Task:
    """The task that `spec` asks for, with the `loss` that is asked for.

    Args:
        train: the part that is trained on; None where nothing is trained.

    Raises:
        ConfigError: a loss that does not fit the data.
    """
    task, loss = TASKS[spec.task], suited(loss, spec)
    loss.fit(spec, preprocessing, train)
    if task is Regression and isinstance(loss, Quantile):
        task = QuantileRegression
    if issubclass(task, Regression) and preprocessing.scaled_by_row:
        task = RegressionByRow if task is Regression else QuantilesByRow
    if task is Reconstruction:
        return Reconstruction(loss, preprocessing, spec)
    return task(loss, preprocessing, spec.target_names)
