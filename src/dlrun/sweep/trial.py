"""One trial, in whatever process a launcher puts it: sampled, trained or resumed, pruned, reported."""

from __future__ import annotations

import statistics
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

from optuna.trial import Trial, TrialState

from dlrun import __version__
from dlrun.errors import ConfigError, RunFailed, first_line
from dlrun.runner import metadata, resume, start
from dlrun.runner.failures import kept
from dlrun.runner.hparams import show_failed
from dlrun.runner.launch import count_devices, prepare_run, train_in_processes
from dlrun.runner.peers import RankDied
from dlrun.runner.session import Pruned, Session, Watch
from dlrun.runner.summary import Identity
from dlrun.stacked.memory import StackTooLarge
from dlrun.storage.disk import DiskFull, disk_full
from dlrun.storage.links import open_here
from dlrun.storage.run_directory import RunDirectory
from dlrun.storage.run_summary import RunSummary
from dlrun.sweep import resources
from dlrun.sweep.compose import TrialConfig
from dlrun.sweep.data_cache import data_loader
from dlrun.sweep.journal import facts_of
from dlrun.sweep.space.parse import by_key
from dlrun.sweep.study import is_finite, make_pruner
from dlrun.sweep.sweep import Sweep, is_over, open_sweep
from dlrun.tracking.numbers import number_text
from dlrun.training.device import require_device
from dlrun.training.device_errors import lacks_memory
from dlrun.training.loop import Engine

Observer = Callable[[int, Engine], None]  # number of the trial, its engine after an evaluation


_OVER = ("completed", "pruned", "failed")  # statuses of runs
_DEATHS = 3  # in a row without a new checkpoint, before the trial itself is to blame
_DIED = "each of its processes ended without an error message (killed? out of memory?)"


