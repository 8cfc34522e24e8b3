"""How trials are followed as they go on, in whatever process; and how one of Hydra's launchers runs them."""

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
from dlrun.sweep.trial import record_death
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
        here: the trials that this process has begun.
    """

    def __init__(self, sweep: Sweep, here: set[int] | None = None) -> None:
        self.sweep = sweep
        self.here: set[int] = set() if here is None else here
        self.ended: list[Row] = []
        self.tally: Counter[str] = Counter()
        self.shown: set[int] = set()
        self.evaluations: dict[int, int] = {}  # of each trial under way, the latest
        self.next_board = self.next_look = 0.0
        self.on_board = 0  # trials that leaderboard.csv has
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
            self.ended, sweep.objective, sweep.minimize, sweep.repetitions, sweep.comparable
        )

    def look(self, trials: Sequence[FrozenTrial] | None = None) -> None:
        """Show what has changed since the last look, among `trials` or all.

        Of many processes that help in a sweep, each shows what it does itself, and none writes leaderboard.csv.
        """
        started = time.monotonic()
        for trial in self.sweep.ledger.trials() if trials is None else trials:
            if is_over(trial) and trial.number not in self.shown:
                row = self._add(trial)
                if not self.sweep.helping or trial.number in self.here:
                    self.display.trial_ended(row, self.standing)
            elif trial.state is TrialState.RUNNING and trial.number not in self.here:
                self._show_evaluation(trial)
        is_new = len(self.ended) > self.on_board and not self.sweep.helping
        if is_new and started >= self.next_board:
            self.on_board = len(self.ended)
            # A disk that is full now may have room when the sweep ends and it is written again.
            with suppress(OSError):
                raw = self.sweep.strategy.settings.raw_cells
                write_leaderboard(self.sweep.directory, self._answer(), raw=raw)
            taken = time.monotonic() - started
            self.next_board = time.monotonic() + taken / _BOARD_SHARE

    def look_around(self) -> None:
        """Now and then, while a trial is trained here, look at those of other processes."""
        if time.monotonic() >= self.next_look:
            self.look()
            self.next_look = time.monotonic() + _LOOK_SECONDS

    def evaluated(self, number: int, engine: Engine) -> None:
        """Show a trial of this process after an evaluation."""
        self.look_around()
        epochs = -(-engine.total_steps // engine.steps_per_epoch)
        values = format_values({k: v for k, v in engine.latest.items() if "/" in k})
        settings = settings_text(make_row(self.sweep.ledger.trial(number), self.sweep.space))
        self.display.trial_goes_on(number, f"{settings}  epoch {engine.epoch}/{epochs}  {values}")

    def _show_evaluation(self, trial: FrozenTrial) -> None:
        """Show the latest evaluation of a trial in another process."""
        if self.sweep.helping:
            return
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
        insort(self.ended, row, key=lambda other: merit(other, minimize=self.sweep.minimize))
        return row


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
        self.before = {number: self._begun_by_drivers(number) for number in numbers}
        with self._looking():
            while (left := self.sweep.left(numbers)) and not self.sweep.stops_at_failures():
                free = [number for number in left if not self.sweep.is_claimed(number)]
                # One that an earlier process left unfinished is not suspect: that process was ended as a whole.
                suspects = [number for number in free if self._attempts(number)]
                if not free:
                    time.sleep(_LOOK_SECONDS)
                elif fresh := [number for number in free if number not in suspects]:
                    self._launch(fresh)
                else:
                    self._launch_alone(suspects[0])

    def _launch_alone(self, number: int) -> None:
        before = self._attempts(number)
        self._launch([number])
        if self.sweep.left([number]) and self._attempts(number) > before:
            record_death(self.sweep, number, DIED_TWICE)

    def _launch(self, numbers: Sequence[int]) -> None:
        """Launch and wait; that one or another trial's process dies is no error yet."""
        begun = sum(map(self._attempts, numbers))
        stopped = {number: self.sweep.stopped_at(number) for number in numbers}
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
        while any(map(self.sweep.is_claimed, self.sweep.left(numbers))):
            time.sleep(_LOOK_SECONDS)
        if full:
            raise full
        nothing_ended = self.sweep.left(numbers) == list(numbers)
        if nothing_ended and not taken and sum(map(self._attempts, numbers)) == begun:
            reason = f": {first_line(raised)}" if raised else ""
            raise RunFailed(f"the launcher started no trial{reason}") from raised
        for number in self.sweep.left(numbers):
            # A queue that ends jobs and begins them again may do so with a trial any number of times.
            if self.sweep.stopped_at(number) > stopped[number]:
                self.before[number] = self._begun_by_drivers(number)

    def _attempts(self, number: int) -> int:
        """How often the launcher of this process has begun the trial, and it got no further here."""
        return self._begun_by_drivers(number) - self.before[number]

    def _begun_by_drivers(self, number: int) -> int:
        return self.sweep.ledger.attempts(number) - self.sweep.ledger.helped(number)

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
