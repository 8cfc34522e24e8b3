"""A table as tutorials read it, up to the first step: pandas, ColumnTransformer, DataLoader: `FILE TARGET`."""

from __future__ import annotations

import os
import sys

import numpy as np
import pandas as pd
import torch
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

BATCH = 64


def main(path: str, target: str) -> None:
    """Split as dlrun does by default, fit on the training part, encode all parts, take a step."""
    frame = pd.read_parquet(path) if path.endswith(".parquet") else pd.read_csv(path)
    labels = frame.pop(target).to_numpy(np.float32)
    numbers = list(frame.select_dtypes("number").columns)
    words = [name for name in frame.columns if name not in numbers]
    rest, test = train_test_split(np.arange(len(frame)), test_size=0.2, stratify=labels)
    train, val = train_test_split(rest, test_size=0.2, stratify=labels[rest])
    transform = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
            (
                "words",
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
                words,
            ),
        ]
    )
    encoded = [transform.fit_transform(frame.iloc[train])]
    encoded += [transform.transform(frame.iloc[part]) for part in (val, test)]
    data = [
        TensorDataset(torch.tensor(inputs, dtype=torch.float32), torch.tensor(labels[part]))
        for inputs, part in zip(encoded, (train, val, test), strict=True)
    ]
    model = nn.Sequential(nn.Linear(encoded[0].shape[1], 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    inputs, targets = next(iter(DataLoader(data[0], BATCH, shuffle=True)))
    nn.functional.binary_cross_entropy_with_logits(model(inputs)[:, 0], targets).backward()
    optimizer.step()


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)
