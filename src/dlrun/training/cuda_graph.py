"""Training steps as a CUDA graph: captured once, then replayed, which spares small models the launch of each kernel.

As in "Whole-network capture" of torch's notes on CUDA semantics: some steps first on a stream of their
own, then the capture there, with gradients that do not exist yet, and tensors that stay where they are.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from dlrun.data.loaders import Batches
from dlrun.errors import ConfigError, RunFailed, first_line
from dlrun.training.augmentation import is_on_device
from dlrun.training.capturable import can_be_captured, make_capturable
from dlrun.training.graph import Recorder
from dlrun.training.logged_points import Pending
from dlrun.training.loop import Engine, Step
from dlrun.training.losses.users import UsersLoss
from dlrun.training.replica import is_well_known

log = logging.getLogger(__name__)

_WARM_UPS = 3  # steps that choose kernels and make the optimizer's memory


def choose(engine: Engine) -> Step | None:
    """The captured step of `engine` where its setting trainer.cuda_graph wants one.

    Raises:
        ConfigError: it is true, and the run has a part that cannot be captured.
    """
    wanted = engine.settings.cuda_graph
    reason = why_not(engine)
    if wanted is True and reason:
        raise ConfigError(f"trainer.cuda_graph is true, but {reason}; use auto or false")
    # What a layer or a loss of the user's does in Python, such as counting steps, a replay would leave out.
    known = is_well_known(engine.model) and not isinstance(engine.task.criterion, UsersLoss)
    if not wanted or reason or (wanted == "auto" and not known):
        return None
    return CapturedStep(engine, required=wanted is True)


def why_not(engine: Engine) -> str | None:
    """What keeps steps of this run from being captured, in words, or None."""
    settings, device = engine.settings, engine.device.torch_device
    reasons = {
        f"the run is on the device {device}, which has no CUDA graphs": device.type != "cuda",
        "its batches are not read from tensors in memory, all of one shape": (
            not isinstance(engine.batches, Batches)
        ),
        "its gradients are those of several devices": engine.ranks.size > 1,
        "trainer.compile makes graphs of its own": settings.compile,
        "trainer.profile is to see single operations": settings.profile,
        f"trainer.precision is {settings.precision}, and must be fp32, tf32 or bf16 for that": (
            settings.precision not in ("fp32", "tf32", "bf16")
        ),
        "cells that read texts in both directions ask the GPU for the lengths at each step": (
            engine.data.spec.padded and _reads_backwards(engine.model)
        ),
        "dataset.augment.policy draws outside the GPU": not is_on_device(engine.augmentation),
        f"the optimizer {type(engine.descent.optimizer).__name__} reads settings or memory outside the GPU": (
            not can_be_captured(engine.descent.optimizer)
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _reads_backwards(model: nn.Module) -> bool:
    return any(isinstance(m, nn.RNNBase) and m.bidirectional for m in model.modules())


class CapturedStep:
    """What `Engine.train_step` does, for batches of the usual size by a graph; others go step by step.

    A replay reads the batch and the learning rates from tensors that are filled before it, and
    leaves loss, outputs and gradients in others: the first two are copied, the last stay `.grad`.
    Nothing waits for the device.

    Args:
        required: a capture that fails ends the run; otherwise it goes on without, and the log says so.
    """

    def __init__(self, engine: Engine, *, required: bool) -> None:
        self.engine, self.required = engine, required
        assert isinstance(engine.batches, Batches)
        start, stop = engine.batches.bounds[0]
        self.size = stop - start
        self.recorder: Recorder | None = None
        self.graph: torch.cuda.CUDAGraph | None = None
        self.warm_ups = 0
        self.stage = engine.freezing.stage  # what is frozen decides what a step does
        self.failed = False

    def __call__(self, inputs: Tensor, targets: Tensor) -> None:
        """One update of the weights from one batch.

        Raises:
            RunFailed: the step cannot be captured, but must be.
        """
        if self.stage != self.engine.freezing.stage:
            self.graph, self.warm_ups, self.stage = None, 0, self.engine.freezing.stage
        if len(targets) != self.size or self.warm_ups < _WARM_UPS or self.failed:
            self._step_by_step(inputs, targets)
        elif self.graph is not None or self._try_to_capture(inputs, targets):
            self._replay(inputs, targets)
        else:
            self._step_by_step(inputs, targets)

    def _step_by_step(self, inputs: Tensor, targets: Tensor) -> None:
        if self.recorder is None:
            self.recorder = Recorder([self.engine.generator])
            make_capturable(self.engine.descent, inputs.device)
        self.warm_ups += len(targets) == self.size
        self.recorder.rehearse(lambda: self.engine.train_step(inputs, targets))

    def _try_to_capture(self, inputs: Tensor, targets: Tensor) -> bool:
        try:
            self._capture(inputs, targets)
        except RuntimeError as error:
            reason = f"the training step cannot be captured as a CUDA graph ({first_line(error)})"
            if self.required:
                raise RunFailed(f"{reason}; set trainer.cuda_graph=false") from error
            log.warning("%s: going on without", reason)
            self.failed = True
        return not self.failed

    def _capture(self, inputs: Tensor, targets: Tensor) -> None:
        engine = self.engine
        self.inputs, self.targets = inputs.clone(), targets.clone()
        engine.descent.clear()
        assert self.recorder is not None
        pending, engine.pending = engine.pending, Pending()
        try:
            self.graph, _ = self.recorder.record(lambda: engine.learn(self.inputs, self.targets))
            self.left = engine.pending
        except BaseException:
            engine.descent.clear()
            raise
        finally:
            engine.pending = pending
        self.gradients = [parameter.grad for parameter in engine.descent.parameters]
        log.info("training steps of %s samples are replayed as a CUDA graph", self.size)

    def _replay(self, inputs: Tensor, targets: Tensor) -> None:
        assert self.graph is not None
        engine, pending = self.engine, self.engine.pending
        self.inputs.copy_(inputs)
        self.targets.copy_(targets)
        engine.descent.schedule(engine.step)
        self.graph.replay()
        # A step of another size has put its own gradients there.
        for parameter, gradient in zip(engine.descent.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        pending.losses += [loss.clone() for loss in self.left.losses]
        pending.outputs += [outputs.clone() for outputs in self.left.outputs]
        pending.targets += [targets.clone() for targets in self.left.targets]
        pending.sizes.append(len(targets))
