"""A sweep's trials as studies in memory, the way Optuna's figures are to show them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import BaseImportanceEvaluator
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from dlrun.sweep.snapshot import Snapshot, is_log, label

ReadAs = Callable[[str], str]  # a text in the form that a figure library shows as that text

MOST_LINES = 200  # trials in parallel coordinates, where each is a line across the whole figure
_LONGEST_CHOICE = 20  # characters on an axis
_CELLS = 30  # of a contour along each parameter: fine enough for the eye


class Studies:
    """The studies for the figures of one library; each keeps the trials' numbers.

    Args:
        shares: the importance of the parameters.
        contoured: the parameters of contours.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        read_as: ReadAs,
        shares: Mapping[str, float],
        contoured: Collection[str],
    ) -> None:
        self._snapshot, self._read_as = snapshot, read_as
        self._shares, self._contoured = shares, contoured

    @cached_property
    def completed(self) -> optuna.Study:
        """Every completed trial with the parameters that varied."""
        snapshot = self._snapshot
        return make_study(snapshot, snapshot.ranked, snapshot.varied, self._read_as)

    @cached_property
    def lines(self) -> optuna.Study:
        """The trials for parallel coordinates.

        Optuna's lines do not say whose they are. So the winner's value is the best by a hair, and the
        line that begins at that end of the axis is the winner's, also where others equal it.
        """
        snapshot, winner = self._snapshot, self._snapshot.ranked[0]
        better = -math.inf if snapshot.minimize else math.inf

        def value(trial: FrozenTrial) -> float:
            shown = snapshot.shown(trial)
            return math.nextafter(shown, better) if trial is winner else shown

        drawn = snapshot.ranked[:MOST_LINES]
        return make_study(snapshot, drawn, snapshot.varied, self._read_as, value)

    @cached_property
    def cells(self) -> optuna.Study:
        """The completed trials with numeric parameters in steps of a 30th of what the trials cover.

        A contour has a row and a column for each value that occurs: 2,000 trials would make 4 million cells.
        """
        cells = _on_cells(self._snapshot, self._contoured)
        return make_study(cells, cells.ranked, self._contoured, self._read_as)

    @cached_property
    def having_each(self) -> optuna.Study:
        """A trial with each parameter, which is all that the figure of importances asks for beside `known`."""
        snapshot = self._snapshot
        trials = [next(t for t in snapshot.ranked if name in t.params) for name in self._shares]
        return make_study(snapshot, trials, self._shares, self._read_as)

    @property
    def known(self) -> BaseImportanceEvaluator:
        """The importances as an evaluator, so that they are computed once."""
        return _Known({self._read_as(label(name)): x for name, x in self._shares.items()})


def make_study(
    snapshot: Snapshot,
    drawn: Collection[FrozenTrial],
    names: Iterable[str],
    read_as: ReadAs,
    value: Callable[[FrozenTrial], float] | None = None,
) -> optuna.Study:
    """The trials `drawn` with parameters under the names people read; `value` is as shown unless given."""
    direction = StudyDirection.MINIMIZE if snapshot.minimize else StudyDirection.MAXIMIZE
    study, names = optuna.create_study(direction=direction), list(names)
    wanted = {trial.number for trial in drawn}
    by_number = {trial.number: trial for trial in snapshot.trials}
    for number in range(max(wanted, default=-1) + 1):
        trial = by_number.get(number)
        if trial is None or number not in wanted:  # keeps the number of the next
            study.add_trial(create_trial(state=TrialState.FAIL))
            continue
        params, distributions = _readable(trial, names, read_as)
        worth = (value or snapshot.shown)(trial)
        study.add_trial(create_trial(params=params, distributions=distributions, value=worth))
    return study


def readable(trial: FrozenTrial, name: str, read_as: ReadAs) -> Any:
    """The value of a parameter as a study for figures has it."""
    value, distribution = trial.params[name], trial.distributions[name]
    if isinstance(distribution, CategoricalDistribution):
        return _read(value, distribution.choices, read_as)
    return value


