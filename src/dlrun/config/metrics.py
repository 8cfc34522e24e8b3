"""The metrics of each kind of problem, each declared with the direction in which it improves. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Direction = Literal["min", "max"]


@dataclass(frozen=True)
class Metrics:
    """What one kind of problem is measured by: names without the part before them, and directions.

    Attributes:
        always: measured at every evaluation, the loss first.
        at_the_end: worth their cost once, beside those.
        comparable: the one that means the same whatever is trained on: it knows no scaling, no choice of loss.
        by_target: those that are measured for each of several targets as well; the metric itself is then their mean.
    """

    always: Mapping[str, Direction]
    at_the_end: Mapping[str, Direction]
    comparable: str
    by_target: tuple[str, ...] = ()

    def of_targets(self, targets: Sequence[str]) -> Metrics:
        """With those of each target, as in `mae/price`."""
        always, at_the_end = (
            {
                **metrics,
                **{
                    of_target(name, target): metrics[name]
                    for name in self.by_target
                    if name in metrics
                    for target in targets
                },
            }
            for metrics in (self.always, self.at_the_end)
        )
        return replace(self, always=always, at_the_end=at_the_end)

    @property
    def directions(self) -> dict[str, Direction]:
        """All of them."""
        return {**self.always, **self.at_the_end}


def of_target(metric: str, target: str) -> str:
    """What a metric of one of several targets is called."""
    return f"{metric}/{target}"


_OF_CLASSES: dict[str, Direction] = {"precision": "max", "recall": "max", "f1": "max"}

MULTICLASS = Metrics({"loss": "min", "accuracy": "max"}, _OF_CLASSES, "accuracy")
BINARY = Metrics({"loss": "min", "accuracy": "max"}, {**_OF_CLASSES, "roc_auc": "max"}, "accuracy")
MULTILABEL = Metrics(
    {"loss": "min", "accuracy": "max", "exact_match": "max"},
    {**_OF_CLASSES, "roc_auc": "max"},
    "accuracy",
    by_target=("loss", "accuracy", "f1", "roc_auc"),
)
REGRESSION = Metrics(
    {"loss": "min", "mse": "min", "rmse": "min", "mae": "min", "r2": "max"},
    {},
    "rmse",
    by_target=("loss", "rmse", "mae", "r2"),
)
LANGUAGE = Metrics(
    {"loss": "min", "accuracy": "max", "perplexity": "min", "bits": "min"}, {}, "bits"
)

_KINDS = (MULTICLASS, BINARY, MULTILABEL, REGRESSION, LANGUAGE)
_PARTS = ("train", "val", "test")
_KNOWN: dict[str, Direction] = {
    name: way for kind in _KINDS for name, way in kind.directions.items()
}
# What a person asks for first; a run has one of them, of texts to continue two.
COMPARABLE = (LANGUAGE.comparable, REGRESSION.comparable, MULTICLASS.comparable)


def direction(metric: str) -> Direction | None:
    """The direction in which a metric improves, named as it is logged (`val/loss`, `val/mae/price`) or without part.

    None where no task declares it, as of a metric of the user's own.
    """
    return _KNOWN.get(without_part(metric).partition("/")[0])


def without_part(metric: str) -> str:
    """What a metric is called without the part of the data before it."""
    part, _, name = metric.partition("/")
    return name if name and part in _PARTS else metric


def direction_in_run(metric: str, *, monitor: str, mode: str) -> Direction | None:
    """The same in a run that monitors `monitor`, whose trainer.mode holds for a metric of the user's own as well."""
    if metric == monitor and mode in ("min", "max"):
        return "min" if mode == "min" else "max"
    return direction(metric)


def rank(value: float | None, *, minimize: bool) -> tuple[bool, float]:
    """A key that sorts values of one metric, the best first; what is not a number comes last."""
    if value is None or math.isnan(value):
        return True, 0.0
    return False, value if minimize else -value


def contradiction(key: str, metric: str, asked: Direction | Literal["auto"]) -> str | None:
    """In a line, that a setting asks for the worst of a metric, which is done; None where it does not."""
    known = direction(metric)
    if asked == "auto" or known in (None, asked):
        return None
    better, worst = ("lower", "highest") if known == "min" else ("higher", "lowest")
    return f"{key} asks for the {worst} {metric}, though {better} is better: the worst is kept as the best"
