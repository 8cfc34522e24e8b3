"""What the model tests share: small specs of every kind, and models built from their YAML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from dlrun.config.instantiate import component
from dlrun.data.base import Spec

CONFIGS = Path(__file__).parents[2] / "configs" / "model"
SHAPES = {"features": (7,), "image": (1, 28, 28), "sequence": (5, 3), "tokens": (6,)}
OUTPUTS = {"binary": 1, "multiclass": 4, "regression": 2}
VOCABULARY = 9
CLASSES = {"binary": 2, "multiclass": 4, "regression": 0}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def make_spec() -> Callable[..., Spec]:
    """(kind, task, shape) -> Spec; the shape is small unless given."""

    def make(kind: str, task: str = "multiclass", shape: tuple[int, ...] | None = None) -> Spec:
        names = tuple(f"class {i}" for i in range(CLASSES[task]))
        tokens = VOCABULARY if kind == "tokens" else 0
        shape = shape or SHAPES[kind]
        return Spec(task, kind, shape, OUTPUTS[task], class_names=names, vocabulary=tokens)

    return make


@pytest.fixture
def inputs() -> Callable[[Spec, int], torch.Tensor]:
    """(spec, size) -> a batch; of texts, all but the first are padded, each by one more token."""

    def make(spec: Spec, size: int) -> torch.Tensor:
        if spec.kind != "tokens":
            return torch.randn(size, *spec.input_shape)
        ids = torch.randint(1, spec.vocabulary, (size, *spec.input_shape))
        return ids.where(torch.arange(ids.shape[1]) < ids.shape[1] - torch.arange(size)[:, None], 0)

    return make


@pytest.fixture
def build() -> Callable[..., nn.Module]:
    """(name, spec, overrides) -> the model of configs/model/<name>.yaml."""

    def make(name: str, spec: Spec, /, **overrides: Any) -> nn.Module:
        node = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
        return component("model", {**node, **overrides}, given=("spec",))(spec)

    return make
