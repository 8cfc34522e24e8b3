"""What torch keeps for the whole process, set as the run asks that is about to compute.

All but the number of threads is set for every run, also where it is torch's own default: the run before in this process
may have asked for something else.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch

from dlrun.config.settings import TrainerSettings
from dlrun.data.base import Dataset
from dlrun.data.text.buckets import Buckets
from dlrun.errors import ConfigError
from dlrun.system.hardware import CUBLAS_WORKSPACE, REPEATABLE_WORKSPACES
from dlrun.training.device import Device


def configure(settings: TrainerSettings, device: Device, data: Dataset) -> None:
    """Threads, which kernels may be taken and how they multiply, for a run on `device` with `data`.

    Raises:
        ConfigError: results are to be repeatable, and the environment asks cuBLAS for what is not.
    """
    if settings.num_threads is not None:
        torch.set_num_threads(settings.num_threads)
    if settings.deterministic and device.torch_device.type == "cuda":
        _ask_cublas_to_repeat()
    # Only when it changes: setting it imports torch's compiler, which takes seconds.
    if settings.deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(settings.deterministic)
    torch.backends.cudnn.deterministic = settings.deterministic
    torch.backends.cudnn.benchmark = not settings.deterministic and has_fixed_shapes(data)
    _round_to_tf32(device.precision == "tf32")


def has_fixed_shapes(data: Dataset) -> bool:
    """Whether the batches of a part have one shape, apart from the last: only then does it pay to try out kernels.

    cuDNN tries its kernels for each shape that it has not seen, which takes many times as long as a step. Batches of
    texts that are cut to their longest text have a new shape nearly each time.
    """
    return data.train.feed is not Buckets


def is_not_repeatable(error: BaseException) -> bool:
    """Whether torch refuses an operation because trainer.deterministic=true."""
    return isinstance(error, RuntimeError) and any(
        words in str(error)
        for words in ("does not have a deterministic implementation", "Deterministic behavior was")
    )


def not_repeatable(error: BaseException) -> str:
    """Such an error in words for the user."""
    text = str(error)
    if "CuBLAS" in text:  # the variable is read once, at the first product of this process
        return (
            f"trainer.deterministic is true, but this process has multiplied before {CUBLAS_WORKSPACE} was set; start "
            f"again with {CUBLAS_WORKSPACE}={REPEATABLE_WORKSPACES[0]} in the environment"
        )
    name = text.split(" ", 1)[0]
    return (
        f"trainer.deterministic is true, but the model, its loss or a metric needs {name}, which gives other results "
        "at each call on this device; use trainer.deterministic=false, a model without it, or trainer.accelerator=cpu"
    )


def _ask_cublas_to_repeat() -> None:
    """Set the variable that cuBLAS reads at the first product of a process; older versions of torch demand it."""
    chosen = os.environ.setdefault(CUBLAS_WORKSPACE, REPEATABLE_WORKSPACES[0])
    if chosen not in REPEATABLE_WORKSPACES:
        raise ConfigError(
            f"trainer.deterministic is true, but {CUBLAS_WORKSPACE} is {chosen} in the environment, and must be "
            f"{' or '.join(REPEATABLE_WORKSPACES)} for that; set it so, or unset it"
        )


def _round_to_tf32(wanted: bool) -> None:
    """Whether products, convolutions and recurrent layers of cuDNN take 10 of the 23 bits of fp32 into account.

    torch has two kinds of settings for that. Both are set, the older ones first, which set the newer as well: it
    refuses to read one that says something else than the other.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions warn of the older kind
        torch.set_float32_matmul_precision("high" if wanted else "highest")
        torch.backends.cudnn.allow_tf32 = wanted
    if hasattr(torch.backends.cudnn, "conv"):
        newer: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn.conv]
        for part in (*newer, torch.backends.cudnn.rnn):
            part.fp32_precision = "tf32" if wanted else "ieee"
