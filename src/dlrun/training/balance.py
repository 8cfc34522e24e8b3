"""The training part with all classes equally often, where `dataset.balance` asks for that."""

from __future__ import annotations

import logging
from dataclasses import replace

from dlrun.config.settings import DataSettings, TrainerSettings
from dlrun.data.base import Dataset
from dlrun.data.orders import balanced
from dlrun.errors import ConfigError
from dlrun.training.losses.base import Loss

log = logging.getLogger(__name__)


def with_balance(
    data: Dataset, settings: DataSettings, trainer: TrainerSettings, loss: Loss
) -> Dataset:
    """The same data, the rows of the training part drawn for each epoch as `settings` ask.

    Raises:
        ConfigError: there are no classes to balance, or something else is at odds with it.
    """
    if settings.balance == "none":
        return data
    said = f"dataset.balance is {settings.balance}, but"
    if not data.spec.num_classes:
        raise ConfigError(
            f"{said} this is a {data.spec.task} problem: it is for one target of classes; set it to none"
        )
    if not trainer.shuffle or trainer.overfit_batches:
        key = "trainer.shuffle" if not trainer.shuffle else "trainer.overfit_batches"
        raise ConfigError(
            f"{said} {key} keeps the rows as they are: set one of the two back ({key}="
            f"{'true' if not trainer.shuffle else '0'} or dataset.balance=none)"
        )
    if loss.is_balanced:
        raise ConfigError(
            f"{said} the loss has balanced weights as well, which would balance twice: set one of the two to none"
        )
    resampling = balanced(data.train.targets, settings.balance)
    log.info("an epoch has %s rows, as many of each class", f"{resampling.size:,}")
    return replace(data, train=replace(data.train, resampling=resampling))
