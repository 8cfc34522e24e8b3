"""An earlier run, resumed: from its directory to a session that trains on from its last checkpoint."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import Any

from dlrun.config.moved import current
from dlrun.data.changed_data import Kept
from dlrun.data.prepare import kept_from
from dlrun.errors import ConfigError, command, new_run
from dlrun.runner import metadata
from dlrun.runner.follower import Follower
from dlrun.runner.peers import refuse_different, together
from dlrun.runner.run_log import RunLog
from dlrun.runner.session import Session, Watch
from dlrun.runner.start import (
    SMALLER_RUN,
    assemble_run,
    device_facts,
    note_contradiction,
    with_absolute_paths,
)
from dlrun.runner.summary import Identity, Training
from dlrun.storage import checkpoint
from dlrun.storage.run_directory import (
    RunDirectory,
    is_prepared,
    latest_overrides,
    lock,
    read_overrides,
    truncate_metrics,
)
from dlrun.training.build import Experiment
from dlrun.training.device import enough_memory, out_of_memory
from dlrun.training.engine_state import load_engine_state, random_states_for, ranks_of
from dlrun.training.ranks import ALONE, Ranks

log = logging.getLogger(__name__)

_NEEDED = ("step", "steps_per_epoch", "metrics_size", "random", "unchangeable")  # of a checkpoint


def resume(
    plain: Mapping[str, Any],
    run: RunDirectory,
    *,
    overrides: list[str],
    watch: Watch | None = None,
    ranks: Ranks = ALONE,
) -> int:
    """Continue the run in `run` from its last whole checkpoint, with `plain` as its config from now on.

    One of several `ranks` takes its part in that; a run without a checkpoint begins.

    Returns and raises as `start.train` does.
    """
    if ranks.first:
        return reopen(plain, run, overrides=overrides, watch=watch, ranks=ranks).train()
    plain = _with_present_paths(plain)
    experiment = together(ranks, lambda: _followed(plain, run, ranks))
    refuse_different(ranks, experiment)
    return Follower(experiment).train()


def reopen(
    plain: Mapping[str, Any],
    run: RunDirectory,
    *,
    overrides: list[str],
    watch: Watch | None = None,
    ranks: Ranks = ALONE,
) -> Session:
    """The run in `run` at its last whole checkpoint, ready to train on with `plain` as its config.

    Of several `ranks` by the first.

    Raises:
        ConfigError: it cannot be, or nothing is left to train.
    """
    plain = _with_present_paths(plain)
    with ExitStack() as opened:
        run_log, experiment, state = together(
            ranks, lambda: _opened(plain, run, watch, ranks, opened)
        )
        refuse_different(ranks, experiment)
        with run_log:
            engine = experiment.engine
            begins = state is None and is_prepared(run)
            _cut_back(run, state)
            overrides = latest_overrides([*read_overrides(run), *overrides])
            metadata.write_config(run, plain, overrides)
            identity = _identity(run, plain, overrides, watch, first_step=engine.step == 0)
            if begins:
                metadata.add_to_environment(run, device_facts(experiment))
            else:
                where = f"resuming {run.path} at step {engine.step:,} of {engine.total_steps:,}"
                where += _by_others(state, ranks)
                log.info(where)
                if watch is None:
                    print(where)
        if begins and watch is None:
            note_contradiction(experiment)
        return Session(experiment, run, identity, watch, log=run_log, opened=opened)


def _opened(
    plain: Mapping[str, Any],
    run: RunDirectory,
    watch: Watch | None,
    ranks: Ranks,
    opened: ExitStack,
) -> tuple[RunLog, Experiment, dict[str, Any] | None]:
    """The run's log, the run as its last checkpoint has it, and that checkpoint; `opened` closes what is open."""
    opened.enter_context(lock(run, is_rank=watch is not None and ranks.size > 1))
    run_log = RunLog(run, quiet=watch is not None, keep_open=watch is None)
    opened.callback(run_log.close)
    run_log.takes_notes = False  # not before the data are known to be the same
    with run_log:
        state = checkpoint.load_latest(run.checkpoints)
    # Not within the log: where data have changed, nothing at all is written.
    experiment = assemble_run(plain, watch, kept_of(state, run), ranks)
    run_log.takes_notes = True
    with run_log:
        _go_on(experiment, run, state)
    return run_log, experiment, state


def _followed(plain: Mapping[str, Any], run: RunDirectory, ranks: Ranks) -> Experiment:
    """The run as its last checkpoint has it, on a rank that writes nothing."""
    state = checkpoint.load_latest(run.checkpoints)
    experiment = assemble_run(plain, None, kept_of(state, run), ranks)
    _go_on(experiment, run, state)
    return experiment


