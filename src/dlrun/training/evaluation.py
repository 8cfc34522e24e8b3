"""A model in evaluation mode: what metrics need of its outputs for a split, by a CUDA graph where that comes again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from dlrun.data.base import Spec
from dlrun.data.loaders import Split
from dlrun.data.share import WHOLE, Share
from dlrun.errors import RunFailed, first_line
from dlrun.storage.checkpoint import random_states, restore_random_states
from dlrun.training import sharding
from dlrun.training.device import Device
from dlrun.training.forward import outputs_in_order
from dlrun.training.freezing import Freezing
from dlrun.training.graph import TOLERANCES, Recorder, apart, size_of
from dlrun.training.task import Task

log = logging.getLogger(__name__)

_BATCHES = 64  # of a split, at most: kernels of larger ones take longer than their launches


class Evaluation:
    """Computes what metrics need of the outputs for every sample of a split, in order.

    Args:
        size: samples in one forward pass.

    Attributes:
        repeated: does it for the split that is evaluated again and again.
    """

    def __init__(
        self, freezing: Freezing, device: Device, *, spec: Spec, task: Task, size: int
    ) -> None:
        self.freezing, self.device = freezing, device
        self.spec, self.task, self.size = spec, task, size
        self.repeated: Repeated | None = None

    def outputs(self, model: nn.Module, split: Split, share: Share = WHOLE) -> Tensor:
        """Of all samples, or of a process's `share`; the model is left in training mode."""
        compute = partial(self._compute, model, split, share)
        if self.repeated is not None and self.repeated.split is split and share is WHOLE:
            return self.repeated.outputs(model, compute)
        return compute()

    def _compute(self, model: nn.Module, split: Split, share: Share) -> Tensor:
        model.eval()
        try:
            with sharding.without_gradients(model), self.device.autocast():
                return outputs_in_order(
                    model,
                    split,
                    share,
                    spec=self.spec,
                    task=self.task,
                    size=self.size,
                    dtype=self.device.dtype,
                )
        finally:
            self.freezing.train(model)


class Repeated:
    """The outputs for one split, which does not change, by a graph of all its batches; it reads the weights in place.

    The first evaluation chooses the kernels. The second one is recorded, and done both ways: where they do not agree,
    or it cannot be recorded, all others are done as the first.

    Args:
        required: a graph that fails ends the run.
    """

    def __init__(
        self, split: Split, generator: torch.Generator, precision: str, *, required: bool
    ) -> None:
        self.split, self.generator, self.precision = split, generator, precision
        self.required = required
        self.recorder: Recorder | None = None
        self.graph: torch.cuda.CUDAGraph | None = None
        self.failed = False

    @staticmethod
    def fits(split: Split, size: int) -> bool:
        """Whether a graph can hold the evaluation of a split, and is worth it."""
        return isinstance(split.inputs, Tensor) and 0 < len(split) <= _BATCHES * size

    def outputs(self, model: nn.Module, compute: Callable[[], Tensor]) -> Tensor:
        """What `compute` gives for the weights that `model` has now.

        Raises:
            RunFailed: it cannot be replayed, but must be.
        """
        if self.failed:
            return compute()
        if self.graph is not None and self.places == _places(model):
            self.graph.replay()
            return self.left.clone()
        if self.recorder is None or self.graph is not None:
            self.recorder, self.graph = Recorder([self.generator]), None
            return self.recorder.rehearse(compute)
        return self._recorded(model, compute, self.recorder)

    def close(self) -> None:
        """Let the graph go, with its memory."""
        self.failed, self.graph, self.recorder = True, None, None
        self.left = torch.empty(0)

    def _recorded(
        self, model: nn.Module, compute: Callable[[], Tensor], recorder: Recorder
    ) -> Tensor:
        states = random_states(self.generator)
        alone = recorder.rehearse(compute)
        try:
            self.graph, self.left = recorder.record(compute)
            restore_random_states(states, self.generator)
            self.graph.replay()
            allowed = TOLERANCES[self.precision].outputs * size_of([alone])
            failure = "its outputs differ" if apart([alone], [self.left], allowed) else None
        except (RuntimeError, RunFailed) as error:  # too little memory for a second one, too
            failure = first_line(error)
        if failure is not None:
            self._give_up(failure)
            return alone
        self.places = _places(model)
        log.info("a CUDA graph holds the evaluation of %s samples", len(self.split))
        return self.left.clone()

    def _give_up(self, failure: str) -> None:
        said = f"the evaluation cannot be replayed as a CUDA graph ({failure})"
        if self.required:
            raise RunFailed(f"{said}; set trainer.cuda_graph=false")
        log.warning("%s: going on without", said)
        self.close()


def _places(model: nn.Module) -> list[int]:
    """Where the weights are that a graph reads."""
    return [tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())]
