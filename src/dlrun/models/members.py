"""What the members of an ensemble say together, as scores of the kind that each of them gives."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.data.base import Link, TaskKind


def members_of(model: nn.Module) -> int:
    """How many members have scores of their own in training, (B, M, C) in all; 0 of a model that gives (B, C)."""
    return getattr(model, "members", 0)


def joined(scores: Tensor, task: TaskKind, link: Link = "identity", *, axis: int = 1) -> Tensor:
    """The scores of the mean prediction of members, which lie along `axis`; C scores are the last.

    Their softmax or sigmoid is the mean of the members' probabilities. Of regression they are the mean itself, or its
    logarithm, where `link` says that scores are logarithms (as in a `Spec`).
    """
    match task:
        case "multiclass" | "language":
            return F.log_softmax(scores, -1).logsumexp(axis) - math.log(scores.shape[axis])
        case "binary" | "multilabel":
            # log(p / (1 - p)) of the mean p; the number of members cancels out.
            return F.logsigmoid(scores).logsumexp(axis) - F.logsigmoid(-scores).logsumexp(axis)
    if link == "log":
        return scores.logsumexp(axis) - math.log(scores.shape[axis])
    return scores.mean(axis)
