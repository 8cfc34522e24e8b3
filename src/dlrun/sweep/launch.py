"""Getting trials run: one after the other in this process, or by one of Hydra's launchers."""

from __future__ import annotations

import threading
import time
from bisect import insort
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, read_write
from optuna.trial import FrozenTrial, TrialState

from dlrun.errors import RunFailed, first_line
from dlrun.storage.disk import disk_full
from dlrun.sweep import resources
from dlrun.sweep.display import Standing, make_display, settings_text
from dlrun.sweep.leaderboard import Row, make_row, merit, write_leaderboard
from dlrun.sweep.space.grammar import text_of
from dlrun.sweep.summary import Answer
from dlrun.sweep.sweep import Sweep, is_over
from dlrun.sweep.trial import record_death, run_trial
from dlrun.system.orphans import helped_by_children, helped_by_joblib
from dlrun.tracking.progress import format_values
from dlrun.training.loop import Engine

_LOOK_SECONDS = 0.5  # between two looks at trials in other processes
DIED_TWICE = "its process ended twice without an error message (killed? out of memory?); its checkpoint is kept"
_BOARD_SHARE = 0.02  # of the time that writing leaderboard.csv may take


class Watcher:
    """Follows the trials as they end: updates the display and leaderboard.csv.

    Attributes:
        ended: the trials that are over, best first.
    """

    def __init__(self, sweep: Sweep, *, minimize: bool) -> None:
        self.sweep, self.minimize = sweep, minimize
        self.ended: list[Row] = []
        self.tally: Counter[str] = Counter()
        self.shown: set[int] = set()
        self.evaluations: dict[int, int] = {}  # of each trial under way, the latest
        self.next_board = 0.0
        for trial in sweep.ledger.trials():
            if is_over(trial):
                self._add(trial)
            elif trial.state is TrialState.RUNNING:  # or was, when an earlier process was ended
                self.evaluations[trial.number] = max(trial.intermediate_values, default=0)
        self.display = make_display(self.standing)

    @property
    def standing(self) -> Standing:
        """How far the sweep has come."""
        return Standing(self._answer(), self.tally, self.sweep.strategy.plan.total)

    def _answer(self) -> Answer:
        sweep = self.sweep
        return Answer(
            self.ended, sweep.objective, self.minimize, sweep.repetitions, sweep.comparable
        )

    def look(self, trials: Sequence[FrozenTrial] | None = None) -> None:
        """Show what has changed since the last look, among `trials` or all."""
        started = time.monotonic()
        for trial in self.sweep.ledger.trials() if trials is None else trials:
            if is_over(trial) and trial.number not in self.shown:
                row = self._add(trial)
                self.display.trial_ended(row, self.standing)
            elif trial.state is TrialState.RUNNING:
                self._show_evaluation(trial)
        if started >= self.next_board:
            # A disk that is full now may have room when the sweep ends and it is written again.
            with suppress(OSError):
                raw = self.sweep.strategy.settings.raw_cells
                write_leaderboard(self.sweep.directory, self._answer(), raw=raw)
            taken = time.monotonic() - started
            self.next_board = time.monotonic() + taken / _BOARD_SHARE

    def evaluated(self, number: int, engine: Engine) -> None:
        """Show a trial of this process after an evaluation."""
        epochs = -(-engine.total_steps // engine.steps_per_epoch)
        values = format_values({k: v for k, v in engine.latest.items() if "/" in k})
        settings = settings_text(make_row(self.sweep.ledger.trial(number), self.sweep.space))
        self.display.trial_goes_on(number, f"{settings}  epoch {engine.epoch}/{epochs}  {values}")

    def _show_evaluation(self, trial: FrozenTrial) -> None:
        """Show the latest evaluation of a trial in another process."""
        evaluation = max(trial.intermediate_values, default=0)
        if self.evaluations.get(trial.number) == evaluation:
            return
        self.evaluations[trial.number] = evaluation
        text = settings_text(make_row(trial, self.sweep.space))
        if evaluation:
            value = format_values({self.sweep.objective: trial.intermediate_values[evaluation]})
            text += f"  evaluation {evaluation}  {value}"
        self.display.trial_goes_on(trial.number, text)

    def _add(self, trial: FrozenTrial) -> Row:
        self.shown.add(trial.number)
        row = make_row(trial, self.sweep.space, self.sweep.objective)
        self.tally[row.status] += 1
        insort(self.ended, row, key=lambda other: merit(other, minimize=self.minimize))
        return row


def run_here(sweep: Sweep, numbers: Sequence[int], watcher: Watcher) -> None:
    """Run the trials one after the other.

    Raises:
        Interrupted: a signal came.
    """
    for number in numbers:
        sweep.ledger.plan(number + 1)
        while sweep.is_claimed(number):  # by a worker that outlived an earlier process
            time.sleep(_LOOK_SECONDS)
        run_trial(sweep, number, watcher.evaluated)
        watcher.look([sweep.ledger.trial(number)])
        if sweep.stops_at_failures():
            return


class Launched:
    """Runs trials through a launcher; one whose process dies gets a second chance, alone.

    Alone, because a pool of processes may take others down with the one that dies: only then is it
    certain whose fault it was.
    """

    def __init__(
        self,
        sweep: Sweep,
        watcher: Watcher,
        *,
        config: DictConfig,
        hydra_context: HydraContext,
        task_function: TaskFunction,
    ) -> None:
        self.sweep, self.watcher, self.config = sweep, watcher, config
        self.hydra_context, self.task_function = hydra_context, task_function

    def run(self, numbers: Sequence[int]) -> None:
        """Bring all the trials to an end.

        Raises:
            RunFailed: the launcher cannot start any.
        """
        ledger = self.sweep.ledger
        ledger.plan(max(numbers) + 1)
        self.before = {number: ledger.attempts(number) for number in numbers}
        with self._looking():
            while (left := self._left(numbers)) and not self.sweep.stops_at_failures():
                # One that an earlier process left unfinished is not suspect: that process was ended as a whole.
                suspects = [number for number in left if self._attempts(number)]
                if fresh := [number for number in left if number not in suspects]:
                    self._launch(fresh)
                else:
                    self._launch_alone(suspects[0])

    def _launch_alone(self, number: int) -> None:
        self._launch([number])
        if self._left([number]):
            record_death(self.sweep, number, DIED_TWICE)

    def _launch(self, numbers: Sequence[int]) -> None:
        """Launch and wait; that one or another trial's process dies is no error yet."""
        begun = sum(map(self._attempts, numbers))
        taken = any(map(self.sweep.is_claimed, numbers))  # by who trains one of them alone
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context,
            task_function=self.task_function,
            config=self.config,
        )
        place = text_of(str(self.sweep.directory.path.absolute()))
        jobs = [
            [*self.sweep.space.fixed, f"hydra.sweep.dir={place}", f"hydra.sweep.subdir={number}"]
            for number in numbers
        ]
        raised: Exception | None = None
        kind = self.config.hydra.launcher
        try:
            with ExitStack() as meanwhile:
                if resources.is_local(kind):
                    meanwhile.enter_context(helped_by_children())
                if resources.is_joblib(kind):
                    meanwhile.enter_context(helped_by_joblib())
                results = launcher.launch(jobs, initial_job_idx=numbers[0])
            for result in results:
                if isinstance(error := getattr(result, "_return_value", None), Exception):
                    raised = error
        except Exception as error:
            raised = error
        full = raised and disk_full(raised)
        # After the death of one, others may still be at work.
        while any(map(self.sweep.is_claimed, self._left(numbers))):
            time.sleep(_LOOK_SECONDS)
        if full:
            raise full
        nothing_ended = self._left(numbers) == list(numbers)
        if nothing_ended and not taken and sum(map(self._attempts, numbers)) == begun:
            reason = f": {first_line(raised)}" if raised else ""
            raise RunFailed(f"the launcher started no trial{reason}") from raised

    def _left(self, numbers: Sequence[int]) -> list[int]:
        trials = self.sweep.ledger.trials()
        return [number for number in numbers if not is_over(trials[number])]

    def _attempts(self, number: int) -> int:
        """How often this process has begun the trial."""
        return self.sweep.ledger.attempts(number) - self.before[number]

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Look after the trials in a thread of its own while the launcher waits for them.

        What goes wrong in the thread is raised here once the launcher is back.
        """
        done = threading.Event()
        wrong: list[Exception] = []

        def look() -> None:
            try:
                while not done.wait(_LOOK_SECONDS):
                    self.watcher.look()
            except Exception as error:
                wrong.append(error)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            if not wrong:
                self.watcher.look()
        if wrong:
            raise wrong[0]


def launcher_settings(config: DictConfig, count: int | None) -> None:
    """Put `count` where the launcher's node leaves open how many trials run at a time."""
    launcher = config.hydra.launcher
    if count is not None and launcher.get("n_jobs") == -1:
        with read_write(launcher):
            launcher.n_jobs = count
