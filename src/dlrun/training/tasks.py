"""What is learned: the loss and the metrics of binary, multi-class, multi-label, regression and language problems.

Shapes: B batch, N samples, C classes, D targets; of language S streams, T steps of time, V tokens.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dlrun.config.metrics import (
    BINARY,
    LANGUAGE,
    MEDIAN,
    MULTICLASS,
    MULTILABEL,
    QUANTILE_LOSS,
    REGRESSION,
    Metrics,
    bands,
    of_target,
    quantile_metrics,
)
from dlrun.config.settings import LossSettings
from dlrun.data.base import Dataset, Preprocessing, Spec, TaskKind
from dlrun.data.loaders import Split
from dlrun.errors import ConfigError
from dlrun.training.cross_entropy import row_cross_entropy

_NO_VARIANCE = torch.zeros((), dtype=torch.float64)  # of targets that are no numbers


class Task(ABC):
    """One kind of problem: a loss to descend and metrics to report.

    Attributes:
        name: as in a spec.
        losses: what `loss.name` may be; the first is meant by auto.
        declared: what `metrics` and `final_metrics` return, and which way each improves.
        meaning: of the outputs, in words for a program without dlrun.
        targets: the names of several targets, each of which has metrics of its own; () otherwise.
    """

    name: ClassVar[TaskKind]
    losses: ClassVar[tuple[str, ...]]
    declared: Metrics
    meaning: ClassVar[str]

    def __init__(
        self,
        settings: LossSettings,
        loss: str,
        preprocessing: Preprocessing,
        targets: tuple[str, ...] = (),
    ) -> None:
        self.targets = targets
        if targets:
            self.declared = self.declared.of_targets(targets)
        self.label_smoothing = settings.label_smoothing
        self.reduction = settings.reduction
        # On the CPU: not every device has float64.
        self.target_std = torch.tensor(preprocessing.target_std, dtype=torch.float64)

    @staticmethod
    def asked(spec: Spec) -> str:
        """What is to be found of the data, for an error."""
        return f"{spec.num_classes} classes"

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The training loss of a batch: a scalar, the mean or the sum over its samples."""

    @abstractmethod
    def sample_losses(
        self, outputs: Tensor, targets: Tensor, label_smoothing: Tensor | None
    ) -> Tensor:
        """What each sample adds to the training loss (N,), at its own label smoothing (N,) if any."""

    @abstractmethod
    def plain_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss without label smoothing, a scalar: what evaluations compare."""

    def plain_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`plain_loss` of K models (K,), from their outputs and targets (K, N, ...)."""
        losses: Tensor = torch.vmap(self.plain_loss)(outputs, targets)
        return losses

    @abstractmethod
    def scores(
        self, outputs: Tensor, targets: Tensor, target_std: Tensor, variance: Tensor
    ) -> dict[str, Tensor]:
        """The metrics beside the loss, scalars; one of whole numbers counts samples. Fit for torch.vmap."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """What `metrics` returns."""
        return tuple(self.declared.always)

    def by_target(self, **metrics: Tensor) -> dict[str, Tensor]:
        """Metrics (D,) by the names of the targets."""
        return {
            of_target(name, target): values[at]
            for name, values in metrics.items()
            for at, target in enumerate(self.targets)
        }

    def variance(self, part: Split) -> Tensor:
        """What r2 sets errors against: the variance of a part's true values in their own units.

        A scalar, or (D,) where each target has metrics of its own.
        """
        return _NO_VARIANCE

    def loss_unit(self, part: str) -> tuple[object, ...]:
        """What losses on a part must have in common to be compared. Of labels, training alone sees smoothed ones."""
        return (self.label_smoothing,) if part == "train" else ()

    def kept(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What metrics need of the outputs of a batch, to be kept until they are asked for."""
        return outputs

    def kept_targets(self, targets: Tensor) -> Tensor:
        """The targets of a batch, a row for each row of `kept`."""
        return targets

    def size(self, targets: Tensor) -> int:
        """How many samples a batch is."""
        return len(targets)

    def metrics(
        self,
        outputs: Tensor,
        targets: Tensor,
        *,
        loss: float | None = None,
        variance: Tensor | None = None,
    ) -> dict[str, float]:
        """Loss, unless it is known, and the usual metrics over all N samples.

        Args:
            variance: of the part that the samples are of; None where they are all of it, and no changes.
        """
        if loss is None:
            loss = self.plain_loss(outputs, targets).item()
        if variance is None:
            variance = self.variance(Split(targets, targets))
        scores = self.scores(outputs, targets, self.target_std, variance)
        return {"loss": loss, **{name: _plain(v, len(targets)) for name, v in scores.items()}}

    def with_baselines(self, data: Dataset) -> Dataset:
        """The same data with the baselines that depend on the loss."""
        return data

    def final_metrics(
        self, outputs: Tensor, targets: Tensor, *, variance: Tensor | None = None
    ) -> dict[str, float]:
        """`metrics`, and those worth their cost only once, at the end."""
        return self.metrics(outputs, targets, variance=variance)

    def total(self, losses: Tensor, sizes: Tensor) -> Tensor:
        """Sums over samples from the training losses of several batches and their sizes."""
        return losses * sizes if self.reduction == "mean" else losses


