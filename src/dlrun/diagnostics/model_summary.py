"""A model as a table: each layer with its output, its parameters and how the size of its output comes about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.data.base import Spec, made_up_inputs

_WINDOWS_OVER = {
    1: (nn.Conv1d, nn.MaxPool1d, nn.AvgPool1d),
    2: (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d),
    3: (nn.Conv3d, nn.MaxPool3d, nn.AvgPool3d),
}
_WINDOWS = tuple(kind for kinds in _WINDOWS_OVER.values() for kind in kinds)
_HEAD = ("layer", "kind", "output", "parameters", "size: (W-F+2P)/S+1")
_NONE = "-"
_NAMED = 20  # columns of a kind, at most


@dataclass(frozen=True)
class Layer:
    """One layer of a model.

    Attributes:
        output: shape, with B for the batch; empty where the model holds the parameters, but does not call the layer.
        parameters: of its own, counted where they are met first: layers may share them.
        size_rule: of a convolution or pooling, ([W - F + 2P] / S) + 1 worked out.
    """

    name: str
    kind: str
    output: str
    parameters: int
    size_rule: str = ""


def layer_table(model: nn.Module, spec: Spec) -> str:
    """The layers of a model for the data of `spec`, tried on inputs that are made up; above them its columns."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    example = made_up_inputs(spec, 2).to(like.device)
    if example.is_floating_point():
        example = example.to(like.dtype)
    table = summary_table(model, summarize(model, example))
    return f"{columns_line(spec)}\n{table}" if spec.feature_names else table


def columns_line(spec: Spec) -> str:
    """The columns by name: numbers, categories with how many of each training has; targets where there are several."""
    first = len(spec.feature_names) - len(spec.categories)
    numbers = spec.feature_names[:first]
    counted = zip(spec.feature_names[first:], spec.categories, strict=True)
    # Without the code of a category never seen.
    categories = [f"{name} {codes - 1}" for name, codes in counted]
    parts = [
        f"{len(names)} {one if len(names) == 1 else many} ({_some(names)})"
        for names, one, many in (
            (numbers, "number", "numbers"),
            (categories, "category", "categories"),
        )
        if names
    ]
    targets = f"\ntargets: {_some(spec.target_names)}" if spec.target_names else ""
    return f"inputs: {', '.join(parts)}{targets}"


def summarize(model: nn.Module, example: Tensor) -> list[Layer]:
    """The layers of `model` in the order in which `example` (B, ...) passes through them; nothing is changed."""
    names = {module: name for name, module in model.named_modules() if _is_layer(module)}
    passed: dict[nn.Module, tuple[str, str]] = {}

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if module not in passed:
            rule = size_rule(module, inputs[0]) if isinstance(module, _WINDOWS) else ""
            passed[module] = (_shape(output, len(example)), rule)

    _pass_through(model, example, names, note)
    counted: set[nn.Parameter] = set()
    uncalled = [m for m in names if m not in passed and _has_own(m)]
    return [
        Layer(
            name=names[module] or "(model)",
            kind=type(module).__name__,
            output=passed.get(module, ("", ""))[0],
            parameters=_count(module, counted),
            size_rule=passed.get(module, ("", ""))[1],
        )
        for module in (*passed, *uncalled)
    ]


def summary_table(model: nn.Module, layers: list[Layer]) -> str:
    """The layers as a table, with the sum below."""
    rows = [
        (
            x.name,
            x.kind,
            x.output or "not called",
            f"{x.parameters:,}" if x.parameters else _NONE,
            x.size_rule,
        )
        for x in layers
    ]
    columns = list(zip(_HEAD, *rows, strict=True))
    if not any(layer.size_rule for layer in layers):
        columns.pop()
    widths = [max(map(len, column)) for column in columns]
    numbers = _HEAD.index("parameters")
    lines = [
        "  ".join(
            cell.rjust(width) if number == numbers else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in zip(*columns, strict=True)
    ]
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    fixed = "" if trained == total else f", {trained:,} of them trained"
    return "\n".join([*lines, f"{total:,} parameters{fixed}"])


def size_rule(layer: nn.Module, inputs: Tensor) -> str:
    """How each side of the output of a convolution or pooling comes about, once where all sides do alike.

    A dilated kernel counts as wide as it reaches; ⌊⌋ is there where a rest is left over.
    """
    sides = tuple(inputs.shape[-_dimensions(layer) :])
    rules = [_side_rule(layer, axis, size) for axis, size in enumerate(sides)]
    return rules[0] if len(set(rules)) == 1 else "; ".join(rules)


def _some(names: Sequence[str]) -> str:
    left = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {left} more" if left > 0 else "")


def _side_rule(layer: Any, axis: int, size: int) -> str:
    kernel = _of(layer.kernel_size, axis)
    stride = _of(layer.stride, axis) or kernel
    reach = _of(getattr(layer, "dilation", 1), axis) * (kernel - 1) + 1
    if layer.padding == "same":
        padded, padding = reach - 1, f"{reach - 1}"
    else:
        one = 0 if layer.padding == "valid" else _of(layer.padding, axis)
        padded, padding = 2 * one, f"2*{one}"
    span = size - reach + padded
    whole = -(-span // stride) if getattr(layer, "ceil_mode", False) else span // stride
    left, right = ("⌈", "⌉") if getattr(layer, "ceil_mode", False) else ("⌊", "⌋")
    quotient = f"({size}-{reach}+{padding})/{stride}"
    return f"{quotient if span % stride == 0 else f'{left}{quotient}{right}'}+1 = {whole + 1}"


def _pass_through(
    model: nn.Module, example: Tensor, layers: Mapping[nn.Module, str], note: Callable[..., None]
) -> None:
    state, training = torch.get_rng_state(), model.training
    handles = [layer.register_forward_hook(note) for layer in layers if layer is not model]
    model.eval()
    try:
        with torch.no_grad():
            output = model.forward(example)  # not by a call, which may compile
        if model in layers:
            note(model, (example,), output)
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
        torch.set_rng_state(state)


def _is_layer(module: nn.Module) -> bool:
    """What holds parameters itself, or holds no other module."""
    return _has_own(module) or not any(module.children())


def _count(module: nn.Module, counted: set[nn.Parameter]) -> int:
    own = [p for p in module.parameters(recurse=False) if p not in counted]
    counted.update(own)
    return sum(parameter.numel() for parameter in own)


def _shape(output: Any, batch: int) -> str:
    while isinstance(output, (tuple, list)):  # a recurrent layer's outputs come before its state
        output = output[0]
    if not isinstance(output, Tensor):
        return type(output).__name__
    sides = [
        "B" if not axis and side == batch else str(side) for axis, side in enumerate(output.shape)
    ]
    return "×".join(sides) or "1"


def _dimensions(layer: nn.Module) -> int:
    """Of the images that a convolution or pooling, or a class derived from one, slides over."""
    return next(count for count, kinds in _WINDOWS_OVER.items() if isinstance(layer, kinds))


def _of(value: Any, axis: int) -> int:
    return int(value[axis] if isinstance(value, (tuple, list)) else value)


def _has_own(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None
