"""What dlrun uses of Optuna that Optuna does not document: nothing else here names a private part of it.

The journal of a sweep is Optuna's own format, written and read with what is its own but for three things: a lock
that a killed process gives up, entries that are written as a whole or not at all, and trials that are looked at
without a copy. Where a new version of Optuna changes one of the parts, tests/sweep/test_optuna_internals.py says
which.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.storages.journal._storage import JournalOperation, JournalStorageReplayResult
from optuna.trial import FrozenTrial

from dlrun.storage.append_file import Appender
from dlrun.storage.claims import claim
from dlrun.storage.sweep_directory import SweepDirectory

__all__ = ["JournalOperation"]  # what an entry of a journal does, by its number there

_NEVER = float("inf")


def trials_of(study: optuna.Study) -> list[FrozenTrial]:
    """Every trial of the study in the order of the numbers, to read and not to change.

    `study.get_trials()` copies them, and leaves some out where a Hyperband pruner sorts trials into brackets.
    """
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


def forget_cached_trials(study: optuna.Study) -> None:
    """Have the sampler of the study look at its trials as they are now."""
    study._thread_local.cached_all_trials = None


def is_within(distribution: BaseDistribution, internal: float) -> bool:
    """Whether the distribution has the value, given as Optuna stores it."""
    return bool(distribution._contains(internal))


class KernelLock(BaseJournalFileLock):
    """A lock that a killed process gives up; Optuna's own makes the others wait for half a minute.

    A thread that holds it may take it again.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._thread, self._held = path, threading.RLock(), ExitStack()
        self._times = 0  # that the thread has taken it

    def acquire(self) -> bool:
        with ExitStack() as undone:
            self._thread.acquire()
            undone.callback(self._thread.release)
            while not self._times and not self._taken():
                pass
            self._times += 1
            undone.pop_all()
        return True

    def release(self) -> None:
        self._times -= 1
        if not self._times:
            self._held.close()
        self._thread.release()

    def _taken(self) -> bool:
        with ExitStack() as tried:
            if taken := tried.enter_context(claim(self._path, 0)):
                self._held = tried.pop_all()
        return taken


class JournalFile(JournalFileBackend):
    """Optuna's journal file."""

    def __init__(self, sweep: SweepDirectory) -> None:
        lock = KernelLock(sweep.path / ".journal.lock")
        _cut_torn_entry(sweep, lock)
        super().__init__(str(sweep.journal), lock)
        self._path, self._kernel_lock = sweep.journal, lock

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add the entries, all of them or none.

        Raises:
            DiskFull: there is no room for them.
        """
        data = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with self.alone():
            file = Appender(self._path, flush_seconds=_NEVER)
            file.write(data)
            file.sync()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within this, no other process writes to the journal."""
        self._kernel_lock.acquire()
        try:
            yield
        finally:
            self._kernel_lock.release()


class MemoryJournal(BaseJournalBackend):
    """A journal that nobody else sees."""

    def __init__(self, entries: Iterable[dict[str, Any]]) -> None:
        self._entries = [*entries]

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        yield from self._entries[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._entries += map(_as_read, logs)

    def alone(self) -> AbstractContextManager[None]:
        """Nothing to do: no other process has it."""
        return nullcontext()


class TransactionalStorage(JournalStorage):
    """Optuna's storage in a journal, with changes that are made as a whole."""

    def __init__(self, journal: JournalFile | MemoryJournal) -> None:
        self._journal = journal
        self._held: list[dict[str, Any]] | None = None
        self._made: deque[dict[str, Any]] = deque()  # before they were in the journal
        super().__init__(journal)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Changes made within this are seen here at once, elsewhere at its end; an exception undoes them.

        Within another, it is a part of that one.
        """
        if self._held is not None:
            yield
            return
        with self._thread_lock:
            self._sync_with_backend()
        self._held = []
        try:
            yield
            if self._held:
                self._backend.append_logs(self._held)
                self._made.extend(map(_as_read, self._held))
        except BaseException:
            self._held = None
            with self._thread_lock:
                self._replay_result = JournalStorageReplayResult(self._worker_id_prefix)
                self._made.clear()
                self._sync_with_backend()
            raise
        finally:
            self._held = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """As `together`, and nobody else changes anything meanwhile: for what depends on how many trials there are."""
        assert self._held is None, "what others have changed since would not be seen"
        with self._journal.alone(), self.together():
            yield

    def _sync_with_backend(self) -> None:
        if self._held is not None:  # the state of the beginning holds until the end
            return
        known = self._replay_result
        for entry in self._backend.read_logs(known.log_number_read):
            if self._made and entry == self._made[0]:
                self._made.popleft()
                known.log_number_read += 1
            else:
                known.apply_logs([entry])

    def _write_log(self, op_code: int, extra_fields: dict[str, Any]) -> None:
        if self._held is None:
            super()._write_log(op_code, extra_fields)
            return
        known = self._replay_result
        entry = {"op_code": op_code, "worker_id": known.worker_id, **extra_fields}
        read = known.log_number_read
        try:
            known.apply_logs([_as_read(entry)])
        finally:
            known.log_number_read = read  # it is not in the journal yet
        self._held.append(entry)


class EndlessStudy(optuna.Study):
    """A study whose number of trials is not for its sampler to decide."""

    def stop(self) -> None:
        """Nothing: a sampler that has tried all there is goes on with what it tried before."""


def _as_read(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry as it will be once it was in a file."""
    return dict(json.loads(json.dumps(entry)))


def _cut_torn_entry(sweep: SweepDirectory, lock: KernelLock) -> None:
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
