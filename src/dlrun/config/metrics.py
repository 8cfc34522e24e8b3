"""The metrics of each kind of problem, each declared with the direction in which it improves. No torch here."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from dlrun.errors import did_you_mean

Direction = Literal["min", "max"]


@dataclass(frozen=True)
class Metrics:
    """What one kind of problem is measured by: names without the part before them, and directions.

    A metric that has a best value in between has no direction: None.

    Attributes:
        always: measured at every evaluation, the loss first.
        at_the_end: worth their cost once, beside those.
        comparable: the one that means the same whatever is trained on: it knows no scaling, no choice of loss.
        by_target: those that are measured for each of several targets as well; the metric itself is then their mean.
        optional: measured where the setting `metrics` names them.
        chosen: what a run's setting `metrics` adds: of the validation part at every evaluation, and at the end.
    """

    always: Mapping[str, Direction | None]
    at_the_end: Mapping[str, Direction | None]
    comparable: str
    by_target: tuple[str, ...] = ()
    optional: Mapping[str, Direction] = field(default_factory=dict)
    chosen: Mapping[str, Direction | None] = field(default_factory=dict)

    def of_targets(self, targets: Sequence[str]) -> Metrics:
        """With those of each target, as in `mae/price`."""
        always, at_the_end, chosen = (
            {
                **metrics,
                **{
                    of_target(name, target): metrics[name]
                    for name in self.by_target
                    if name in metrics
                    for target in targets
                },
            }
            for metrics in (self.always, self.at_the_end, self.chosen)
        )
        return replace(self, always=always, at_the_end=at_the_end, chosen=chosen)

    @property
    def directions(self) -> dict[str, Direction | None]:
        """All that a run is measured by."""
        return {**self.always, **self.at_the_end, **self.chosen}

    def direction(self, metric: str) -> Direction | None:
        """The direction of one of them, named with its part or without; None where it has none."""
        return self.directions.get(without_part(metric))

    def logged(self, part: str) -> tuple[str, ...]:
        """What evaluations measure on a part, named with it."""
        names = self.always if part == "train" else {**self.always, **self.chosen}
        return tuple(f"{part}/{name}" for name in names)

    def may_choose(self, name: str) -> bool:
        """Whether the setting `metrics` may name it."""
        return name in self.directions or name in self.optional or (top_k(name) > 0 and self.ranks)

    def remedy(self, metric: str, logged: Sequence[str]) -> str:
        """What to do so that `metric`, named with its part, is among those `logged`."""
        part, _, name = metric.partition("/")
        measured = {**self.always, **self.chosen} if part == "val" else self.directions
        name = name.partition("/")[0]
        if part in ("val", "test") and name not in measured and self.may_choose(name):
            return f"; add it to metrics, as in metrics=[{name}]"
        optional = sorted(f"{part}/{other}" for other in self.optional if part in ("val", "test"))
        return did_you_mean(metric, logged, beside=optional)

    @property
    def ranks(self) -> bool:
        """Whether there are classes to rank."""
        return TOP_K in self.optional


def of_target(metric: str, target: str) -> str:
    """What a metric of one of several targets is called."""
    return f"{metric}/{target}"


TOP_K = "top_k_accuracy"  # named with a number, as in top_5_accuracy

_OF_CLASSES: dict[str, Direction] = {"precision": "max", "recall": "max", "f1": "max"}
_OF_EACH_TARGET: dict[
    str, Direction
] = {  # of several targets of yes and no, of each of them as well
    "balanced_accuracy": "max",
    "mcc": "max",
    "cohen_kappa": "max",
    "average_precision": "max",
    "brier": "min",
    "log_loss": "min",
    "calibration_error": "min",
}
_OF_ALL: dict[str, Direction] = {  # of several targets only of all together
    "macro_f1": "max",
    "micro_f1": "max",
    "weighted_f1": "max",
    "macro_precision": "max",
    "macro_recall": "max",
}
_OPTIONAL: dict[str, Direction] = {**_OF_ALL, **_OF_EACH_TARGET}
_OF_DECISIONS = (
    *("accuracy", "exact_match", "balanced_accuracy", "mcc", "cohen_kappa"),
    *(*_OF_CLASSES, *_OF_ALL),
)
_OF_NUMBERS: dict[str, Direction] = {
    "mape": "min",
    "smape": "min",
    "mase": "min",
    "median_absolute_error": "min",
    "explained_variance": "max",
}

MULTICLASS = Metrics(
    {"loss": "min", "accuracy": "max"},
    _OF_CLASSES,
    "accuracy",
    optional={**_OPTIONAL, "roc_auc": "max", TOP_K: "max"},
)
BINARY = Metrics(
    {"loss": "min", "accuracy": "max"},
    {**_OF_CLASSES, "roc_auc": "max"},
    "accuracy",
    optional=_OPTIONAL,
)
MULTILABEL = Metrics(
    {"loss": "min", "accuracy": "max", "exact_match": "max"},
    {**_OF_CLASSES, "roc_auc": "max"},
    "accuracy",
    by_target=("loss", "accuracy", "f1", "roc_auc", *_OF_EACH_TARGET),
    optional=_OPTIONAL,
)
REGRESSION = Metrics(
    {"loss": "min", "mse": "min", "rmse": "min", "mae": "min", "r2": "max"},
    {},
    "rmse",
    by_target=("loss", "rmse", "mae", "r2", *_OF_NUMBERS),
    optional=_OF_NUMBERS,
)
LANGUAGE = Metrics(
    {"loss": "min", "accuracy": "max", "perplexity": "min", "bits": "min"}, {}, "bits"
)

# Of inputs that a model gives again; of a distribution over codes with how far it is from the prior.
RECONSTRUCTION = Metrics({"loss": "min", "mse": "min"}, {}, "mse")
VARIATIONAL = Metrics({**RECONSTRUCTION.always, "kl": None}, {}, "mse")

MEDIAN = 0.5
QUANTILE_LOSS = "quantile_loss"  # in the units of the targets


@dataclass(frozen=True)
class Band:
    """A central prediction interval between two of several quantiles.

    Attributes:
        percent: how much of the data it is to cover, in words: 80.
        lower, upper: the places of its quantiles.
    """

    percent: str
    lower: int
    upper: int


def bands(quantiles: Sequence[float]) -> list[Band]:
    """The central bands between `quantiles`, the widest first: those of q and 1 - q."""
    found = []
    for lower, quantile in enumerate(quantiles):
        upper = next((n for n, q in enumerate(quantiles) if abs(q + quantile - 1) < 1e-9), lower)
        if lower < upper:
            found.append(Band(f"{100 - 200 * quantile:.6g}", lower, upper))
    return found


def quantile_metrics(quantiles: Sequence[float]) -> Metrics:
    """The metrics of forecasts by quantiles: those of the median, the quantile loss, how much each band covers."""
    of_bands = {
        f"{name}_{band.percent}": None
        for band in bands(quantiles)
        for name in ("coverage", "width")
    }
    always: dict[str, Direction | None] = {**REGRESSION.always, QUANTILE_LOSS: "min", **of_bands}
    by_target = (*REGRESSION.by_target, QUANTILE_LOSS, *of_bands)
    return replace(REGRESSION, always=always, by_target=by_target)


_KINDS = (
    MULTICLASS,
    BINARY,
    MULTILABEL,
    REGRESSION,
    LANGUAGE,
    VARIATIONAL,
    quantile_metrics([MEDIAN]),
)
_PARTS = ("train", "val", "test")
_NONE: Mapping[str, Direction | None] = {}
_KNOWN: dict[str, Direction] = {
    name: way
    for kind in _KINDS
    for name, way in {**kind.directions, **kind.optional}.items()
    if way
}
_TOP_K = re.compile(r"top_([1-9]\d{0,8})_accuracy")
_OF_BANDS = re.compile(r"(coverage|width)_\d+(\.\d+)?")
# What a person asks for first; a run has one of them, of texts to continue two.
COMPARABLE = (
    LANGUAGE.comparable,
    REGRESSION.comparable,
    MULTICLASS.comparable,
    RECONSTRUCTION.comparable,  # the last: a regression has it as well
)


def direction(metric: str, own: Mapping[str, Direction | None] = _NONE) -> Direction | None:
    """The direction in which a metric improves, named as it is logged (`val/loss`, `val/mae/price`) or without part.

    None where no task declares it. `own`: of the user's own metrics, by name without part.
    """
    metric = without_part(metric)
    name = metric.partition("/")[0]
    return own.get(metric) or ("max" if top_k(name) else _KNOWN.get(name))


def top_k(name: str) -> int:
    """The number in `top_5_accuracy`; 0 of any other metric."""
    found = _TOP_K.fullmatch(name)
    return int(found[1]) if found else 0


def is_known(name: str) -> bool:
    """Whether some task has a metric of this name, without its part."""
    measured = name in _KNOWN and name != TOP_K
    return measured or top_k(name) > 0 or _OF_BANDS.fullmatch(name) is not None


def of_quantiles(name: str) -> bool:
    """Whether a metric is measured of forecasts by quantiles alone."""
    return name == QUANTILE_LOSS or _OF_BANDS.fullmatch(name) is not None


def known_names() -> list[str]:
    """The metrics that are there, the top-k accuracy by an example."""
    return [*(name for name in _KNOWN if name != TOP_K), "top_5_accuracy"]


def follows_threshold(metric: str) -> bool:
    """Whether a metric without part depends on the classes that are decided for, and not on probabilities alone."""
    return metric.partition("/")[0] in _OF_DECISIONS


def without_part(metric: str) -> str:
    """What a metric is called without the part of the data before it."""
    part, _, name = metric.partition("/")
    return name if name and part in _PARTS else metric


def direction_in_run(
    metric: str, *, monitor: str, mode: str, own: Mapping[str, Direction | None] = _NONE
) -> Direction | None:
    """The same in a run that monitors `monitor`, whose trainer.mode holds for a metric without a direction as well."""
    if metric == monitor and mode in ("min", "max"):
        return "min" if mode == "min" else "max"
    return direction(metric, own)


def rank(value: float | None, *, minimize: bool) -> tuple[bool, float]:
    """A key that sorts values of one metric, the best first; what is not a number comes last."""
    if value is None or math.isnan(value):
        return True, 0.0
    return False, value if minimize else -value


def contradiction(
    key: str,
    metric: str,
    asked: Direction | Literal["auto"],
    own: Mapping[str, Direction | None] = _NONE,
) -> str | None:
    """In a line, that a setting asks for the worst of a metric, which is done; None where it does not."""
    known = direction(metric, own)
    if asked == "auto" or known in (None, asked):
        return None
    better, worst = ("lower", "highest") if known == "min" else ("higher", "lowest")
    return f"{key} asks for the {worst} {metric}, though {better} is better: the worst is kept as the best"
