"""Metrics of classes: from counts of right and wrong, from probabilities, from the order of scores.

All formulas take any number of leading axes (several models, several targets of yes and no) and return one value for
each of them, so that one program measures a whole stack.

Shapes: N samples, C classes, R rankings: one of two classes, else one for each class against the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from dlrun.config.metrics import top_k
from dlrun.data.base import Spec
from dlrun.tracking.class_table import ClassRow

_BINS = 15  # of the calibration error, as Guo et al. (2017) have them


class Counts(NamedTuple):
    """What counts of a confusion matrix say of each class, float64 (..., C).

    Attributes:
        hits: samples of the class that are predicted as it (the diagonal).
        actual, predicted: samples of the class, and those that are predicted as it.
    """

    hits: Tensor
    actual: Tensor
    predicted: Tensor

    @property
    def occurs(self) -> Tensor:
        """Whether a class has samples or is predicted."""
        return self.actual + self.predicted > 0

    @property
    def precision(self) -> Tensor:
        """0 where a class is never predicted."""
        return self.hits / self.predicted.clamp(min=1)

    @property
    def recall(self) -> Tensor:
        """0 where a class has no samples."""
        return self.hits / self.actual.clamp(min=1)

    @property
    def f1(self) -> Tensor:
        """The harmonic mean of both; 0 where a class has no samples and is never predicted."""
        return 2 * self.hits / (self.actual + self.predicted).clamp(min=1)


def count(predicted: Tensor, targets: Tensor, classes: int) -> Counts:
    """The counts (..., C) of predicted and true classes, whole numbers (..., N)."""
    right = torch.where(predicted == targets, targets, classes)
    hits, actual, guessed = (_histogram(x, classes) for x in (right, targets, predicted))
    return Counts(hits, actual, guessed)


def _histogram(numbers: Tensor, classes: int) -> Tensor:
    """How often each number below `classes` occurs, (..., C), among numbers (..., N) up to `classes`."""
    rows = numbers.reshape(-1, numbers.shape[-1])
    first = torch.arange(len(rows), device=rows.device).unsqueeze(1) * (classes + 1)
    # Without weights: only so is bincount deterministic on every device.
    cells = torch.bincount((rows + first).flatten(), minlength=len(rows) * (classes + 1))
    found = cells.reshape(*numbers.shape[:-1], classes + 1)
    return found[..., :classes].double()


class Classified:
    """The scores of a classifier beside the true classes.

    Args:
        log_chances: logarithms of the probabilities, float64 (..., N, C).
        targets: class numbers (..., N).
        margin: of two classes, the raw score of the second (..., N).
    """

    def __init__(self, log_chances: Tensor, targets: Tensor, margin: Tensor | None = None) -> None:
        self.log_chances, self.targets, self._margin = log_chances, targets, margin
        self.classes = log_chances.shape[-1]

    @classmethod
    def of(cls, outputs: Tensor, targets: Tensor, spec: Spec) -> Classified:
        """From raw scores; of multilabel the last of the leading axes is that of the targets."""
        scores = _exact(outputs)
        targets = targets.to(scores.device).long()
        if spec.task == "multiclass":
            return cls(torch.log_softmax(scores, -1), targets)
        margin = scores.squeeze(-1) if spec.task == "binary" else scores.mT
        targets = targets if spec.task == "binary" else targets.mT
        log_chances = torch.stack([F.logsigmoid(-margin), F.logsigmoid(margin)], -1)
        return cls(log_chances, targets, margin)

    @cached_property
    def chances(self) -> Tensor:
        """Probabilities (..., N, C)."""
        return self.log_chances.exp()

    @cached_property
    def predicted(self) -> Tensor:
        """The likeliest class (..., N), of equal ones the first."""
        return self.log_chances.argmax(-1) if self._margin is None else (self._margin > 0).long()

    @cached_property
    def counts(self) -> Counts:
        """By class."""
        return count(self.predicted, self.targets, self.classes)

    @cached_property
    def yes(self) -> Counts:
        """Of several targets of yes and no, by target the counts of yes (..., D)."""
        return Counts(*(column[..., 1] for column in self.counts))

    @cached_property
    def ranked(self) -> Ranked:
        """What orders samples by how likely a class is (..., R, N)."""
        if self._margin is not None:
            return Ranked.of(self._margin.unsqueeze(-2), self.targets.unsqueeze(-2) == 1)
        numbers = torch.arange(self.classes, device=self.targets.device).unsqueeze(-1)
        return Ranked.of(self.log_chances.mT, self.targets.unsqueeze(-2) == numbers)


class Ranked(NamedTuple):
    """Samples in ascending order of a score.

    Attributes:
        positive: whether a sample is of the class (..., N).
        below, through: of each, how many samples have a lower score, and how many none higher.
        positives_below, positives_through: how many of those are of the class.
    """

    positive: Tensor
    below: Tensor
    through: Tensor
    positives_below: Tensor
    positives_through: Tensor

    @classmethod
    def of(cls, scores: Tensor, positive: Tensor) -> Ranked:
        """From scores (..., N) and which samples are of the class (..., N), in any order."""
        ascending, order = scores.contiguous().sort(-1)
        positive = positive.expand(scores.shape).gather(-1, order)
        below = torch.searchsorted(ascending, ascending)
        through = torch.searchsorted(ascending, ascending, right=True)
        positives = F.pad(positive.cumsum(-1), (1, 0))
        return cls(
            positive, below, through, positives.gather(-1, below), positives.gather(-1, through)
        )


def class_rows(outputs: Tensor, targets: Tensor, spec: Spec) -> list[ClassRow]:
    """The counts of each class from raw scores; of several targets of yes and no, of the yes of each.

    Nothing of a task without classes.
    """
    if not spec.classes:
        return []
    found = Classified.of(outputs, targets, spec)
    counts, names = found.counts, spec.class_names
    if spec.task == "multilabel":
        pairs = zip(spec.target_names, spec.labels[1::2], strict=True)
        counts, names = found.yes, tuple(f"{target}={yes}" for target, yes in pairs)
    columns = (column.long().tolist() for column in counts)
    return [ClassRow.of(*row) for row in zip(names, *columns, strict=True)]


def balanced_accuracy(found: Classified) -> Tensor:
    """The mean recall of the classes that have samples (Brodersen et al., 2010)."""
    return _mean_where(found.counts.recall, found.counts.actual > 0)


def macro_f1(counts: Counts) -> Tensor:
    """The mean F1 of the classes that have samples or are predicted."""
    return _mean_where(counts.f1, counts.occurs)


def macro_precision(counts: Counts) -> Tensor:
    """The mean precision of the same classes."""
    return _mean_where(counts.precision, counts.occurs)


def macro_recall(counts: Counts) -> Tensor:
    """The mean recall of the same classes."""
    return _mean_where(counts.recall, counts.occurs)


def micro_f1(counts: Counts) -> Tensor:
    """F1 of all decisions taken together; of one class a sample it is the accuracy."""
    return 2 * counts.hits.sum(-1) / (counts.actual + counts.predicted).sum(-1).clamp(min=1)


def weighted_f1(counts: Counts) -> Tensor:
    """The mean F1 of the classes, each weighted by its samples."""
    return (counts.f1 * counts.actual).sum(-1) / counts.actual.sum(-1).clamp(min=1)


def mcc(found: Classified) -> Tensor:
    """Matthews correlation coefficient of several classes (Gorodkin, 2004); 0 where all is one class."""
    hits, actual, predicted = found.counts
    total = actual.sum(-1)
    covariance = hits.sum(-1) * total - (actual * predicted).sum(-1)
    variances = (total**2 - (actual**2).sum(-1)) * (total**2 - (predicted**2).sum(-1))
    return torch.where(variances > 0, covariance / variances.clamp(min=1).sqrt(), 0.0)


def cohen_kappa(found: Classified) -> Tensor:
    """Agreement beyond chance, (p - e) / (1 - e) (Cohen, 1960); nan where chance alone agrees."""
    hits, actual, predicted = found.counts
    total = actual.sum(-1)
    agreed, expected = hits.sum(-1) / total, (actual * predicted).sum(-1) / total**2
    return (agreed - expected) / (1 - expected)


def log_loss(found: Classified) -> Tensor:
    """The mean of -log p of the true class, in nats."""
    return -found.log_chances.gather(-1, found.targets.unsqueeze(-1)).squeeze(-1).mean(-1)


def brier(found: Classified) -> Tensor:
    """The mean squared error of the probabilities (Brier, 1950): of two classes that of the second, else their sum."""
    errors = found.chances - F.one_hot(found.targets, found.classes)
    return (errors**2).sum(-1).mean(-1) / (2 if found.classes == 2 else 1)


def calibration_error(found: Classified) -> Tensor:
    """Expected calibration error in 15 bins of equal width (Naeini et al., 2015; Guo et al., 2017).

    The mean gap between confidence and how often it is right: of two classes the probability of the second and
    how often it comes; of more classes that of the likeliest and how often it is the true one.
    """
    if found.classes == 2:
        sure, right = found.chances[..., 1], found.targets == 1
    else:
        sure, right = found.chances.amax(-1), found.predicted == found.targets
    edges = torch.linspace(0, 1, _BINS + 1, dtype=sure.dtype, device=sure.device)[1:-1]
    bins = torch.bucketize(sure.contiguous(), edges)  # an edge belongs to the bin below it
    gaps = right.double() - sure
    in_bins = [torch.where(bins == number, gaps, 0.0).sum(-1).abs() for number in range(_BINS)]
    return torch.stack(in_bins).sum(0) / sure.shape[-1]


def roc_auc(found: Classified) -> Tensor:
    """The chance that a sample of a class scores above one of another, ties counting half.

    Of more than two classes the mean over each against the rest (macro), without those that are nan, as where a
    class has no samples or no others.
    """
    ranked = found.ranked
    negatives = (~ranked.positive).sum(-1)
    beaten = (ranked.below - ranked.positives_below + ranked.through - ranked.positives_through) / 2
    pairs = ranked.positive.sum(-1) * negatives
    return ((beaten.double() * ranked.positive).sum(-1) / pairs).nanmean(-1)


def average_precision(found: Classified) -> Tensor:
    """The sum over thresholds of precision times the gain in recall, without interpolation.

    The mean over classes as in `roc_auc`, without those that have no samples.
    """
    ranked, samples = found.ranked, found.targets.shape[-1]
    positives = ranked.positive.sum(-1, keepdim=True)
    precision = (positives - ranked.positives_below).double() / (samples - ranked.below)
    return ((precision * ranked.positive).sum(-1) / positives.squeeze(-1)).nanmean(-1)


def top_k_accuracy(found: Classified, k: int) -> Tensor:
    """The share of samples whose true class is among the k likeliest; of equal ones the first come first."""
    own = found.log_chances.gather(-1, found.targets.unsqueeze(-1))
    numbers = torch.arange(found.classes, device=own.device)
    earlier = (found.log_chances == own) & (numbers < found.targets.unsqueeze(-1))
    before = ((found.log_chances > own) | earlier).sum(-1)
    return (before < k).double().mean(-1)


def _mean_where(values: Tensor, known: Tensor) -> Tensor:
    return (values * known).sum(-1) / known.sum(-1)


def _exact(outputs: Tensor) -> Tensor:
    """In float64, which one kind of device does not have."""
    return (outputs.cpu() if outputs.device.type == "mps" else outputs).double()


Formula = Callable[[Classified], Tensor]

_BY_CLASS: Mapping[str, Callable[[Counts], Tensor]] = {
    "macro_f1": macro_f1,
    "macro_precision": macro_precision,
    "macro_recall": macro_recall,
    "micro_f1": micro_f1,
    "weighted_f1": weighted_f1,
}
_BY_TARGET: Mapping[str, Formula] = {
    "balanced_accuracy": balanced_accuracy,
    "mcc": mcc,
    "cohen_kappa": cohen_kappa,
    "log_loss": log_loss,
    "brier": brier,
    "calibration_error": calibration_error,
    "roc_auc": roc_auc,
    "average_precision": average_precision,
}
_OF_ONE_CLASS: Mapping[str, Callable[[Counts], Tensor]] = {
    "precision": lambda counts: counts.precision,
    "recall": lambda counts: counts.recall,
    "f1": lambda counts: counts.f1,
}


def formula(name: str, spec: Spec) -> Formula:
    """How a metric that a task with classes may choose is computed.

    Of multilabel it gives the values of the targets (..., D), but for those of `_BY_CLASS`, which are of all of them.
    """
    if k := top_k(name):
        return lambda found: top_k_accuracy(found, k)
    if name in _BY_TARGET:
        return _BY_TARGET[name]
    if spec.task == "multilabel":
        return _of_yes(name)
    if name in _BY_CLASS:
        return lambda found: _BY_CLASS[name](found.counts)
    of_one = _OF_ONE_CLASS[name]
    if spec.task == "binary":
        return lambda found: of_one(found.counts)[..., 1]
    return lambda found: of_one(found.counts).mean(-1)  # of a class that does not occur 0


def _of_yes(name: str) -> Formula:
    """Of several targets of yes and no: all of them count, also where nobody says yes."""
    if name in _OF_ONE_CLASS:
        return lambda found: _OF_ONE_CLASS[name](found.yes)
    if name.startswith("macro_"):
        of_one = _OF_ONE_CLASS[name.removeprefix("macro_")]
        return lambda found: of_one(found.yes).mean(-1, keepdim=True)
    return lambda found: _BY_CLASS[name](found.yes).unsqueeze(-1)
