"""A run from its config to its last word."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from typing import Any

import torch

from dlrun import checkpoint, config, record
from dlrun.assemble import Experiment, assemble
from dlrun.endings import error_facts, explain, nothing_left, say_how_to_resume
from dlrun.errors import ConfigError
from dlrun.hints import new_run
from dlrun.profiling import profiled
from dlrun.progress import Progress
from dlrun.report import Identity, SummaryWriter, closing_table, metrics_only, settings_row
from dlrun.run_directory import (
    RunDirectory,
    latest_overrides,
    lock,
    read_overrides,
    truncate_metrics,
)
from dlrun.saving import Saver
from dlrun.signals import StopRequest
from dlrun.tasks import class_confusion
from dlrun.tracking import Tracker
from dlrun.views import Views

log = logging.getLogger(__name__)


def train(
    plain: Mapping[str, Any], run: RunDirectory, *, overrides: list[str], choices: Mapping[str, str]
) -> int:
    """Train a new run in the directory `run`; the exit code: 0, or 130 and 143 after SIGINT and SIGTERM.

    Raises:
        ConfigError: nothing was done yet.
        RunFailed: training failed; the run's summary says so too.
    """
    experiment = assemble(config.parse(plain))
    with lock(run):
        record.write_start(run, plain, overrides, _device_facts(experiment))
        with record.logging_to(run):
            return _carry_on(experiment, run, Identity(plain, choices, overrides, record.now()))


def resume(plain: Mapping[str, Any], run: RunDirectory, *, overrides: list[str]) -> int:
    """Continue the run in `run` from its last whole checkpoint, with `plain` as its config from now on.

    Returns and raises as `train` does.
    """
    with lock(run), record.logging_to(run):
        experiment = assemble(config.parse(plain))
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
        print(
            f"resuming {run.path} at step {experiment.engine.step:,} of {experiment.engine.total_steps:,}"
        )
        return _carry_on(experiment, run, Identity(plain, choices, overrides, created))


def _carry_on(experiment: Experiment, run: RunDirectory, identity: Identity) -> int:
    """Train from wherever the engine stands, and write down how it ended."""
    engine, tracking = experiment.engine, experiment.config.tracking
    summary = SummaryWriter(experiment, run, identity)
    tracker = Tracker(
        run.metrics_file, run.tensorboard, tensorboard=tracking.tensorboard, start_step=engine.step
    )
    saver = Saver(experiment, run, tracker)
    with StopRequest() as stop:
        summary.write("running")
        try:
            _fit(experiment, saver, summary, tracker, stop)
            if not engine.finished:
                summary.write("stopped")
                return say_how_to_resume(experiment, run, stop)
            confusion = _conclude(experiment, tracker, identity)
            summary.write("completed", confusion=confusion)
        except Exception as error:
            failure = explain(error, experiment, run)
            saver.save_best()
            summary.write("failed", error=error_facts(failure or error, engine.step))
            log.error("%s", failure or traceback.format_exc())
            if failure is None:
                raise
            raise failure from error
        finally:
            tracker.close()
        table = closing_table(experiment, run)
        log.info("completed\n%s", table)
        print(table)
        return 0


def _fit(
    experiment: Experiment,
    saver: Saver,
    summary: SummaryWriter,
    tracker: Tracker,
    stop: StopRequest,
) -> None:
    engine = experiment.engine
    views = Views(experiment.data, experiment.config.tracking)
    if engine.step == 0:
        tracker.text("config", f"```yaml\n{saver.run.config_file.read_text()}```")
        views.at_start(tracker)
    progress = Progress(
        start_step=engine.step,
        total_steps=engine.total_steps,
        steps_per_epoch=engine.steps_per_epoch,
    )
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
                after_evaluation=summary.write_running,
                tracker=tracker,
                progress=progress,
                views=views,
                stop=stop,
            )
    finally:
        progress.close()


def _conclude(
    experiment: Experiment, tracker: Tracker, identity: Identity
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
    Views(data, experiment.config.tracking).at_end(engine, tracker, part, outputs)
    tracker.hparams(
        settings_row(identity.plain, identity.choices, identity.overrides),
        metrics_only(engine.latest),
    )
    return class_confusion(outputs, part.targets, data.spec)


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