class Multiclass(Task):
    """Softmax over C scores, cross-entropy. Targets are class numbers (B,)."""

    name = "multiclass"
    losses = ("cross_entropy",)
    declared = MULTICLASS
    meaning = "a softmax over the scores gives the probability of each class"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(
            outputs, targets, label_smoothing=self.label_smoothing, reduction=self.reduction
        )

    def sample_losses(
        self, outputs: Tensor, targets: Tensor, label_smoothing: Tensor | None
    ) -> Tensor:
        return row_cross_entropy(outputs, targets, label_smoothing)

    def plain_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    def plain_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        # What torch.vmap makes of cross_entropy, without its import of a compiler's shapes: 0.4 s.
        chances = torch.log_softmax(outputs, 2).gather(2, targets.unsqueeze(2))
        return -chances.squeeze(2).mean(1)

    def scores(
        self, outputs: Tensor, targets: Tensor, target_std: Tensor, variance: Tensor
    ) -> dict[str, Tensor]:
        return {"accuracy": (outputs.argmax(1) == targets).sum()}

    def final_metrics(
        self, outputs: Tensor, targets: Tensor, *, variance: Tensor | None = None
    ) -> dict[str, float]:
        confusion = confusion_matrix(outputs.argmax(1), targets, outputs.shape[1])
        per_class = [precision_recall_f1(confusion, number) for number in range(len(confusion))]
        macro = [sum(values) / len(per_class) for values in zip(*per_class, strict=True)]
        names = ("precision", "recall", "f1")
        return self.metrics(outputs, targets) | dict(zip(names, macro, strict=True))


class Binary(Task):
    """A sigmoid over one score (B, 1), binary cross-entropy. Targets are 0.0 or 1.0 (B,)."""

    name = "binary"
    losses = ("binary_cross_entropy",)
    declared = BINARY
    meaning = "a sigmoid of the score is the probability of the second class"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.label_smoothing:
            targets = targets * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        return F.binary_cross_entropy_with_logits(
            outputs.squeeze(1), targets, reduction=self.reduction
        )

    def sample_losses(
        self, outputs: Tensor, targets: Tensor, label_smoothing: Tensor | None
    ) -> Tensor:
        if label_smoothing is not None:
            targets = targets * (1 - label_smoothing) + 0.5 * label_smoothing
        return F.binary_cross_entropy_with_logits(outputs.squeeze(1), targets, reduction="none")

    def plain_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs.squeeze(1), targets)

    def scores(
        self, outputs: Tensor, targets: Tensor, target_std: Tensor, variance: Tensor
    ) -> dict[str, Tensor]:
        return {"accuracy": ((outputs.squeeze(1) > 0) == (targets > 0.5)).sum()}

    def final_metrics(
        self, outputs: Tensor, targets: Tensor, *, variance: Tensor | None = None
    ) -> dict[str, float]:
        return self.metrics(outputs, targets) | binary_scores(outputs.squeeze(1), targets)


