"""The settings that every option of the group sweep has, and the plan that follows from them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge

from dlrun.config.instantiate import Component, split_component
from dlrun.config.schema import Count, Form, Most, check_settings
from dlrun.config.settings import Seed
from dlrun.errors import ConfigError
from dlrun.sweep.published_ranks import RankingSettings, check_ranking
from dlrun.sweep.space.parse import Space

# What the driver itself gives a sampler that asks for it by name.
GIVEN = ("seed", "grid", "distributions", "compare", "trials_per_round")
MOST_TRIALS = 10**6
Trials = Annotated[int, Ge(1), Most(MOST_TRIALS)]
# Days, hours, minutes and seconds; not all of them 0.
TIME = r"(?=.*[1-9])(?:(\d{1,4})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?"
Time = Annotated[str, Form(TIME, "a time with its units (as in 2h, 1h30m, 45s)")]
_GRID = ("points",)
_ROUNDS = ("rounds", "trials_per_round", "epochs_per_round")


@dataclass(frozen=True)
class SweepSettings:
    """What all strategies share; defaults live in configs/sweep/."""

    trials: Trials | None  # in all; null takes every point of a grid
    space: dict[str, Any]  # what to vary: key: values, in the grammar of the command line
    seed: Seed  # of the sampling, not of the training
    seeds: Annotated[int, Ge(1), Most(1000)]  # runs of each setting, with seed, seed + 1, …
    objective: str | None  # null: the trainer's monitor
    direction: Literal["auto", "minimize", "maximize"]
    pruner: Literal["none", "median", "hyperband"]
    fail_fast: bool
    budget: Time | None  # of time in which any process works on the sweep; then no trial begins
    patience: (
        Trials | None
    )  # trials that end in a row without a better result; then no trial begins
    trials_per_gpu: Annotated[int, Ge(1), Most(256)]
    stack: Literal["auto", "on", "off"]
    max_stack: Annotated[int, Ge(1), Most(10_000)]
    dry_run: bool
    columns: list[str]  # metrics in the table at the end, beside the objective
    ranking: RankingSettings | None
    report: bool  # written at the end
    raw_cells: bool  # of leaderboard.csv: formulas of a spreadsheet are left as they are


@dataclass(frozen=True)
class GridSettings:
    """For strategies that try every combination."""

    points: Trials | dict[str, Trials] | None  # of each continuous range


@dataclass(frozen=True)
class RoundSettings:
    """For strategies that look at one round's results before they begin the next."""

    rounds: Trials
    # null: trials / rounds; where it is set, rounds follow from trials.
    trials_per_round: Count | None
    epochs_per_round: list[Count] | None  # the last one holds for all later rounds


@dataclass(frozen=True)
class Plan:
    """How many trials, in rounds of how many, and what a round changes.

    Attributes:
        round_size: trials in a round; None where no trial waits for others.
    """

    total: int
    round_size: int | None
    epochs_per_round: list[int] | None

    def round_of(self, number: int) -> int:
        """The round of a trial, counted from 0."""
        return number // self.round_size if self.round_size else 0

    def rounds(self) -> list[range]:
        """The numbers of the trials of each round."""
        size = self.round_size or self.total
        return [range(a, min(self.total, a + size)) for a in range(0, self.total, size)]

    def words(self, number: int) -> list[str]:
        """The overrides that a trial's round brings."""
        if not self.epochs_per_round:
            return []
        round_ = min(self.round_of(number), len(self.epochs_per_round) - 1)
        return [f"trainer.max_epochs={self.epochs_per_round[round_]}"]


@dataclass(frozen=True)
class Strategy:
    """A sweep option read and checked: which sampler, how much, how judged."""

    node: dict[str, Any]  # as sweep.yaml keeps it, with what was null filled in
    settings: SweepSettings
    plan: Plan
    sampler: Component
    # The values of each parameter, for a strategy that takes them.
    grid: dict[str, list[Any]] | None

    @property
    def is_complete_grid(self) -> bool:
        """Whether every combination is among the trials, so that there can be no more."""
        return self.grid is not None and self.plan.total == math.prod(map(len, self.grid.values()))


def read_strategy(node: Mapping[str, Any], space: Space) -> Strategy:
    """The strategy that the config node `sweep` describes, to search `space`.

    Raises:
        ConfigError: a name, type or value of the node is wrong, or it names no number of trials.
    """
    own = {key: value for key, value in node.items() if key not in (*_GRID, *_ROUNDS)}
    sampler, settings = split_component("sweep", own, SweepSettings, given=GIVEN)
    if settings.ranking is not None:
        check_ranking(settings.ranking, space.listed())
    takes_grid = "grid" in inspect.signature(sampler.target).parameters
    grid = _grid(node, space) if takes_grid else None
    if grid is None and settings.trials is None:
        raise ConfigError("sweep.trials is null, but only a grid ends by itself: say how many")
    if grid is None and not space.parameters:
        raise ConfigError(
            "nothing is swept: give at least one key several values or a range, as in "
            "'optimizer.lr=tag(log,interval(1e-4,1e-1))'"
        )
    size = math.prod(map(len, grid.values())) if grid is not None else None
    if grid is not None and settings.trials is None and (size or 0) > MOST_TRIALS:
        raise ConfigError(
            f"the grid has {size:,} points, but a sweep takes at most {MOST_TRIALS:,}: set sweep.trials, list "
            "fewer values, or let sweep=random draw from ranges"
        )
    total = min(number for number in (size, settings.trials) if number is not None)
    rounds = _rounds(node, total)
    plan = Plan(
        total,
        rounds.trials_per_round if rounds else None,
        rounds.epochs_per_round if rounds else None,
    )
    filled = dict(node) | {"trials": total}
    if rounds:
        filled["trials_per_round"] = rounds.trials_per_round
    return Strategy(filled, settings, plan, sampler, grid)


def _grid(node: Mapping[str, Any], space: Space) -> dict[str, list[Any]]:
    given = {"points": None} | {key: node[key] for key in _GRID if key in node}
    settings: GridSettings = check_settings("sweep", given, GridSettings)
    try:
        return space.grid(settings.points)
    except ConfigError as error:
        hint = "sweep.points=5, or sweep.points={optimizer.lr:5}"
        raise ConfigError(f"{error} ({hint})") from error


def _rounds(node: Mapping[str, Any], total: int) -> RoundSettings | None:
    if "rounds" not in node:
        return None
    given = {key: node[key] for key in _ROUNDS if key in node}
    rounds: RoundSettings = check_settings("sweep", given, RoundSettings)
    if rounds.trials_per_round is None and rounds.rounds > total:
        raise ConfigError(
            f"sweep.rounds is {rounds.rounds}, but sweep.trials is {total}: each round needs a trial; set sweep.rounds "
            "lower, or sweep.trials higher"
        )
    if rounds.epochs_per_round == []:
        raise ConfigError(
            "sweep.epochs_per_round is empty, but lists the epochs of each round, as in [5,10]; null changes none"
        )
    per_round = rounds.trials_per_round or math.ceil(total / rounds.rounds)
    return RoundSettings(rounds.rounds, per_round, rounds.epochs_per_round)
