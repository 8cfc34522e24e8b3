"""From a checked config to the objects of a run, each fitted to the one before it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn

from dlrun.config.instantiate import Component, split_component
from dlrun.config.moved import current
from dlrun.config.settings import (
    DataSettings,
    GradientSettings,
    ModelSettings,
    RunConfig,
    TrainerSettings,
    WarmUp,
    without_pretrained,
)
from dlrun.data.base import Dataset
from dlrun.data.changed_data import DataChanged, Kept, refusal
from dlrun.data.loaders import Feed, Split
from dlrun.data.prepare import prepare
from dlrun.data.share import WHOLE, Share
from dlrun.errors import ConfigError
from dlrun.models.dropout import use_generators
from dlrun.models.layers import Fitted
from dlrun.system.allocator import keep_freed_memory
from dlrun.system.torch_internals import without_cards, without_dynamo
from dlrun.training import cuda_graph, optim, schedules, torch_state
from dlrun.training.augmentation import make_augmentation, make_mixing
from dlrun.training.averaging import Averaged, exponential_average, schedule_free_average
from dlrun.training.balance import latent_balance, with_balance
from dlrun.training.checks import (
    check_batch_norm,
    check_batches,
    check_fit,
    check_loss,
    check_monitor,
    check_parts,
    require_recurrent,
)
from dlrun.training.compilation import compile_model
from dlrun.training.device import Device, enough_memory, index_of
from dlrun.training.device import choose as choose_device
from dlrun.training.freezing import Freezing
from dlrun.training.initial_weights import initialise
from dlrun.training.lookahead import make_lookahead
from dlrun.training.loop import Engine
from dlrun.training.losses.base import Loss
from dlrun.training.losses.choice import loss_of
from dlrun.training.metrics.chosen import ChosenMetrics, OwnMetric, own_metrics
from dlrun.training.random_numbers import draw_apart, seed_everything
from dlrun.training.ranks import ALONE, Ranks
from dlrun.training.replica import Replica
from dlrun.training.sharding import shard
from dlrun.training.sync_batch_norm import synchronise
from dlrun.training.task import Task
from dlrun.training.tasks import learned_spec, make_task, suited

_SMALLER_DATA = (
    "take fewer or smaller samples (of images, lower dataset.size or dataset.in_memory=false)"
)
_SMALLER_MODEL = "make it smaller: fewer units or layers, or smaller inputs"


class Loader(Protocol):
    """As `load_data`."""

    def __call__(self, config: RunConfig, device: Device, kept: Kept | None = None, /) -> Dataset:
        """The data of a run."""


@dataclass(frozen=True)
class Experiment:
    """Everything that a config describes, built and checked, before the first step."""

    config: RunConfig
    device: Device
    data: Dataset
    task: Task
    engine: Engine
    begun_with: str | None = None  # which weights of another run, in a line

    @property
    def about(self) -> dict[str, Any]:
        """What a reader of the weights must know of the data, as plain values."""
        data = self.data
        about = {"spec": asdict(data.spec), "preprocessing": data.preprocessing.to_dict()}
        return about if data.origin is None else {**about, "origin": data.origin.to_dict()}

    @property
    def remarks(self) -> list[str]:
        """What a log should say of how weights are trained, where that is not as usual."""
        lines = (self.engine.freezing.describe(), self.engine.descent.describe())
        return [line for line in lines if line]

    @property
    def unchangeable(self) -> dict[str, Any]:
        """The settings that decide which samples a step sees: a resume must find them as they were."""
        # Where files are is not what is in them.
        places = ("root", "path", "test_path", "image_root")
        movable = (*places, "augment", "in_memory", "memory_limit", "workers")
        settings = {
            f"dataset.{name}": value
            for name, value in self.config.dataset.items()
            if name not in movable
        }
        names = ("batch_size", "shuffle", "drop_last", "overfit_batches", "fast_dev_run")
        trainer = {f"trainer.{name}": getattr(self.config.trainer, name) for name in names}
        rows = [len(part) for part in (self.data.train, self.data.val, self.data.test)]
        sizes = {"loss.quantiles": self.config.loss.get("quantiles"), "rows of the data": rows}
        target = {"loss._target_": current(str(self.config.loss["_target_"]))}
        begun = {"seed": self.config.seed, "init_from": self.config.init_from}
        return settings | trainer | target | begun | sizes


def load_data(config: RunConfig, device: Device, kept: Kept | None = None) -> Dataset:
    """The data that the config describes, split, normalised and on the device.

    Of a run with something `kept`, they are split and normalised as they were.

    Raises:
        ConfigError: they cannot be read, or are not those that the run was trained on.
    """
    data = prepared(config, kept)
    return data.to(device.torch_device, device.dtype, channels_last=config.trainer.channels_last)


def prepared(config: RunConfig, kept: Kept | None = None) -> Dataset:
    """As `load_data`, wherever they are."""
    return limit(raw_and_prepared(config, kept)[1], config.trainer)


def raw_and_prepared(config: RunConfig, kept: Kept | None) -> tuple[Any, Dataset]:
    """The data that the config describes as they were read, and split and normalised.

    Raises:
        ConfigError: as `load_data`.
    """
    source, settings = split_component("dataset", config.dataset, DataSettings)
    try:
        with enough_memory("dataset", _SMALLER_DATA):
            raw = source()
            return raw, prepare(raw, settings, kept)
    except DataChanged as error:
        assert kept is not None
        raise ConfigError(refusal(error, config.dataset, kept.run)) from error


@dataclass(frozen=True)
class _Components:
    """What a config names, not yet built: a misspelt key is found before any data are read."""

    data: DataSettings
    model: Component
    shared: ModelSettings
    optimizer: Component
    rules: GradientSettings
    schedule: Component
    warm_up: WarmUp
    loss: Loss
    own_metrics: tuple[OwnMetric, ...]

    @classmethod
    def of(cls, config: RunConfig, *, resumed: bool) -> _Components:
        node = without_pretrained(config.model) if resumed else config.model
        _, data = split_component("dataset", config.dataset, DataSettings)
        model, shared = split_component("model", node, ModelSettings, given=("spec",))
        optimizer, rules = split_component(
            "optimizer",
            config.optimizer,
            GradientSettings,
            given=("groups",),
            on_demand=("model",),
        )
        schedule, warm_up = split_component(
            "schedule", config.schedule, WarmUp, given=schedules.GIVEN
        )
        loss, own = loss_of(config.loss), own_metrics(config.metrics)
        return cls(data, model, shared, optimizer, rules, schedule, warm_up, loss, own)


def assemble(
    config: RunConfig,
    *,
    load: Loader = load_data,
    kept: Kept | None = None,
    ranks: Ranks = ALONE,
) -> Experiment:
    """Build what `config` describes; `load` may remember the data of an earlier run.

    Of a run to be resumed, `kept` is what it has learned from its data. Of several `ranks` each builds the same
    and waits for the others only to part a model.

    Raises:
        ConfigError: any of it does not exist, is out of range or does not fit the rest.
    """
    settings, parts = config.trainer, _Components.of(config, resumed=kept is not None)
    index = index_of(settings, ranks.local if ranks.size > 1 else None)
    device = choose_device(settings.accelerator, settings.precision, index)
    data, task, chosen = _data(parts, config, device, load, kept)

    torch_state.configure(settings, device, data)
    keep_freed_memory()  # after the data were read: what that took goes back to the system
    seed_everything(config.seed, device.torch_device)
    model = _model(parts, config, data, device, sharded=_is_sharded(settings, ranks))
    # A checkpoint has all weights itself.
    source = config.init_from if kept is None else None
    begun_with = None if source is None else initialise(model, data, source)
    generator = torch.Generator(device.torch_device).manual_seed(config.seed)
    use_generators(model, [generator])  # before any copy is made: layers may count what they draw
    averaged = _for_ranks(model, data, device, settings, ranks)
    freezing = Freezing(model, parts.shared.freeze)

    batches = make_batches(settings, data, config.seed, ranks.share)
    check_loss(model, batches, task, data.spec)
    check_batch_norm(model, batches, data.spec, ranks.size)
    total_steps = count_steps(settings, len(batches))
    descent = _descent(parts, freezing, settings, device, len(batches), total_steps)
    compile_model(model, settings, data)
    replica = None
    if ranks.size > 1:
        mean = task.reduction == "mean"
        replica = Replica(
            ranks, freezing, batches, mean=mean, spec=data.spec, device=device, generator=generator
        )
    engine = Engine(
        model=model,
        freezing=freezing,
        averaged=schedule_free_average(model, settings.ema_decay, descent.optimizer) or averaged,
        task=task,
        chosen=chosen,
        data=data,
        batches=batches,
        descent=descent,
        total_steps=total_steps,
        device=device,
        settings=settings,
        saving=config.checkpoint,
        augmentation=make_augmentation(parts.data.augment, data, config.seed),
        mixing=make_mixing(parts.data.augment, data),
        generator=generator,
        balance=latent_balance(parts.data, model, batches, settings.eval_batch_size),
        ranks=ranks,
        replica=replica,
    )
    freezing.enter(0)  # after the optimizer was given what is to be trained later
    engine.captured = cuda_graph.choose(engine)
    engine.evaluation.repeated = cuda_graph.choose_evaluation(engine)
    if not ranks.first:
        draw_apart(config.seed, ranks, generator)
    return Experiment(config, device, data, task, engine, begun_with)


def _data(
    parts: _Components, config: RunConfig, device: Device, load: Loader, kept: Kept | None
) -> tuple[Dataset, Task, ChosenMetrics]:
    """The data, what is to be learned of them, and how that is measured."""
    settings = config.trainer
    with enough_memory("dataset", _SMALLER_DATA):
        data = load(config, device, kept)
    spec = learned_spec(data.spec, parts.model)
    loss = suited(parts.loss, spec)
    data = replace(data, spec=loss.spec(spec))
    task = make_task(data.spec, loss, data.preprocessing, data.train)
    data = with_balance(task.with_baselines(data), parts.data, settings, loss)
    chosen = ChosenMetrics(config.metrics, parts.own_metrics, task, data.spec, data.preprocessing)
    task.declared = chosen.declared
    check_monitor(settings.monitor, settings.mode, task, data)
    chosen.check(data)
    return data, task, chosen


def _is_sharded(settings: TrainerSettings, ranks: Ranks) -> bool:
    return settings.strategy == "fsdp" and ranks.size > 1


def _for_ranks(
    model: nn.Module, data: Dataset, device: Device, settings: TrainerSettings, ranks: Ranks
) -> Averaged | None:
    """Make the model one of several ranks, where there are some; its exponential average, if that is asked for."""
    if settings.sync_batch_norm and ranks.size > 1:
        synchronise(model, device.torch_device)
    averaged = exponential_average(model, settings.ema_decay)
    if _is_sharded(settings, ranks):
        ranks.ready()
        shard(model, averaged, device.torch_device)
        check_parts(model, data, device)
    return averaged


def _model(
    parts: _Components, config: RunConfig, data: Dataset, device: Device, *, sharded: bool
) -> nn.Module:
    """The model, with weights of its own, checked against the data; one to be `sharded` only after that."""
    with enough_memory("model", _SMALLER_MODEL):
        built = parts.model(data.spec)
        place = replace(device, torch_device=torch.device("cpu")) if sharded else device
        model = place_model(built, place, channels_last=config.trainer.channels_last)
        if not sharded:
            check_fit(model, data, device)
        fit_layers(model, data.train)
    if config.tracking.gradient_flow:
        require_recurrent(model)
    return model


def _descent(
    parts: _Components,
    freezing: Freezing,
    settings: TrainerSettings,
    device: Device,
    steps_per_epoch: int,
    total_steps: int,
) -> optim.Descent:
    """The optimizer of the model's weights with its schedule."""
    model = freezing.model
    groups = optim.parameter_groups(model, parts.rules, begins=freezing.begins)
    asked = {"model": model} if parts.optimizer.wants("model") else {}
    build = partial(parts.optimizer, groups, **asked)
    optimizer = without_cards(build()) if settings.compile else without_dynamo(build)
    multiplier = schedules.bind(
        parts.schedule,
        warmup_steps=parts.warm_up.warmup_steps,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
    )
    scaler = torch.amp.GradScaler(device.torch_device.type, enabled=settings.precision == "fp16")
    lookahead = make_lookahead(parts.rules.lookahead, model, optimizer, total_steps)
    return optim.Descent(optimizer, multiplier, parts.rules, scaler, lookahead)


