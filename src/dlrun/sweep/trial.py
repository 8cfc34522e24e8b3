"""One trial, in whatever process a launcher puts it: drawn, trained or carried on, judged, told."""

from __future__ import annotations

import statistics
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from optuna.trial import Trial, TrialState

from dlrun import __version__, experiment, record
from dlrun.engine import Engine
from dlrun.errors import ConfigError, RunFailed, first_line
from dlrun.report import Identity
from dlrun.run_directory import RunDirectory
from dlrun.runs import RunSummary
from dlrun.session import Pruned, Watch
from dlrun.sweep import places
from dlrun.sweep.composer import TrialConfig
from dlrun.sweep.opened import Sweep, is_over
from dlrun.sweep.shared_data import data_loader
from dlrun.sweep.space import by_key
from dlrun.sweep.study import is_finite, make_pruner

Observer = Callable[[int, Engine], None]  # number of the trial, its engine after an evaluation


_DEATHS = 3  # in a row without a new checkpoint, before the trial itself is to blame
_DIED = "each process that trained it died without a word (killed? out of memory?)"


class Interrupted(Exception):
    """A signal ended a trial, which is saved; `code` is the exit code that goes with the signal."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def run_trial(sweep: Sweep, number: int, observe: Observer | None = None) -> None:
    """Bring the trial to its end, from wherever it stands, unless another process is at it.

    Raises:
        Interrupted: a signal came; what was done is saved, and the trial can be carried on.
    """
    with sweep.claim(number) as mine:
        if not mine or is_over(sweep.ledger.trial(number)):
            return
        with _place(sweep) as place:
            if not sweep.stops_at_failures():  # asked last: it may have waited long for its place
                _Attempt(sweep, number, place, observe).run()


def _place(sweep: Sweep) -> AbstractContextManager[int | None]:
    if sweep.places is None:
        return nullcontext()
    return places.place_among(sweep.directory.path / ".places", sweep.places)


class _Attempt:
    """One go at a trial."""

    def __init__(
        self, sweep: Sweep, number: int, place: int | None, observe: Observer | None
    ) -> None:
        self.sweep, self.number, self.place, self.observe = sweep, number, place, observe
        sweep.ledger.study.sampler = sweep.draws.sampler(number)
        self.trial: Trial = sweep.ledger.begin(number, sweep.space.distributions())

    def run(self) -> None:
        """Train every seed, then tell."""
        if self._keeps_dying():
            self._tell(TrialState.FAIL, [], error=_DIED)
            for run in self.sweep.runs(self.number):
                record_death(run, _DIED)
            return
        values: list[float] = []
        summaries: list[RunSummary] = []
        for index, run in enumerate(self.sweep.runs(self.number)):
            try:
                summary = self._train(run, index)
                value = summary.metrics.get(self.sweep.objective)
                if summary.status != "pruned" and not is_finite(value):
                    raise RunFailed(f"{self.sweep.objective} is not a finite number")
            except Exception as error:
                if isinstance(error, Interrupted):
                    raise
                self._tell(TrialState.FAIL, summaries, error=_failure(error))
                return
            summaries.append(summary)
            if summary.status == "pruned":
                self._tell(TrialState.PRUNED, summaries)
                return
            assert value is not None
            values.append(value)
        facts = self._facts(summaries)
        if len(values) > 1:
            facts["values"] = values
        self.sweep.ledger.completed(self.number, statistics.fmean(values), facts)

    def _keeps_dying(self) -> bool:
        """Whether this process would most likely be the next to die of the trial."""
        if self.sweep.ledger.attempts(self.number) <= 1:
            return False
        last = [run.checkpoints / "last.pt" for run in self.sweep.runs(self.number)]
        progress = max((file.stat().st_mtime_ns for file in last if file.exists()), default=0)
        return self.sweep.ledger.stands_still(self.number, progress) > _DEATHS

    def _train(self, run: RunDirectory, index: int) -> RunSummary:
        """The summary of one seed's run, which is begun, carried on, or finished already."""
        before = run.read_summary() or {}
        if before.get("status") not in ("completed", "pruned"):
            if before.get("status") == "failed":
                raise RunFailed(str((before.get("error") or {}).get("message")))
            words = self._words()
            try:
                config, words = self._config(words, index)
            except Exception as error:
                self._record_failure(run, None, words, error)
                raise
            watch = Watch(self._swept(), self._after_evaluation(index), data_loader)
            try:
                code = self._start_or_resume(run, config, words, watch)
            except Exception as error:
                self._record_failure(run, config, words, error)
                raise
            if code:
                raise Interrupted(code)
        data = run.read_summary() or {}
        return RunSummary(run.path, str(data.get("status")), data)

    def _start_or_resume(
        self, run: RunDirectory, config: TrialConfig, words: list[str], watch: Watch
    ) -> int:
        overrides = [*self.sweep.space.fixed, *words]
        if run.read_summary() is None:  # killed before its first step: nothing to carry on
            run.config_file.unlink(missing_ok=True)
        if run.config_file.exists():
            return experiment.resume(config.plain, run, overrides=overrides, watch=watch)
        return experiment.train(
            config.plain, run, overrides=overrides, choices=config.choices, watch=watch
        )

    def _words(self) -> list[str]:
        plan = self.sweep.strategy.plan
        return [*self.sweep.space.words(self.trial.params), *plan.words(self.number)]

    def _swept(self) -> dict[str, str]:
        return by_key(self._words())

    def _config(self, words: list[str], index: int) -> tuple[TrialConfig, list[str]]:
        """The config of one seed, and the words that made it."""
        config = self.sweep.composer.trial(words)
        more = [f"seed={config.plain['seed'] + index}"] if index else []
        if self.place is not None:
            import torch

            count = self.sweep.places or 1
            if config.plain["trainer"]["accelerator"] != "cpu":
                places.use_gpu(self.place, torch.cuda.device_count())
            more += places.thread_words(config.plain, count)
        words = [*words, *more]
        return (self.sweep.composer.trial(words) if more else config), words

    def _after_evaluation(self, index: int) -> Callable[[Engine], None]:
        """Tells whoever looks on; the first seed's values decide whether the trial is pruned."""
        trial, objective = self.trial, self.sweep.objective
        pruner, reported = self.sweep.strategy.settings.pruner, 0
        telling = index == 0 and (pruner != "none" or self.sweep.places is not None)
        if telling:
            known = self.sweep.ledger.trial(self.number).intermediate_values
            reported = max(known, default=0)

        def after_evaluation(engine: Engine) -> None:
            if self.observe is not None:
                self.observe(self.number, engine)
            value, step = engine.latest.get(objective), engine.evaluations
            # A resumed run repeats what came after its checkpoint: that was told, and judged, before.
            if not telling or not is_finite(value) or step < reported:
                return
            assert value is not None
            if step > reported:
                trial.report(value, step)
            self.sweep.ledger.study.pruner = make_pruner(pruner, engine.evaluations_in_all)
            # Once all is trained there is nothing left to save by pruning.
            if not engine.finished and trial.should_prune():
                raise Pruned(f"{objective} {value:.4g} at evaluation {step}")

        return after_evaluation

    def _tell(
        self, state: TrialState, summaries: list[RunSummary], *, error: str | None = None
    ) -> None:
        facts = self._facts(summaries) | ({"error": error} if error else {})
        self.sweep.ledger.ended(self.number, state, facts)

    def _record_failure(
        self, run: RunDirectory, config: TrialConfig | None, words: list[str], error: Exception
    ) -> None:
        """Leave config, log and summary where the run itself had no chance to."""
        if (run.read_summary() or {}).get("status") == "failed":
            return
        run.path.mkdir(parents=True, exist_ok=True)
        overrides = [*self.sweep.space.fixed, *words]
        if not run.config_file.exists():
            record.write_config(run, config.plain if config else {}, overrides)
        with run.log.open("a", encoding="utf-8") as log:
            log.write("".join(traceback.format_exception(error)))
        run.write_summary(
            {
                "name": config.plain["name"] if config else "",
                "status": "failed",
                "created": record.now(),
                "choices": config.choices if config else {},
                "swept": self._swept(),
                "error": {"kind": type(error).__name__, "message": str(error), "step": 0},
                "version": __version__,
            }
        )
        if config is not None:
            identity = Identity(config.plain, config.choices, overrides, "", self._swept())
            experiment.show_failed(run, identity)

    def _facts(self, summaries: list[RunSummary]) -> dict[str, Any]:
        if not summaries:
            return {}
        shared = set.intersection(*(set(summary.metrics) for summary in summaries))
        return {
            "seconds": round(sum(summary.number("seconds") or 0.0 for summary in summaries), 3),
            "metrics": {
                name: statistics.fmean(summary.metrics[name] for summary in summaries)
                for name in sorted(shared)
            },
        }


def record_death(run: RunDirectory, reason: str) -> None:
    """Say in a run's own summary and log what became of it, which its process could not."""
    summary = run.read_summary()
    if summary is None or summary.get("status") != "running":
        return
    run.write_summary({**summary, "status": "failed", "error": {"kind": "Died", "message": reason}})
    with run.log.open("a", encoding="utf-8") as log:
        log.write(f"{record.now()} ERROR {reason}\n")


def _failure(error: Exception) -> str:
    """What went wrong on one line, with the kind of error unless the words are dlrun's own."""
    if isinstance(error, ConfigError | RunFailed) or not str(error):
        return first_line(error)
    return f"{type(error).__name__}: {first_line(error)}"
