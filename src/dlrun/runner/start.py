"""Runs begun and carried on: from a config, or a run directory, to a session that trains."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from operator import itemgetter
from typing import Any

import torch

from dlrun.config import settings
from dlrun.config.metrics import contradiction
from dlrun.data.files import absolute
from dlrun.data.kept import Kept
from dlrun.data.prepare import kept_from
from dlrun.errors import ConfigError, new_run, note
from dlrun.runner import metadata
from dlrun.runner.endings import nothing_left
from dlrun.runner.metadata import RunLog
from dlrun.runner.session import Session, Watch, show_settings
from dlrun.runner.summary import Identity, Training
from dlrun.storage import checkpoint
from dlrun.storage.run_directory import (
    RunDirectory,
    latest_overrides,
    lock,
    read_overrides,
    truncate_metrics,
)
from dlrun.tracking.tracker import Tracker
from dlrun.training.build import Experiment, assemble, load_data

log = logging.getLogger(__name__)

_TO_GO_ON = ("step", "steps_per_epoch", "metrics_size", "random", "unchangeable")
_PLACES = ("root", "path", "test_path")  # settings of data sets that say where files are


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

    Its `order` is its place among runs and sweeps, where that is not said by the time.

    Raises:
        ConfigError: nothing was done yet.
        RunFailed: training failed; the run's summary says so too.
    """
    session = begin(plain, run, overrides=overrides, choices=choices, order=order, watch=watch)
    return session.train()


def resume(
    plain: Mapping[str, Any],
    run: RunDirectory,
    *,
    overrides: list[str],
    watch: Watch | None = None,
) -> int:
    """Continue the run in `run` from its last whole checkpoint, with `plain` as its config from now on.

    Returns and raises as `train` does.
    """
    return carry_on(plain, run, overrides=overrides, watch=watch).train()


def begin(
    plain: Mapping[str, Any],
    run: RunDirectory,
    *,
    overrides: list[str],
    choices: Mapping[str, str],
    order: float | None = None,
    watch: Watch | None = None,
) -> Session:
    """A new run in the directory `run`, ready to train.

    Raises:
        ConfigError: it cannot be trained; nothing was done yet.
    """
    plain = _findable(plain)
    experiment = _assemble(plain, watch, None)
    trainer = experiment.config.trainer
    if watch is None and (odd := contradiction("trainer.mode", trainer.monitor, trainer.mode)):
        note(odd)
    swept = watch.swept if watch else {}
    identity = Identity(plain, choices, overrides, metadata.now(), swept, order=order)
    with ExitStack() as held:
        held.enter_context(lock(run))
        begun = {"created": identity.created, "order": order, "choices": dict(choices)}
        facts = _device_facts(experiment) | begun
        metadata.write_start(run, plain, overrides, facts)
        run_log = RunLog(run, quiet=watch is not None, keep_open=watch is None)
        return Session(experiment, run, identity, watch, log=run_log, held=held.pop_all())


def carry_on(
    plain: Mapping[str, Any],
    run: RunDirectory,
    *,
    overrides: list[str],
    watch: Watch | None = None,
) -> Session:
    """The run in `run` at its last whole checkpoint, ready to train on with `plain` as its config.

    Raises:
        ConfigError: it cannot be, or nothing is left to train.
    """
    with ExitStack() as held:
        held.enter_context(lock(run))
        run_log = RunLog(run, quiet=watch is not None, keep_open=watch is None)
        held.callback(run_log.close)
        run_log.takes_notes = False  # not before the data are known to be the same
        with run_log:
            state = checkpoint.load_latest(run.checkpoints)
        plain = _findable(plain)
        kept = None if state is None else _kept(state, run)
        # Not within the log: where data have changed, nothing at all is written.
        experiment = _assemble(plain, watch, kept)
        run_log.takes_notes = True
        with run_log:
            identity = _carry_on(experiment, plain, run, state, overrides, watch)
        return Session(experiment, run, identity, watch, log=run_log, held=held.pop_all())


def show_failed(run: RunDirectory, identity: Identity) -> None:
    """The row in TensorBoard's HParams tab of a run that failed before it could be trained."""
    enabled = identity.plain["tracking"]["tensorboard"]
    tracker = Tracker(run.metrics_file, run.tensorboard, tensorboard=enabled, start_step=0)
    show_settings(tracker, identity, run, "failed")
    tracker.close()


