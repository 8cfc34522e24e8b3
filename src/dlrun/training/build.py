"""From a checked config to the objects of a run, each fitted to the one before it."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dlrun.config.instantiate import component, split_component
from dlrun.config.metrics import direction
from dlrun.config.settings import DataSettings, GradientSettings, RunConfig, TrainerSettings, WarmUp
from dlrun.data.base import Dataset, Spec
from dlrun.data.feeding import a_few, training_batches
from dlrun.data.images.augment import augment
from dlrun.data.kept import Kept, refusal
from dlrun.data.loaders import Feed
from dlrun.data.origin import DataChanged
from dlrun.data.prepare import prepare
from dlrun.errors import ConfigError, did_you_mean, first_line
from dlrun.models.dropout import draw_from
from dlrun.training import cuda_graph, device, optim, schedules
from dlrun.training.forward import advance
from dlrun.training.loop import Augmentation, Engine
from dlrun.training.tasks import Task, make_task

_SMALLER_DATA = (
    "take fewer or smaller samples (of images, lower dataset.size or dataset.in_memory=false)"
)
_SMALLER_MODEL = "make it smaller: fewer units or layers, or smaller inputs"


class Loader(Protocol):
    """As `load_data`."""

    def __call__(
        self, config: RunConfig, place: device.Device, kept: Kept | None = None
    ) -> Dataset:
        """The data of a run."""


@dataclass(frozen=True)
class Experiment:
    """Everything that a config describes, built and checked, before the first step."""

    config: RunConfig
    device: device.Device
    data: Dataset
    task: Task
    engine: Engine

    @property
    def about(self) -> dict[str, Any]:
        """What a reader of the weights must know of the data, as plain values."""
        data = self.data
        about = {"spec": asdict(data.spec), "preprocessing": data.preprocessing.to_dict()}
        return about if data.origin is None else {**about, "origin": data.origin.to_dict()}

    @property
    def unchangeable(self) -> dict[str, Any]:
        """The settings that decide which samples a step sees: a resume must find them as they were."""
        # Where files are is not what is in them.
        movable = ("root", "path", "test_path", "augment", "in_memory", "memory_limit", "workers")
        settings = {
            f"dataset.{name}": value
            for name, value in self.config.dataset.items()
            if name not in movable
        }
        names = ("batch_size", "shuffle", "drop_last", "overfit_batches", "fast_dev_run")
        trainer = {f"trainer.{name}": getattr(self.config.trainer, name) for name in names}
        rows = [len(part) for part in (self.data.train, self.data.val, self.data.test)]
        return settings | trainer | {"seed": self.config.seed, "rows of the data": rows}


def load_data(config: RunConfig, place: device.Device, kept: Kept | None = None) -> Dataset:
    """The data that the config describes, split, normalised and on the device.

    Of a run with something `kept`, they are split and normalised as they were.

    Raises:
        ConfigError: they cannot be read, or are not those that the run was trained on.
    """
    data = prepared(config, kept)
    return data.to(place.torch_device, place.dtype, channels_last=config.trainer.channels_last)


def prepared(config: RunConfig, kept: Kept | None = None) -> Dataset:
    """As `load_data`, wherever they are."""
    source, settings = split_component("dataset", config.dataset, DataSettings)
    try:
        with device.enough_memory("dataset", _SMALLER_DATA):
            data = prepare(source(), settings, kept)
    except DataChanged as error:
        assert kept is not None
        raise ConfigError(refusal(error, config.dataset, kept.run)) from error
    return limit(data, config.trainer)


def assemble(
    config: RunConfig, *, load: Loader = load_data, kept: Kept | None = None
) -> Experiment:
    """Build what `config` describes; `load` may remember the data of an earlier run.

    Of a run to be resumed, `kept` is what it has learned from its data.

    Raises:
        ConfigError: any of it does not exist, is out of range or does not fit the rest.
    """
    settings = config.trainer
    _, data_settings = split_component("dataset", config.dataset, DataSettings)
    build_model = component("model", config.model, given=("spec",))
    build_optimizer, rules = split_component(
        "optimizer", config.optimizer, GradientSettings, given=("groups",)
    )
    schedule, warm_up = split_component("schedule", config.schedule, WarmUp, given=schedules.GIVEN)

    place = device.choose(settings.accelerator, settings.precision)
    with device.enough_memory("dataset", _SMALLER_DATA):
        data = load(config, place, kept)
    task = make_task(data.spec, config.loss, data.preprocessing)
    check_monitor(settings.monitor, settings.mode, task, data)

    configure_torch(settings)
    seed_everything(config.seed)
    with device.enough_memory("model", _SMALLER_MODEL):
        model = place_model(build_model(data.spec), place, channels_last=settings.channels_last)
        check_fit(model, data, place)
    if config.tracking.gradient_flow:
        _require_recurrent(model)
    generator = torch.Generator(place.torch_device).manual_seed(config.seed)
    draw_from(model, [generator])

    batches = make_batches(settings, data, config.seed)
    total_steps = count_steps(settings, len(batches))
    build = partial(build_optimizer, optim.parameter_groups(model, rules))
    optimizer = build() if settings.compile else optim.without_dynamo(build)
    if settings.compile:
        model.compile()
    multiplier = schedules.bind(
        schedule,
        warmup_steps=warm_up.warmup_steps,
        steps_per_epoch=len(batches),
        total_steps=total_steps,
    )
    scaler = torch.amp.GradScaler(place.torch_device.type, enabled=settings.precision == "fp16")
    engine = Engine(
        model=model,
        averaged=average(model, settings.ema_decay),
        task=task,
        data=data,
        batches=batches,
        descent=optim.Descent(optimizer, multiplier, rules, scaler),
        total_steps=total_steps,
        device=place,
        settings=settings,
        saving=config.checkpoint,
        augmentation=make_augmentation(data_settings, data.spec),
        generator=generator,
    )
    engine.captured = cuda_graph.choose(engine)
    return Experiment(config, place, data, task, engine)


def place_model(model: Any, place: device.Device, *, channels_last: bool) -> nn.Module:
    """`model` on the device, in the precision and memory layout of the run."""
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"model._target_ made a {type(model).__name__}, but must make a torch.nn.Module"
        )
    model = model.to(place.torch_device, place.dtype)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def seed_everything(seed: int) -> None:
    """Set every random state that a model, the user's own too, may draw from."""
    random.seed(seed)
    np.random.seed(seed)
    # As torch.manual_seed, which takes down a stack trace for each kind of device that is not there.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def configure_torch(settings: TrainerSettings) -> None:
    """The settings that torch keeps for the whole process."""
    if settings.num_threads is not None:
        torch.set_num_threads(settings.num_threads)
    # Only when it changes: setting it imports torch's compiler, which takes seconds.
    if settings.deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(settings.deterministic)
    torch.backends.cudnn.benchmark = not settings.deterministic


