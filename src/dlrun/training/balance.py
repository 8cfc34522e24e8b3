"""The training part with all classes equally often, or with what is rare more often, as `dataset.balance` asks."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from dlrun.config.settings import DataSettings, TrainerSettings
from dlrun.data.base import Dataset
from dlrun.data.loaders import Batches, Feed
from dlrun.data.orders import Resampling, balanced
from dlrun.errors import ConfigError
from dlrun.training.device_errors import memory_for_evaluation
from dlrun.training.losses.base import Loss
from dlrun.training.ranks import Ranks


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
    if settings.balance != "latent" and not data.spec.num_classes:
        raise ConfigError(
            f"{said} this is a {data.spec.task} problem: it is for one target of classes; set it to none"
        )
    if not trainer.shuffle or trainer.overfit_batches:
        key = "trainer.shuffle" if not trainer.shuffle else "trainer.overfit_batches"
        raise ConfigError(
            f"{said} {key} keeps the rows as they are: set one of the two back ({key}="
            f"{'true' if not trainer.shuffle else '0'} or dataset.balance=none)"
        )
    if settings.balance == "latent":
        return data  # the model decides, at each epoch: `latent_balance`
    if loss.is_balanced:
        raise ConfigError(
            f"{said} the loss has balanced weights as well, which would balance twice: set one of the two to none"
        )
    resampling = balanced(data.train.targets, settings.balance)
    return replace(data, train=replace(data.train, resampling=resampling))


class LatentBalance:
    """Draws the rows of each epoch by how rare the model, as it is then, finds them: those that are rare more often.

    Args:
        size: samples in one forward pass.
    """

    def __init__(self, model: nn.Module, batches: Batches, size: int) -> None:
        self.model, self.batches, self.size = model, batches, size

    def begin_epoch(self, ranks: Ranks) -> None:
        """Look at the rows anew, the first rank for all; the model is left in evaluation mode."""
        ranks.by_first(self._look)
        self.rarity = ranks.of_first(self.rarity)

    def _look(self) -> None:
        self.model.eval()
        rows = len(self.batches.split)
        with memory_for_evaluation(self.size, rows), torch.inference_mode():
            inputs = (inputs for inputs, _ in self.batches.split.in_order(self.size))
            self.rarity = self.model.rarity(inputs).cpu()  # type: ignore[operator]

    @property
    def rarity(self) -> Tensor | None:
        """By how much more often each row comes (N,), which a resume within an epoch needs; None before the first."""
        drawn = self.batches.resampling
        return None if drawn is None else drawn.weights

    @rarity.setter
    def rarity(self, rarity: Tensor | None) -> None:
        self.batches.resampling = None if rarity is None else Resampling(rarity, len(rarity))


def latent_balance(
    settings: DataSettings, model: nn.Module, batches: Feed, size: int
) -> LatentBalance | None:
    """What draws the rows of each epoch where `settings` ask for it.

    Raises:
        ConfigError: the model does not say what is rare, or the rows are not all in memory.
    """
    if settings.balance != "latent":
        return None
    if not hasattr(model, "rarity"):
        raise ConfigError(
            "dataset.balance is latent, but the model does not say which samples are rare; choose "
            "model=debiasing_vae, or set it to none"
        )
    if not isinstance(batches, Batches):
        raise ConfigError(
            "dataset.balance is latent, but the training part is read from files; set dataset.in_memory=true"
        )
    return LatentBalance(model, batches, size)
