"""Whether the parts of a run fit together: what does not is refused in one line, before the first step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dlrun.config.settings import TrainerSettings
from dlrun.data.base import Dataset, Spec
from dlrun.data.loaders import Feed
from dlrun.errors import ConfigError, first_line
from dlrun.training.device import Device, out_of_memory
from dlrun.training.forward import advance
from dlrun.training.losses.users import UsersLoss
from dlrun.training.sharding import has_shards
from dlrun.training.task import Task
from dlrun.training.torch_state import is_not_repeatable, not_repeatable

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def check_fit(model: nn.Module, data: Dataset, device: Device) -> None:
    """Try the model on two samples: shapes in, shapes out; no random state is touched.

    Raises:
        ConfigError: the model refuses the data or the precision, or its output is not (B, num_outputs).
    """
    spec, state = data.spec, torch.get_rng_state()
    sample = data.train.sample(2)
    model.eval()
    try:
        with torch.no_grad():
            outputs, _ = advance(model, sample, None, spec)
            _check_precision(model, sample, spec, device)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if isinstance(error, ConfigError) or out_of_memory(error):
            raise
        if is_not_repeatable(error):
            raise ConfigError(not_repeatable(error)) from error
        reason = first_line(error)
        raise ConfigError(
            f"model does not fit the data, whose inputs are {spec.kind} of shape {spec.input_shape}: {reason}"
        ) from error
    finally:
        torch.set_rng_state(state)
        model.train()
    steps = sample.shape[1:] if spec.carries_state else ()  # each of them has its scores
    expected = (len(sample), *steps, spec.num_outputs)
    if not isinstance(outputs, Tensor) or outputs.shape != expected:
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ConfigError(
            f"model gives {shape} for {len(sample)} samples, but must give raw scores of shape {expected} "
            f"for this {spec.task} problem"
        )
    norms = [m for m in model.modules() if isinstance(m, _BATCH_NORMS)]
    if norms and len(data.train) < 2:
        raise ConfigError("model has batch norm, which needs at least 2 training samples")


def check_parts(model: nn.Module, data: Dataset, device: Device) -> None:
    """As `check_fit`, for a model of which each rank has a part.

    Raises:
        ConfigError: the model refuses the data or the precision, or reads weights where it has only a part of them.
    """
    try:
        check_fit(model, data, device)
    except ConfigError as error:
        if "DTensor" not in str(error):
            raise
        raise ConfigError(
            "trainer.strategy is fsdp, but the model reads weights of one of its blocks outside of that block, where "
            "each device has a part of them: take trainer.strategy=ddp"
        ) from error


def check_batch_norm(model: nn.Module, batches: Feed, spec: Spec, devices: int) -> None:
    """Refuse batches of which a device has one number for each channel of a batch norm of its own.

    Raises:
        ConfigError: there are such.
    """
    norms = [m for m in model.modules() if type(m) in _BATCH_NORMS]
    if devices == 1 or not norms or (least := min(batches.sizes(0))) >= 2 * devices:
        return
    numbers: list[int] = []
    hooks = [
        norm.register_forward_pre_hook(
            lambda _, inputs: numbers.append(inputs[0].numel() // inputs[0].shape[1])
        )
        for norm in norms
    ]
    model.eval()
    with torch.no_grad():
        advance(model, batches.split.sample(1), None, spec)
    model.train()
    for hook in hooks:
        hook.remove()
    if 1 in numbers:
        raise ConfigError(
            f"trainer.devices is {devices}, and a batch has {least} samples: batch norm finds no spread in the one "
            "of a device; set trainer.sync_batch_norm=true, another trainer.batch_size or trainer.drop_last=true"
        )


def check_loss(model: nn.Module, batches: Feed, task: Task, spec: Spec) -> None:
    """Try a loss of the user's own on one batch; no random state is touched.

    Raises:
        ConfigError: it cannot be computed, is not one finite number, or has no gradient.
    """
    if not isinstance(task.criterion, UsersLoss):
        return
    inputs, targets = next(batches.epoch(0))
    state = torch.get_rng_state()
    model.eval()
    try:
        with torch.no_grad():
            outputs, _ = advance(model, inputs, None, spec)
        task.criterion.try_out(*task.fit_for_loss(outputs, targets))
    finally:
        torch.set_rng_state(state)
        model.train()


def _check_precision(model: nn.Module, sample: Tensor, spec: Spec, device: Device) -> None:
    """Whether the device has the model's operations in a mixed precision; processors differ in that."""
    try:
        with torch.enable_grad():  # some operations lack only what learning needs
            with device.autocast():
                outputs, _ = advance(model, sample, None, spec)
            # On a GPU recurrent layers have gradients in training mode alone, and batch norm would learn there.
            if device.is_mixed and device.torch_device.type == "cpu" and not has_shards(model):
                _go_back(model, outputs)
    except (RuntimeError, NotImplementedError) as error:
        if out_of_memory(error):
            raise
        raise ConfigError(
            f"trainer.precision is {device.precision}, in which {device.torch_device.type} cannot compute this model "
            f"here ({first_line(error).partition('. ')[0]}); use fp32, or another accelerator"
        ) from error