class Multilabel(Task):
    """Several questions of yes and no: a sigmoid over each score (B, D), binary cross-entropy.

    Targets are 0.0 or 1.0 (B, D). Accuracy is the mean of the targets', exact_match the share of samples of which all
    are right; precision, recall, F1 and roc_auc are means over the targets (macro).
    """

    name = "multilabel"
    losses = ("binary_cross_entropy",)
    declared = MULTILABEL
    meaning = "a sigmoid of each score is the probability of the second label of its target"

    @staticmethod
    def asked(spec: Spec) -> str:
        return f"{spec.num_outputs} targets of two classes each"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.label_smoothing:
            targets = targets * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction=self.reduction)

    def sample_losses(
        self, outputs: Tensor, targets: Tensor, label_smoothing: Tensor | None
    ) -> Tensor:
        if label_smoothing is not None:
            smoothing = label_smoothing.unsqueeze(1)
            targets = targets * (1 - smoothing) + 0.5 * smoothing
        losses = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
        return losses.mean(1) if self.reduction == "mean" else losses.sum(1)

    def plain_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets)

    def scores(
        self, outputs: Tensor, targets: Tensor, target_std: Tensor, variance: Tensor
    ) -> dict[str, Tensor]:
        right = (outputs > 0) == (targets > 0.5)
        losses = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
        return {
            "accuracy": right.cpu().double().mean(),
            "exact_match": right.all(1).sum(),
            **self.by_target(loss=losses.mean(0), accuracy=right.sum(0)),
        }

    def final_metrics(
        self, outputs: Tensor, targets: Tensor, *, variance: Tensor | None = None
    ) -> dict[str, float]:
        columns = zip(outputs.unbind(1), targets.unbind(1), strict=True)
        found = [binary_scores(scores, truths) for scores, truths in columns]
        means = {name: _mean_of_known([one[name] for one in found]) for name in found[0]}
        each = {
            of_target(name, target): one[name]
            for name in ("f1", "roc_auc")
            for target, one in zip(self.targets, found, strict=True)
        }
        return self.metrics(outputs, targets) | means | each


