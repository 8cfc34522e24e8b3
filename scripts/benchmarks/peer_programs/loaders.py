"""MNIST as PyTorch's tutorials read it: torchvision's data set, transforms and DataLoaders."""

from __future__ import annotations

from pathlib import Path

from torch.utils.data import DataLoader, random_split
from torchvision import transforms
from torchvision.datasets import MNIST

from peer_programs.job import BATCH_SIZE, EVALUATION_BATCH_SIZE, MEAN, STD, VALIDATION


def loaders(data: Path) -> tuple[DataLoader, DataLoader, DataLoader]:
    """Those of the training, validation and test part."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))])
    whole = MNIST(str(data), train=True, transform=transform)
    train, val = random_split(whole, [len(whole) - VALIDATION, VALIDATION])
    test = MNIST(str(data), train=False, transform=transform)
    return (
        DataLoader(train, batch_size=BATCH_SIZE, shuffle=True),
        DataLoader(val, batch_size=EVALUATION_BATCH_SIZE),
        DataLoader(test, batch_size=EVALUATION_BATCH_SIZE),
    )