def limit(data: Dataset, settings: TrainerSettings) -> Dataset:
    """Cut the data down for the debug modes: one batch of everything, or a few batches to overfit."""
    step = settings.samples_per_step(len(data.train))
    if data.spec.task == "language":
        # A training batch is so many streams, and samples are characters.
        step *= data.spec.input_shape[0]
    if settings.overfit_batches:
        data = data.overfit(settings.overfit_batches * step)
    if settings.fast_dev_run:
        data = data.limited(train=step, evaluation=settings.eval_batch_size)
    return data


def make_batches(settings: TrainerSettings, data: Dataset, seed: int) -> Feed:
    """The training batches, one whole-batch read a step however many parts it is then taken in."""
    samples = len(data.train)
    size = settings.samples_per_step(samples)
    if settings.drop_last and size > samples:
        raise ConfigError(
            f"trainer.batch_size is {size}, but there are only {samples} training samples, and trainer.drop_last "
            "leaves out what does not fill a batch; lower the batch size or set trainer.drop_last=false"
        )
    if data.spec.task == "language":
        check_streams(settings)
    if settings.accumulate > (at_most := min(size, len(data.train))):
        raise ConfigError(
            f"trainer.accumulate is {settings.accumulate}, but a batch has only {at_most} samples to take in parts: "
            "set it to that or less, or trainer.batch_size higher"
        )
    shuffle = settings.shuffle and not settings.overfit_batches
    return training_batches(data, size, seed=seed, shuffle=shuffle, drop_last=settings.drop_last)


def check_streams(settings: TrainerSettings) -> None:
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