class Interrupted(Exception):
    """A signal ended a trial, which is saved; `code` is the exit code that goes with the signal."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def run_trial(sweep: Sweep, number: int, observe: Observer | None = None) -> bool:
    """Bring the trial to its end, from wherever it stands, unless another process is at it; whether that was done.

    Raises:
        Interrupted: a signal came; what was done is saved, and the trial can be resumed.
        DiskFull: there is no room to go on, and the same holds.
        DeviceLost: the trial has failed, and this process can train no other.
    """
    with sweep.claim(number) as mine:
        if not mine or is_over(sweep.ledger.trial(number)):  # before it waits for a slot
            return False
        with _slot(sweep) as slot:
            if not sweep.may_train(number):  # asked last: it may have waited long for its slot
                return False
            Attempt(sweep, number, slot=slot, observe=observe).run()
            return True


def _slot(sweep: Sweep) -> AbstractContextManager[int | None]:
    if sweep.slots is None:
        return nullcontext()
    return resources.slot_among(sweep.directory.path / ".places", sweep.slots)


class Attempt:
    """One attempt at a trial that this process has claimed: begun in the study, and sampled.

    Args:
        at_once: how many runs this process trains at a time.
        is_rank: the process that has started this one, as a rank of the trial's run, has begun the trial.
    """

    def __init__(
        self,
        sweep: Sweep,
        number: int,
        *,
        slot: int | None = None,
        observe: Observer | None = None,
        at_once: int = 1,
        is_rank: bool = False,
    ) -> None:
        self.sweep, self.number, self.slot, self.observe = sweep, number, slot, observe
        self.at_once, self.is_rank = at_once, is_rank
        self.failure: Exception | None = None
        sweep.ledger.study.sampler = sweep.samplers.sampler(number)
        if is_rank:
            self.trial: Trial = sweep.ledger.running(number)
        else:
            self.trial = sweep.ledger.begin(
                number, sweep.space.distributions(), helping=sweep.helping
            )
        self._configs: dict[int, tuple[TrialConfig, list[str]]] = {}

    def run(self) -> None:
        """Train one seed after the other, then report."""
        if self.gives_up():
            return
        for index, run in enumerate(self.sweep.runs(self.number)):
            try:
                code = self._train(index)
            except DiskFull:  # no fault of the trial's
                raise
            except Exception as error:
                self.failure = kept(error)
                break
            if code:
                self.sweep.ledger.goes_on(self.number)
                raise Interrupted(code)
            if _summary(run).status == "pruned":
                break
        self.report()
        if self.failure is not None:
            require_device()

    def gives_up(self) -> bool:
        """Whether this process would most likely be the next to die of the trial, which then has failed."""
        if self.deaths <= _DEATHS:
            return False
        record_death(self.sweep, self.number, _DIED)
        return True

    def config(self, index: int) -> TrialConfig:
        """The config of one seed.

        Raises:
            ConfigError: there is none with these values.
        """
        return self._config(index)[0]

    def open(self, index: int, *, beside_others: bool = False) -> Session | None:
        """One seed's run, begun or resumed, ready to train; None where it is over.

        Args:
            beside_others: this process has opened other runs, to be trained with it.

        Raises:
            StackTooLarge: those have taken the memory; nothing is said of this one.
            Exception: whatever keeps it from being trained; its directory says so.
        """
        run = self.sweep.runs(self.number)[index]
        before = run.read_summary() or {}
        if before.get("status") in ("completed", "pruned"):
            return None
        if before.get("status") == "failed":
            raise RunFailed(str((before.get("error") or {}).get("message")))
        words, config = self._words(), None
        try:
            config, words = self._config(index)
            return self._begin_or_reopen(run, config, words, self.watch(index))
        except Exception as error:
            if (full := disk_full(error)) is not None:
                raise full from error
            if beside_others and lacks_memory(error):
                raise StackTooLarge(self.at_once) from None
            self._record_failure(run, config, words, error)
            raise

    def watch(self, index: int) -> Watch:
        """What the sweep adds to one seed's run."""
        return Watch(self._swept(), self._after_evaluation(index), data_loader, self.at_once)

    def report(self) -> None:
        """Report to the study how the trial ended."""
        summaries = [_summary(run) for run in self.sweep.runs(self.number)]
        ended = [summary for summary in summaries if summary.status in ("completed", "pruned")]
        values = [summary.metrics.get(self.sweep.objective) for summary in ended]
        pruned = any(summary.status == "pruned" for summary in ended)
        if self.failure is None and not pruned and not all(map(is_finite, values)):
            self.failure = RunFailed(f"{self.sweep.objective} is not a finite number")
        facts = facts_of(ended)
        if ended and self.sweep.strategy.settings.seeds > 1:
            facts["each"] = [run.metrics for run in ended if run.status == "completed"]
        if self.failure is not None:
            error: dict[str, Any] = {"error": _failure(self.failure)}
            if any(run.mapping("error").get("kind") == "Diverged" for run in summaries):
                error["diverged"] = True
            self.sweep.ledger.ended(self.number, TrialState.FAIL, facts | error)
        elif pruned:
            self.sweep.ledger.ended(self.number, TrialState.PRUNED, facts)
        else:
            numbers = [value for value in values if value is not None]
            more = {"values": numbers} if len(numbers) > 1 else {}
            self.sweep.ledger.completed(self.number, statistics.fmean(numbers), facts | more)

    @cached_property
    def deaths(self) -> int:
        """How often in a row the trial was begun without getting any further, this time included."""
        if self.sweep.ledger.attempts(self.number) <= 1:
            return 0
        if any(_summary(run).status == "stopped" for run in self.sweep.runs(self.number)):
            return 0  # by a signal or a full disk, of which it says so
        return self.sweep.ledger.stands_still(self.number, self.sweep.progress(self.number))

    def _train(self, index: int) -> int:
        """Train one seed's run to its end or until a signal, in a process for each of its devices; the exit code."""
        try:
            config, words = self._config(index)
            count = count_devices(config.plain)
        except Exception:  # which opening it meets as well, and records
            count = 1
        run = self.sweep.runs(self.number)[index]
        if count == 1 or (run.read_summary() or {}).get("status") in _OVER:
            session = self.open(index)
            return session.train() if session else 0
        try:
            return self._train_in_processes(run, config, words, count)
        except DiskFull:
            raise
        except RunFailed as error:  # its ranks have said so in its summary, unless they have died
            _record_end(run, str(error), ("prepared", "running", "stopped"))
            raise
        except Exception as error:
            self._record_failure(run, config, words, error)
            raise

    def _train_in_processes(
        self, run: RunDirectory, config: TrialConfig, words: list[str], count: int
    ) -> int:
        overrides = [*self.sweep.space.fixed, *words]
        if not run.config_file.exists():
            prepare_run(config.plain, run, overrides, config.choices)
        while True:
            try:
                return train_in_processes(config.plain, run, count, ["--trial"])
            except RankDied:  # which may be no fault of the trial's
                progress = self.sweep.progress(self.number)
                if self.sweep.ledger.stands_still(self.number, progress) >= _DEATHS:
                    raise

    def _begin_or_reopen(
        self, run: RunDirectory, config: TrialConfig, words: list[str], watch: Watch
    ) -> Session:
        overrides = [*self.sweep.space.fixed, *words]
        if run.read_summary() is None:  # killed before its first step: nothing to resume
            run.config_file.unlink(missing_ok=True)
        if run.config_file.exists():
            return resume.reopen(config.plain, run, overrides=overrides, watch=watch)
        return start.begin(
            config.plain, run, overrides=overrides, choices=config.choices, watch=watch
        )

    def _words(self) -> list[str]:
        plan = self.sweep.strategy.plan
        return [*self.sweep.space.words(self.trial.params), *plan.words(self.number)]

    def _swept(self) -> dict[str, str]:
        plan = self.sweep.strategy.plan
        return self.sweep.space.labels(self.trial.params) | by_key(plan.words(self.number))

    def _config(self, index: int) -> tuple[TrialConfig, list[str]]:
        """The config of one seed, and the words that made it."""
        if index not in self._configs:
            self._configs[index] = self._compose(index)
        return self._configs[index]

    def _compose(self, index: int) -> tuple[TrialConfig, list[str]]:
        words = self._words()
        config = self.sweep.composer.trial(words)
        more = [f"seed={config.plain['seed'] + index}"] if index else []
        if self.slot is not None:
            count = self.sweep.slots or 1
            if config.plain["trainer"]["accelerator"] != "cpu":
                resources.use_gpu(self.slot, self.sweep.gpus, count)
            more += resources.thread_words(config.plain, count)
        words = [*words, *more]
        return (self.sweep.composer.trial(words) if more else config), words

    def _after_evaluation(self, index: int) -> Callable[[Engine], None]:
        """Report each evaluation; the first seed's values decide whether the trial is pruned."""
        trial, objective = self.trial, self.sweep.objective
        pruner, reported = self.sweep.strategy.settings.pruner, 0
        # What a process elsewhere trains, the driver can show only by what is reported.
        helping_alone = self.sweep.helping and self.at_once == 1
        is_away = self.sweep.slots is not None or self.is_rank or helping_alone
        reports = index == 0 and (pruner != "none" or is_away)
        if reports:
            known = self.sweep.ledger.trial(self.number).intermediate_values
            reported = max(known, default=0)

        def after_evaluation(engine: Engine) -> None:
            if self.observe is not None:
                self.observe(self.number, engine)
            self.sweep.goes_on(self.number)
            value, step = engine.latest.get(objective), engine.evaluations
            # A resumed run repeats what came after its checkpoint: that was reported, and judged, before.
            if not reports or not is_finite(value) or step < reported:
                return
            assert value is not None
            if step > reported:
                trial.report(value, step)
            self.sweep.ledger.study.pruner = make_pruner(pruner, engine.evaluations_in_all)
            # Once all is trained there is nothing left to save by pruning.
            if not engine.finished and trial.should_prune():
                raise Pruned(f"{objective} {number_text(value)} at evaluation {step}")

        return after_evaluation

    def _record_failure(
        self, run: RunDirectory, config: TrialConfig | None, words: list[str], error: Exception
    ) -> None:
        """Leave config, log and summary where the run itself had no chance to."""
        if (run.read_summary() or {}).get("status") == "failed":
            return
        run.path.mkdir(parents=True, exist_ok=True)
        overrides = [*self.sweep.space.fixed, *words]
        if not run.config_file.exists():
            metadata.write_config(run, config.plain if config else {}, overrides)
        with open_here(run.log, "a", encoding="utf-8") as log:
            log.write("".join(traceback.format_exception(error)))
        run.write_summary(
            {
                "name": config.plain["name"] if config else "",
                "status": "failed",
                "created": metadata.now(),
                "choices": config.choices if config else {},
                "swept": self._swept(),
                "error": {"kind": type(error).__name__, "message": str(error), "step": 0},
                "version": __version__,
            }
        )
        if config is not None:
            identity = Identity(config.plain, config.choices, overrides, "", self._swept())
            show_failed(run, identity)


