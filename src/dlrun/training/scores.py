"""What the raw scores of a model say: probabilities, quantiles, and how right they are. Shapes as in `task`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dlrun.config.metrics import MEDIAN
from dlrun.data.base import Spec


def probabilities(outputs: Tensor, spec: Spec) -> Tensor:
    """Class probabilities (N, C) from raw scores, two columns for binary; of multilabel those of yes (N, D)."""
    if spec.task == "multilabel":
        return torch.sigmoid(outputs)
    if spec.task == "binary":
        positive = torch.sigmoid(outputs)
        return torch.cat([1 - positive, positive], 1)
    return torch.softmax(outputs, 1)


def classes(outputs: Tensor, spec: Spec) -> Tensor:
    """The class numbers (N,) that raw scores decide for; of multilabel the answers (N, D)."""
    if spec.task == "multilabel":
        return (outputs > 0).long()
    return (outputs > 0).squeeze(1).long() if spec.task == "binary" else outputs.argmax(1)


def sorted_quantiles(outputs: Tensor, count: int) -> Tensor:
    """Scores (..., D * Q) as ascending quantiles (..., D, Q), `count` of them."""
    return outputs.unflatten(-1, (-1, count)).sort(-1).values


def point_scores(
    outputs: Tensor, spec: Spec, mean: Tensor | Sequence[float], std: Tensor | Sequence[float]
) -> Tensor:
    """The predictions (N, D) of a regression, standardised by `mean` and `std`: of quantiles those of the median."""
    if spec.link == "log":
        return outputs.expm1() * (torch.as_tensor(mean) / torch.as_tensor(std)).to(outputs)
    if not spec.quantiles:
        return outputs
    return sorted_quantiles(outputs, len(spec.quantiles))[..., spec.quantiles.index(MEDIAN)]


def confusion_matrix(predicted: Tensor, targets: Tensor, classes: int) -> list[list[int]]:
    """Counts by true class (row) and predicted class (column), C x C."""
    cells = torch.bincount(targets * classes + predicted, minlength=classes * classes)
    found: list[list[int]] = cells.reshape(classes, classes).tolist()
    return found


def class_confusion(outputs: Tensor, targets: Tensor, spec: Spec) -> list[list[int]] | None:
    """The confusion matrix of a classifier's raw scores; None for regression."""
    if not spec.num_classes:
        return None
    return confusion_matrix(classes(outputs, spec), targets.long(), spec.num_classes)


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


def mean_of_known(values: Sequence[float]) -> float:
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
