"""The models and the training loop that one would write by hand, in torch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice, pairwise

import torch
from torch import Tensor, nn

Pair = tuple[Tensor, Tensor]  # inputs and targets, a row a sample


class LSTM(nn.Module):
    """An LSTM over the rows of an image, scored by its last state."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, 10) of images (B, 1, T, F)."""
        return self.head(self.lstm(x.squeeze(1))[1][0][-1])


def mlp(*widths: int) -> nn.Module:
    """A flattening MLP with ReLU of the given widths, input and output included."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width_in, width in pairwise(widths):
        layers += [nn.Linear(width_in, width), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn(side: int) -> nn.Module:
    """Two blocks of 16 and 32 filters, a dense layer of 64, for square grey images."""
    blocks = [
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    ]  # fmt: skip
    head = [nn.Flatten(), nn.Linear(32 * (side // 4) ** 2, 64), nn.ReLU(), nn.Linear(64, 10)]
    return nn.Sequential(*blocks, *head)


# For MNIST.
MODELS: dict[str, Callable[[], nn.Module]] = {
    "logistic": lambda: mlp(784, 10),
    "mlp": lambda: mlp(784, 128, 10),
    "cnn": lambda: cnn(28),
    "lstm": lambda: LSTM(28, 64),
}


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Pair,
    val: Pair,
    *,
    epochs: int,
    batch_size: int,
    stepped: Callable[[], None] = lambda: None,
) -> float:
    """Train on tensors in memory, of the device too, validating once an epoch; the last validation accuracy.

    `stepped` is called after each step.
    """
    inputs, targets = train
    where = inputs.device
    loss_function = nn.CrossEntropyLoss()
    last = 0.0
    for _ in range(epochs):
        model.train()
        for rows in torch.randperm(len(targets), device=where).split(batch_size):
            optimizer.zero_grad()
            loss_function(model(inputs[rows]), targets[rows]).backward()
            optimizer.step()
            stepped()
        last = accuracy(model, val)
    return last


class Steps:
    """The steps of `train` without the validations, as many at a time as are asked for."""

    def __init__(self, model: nn.Module, data: Pair, *, batch_size: int, lr: float) -> None:
        self.model, self.data, self.batch_size = model.train(), data, batch_size
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
        self.loss_function = nn.CrossEntropyLoss()
        self.batches = self._batches()

    def take(self, count: int) -> None:
        """Make `count` steps."""
        for rows in islice(self.batches, count):
            self.optimizer.zero_grad()
            self.loss_function(self.model(self.data[0][rows]), self.data[1][rows]).backward()
            self.optimizer.step()

    def _batches(self) -> Iterator[Tensor]:
        samples, where = len(self.data[1]), self.data[1].device
        while True:
            yield from torch.randperm(samples, device=where).split(self.batch_size)


def accuracy(model: nn.Module, part: Pair) -> float:
    """The share of `part` that the model gets right; its loss is computed, too, as dlrun does."""
    inputs, targets = part
    model.eval()
    with torch.no_grad():
        outputs = torch.cat([model(rows) for rows in inputs.split(1024)])
        nn.functional.cross_entropy(outputs, targets).item()
        return (outputs.argmax(1) == targets).float().mean().item()
