"""Which search finds good settings in few trials, on functions shaped like validation losses.

The functions are known, so that nothing is trained and the distance to the optimum can be told. Each
seed moves the optimum. Printed for each function and search: the regret of the setting that one would
pick (that of the best value seen, which is noisy), mean and median over the seeds, in percent of the
regret of the median random setting; the share of seeds in which it beats random search; and the median
number of trials, of 30, until that setting is among the best 2 % of all. The settings of coarse_to_fine
were chosen on the functions marked `tuned`; the others check them. Takes four minutes, most of it TPE's.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.random import Generator
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from dlrun.sweep.samplers.coarse_to_fine import CoarseToFineSampler
from dlrun.sweep.samplers.grid import GridSampler, generator, trial_seed
from dlrun.sweep.samplers.ranges import whole

BUDGETS = (20, 30, 60)
UNTIL = 30  # the budget at which trials are counted until the optimum's neighbourhood
NEIGHBOURHOOD = 0.02  # of all settings

LR = FloatDistribution(1e-5, 1.0, log=True)
MOMENTUM = FloatDistribution(1e-3, 1.0, log=True)  # 1 - momentum
LAYERS = IntDistribution(1, 4)
DROPOUT = FloatDistribution(0.0, 0.6)

Space = dict[str, BaseDistribution]
Settings = Mapping[str, Any]
Distance = Callable[[Settings], float]  # from the optimum, where it is 0


@dataclass(frozen=True)
class Problem:
    """A family of functions over one space; `make` draws one of them."""

    make: Callable[[Generator], Distance]
    space: Space
    noise: float = 0.0
    tuned: bool = False  # whether settings were chosen on it


@dataclass(frozen=True)
class Outcome:
    """One study: regrets of the setting that one would pick after each trial."""

    regrets: np.ndarray
    neighbourhood: float


def bowl(draw: Generator, *, above: float = 1.0) -> Distance:
    """Quadratic in log10 lr and log10 (1 - momentum), weakly in the layers; activations differ.

    `above` makes it steeper above the best learning rate, where training diverges.
    """
    lr, momentum, layers = draw.uniform(-4, -1), draw.uniform(-2.7, -0.3), draw.integers(1, 5)
    offsets = dict(zip(("relu", "tanh", "gelu"), draw.permutation([0, 0.05, 0.2]), strict=True))

    def distance(s: Settings) -> float:
        d = math.log10(s["lr"]) - lr
        steep = above if d > 0 else 1
        far = 0.25 * steep * d**2 + 0.08 * (math.log10(s["1-momentum"]) - momentum) ** 2
        return far + 0.03 * (s["layers"] - layers) ** 2 + offsets[s["activation"]]

    return distance


def cliff(draw: Generator) -> Distance:
    """The bowl, ten times steeper above the best learning rate."""
    return bowl(draw, above=10)


def many(draw: Generator) -> Distance:
    """Six parameters, of which two matter."""
    best, weights = draw.uniform(0.1, 0.9, 6), draw.permutation([6, 3, 0.3, 0.3, 0.05, 0.05])
    return lambda s: sum(weights[i] * (s[f"x{i}"] - best[i]) ** 2 for i in range(6))


def optimizers(draw: Generator) -> Distance:
    """Each optimizer has its own best learning rate, and how much that matters."""
    names = ("sgd", "adam", "adamw", "rmsprop")
    lr, width = draw.uniform(-4.2, -0.8, 4), draw.uniform(0.3, 1.5, 4)
    offsets, dropout = draw.permutation([0, 0.05, 0.1, 0.3]), draw.uniform(0.05, 0.55)

    def distance(s: Settings) -> float:
        i = names.index(s["optimizer"])
        far = width[i] * (math.log10(s["lr"]) - lr[i]) ** 2
        return far + 2.5 * (s["dropout"] - dropout) ** 2 + offsets[i]

    return distance


def ridge(draw: Generator) -> Distance:
    """What counts is lr / (1 - momentum): a narrow valley across the space, with a shallow best point."""
    lr, momentum, layers = draw.uniform(-3.5, -1.5), draw.uniform(-2.5, -0.5), draw.integers(1, 5)

    def distance(s: Settings) -> float:
        m = math.log10(s["1-momentum"])
        across = math.log10(s["lr"]) - m - (lr - momentum)
        return 0.5 * across**2 + 0.05 * (m - momentum) ** 2 + 0.02 * (s["layers"] - layers) ** 2

    return distance


def valley(draw: Generator) -> Distance:
    """A narrow curved valley."""
    level, best = draw.uniform(0.3, 0.6), draw.uniform(0.2, 0.8)
    return lambda s: (
        20 * (s["x0"] - level - 0.8 * (s["x1"] - 0.5) ** 2) ** 2 + 0.3 * (s["x1"] - best) ** 2
    )


def edge(draw: Generator) -> Distance:
    """The best dropout and momentum are at an end of their ranges."""
    lr, low_dropout, low_momentum = draw.uniform(-4, -1), draw.integers(2), draw.integers(2)

    def distance(s: Settings) -> float:
        dropout, momentum = s["dropout"] / 0.6, -math.log10(s["1-momentum"]) / 3
        far = 0.6 * abs(dropout - low_dropout) + 0.3 * (momentum - low_momentum) ** 2
        return far + 0.2 * (math.log10(s["lr"]) - lr) ** 2 + 0.1 * s["augment"]

    return distance


_UNIT = FloatDistribution(0.0, 1.0)
_BOWL: Space = {
    "lr": LR,
    "1-momentum": MOMENTUM,
    "layers": LAYERS,
    "activation": CategoricalDistribution(["relu", "tanh", "gelu"]),
}
_OPTIMIZERS: Space = {
    "lr": LR,
    "optimizer": CategoricalDistribution(["sgd", "adam", "adamw", "rmsprop"]),
    "dropout": DROPOUT,
}
_EDGE: Space = {
    "lr": LR,
    "1-momentum": MOMENTUM,
    "dropout": DROPOUT,
    "augment": CategoricalDistribution([False, True]),
}
PROBLEMS = {
    "bowl": Problem(bowl, _BOWL, tuned=True),
    "bowl, noise": Problem(bowl, _BOWL, noise=0.03, tuned=True),
    "cliff, noise": Problem(cliff, _BOWL, noise=0.03, tuned=True),
    "many, noise": Problem(many, {f"x{i}": _UNIT for i in range(6)}, noise=0.03, tuned=True),
    "optimizers, noise": Problem(optimizers, _OPTIMIZERS, noise=0.03, tuned=True),
    "ridge": Problem(ridge, {"lr": LR, "1-momentum": MOMENTUM, "layers": LAYERS}),
    "ridge, noise": Problem(ridge, {"lr": LR, "1-momentum": MOMENTUM, "layers": LAYERS}, 0.03),
    "valley, noise": Problem(valley, {"x0": _UNIT, "x1": _UNIT}, 0.01),
    "edge, noise": Problem(edge, _EDGE, 0.03),
}


def main() -> None:
    """Print a table for each function, and one of the means over all."""
    parser = argparse.ArgumentParser(prog="scripts/bench samplers", description=__doc__)
    parser.add_argument("problems", nargs="*", metavar="FUNCTION", help=", ".join(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shrink", type=float, default=0.5)
    parser.add_argument("--top-k", type=int, default=4)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    searches = all_searches(args.rounds, args.shrink, args.top_k)
    rows = []
    for name in args.problems or PROBLEMS:
        problem = PROBLEMS[name]
        results = {key: compare(problem, search, args.seeds) for key, search in searches.items()}
        print(f"\n{name}{' (tuned)' if problem.tuned else ''}")
        rows.append(show(results))
    print("\nmean of the functions above")
    show_rows({key: np.mean([row[key] for row in rows], axis=0) for key in searches})


Search = Callable[[Space, int, int], Callable[[int], BaseSampler]]


def all_searches(rounds: int, shrink: float, top_k: int) -> dict[str, Search]:
    """Each makes, from space, budget and seed, what gives the sampler of a trial."""

    def coarse_to_fine(first_round: Any) -> Search:
        return lambda space, budget, seed: lambda number: CoarseToFineSampler(
            trials_per_round=math.ceil(budget / rounds), first_round=first_round, shrink=shrink,
            top_k=top_k, seed=seed, distributions=space, compare="all",
        )  # fmt: skip

    def tpe(space: Space, budget: int, seed: int) -> Callable[[int], BaseSampler]:
        sampler = TPESampler(seed=seed)
        return lambda number: sampler

    return {
        "random": lambda *args: lambda number: RandomSampler(seed=trial_seed(args[2], number)),
        "grid": lambda space, budget, seed: lambda number: GridSampler(grid=grid(space, budget)),
        "coarse_to_fine": coarse_to_fine("random"),
        "from a grid": coarse_to_fine("grid"),
        "tpe": tpe,
    }


def grid(space: Space, budget: int) -> dict[str, list[Any]]:
    """As many values of each parameter, ends included, as make up at most `budget` combinations."""
    points = dict.fromkeys(space, 1)
    values = {name: [*grid_values(space[name], 1)] for name in space}
    growing = list(space)
    while growing:
        name = min(growing, key=points.__getitem__)
        finer = values | {name: [*grid_values(space[name], points[name] + 1)]}
        if len(finer[name]) == len(values[name]) or GridSampler(grid=finer).total > budget:
            growing.remove(name)
        else:
            values, points[name] = finer, points[name] + 1
    return values


def grid_values(distribution: BaseDistribution, count: int) -> Iterator[Any]:
    """`count` values: of a choice the first ones, of a number evenly spread ones (the middle of one)."""
    if isinstance(distribution, CategoricalDistribution):
        yield from distribution.choices[:count]
        return
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    for share in [0.5] if count == 1 else np.linspace(0, 1, count):
        value = low * (high / low) ** share if distribution.log else low + share * (high - low)
        if isinstance(distribution, IntDistribution):
            if count > high - low + 1:
                return
            value = round(value)
        yield min(max(value, low), high)


def compare(problem: Problem, search: Search, seeds: int) -> dict[int, list[Outcome]]:
    """The outcomes by budget, one a seed."""
    return {budget: [run(problem, search, budget, s) for s in range(seeds)] for budget in BUDGETS}


def run(problem: Problem, search: Search, budget: int, seed: int) -> Outcome:
    """One study of `budget` trials."""
    distance = problem.make(generator(seed, "function"))
    noise = generator(seed, budget, "noise")
    sampler_of, study = search(problem.space, budget, seed), optuna.create_study()
    true, seen = [], []
    for number in range(budget):
        study.sampler = sampler_of(number)
        try:
            trial = study.ask(problem.space)
        except ValueError:  # a grid has ended
            break
        true.append(regret(distance(trial.params)))
        seen.append(true[-1] + problem.noise * noise.normal())
        study.tell(trial, seen[-1])
    picked = [true[int(np.argmin(seen[: i + 1]))] for i in range(len(true))]
    picked += picked[-1:] * (budget - len(picked))
    median, neighbourhood = scale(problem, distance, seed)
    return Outcome(np.array(picked) / median, neighbourhood / median)


def regret(distance: float) -> float:
    """By how much the loss exceeds its least: far from the optimum by 2.2, as that of guessing does."""
    return 2.2 * (1 - math.exp(-distance))


def scale(problem: Problem, distance: Distance, seed: int) -> tuple[float, float]:
    """The median of all settings' regrets, and the regret at the edge of the optimum's neighbourhood."""
    draw = generator(seed, "scale")
    regrets = [regret(distance(settings)) for settings in uniform(problem.space, draw, 2000)]
    return float(np.median(regrets)), float(np.quantile(regrets, NEIGHBOURHOOD))


def uniform(space: Space, draw: Generator, count: int) -> Iterator[dict[str, Any]]:
    """Settings from the whole space, each parameter on its own scale."""
    windows = {name: whole(distribution) for name, distribution in space.items()}
    for _ in range(count):
        yield {name: window.value(draw.random()) for name, window in windows.items()}


Row = np.ndarray


def show(results: Mapping[str, dict[int, list[Outcome]]]) -> dict[str, Row]:
    """Print and return a row for each search."""
    rows = {}
    for key, outcomes in results.items():
        last = {b: np.array([o.regrets[-1] for o in outcomes[b]]) for b in BUDGETS}
        base = {b: np.array([o.regrets[-1] for o in results["random"][b]]) for b in BUDGETS}
        wins = [np.mean((last[b] < base[b]) + 0.5 * (last[b] == base[b])) for b in BUDGETS]
        until = np.median([trials_until(outcome) for outcome in outcomes[UNTIL]])
        figures = [(100 * last[b].mean(), 100 * np.median(last[b])) for b in BUDGETS]
        rows[key] = np.array([*sum(figures, ()), *(100 * np.array(wins)), until])
    show_rows(rows)
    return rows


def trials_until(outcome: Outcome) -> int:
    """Trials until the setting that one would pick is in the neighbourhood; one more than all if never."""
    inside = np.flatnonzero(outcome.regrets <= outcome.neighbourhood)
    return int(inside[0]) + 1 if len(inside) else len(outcome.regrets) + 1


def show_rows(rows: Mapping[str, Row]) -> None:
    """Print a table."""
    budgets = "".join(f"{f'{b} trials':>16}" for b in BUDGETS)
    print(f"{'regret, mean (median)':<22}{budgets}   beats random at  until")
    for key, row in rows.items():
        cells = "".join(f"{row[2 * i]:9.1f} ({row[2 * i + 1]:4.1f})" for i in range(len(BUDGETS)))
        wins = " ".join(f"{win:3.0f}%" for win in row[6:9])
        print(f"{key:<22}{cells}   {wins}   {row[9]:5.1f}")


if __name__ == "__main__":
    main()