def place_model(model: Any, device: Device, *, channels_last: bool) -> nn.Module:
    """`model` on the device, in the precision and memory layout of the run."""
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"model._target_ made a {type(model).__name__}, but must make a torch.nn.Module"
        )
    model = model.to(device.torch_device, device.dtype)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def limit(data: Dataset, settings: TrainerSettings) -> Dataset:
    """Cut the data down for the debug modes: one batch of everything, or a few batches to overfit."""
    step = settings.samples_per_step(len(data.train)) * data.train.samples_a_row
    if settings.overfit_batches:
        data = data.overfit(settings.overfit_batches * step)
    if settings.fast_dev_run:
        data = data.limited(train=step, evaluation=settings.eval_batch_size)
    return data


def make_batches(settings: TrainerSettings, data: Dataset, seed: int, share: Share = WHOLE) -> Feed:
    """The training batches, one whole-batch read a step however many parts it is then taken in.

    Args:
        share: what this process takes of each batch.

    Raises:
        ConfigError: as `check_batches`.
    """
    size = check_batches(settings, data, share.count)
    shuffle = settings.shuffle and not settings.overfit_batches
    return data.train.batches(
        size, seed=seed, shuffle=shuffle, drop_last=settings.drop_last, share=share
    )


def count_steps(settings: TrainerSettings, steps_per_epoch: int) -> int:
    """Steps until the run ends, by whichever limit comes first."""
    if settings.fast_dev_run:
        return steps_per_epoch
    limits = [] if settings.max_steps is None else [settings.max_steps]
    if settings.max_epochs is not None:
        limits.append(settings.max_epochs * steps_per_epoch)
    return min(limits)


def fit_layers(model: nn.Module, part: Split) -> None:
    """Let the layers that follow from a training part see its rows, or some of many."""
    for layer in model.modules():
        if isinstance(layer, Fitted):
            rows = torch.arange(0, len(part), -(-len(part) // layer.rows))
            layer.fit(part.rows(rows.to(part.targets.device)).inputs)
