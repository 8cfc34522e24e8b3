"""`python -m dlrun.worker RUN`: one rank of a run of several devices, from its start to its end."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress

from dlrun.commands._arguments import run_parser
from dlrun.config import settings
from dlrun.errors import ConfigError, RunFailed, first_line
from dlrun.runner import peers
from dlrun.runner.peers import Place, Report
from dlrun.runner.session import Watch
from dlrun.storage.disk import DiskFull
from dlrun.storage.index import find_run
from dlrun.storage.run_directory import RunDirectory
from dlrun.system.hardware import cores_each
from dlrun.system.orphans import end_with_parent
from dlrun.system.signals import StopRequest, ended_by_signals, ignore_signals
from dlrun.training.device import kind_of
from dlrun.training.ranks import ALONE, Ranks

_EPILOG = """\
The run must be there: `dlrun train … --prepare` makes one. A run that has a checkpoint goes on from it.

examples
  torchrun --standalone --nproc-per-node=4 -m dlrun.worker outputs/runs/2026-01-31_12-00-00_digits_cnn_1a2b3c
"""


def main(argv: list[str]) -> int:
    """Be the rank that the environment says, of the run that `argv` names; the exit code."""
    parser = run_parser("_worker", __doc__, _EPILOG)
    parser.add_argument("--trial", action="store_true", help="the run is of a trial of a sweep")
    parser.add_argument("overrides", nargs="*", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args(argv)
    place = Place.from_environment()
    run = find_run(arguments.run)
    if place.rank:
        _print_to_log(run, place.rank)
    end_with_parent()
    StopRequest.ends_at_second = False
    rank = _Rank(run, place, is_trial=arguments.trial)
    return rank.run(arguments.overrides, arguments.allow)


class _Rank:
    """This process as a rank of a run."""

    def __init__(self, directory: RunDirectory, place: Place, *, is_trial: bool) -> None:
        self.directory, self.place, self.is_trial = directory, place, is_trial
        self.ranks: Ranks = ALONE  # until it has met the others

    def run(self, words: list[str], allowed: list[str]) -> int:
        """Train the run, and end as all its ranks do."""
        try:
            with ended_by_signals():
                code = self._train(words, allowed)
        except SystemExit as end:
            self._end(Report("", int(end.code or 0)))
            raise
        except KeyboardInterrupt:
            self._end(Report("interrupted", 130))
            raise
        except Exception as error:
            return self._failed(error)
        if code:
            self._end(Report("", code), alike=True)
        else:
            self._remove_empty_log()
            peers.leave()
        return code

    def _train(self, words: list[str], allowed: list[str]) -> int:
        from dlrun.inference.load import override, read_config
        from dlrun.runner import resume

        plain = read_config(self.directory, allowed=allowed)
        if words:
            plain = override(plain, words)
        trainer = settings.parse(plain).trainer
        if trainer.num_threads is None:
            _share_cores(self.place.local_size)
        self.ranks = self.place.join(cuda=kind_of(trainer.accelerator) == "cuda")
        return resume.resume(
            plain, self.directory, overrides=words, watch=self._watch(), ranks=self.ranks
        )

    def _watch(self) -> Watch | None:
        """What a sweep adds to a run that is one of its trials."""
        if not self.is_trial or not self.ranks.first:
            return None
        from dlrun.sweep.trial import watch_of

        return watch_of(self.directory)

    def _failed(self, error: Exception) -> int:
        """Tell of the error: here, unless dlrun has started this process and tells of it."""
        error = peers.explain_loss(error) or error  # before the training, too
        launched = peers.LAUNCHED in os.environ and self.place.rank == 0
        own = isinstance(error, ConfigError | RunFailed)  # in words for the user
        if launched and not own:
            traceback.print_exception(error)
        words = str(error) if own else _in_short(error, traceback_above=launched)
        report = Report(
            words,
            2 if isinstance(error, ConfigError) else 1,
            lost=isinstance(error, peers.RankLost),
            disk_full=isinstance(error, DiskFull),
        )
        if not report.lost:
            peers.tell_failure(self.ranks, words)
        self._end(report, alike=isinstance(error, ConfigError | peers.RankFailed))
        if launched:
            return report.code
        raise error

    def _end(self, report: Report, *, alike: bool = False) -> None:
        """Leave the report; where all ranks end `alike`, rank 0 ends first, and where they may, it gets a moment."""
        report.leave()
        if not report.message:  # else it will be printed
            self._remove_empty_log()
        if self.place.rank == 0:
            ignore_signals()  # with which those that have started the ranks end all when one has ended
        if not report.lost:
            peers.end_with_first(self.ranks, alike=alike)

    def _remove_empty_log(self) -> None:
        log = peers.rank_log(self.directory, self.place.rank)
        with suppress(OSError):
            if self.place.rank and not log.stat().st_size:
                log.unlink()
                log.parent.rmdir()


def _in_short(error: Exception, *, traceback_above: bool) -> str:
    kind = type(error).__name__
    return f"{kind}, see the traceback above" if traceback_above else f"{kind}: {first_line(error)}"


def _print_to_log(run: RunDirectory, rank: int) -> None:
    """From now on, standard output and error are the rank's own log."""
    log = peers.rank_log(run, rank)
    log.parent.mkdir(exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    sys.stdout.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _share_cores(processes: int) -> None:
    """Compute with this process's part of the cores of the machine."""
    import torch

    torch.set_num_threads(cores_each(processes))