class Regression(Task):
    """One output a target (B, D), trained on standardised targets, reported in their own units."""

    functions: Mapping[str, Callable[..., Tensor]] = {
        "mse": F.mse_loss,
        "mae": F.l1_loss,
        "huber": F.huber_loss,
    }
    name = "regression"
    losses = (*functions, "quantile")
    declared = REGRESSION
    meaning = "values are scores * target_std + target_mean"

    def __init__(
        self,
        settings: LossSettings,
        loss: str,
        preprocessing: Preprocessing,
        targets: tuple[str, ...] = (),
    ) -> None:
        super().__init__(settings, loss, preprocessing, targets)
        self.function, self.loss_name = self.functions[loss], loss
        if settings.label_smoothing:
            raise ConfigError(
                f"loss.label_smoothing is {settings.label_smoothing}, but regression has no labels; set it to 0"
            )

    @staticmethod
    def asked(spec: Spec) -> str:
        return "numbers to predict"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.function(outputs, targets, reduction=self.reduction)

    def sample_losses(
        self, outputs: Tensor, targets: Tensor, label_smoothing: Tensor | None
    ) -> Tensor:
        losses = self.function(outputs, targets, reduction="none")
        return losses.mean(1) if self.reduction == "mean" else losses.sum(1)

    def plain_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.function(outputs, targets)

    def loss_unit(self, part: str) -> tuple[object, ...]:
        scale = tuple(f"{std:.6g}" for std in self.target_std.tolist())
        summed = self.reduction if part == "train" else ""
        return (self.loss_name, summed, *scale)

    def variance(self, part: Split) -> Tensor:
        """Of the values themselves, also where the targets are changes of them; over each target's own mean."""
        values = part.targets.cpu().double() * self.target_std
        if part.bases is not None:
            values = values + part.bases
        if not len(values):
            return _NO_VARIANCE.expand(len(self.targets)) if self.targets else _NO_VARIANCE
        squares = (values - values.mean(0)) ** 2
        return squares.mean(0) if self.targets else squares.mean()

    def scores(
        self, outputs: Tensor, targets: Tensor, target_std: Tensor, variance: Tensor
    ) -> dict[str, Tensor]:
        error = (outputs - targets).cpu().double() * target_std
        losses = self.function(outputs, targets, reduction="none") if self.targets else None
        return self._scores(error, losses, variance)

    def _scores(self, error: Tensor, losses: Tensor | None, variance: Tensor) -> dict[str, Tensor]:
        """From errors (N, D) in the targets' own units; of several targets with their losses (N, D)."""
        if losses is not None and self.targets:
            return self._scores_by_target(error, losses.mean(0), variance)
        mse = (error**2).mean()
        return {
            "mse": mse,
            "rmse": mse.sqrt(),
            "mae": error.abs().mean(),
            "r2": torch.where(variance > 0, 1 - mse / variance, float("nan")),
        }

    def _scores_by_target(
        self, error: Tensor, losses: Tensor, variance: Tensor
    ) -> dict[str, Tensor]:
        """Those of each target, and their means, from errors (N, D) in the targets' own units and losses (D,)."""
        mse, mae = (error**2).mean(0), error.abs().mean(0)
        rmse, r2 = mse.sqrt(), torch.where(variance > 0, 1 - mse / variance, float("nan"))
        means = {"mse": mse.mean(), "rmse": rmse.mean(), "mae": mae.mean(), "r2": r2.nanmean()}
        return {**means, **self.by_target(loss=losses, rmse=rmse, mae=mae, r2=r2)}


class QuantileRegression(Regression):
    """Q quantiles of each target (B, D * Q), those of the first target first: pinball loss (Koenker and Bassett, 1978).

    Each score learns its own quantile. Where scores of one target cross, they are sorted for metrics and
    predictions: that never makes the loss greater (Chernozhukov et al., 2010), and asks nothing of the model.
    """

    losses = ("quantile",)

    def __init__(
        self,
        settings: LossSettings,
        loss: str,
        preprocessing: Preprocessing,
        targets: tuple[str, ...] = (),
    ) -> None:
        assert settings.quantiles is not None, "checked with the settings"
        self.quantiles = settings.quantiles
        self.functions = {loss: partial(pinball_loss, quantiles=self.quantiles)}
        self.declared = quantile_metrics(self.quantiles)
        super().__init__(settings, loss, preprocessing, targets)

    def plain_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        in_order = sorted_quantiles(outputs, len(self.quantiles)).flatten(-2)
        return super().plain_loss(in_order, targets)

    def loss_unit(self, part: str) -> tuple[object, ...]:
        return (tuple(self.quantiles), *super().loss_unit(part))

    def scores(
        self, outputs: Tensor, targets: Tensor, target_std: Tensor, variance: Tensor
    ) -> dict[str, Tensor]:
        predicted = sorted_quantiles(outputs, len(self.quantiles)).cpu().double()
        truths = targets.cpu().double()
        error = (predicted[..., self.quantiles.index(MEDIAN)] - truths) * target_std
        losses = pinball_loss(predicted.flatten(-2), truths, self.quantiles, reduction="none")
        own = {QUANTILE_LOSS: losses * target_std}
        for band in bands(self.quantiles):
            lower, upper = predicted[..., band.lower], predicted[..., band.upper]
            inside = (lower <= truths) & (truths <= upper)
            own[f"coverage_{band.percent}"] = inside.double()
            own[f"width_{band.percent}"] = (upper - lower) * target_std
        found = self._scores(error, losses, variance)
        found |= {name: values.mean() for name, values in own.items()}
        found |= self.by_target(**{name: values.mean(0) for name, values in own.items()})
        return {name: found[name] for name in self.declared.always if name in found}

    def with_baselines(self, data: Dataset) -> Dataset:
        """The same data with what the quantiles of the training targets reach, where other baselines are known."""
        if not data.baselines:
            return data
        part, trained = data.split(data.tested), data.train.targets[:, : data.spec.num_targets]
        usual = np.quantile(trained.cpu().double().numpy(), self.quantiles, axis=0)  # (Q, D)
        outputs = torch.from_numpy(usual).T.reshape(1, -1).expand(len(part), -1)
        scores = self.scores(outputs, part.targets, self.target_std, self.variance(part))
        reached = {name: value.item() for name, value in scores.items() if not math.isnan(value)}
        del reached["mse"]  # as of other baselines: rmse says the same
        return replace(data, baselines={**data.baselines, "training quantiles": reached})


