"""The Optuna study of a sweep, in a journal file that processes on one or many machines share.

A journal and not SQLite: opening it takes no database library, an entry costs a tenth, and file locks
work on network file systems too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import optuna
from filelock import FileLock
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.trial import FrozenTrial, Trial, TrialState

from dlrun.sweep.directory import SweepDirectory

NAME = "sweep"
_ATTEMPTS = "attempts"  # user attribute of a trial
Direction = Literal["minimize", "maximize"]

optuna.logging.set_verbosity(optuna.logging.WARNING)  # dlrun tells of trials itself


class Ledger:
    """The trials of one sweep by their number: planned, begun, ended.

    Any number of processes may hold one of the same sweep; each sees what the others wrote.
    """

    def __init__(self, sweep: SweepDirectory) -> None:
        self._journal = _Journal(sweep)
        self._storage = JournalStorage(self._journal)
        self.study = optuna.load_study(storage=self._storage, study_name=NAME)
        self._study_id = self._storage.get_study_id_from_name(NAME)
        self._planned = self._storage.get_n_trials(self._study_id)

    def plan(self, count: int) -> None:
        """Have `count` trials, adding what is missing as waiting ones; for the driver alone."""
        while self._planned < count:
            self.study.enqueue_trial({})
            self._planned += 1

    def trials(self) -> list[FrozenTrial]:
        """Every trial in the order of the numbers, to read and not to change."""
        return self._storage.get_all_trials(self._study_id, deepcopy=False)

    def trial(self, number: int) -> FrozenTrial:
        """One of them."""
        return self._storage.get_trial(self._id(number))

    def begin(self, number: int, distributions: Mapping[str, BaseDistribution]) -> Trial:
        """The trial, running and with all its parameters drawn; those of an interrupted one stay."""
        trial_id = self._id(number)
        # Samplers look at all trials, whatever a pruner thinks of them.
        self.study.pruner = optuna.pruners.NopPruner()
        with self._journal.together():  # a kill leaves all parameters or none: no draw is half made
            before = self._storage.get_trial(trial_id)
            if before.state is TrialState.WAITING:
                self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
            attempts = before.user_attrs.get(_ATTEMPTS, 0)
            self._storage.set_trial_user_attr(trial_id, _ATTEMPTS, attempts + 1)
            trial = Trial(self.study, trial_id)
            for name, distribution in distributions.items():
                _suggest(trial, name, distribution)
        return trial

    def attempts(self, number: int) -> int:
        """How often the trial was begun or gone on with."""
        return int(self.trial(number).user_attrs.get(_ATTEMPTS, 0))

    def completed(self, number: int, value: float, facts: Mapping[str, Any]) -> None:
        """The trial reached its end with this objective."""
        self._note(number, facts)
        self.study.tell(number, value)

    def ended(self, number: int, state: TrialState, facts: Mapping[str, Any]) -> None:
        """The trial was pruned or has failed."""
        self._note(number, facts)
        self.study.tell(number, state=state)

    def _note(self, number: int, facts: Mapping[str, Any]) -> None:
        for key, value in facts.items():
            self._storage.set_trial_user_attr(self._id(number), key, value)

    def _id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)


def create_study(sweep: SweepDirectory, direction: Direction) -> optuna.Study:
    """The study in `sweep`, an empty one where there was none."""
    return optuna.create_study(
        storage=JournalStorage(_Journal(sweep)),
        study_name=NAME,
        direction=direction,
        load_if_exists=True,
    )


def open_study(sweep: SweepDirectory) -> optuna.Study:
    """The study in `sweep`, whatever processes are writing to it."""
    return optuna.load_study(storage=JournalStorage(_Journal(sweep)), study_name=NAME)


def make_pruner(name: str, evaluations: int) -> optuna.pruners.BasePruner:
    """The pruner called `name` (median, hyperband, none) for runs of so many evaluations."""
    if name == "median":
        # Five trials tell what is usual; the first fifth of a run tells little.
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=evaluations // 5)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(1, evaluations))
    return optuna.pruners.NopPruner()


def is_finite(value: float | None) -> bool:
    """Whether an objective is a number that can be compared."""
    return value is not None and math.isfinite(value)


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> None:
    match distribution:
        case FloatDistribution(low=low, high=high, step=step, log=log):
            trial.suggest_float(name, low, high, step=step, log=log)
        case IntDistribution(low=low, high=high, step=step, log=log):
            trial.suggest_int(name, low, high, step=step, log=log)
        case CategoricalDistribution(choices=choices):
            trial.suggest_categorical(name, choices)


class _KernelLock(BaseJournalFileLock):
    """A lock that a killed process gives up; Optuna's own makes the others wait for half a minute."""

    def __init__(self, path: str) -> None:
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        self._lock.acquire(poll_interval=0.002)
        return True

    def release(self) -> None:
        self._lock.release()


class _Journal(JournalFileBackend):
    """Optuna's journal file."""

    def __init__(self, sweep: SweepDirectory) -> None:
        lock = _KernelLock(str(sweep.path / ".journal.lock"))
        _cut_torn_entry(sweep, lock)
        super().__init__(str(sweep.journal), lock)
        self._held: list[dict[str, Any]] | None = None

    @contextmanager
    def together(self) -> Iterator[None]:
        """Entries made within this are appended at its end, all at once."""
        self._held = []
        try:
            yield
            super().append_logs(self._held)
        finally:
            self._held = None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self._held is None:
            super().append_logs(logs)
        else:
            self._held += logs


def _cut_torn_entry(sweep: SweepDirectory, lock: _KernelLock) -> None:
    """What a full disk or a power cut left of a last entry would spoil the next one."""
    if not sweep.journal.exists():
        return
    lock.acquire()
    try:
        with sweep.journal.open("rb+") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            if file.read(1) in (b"\n", b""):
                return
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
    finally:
        lock.release()
