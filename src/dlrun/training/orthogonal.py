"""What Muon makes of a momentum: a matrix with nearly orthogonal rows or columns, and the rate that goes with it.

Shapes: N matrices, R rows, C columns.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

# As torch.optim.Muon has them.
_ITERATIONS, _COEFFICIENTS, _SMALLEST_NORM = 5, (3.4445, -4.775, 2.0315), 1e-7
MATRIX_RATES = {  # what the learning rate of a matrix is multiplied by
    "original": lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
}


def iterates_as_here(group: dict[str, Any]) -> bool:
    """Whether a group of torch.optim.Muon asks for the iteration of `orthogonalised`."""
    asked = (group["ns_steps"], tuple(group["ns_coefficients"]), group["eps"])
    known = group["adjust_lr_fn"] is None or group["adjust_lr_fn"] in MATRIX_RATES
    return known and asked == (_ITERATIONS, _COEFFICIENTS, _SMALLEST_NORM)


def orthogonalised(x_NRC: Tensor) -> Tensor:
    """Of each matrix about the nearest one with orthogonal rows or columns, in bfloat16, as torch.optim.Muon has it.

    A Newton-Schulz iteration whose singular values come near one, and not to it (Jordan, 2024).
    """
    a, b, c = _COEFFICIENTS
    tall = x_NRC.shape[1] > x_NRC.shape[2]
    x = x_NRC.bfloat16()
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=_SMALLEST_NORM)
    for _ in range(_ITERATIONS):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).contiguous()