def _go_on(experiment: Experiment, run: RunDirectory, state: Mapping[str, Any] | None) -> None:
    """Put the run where its checkpoint was taken.

    Raises:
        ConfigError: the checkpoint does not fit the config, or nothing is left to train.
    """
    if state is not None:
        with enough_memory("the checkpoint", SMALLER_RUN):
            restore(experiment, state)
    if experiment.engine.finished and (run.read_summary() or {}).get("status") == "completed":
        raise ConfigError(_nothing_left(experiment, run))


def _with_present_paths(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The config with absolute paths, as a run has them; of a trial they are as its sweep has them."""
    plain = with_absolute_paths(plain)
    if plain["init_from"] is not None:
        plain["init_from"] = str(Path(plain["init_from"]).absolute())
    return plain


def kept_of(state: Mapping[str, Any] | None, run: RunDirectory) -> Kept | None:
    if state is None:
        return None
    try:
        itemgetter(*_NEEDED)(state)  # which best.pt in the place of last.pt lacks
        return kept_from(state, str(run.path))
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            new_run(
                f"the checkpoint in {run.checkpoints} lacks what a run needs to continue ({error})"
            )
        ) from error


def _cut_back(run: RunDirectory, state: Mapping[str, Any] | None) -> None:
    """Leave of the run's files what its checkpoint knows."""
    run.checkpoints.mkdir(exist_ok=True)
    if lost := truncate_metrics(run, state["metrics_size"] if state else 0):
        warnings.warn(f"{lost}; the run goes on without them", stacklevel=2)
    checkpoint.remove_unfinished(run.checkpoints)


def _identity(
    run: RunDirectory,
    plain: Mapping[str, Any],
    overrides: list[str],
    watch: Watch | None,
    *,
    first_step: bool,
) -> Identity:
    """What the run's files say of it, with the config and `overrides` that hold from now on."""
    summary = run.read_summary() or {}
    # Of a run that was killed before its first summary: what it was begun with.
    begun = (
        {"created": metadata.now(), "order": None, "choices": {}}
        | (run.read_environment() or {})
        | summary
    )
    created, order, choices = begun["created"], begun["order"], begun["choices"]
    swept = watch.swept if watch else summary.get("swept", {})
    # Of a run that starts anew from its first step, what went before does not count.
    earlier = None if first_step else _training(summary)
    return Identity(plain, choices, overrides, created, swept, earlier, order)


def _training(summary: Mapping[str, Any]) -> Training | None:
    """How the run of a summary was trained; None where it does not say."""
    if (trained := summary.get("trained")) not in ("alone", "stacked", "both"):
        return None
    return Training(trained, summary.get("stack_size"))


def restore(experiment: Experiment, state: Mapping[str, Any]) -> None:
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
    began = state["unchangeable"]
    began = {**began, "dataset._target_": current(str(began.get("dataset._target_")))}
    for key, value in experiment.unchangeable.items():
        # A setting that the run's version had not is as that version was.
        if (before := began.get(key, value)) != value:
            raise ConfigError(
                new_run(
                    f"{key} is {value}, but was {before} when this run began: a resume cannot "
                    "change what its steps see"
                )
            )
    try:
        load_engine_state(engine, dict(state))
        if (drawn := random_states_for(engine.ranks.share, dict(state))) is not None:
            checkpoint.restore_random_states(drawn, engine.generator)
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        if out_of_memory(error):
            raise
        reason = " ".join(str(error).split())
        shown = reason if len(reason) <= 200 else f"{reason[:200]}…"
        raise ConfigError(
            new_run(
                f"the checkpoint does not fit the model or optimizer as configured now ({shown}): "
                "a resume cannot change their structure"
            )
        ) from error


def _by_others(state: Mapping[str, Any] | None, ranks: Ranks) -> str:
    """What to say of a checkpoint that another number of processes saved; else nothing."""
    if state is None or (saved := ranks_of(dict(state))) == ranks.size:
        return ""
    return f", saved by {saved}, now in {ranks.size} process{'es' * (ranks.size > 1)}: same data order, other rounding"


def _nothing_left(experiment: Experiment, run: RunDirectory) -> str:
    """Why a completed run cannot be resumed as it is, and what to change."""
    engine, settings = experiment.engine, experiment.config.trainer
    if settings.fast_dev_run:
        return new_run(f"{run.path} was only tried out, with trainer.fast_dev_run=true")
    if engine.stopped_early:
        patience = f"trainer.early_stopping.patience={2 * engine.waited}"
        return (
            f"{run.path} is complete: it stopped early after {engine.waited} evaluations without improvement; "
            f"to train on, raise the patience, as in `{command('resume', run.path, patience)}`"
        )
    by_steps = settings.max_steps == engine.total_steps
    name, done = ("max_steps", engine.step) if by_steps else ("max_epochs", engine.epoch)
    longer = f"trainer.{name}={2 * done}"
    return (
        f"{run.path} is complete: {done} of trainer.{name}={getattr(settings, name)} are done; "
        f"to train on, raise it, as in `{command('resume', run.path, longer)}`"
    )
