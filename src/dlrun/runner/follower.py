"""What a rank other than the first does of a run: its share of each step and evaluation. It writes nothing."""

from __future__ import annotations

from typing import NoReturn

from dlrun.runner.session import Pruned
from dlrun.system.signals import StopRequest
from dlrun.training.build import Experiment


class Follower:
    """A rank that trains with a session, which is the first rank's, to the same end.

    It takes part wherever all ranks must: in the steps, logged points, evaluations and checkpoints of the loop, and in
    the test after it.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.engine = experiment.engine

    def train(self) -> int:
        """Train to the end of the run or until a signal; the exit code, which is the session's.

        Raises:
            Exception: what ends the run on all ranks, or on this one.
        """
        with StopRequest() as stop:
            try:
                self.engine.fit(save=self._save, observer=self, stop=stop)
            except Pruned:
                self.engine.gather()
                return 0
            if not self.engine.finished:
                return stop.exit_code
            self.engine.test()
        return 0

    def stepped(self, steps: int) -> None:
        """So many steps were made."""

    def logged(self, step: int, values: dict[str, float]) -> None:
        """A point was logged, by the first rank."""

    def evaluated(self, values: dict[str, float]) -> NoReturn:
        """Only the first rank is told."""
        raise AssertionError("a follower is told no evaluation")

    @staticmethod
    def _save() -> NoReturn:
        raise AssertionError("a follower saves nothing")