def watch_of(run: RunDirectory) -> Watch:
    """What rank 0 of a trial's run, which is trained by several processes, has to report to its sweep."""
    seed = run.path.name.removeprefix("seed") if run.path.name.startswith("seed") else ""
    trial = run.path.parent if seed else run.path
    sweep = open_sweep(trial.parent)
    return Attempt(sweep, int(trial.name), is_rank=True).watch(int(seed or 0))


def record_death(sweep: Sweep, number: int, reason: str) -> None:
    """Say what became of a trial, which its process could not: in the study, and in each run's summary and log."""
    sweep.ledger.ended(number, TrialState.FAIL, {"error": reason})
    for run in sweep.runs(number):
        _record_end(run, reason)


def _record_end(run: RunDirectory, reason: str, statuses: Sequence[str] = ("running",)) -> None:
    """Say in a run's own summary and log what became of it, which its process could not.

    Args:
        statuses: those in which a summary that nobody writes any more may be.
    """
    summary = run.read_summary()
    if summary is None or summary.get("status") not in statuses:
        return
    run.write_summary({**summary, "status": "failed", "error": {"kind": "Died", "message": reason}})
    with open_here(run.log, "a", encoding="utf-8") as log:
        log.write(f"{metadata.now()} ERROR {reason}\n")


def _failure(error: Exception) -> str:
    """What went wrong on one line, with the kind of error unless the words are dlrun's own."""
    if isinstance(error, ConfigError | RunFailed) or not str(error):
        return first_line(error)
    return f"{type(error).__name__}: {first_line(error)}"


def _summary(run: RunDirectory) -> RunSummary:
    data = run.read_summary() or {}
    return RunSummary(run.path, str(data.get("status")), data)
