"""What a run trains on: the parts of a data set, the spec that models are given, what new inputs go through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from dlrun.data.fingerprint import Origin
from dlrun.data.loaders import Split
from dlrun.errors import ConfigError

TaskKind = Literal["binary", "multiclass", "multilabel", "regression", "language", "reconstruction"]
InputKind = Literal["features", "image", "sequence", "tokens"]
Link = Literal["identity", "log"]


@dataclass(frozen=True)
class Spec:
    """All that a model may know of its data.

    `input_shape` leaves the batch axis out: (F,) for features, (C, H, W) for images, (T, F) for
    sequences and (T,) for tokens, where T is the longest there is. Outputs are raw scores: one for
    binary (the logit of the second class), one a class for multiclass, one a target for regression and
    multilabel (the logit of its second label), one a token and step of time for language. Those of a reconstruction
    are the inputs again, each category as a score for each of its codes, and then the code: `latent` numbers, or
    the means of as many, and the logarithms of their variances, where `beta` is a number.

    Attributes:
        categories: of the last columns of features, how many codes each has; 0 is a category never seen.
        vocabulary: how many tokens there are. In texts, which are padded at the end, 0 is padding.
        quantiles: of each regression target, one score for each, those of the first target first; empty where a
            score is a prediction itself.
        link: how the scores of a regression become predictions: identity, standardised values themselves; log, the
            logarithm of a rate, in means of the training targets.
        future: of a sequence, how many of its last steps are still to come. What is not known of them is 0, the
            mean, and the last feature tells them from the others by 1.
        target_names: of several targets in columns of a table; () otherwise.
        labels: of multilabel, the words for no and yes of each target, one pair after the other.
        group_names: of groups of samples that are measured one by one, as `Split.groups` numbers them.
        latent: of a reconstruction, how many numbers describe an input.
        beta: how much the distance of their distribution from the prior counts; None where they have none.
        data: of a reconstruction, the spec of the data, which may have classes or numbers to predict.
    """

    task: TaskKind
    kind: InputKind
    input_shape: tuple[int, ...]
    num_outputs: int
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    categories: tuple[int, ...] = ()
    vocabulary: int = 0
    quantiles: tuple[float, ...] = ()
    future: int = 0
    link: Link = "identity"

    target_names: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()
    latent: int = 0
    beta: float | None = None
    data: Spec | None = None

    @property
    def of_data(self) -> Spec:
        """What the data themselves are to be learned for, also where a model gives their inputs again instead."""
        return self.data or self

    @property
    def reconstructed(self) -> int:
        """How many numbers it takes to give an input again: one a number, one a code of a category."""
        return self.num_features - len(self.categories) + sum(self.categories)

    @property
    def num_targets(self) -> int:
        """How many numbers a regression predicts of one sample; 0 of other tasks."""
        return self.num_outputs // (len(self.quantiles) or 1) if self.task == "regression" else 0

    @property
    def num_features(self) -> int:
        """How many numbers one input has, flattened."""
        return int(np.prod(self.input_shape))

    @property
    def carries_state(self) -> bool:
        """Whether batches follow one another: a model takes and returns a state, and each step has a target."""
        return self.task == "language"

    @property
    def padded(self) -> bool:
        """Whether inputs are tokens of several lengths, filled up at the end with 0."""
        return self.kind == "tokens" and not self.carries_state

    @property
    def num_classes(self) -> int:
        """Classes to tell apart; 0 for multilabel, regression, language and reconstruction."""
        return len(self.class_names)

    @property
    def classes(self) -> tuple[tuple[str, ...], ...]:
        """The classes of each target that has any."""
        if self.class_names:
            return (self.class_names,)
        return tuple(zip(self.labels[::2], self.labels[1::2], strict=True))


class Preprocessing(ABC):
    """What a new input must go through, fitted on the training part and kept with a run as plain values.

    Attributes:
        kind: its name in a checkpoint.
        tasks: what can be learned from data that went through it.
        target_mean, target_std: of regression targets; empty otherwise.
    """

    kind: ClassVar[str]
    tasks: ClassVar[tuple[TaskKind, ...]] = ("binary", "multiclass", "multilabel", "regression")
    target_mean: list[float]
    target_std: list[float]

    @property
    def scaled_by_row(self) -> bool:
        """Whether regression targets are (N, 2 D): standardised, and by what each was divided.

        `Split.bases` then hold what was subtracted: a target in its own units is score * divisor + base.
        """
        return False

    @abstractmethod
    def inputs(self, raw: Any) -> Tensor:
        """Raw inputs as a model takes them, (N, *input_shape)."""

    def rescaling(self, other: Preprocessing) -> tuple[Any, Any] | None:
        """(scale, shift) that make inputs of those that `other` makes: inputs * scale + shift, both broadcast.

        None where the two differ in more than the scales of their inputs and targets.
        """
        return (1.0, 0.0) if self == other else None

    def part(self, inputs: Tensor, targets: Tensor) -> Split:
        """Inputs as a model takes them, with their targets, in the batches of this kind of data."""
        return Split(inputs, targets)

    def targets(self, raw: np.ndarray) -> Tensor:
        """Standardised float32 regression targets, (N, D)."""
        mean, std = np.asarray(self.target_mean), np.asarray(self.target_std)
        return torch.from_numpy(((raw.reshape(len(raw), -1) - mean) / std).astype(np.float32))

    def values(self, outputs: Tensor, raw: Any) -> Tensor:
        """Predictions (N, D) for the inputs `raw` in their own units, from a regression's outputs."""
        return outputs * outputs.new_tensor(self.target_std) + outputs.new_tensor(self.target_mean)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a checkpoint may hold them."""
        return {"kind": self.kind, **vars(self)}

    @property
    def token_names(self) -> Sequence[str]:
        """What targets that are tokens stand for, by number; empty where targets are no tokens."""
        return ()

    @property
    def target_names(self) -> Sequence[str]:
        """What several targets are called where a spec of an earlier version does not say it."""
        return ()

    @property
    def predicted(self) -> Sequence[str]:
        """The columns that are predicted, in the order of the targets; empty where data have no such columns."""
        return ()

    @property
    def traits(self) -> Mapping[str, Sequence[Any]]:
        """What data must have to be encoded by it, as far as the spec does not say; as `Raw.traits`."""
        return {}


@dataclass(frozen=True)
class Dataset:
    """A data set ready to train on.

    Attributes:
        baselines: what needs no model reaches, metrics by name, on the part that a run is tested on.
        origin: which rows of the raw data each part has, whole, and what is in them.
    """

    spec: Spec
    preprocessing: Preprocessing
    train: Split
    val: Split
    test: Split
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    origin: Origin | None = None

    @property
    def tested(self) -> str:
        """The part that a run is tested on: the validation part where there is no test part, and so on."""
        return "test" if len(self.test) else "val" if len(self.val) else "train"

    def split(self, name: str) -> Split:
        """The part called `name`.

        Raises:
            ConfigError: no such part, or an empty one.
        """
        if name not in ("train", "val", "test"):
            raise ConfigError(f"split is {name}, but must be one of train, val, test")
        part: Split = getattr(self, name)
        if not len(part):
            raise ConfigError(
                f"split is {name}, but this run has no {name} part (its fraction is 0)"
            )
        return part

    def to(self, device: torch.device, dtype: torch.dtype, *, channels_last: bool) -> Dataset:
        """The same data on `device`, floating point as `dtype`."""
        parts = {
            name: getattr(self, name).to(device, dtype, channels_last=channels_last)
            for name in ("train", "val", "test")
        }
        return replace(self, **parts)

    def limited(self, *, train: int, evaluation: int) -> Dataset:
        """At most the first `train` training and `evaluation` other samples, for a quick check."""
        return replace(
            self,
            train=self.train.first(train),
            val=self.val.first(evaluation),
            test=self.test.first(evaluation),
            baselines={},  # they are of the whole part
        )

    def overfit(self, count: int) -> Dataset:
        """The first `count` training samples as all three parts: a model that learns reaches zero loss."""
        part = self.train.first(count)
        return replace(self, train=part, val=part, test=part, baselines={})


def class_task(classes: int) -> tuple[TaskKind, int]:
    """The kind of problem that so many classes make, and how many scores it takes."""
    return ("binary", 1) if classes == 2 else ("multiclass", classes)


def task_of(
    class_names: Sequence[str], labels: Sequence[str], targets: int
) -> tuple[TaskKind, int]:
    """The kind of problem of so many targets, and how many scores it takes; the names are those of a spec."""
    if class_names:
        return class_task(len(class_names))
    return ("multilabel" if labels else "regression"), targets


def class_targets(numbers: np.ndarray, classes: int) -> Tensor:
    """(N,) class numbers as the loss takes them: 0.0 and 1.0 of two classes, whole numbers of more."""
    return torch.from_numpy(numbers.astype(np.float32 if classes == 2 else np.int64))


def as_targets(raw: np.ndarray, spec: Spec, preprocessing: Preprocessing) -> Tensor:
    """Class numbers (N,) or (N, D), or quantities, as a loss takes them."""
    if spec.num_classes:
        return class_targets(raw, spec.num_classes)
    if spec.task == "multilabel":
        return torch.from_numpy(raw.astype(np.float32))
    return preprocessing.targets(raw)


def without_constants(std: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """`std`, but 1 for a constant, which can only be centred: rounding alone may leave it a spread."""
    return np.where(std <= 1e-12 * np.abs(mean), 1.0, std)


_UNKNOWN = 1  # the token of texts that is neither padding nor a word


def made_up_inputs(spec: Spec, count: int) -> Tensor:
    """`count` inputs as a model sees them: zeros, of texts the unknown word, of language whole windows."""
    shape = (count, *spec.input_shape)
    if spec.kind != "tokens":
        return torch.zeros(shape)
    token = _UNKNOWN if spec.padded else 0
    return torch.full(shape, token, dtype=torch.int64)
