"""Which runs may be trained as one: by their configs and by their sizes.

Configs that differ only in numbers have one shape (`shape_of`); the engines made from them fit into one stack where
their layout is the same.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from typing import Any

from dlrun.data.loaders import Batches
from dlrun.stacked.rules import has_rule
from dlrun.training.loop import Engine

# Of a config.
_LIMITS = ("clip_norm", "clip_value")  # of an optimizer: their absence is itself a number, infinity
_SEEDS = ("seed", "split_seed")  # of a data set
_OWN_MODELS = "dlrun.models."


def why_alone(plain: Mapping[str, Any]) -> str | None:
    """The setting that keeps a run from being trained with others, or None."""
    trainer, freeze = plain["trainer"], plain["model"].get("freeze")
    if isinstance(freeze, Mapping) and any(epochs is not None for epochs in freeze.values()):
        return "model.freeze for some epochs"
    if plain["optimizer"].get("lookahead") is not None:
        return "optimizer.lookahead"
    alone = {
        "devices": trainer["devices"] != 1,
        "compile": trainer["compile"],
        "cuda_graph=true": trainer["cuda_graph"] is True,
        "precision=fp16": trainer["precision"] == "fp16",
        "ema_decay": trainer["ema_decay"] is not None,
        "profile": trainer["profile"],
    }
    return next((f"trainer.{name}" for name, asked in alone.items() if asked), None)


def shape_of(plain: Mapping[str, Any]) -> str:
    """A text that is equal for configs of runs that can be trained together.

    Left out of it is what may differ: the name, the seed, the weights to begin with, the schedule, the numbers of
    the optimizer and of the loss, and dropout rates above zero.
    """
    rest = {k: v for k, v in plain.items() if k not in ("name", "seed", "schedule", "init_from")}
    rest["optimizer"] = {k: _kind_of(k, v) for k, v in plain["optimizer"].items()}
    rest["loss"] = {k: _kind_of_loss(k, v) for k, v in plain["loss"].items()}
    rest["dataset"] = {k: v for k, v in plain["dataset"].items() if k not in _SEEDS}
    if str(plain["model"].get("_target_")).startswith(_OWN_MODELS):
        rest["model"] = {k: _without_rate(k, v) for k, v in plain["model"].items()}
    return json.dumps(rest, sort_keys=True)


def no_rule(engine: Engine) -> str | None:
    """What keeps runs with this one's batches, loss or optimizer from being trained as one, or None."""
    if not isinstance(engine.batches, Batches):
        return engine.batches.not_stacked
    if reason := engine.task.criterion.not_stacked:
        return reason
    if engine.balance is not None:
        return "each model draws the rows of its epochs"
    if getattr(engine.model, "adds_loss", False):
        return "the model adds a loss of its own"
    if has_rule(engine.descent.optimizer):
        return None
    name = type(engine.descent.optimizer).__name__
    return f"there is no rule for {name}, set up as it is, on many runs at once"


def layout(engine: Engine) -> Hashable:
    """Equal for engines that fit into one stack: in sizes, and in how far they are."""
    data, weights = engine.data, engine.model.state_dict()
    assert isinstance(engine.batches, Batches)
    return (
        engine.step,
        engine.total_steps,
        tuple(engine.pending.sizes),
        tuple(map(len, engine.pending.outputs)),  # each of one step, or of several
        (len(data.train), len(data.val), data.spec),
        engine.batches.rows,  # of an epoch, which classes that are balanced decide
        tuple((name, tensor.shape, tensor.dtype) for name, tensor in weights.items()),
    )


def _kind_of(key: str, value: Any) -> Any:
    if key == "lr_multipliers" and isinstance(value, Mapping):
        return list(value)  # by which patterns: the multipliers are numbers
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if is_number or key in _LIMITS else value


def _kind_of_loss(key: str, value: Any) -> Any:
    """Weights of classes are numbers, however they are written; not so whether there are any."""
    return (
        "numbers" if key == "class_weights" and not isinstance(value, str) else _kind_of(key, value)
    )


def _without_rate(key: str, value: Any) -> Any:
    """Of a dropout rate only whether there is one: at zero the layer is left out."""
    if "dropout" not in key:
        return value
    return [bool(rate) for rate in value] if isinstance(value, list) else bool(value)
