"""A trained model as a file for programs without dlrun, and what they must know to use it."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.data.base import Spec, made_up_inputs
from dlrun.data.kinds import kind_of
from dlrun.errors import RunFailed, first_line
from dlrun.inference.averaging import MeanModel
from dlrun.inference.load import Trained
from dlrun.models.unroll import unrolling
from dlrun.system.torch_internals import tree_flatten, tree_leaves, tree_unflatten
from dlrun.training.scores import sorted_quantiles
from dlrun.training.tasks import TASKS

Format = Literal["onnx", "torch_export"]
Function = Callable[[list[Tensor]], list[Tensor]]  # inputs and state to scores and new state
Axes = dict[int, str]  # those that may vary, by name

SUFFIXES: dict[str, str] = {"onnx": ".onnx", "torch_export": ".pt2"}
_TRACED_WITH = 3  # samples: torch takes a single one for a constant
_TOLERANCE = 1e-4  # of the largest score, or of 1
_STEPS = 4  # of a text, one after the other, to see that the state is handed on


@dataclass(frozen=True)
class Exported:
    """What was written, and how well it does.

    Attributes:
        inputs, outputs: name → shape, in order; an axis that may vary has its name for a size.
        largest_difference: of its outputs from the model's, as a share of the largest, or of 1.
        batch_sizes: on which that was measured.
    """

    inputs: dict[str, list[int | str]]
    outputs: dict[str, list[int | str]]
    largest_difference: float
    batch_sizes: list[int]


@dataclass(frozen=True)
class _Traceable:
    """A model as a function of tensors side by side: what to trace it with, and what may vary.

    Attributes:
        names: of the inputs, or of the input and the state that follows.
        carries_state: whether what follows the first input is a state, which is given out again.
    """

    module: nn.Module
    inputs: list[Tensor]
    axes: list[Axes]
    names: list[str]
    carries_state: bool = False

    def arguments(self, tensors: list[Any]) -> tuple[Any, ...]:
        """As the module takes them: what follows the first as a list."""
        return (tensors[0], tensors[1:]) if len(self.inputs) > 1 else (tensors[0],)

    def __call__(self, tensors: list[Tensor]) -> list[Tensor]:
        with torch.no_grad():
            return list(tree_leaves(self.module(*self.arguments(tensors))))

    @property
    def state(self) -> list[int]:
        """Which of the inputs are a state."""
        return [*range(1, len(self.inputs))] if self.carries_state else []


def export(
    trained: Trained,
    path: Path,
    *,
    how: Format,
    samples: Sequence[Tensor | Sequence[Tensor]],
    others: Sequence[Spec] = (),
) -> Exported:
    """Write the model to `path`, and apply what was written to `samples`, batches as a model takes them.

    A batch may be of any size. So may the length of texts, but of models that read them step by step:
    theirs are to be filled up to the longest. A language model takes one token at a time, hands its
    state on, and begins with zeros.

    Args:
        samples: of several inputs a tensor for each.
        others: of an ensemble whose members prepare raw inputs differently, the specs of its inputs after the first.

    Raises:
        RunFailed: the model cannot be exported, or what was exported gives other outputs; no file is left.
    """
    model = _traceable(trained.model.eval(), [trained.spec, *others])
    batches = [[one] if isinstance(one, Tensor) else list(one) for one in samples]
    outputs = model(model.inputs)
    produced = ["scores", *(f"new_{model.names[at]}" for at in model.state)]
    try:
        _write(model, produced, path, trained.spec, how)
        difference = max(_difference(model, _loaded(model, path, how), batch) for batch in batches)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    if not difference <= _TOLERANCE:
        path.unlink(missing_ok=True)
        raise RunFailed(
            f"the exported model gives other outputs than the run's, by {difference:.2g} of the largest; "
            "its file was taken away"
        )
    axes = [{0: "batch"}, *(model.axes[at] for at in model.state)]
    return Exported(
        dict(zip(model.names, map(_shape, model.inputs, model.axes), strict=True)),
        dict(zip(produced, map(_shape, outputs, axes), strict=True)),
        difference,
        sorted({len(batch[0]) for batch in batches}),
    )


def description(
    trained: Trained, exported: Exported, others: Sequence[Trained] = ()
) -> dict[str, Any]:
    """What a program must know to use the file, as plain values; `others` prepare the inputs after the first."""
    spec = trained.spec
    readers = [trained, *others]
    kinds = {"tokens": "int64"}
    types = [kinds.get(one.spec.kind, "float32") for one in readers]
    taken = [
        {"name": name, "type": types[at] if at < len(types) else "float32", "shape": shape}
        for at, (name, shape) in enumerate(exported.inputs.items())
    ]
    given = [
        {"name": name, "type": "float32", "shape": shape}
        for name, shape in exported.outputs.items()
    ]
    described = [
        kind_of(one.preprocessing, one.spec).new_inputs.describe(one.preprocessing, one.spec)
        for one in readers
    ]
    preparing, preprocessing = described[0]
    by_input = {name: own for name, (_, own) in zip(exported.inputs, described, strict=False)}
    return {
        "inputs": taken,
        "outputs": given,
        "preparing": preparing,
        "reading": _meaning(spec),
        "class_names": list(spec.class_names),
        "thresholds": list(trained.thresholds.values) if trained.thresholds else None,
        "preprocessing": by_input if others else preprocessing,
        "spec": asdict(spec),
        "checked": {
            "batch_sizes": exported.batch_sizes,
            "largest_difference": exported.largest_difference,
        },
    }


def _meaning(spec: Spec) -> str:
    """Of the outputs, in words."""
    if spec.link == "log":
        return "values are exp(scores) * target_mean"
    if not spec.quantiles:
        return TASKS[spec.task].meaning
    listed = ", ".join(f"{quantile:g}" for quantile in spec.quantiles)
    return (
        f"of each target one score for each of the quantiles {listed}, ascending, all of the first target first; "
        "values are scores * target_std + target_mean of their target"
    )


class _Ascending(nn.Module):
    """A model whose scores for the quantiles of each target are sorted, as predictions are."""

    def __init__(self, model: nn.Module, quantiles: int) -> None:
        super().__init__()
        self.model, self.quantiles = model, quantiles

    def forward(self, inputs: Tensor) -> Tensor:
        return sorted_quantiles(self.model(inputs), self.quantiles).flatten(1)


class _OneByOne(nn.Module):
    """A language model that takes a token (S, 1) and its state as a list of tensors, and gives both again."""

    def __init__(self, model: nn.Module, structure: Any) -> None:
        super().__init__()
        self.model, self.structure = model, structure

    def forward(self, tokens: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        scores, after = self.model(tokens, tree_unflatten(state, self.structure))
        return scores, tree_leaves(after)


def _traceable(model: nn.Module, specs: Sequence[Spec]) -> _Traceable:
    spec = specs[0]
    if spec.carries_state:
        return _with_state(model, spec)
    if spec.quantiles and not isinstance(model, MeanModel):  # of which they ascend already
        model = _Ascending(model, len(spec.quantiles))
    examples = [made_up_inputs(one, _TRACED_WITH) for one in specs]
    has_length = spec.padded and not _reads_step_by_step(model)
    axes: list[Axes] = [{0: "batch"} | ({1: "length"} if has_length else {}) for _ in specs]
    if len(specs) == 1:
        return _Traceable(model, examples, axes, ["inputs"])
    for number, own in enumerate(axes[1:], 2):  # each text may take another number of tokens
        own |= {1: f"length_{number}"} if has_length else {}
    return _Traceable(model, examples, axes, [f"inputs_{n}" for n, _ in enumerate(specs, 1)])


def _with_state(model: nn.Module, spec: Spec) -> _Traceable:
    """A language model, one token at a time."""
    example = made_up_inputs(spec, _TRACED_WITH)
    with torch.no_grad():
        (_, state), (_, other) = (model(example[:count, :1]) for count in (_TRACED_WITH, 1))
    leaves, structure = tree_flatten(state)
    axes = [
        {a: "batch" for a in range(one.ndim) if one.shape[a] != two.shape[a]}
        for one, two in zip(leaves, tree_leaves(other), strict=True)
    ]
    first = [torch.zeros_like(leaf) for leaf in leaves]
    names = ["inputs", *(f"state_{number}" for number, _ in enumerate(leaves))]
    return _Traceable(
        _OneByOne(model, structure),
        [example[:, :1], *first],
        [{0: "batch"}, *axes],
        names,
        carries_state=True,
    )


def _reads_step_by_step(model: nn.Module) -> bool:
    return any(isinstance(module, nn.RNNBase) for module in model.modules())


def _write(model: _Traceable, outputs: list[str], path: Path, spec: Spec, how: Format) -> None:
    arguments = model.arguments(model.inputs)
    dynamic = [dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in model.axes]
    shapes = model.arguments(dynamic)
    # Texts of several lengths in a batch: torch's own layers sort them by their lengths, which no graph can hold.
    padded = spec.padded and _reads_step_by_step(model.module)
    try:
        with torch.no_grad(), _in_silence(), unrolling() if padded else nullcontext():
            if how == "torch_export":
                program = torch.export.export(
                    model.module, arguments, dynamic_shapes=shapes, strict=False
                )
                whole = io.BytesIO()  # torch's own writer ends the process where the disk is full
                torch.export.save(program, whole)
                path.write_bytes(whole.getbuffer())
                return
            names: Any = {"input_names": model.names, "output_names": outputs}
            made = torch.onnx.export(
                model.module, arguments, dynamic_shapes=shapes, dynamo=True, verbose=False, **names
            )
            assert made is not None
            made.save(path)
    except Exception as error:  # torch.export has many ways to say that it cannot
        cause = error.__cause__ or error
        if isinstance(cause, OSError):  # of the disk, and not of the model
            raise cause from error
        raise RunFailed(
            f"torch cannot export this model ({type(cause).__name__}: {first_line(cause)[:300]})"
        ) from error


def _loaded(model: _Traceable, path: Path, how: Format) -> Function:
    """What was written, as another program would load it, as the function that `model` is."""
    if how == "torch_export":
        with _in_silence():  # some versions warn of their own way to read the file
            module = torch.export.load(path).module()
        return replace(model, module=module)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(tensors: list[Tensor]) -> list[Tensor]:
        given = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
        return [torch.from_numpy(array) for array in session.run(None, given)]

    return run


def _difference(model: _Traceable, exported: Function, batch: Sequence[Tensor]) -> float:
    """The largest, of a batch, or of the first tokens of several texts, each with the state before it."""
    if not model.carries_state:
        given = [_fitting(one, model, at) for at, one in enumerate(batch)]
        return _apart(model(given), exported(given))
    (texts,) = batch
    states = [
        _resized(state, axes, len(texts))
        for state, axes in zip(model.inputs[1:], model.axes[1:], strict=True)
    ]
    largest, own = 0.0, states
    for token in texts[:, :_STEPS].split(model.inputs[0].shape[1], dim=1):
        expected, found = model([token, *own]), exported([token, *states])
        largest = max(largest, _apart(expected, found))
        own, states = expected[1:], found[1:]
    return largest


def _apart(expected: list[Tensor], found: list[Tensor]) -> float:
    return max(
        float((a - b).abs().max() / a.abs().max().clamp(min=1))
        for a, b in zip(expected, found, strict=True)
    )


def _fitting(batch: Tensor, model: _Traceable, at: int) -> Tensor:
    """Texts filled up, where the model takes them at one length only."""
    axes, length = model.axes[at], model.inputs[at].shape[1]
    if batch.dtype != torch.int64 or 1 in axes or batch.shape[1] == length:
        return batch
    return F.pad(batch, [0, length - batch.shape[1]])


def _resized(state: Tensor, axes: Axes, count: int) -> Tensor:
    return state.new_zeros(
        [count if axis in axes else size for axis, size in enumerate(state.shape)]
    )


def _shape(tensor: Tensor, axes: Axes) -> list[int | str]:
    return [axes.get(axis, size) for axis, size in enumerate(tensor.shape)]


@contextlib.contextmanager
def _in_silence() -> Iterator[None]:
    """Without torch's own progress, and its advice to those who write models."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
