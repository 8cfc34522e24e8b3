"""Problems with classes: one of several, one of two, or several questions of yes and no. Shapes as in `task`."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.config.metrics import BINARY, MULTICLASS, MULTILABEL, of_target
from dlrun.data.base import Spec
from dlrun.training.losses.classes import CrossEntropy
from dlrun.training.scores import (
    binary_scores,
    confusion_matrix,
    mean_of_known,
    precision_recall_f1,
)
from dlrun.training.task import Task, exact


class Multiclass(Task):
    """Softmax over C scores, cross-entropy. Targets are class numbers (B,)."""

    name = "multiclass"
    declared = MULTICLASS
    meaning = "a softmax over the scores gives the probability of each class"

    def plain_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if not isinstance(self.criterion, CrossEntropy):
            return super().plain_losses(outputs, targets)
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
    declared = BINARY
    meaning = "a sigmoid of the score is the probability of the second class"

    def fit_for_loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return outputs.squeeze(1), targets

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
    declared = MULTILABEL
    meaning = "a sigmoid of each score is the probability of the second label of its target"

    @staticmethod
    def asked(spec: Spec) -> str:
        return f"{spec.num_outputs} targets of two classes each"

    def scores(
        self, outputs: Tensor, targets: Tensor, target_std: Tensor, variance: Tensor
    ) -> dict[str, Tensor]:
        right = (outputs > 0) == (targets > 0.5)
        losses = self.criterion.function(outputs, targets, "none")
        return {
            "accuracy": exact(right).mean(),
            "exact_match": right.all(1).sum(),
            **self.by_target(loss=losses.mean(0), accuracy=right.sum(0)),
        }

    def final_metrics(
        self, outputs: Tensor, targets: Tensor, *, variance: Tensor | None = None
    ) -> dict[str, float]:
        columns = zip(outputs.unbind(1), targets.unbind(1), strict=True)
        found = [binary_scores(*column) for column in columns]
        means = {name: mean_of_known([one[name] for one in found]) for name in found[0]}
        each = {
            of_target(name, target): one[name]
            for name in ("f1", "roc_auc")
            for target, one in zip(self.targets, found, strict=True)
        }
        return self.metrics(outputs, targets) | means | each
