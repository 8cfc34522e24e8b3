"""A run from its config to its last word."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from dlrun import checkpoint, config, record
from dlrun.assemble import Experiment, Loader, assemble, load_data
from dlrun.endings import error_facts, explain, nothing_left, say_how_to_resume
from dlrun.engine import Engine
from dlrun.errors import ConfigError
from dlrun.hints import new_run
from dlrun.profiling import profiled
from dlrun.progress import Progress
from dlrun.report import Identity, SummaryWriter, closing_table, settings_row
from dlrun.run_directory import (
    RunDirectory,
    latest_overrides,
    lock,
    read_overrides,
    truncate_metrics,
)
from dlrun.runs import short_name, trial_of_seed
from dlrun.saving import Saver
from dlrun.signals import StopRequest
from dlrun.tasks import class_confusion
from dlrun.tracking import Tracker
from dlrun.views import Views

log = logging.getLogger(__name__)

_TRIAL_FLUSH_SECONDS = 5.0  # for which points of a trial may wait in memory


class Pruned(Exception):
    """Raised by a watch to end a trial that has no hope: an end like any other, and no error."""


@dataclass(frozen=True)
class Watch:
    """What a sweep adds to a run that is one of its trials, which is then quiet.

    Attributes:
        swept: what the sweep varies, and the values of this trial.
        after_evaluation: sees the engine then; may raise Pruned.
        load: the data, which trials may share.
    """

    swept: Mapping[str, str]
    after_evaluation: Callable[[Engine], None]
    load: Loader


def train(
    plain: Mapping[str, Any],
    run: RunDirectory,
    *,
    overrides: list[str],
    choices: Mapping[str, str],
    watch: Watch | None = None,
) -> int:
    """Train a new run in the directory `run`; the exit code: 0, or 130 and 143 after SIGINT and SIGTERM.

    Raises:
        ConfigError: nothing was done yet.
        RunFailed: training failed; the run's summary says so too.
    """
    experiment = _assemble(plain, watch)
    swept = watch.swept if watch else {}
    identity = Identity(plain, choices, overrides, record.now(), swept)
    with lock(run):
        record.write_start(run, plain, overrides, _device_facts(experiment))
        with record.logging_to(run, quiet=watch is not None):
            return _carry_on(experiment, run, identity, watch)


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
    with lock(run), record.logging_to(run, quiet=watch is not None):
        experiment = _assemble(plain, watch)
        summary = run.read_summary() or {}
        run.checkpoints.mkdir(exist_ok=True)
        state = checkpoint.load_latest(run.checkpoints)
        if state is not None:
            _restore(experiment, state)
        if summary.get("status") == "completed" and experiment.engine.finished:
            raise ConfigError(nothing_left(experiment, run))
        truncate_metrics(run, state["metrics_size"] if state else 0)
        overrides = latest_overrides([*read_overrides(run), *overrides])
        record.write_config(run, plain, overrides)
        created, choices = summary.get("created", record.now()), summary.get("choices", {})
        swept = watch.swept if watch else summary.get("swept", {})
        engine = experiment.engine
        where = f"resuming {run.path} at step {engine.step:,} of {engine.total_steps:,}"
        log.info(where)
        if watch is None:
            print(where)
        identity = Identity(plain, choices, overrides, created, swept)
        return _carry_on(experiment, run, identity, watch)


def show_failed(run: RunDirectory, identity: Identity) -> None:
    """The row in TensorBoard's HParams tab of a run that failed before it could be trained."""
    enabled = identity.plain["tracking"]["tensorboard"]
    tracker = Tracker(run.metrics_file, run.tensorboard, tensorboard=enabled, start_step=0)
    _show_settings(tracker, identity, run, "failed")
    tracker.close()


def _assemble(plain: Mapping[str, Any], watch: Watch | None) -> Experiment:
    return assemble(config.parse(plain), load=watch.load if watch else load_data)


