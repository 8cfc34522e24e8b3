"""The processes that train one run on this machine: started and watched by torch's elastic agent, stopped from here.

`torch.distributed.launcher` has the same agent, but kills what has not ended half a minute after a signal, and ends at
a hang-up that is to be ignored. So the agent is in a thread here, and signals go to the ranks, which save and end.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from torch.distributed.elastic.agent.server.api import RunResult, WorkerSpec
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from dlrun.errors import ConfigError, RunFailed, command, first_line
from dlrun.runner.peers import LAUNCHED, RankDied, RankEnded, Report, rank_log
from dlrun.storage.disk import DiskFull
from dlrun.storage.run_directory import RunDirectory
from dlrun.system.orphans import helped_by_children
from dlrun.system.signals import answered, warning_signals

_LOOK_SECONDS = 0.1


class _Processes(threading.Thread):
    """The agent at work, and what came of it."""

    def __init__(self, count: int, words: Sequence[str], folder: Path) -> None:
        super().__init__(daemon=True)
        self.result: RunResult | None = None
        self.error: BaseException | None = None
        self.signals: list[signal.Signals] = []
        self._sent = False
        rendezvous = RendezvousParameters(
            backend="c10d",
            endpoint="localhost:0",
            run_id=uuid.uuid4().hex,
            min_nodes=1,
            max_nodes=1,
            local_addr="localhost",
        )
        spec = WorkerSpec(
            role="rank",
            local_world_size=count,
            entrypoint=sys.executable,
            args=("-m", "dlrun.worker", *words),
            rdzv_handler=get_rendezvous_handler(rendezvous),
            max_restarts=0,
            monitor_interval=_LOOK_SECONDS,
            local_addr="localhost",
        )
        self._agent = LocalElasticAgent(spec, DefaultLogsSpecs(log_dir=str(folder)))

    def run(self) -> None:
        try:
            self.result = self._agent.run()
        except BaseException as error:
            self.error = error

    @property
    def in_hurry(self) -> bool:
        """Whether a second signal has come; what a queue warns of is none."""
        return len([one for one in self.signals if one not in warning_signals()]) > 1

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first one asks the ranks to save and end, a second one ends them."""
        self.signals.append(signal.Signals(number))
        self.forward()

    def forward(self) -> None:
        """Send what has come to the ranks, once they are there."""
        ranks = [worker.id for worker in self._agent.get_worker_group().workers]
        if not self.signals or not all(isinstance(rank, int) for rank in ranks):
            return
        for rank in ranks:
            with suppress(ProcessLookupError):
                if self.in_hurry:  # with all that it has started: each has a session of its own
                    os.killpg(rank, signal.SIGKILL)
                elif not self._sent:
                    os.kill(rank, self.signals[0])
        self._sent = True


def run_processes(
    run: RunDirectory,
    count: int,
    words: Sequence[str],
    *,
    meanwhile: Callable[[], None] | None = None,
) -> int:
    """Train the run whose config is in `run` in `count` processes of this machine; the exit code as of one process.

    Args:
        words: for the command line of each rank, beside the run.
        meanwhile: is called again and again until they have ended.

    Raises:
        ConfigError: the ranks refused the run; nothing was done.
        RankDied: a rank ended without a word.
        RunFailed: a rank failed.
    """
    _quiet_torch()
    with TemporaryDirectory(prefix="dlrun_", ignore_cleanup_errors=True) as folder:
        processes = _Processes(count, [str(run.path), *words], Path(folder))
        os.environ[LAUNCHED] = "1"
        try:
            with helped_by_children(), answered(processes.note):
                processes.start()
                while processes.is_alive():
                    processes.join(_LOOK_SECONDS)
                    processes.forward()
                    if meanwhile is not None:
                        meanwhile()
        finally:
            del os.environ[LAUNCHED]
        reports = {
            int(file.parent.name): Report(**json.loads(file.read_text(encoding="utf-8")))
            for file in Path(folder).rglob("error.json")
        }
    return _outcome(run, count, processes, reports)


def _outcome(
    run: RunDirectory, count: int, processes: _Processes, reports: dict[int, Report]
) -> int:
    """The exit code, or the error of the rank that was the first to have one."""
    asked = processes.signals  # to end
    if processes.in_hurry:  # what was not saved is lost
        return 128 + asked[0]
    failures: dict[int, Any] = processes.result.failures if processes.result else {}
    silent = {rank: one.exitcode for rank, one in sorted(failures.items()) if rank not in reports}
    told = {rank: report for rank, report in sorted(reports.items()) if not report.lost}
    # When one has ended, the agent ends the others by this signal, also before they can tell of it.
    first = {rank: code for rank, code in silent.items() if code != -signal.SIGTERM}
    silent = first if first or told else silent
    if not asked:  # one that the system ended takes others with it, which may end as at a signal
        for rank, code in silent.items():
            raise RankDied(_dead(run, count, rank, code))
    for rank, report in sorted(told.items(), key=lambda one: (one[1].code >= 128, one[0])):
        return _told(run, count, rank, report)
    if asked:
        return 128 + asked[0]
    for report in reports.values():
        raise RankEnded(f"{report.message}; continue with `{command('resume', run.path)}`")
    if isinstance(processes.error, OSError | RuntimeError):
        reason = first_line(processes.error)
        raise RunFailed(f"the {count} processes of the run could not be started: {reason}")
    if processes.error is not None:
        raise processes.error
    return 0


def _told(run: RunDirectory, count: int, rank: int, report: Report) -> int:
    """The end that a rank tells of itself."""
    if report.code >= 128:
        if not report.message:
            return report.code
        raise KeyboardInterrupt
    if report.code == 2:
        raise ConfigError(report.message)
    if report.disk_full:
        raise DiskFull(report.message)
    if rank == 0:
        raise RunFailed(report.message)
    raise RankEnded(
        f"rank {rank} of {count} failed ({report.message}; see {rank_log(run, rank)}); "
        f"continue with `{command('resume', run.path)}`"
    )


def _dead(run: RunDirectory, count: int, rank: int, code: int) -> str:
    ended = f"ended with exit code {code}"
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        ended = f"was ended by {name}{hint}"
    log = rank_log(run, rank)
    where = f"; see {log}" if log.is_file() and log.stat().st_size else ""
    return (
        f"rank {rank} of {count} {ended}, and the others with it{where}; "
        f"continue with `{command('resume', run.path)}`"
    )


def _quiet_torch() -> None:
    """What the agent says of a rank that ends is said here in a line of its own."""
    for name in ("torch.distributed.elastic", "torch.distributed.nn"):
        logger = logging.getLogger(name)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
