"""`dlrun work`: one more process that trains trials of a sweep, beside a driver or without one."""

from __future__ import annotations

import gc
import sys
import time
from dataclasses import replace

from optuna.trial import FrozenTrial, TrialState

from dlrun.errors import ConfigError, command
from dlrun.storage.disk import DiskFull
from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep.finish import ended_early, finish_once
from dlrun.sweep.journal import read_journal
from dlrun.sweep.launch import Watcher
from dlrun.sweep.quota import Limits, Quota
from dlrun.sweep.resume import allow_words
from dlrun.sweep.sweep import is_over, open_sweep
from dlrun.sweep.trial import Interrupted
from dlrun.sweep.work import Worker
from dlrun.training.device import DeviceLost

_FAILURE, _INTERRUPTED = 1, 130
_LOOK_SECONDS = (
    5.0  # between two looks at whether the sweep was changed, where nothing else is to be done
)


def help_in(directory: SweepDirectory, limits: Limits, *, forced: bool) -> int:
    """Train trials of the sweep until it is over, or `limits` are reached; the exit code.

    It is 1 where a trial has failed: one that ended here, or any once the sweep is over.

    Args:
        forced: stack whatever can be stacked, whether it pays or not.

    Raises:
        ConfigError: its journal is damaged, or there is none.
    """
    journal, mend = read_journal(directory), command("resume", directory.path, "--no-driver")
    if not journal.entries:
        raise ConfigError(f"{directory.journal} is missing or empty: `{mend}` makes it")
    if journal.damaged:
        raise ConfigError(
            f"{directory.journal} is damaged: end all processes that work on the sweep, then `{mend}` mends it"
        )
    helper = _Helper(directory, limits, forced=forced)
    gc.freeze()  # as the driver does
    try:
        with limits:
            return helper.run()
    except Interrupted as end:
        code = end.code
    except (DiskFull, DeviceLost) as error:
        print(f"dlrun: error: {error}", file=sys.stderr)
        code = _FAILURE
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except SystemExit as end:  # SIGTERM or SIGHUP while no trial was under way
        code = int(end.code or 0)
    finally:
        gc.unfreeze()
        helper.watcher.display.close()
    return helper.reached_limit() if limits.is_late else helper.stopped(code)


class _Helper:
    def __init__(self, directory: SweepDirectory, limits: Limits, *, forced: bool) -> None:
        self.directory, self.limits, self.forced = directory, limits, forced
        self.here: set[int] = set()
        self._open()

    def run(self) -> int:
        """Train, and after each change of the sweep go on with it as it is then."""
        while True:
            Worker(self.sweep, self.watcher, forced=self.forced, limits=self.limits).run()
            self.watcher.display.close()
            quota = Quota(self.sweep, self.limits, self.here)
            if quota.is_used_up:
                return self.reached_limit()
            if not quota.is_outdated:
                code = self._over()
                if not self.limits.forever:
                    return code
                while not quota.is_outdated:
                    time.sleep(_LOOK_SECONDS)
            self._open()

    def stopped(self, code: int) -> int:
        """A signal came or the disk is full: say how to go on."""
        counts = self.watcher.standing.counts()
        print(
            f"dlrun: stopped with {counts}; continue with `{self._again()}`, here or elsewhere",
            file=sys.stderr,
        )
        return code

    def reached_limit(self) -> int:
        """This process may train no more, others may."""
        why = "the minutes are over" if self.limits.is_late else "as many as --trials allows"
        print(f"{self._summary()} ({why}); `{self._again()}` goes on")
        return self._code()

    def _open(self) -> None:
        # Its resources are its own: slots are for what the driver launches.
        self.sweep = replace(open_sweep(self.directory.path), helping=True, slots=None)
        self.watcher = Watcher(self.sweep, self.here)

    def _over(self) -> int:
        """The sweep is over; where no driver says so and no other process has, this one does."""
        self.watcher.look()
        standing = self.watcher.standing
        if finish_once(self.sweep, standing):
            return 1 if standing.count("failed") and self.here else 0
        done = f"nothing is left to train: {standing.counts()}"
        told = self._summary() if self.here else done
        if early := ended_early(self.sweep, self.sweep.ended_by(), standing):
            told += f", {early}"
        print(f"{told}; `{command('show', self.directory.path)}` shows its results")
        return 1 if standing.count("failed") and self.here else 0

    def _summary(self) -> str:
        count = len(self._ended())
        trials = f"{count} trial{'' if count == 1 else 's'}"
        return f"{trials} ended here; {self.watcher.standing.counts()}"

    def _ended(self) -> list[FrozenTrial]:
        return [t for t in map(self.sweep.ledger.trial, sorted(self.here)) if is_over(t)]

    def _code(self) -> int:
        failed = any(trial.state is TrialState.FAIL for trial in self._ended())
        return _FAILURE if failed else 0

    def _again(self) -> str:
        return command("work", self.directory.path, *allow_words(self.directory))
