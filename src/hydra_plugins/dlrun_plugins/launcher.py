"""The launcher that stacks trials, by name. Imported at the start of every Hydra program: nothing heavy here."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StackedLauncher(Launcher):
    """Tells dlrun's sweeper to train trials as one, in its own process; it launches nothing itself."""

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
            "hydra/launcher is stacked, which only dlrun's own sweeper can use: leave out hydra/sweeper=…"
        )
