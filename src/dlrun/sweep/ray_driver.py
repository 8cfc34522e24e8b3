"""The trials of a sweep as tasks of Ray's, and what becomes of those whose process or node is lost."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    NodeDiedError,
    OutOfMemoryError,
    RayError,
    TaskCancelledError,
    WorkerCrashedError,
)

from dlrun.errors import ConfigError, RunFailed, first_line
from dlrun.storage.disk import DiskFull
from dlrun.sweep.launch import DIED_TWICE, Watcher
from dlrun.sweep.ray_cluster import Cluster
from dlrun.sweep.ray_task import Order, Outcome, carry_out
from dlrun.sweep.sweep import Sweep
from dlrun.sweep.trial import record_death
from dlrun.system.signals import end_if_signalled

_LOOK_SECONDS = 0.5
_SAVE_SECONDS = 30.0  # for what is under way, when the sweep is interrupted
_QUEUED = 1000  # tasks that Ray is given at a time
_VARIABLES = (
    "DLRUN_DATA",
    "DLRUN_CACHE",
    "DLRUN_READING_BACK",
)  # that tasks have as this process has them


class OnRay:
    """Runs trials as tasks.

    One whose node is lost begins again on another: a node has many, and which was the cause is unknown. One that
    brings down node after node ends by the rule for all trials: three deaths in a row without a new checkpoint.
    One whose process alone has ended gets a second chance, with a node to itself, where no other trial is the cause.
    """

    def __init__(self, sweep: Sweep, watcher: Watcher, cluster: Cluster) -> None:
        self.sweep, self.watcher, self.cluster = sweep, watcher, cluster
        self.order = Order(
            sweep.directory.path.absolute(),
            Path.cwd(),
            {name: os.environ[name] for name in _VARIABLES if name in os.environ},
            max(1, int(cluster.settings.num_cpus)),
            cluster.num_gpus,
        )
        # A process that has used a GPU keeps a part of its memory; others are used again, which saves seconds.
        calls = 1 if cluster.num_gpus else 0
        self.task = ray.remote(max_retries=0, max_calls=calls, num_gpus=cluster.num_gpus)(carry_out)
        self.next_look = 0.0
        self.waiting: deque[int] = deque()
        self.elsewhere: set[int] = set()  # that another process has claimed
        self.under_way: dict[Any, int] = {}  # trials by the reference of their task
        # How far a trial was when its process died, or a signal to its process had it saved.
        self.died_at: dict[int, int] = {}
        self.saved_at: dict[int, int] = {}

    def run(self, numbers: Sequence[int]) -> None:
        """Bring all the trials to an end.

        Raises:
            ConfigError: a node cannot train any, or none has what they take.
            DiskFull: there is no room to go on.
            RunFailed: the sweep cannot go on for another reason.
        """
        self.sweep.ledger.plan(max(numbers) + 1)
        self.waiting.extend(numbers)
        try:
            while self.waiting or self.under_way or self.elsewhere:
                self._begin()
                self._collect()
                self._look()
            self.watcher.look()
        except BaseException:
            self._save()
            end_if_signalled()  # Ray makes another exception of it
            raise

    def _look(self) -> None:
        """A look at all trials takes its time: now and then is enough."""
        if time.monotonic() >= self.next_look:
            self.watcher.look()
            self.next_look = time.monotonic() + _LOOK_SECONDS

    def _begin(self) -> None:
        """Give Ray as many tasks as it may have."""
        if self.sweep.stops_at_failures():
            self.waiting.clear()
            self.elsewhere.clear()
        free = {number for number in self.elsewhere if not self.sweep.is_claimed(number)}
        self.elsewhere -= free
        self.waiting.extend(sorted(free))
        most = self.cluster.settings.max_concurrent or _QUEUED
        while self.waiting and len(self.under_way) < most:
            number = self.waiting.popleft()
            if self.sweep.may_train(number):
                cpus = self.cluster.settings.num_cpus
                if number in self.died_at:  # a node to itself
                    cpus = self.cluster.most_cpus() or cpus
                task = self.task.options(num_cpus=cpus, name=f"trial {number}")
                self.under_way[task.remote(self.order, number)] = number
        if self.under_way:
            self.cluster.refuse_endless_wait()

    def _collect(self) -> None:
        """Wait a moment, and see to each task that has ended."""
        if not self.under_way:
            time.sleep(_LOOK_SECONDS)
            return
        # The first ends the wait; with it come all that have ended by now.
        ray.wait(list(self.under_way), num_returns=1, timeout=_LOOK_SECONDS)
        tasks = list(self.under_way)
        ended, _ = ray.wait(tasks, num_returns=len(tasks), timeout=0)
        for task in ended:
            number = self.under_way.pop(task)
            try:
                outcome = ray.get(task)
            except NodeDiedError:
                self.waiting.append(number)
            except (WorkerCrashedError, OutOfMemoryError, TaskCancelledError):
                self._begin_again(number, self.died_at, self.sweep.progress(number))
            except RayError as error:
                raise RunFailed(f"Ray could not run trial {number}: {first_line(error)}") from error
            else:
                self._ended(number, outcome)

    def _ended(self, number: int, outcome: Outcome) -> None:
        if outcome.kind == "refused":
            raise ConfigError(outcome.text)
        if outcome.kind == "full":
            raise DiskFull(outcome.text)
        if outcome.kind == "failed":
            raise RunFailed(outcome.text)
        if outcome.kind == "saved":  # as on a node that is about to be taken away
            self._begin_again(number, self.saved_at, self.sweep.stopped_at(number))
        elif outcome.kind == "left":
            self.elsewhere.add(number)

    def _begin_again(self, number: int, before: dict[int, int], now: int) -> None:
        """Unless the trial has come no further than the last time that it ended in this way: then it has failed."""
        if before.get(number) == now:
            record_death(self.sweep, number, DIED_TWICE)
            return
        before[number] = now
        self.waiting.append(number)

    def _save(self) -> None:
        """Ask each trial under way to save, and wait for that; a second Ctrl-C ends the wait."""
        tasks = list(self.under_way)
        for task in tasks:
            ray.cancel(task, force=False, recursive=False)
        if tasks:
            ray.wait(tasks, num_returns=len(tasks), timeout=_SAVE_SECONDS)