def _go_back(model: nn.Module, outputs: Any) -> None:
    """Compute gradients that nobody keeps."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if weights and isinstance(outputs, Tensor) and outputs.requires_grad:
        torch.autograd.grad(outputs.float().sum(), weights, allow_unused=True)


def check_monitor(monitor: str, mode: str, task: Task, data: Dataset) -> None:
    """Refuse a monitored metric that no evaluation will log, or of which nobody knows what is better."""
    parts = ("train", "val") if len(data.val) else ("train",)
    logged = [name for part in parts for name in task.declared.logged(part)]
    if monitor not in logged:
        raise ConfigError(
            f"trainer.monitor is {monitor}, which this run does not log{task.declared.remedy(monitor, logged)}"
        )
    if mode == "auto" and task.declared.direction(monitor) is None:
        raise ConfigError(
            f"trainer.monitor is {monitor}, of which no task says whether lower or higher is better: "
            "set trainer.mode=min or trainer.mode=max"
        )


def check_batches(settings: TrainerSettings, data: Dataset, devices: int) -> int:
    """The samples of a batch, of a text the streams.

    Raises:
        ConfigError: there are no such batches of these data, or too few samples in one for its parts or the devices.
    """
    drawn = data.train.resampling
    samples = len(data.train) if drawn is None else drawn.size
    size = settings.samples_per_step(samples)
    if settings.drop_last and size > samples:
        raise ConfigError(
            f"trainer.batch_size is {size}, but there are only {samples} training samples, and trainer.drop_last "
            "leaves out what does not fill a batch; lower the batch size or set trainer.drop_last=false"
        )
    if data.spec.carries_state:
        _check_streams(settings)
    at_most = min(size, samples)
    if settings.accumulate > at_most:
        raise ConfigError(
            f"trainer.accumulate is {settings.accumulate}, but a batch has only {at_most} samples to take in parts: "
            "set it to that or less, or trainer.batch_size higher"
        )
    if devices > at_most:
        rows = ("stream" if data.spec.carries_state else "sample") + "s" * (at_most > 1)
        remedy = ", or trainer.batch_size higher" if size < samples else ""
        raise ConfigError(
            f"trainer.devices is {devices}, but a batch has only {at_most} {rows} to share: set it to that or "
            f"less{remedy}"
        )
    return size


def _check_streams(settings: TrainerSettings) -> None:
    """Refuse batches that a text, read in streams side by side, cannot be cut into."""
    if settings.batch_size == "full":
        raise ConfigError(
            "trainer.batch_size is full, but of a text it is the number of streams read side by side; "
            "set a number, as in 32"
        )
    if settings.accumulate > 1:
        raise ConfigError(
            f"trainer.accumulate is {settings.accumulate}, but the streams of a text remember what came before and "
            "cannot be taken in parts; set it to 1"
        )


def require_recurrent(model: nn.Module) -> None:
    """Refuse a model that has no hidden states for `tracking.gradient_flow` to look at.

    Raises:
        ConfigError: there is no recurrent layer.
    """
    if not any(isinstance(layer, nn.RNNBase) for layer in model.modules()):
        raise ConfigError(
            "tracking.gradient_flow is true, but the model has no recurrent layer; "
            "set it to false, or choose model=rnn, lstm or gru"
        )
