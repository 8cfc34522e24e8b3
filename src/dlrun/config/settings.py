"""The typed settings of a run, checked before torch is loaded. Defaults live in the YAML alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from dlrun.config.chosen_metrics import Choice, check_choices
from dlrun.config.moved import with_current_targets
from dlrun.config.schema import (
    Count,
    Fraction,
    Most,
    NonNegative,
    NonNegativeInt,
    Positive,
    Probability,
    check,
    check_names,
    check_settings,
)
from dlrun.config.search_path import COMPONENTS
from dlrun.errors import ConfigError, command

_PRETRAINED = "dlrun.models.torchvision_model.TorchvisionModel"
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]


@dataclass(frozen=True)
class Augment:
    """Random changes to a batch of training samples; zero, false or null turns each one off."""

    shift: NonNegativeInt  # pixels: pad by this much, then crop back at a random place
    shift_padding: Literal["zero", "reflect"]  # what moves in
    flip: bool | Literal["alternating"]  # left-right, half of the images
    rotation: Annotated[float, Ge(0), Le(180)]  # degrees, at most, either way
    noise: NonNegative  # standard deviation, in units of the normalised input
    cutout: NonNegativeInt  # side of the square set to the mean, pixels
    vertical_flip: bool | Literal["alternating"]  # upside down, half of the images
    crop: Annotated[float, Ge(0), Lt(1)]  # share of the area that a random crop leaves out, at most
    colour: Annotated[float, Ge(0), Le(1)]  # change of brightness, contrast, saturation, at most
    erase: Probability  # of a random rectangle set to the mean
    policy: Literal["rand_augment", "trivial_augment"] | None  # of torchvision
    mixup: NonNegative  # alpha: each image is blended with another, and so are their losses
    cutmix: NonNegative  # alpha: a rectangle of each image comes from another
    word_dropout: Annotated[float, Ge(0), Lt(1)]  # of texts: probability of a word to be unknown


@dataclass(frozen=True)
class DataSettings:
    """What every data set shares: how it is split, normalised and augmented."""

    val_fraction: Probability  # of the training part
    test_fraction: (
        Fraction | None
    )  # of all rows; null where the data set has a test part of its own
    split_seed: Seed
    normalize: Literal["standard", "none"]
    augment: Augment | None
    balance: Literal["none", "oversample", "undersample", "latent"] = "none"  # in training alone
    folds: Annotated[int, Ge(2)] | None = (
        None  # into which the rows are cut, one of which is held out
    )
    fold: NonNegativeInt = 0


OF_PATTERNS = ("model.freeze", "optimizer.lr_multipliers")  # one value, as a mapping too


@dataclass(frozen=True)
class ModelSettings:
    """What every model has: parameters that are not trained, by patterns of their names.

    Attributes:
        freeze: the patterns; or for how many epochs each holds, null for all.
    """

    freeze: list[str] | dict[str, Count | None] | None


@dataclass(frozen=True)
class LookaheadSettings:
    """Slow weights that follow those of the optimizer, and take their place every few steps."""

    every_steps: Count
    share: Fraction  # of the way that the slow weights go towards the others, at the end
    power: NonNegative  # how the rest of that way grows until then; 0: it is always the same


@dataclass(frozen=True)
class GradientSettings:
    """What is done to gradients, learning rates and weights whatever the optimizer."""

    weight_decay: NonNegative
    decay_biases_and_norms: bool
    l1: NonNegative
    clip_norm: Positive | None
    clip_value: Positive | None
    lr_multipliers: dict[str, Positive] | None  # by patterns of parameters
    lookahead: LookaheadSettings | None = None


@dataclass(frozen=True)
class WarmUp:
    """A linear rise to the base learning rate before any schedule."""

    warmup_steps: NonNegativeInt


@dataclass(frozen=True)
class LossSettings:
    """What every loss shares."""

    reduction: Literal["mean", "sum"]  # over the samples of a batch


@dataclass(frozen=True)
class EarlyStopping:
    patience: Count | None  # evaluations without improvement; null never stops early
    min_delta: NonNegative
    restore_best: bool


@dataclass(frozen=True)
class TrainerSettings:
    max_epochs: Count | None
    max_steps: Count | None
    batch_size: Count | Literal["full"]
    eval_batch_size: Count
    shuffle: bool
    drop_last: bool
    accumulate: Count
    monitor: str
    mode: Literal["auto", "min", "max"]
    early_stopping: EarlyStopping
    eval_every_epochs: Count
    eval_every_steps: Count | None
    log_every_steps: Count
    accelerator: Literal["auto", "cpu", "cuda", "mps"]
    devices: Annotated[int, Ge(1), Most(1024)] | Literal["all"] | list[NonNegativeInt]
    strategy: Literal["ddp", "fsdp"]
    sync_batch_norm: bool
    precision: Literal["fp32", "tf32", "bf16", "fp16", "fp64"]
    channels_last: bool
    compile: bool | Literal["max-autotune"]
    cuda_graph: bool | Literal["auto"]
    ema_decay: Annotated[float, Gt(0), Lt(1)] | None
    num_threads: Annotated[int, Ge(1), Most(1024)] | None
    deterministic: bool
    fast_dev_run: bool
    overfit_batches: NonNegativeInt
    profile: bool

    def samples_per_step(self, samples: int) -> int:
        """The batch size as a number, of `samples` in an epoch."""
        return samples if self.batch_size == "full" else self.batch_size


@dataclass(frozen=True)
class CheckpointSettings:
    every_seconds: NonNegative
    every_steps: Count | None


@dataclass(frozen=True)
class TrackingSettings:
    tensorboard: bool
    graph: bool
    images: bool
    histograms: bool
    gradient_flow: bool


@dataclass(frozen=True)
class RunConfig:
    """One run, complete: the components still as plain nodes, everything else typed."""

    name: str
    seed: Seed
    dataset: dict[str, Any]
    model: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    loss: dict[str, Any]
    metrics: tuple[Choice, ...]  # beside the usual ones
    trainer: TrainerSettings
    init_from: str | None  # another run, whose weights the model begins with
    checkpoint: CheckpointSettings
    tracking: TrackingSettings


def parse(plain: Mapping[str, Any]) -> RunConfig:
    """The typed config of a run from its plain, resolved form.

    Raises:
        ConfigError: the first key that is unknown, missing or ill-typed, or settings at odds.
    """
    names = [field.name for field in fields(RunConfig)]
    check_names("", plain, required=names, allowed=names)
    plain = with_current_targets(plain)
    config = RunConfig(
        name=check("name", plain["name"], str),
        seed=check("seed", plain["seed"], Seed),
        **{group: _component_node(group, plain[group]) for group in COMPONENTS},
        metrics=check_choices(plain["metrics"]),
        trainer=check_settings("trainer", plain["trainer"], TrainerSettings),
        init_from=check("init_from", plain["init_from"], str | None),
        checkpoint=check_settings("checkpoint", plain["checkpoint"], CheckpointSettings),
        tracking=check_settings("tracking", plain["tracking"], TrackingSettings),
    )
    _check_together(config)
    return config


def without_pretrained(model: Mapping[str, Any]) -> dict[str, Any]:
    """The node of a model whose weights are to come from a checkpoint, so that none need be fetched."""
    fetched = {"weights": None} if model.get("_target_") == _PRETRAINED else {}
    return {**model, **fetched}


def _component_node(group: str, node: Any) -> dict[str, Any]:
    if not isinstance(node, Mapping):
        raise ConfigError(
            f"{group} is {node}, but must be an option of the group {group}, see `{command('list', group)}`"
        )
    return dict(node)


def check_name(name: str) -> None:
    """Refuse a name of a run that no folder can have.

    Raises:
        ConfigError: what is wrong with it.
    """
    if not name.strip() or "/" in name or name in (".", "..") or not name.isprintable():
        raise ConfigError(
            f"name is {name}, but must be text without slashes and control characters: it names a folder"
        )
    if len(name.encode(errors="surrogateescape")) > 150:  # of 255 that a file system takes
        raise ConfigError(f"name has {len(name)} letters, but must be shorter: it names a folder")


def _check_together(config: RunConfig) -> None:
    """The rules that span several keys, or that no type can say."""
    check_name(config.name)
    trainer = config.trainer
    if trainer.max_epochs is None and trainer.max_steps is None:
        raise ConfigError(
            "trainer.max_epochs and trainer.max_steps are both null: set one, or nothing ends the run"
        )
    _check_devices(trainer.devices, trainer.accelerator)
    if config.dataset.get("val_fraction") == 0 and trainer.monitor.startswith("val/"):
        raise ConfigError(
            f"trainer.monitor is {trainer.monitor}, but dataset.val_fraction is 0: there is no validation part; "
            "set trainer.monitor=train/loss or a val_fraction above 0"
        )
    if trainer.mode == "auto" and "/" not in trainer.monitor:
        raise ConfigError(
            f"trainer.monitor is {trainer.monitor}, but must name a logged metric, as in val/loss"
        )
    if trainer.strategy == "fsdp":
        _check_sharded(config)


def _check_sharded(config: RunConfig) -> None:
    """Refuse what needs whole weights in one place, or what torch cannot do with parts of them."""
    trainer, optimizer = config.trainer, str(config.optimizer.get("_target_"))
    remedies = {
        f"trainer.compile={str(trainer.compile).lower()}": (bool(trainer.compile), "false"),
        "trainer.cuda_graph=true": (trainer.cuda_graph is True, "auto"),
        "trainer.channels_last=true": (trainer.channels_last, "false"),
        "trainer.precision=fp16": (trainer.precision == "fp16", "bf16"),
        "tracking.gradient_flow=true": (config.tracking.gradient_flow, "false"),
        "dataset.balance=latent": (config.dataset.get("balance") == "latent", "none"),
        "optimizer=muon": (optimizer.endswith(".optim.muon"), "adamw"),
        "optimizer=schedule_free": (optimizer.endswith(".optim.schedule_free"), "adamw"),
        "optimizer.lookahead": (config.optimizer.get("lookahead") is not None, "null"),
    }
    for setting, (chosen, remedy) in remedies.items():
        if chosen:
            key = setting.partition("=")[0]
            raise ConfigError(
                f"trainer.strategy is fsdp, which does not go with {setting}: take {key}={remedy}, or "
                "trainer.strategy=ddp"
            )


def _check_devices(devices: int | str | list[int], accelerator: str) -> None:
    """What can be said of devices before it is known which ones there are."""
    if isinstance(devices, list):
        text = f"trainer.devices is [{','.join(map(str, devices))}]"
        if not devices:
            raise ConfigError(f"{text}, but must name a GPU, as in [0], or be a number or all")
        if twice := [one for one in devices if devices.count(one) > 1]:
            raise ConfigError(f"{text}, which names GPU {twice[0]} twice; name each once")
        if accelerator in ("cpu", "mps"):
            raise ConfigError(
                f"{text}, which names GPUs, but trainer.accelerator is {accelerator}: give a number, as in 1"
            )