def count_steps(settings: TrainerSettings, steps_per_epoch: int) -> int:
    """Steps until the run ends, by whichever limit comes first."""
    if settings.fast_dev_run:
        return steps_per_epoch
    limits = [] if settings.max_steps is None else [settings.max_steps]
    if settings.max_epochs is not None:
        limits.append(settings.max_epochs * steps_per_epoch)
    return min(limits)


def check_fit(model: nn.Module, data: Dataset, place: device.Device) -> None:
    """Try the model on two samples: shapes in, shapes out; no random state is touched.

    Raises:
        ConfigError: the model refuses the data or the precision, or its output is not (B, num_outputs).
    """
    spec, state = data.spec, torch.get_rng_state()
    sample = a_few(data.train, 2, spec)
    model.eval()
    try:
        with torch.no_grad():
            outputs, _ = advance(model, sample, None, spec)
            _check_precision(model, sample, spec, place)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if isinstance(error, ConfigError) or device.out_of_memory(error):
            raise
        reason = first_line(error)
        raise ConfigError(
            f"model does not fit the data, whose inputs are {spec.kind} of shape {spec.input_shape}: {reason}"
        ) from error
    finally:
        torch.set_rng_state(state)
        model.train()
    steps = sample.shape[1:] if spec.task == "language" else ()  # each of them has its scores
    expected = (len(sample), *steps, spec.num_outputs)
    if not isinstance(outputs, Tensor) or outputs.shape != expected:
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ConfigError(
            f"model gives {shape} for {len(sample)} samples, but must give raw scores of shape {expected} "
            f"for this {spec.task} problem"
        )
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if norms and len(data.train) < 2:
        raise ConfigError("model has batch norm, which needs at least 2 training samples")


def _check_precision(model: nn.Module, sample: Tensor, spec: Spec, place: device.Device) -> None:
    """Whether the device has the model's operations in a mixed precision; processors differ in that."""
    try:
        with torch.enable_grad(), place.autocast():  # some operations lack only what learning needs
            advance(model, sample, None, spec)
    except (RuntimeError, NotImplementedError) as error:
        if device.out_of_memory(error):
            raise
        raise ConfigError(
            f"trainer.precision is {place.precision}, in which {place.torch_device.type} cannot compute this model "
            f"here ({first_line(error).partition('. ')[0]}); use fp32, or another accelerator"
        ) from error


def check_monitor(monitor: str, mode: str, task: Task, data: Dataset) -> None:
    """Refuse a monitored metric that no evaluation will log, or of which nobody knows what is better."""
    parts = ("train", "val") if len(data.val) else ("train",)
    logged = [f"{part}/{name}" for part in parts for name in task.metric_names]
    if monitor not in logged:
        raise ConfigError(
            f"trainer.monitor is {monitor}, which this run does not log{did_you_mean(monitor, logged)}"
        )
    if mode == "auto" and direction(monitor) is None:
        raise ConfigError(
            f"trainer.monitor is {monitor}, of which no task says whether lower or higher is better: "
            "set trainer.mode=min or trainer.mode=max"
        )


def make_augmentation(settings: DataSettings, spec: Spec) -> Augmentation | None:
    """The batch operation for `dataset.augment`, or None where all of it is off."""
    how = settings.augment
    if how is None or not any(vars(how).values()):
        return None
    if spec.kind != "image":
        raise ConfigError(
            f"dataset.augment is for images, but the inputs are {spec.kind}; set it to null"
        )
    if how.cutout > min(spec.input_shape[1:]) or how.shift >= min(spec.input_shape[1:]):
        height, width = spec.input_shape[1:]
        raise ConfigError(
            f"dataset.augment has shift {how.shift} and cutout {how.cutout}, too much for images of "
            f"{height}x{width} pixels; lower them"
        )
    return partial(augment, how=how)


def average(model: nn.Module, decay: float | None) -> AveragedModel | None:
    """A copy of `model` that follows its weights as an exponential moving average."""
    if decay is None:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))


def _require_recurrent(model: nn.Module) -> None:
    """Refuse a model that has no hidden states for `tracking.gradient_flow` to look at.

    Raises:
        ConfigError: there is no recurrent layer.
    """
    if not any(isinstance(layer, nn.RNNBase) for layer in model.modules()):
        raise ConfigError(
            "tracking.gradient_flow is true, but the model has no recurrent layer; "
            "set it to false, or choose model=rnn, lstm or gru"
        )
