"""The prices of a card for the rule of sweep.stack=auto: seconds of a call, a flop and a byte, fitted to steps.

Steps alone and as one, by CUDA graphs and launched one by one, are timed, and counted as the rule counts them. The
prices are fitted to the logarithms of the times, since what counts are ratios; what the steps do not tell apart stays
what it was. They are printed as lines for dlrun/stacked/cost_model.py.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from math import log

import torch

from _accelerator import described
from _pace import stack_step_seconds, step_seconds
from dlrun.stacked.cost_model import LAUNCHED, REPLAYED, Prices, Work, counted
from dlrun.stacked.stack import Stack
from gpu_parts.figures import note, tell
from stacked import SHAPES, Case, make_engine, plain_config

_SHAPES = (
    "logistic",
    "mlp 32",
    "mlp 512",
    "mlp 2 x 1024",
    "cnn 4-8",
    "cnn 32-64",
    "lstm 32",
    "gru 32",
)
_BATCHES = (32, 512)
_RUNS = (4, 32)
_TIED = 0.02  # how much a price is held where it was, beside what the times say
_CALLS = ("calls", "views", "layer_calls")  # as many in a stack of any size


@dataclass(frozen=True)
class Pair:
    """A run alone and a stack of `runs`: what a step of it does, and of a stack of two; seconds of a step of each."""

    runs: int
    alone: Work
    two: Work
    seconds: float
    together: float

    @property
    def gain(self) -> float:
        """How many times as fast the stack is."""
        return self.runs * self.seconds / self.together

    def expected(self, prices: Prices) -> float:
        """The same by the prices."""
        together = self.two.seconds(prices, share=self.runs / 2)
        return self.runs * self.alone.seconds(prices) / together


def measure(kind: str) -> None:
    """Print the prices of replayed steps, and of launched ones."""
    for name, graphs, before in (("REPLAYED", "auto", REPLAYED), ("LAUNCHED", "false", LAUNCHED)):
        pairs = []
        for shape in _SHAPES if kind == "cuda" else _SHAPES[:1]:
            for batch in _BATCHES if kind == "cuda" else _BATCHES[:1]:
                words = f"{SHAPES[shape]} trainer.batch_size={batch} trainer.cuda_graph={graphs}"
                case = Case(f"dataset=digits {words}", epochs=1000).on(kind)
                pairs += _pairs(f"{name}: {shape}, batches of {batch}", case, kind)
        _tell(name, pairs, before, kind)


def fitted(pairs: Sequence[Pair], before: Prices) -> Prices:
    """The prices that explain the times best, from what they were `before`; what was free stays free."""
    start = torch.tensor(astuple(before), dtype=torch.float64)
    is_free = start == 0
    first = torch.where(is_free, 1.0, start).log()
    alone, together, times = _table(pairs)
    change = torch.zeros_like(first, requires_grad=True)
    optimizer = torch.optim.LBFGS([change], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        prices = torch.where(is_free, 0.0, (first + change).exp())
        off = torch.stack([alone @ prices, together @ prices], 1).log() - times
        ratio = off[:, 0] - off[:, 1]
        total = off.square().mean() + ratio.square().mean() + _TIED * change.square().mean()
        total.backward()
        return total

    optimizer.step(loss)
    found = torch.where(is_free, 0.0, (first + change.detach()).exp()).tolist()
    return Prices(*found)


def _table(pairs: Sequence[Pair]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(N, P) amounts of a step alone and as one, in the order of the prices; (N, 2) logarithms of seconds."""
    calls = torch.tensor([field.name in _CALLS for field in fields(Work)])
    runs = torch.tensor([pair.runs for pair in pairs], dtype=torch.float64)
    alone = torch.tensor([astuple(pair.alone) for pair in pairs], dtype=torch.float64)
    two = torch.tensor([astuple(pair.two) for pair in pairs], dtype=torch.float64)
    together = torch.where(calls, two, two * runs[:, None] / 2)
    times = [[log(pair.seconds), log(pair.together)] for pair in pairs]
    return alone, together, torch.tensor(times, dtype=torch.float64)


def _pairs(label: str, case: Case, kind: str) -> list[Pair]:
    plain, found = plain_config(case), []
    try:
        seconds = step_seconds(make_engine(plain, 1e-3))
        two = Stack([make_engine(plain, 1e-3) for _ in range(2)], eval_rows=64)
        two.train_step(*next(two.batches.epoch(0)))
        alone, as_two = counted(make_engine(plain, 1e-3), two)
        for runs in _RUNS if kind == "cuda" else (2,):
            stack = Stack([make_engine(plain, 1e-3) for _ in range(runs)], eval_rows=64)
            pair = Pair(runs, alone, as_two, seconds, stack_step_seconds(stack))
            note(f"{label}, {runs} runs: in turn / as one {pair.gain:.2f}")
            found.append(pair)
    except RuntimeError as error:  # the others still tell something
        note(f"LOOK: {label}: {str(error).splitlines()[0]}")
    return found


def _tell(name: str, pairs: Sequence[Pair], before: Prices, kind: str) -> None:
    prices = fitted(pairs, before)
    off = [log(pair.expected(prices) / pair.gain) for pair in pairs]
    wrong = sum((pair.expected(prices) > 1) != (pair.gain > 1) for pair in pairs)
    words = ", ".join(f"{f.name}={getattr(prices, f.name):.2g}" for f in fields(Prices))
    note(f"LOOK: # {described(kind)}, {datetime.now(UTC):%Y-%m-%d}, {len(pairs)} pairs of steps")
    note(f"LOOK: {name} = Prices({words})")
    tell(
        f"{name.lower()}, error of a gain",
        statistics.fmean(x * x for x in off) ** 0.5,
        "in its log",
    )
    tell(f"{name.lower()}, gains on the wrong side of 1", 100 * wrong / len(pairs), "%")
