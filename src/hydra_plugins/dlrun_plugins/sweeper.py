"""Hydra's door to dlrun's sweeps. Imported at the start of every Hydra program: nothing heavy here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class DlrunSweeper(Sweeper):
    """Hands all that Hydra knows to the driver."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: Sequence[str]) -> Any:
        """Run the sweep; ends the process's Hydra run with the sweep's exit code."""
        from dlrun.sweep.driver import run

        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(self.config)  # what ${hydra:…} speaks of
        try:
            code = run(
                list(arguments),
                config=self.config,
                hydra_context=self.hydra_context,
                task_function=self.task_function,
            )
        finally:
            HydraConfig.instance().cfg = before
        raise SystemExit(code)
