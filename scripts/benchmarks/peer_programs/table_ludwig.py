"""What Ludwig does with a table before it trains: its preprocessing alone, without a step: `FILE TARGET`."""

from __future__ import annotations

import os
import sys

import pandas as pd
from ludwig.api import LudwigModel


def main(path: str, target: str) -> None:
    """The columns with the types that they have in the generated table."""
    kinds = pd.read_csv(path, nrows=1000).dtypes
    features = [
        {"name": name, "type": "number" if kind.kind in "if" else "category"}
        for name, kind in kinds.items()
        if name != target
    ]
    config = {
        "input_features": features,
        "output_features": [{"name": target, "type": "binary"}],
        "preprocessing": {"split": {"type": "stratify", "column": target}},
    }
    LudwigModel(config).preprocess(dataset=path, skip_save_processed_input=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)
