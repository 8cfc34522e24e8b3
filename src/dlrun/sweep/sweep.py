"""A sweep under way, as every process at work on it knows it: from its directory alone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from dlrun.storage import claims
from dlrun.storage.run_directory import RunDirectory
from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep import ending
from dlrun.sweep.compose import Composer
from dlrun.sweep.repetitions import Repetitions
from dlrun.sweep.samplers.per_trial import TrialSamplers
from dlrun.sweep.settings import Strategy, read_strategy
from dlrun.sweep.space.parse import Space, parse
from dlrun.sweep.study import Ledger

_SHARE = 0.005  # of the budget: what a killed process may have worked for nothing


@dataclass
class Sweep:
    """One sweep.

    Attributes:
        comparable: whether one of its trials can be called the best.
        slots: trials at a time that share this machine; None where each has resources of its own.
        gpus: those that they share.
        forgiven: trials that had failed before this sweep was resumed.
        helping: whether this process takes trials beside a driver, or without one.
    """

    directory: SweepDirectory
    space: Space
    strategy: Strategy
    samplers: TrialSamplers
    objective: str
    minimize: bool
    comparable: bool
    composer: Composer
    ledger: Ledger
    slots: int | None
    gpus: tuple[str, ...]
    forgiven: int
    helping: bool = False
    noted: float = 0.0  # when it was last noted that this process is at work

    @cached_property
    def repetitions(self) -> Repetitions:
        """Which of its trials and runs repeat a setting."""
        return Repetitions(self.space.texts(), self.strategy.settings.seeds)

    def stops_at_failures(self) -> bool:
        """Whether a trial has failed since the sweep was begun or resumed, and that is to end it."""
        if not self.strategy.settings.fail_fast:
            return False
        failed = [t for t in self.ledger.trials() if t.state is TrialState.FAIL]
        return len(failed) > self.forgiven

    def ended_by(self) -> str | None:
        """The setting, `budget` or `patience`, that lets no further trial begin; None where one may."""
        settings = self.strategy.settings
        if settings.budget is None and settings.patience is None:
            return None
        node = self.strategy.node
        return ending.ended_by(self.ledger.trials(), node, minimize=self.minimize)

    def goes_on(self, number: int) -> None:
        """Note now and then that the trial is at work: of a process that is killed, that much of its time is known."""
        budget = self.strategy.settings.budget
        if budget is None or time.monotonic() - self.noted < ending.seconds_of(budget) * _SHARE:
            return
        self.noted = time.monotonic()
        self.ledger.goes_on(number)

    def left(self, numbers: Sequence[int]) -> list[int]:
        """The trials that are to be trained yet, as it stands now; once none may begin, those that were begun."""
        trials, ended = self.ledger.trials(), self.ended_by()

        def is_left(number: int) -> bool:
            if number >= len(trials) or trials[number].state is TrialState.WAITING:
                return ended is None
            return not is_over(trials[number])

        return list(filter(is_left, numbers))

    def may_train(self, number: int) -> bool:
        """Whether the trial is to be trained yet, and nothing has ended the sweep before."""
        trial = self.ledger.trial(number)
        if is_over(trial) or self.stops_at_failures():
            return False
        return trial.state is not TrialState.WAITING or self.ended_by() is None

    def runs(self, number: int) -> list[RunDirectory]:
        """The run directories of a trial, one a seed."""
        folder, seeds = self.directory.trial(number), self.strategy.settings.seeds
        if seeds == 1:
            return [RunDirectory(folder)]
        return [RunDirectory(folder / f"seed{index}") for index in range(seeds)]

    def progress(self, number: int) -> int:
        """A number that changes with each checkpoint of the trial; 0 before the first."""
        last = [run.checkpoints / "last.pt" for run in self.runs(number)]
        return max((file.stat().st_mtime_ns for file in last if file.exists()), default=0)

    def stopped_at(self, number: int) -> int:
        """The steps of a trial that a signal has stopped, saved; -1 where none has."""
        summaries = [run.read_summary() or {} for run in self.runs(number)]
        if not any(summary.get("status") == "stopped" for summary in summaries):
            return -1
        return sum(int(summary.get("step", 0)) for summary in summaries)

    def is_claimed(self, number: int) -> bool:
        """Whether a process is at work on the trial."""
        return claims.is_claimed(self.directory.claims, number)

    @contextmanager
    def claim(self, number: int) -> Iterator[bool]:
        """Try to hold the trial for this process; whether that worked. A killed process lets go."""
        self.directory.trial(number).mkdir(exist_ok=True)
        with claims.claim(self.directory.claims, number) as mine:
            if mine:
                for run in self.runs(number):
                    run.look_anew()
            yield mine


def open_sweep(path: Path) -> Sweep:
    """The sweep in the directory `path`, as its sweep.yaml is now."""
    return _opened(path, SweepDirectory(path).sweep_file.stat().st_mtime_ns)


# A process runs many trials of a sweep, and a launcher may keep it for the next sweep.
@lru_cache(maxsize=1)
def _opened(path: Path, changed: int) -> Sweep:
    directory = SweepDirectory(path)
    description = directory.read()
    fixed = description["overrides"]
    # On its own: a fixed word of an experiment may be for a key that is swept as well, and stands back.
    space = Space(tuple(fixed), parse((), description["space"]).parameters)
    strategy = read_strategy(description["settings"], space)
    composer = Composer(fixed)
    return Sweep(
        directory,
        space,
        strategy,
        TrialSamplers(strategy, space),
        description["objective"],
        description["direction"] == "minimize",
        description.get("comparable", True) is not False,
        composer,
        Ledger(directory),
        description["places"],
        tuple(description.get("gpus") or ()),
        description["failures_forgiven"],
    )


def is_over(trial: FrozenTrial) -> bool:
    """Whether nothing is left to do for the trial."""
    return bool(trial.state.is_finished())