def _assemble(plain: Mapping[str, Any], watch: Watch | None, kept: Kept | None) -> Experiment:
    return assemble(settings.parse(plain), load=watch.load if watch else load_data, kept=kept)


def _findable(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The same config with the whole paths of its data, which a later command may look for from another folder."""
    dataset = plain["dataset"]
    if not isinstance(dataset, Mapping):  # refused soon, with a reason
        return dict(plain)
    paths = {name: absolute(dataset[name]) for name in _PLACES if name in dataset}
    return {**plain, "dataset": {**dataset, **paths}}


def _kept(state: Mapping[str, Any], run: RunDirectory) -> Kept:
    try:
        itemgetter(*_TO_GO_ON)(state)  # which best.pt in the place of last.pt lacks
        return kept_from(state, str(run.path))
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            new_run(
                f"the checkpoint in {run.checkpoints} lacks what a run needs to go on ({error})"
            )
        ) from error


def _carry_on(
    experiment: Experiment,
    plain: Mapping[str, Any],
    run: RunDirectory,
    state: Mapping[str, Any] | None,
    overrides: list[str],
    watch: Watch | None,
) -> Identity:
    summary = run.read_summary() or {}
    run.checkpoints.mkdir(exist_ok=True)
    if state is not None:
        _restore(experiment, state)
    if summary.get("status") == "completed" and experiment.engine.finished:
        raise ConfigError(nothing_left(experiment, run))
    if lost := truncate_metrics(run, state["metrics_size"] if state else 0):
        warnings.warn(f"{lost}; the run goes on without them", stacklevel=2)
    checkpoint.remove_unfinished(run.checkpoints)
    overrides = latest_overrides([*read_overrides(run), *overrides])
    metadata.write_config(run, plain, overrides)
    # Of a run that was killed before its first summary: what it was begun with.
    begun = (
        {"created": metadata.now(), "order": None, "choices": {}}
        | (run.read_environment() or {})
        | summary
    )
    created, order, choices = begun["created"], begun["order"], begun["choices"]
    swept = watch.swept if watch else summary.get("swept", {})
    engine = experiment.engine
    where = f"resuming {run.path} at step {engine.step:,} of {engine.total_steps:,}"
    log.info(where)
    if watch is None:
        print(where)
    # Of a run that begins again from its first step, what went before does not count.
    earlier = _training(summary) if engine.step else None
    return Identity(plain, choices, overrides, created, swept, earlier, order)


def _training(summary: Mapping[str, Any]) -> Training | None:
    """How the run of a summary was trained; None where it does not say."""
    if (trained := summary.get("trained")) not in ("alone", "stacked", "both"):
        return None
    return Training(trained, summary.get("stack_size"))


def _restore(experiment: Experiment, state: Mapping[str, Any]) -> None:
    """Put the engine and every random state where the checkpoint took them.

    Raises:
        ConfigError: the config now describes a model or batches that the checkpoint does not fit.
    """
    engine = experiment.engine
    if state["steps_per_epoch"] != engine.steps_per_epoch:
        raise ConfigError(
            new_run(
                f"this run has {state['steps_per_epoch']} steps an epoch, but its config now makes "
                f"{engine.steps_per_epoch}: a resume cannot change the data or trainer.batch_size"
            )
        )
    for key, value in experiment.unchangeable.items():
        if (before := state["unchangeable"].get(key)) != value:
            raise ConfigError(
                new_run(
                    f"{key} is {value}, but was {before} when this run began: a resume cannot "
                    "change what its steps see"
                )
            )
    try:
        engine.load_state_dict(dict(state))
        checkpoint.restore_random_states(state["random"], engine.generator)
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        shown = reason if len(reason) <= 200 else f"{reason[:200]}…"
        raise ConfigError(
            new_run(
                f"the checkpoint does not fit the model or optimizer as configured now ({shown}): "
                "a resume cannot change their structure"
            )
        ) from error


def _device_facts(experiment: Experiment) -> dict[str, Any]:
    place = experiment.device.torch_device
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type
    return {"device": str(place), "device_name": name, "threads": torch.get_num_threads()}
