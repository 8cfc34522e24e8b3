"""PyTorch Lightning as its user gets it: TensorBoard, checkpoints and progress bar by default."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from peer_programs import by_hand, job
from peer_programs.loaders import loaders


class Classifier(L.LightningModule):
    """A model with its loss, metrics and optimizer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: list[Tensor]) -> Tensor:
        """The loss of a batch."""
        inputs, targets = batch
        loss = nn.functional.cross_entropy(self.model(inputs), targets)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor]) -> None:
        """Log loss and accuracy."""
        self._evaluate("val", batch)

    def test_step(self, batch: list[Tensor]) -> None:
        """Log loss and accuracy."""
        self._evaluate("test", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam as it comes."""
        return torch.optim.Adam(self.parameters(), lr=job.LEARNING_RATE)

    def _evaluate(self, part: str, batch: list[Tensor]) -> None:
        inputs, targets = batch
        outputs = self.model(inputs)
        right = (outputs.argmax(1) == targets).float().mean()
        self.log(f"{part}_loss", nn.functional.cross_entropy(outputs, targets), prog_bar=True)
        self.log(f"{part}_accuracy", right, prog_bar=True)


class Observer(L.Callback):
    """Tells the watch; set-up and the sanity check before training count as start-up."""

    def __init__(self, watch: job.Watch) -> None:
        self.on_train_start = lambda *_: watch.begin()
        self.on_train_batch_end = lambda *_: watch.stepped()
        self.on_train_end = lambda *_: watch.end()


def main() -> None:
    """Train and test."""
    work, watch = job.read()
    L.seed_everything(work.seed)
    train, val, test = loaders(work.data)
    logger, observer = TensorBoardLogger("."), Observer(watch)
    trainer: Any = L.Trainer(
        max_epochs=work.epochs,
        logger=logger,
        callbacks=[observer],
        accelerator=work.accelerator,
        devices=1,
    )
    model = Classifier(by_hand.MODELS[work.case]())
    trainer.fit(model, train, val)
    (metrics,) = trainer.test(model, test)
    watch.report(metrics["test_accuracy"])


if __name__ == "__main__":
    main()
