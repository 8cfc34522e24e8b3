"""When a checkpoint is due: what goes into it, from whom."""

from __future__ import annotations

from dlrun import checkpoint
from dlrun.assemble import Experiment
from dlrun.run_directory import RunDirectory
from dlrun.tracking import Tracker


class Saver:
    """Writes checkpoints of one run; best.pt only when there is a better model than the one on disk."""

    def __init__(self, experiment: Experiment, run: RunDirectory, tracker: Tracker) -> None:
        self.experiment, self.run, self.tracker = experiment, run, tracker
        self.best_step = -1

    def save(self) -> None:
        """Write all that a resume needs, and the best model where it is news."""
        # A checkpoint must never know more points than the file has.
        self.tracker.flush()
        engine = self.experiment.engine
        random_states = checkpoint.random_states(engine.generator)
        extra = {
            "random": random_states,
            "metrics_size": self.tracker.metrics_size,
            "unchangeable": self.experiment.unchangeable,
            **self.experiment.about,
        }
        checkpoint.save(self.run.checkpoints, engine.state_dict() | extra)
        self.save_best()

    def save_best(self) -> None:
        """Write the best model, unless there is none or it is on disk already."""
        best = self.experiment.engine.best
        if best.step in (0, self.best_step):
            return
        facts = {"epoch": best.epoch, "step": best.step, "metrics": best.metrics}
        checkpoint.save_best(
            self.run.checkpoints, {"model": best.weights, **facts, **self.experiment.about}
        )
        self.best_step = best.step
