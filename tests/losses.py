"""Losses as their options make them, for tests."""

from typing import Any

import yaml

from dlrun.config.search_path import packaged_configs
from dlrun.training.losses.base import Loss
from dlrun.training.losses.choice import loss_of


def loss(option: str = "auto", **settings: Any) -> Loss:
    """The loss of an option with other `settings`."""
    node = yaml.safe_load((packaged_configs() / "loss" / f"{option}.yaml").read_text())
    return loss_of({**node, **settings})
