"""A trial as a task of Ray's: what its process does, on whichever node that is."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from dlrun import __version__
from dlrun.config.compose import register_resolvers
from dlrun.config.hydra_internals import begin_to_compose
from dlrun.config.search_path import packaged_configs
from dlrun.errors import ConfigError, RunFailed, first_line
from dlrun.storage.disk import disk_full
from dlrun.storage.sweep_directory import SweepDirectory, config_words, is_sweep


class Outcome(NamedTuple):
    """How a task ended.

    Attributes:
        kind: the trial is over; it was asked to save and did; it is another process's, or not wanted any more; the
            node cannot train trials of this sweep; the disk is full; the sweep itself failed.
        text: of the last three, why.
    """

    kind: Literal["over", "saved", "left", "refused", "full", "failed"]
    text: str = ""


@dataclass(frozen=True)
class Order:
    """What all tasks of a sweep are told: the rest stands in the sweep's folder.

    Attributes:
        variables: of the environment, that the node's own give way to.
        threads: of a trial, unless its config says how many.
    """

    sweep: Path
    working_folder: Path
    variables: dict[str, str]
    threads: int
    gpus: float
    version: str = __version__


def carry_out(order: Order, number: int) -> Outcome:
    """Train the trial, or go on with it, in this process."""
    try:
        _refuse_node(order)
        _prepare(order)
        return _train(order.sweep, number)
    except ConfigError as error:
        return Outcome("refused", str(error))
    except Exception as error:
        if full := disk_full(error):
            return Outcome("full", str(full))
        kind = "" if isinstance(error, RunFailed) else f"{type(error).__name__}: "
        return Outcome("failed", f"{kind}{first_line(error)}")


def _train(folder: Path, number: int) -> Outcome:
    from dlrun.sweep.sweep import is_over, open_sweep
    from dlrun.sweep.trial import Interrupted, run_trial
    from dlrun.training.device import DeviceLost

    sweep = open_sweep(folder)
    try:
        run_trial(sweep, number)
    except Interrupted:
        return Outcome("saved")
    except DeviceLost:  # Ray ends the process of a task that had a GPU
        pass
    return Outcome("over" if is_over(sweep.ledger.trial(number)) else "left")


def _refuse_node(order: Order) -> None:
    node = f"the node {socket.gethostname()}"
    if __version__ != order.version:
        raise ConfigError(
            f"{node} has dlrun {__version__}, the sweep dlrun {order.version}: install one version everywhere"
        )
    if not is_sweep(order.sweep):
        raise ConfigError(
            f"{node} does not see {order.sweep}: hydra.sweep.dir must be a folder that all nodes share"
        )


def _prepare(order: Order) -> None:
    """Make this process one like the command that drives the sweep."""
    if order.working_folder.is_dir():
        os.chdir(order.working_folder)
    os.environ.update(order.variables)
    if not order.gpus:  # Ray leaves all of them in sight
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    torch.set_num_threads(order.threads)
    _compose_for(order.sweep)


@cache  # Hydra looks for its plugins each time
def _compose_for(sweep: Path) -> None:
    words = config_words(SweepDirectory(sweep).read()["command"])
    register_resolvers()
    begin_to_compose(packaged_configs(), [Path(word.partition("=")[2]) for word in words])