def pinball_loss(
    outputs: Tensor, targets: Tensor, quantiles: Sequence[float], reduction: str = "mean"
) -> Tensor:
    """max(q (y - f), (q - 1) (y - f)), its mean over the quantiles, for outputs (..., D * Q) and targets (..., D)."""
    errors = (targets.unsqueeze(-1) - outputs.unflatten(-1, (-1, len(quantiles)))).unbind(-1)
    # Numbers, and no tensor of them: a CUDA graph takes nothing from the memory of the CPU.
    pairs = zip(quantiles, errors, strict=True)
    each = [torch.maximum(q * error, (q - 1) * error) for q, error in pairs]
    losses = torch.stack(each).mean(0)
    match reduction:
        case "mean":
            return losses.mean()
        case "sum":
            return losses.sum()
    return losses


def sorted_quantiles(outputs: Tensor, count: int) -> Tensor:
    """Scores (..., D * Q) as ascending quantiles (..., D, Q), `count` of them."""
    return outputs.unflatten(-1, (-1, count)).sort(-1).values


def point_scores(outputs: Tensor, spec: Spec) -> Tensor:
    """The scores (N, D) that a regression's predictions are made of: of quantiles those of the median."""
    if not spec.quantiles:
        return outputs
    return sorted_quantiles(outputs, len(spec.quantiles))[..., spec.quantiles.index(MEDIAN)]


