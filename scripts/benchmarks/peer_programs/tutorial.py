"""The loop of PyTorch's tutorials: DataLoaders over torchvision's MNIST, Adam as it comes."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import DataLoader

from peer_programs import by_hand, job
from peer_programs.loaders import loaders


def main() -> None:
    """Train and test."""
    work, watch = job.read()
    torch.manual_seed(work.seed)
    train, val, test = loaders(work.data)
    device = torch.device(work.accelerator)
    model = by_hand.MODELS[work.case]().to(device)
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=job.LEARNING_RATE)
    watch.begin()
    for epoch in range(work.epochs):
        model.train()
        for batch, (inputs, targets) in enumerate(train):
            inputs, targets = inputs.to(device), targets.to(device)
            loss = loss_function(model(inputs), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            watch.stepped()
            if batch % 100 == 0:
                print(f"epoch {epoch + 1}  batch {batch}  loss {loss.item():.4f}")
        loss_value, accuracy = evaluate(model, val, device)
        print(f"epoch {epoch + 1}  validation: loss {loss_value:.4f}, accuracy {accuracy:.4f}")
    watch.end()
    watch.report(evaluate(model, test, device)[1])


def evaluate(model: nn.Module, loader: DataLoader, device: torch.device) -> tuple[float, float]:
    """(mean loss, accuracy)."""
    model.eval()
    loss, right, samples = 0.0, 0.0, 0
    with torch.no_grad():
        for inputs, targets in loader:
            inputs, targets = inputs.to(device), targets.to(device)
            outputs = model(inputs)
            loss += nn.functional.cross_entropy(outputs, targets, reduction="sum").item()
            right += (outputs.argmax(1) == targets).sum().item()
            samples += len(targets)
    return loss / samples, right / samples


if __name__ == "__main__":
    main()
