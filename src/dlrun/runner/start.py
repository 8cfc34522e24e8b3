"""A new run, begun in a directory of its own: from a config to a session that trains it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch

from dlrun.config import settings
from dlrun.config.metrics import contradiction
from dlrun.data.changed_data import Kept
from dlrun.data.files import absolute
from dlrun.errors import note
from dlrun.runner import metadata
from dlrun.runner.run_log import RunLog
from dlrun.runner.session import Session, Watch
from dlrun.runner.summary import Identity
from dlrun.storage.run_directory import RunDirectory, lock
from dlrun.storage.stored_run import initial_run
from dlrun.training.build import Experiment, assemble, load_data
from dlrun.training.device import enough_memory
from dlrun.training.ranks import ALONE, Ranks

SMALLER_RUN = "make the model smaller, or take fewer samples"
_PATHS = (
    "root",
    "path",
    "test_path",
    "image_root",
)  # settings of data sets that say where files are


def train(
    plain: Mapping[str, Any],
    run: RunDirectory,
    *,
    overrides: list[str],
    choices: Mapping[str, str],
    order: float | None = None,
    watch: Watch | None = None,
) -> int:
    """Train a new run in the directory `run`; the exit code: 0, or 130 and 143 after SIGINT and SIGTERM.

    Its `order` ranks it among runs and sweeps, where the time does not.

    Raises:
        ConfigError: nothing was done yet.
        RunFailed: training failed; the run's summary says so too.
    """
    session = begin(plain, run, overrides=overrides, choices=choices, order=order, watch=watch)
    return session.train()


def begin(
    plain: Mapping[str, Any],
    run: RunDirectory,
    *,
    overrides: list[str],
    choices: Mapping[str, str],
    order: float | None = None,
    watch: Watch | None = None,
    ranks: Ranks = ALONE,
) -> Session:
    """A new run in the directory `run`, ready to train; of several `ranks` by the first.

    Raises:
        ConfigError: it cannot be trained; nothing was done yet.
    """
    plain = with_initial_run(with_absolute_paths(plain))
    experiment = assemble_run(plain, watch, ranks=ranks)
    if watch is None:
        note_contradiction(experiment)
    swept = watch.swept if watch else {}
    identity = Identity(plain, choices, overrides, metadata.now(), swept, order=order)
    run.path.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        opened.enter_context(lock(run))
        begun = {"created": identity.created, "order": order, "choices": dict(choices)}
        metadata.write_start(run, plain, overrides, device_facts(experiment) | begun)
        run_log = RunLog(run, quiet=watch is not None, keep_open=watch is None)
        opened.callback(run_log.close)
        return Session(experiment, run, identity, watch, log=run_log, opened=opened)


def assemble_run(
    plain: Mapping[str, Any],
    watch: Watch | None,
    kept: Kept | None = None,
    ranks: Ranks = ALONE,
) -> Experiment:
    """All that the config describes; with what the run `kept` of its data, where it has a checkpoint."""
    load = watch.load if watch else load_data
    with enough_memory("the run", SMALLER_RUN):
        experiment = assemble(settings.parse(plain), load=load, kept=kept, ranks=ranks)
    if ranks.first and watch is None and experiment.begun_with:
        note(experiment.begun_with)
    return experiment


def note_contradiction(experiment: Experiment) -> None:
    """Say where the config wants another way for the monitored metric than the metric itself."""
    trainer, own = experiment.config.trainer, experiment.task.declared.chosen
    if odd := contradiction("trainer.mode", trainer.monitor, trainer.mode, own):
        note(odd)


def with_absolute_paths(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The same config with absolute paths of its data: a later command may run in another folder."""
    dataset = plain["dataset"]
    if not isinstance(dataset, Mapping):  # refused soon, with a reason
        return dict(plain)
    paths = {name: absolute(dataset[name]) for name in _PATHS if name in dataset}
    return {**plain, "dataset": {**dataset, **paths}}


def with_initial_run(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The same config with the directory of the run whose weights it begins with: its name may come to mean another.

    Raises:
        ConfigError: there is no such run.
    """
    if not isinstance(name := plain["init_from"], str):
        return dict(plain)
    return {**plain, "init_from": str(initial_run(name).path.absolute())}


def device_facts(experiment: Experiment) -> dict[str, Any]:
    """On what a run is trained, as environment.json has it; threads of each of its processes."""
    device = experiment.device.torch_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    facts = {"device": str(device), "device_name": name, "threads": torch.get_num_threads()}
    size = experiment.engine.ranks.size
    return facts | {"devices": size} if size > 1 else facts
