"""Which runs may be trained together: those whose configs differ only in numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# Of an optimizer: the numbers whose absence is itself a number (an infinite limit).
_LIMITS = ("clip_norm", "clip_value")
_SEEDS = ("seed", "split_seed")  # of a data set
_OWN_MODELS = "dlrun.models."


def shape_of(plain: Mapping[str, Any]) -> str:
    """A text that is equal for configs of runs that can be trained together.

    Left out of it is what may differ: the name, the seed, the schedule, the numbers of the optimizer,
    label smoothing, and dropout rates above zero.
    """
    rest = {k: v for k, v in plain.items() if k not in ("name", "seed", "schedule")}
    rest["optimizer"] = {k: _kind_of(k, v) for k, v in plain["optimizer"].items()}
    rest["loss"] = {k: v for k, v in plain["loss"].items() if k != "label_smoothing"}
    rest["dataset"] = {k: v for k, v in plain["dataset"].items() if k not in _SEEDS}
    if str(plain["model"].get("_target_")).startswith(_OWN_MODELS):
        rest["model"] = {k: _without_rate(k, v) for k, v in plain["model"].items()}
    return json.dumps(rest, sort_keys=True)


def why_alone(plain: Mapping[str, Any]) -> str | None:
    """The setting that keeps a run from being trained with others, or None."""
    trainer = plain["trainer"]
    alone = {
        "compile": trainer["compile"],
        "cuda_graph=true": trainer["cuda_graph"] is True,
        "precision=fp16": trainer["precision"] == "fp16",
        "ema_decay": trainer["ema_decay"] is not None,
        "profile": trainer["profile"],
    }
    return next((f"trainer.{name}" for name, asked in alone.items() if asked), None)


def _kind_of(key: str, value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if is_number or key in _LIMITS else value


def _without_rate(key: str, value: Any) -> Any:
    """Of a dropout rate only whether there is one: at zero the layer is left out."""
    if "dropout" not in key:
        return value
    return [bool(rate) for rate in value] if isinstance(value, list) else bool(value)
