"""A search over the learning rate by Optuna and Lightning, as their user writes it.

A trainer for each trial, with its TensorBoard logger and its checkpoints, and data loaders on tensors in
memory. Spared are the progress bar, the summary of the model, a study on disk and a test at the end.
"""

from __future__ import annotations

import logging
import warnings

import lightning as L
import optuna
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from peer_programs import by_hand
from peer_programs.lightning import Classifier

BATCH_SIZE = 32


class Searched(Classifier):
    """The classifier with a learning rate of its own."""

    def __init__(self, lr: float) -> None:
        super().__init__(by_hand.mlp(64, 64, 10))
        self.lr = lr

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam as it comes."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def search(
    data: tuple[Tensor, Tensor, Tensor, Tensor],
    *,
    trials: int,
    epochs: int,
    lr: tuple[float, float],
    accelerator: str,
) -> float:
    """The least validation loss of `trials` on digits.

    Args:
        data: inputs and targets to train on, inputs and targets to validate on.
        lr: the least and the largest learning rate.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    x, y, val_x, val_y = (tensor.cpu() for tensor in data)  # as the loaders want them

    def objective(trial: optuna.Trial) -> float:
        train = DataLoader(TensorDataset(x, y), batch_size=BATCH_SIZE, shuffle=True)
        val = DataLoader(TensorDataset(val_x, val_y), batch_size=1024)
        trainer = L.Trainer(
            max_epochs=epochs,
            accelerator=accelerator,
            devices=1,
            logger=TensorBoardLogger("logs", name=f"trial{trial.number}"),
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Searched(trial.suggest_float("lr", *lr, log=True)), train, val)
        return trainer.callback_metrics["val_loss"].item()

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on the number of loader processes and of steps
        study.optimize(objective, n_trials=trials)
    return study.best_value
