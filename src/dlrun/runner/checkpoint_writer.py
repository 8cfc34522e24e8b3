"""Checkpoints of a run: what goes into last.pt and best.pt, written for one run or for many at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlrun.storage import checkpoint
from dlrun.storage.run_directory import RunDirectory
from dlrun.tracking.tracker import Tracker
from dlrun.training.build import Experiment
from dlrun.training.engine_state import engine_state


class CheckpointWriter:
    """Writes checkpoints of one run; best.pt only when there is a better model than the one on disk."""

    def __init__(self, experiment: Experiment, run: RunDirectory, tracker: Tracker) -> None:
        self.experiment, self.run, self.tracker = experiment, run, tracker
        self.best_step = -1

    def save(self) -> None:
        """Write all that a resume needs, and the best model where it is news."""
        save_all([self])

    def save_best(self) -> None:
        """Write the best model, unless there is none or it is on disk already."""
        checkpoint.save_all(self.best())
        self.best_is_written()

    def last(self, shared: dict[str, Any]) -> dict[Path, dict[str, Any]]:
        """All that a resume needs, by the file to write it to; `shared`: the process's random states."""
        engine = self.experiment.engine
        extra = {
            "random": shared | {"generator": engine.generator.get_state()},
            "metrics_size": self.tracker.metrics_size,
            "unchangeable": self.experiment.unchangeable,
            **self.experiment.about,
        }
        return {self.run.checkpoints / checkpoint.LAST: engine_state(engine) | extra}

    def best(self) -> dict[Path, dict[str, Any]]:
        """The best model by its file, or nothing where there is none or it is on disk already."""
        best = self.experiment.engine.best
        if best.step in (0, self.best_step):
            return {}
        facts = {"epoch": best.epoch, "step": best.step, "metrics": best.metrics}
        state = {"model": best.weights, **facts, **self.experiment.about}
        return {self.run.checkpoints / checkpoint.BEST: state}

    def best_is_written(self) -> None:
        """The best model need not be written again."""
        self.best_step = self.experiment.engine.best.step


def save_all(writers: Sequence[CheckpointWriter]) -> None:
    """Write what each writer's `save` would, waiting for the disk but twice in all."""
    states: dict[Path, dict[str, Any]] = {}
    shared = checkpoint.process_random_states(writers[0].experiment.device.torch_device)
    for writer in writers:
        writer.tracker.flush()  # a checkpoint must never know more points than the file has
        states |= writer.last(shared) | writer.best()
    checkpoint.save_all(states, counted=[writer.run.metrics_file for writer in writers])
    for writer in writers:
        writer.best_is_written()
