"""Search from coarse to fine: round one covers the whole space, each further round the best part of it.

What a trial samples follows from its number, the seed and the results of earlier rounds, all read from
the study: trials of a round may end in any order, in any process, and a resumed sweep samples the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from annotated_types import Gt, Lt
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from dlrun.config.metrics import rank
from dlrun.config.schema import Count
from dlrun.config.settings import Seed
from dlrun.sweep.optuna_internals import trials_of
from dlrun.sweep.samplers.grid import combination, generator
from dlrun.sweep.samplers.ranges import Options, Span, whole

Windows = dict[str, Span | Options]


class CoarseToFineSampler(BaseSampler):
    """Samples in rounds of `trials_per_round`; see `Span.around` and `Options.among` for what narrows how.

    Within a round the values of each parameter are spread evenly: one in each of as many equal parts of
    its range as the round has trials, which part is whose being shuffled (Latin hypercube sampling).
    Trials that failed or were pruned count as tried and are never among the best. A round without a
    single result changes no range.

    Args:
        first_round: `grid` gives as many trials of round one as make up an even grid its points, the
            middles of equal parts, and the rest random ones.
        shrink: width of a numeric range relative to the round before.
        top_k: how many of the best settings the next round is laid around.
        compare: whether these are the best of all earlier rounds or of the last one only, for when
            rounds train for different times.
        distributions: the space; no parameter outside it can be sampled.
    """

    def __init__(
        self,
        *,
        trials_per_round: Count,
        first_round: Literal["random", "grid"],
        shrink: Annotated[float, Gt(0), Lt(1)],
        top_k: Count,
        seed: Seed,
        distributions: Mapping[str, BaseDistribution],
        compare: Literal["all", "last_round"],
    ) -> None:
        self._size, self._shrink, self._top_k = trials_per_round, shrink, top_k
        self._seed, self._compare = seed, compare
        self._space = dict(distributions)
        self._whole: Windows = {name: whole(d) for name, d in self._space.items()}
        self._grid = _even_grid(self._whole, trials_per_round) if first_round == "grid" else {}
        self._known: list[Windows] = []
        self._known_of: Study | None = None

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The space given to the constructor."""
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A value for each parameter of the space.

        Raises:
            RuntimeError: a trial of an earlier round has not ended.
        """
        trials = trials_of(study)
        round_, place = divmod(trial.number, self._size)
        minimize = study.direction == StudyDirection.MINIMIZE
        if self._known_of is not study:
            self._known, self._known_of = [self._whole], study
        # Ended trials do not change, and so neither do the windows of a round once it has begun.
        if len(self._known) <= round_:
            self._require_ended(trials, round_)
            self._known = self._windows(trials, round_ + 1, minimize=minimize, known=self._known)
        windows = self._known[round_]
        values = {name: w.value(self._share(name, round_, place)) for name, w in windows.items()}
        return values | (self._grid_point(place) if round_ == 0 else {})

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Never a value: what gets here is not in the space.

        Raises:
            ValueError: always.
        """
        known = self._space.get(param_name, "no such parameter")
        raise ValueError(
            f"{param_name} is to be drawn from {param_distribution}, but the sampler was given {known}"
        )

    def ranges(
        self, trials: Sequence[FrozenTrial], *, minimize: bool
    ) -> list[dict[str, tuple[Any, ...]]]:
        """What each round so far sampled from: (lowest, highest) of a number, the options left of a choice.

        A round counts from the moment that it has trials and all before it have ended.
        """
        ended = next((t.number for t in trials if not t.state.is_finished()), len(trials))
        rounds = max(1, min(1 + ended // self._size, math.ceil(len(trials) / self._size)))
        windows = self._windows(trials, rounds, minimize=minimize)
        return [{name: window.shown() for name, window in round_.items()} for round_ in windows]

    def _windows(
        self,
        trials: Sequence[FrozenTrial],
        rounds: int,
        *,
        minimize: bool,
        known: Sequence[Windows] = (),
    ) -> list[Windows]:
        """What the parameters are sampled from in each of the first `rounds` rounds, of which some may be known."""
        found = [*known] or [self._whole]
        for end in range(len(found) * self._size, rounds * self._size, self._size):
            tried, last = trials[:end], trials[end - self._size : end]
            found.append(self._narrowed(found[-1], tried, last, minimize=minimize))
        return found

    def _narrowed(
        self,
        windows: Windows,
        tried: Sequence[FrozenTrial],
        last: Sequence[FrozenTrial],
        *,
        minimize: bool,
    ) -> Windows:
        """The windows of a round after that of `last`, which sampled from `windows`."""
        if not _best(last, minimize=minimize):
            return windows
        best = _best(tried if self._compare == "all" else last, minimize=minimize)[: self._top_k]
        following = {}
        for name, window in windows.items():
            values = _values(best, name)
            if not values:  # a parameter that only some trials have
                following[name] = window
            elif isinstance(window, Options):
                following[name] = window.among(values, tried=_values(tried, name))
            else:
                following[name] = window.around(values, shrink=self._shrink)
        return following

    def _share(self, name: str, round_: int, place: int) -> float:
        shuffled = generator(self._seed, round_, name)
        parts, within = shuffled.permutation(self._size), shuffled.random(self._size)
        return float((parts[place] + within[place]) / self._size)

    def _grid_point(self, place: int) -> dict[str, Any]:
        points = math.prod(map(len, self._grid.values()))
        return combination(self._grid, place) if place < points else {}

    def _require_ended(self, trials: Sequence[FrozenTrial], round_: int) -> None:
        for trial in trials[: round_ * self._size]:
            if not trial.state.is_finished():
                raise RuntimeError(
                    f"round {round_ + 1} cannot begin: trial {trial.number} of round"
                    f" {trial.number // self._size + 1} is {trial.state.name.lower()}"
                )


def _best(trials: Sequence[FrozenTrial], *, minimize: bool) -> list[FrozenTrial]:
    """The completed trials, best first, the earlier of equals first; without those of no finite value."""
    complete = (trial for trial in trials if trial.state is TrialState.COMPLETE)
    ranked = [t for t in complete if t.value is not None and math.isfinite(t.value)]
    return sorted(ranked, key=lambda t: (rank(t.value, minimize=minimize), t.number))


def _values(trials: Sequence[FrozenTrial], name: str) -> list[Any]:
    return [trial.params[name] for trial in trials if name in trial.params]


def _even_grid(windows: Windows, limit: int) -> dict[str, list[Any]]:
    """Values of an even grid of at most `limit` points; parameters that would have but one are left out.

    Choices come first, with all their options. Then the numbers get a point more in turn.
    """
    grid: dict[str, list[Any]] = {}
    for name, window in windows.items():
        if isinstance(window, Options) and _points(grid) * len(window.left) <= limit:
            grid[name] = list(window.shown())
    spans = {name: window for name, window in windows.items() if isinstance(window, Span)}
    while spans:
        name = min(spans, key=lambda n: len(grid.get(n, ())))
        finer = spans[name].even(len(grid.get(name, " ")) + 1)
        if len(finer) <= len(grid.get(name, " ")) or _points(grid | {name: finer}) > limit:
            del spans[name]
        else:
            grid[name] = finer
    return grid


def _points(grid: Mapping[str, list[Any]]) -> int:
    return math.prod(map(len, grid.values()))
