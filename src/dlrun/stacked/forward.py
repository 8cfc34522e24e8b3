"""A model's forward pass for K runs at once.

What is common is written for the batch of models: a chain of layers, linear ones as one batched matrix
product, convolutions as one with groups. For everything else torch.func.vmap does it, which is as right and
costs more calls.

Shapes: K runs, B batch, C channels or classes; weights have K in front of their own shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

Weights = Mapping[str, Tensor]
Forward = Callable[[Weights, Tensor], Tensor]

# Each number by itself, without weights: these need not know that there are K of everything.
_ELEMENTWISE = (
    nn.ELU, nn.GELU, nn.Identity, nn.LeakyReLU, nn.ReLU, nn.Sigmoid, nn.SiLU, nn.Tanh,
)  # fmt: skip
_POOLING = (nn.AvgPool2d, nn.MaxPool2d, nn.ZeroPad2d)


def lift(module: nn.Module, prefix: str = "") -> Forward:
    """`module` as a function of its weights (K, ...) by name and of inputs (K, B, ...).

    Training or evaluation is as the module's own flags say when it is called.
    """
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        return _chain([lift(child, f"{prefix}{name}.") for name, child in module.named_children()])
    if type(module) in _ELEMENTWISE:
        return lambda weights, x: module(x)
    if type(module) in _POOLING:
        return lambda weights, x: module(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    if type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
        return lambda weights, x: x.flatten(2)
    if type(module) in _LAYERS and _is_plain(module):
        return _LAYERS[type(module)](module, prefix)
    return _vmapped(module, prefix)


def _chain(parts: list[Forward]) -> Forward:
    def forward(weights: Weights, x: Tensor) -> Tensor:
        for part in parts:
            x = part(weights, x)
        return x

    return forward


def _vmapped(module: nn.Module, prefix: str) -> Forward:
    buffers = [name for name, _ in module.named_buffers()]
    names = [*(name for name, _ in module.named_parameters()), *buffers]

    def alone(weights: dict[str, Tensor], x: Tensor) -> tuple[Tensor, list[Tensor]]:
        output: Tensor = functional_call(module, weights, (x,))
        return output, [weights[name] for name in buffers]

    def forward(weights: Weights, x: Tensor) -> Tensor:
        own = {name: weights[prefix + name] for name in names}
        output: Tensor
        output, after = torch.vmap(alone)(own, x)
        if module.training:  # the module may have put others in their places
            for name, value in zip(buffers, after, strict=True):
                if value is not own[name]:
                    weights[prefix + name].copy_(value)
        return output

    return forward


def _linear(module: Any, prefix: str) -> Forward:
    weight, bias = f"{prefix}weight", f"{prefix}bias"

    def forward(weights: Weights, x: Tensor) -> Tensor:
        matrix, rows = weights[weight].transpose(1, 2), x.flatten(1, -2)
        if module.bias is None:
            products = torch.bmm(rows, matrix)
        else:
            products = torch.baddbmm(weights[bias].unsqueeze(1), rows, matrix)
        return products.unflatten(1, x.shape[1:-1]) if x.ndim > 3 else products

    return forward


def _convolution(module: Any, prefix: str) -> Forward:
    weight, bias = f"{prefix}weight", f"{prefix}bias"

    def forward(weights: Weights, x: Tensor) -> Tensor:
        kernels = weights[weight]
        outputs = F.conv2d(
            _side_by_side(x),
            kernels.flatten(0, 1),
            None if module.bias is None else weights[bias].flatten(),
            module.stride,
            module.padding,
            module.dilation,
            groups=len(kernels) * module.groups,
        )
        return _apart(outputs, len(kernels))

    return forward


def _batch_norm(module: Any, prefix: str) -> Forward:
    def forward(weights: Weights, x: Tensor) -> Tensor:
        mean, var = weights[f"{prefix}running_mean"], weights[f"{prefix}running_var"]
        if module.training:
            weights[f"{prefix}num_batches_tracked"].add_(1)
        outputs = F.batch_norm(
            _side_by_side(x),
            mean.flatten(),  # of contiguous buffers: a view, which is updated in place
            var.flatten(),
            weights[f"{prefix}weight"].flatten(),
            weights[f"{prefix}bias"].flatten(),
            module.training,
            module.momentum,
            module.eps,
        )
        return _apart(outputs, len(mean))

    return forward


def _is_plain(module: Any) -> bool:
    """Whether a layer is used as the functions here expect it."""
    if isinstance(module, nn.Conv2d):
        return module.padding_mode == "zeros"
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return module.affine and module.track_running_stats and module.momentum is not None
    return True


def _side_by_side(x: Tensor) -> Tensor:
    """(K, B, C, ...) as (B, K*C, ...): the channels of all runs in one tensor."""
    return x.transpose(0, 1).flatten(1, 2)


def _apart(x: Tensor, runs: int) -> Tensor:
    """(B, K*C, ...) as (K, B, C, ...)."""
    return x.unflatten(1, (runs, -1)).transpose(0, 1)


_LAYERS: dict[type[nn.Module], Callable[[Any, str], Forward]] = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
}
