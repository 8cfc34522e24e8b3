"""Inputs made up from the spec alone: for what only the form of the data matters to."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.data.base import Spec

_UNKNOWN = 1  # the token of texts that is neither padding nor a word


def made_up_inputs(spec: Spec, count: int) -> Tensor:
    """`count` inputs as a model sees them: zeros, of texts the unknown word, of language whole windows."""
    shape = (count, *spec.input_shape)
    if spec.kind != "tokens":
        return torch.zeros(shape)
    token = 0 if spec.task == "language" else _UNKNOWN
    return torch.full(shape, token, dtype=torch.int64)
