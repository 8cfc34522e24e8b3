"""torch.compile: how a model is compiled, what is said of it beforehand, and what is missing where it fails."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from dlrun.config.settings import TrainerSettings
from dlrun.data.base import Dataset
from dlrun.errors import first_line
from dlrun.training.torch_state import has_fixed_shapes

# Not torch's "max-autotune": that also makes CUDA graphs, whose outputs the next step overwrites, while those of a run
# are kept up to the next logged point. trainer.cuda_graph holds whole steps.
_MODES = {"max-autotune": "max-autotune-no-cudagraphs"}
_PACKAGES = ("torch._dynamo.", "torch._inductor.", "triton.")
# What torch's compiler or Triton says, and what it means for the user.
_MISSING = {
    "C++ compiler": "there is no C++ compiler: install one, such as g++, or name it in the variable CXX",
    "C compiler": "there is no C compiler: install one, such as gcc, or name it in the variable CC",
    "Python.h": "the header files of Python are missing: install them, as the package python3-dev",
    "working triton": "there is no Triton that fits this version of torch: install the one that torch asks for",
    "too old to be supported": "this GPU is too old for Triton, which needs compute capability 7.0",
}


_compiled: list[str] = []  # the kind of model that this process has compiled last


def compile_model(model: nn.Module, settings: TrainerSettings, data: Dataset) -> None:
    """Let torch compile `model` at its first batch, in training and in evaluation, as trainer.compile asks.

    Batches that change their shape all the time are compiled for any shape at once; else torch would compile the first
    for its own shape alone, and then once more.
    """
    if settings.compile:
        _forget_others(model, settings)
        # torch's advice to set by hand what trainer.precision=tf32 sets.
        warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
        mode = _MODES.get(str(settings.compile))
        model.compile(mode=mode, dynamic=None if has_fixed_shapes(data) else True)


def _forget_others(model: nn.Module, settings: TrainerSettings) -> None:
    """Forget what was compiled for models of another kind, as those of other trials: torch keeps eight of a function.

    All after the eighth it would run as they are, without a word but in a warning.
    """
    shapes = [tuple(parameter.shape) for parameter in model.parameters()]
    kind = f"{model} {shapes} {settings.compile} {settings.precision}"
    if _compiled and _compiled != [kind]:
        torch.compiler.reset()
    _compiled[:] = [kind]


def announcement(settings: TrainerSettings) -> str | None:
    """What is said before the first step, which then takes much longer than all that follow; None without compiling."""
    if not settings.compile:
        return None
    tries = ", which tries out kernels for each layer," if settings.compile in _MODES else ""
    return (
        f"trainer.compile: torch compiles the model at its first step and at its first evaluation{tries} and again for "
        "a batch of another size, each of which takes from seconds to minutes"
    )


def why_not_compiled(error: BaseException, settings: TrainerSettings) -> str | None:
    """What kept torch from compiling, and what to do, in words for the user; None where `error` is of another kind."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None and cause not in causes:
        causes.append(cause)
    if not settings.compile or not any(_is_of_compiler(one) for one in causes):
        return None
    text = " ".join(map(str, causes))
    reason = next((meaning for words, meaning in _MISSING.items() if words in text), None)
    said = reason or f"torch cannot compile the model ({first_line(error)[:300]})"
    return f"trainer.compile is {str(settings.compile).lower()}, but {said}; or set trainer.compile=false"


def _is_of_compiler(error: BaseException) -> bool:
    return f"{type(error).__module__}.".startswith(_PACKAGES)