class RegressionByRow(Regression):
    """The same where each sample has a scale of its own: targets (B, 2 D) are scaled ones, and what divided them."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().loss(outputs, targets.chunk(2, -1)[0])

    def sample_losses(
        self, outputs: Tensor, targets: Tensor, label_smoothing: Tensor | None
    ) -> Tensor:
        return super().sample_losses(outputs, targets.chunk(2, -1)[0], label_smoothing)

    def plain_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().plain_loss(outputs, targets.chunk(2, -1)[0])

    def variance(self, part: Split) -> Tensor:
        values = in_own_units(part)
        return ((values - values.mean(0)) ** 2).mean() if len(values) else _NO_VARIANCE

    def scores(
        self, outputs: Tensor, targets: Tensor, target_std: Tensor, variance: Tensor
    ) -> dict[str, Tensor]:
        standardised, std = targets.chunk(2, -1)
        return super().scores(outputs, standardised, std.cpu().double(), variance)


def in_own_units(part: Split) -> Tensor:
    """The true values (N, D) of a part whose targets have a scale in each row."""
    standardised, std = part.targets.cpu().double().chunk(2, -1)
    values = standardised * std
    return values if part.bases is None else values + part.bases


class QuantilesByRow(RegressionByRow, QuantileRegression):
    """Quantiles where each sample has a scale of its own."""


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


def stacked_metrics(
    tasks: Sequence[Task],
    outputs: Tensor,
    targets: Tensor,
    variances: Sequence[Tensor],
    *,
    losses: Sequence[float] | None = None,
) -> list[dict[str, float]]:
    """`metrics` of K models of one kind of task, from their outputs and targets (K, N, ...) and variances."""
    if losses is None:
        losses = tasks[0].plain_losses(outputs, targets).tolist()
    target_std = torch.stack([task.target_std for task in tasks])
    variance = torch.stack(list(variances))
    scores = torch.vmap(tasks[0].scores)(outputs, targets, target_std, variance)
    columns = [
        [_plain(value, targets.shape[1]) for value in values.cpu().unbind()]
        for values in scores.values()
    ]
    names = ("loss", *scores)
    return [dict(zip(names, row, strict=True)) for row in zip(losses, *columns, strict=True)]


TASKS: dict[str, type[Task]] = {
    task.name: task for task in (Binary, Multiclass, Multilabel, Regression, Language)
}


def spec_for(spec: Spec, settings: LossSettings) -> Spec:
    """The `spec` of data for a model with this loss: several quantiles have a score each."""
    if settings.quantiles is None or spec.task != "regression":
        return spec
    quantiles = tuple(settings.quantiles)
    return replace(spec, num_outputs=spec.num_targets * len(quantiles), quantiles=quantiles)


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
    if issubclass(task, Regression) and preprocessing.scaled_by_row:
        task = RegressionByRow if task is Regression else QuantilesByRow
    return task(settings, loss, preprocessing, spec.target_names)


def _plain(value: Tensor, samples: int) -> float:
    """A number; of a count of samples, the share. Counted whole, as not every device has float64."""
    return value.item() if value.is_floating_point() else int(value) / samples


def probabilities(outputs: Tensor, spec: Spec) -> Tensor:
    """Class probabilities (N, C) from raw scores, two columns for binary; of multilabel those of yes (N, D)."""
    if spec.task == "multilabel":
        return torch.sigmoid(outputs)
    if spec.task == "binary":
        positive = torch.sigmoid(outputs)
        return torch.cat([1 - positive, positive], 1)
    return torch.softmax(outputs, 1)


def confusion_matrix(predicted: Tensor, targets: Tensor, classes: int) -> list[list[int]]:
    """Counts by true class (row) and predicted class (column), C x C."""
    cells = torch.bincount(targets * classes + predicted, minlength=classes * classes)
    return [[int(count) for count in row] for row in cells.reshape(classes, classes)]


def class_confusion(outputs: Tensor, targets: Tensor, spec: Spec) -> list[list[int]] | None:
    """The confusion matrix of a classifier's raw scores; None for regression."""
    if not spec.num_classes:
        return None
    predicted = (outputs > 0).squeeze(1).long() if spec.task == "binary" else outputs.argmax(1)
    return confusion_matrix(predicted, targets.long(), spec.num_classes)


def precision_recall_f1(confusion: list[list[int]], number: int) -> tuple[float, float, float]:
    """Of one class against the rest; 0 where a ratio has nothing to divide by."""
    hits = confusion[number][number]
    predicted = sum(row[number] for row in confusion)
    actual = sum(confusion[number])
    precision = hits / predicted if predicted else 0.0
    recall = hits / actual if actual else 0.0
    f1 = 2 * hits / (predicted + actual) if predicted + actual else 0.0
    return precision, recall, f1


def binary_scores(scores: Tensor, targets: Tensor) -> dict[str, float]:
    """Precision, recall, F1 and roc_auc of the second of two classes, from raw scores (N,) and targets 0 and 1 (N,)."""
    confusion = confusion_matrix((scores > 0).long(), targets.long(), 2)
    precision, recall, f1 = precision_recall_f1(confusion, 1)
    auc = roc_auc(scores, targets)
    return {"precision": precision, "recall": recall, "f1": f1, "roc_auc": auc}


def _mean_of_known(values: Sequence[float]) -> float:
    """The mean of those that are numbers; nan where none is."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else float("nan")


def roc_auc(scores: Tensor, targets: Tensor) -> float:
    """Chance that a positive scores above a negative, ties counting half; nan where a class is missing."""
    positives = scores[targets > 0.5]
    negatives = scores[targets <= 0.5].sort().values
    if not len(positives) or not len(negatives):
        return float("nan")
    below = torch.searchsorted(negatives, positives, side="left")
    not_above = torch.searchsorted(negatives, positives, side="right")
    pairs = int((below + not_above).sum()) / 2
    return pairs / len(positives) / len(negatives)
