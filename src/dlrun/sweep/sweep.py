"""A sweep under way, as every process at work on it knows it: from its directory alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from dlrun.storage import claims
from dlrun.storage.run_directory import RunDirectory
from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep.compose import Composer
from dlrun.sweep.repetitions import Repetitions
from dlrun.sweep.samplers.per_trial import TrialSamplers
from dlrun.sweep.settings import Strategy, read_strategy
from dlrun.sweep.space.parse import Space, parse
from dlrun.sweep.study import Ledger


@dataclass
class Sweep:
    """One sweep.

    Attributes:
        comparable: whether one of its trials can be called the best.
        slots: trials at a time that share this machine; None where each has resources of its own.
        forgiven: trials that had failed before this sweep was resumed.
    """

    directory: SweepDirectory
    space: Space
    strategy: Strategy
    samplers: TrialSamplers
    objective: str
    comparable: bool
    composer: Composer
    ledger: Ledger
    slots: int | None
    forgiven: int

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

    def is_claimed(self, number: int) -> bool:
        """Whether a process is at work on the trial."""
        return claims.is_claimed(self.directory.claims, number)

    @contextmanager
    def claim(self, number: int) -> Iterator[bool]:
        """Try to hold the trial for this process; whether that worked. A killed process lets go."""
        self.directory.trial(number).mkdir(exist_ok=True)
        with claims.claim(self.directory.claims, number) as mine:
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
        description.get("comparable", True) is not False,
        composer,
        Ledger(directory),
        description["places"],
        description["failures_forgiven"],
    )


def is_over(trial: FrozenTrial) -> bool:
    """Whether nothing is left to do for the trial."""
    return bool(trial.state.is_finished())
