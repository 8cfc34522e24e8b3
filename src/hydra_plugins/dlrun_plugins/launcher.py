"""Launchers that dlrun's sweeper knows by name. Imported at the start of every Hydra program: nothing heavy here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class _OfOurSweeper(Launcher):
    """Tells dlrun's sweeper how to train trials; it launches nothing itself."""

    name: str

    def __init__(self, **settings: Any) -> None:
        pass

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        pass

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Only another sweeper would call this.

        Raises:
            ConfigError: always.
        """
        from dlrun.errors import ConfigError

        raise ConfigError(
            f"hydra/launcher is {self.name}, which only dlrun's own sweeper can use: leave out hydra/sweeper=…"
        )


class StackedLauncher(_OfOurSweeper):
    """Trials that differ only in numbers are trained as one, in this process."""

    name = "stacked"


class RayLauncher(_OfOurSweeper):
    """Each trial is a task of Ray's, on this machine or on a cluster."""

    name = "ray"
