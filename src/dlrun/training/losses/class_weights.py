"""What a class counts in a loss, given or such that all classes count alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from dlrun.config.schema import NonNegative
from dlrun.data.base import Spec
from dlrun.data.loaders import Split
from dlrun.errors import ConfigError, did_you_mean, listed

ClassWeights = Literal["none", "balanced"] | list[NonNegative] | dict[str, NonNegative]
_KEY = "loss.class_weights"


def class_weights(wanted: ClassWeights, spec: Spec, train: Split | None) -> Tensor | None:
    """The weight of each class (C,), of several targets of yes and no (D, 2); None where all count alike.

    Args:
        wanted: `none`; `balanced`: n / (C * n_c) for the n rows of the training part, n_c of the class, of C classes
            that have rows, so that all count alike; a list in the order of the classes; or weights by the names of
            classes, 1 for others.
        train: None where nothing is trained.

    Raises:
        ConfigError: another number of weights than classes, or no such class; or the data have no classes.
    """
    if wanted == "none":
        return None
    if spec.carries_state:
        raise ConfigError(
            f"{_KEY} is {wanted}, but tokens of a text are no classes; set it to none"
        )
    if wanted == "balanced":
        return None if train is None else balanced_weights(train, spec)
    if spec.labels:
        raise ConfigError(
            f"{_KEY} is {wanted}, but each of the {spec.num_outputs} targets has classes of its own; set it to balanced"
        )
    weights = torch.tensor(_given(wanted, spec.class_names))
    if not bool(weights.any()):
        raise ConfigError(f"{_KEY} is {wanted}, by which nothing counts; set one of them above 0")
    return weights if train is None else weights.to(train.targets.device)


def balanced_weights(train: Split, spec: Spec) -> Tensor:
    """The weights by which all classes of a part count alike; 1 for a class without rows, which no sample has."""
    counts = class_counts(train.targets, spec.num_classes or 2)
    present = (counts > 0).sum(-1, keepdim=True)
    balanced = counts.sum(-1, keepdim=True) / (present * counts)
    return torch.where(counts > 0, balanced, 1.0).float().to(train.targets.device)


def positive_weights(train: Split) -> Tensor:
    """How many rows of the first class come to one of the second, () or (D,); 1 where one of them has none."""
    no, yes = class_counts(train.targets, 2).unbind(-1)
    weights = torch.where((no > 0) & (yes > 0), no / yes, 1.0)
    return weights.float().to(train.targets.device)


def class_counts(targets: Tensor, classes: int) -> Tensor:
    """How many rows have each class, (C,), of several targets (D, C); float64, on the CPU."""
    columns = targets.cpu().long().unsqueeze(-1) if targets.ndim == 1 else targets.cpu().long()
    counts = [column.bincount(minlength=classes) for column in columns.unbind(1)]
    return (counts[0] if targets.ndim == 1 else torch.stack(counts)).double()


def of_classes(weights: Tensor, targets: Tensor) -> Tensor:
    """The weight of each target, in its shape; `weights` of classes (C,) or (D, 2), or of each sample's own before."""
    if targets.is_floating_point():  # yes or no
        no, yes = weights.unbind(-1)
        return no + targets * (yes - no)
    if weights.ndim == 1:
        return weights[targets]
    return weights.gather(1, targets.unsqueeze(1)).squeeze(1)


def _given(wanted: list[float] | Mapping[str, float], names: tuple[str, ...]) -> list[float]:
    if isinstance(wanted, Mapping):
        weights = {str(name): weight for name, weight in wanted.items()}  # YAML has 3 as a number
        for name in weights:
            if name not in names:
                raise ConfigError(
                    f"{_KEY}.{name}: the data set has no class {name}{did_you_mean(name, names)}"
                )
        return [weights.get(name, 1.0) for name in names]
    if len(wanted) != len(names):
        raise ConfigError(
            f"{_KEY} has {len(wanted)} weights, but the data set has {len(names)} classes ({listed(names)}): "
            "give one for each"
        )
    return wanted