def _carry_on(
    experiment: Experiment, run: RunDirectory, identity: Identity, watch: Watch | None
) -> int:
    """Train from wherever the engine stands, and write down how it ended."""
    engine, tracking = experiment.engine, experiment.config.tracking
    summary = SummaryWriter(experiment, run, identity)
    tracker = Tracker(
        run.metrics_file,
        run.tensorboard,
        tensorboard=tracking.tensorboard,
        start_step=engine.step,
        flush_seconds=_TRIAL_FLUSH_SECONDS if watch else 0.0,
    )
    saver = Saver(experiment, run, tracker)
    with StopRequest() as stop:
        summary.write("running")
        try:
            _fit(experiment, saver, summary, tracker, stop, watch)
            if not engine.finished:
                summary.write("stopped")
                if watch is not None:  # the sweep as a whole is what to resume
                    return stop.exit_code
                return say_how_to_resume(experiment, run, stop)
            confusion = _conclude(experiment, tracker, watch)
            summary.write("completed", confusion=confusion)
        except Pruned as reason:
            log.info("pruned: %s", reason)
            # Before the checkpoint, from which a run that is not over would train on.
            summary.write("pruned")
            saver.save()
            return 0
        except Exception as error:
            failure = explain(error, experiment, run)
            saver.save_best()
            summary.write("failed", error=error_facts(failure or error, engine.step))
            log.error("%s\n%s", failure or "failed", traceback.format_exc())
            if failure is None:
                raise
            raise failure from error
        finally:
            if stop.signal is None:
                _show_settings(tracker, identity, run, summary.status)
            tracker.close()
        table = closing_table(experiment, run)
        log.info("completed\n%s", table)
        if watch is None:
            print(table)
        return 0


def _fit(
    experiment: Experiment,
    saver: Saver,
    summary: SummaryWriter,
    tracker: Tracker,
    stop: StopRequest,
    watch: Watch | None,
) -> None:
    engine = experiment.engine
    views = _views(experiment, watch)
    if engine.step == 0:
        tracker.text("config", f"```yaml\n{saver.run.config_file.read_text()}```")
        views.at_start(tracker)
    progress = Progress(
        start_step=engine.step,
        total_steps=engine.total_steps,
        steps_per_epoch=engine.steps_per_epoch,
        quiet=watch is not None,
    )

    def after_evaluation() -> None:
        summary.write_running()
        if watch is not None:
            watch.after_evaluation(engine)

    log.info(
        "training on %s, %s steps of %s",
        experiment.device.torch_device,
        engine.total_steps,
        experiment.config.name,
    )
    profile = profiled(saver.run.path / "profile", enabled=engine.settings.profile)
    try:
        with profile as after_step:
            engine.fit(
                save=saver.save,
                after_step=after_step,
                after_evaluation=after_evaluation,
                tracker=tracker,
                progress=progress,
                views=views,
                stop=stop,
            )
    finally:
        progress.close()


def _views(experiment: Experiment, watch: Watch | None) -> Views:
    config, trials = experiment.config, 1 if watch else None
    return Views(experiment.data, config.tracking, model=config.model, trials_at_once=trials)


def _conclude(
    experiment: Experiment, tracker: Tracker, watch: Watch | None
) -> list[list[int]] | None:
    """Test the chosen weights and show what they do; the confusion matrix of a classifier."""
    engine, data, task = experiment.engine, experiment.data, experiment.task
    if engine.settings.early_stopping.restore_best:
        engine.restore_best()
    name = "test" if len(data.test) else "val" if len(data.val) else "train"
    part = data.split(name)
    outputs = engine.outputs(part)
    metrics = task.final_metrics(outputs, part.targets)
    values = {f"test/{key}": value for key, value in metrics.items()} if name == "test" else {}
    engine.latest |= values
    if values:
        tracker.log(engine.step, engine.epoch, values)
    _views(experiment, watch).at_end(engine, tracker, part, outputs)
    return class_confusion(outputs, part.targets, data.spec)


def _show_settings(tracker: Tracker, identity: Identity, run: RunDirectory, status: str) -> None:
    """The run's row in TensorBoard's HParams tab, also where it failed or was pruned."""
    row = settings_row(identity.plain, identity.choices, identity.overrides, identity.swept)
    group = ""
    if trial_of_seed(run.path):  # one row stands for all seeds of the trial
        del row["seed"]
        sweep, trial, _ = short_name(run.path).split("/")
        group = f"{trial} of {sweep}"
    tracker.hparams(row, failed=status == "failed", group=group)


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
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        shown = reason if len(reason) <= 200 else f"{reason[:200]}…"
        raise ConfigError(
            new_run(
                f"the checkpoint does not fit the model or optimizer as configured now ({shown}): "
                "a resume cannot change their structure"
            )
        ) from error
    checkpoint.restore_random_states(state["random"], engine.generator)


def _device_facts(experiment: Experiment) -> dict[str, Any]:
    place = experiment.device.torch_device
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type
    return {"device": str(place), "device_name": name, "threads": torch.get_num_threads()}
