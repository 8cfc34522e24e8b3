"""A run's row in TensorBoard's HParams tab: the settings that distinguish it, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from dlrun.runner.summary import Identity
from dlrun.storage.run_directory import RunDirectory
from dlrun.storage.run_summary import short_name, trial_of_seed
from dlrun.tracking.tracker import Tracker


def show_hparams(tracker: Tracker, identity: Identity, run: RunDirectory, status: str) -> None:
    """Write the row, also where the run failed or was pruned."""
    row = settings_row(identity)
    group = ""
    if trial_of_seed(run.path):  # one row stands for all seeds of the trial
        del row["seed"]
        sweep, trial, _ = short_name(run.path).split("/")
        group = f"{trial} of {sweep}"
    tracker.hparams(row, failed=status == "failed", group=group)


def show_failed(run: RunDirectory, identity: Identity) -> None:
    """Write the row of a run that failed before it could be trained."""
    enabled = identity.plain["tracking"]["tensorboard"]
    tracker = Tracker(run.metrics_file, run.tensorboard, tensorboard=enabled, start_step=0)
    with closing(tracker):
        show_hparams(tracker, identity, run, "failed")


def settings_row(identity: Identity) -> dict[str, Any]:
    """What distinguishes this run from others, as TensorBoard's HParams tab can show it.

    The choices, every setting of model, optimizer and schedule, and what the command line or a sweep changed.
    """
    every = _flatten("", identity.plain)
    changed = {word.lstrip("+").partition("=")[0] for word in identity.overrides}
    shown = {"seed", "trainer.batch_size", "trainer.max_epochs", *changed}
    row = {
        key: value
        for key, value in every.items()
        if key in shown or key.startswith(("model.", "optimizer.", "schedule."))
    }
    # A swept key may hold null or a whole mapping: then the words of the command line distinguish the trials.
    return {**identity.swept, **identity.choices, **row}


def _flatten(key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        prefix = f"{key}." if key else ""
        items = [
            _flatten(f"{prefix}{name}", item) for name, item in value.items() if name != "_target_"
        ]
        return {name: item for part in items for name, item in part.items()}
    if isinstance(value, (bool, int, float, str)):
        return {key: value}
    return {} if value is None else {key: str(value)}
