"""The Optuna study of a sweep, in a journal file that processes on one or many machines share.

A journal and not SQLite: opening it takes no database library, an entry costs a tenth, and file locks
work on network file systems too.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from dlrun.errors import RunFailed, first_line, note
from dlrun.storage.disk import DiskFull
from dlrun.storage.run_directory import write_whole
from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep.journal import read_journal
from dlrun.sweep.optuna_internals import (
    EndlessStudy,
    JournalFile,
    MemoryJournal,
    TransactionalStorage,
    forget_cached_trials,
)

NAME = "sweep"
# User attributes of a trial. WORKED has each time that a process was at work on it, from and to in seconds since 1970.
_ATTEMPTS, _HELPED, _PROGRESS, WORKED = "attempts", "helped", "progress", "worked"
Direction = Literal["minimize", "maximize"]

optuna.logging.set_verbosity(optuna.logging.WARNING)  # dlrun reports trials itself


class Ledger:
    """The trials of one sweep by their number: planned, begun, ended.

    Any number of processes may hold one of the same sweep; each sees what the others wrote.
    """

    def __init__(self, where: SweepDirectory | MemoryJournal) -> None:
        journal = JournalFile(where) if isinstance(where, SweepDirectory) else where
        self._storage = TransactionalStorage(journal)
        self.study = EndlessStudy(study_name=NAME, storage=self._storage)
        self._study_id = self._storage.get_study_id_from_name(NAME)
        self._planned = self._storage.get_n_trials(self._study_id)

    def plan(self, count: int) -> None:
        """Have `count` trials, adding what is missing as waiting ones; of several processes that ask, one adds."""
        if self._planned >= count:
            return
        with self._storage.alone():
            self._planned = self._storage.get_n_trials(self._study_id)
            while self._planned < count:
                self.study.enqueue_trial({})
                self._planned += 1

    def together(self) -> AbstractContextManager[None]:
        """What is changed within this is written at its end, at once: each wait for the disk costs."""
        return self._storage.together()

    def trials(self) -> list[FrozenTrial]:
        """Every trial in the order of the numbers, to read and not to change."""
        return self._storage.get_all_trials(self._study_id, deepcopy=False)

    def trial(self, number: int) -> FrozenTrial:
        """One of them."""
        return self._storage.get_trial(self._id(number))

    def begin(
        self, number: int, distributions: Mapping[str, BaseDistribution], *, helping: bool = False
    ) -> Trial:
        """The trial, running and with all its parameters sampled; those of an interrupted one stay.

        Args:
            helping: by a process that the driver knows nothing of.

        Raises:
            RunFailed: the sampler raised something; the trial is as it was.
        """
        trial_id = self._id(number)
        # Samplers look at all trials, whatever a pruner thinks of them, and as they are now.
        self.study.pruner = optuna.pruners.NopPruner()
        forget_cached_trials(self.study)
        # A kill leaves all parameters or none: no sample is half made.
        with self._blaming_the_sampler(f"draw trial {number}"), self._storage.together():
            before = self._storage.get_trial(trial_id)
            if before.state is TrialState.WAITING:
                self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
            facts, now = before.user_attrs, _now()
            counted = (_ATTEMPTS, _HELPED) if helping else (_ATTEMPTS,)
            self._note(number, {name: facts.get(name, 0) + 1 for name in counted})
            self._note(number, {WORKED: [*facts.get(WORKED, ()), [now, now]]})
            trial = Trial(self.study, trial_id)
            for name, distribution in distributions.items():
                _suggest(trial, name, distribution)
        return trial

    def running(self, number: int) -> Trial:
        """The trial that another process has begun."""
        return Trial(self.study, self._id(number))

    def attempts(self, number: int) -> int:
        """How often the trial was begun or resumed."""
        return int(self.trial(number).user_attrs.get(_ATTEMPTS, 0))

    def helped(self, number: int) -> int:
        """How often of these by a process that the driver knows nothing of."""
        return int(self.trial(number).user_attrs.get(_HELPED, 0))

    def goes_on(self, number: int) -> None:
        """The trial is at work at this moment, or was up to it."""
        self._note(number, self._worked(number))

    def _worked(self, number: int) -> dict[str, Any]:
        """The fact that a process was at work on it from its last beginning until now."""
        *before, (begun, _) = self.trial(number).user_attrs.get(WORKED) or [[_now()] * 2]
        return {WORKED: [*before, [begun, max(begun, _now())]]}

    def stands_still(self, number: int, progress: int) -> int:
        """How often in a row the trial was begun with no more `progress` than this, now included."""
        before, times = self.trial(number).user_attrs.get(_PROGRESS, (None, 0))
        times = times + 1 if before == progress else 1
        self._note(number, {_PROGRESS: (progress, times)})
        return int(times)

    def completed(self, number: int, value: float, facts: Mapping[str, Any]) -> None:
        """The trial reached its end with this objective."""
        with self._blaming_the_sampler(f"take the result of trial {number}"), self.together():
            self._note(number, {**facts, **self._worked(number)})
            self.study.tell(number, value)

    def ended(self, number: int, state: TrialState, facts: Mapping[str, Any]) -> None:
        """The trial was pruned or has failed."""
        with self._blaming_the_sampler(f"take the end of trial {number}"), self.together():
            self._note(number, {**facts, **self._worked(number)})
            self.study.tell(number, state=state)

    def _note(self, number: int, facts: Mapping[str, Any]) -> None:
        for key, value in facts.items():
            self._storage.set_trial_user_attr(self._id(number), key, value)

    @contextmanager
    def _blaming_the_sampler(self, task: str) -> Iterator[None]:
        try:
            yield
        except (OSError, DiskFull):  # the journal's
            raise
        except Exception as error:
            name = type(self.study.sampler).__name__
            raise RunFailed(f"{name} could not {task}: {first_line(error)}") from error

    def _id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)


def create_study(sweep: SweepDirectory, direction: Direction) -> optuna.Study:
    """The study in `sweep`, an empty one where there was none; a damaged one is mended first, which a line says.

    For the driver alone, which holds the sweep.
    """
    _mend(sweep)
    return optuna.create_study(
        storage=JournalStorage(JournalFile(sweep)),
        study_name=NAME,
        direction=direction,
        load_if_exists=True,
    )


def open_study(sweep: SweepDirectory) -> optuna.Study:
    """The study in `sweep` as it is now, to read: nothing is locked, made or written.

    Raises:
        KeyError: it has none.
    """
    journal = read_journal(sweep)
    if journal.damaged:
        note(journal.words(sweep.journal))
    storage = JournalStorage(MemoryJournal(journal.entries))
    return optuna.load_study(storage=storage, study_name=NAME)


def rehearsal(direction: Direction, sweep: SweepDirectory | None = None) -> Ledger:
    """A ledger in memory to try things with, of the trials that `sweep` has now or of none."""
    journal = MemoryJournal(read_journal(sweep).entries if sweep else ())
    optuna.create_study(
        storage=JournalStorage(journal), study_name=NAME, direction=direction, load_if_exists=True
    )
    return Ledger(journal)


def make_pruner(name: str, evaluations: int) -> optuna.pruners.BasePruner:
    """The pruner called `name` (median, hyperband, none) for runs of so many evaluations."""
    if name == "median":
        # Five trials show what is usual; the first fifth of a run shows little.
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=evaluations // 5)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(1, evaluations))
    return optuna.pruners.NopPruner()


def is_finite(value: float | None) -> bool:
    """Whether an objective is a number that can be compared."""
    return value is not None and math.isfinite(value)


def _now() -> float:
    return round(time.time(), 2)


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> None:
    match distribution:
        case FloatDistribution(low=low, high=high, step=step, log=log):
            trial.suggest_float(name, low, high, step=step, log=log)
        case IntDistribution(low=low, high=high, step=step, log=log):
            trial.suggest_int(name, low, high, step=step, log=log)
        case CategoricalDistribution(choices=choices):
            trial.suggest_categorical(name, choices)


def _mend(sweep: SweepDirectory) -> None:
    """Replace a journal with damaged lines by a whole one, and keep the other beside it."""
    journal = read_journal(sweep)
    if not journal.damaged:
        return
    kept = sweep.journal.with_name(f"{sweep.journal.name}.damaged")
    note(f"{journal.words(sweep.journal)}; as it was it is kept as {kept.name}")
    shutil.copyfile(sweep.journal, kept)
    write_whole(sweep.journal, "".join(json.dumps(entry) + "\n" for entry in journal.entries))