def readable_choices(snapshot: Snapshot, name: str, read_as: ReadAs) -> list[Any] | None:
    """The choices of a parameter as a study for figures has them, None where it is a range."""
    for trial in snapshot.ranked:
        if isinstance(found := trial.distributions.get(name), CategoricalDistribution):
            return [_read(choice, found.choices, read_as) for choice in found.choices]
    return None


def shortened(choice: Any, choices: Iterable[Any]) -> Any:
    """A choice that fits an axis, its middle left out unless that makes it equal another."""
    if not isinstance(choice, str) or len(choice) <= _LONGEST_CHOICE:
        return choice
    short = _middle_out(choice)
    others = (other for other in choices if isinstance(other, str) and other != choice)
    return choice if short in map(_middle_out, others) else short


def _middle_out(text: str) -> str:
    return f"{text[: _LONGEST_CHOICE - 9]}…{text[-8:]}"


def _readable(
    trial: FrozenTrial, names: Iterable[str], read_as: ReadAs
) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """Parameters under their labels; texts go through `read_as`."""
    params: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for name in names:
        if name not in trial.params:
            continue
        key, distribution = read_as(label(name)), trial.distributions[name]
        if isinstance(distribution, CategoricalDistribution):
            choices = distribution.choices
            shown = [_read(choice, choices, read_as) for choice in choices]
            distribution = CategoricalDistribution(shown)
        params[key], distributions[key] = readable(trial, name, read_as), distribution
    return params, distributions


def _read(choice: Any, choices: Iterable[Any], read_as: ReadAs) -> Any:
    short = shortened(choice, choices)
    return read_as(short) if isinstance(short, str) else short


class _Known(BaseImportanceEvaluator):
    """Gives shares that are known already."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        self._shares = dict(shares)

    def evaluate(
        self,
        study: optuna.Study,
        params: list[str] | None = None,
        *,
        target: Callable[[FrozenTrial], float] | None = None,
    ) -> dict[str, float]:
        """The shares, whatever the study."""
        return self._shares


def _on_cells(snapshot: Snapshot, names: Iterable[str]) -> Snapshot:
    """The completed trials, each value moved to the middle of its cell."""
    names = [name for name in names if _is_numeric(snapshot, name)]
    moves = {name: _move(snapshot, name) for name in names}

    def moved(trial: FrozenTrial) -> FrozenTrial:
        if trial.state is not TrialState.COMPLETE:
            return trial
        trial = copy.copy(trial)
        present = [name for name in names if name in trial.params]
        at = {name: moves[name](trial.params[name]) for name in present}
        trial.distributions = {**trial.distributions, **{n: _wide(trial, n) for n in present}}
        trial.params = {**trial.params, **at}
        return trial

    return replace(snapshot, trials=tuple(moved(trial) for trial in snapshot.trials))


def _is_numeric(snapshot: Snapshot, name: str) -> bool:
    drawn = next(trial for trial in snapshot.ranked if name in trial.params)
    return not isinstance(drawn.distributions[name], CategoricalDistribution)


def _move(snapshot: Snapshot, name: str) -> Callable[[float], float]:
    """Values to the middle of their cell, on the parameter's own scale."""
    drawn = [trial for trial in snapshot.ranked if name in trial.params]
    log = is_log(drawn[0].distributions[name])
    scale, back = (math.log, math.exp) if log else (float, float)
    values = [scale(trial.params[name]) for trial in drawn]
    low, width = min(values), (max(values) - min(values)) / _CELLS

    def move(value: float) -> float:
        return back(low + round((scale(value) - low) / width) * width)

    return move


def _wide(trial: FrozenTrial, name: str) -> FloatDistribution:
    """A distribution that holds every value: a cell's middle may lie a rounding outside its own."""
    log = is_log(trial.distributions[name])
    return FloatDistribution(1e-300 if log else -1e300, 1e300, log=log)
