"""One look at a sweep, for its report: trials that end meanwhile change nothing in it."""

from __future__ import annotations

import copy
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from dlrun.config.metrics import rank
from dlrun.errors import ConfigError
from dlrun.storage.sweep_directory import SweepDirectory, early_end
from dlrun.sweep import ending
from dlrun.sweep.leaderboard import Results, Row, make_row
from dlrun.sweep.repetitions import Repetitions
from dlrun.sweep.space.parse import Parameter, Space, parse
from dlrun.sweep.study import is_finite, open_study

# A trial so many times farther from the best than the median is drawn at the edge: true to scale,
# one diverged loss would press all others into a line.
_FAR = 20
_LOG_FROM = 30  # largest over smallest loss from which on its axis is logarithmic


@dataclass(frozen=True)
class Snapshot:
    """The question of a sweep, and its trials by their number."""

    sweep: SweepDirectory
    description: Mapping[str, Any]  # sweep.yaml
    space: Space
    minimize: bool
    trials: tuple[FrozenTrial, ...]

    @property
    def objective(self) -> str:
        """The metric that is minimised or maximised."""
        return str(self.description.get("objective", "the objective"))

    @property
    def comparable(self) -> bool:
        """Whether one of the trials can be called the best."""
        return self.description.get("comparable", True) is not False

    @property
    def fixed(self) -> list[str]:
        """The overrides that all trials share, as typed."""
        return [str(word) for word in self.description.get("overrides") or ()]

    @property
    def settings(self) -> Mapping[str, Any]:
        """The node `sweep` of the config."""
        settings = self.description.get("settings")
        return settings if isinstance(settings, Mapping) else {}

    @cached_property
    def ranked(self) -> list[FrozenTrial]:
        """The completed trials, best first, the earlier of equals; by number where they cannot be compared."""
        completed = [trial for trial in self.of(TrialState.COMPLETE) if is_finite(trial.value)]
        if not self.comparable:
            return completed
        return sorted(completed, key=lambda t: (rank(t.value, minimize=self.minimize), t.number))

    @property
    def winner(self) -> FrozenTrial | None:
        """The best trial, None before any has completed, and where there is nothing to choose by or from."""
        is_choice = self.comparable and not self.repetitions.are_all
        return self.ranked[0] if self.ranked and is_choice else None

    @cached_property
    def repetitions(self) -> Repetitions:
        """Which of its trials and runs repeat a setting."""
        seeds = self.settings.get("seeds")
        space = self.description.get("space") or {}
        return Repetitions(space, seeds if isinstance(seeds, int) else 1)

    def results(self, rows: Sequence[Row]) -> Results:
        """The rows with what they are compared by."""
        return Results(rows, self.objective, self.minimize, self.repetitions, self.comparable)

    @cached_property
    def judged(self) -> list[FrozenTrial]:
        """The trials that are over, in the order of `ranked`, then those that were pruned or failed."""
        return [*self.ranked, *self.of(TrialState.PRUNED, TrialState.FAIL)]

    @cached_property
    def ended_by(self) -> str | None:
        """What ended the sweep before all its trials were over, `budget` or `patience`; None where nothing has."""
        count, total = self.count(), self.settings.get("trials")
        ended = sum(number for state, number in count.items() if state.is_finished())
        if count[TrialState.RUNNING] or not isinstance(total, int) or ended >= total:
            return None
        return ending.ended_by(self.trials, self.settings, minimize=self.minimize)

    @property
    def early_end(self) -> str:
        """The same in words, as `ended by its budget: 12 of 30 trials`; empty where nothing has."""
        if self.ended_by is None:
            return ""
        ended = sum(trial.state.is_finished() for trial in self.trials)
        return early_end(self.ended_by, ended, self.settings["trials"])

    @cached_property
    def varied(self) -> list[str]:
        """Optuna's names of the parameters that differ among the completed trials, in the typed order."""
        used: dict[str, set[Any]] = {parameter.name: set() for parameter in self.space.parameters}
        for trial in self.ranked:
            for name, value in trial.params.items():
                used.setdefault(name, set()).add(value)
        return [name for name, values in used.items() if len(values) > 1]

    @cached_property
    def edge(self) -> float | None:
        """The value at which worse trials are drawn; None where all are drawn as they are."""
        if len(self.ranked) < 3:
            return None
        return self.far([value_of(trial) for trial in self.ranked])

    @property
    def beyond_edge(self) -> int:
        """How many trials are drawn at the edge."""
        return sum(self.shown(trial) != trial.value for trial in self.ranked)

    @cached_property
    def log_axis(self) -> bool:
        """Whether the objective is a loss over several magnitudes, which a logarithm shows best."""
        return self.spans_magnitudes([self.shown(trial) for trial in self.ranked])

    def of(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials in any of the states."""
        return [trial for trial in self.trials if trial.state in states]

    def count(self) -> Counter[TrialState]:
        """How many trials there are of each state."""
        return Counter(trial.state for trial in self.trials)

    def loss(self, value: float) -> float:
        """The value so that less is better; a loss turned back is the value."""
        return value if self.minimize else -value

    def far(self, values: Sequence[float]) -> float | None:
        """The value from which on worse ones are too far off to be drawn to scale, None if none are."""
        losses = sorted(self.loss(value) for value in values)
        limit = losses[0] + _FAR * (statistics.median(losses) - losses[0])
        return self.loss(limit) if losses[0] < limit < losses[-1] else None

    def spans_magnitudes(self, values: Sequence[float]) -> bool:
        """Whether these are losses that a logarithmic axis shows best."""
        if not values or not self.minimize or min(values) <= 0:
            return False
        return max(values) > _LOG_FROM * min(values)

    def shown(self, trial: FrozenTrial) -> float:
        """The objective as figures draw it: at the edge where it lies beyond."""
        value = value_of(trial)
        if self.edge is None or self.loss(value) <= self.loss(self.edge):
            return value
        return self.edge

    def words(self, trial: FrozenTrial) -> list[str]:
        """The trial's settings as overrides; without what it does not have, or not yet."""
        return [word for p in self._present(trial) for word in p.words(trial.params[p.name])]

    def texts(self, trial: FrozenTrial) -> dict[str, str]:
        """The trial's settings by their keys, as one would type them."""
        return {p.bare_key: p.text(trial.params[p.name]) for p in self._present(trial)}

    def _present(self, trial: FrozenTrial) -> list[Parameter]:
        return [p for p in self.space.parameters if p.name in trial.params]


def take(sweep: SweepDirectory) -> Snapshot:
    """The sweep as it stands now.

    Raises:
        ConfigError: its sweep.yaml is missing or damaged, or it has no study.
    """
    description = sweep.read()
    try:
        study = open_study(sweep)
    except KeyError:
        reason = f"it has no study in {sweep.journal.name}"
        raise ConfigError(f"{sweep.path} has nothing to report: {reason}") from None
    space = parse((), description.get("space") or {})
    minimize = study.direction == StudyDirection.MINIMIZE
    trials = tuple(study.get_trials(deepcopy=False))
    return Snapshot(sweep, description, space, minimize, trials)


def value_of(trial: FrozenTrial) -> float:
    """The objective of a completed trial."""
    assert trial.value is not None
    return trial.value


def label(name: str) -> str:
    """Optuna's name of a parameter as people read it: `1-optimizer.momentum` is a difference."""
    return f"1 − {name[2:]}" if name.startswith("1-") else name


def is_log(distribution: BaseDistribution) -> bool:
    """Whether a parameter is spread over magnitudes."""
    return isinstance(distribution, FloatDistribution | IntDistribution) and distribution.log


TRIALS = "trials"  # a fact of such a trial: the numbers of those that it is made of


def settled(snapshot: Snapshot) -> Snapshot:
    """The snapshot with the trials of a setting as one, under the number of the first: their mean is its value.

    Trials that are not over stay away. Where no trial repeats another, the snapshot itself.
    """
    repetitions = snapshot.repetitions
    if not repetitions.across_trials:
        return snapshot
    by_number = {trial.number: trial for trial in snapshot.judged}
    rows = [make_row(t, snapshot.space, snapshot.objective) for t in by_number.values()]
    found = snapshot.results(rows).by_setting()
    kept = [p for p in snapshot.space.parameters if p.bare_key not in repetitions.keys]
    names = {parameter.name for parameter in kept}
    # As in the answer, a mean of those that survived does not lead where another setting is whole.
    is_first_whole = snapshot.comparable and bool(found) and not found[0][0].missing
    trials = [
        _as_one(by_number[s.number], s, of, names, whole=not (is_first_whole and s.missing))
        for s, of in found
    ]
    trials.sort(key=lambda trial: trial.number)
    space = Space(snapshot.space.fixed, tuple(kept))
    return replace(snapshot, space=space, trials=tuple(trials))


def _as_one(
    first: FrozenTrial, setting: Row, trials: Sequence[Row], names: set[str], *, whole: bool
) -> FrozenTrial:
    made = copy.copy(first)
    if setting.status == "completed" and setting.value is not None and whole:
        made.state, made.value = TrialState.COMPLETE, setting.value
    elif made.state is TrialState.COMPLETE:
        made.state = TrialState.PRUNED
    made.params = {name: value for name, value in first.params.items() if name in names}
    made.distributions = {n: kind for n, kind in first.distributions.items() if n in names}
    made.user_attrs = {
        "values": [trial.value for trial in trials if trial.value is not None],
        "metrics": dict(setting.metrics),
        "seconds": setting.seconds,
        TRIALS: [trial.number for trial in trials],
    }
    return made
