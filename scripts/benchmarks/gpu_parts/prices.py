"""What operations cost on a card: the prices of dlrun/stacked/cost_model.py, fitted to steps alone and as one.

Prices are fitted to the logarithms of times, since what counts are ratios. What the steps do not tell apart stays
what it was before.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from math import inf, log

import torch

from _accelerator import described, now
from dlrun.stacked.cost_model import CPU, LAUNCHED, REPLAYED, Prices, Work, counted
from dlrun.stacked.stack import Stack
from dlrun.stacked.stretches import Stretches
from dlrun.training.logged_points import Pending
from dlrun.training.loop import Engine
from gpu_parts import pace
from gpu_parts.figures import note, tell
from gpu_parts.pace import Size, built, of_length

_SHAPES = (
    "model=logistic", "model=mlp model.hidden=[32]", "model=mlp model.hidden=[512]",
    "model=mlp model.hidden=[64,64,64,64] model.batch_norm=before", "model=mlp model.hidden=[1024,1024]",
    "model=cnn model.filters=[4,8]", "model=cnn model.filters=[32,64]", "model=lstm model.hidden_size=32",
    "model=gru model.hidden_size=64",
)  # fmt: skip
_BATCHES = (32, 512)
_RUNS = (4, 32)
_TIED = 0.02  # how much a price is held where it was, beside what the times say
_STEPS = 200  # of one measurement


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
        return (
            self.runs * self.alone.seconds(prices) / self.two.seconds(prices, share=self.runs / 2)
        )


def measure(kind: str) -> None:
    """Print the prices of this device as lines for cost_model.py, of launched steps and of graphs."""
    if kind != "cuda":
        _tell("CPU", _pairs(kind, _SHAPES[:2], _BATCHES[:1], (2,), graphs=False), CPU)
        return
    for graphs, name, before in ((False, "LAUNCHED", LAUNCHED), (True, "REPLAYED", REPLAYED)):
        _tell(name, _pairs(kind, _SHAPES, _BATCHES, _RUNS, graphs=graphs), before)


def fitted(pairs: Sequence[Pair], before: Prices) -> Prices:
    """The prices that explain the times best, from what they were `before`; what was free stays free."""
    names = [field.name for field in fields(Prices)]
    start = torch.tensor(astuple(before), dtype=torch.float64)
    is_free = start == 0
    first = torch.where(is_free, 1.0, start).log()
    alone, together, times = _table(pairs)
    change = torch.zeros_like(first, requires_grad=True)
    optimizer = torch.optim.LBFGS([change], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        prices = torch.where(is_free, 0.0, (first + change).exp())
        expected = torch.stack([alone @ prices, together @ prices], 1).log()
        off = expected - times
        ratio = off[:, 0] - off[:, 1]
        total = off.square().mean() + ratio.square().mean() + _TIED * change.square().mean()
        total.backward()
        return total

    optimizer.step(loss)
    found = torch.where(is_free, 0.0, (first + change.detach()).exp()).tolist()
    return Prices(**dict(zip(names, found, strict=True)))


def _table(pairs: Sequence[Pair]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(N, P) amounts of a step alone and as one, and (N, 2) logarithms of seconds."""
    calls = torch.tensor([f.name in ("calls", "views", "layer_calls") for f in fields(Work)])
    runs = torch.tensor([pair.runs for pair in pairs], dtype=torch.float64)
    alone = torch.tensor([astuple(pair.alone) for pair in pairs], dtype=torch.float64)
    two = torch.tensor([astuple(pair.two) for pair in pairs], dtype=torch.float64)
    together = torch.where(calls, two, two * runs[:, None] / 2)
    times = [[log(pair.seconds), log(pair.together)] for pair in pairs]
    return alone, together, torch.tensor(times, dtype=torch.float64)


def _tell(name: str, pairs: Sequence[Pair], before: Prices) -> None:
    prices = fitted(pairs, before)
    off = [log(pair.expected(prices) / pair.gain) for pair in pairs]
    wrong = sum((pair.expected(prices) > 1) != (pair.gain > 1) for pair in pairs)
    words = ", ".join(f"{f.name}={getattr(prices, f.name):.2g}" for f in fields(Prices))
    kind = "cpu" if name == "CPU" else "cuda"
    note(f"# {described(kind)}, {datetime.now(UTC):%Y-%m-%d}, {len(pairs)} pairs of steps")
    note(f"{name} = Prices({words})")
    tell(f"{name.lower()}: standard error of the logarithm of gains", _root_mean_square(off))
    tell(f"{name.lower()}: gains on the wrong side of 1", wrong / len(pairs))


def _root_mean_square(values: Sequence[float]) -> float:
    return statistics.fmean(value**2 for value in values) ** 0.5


def _pairs(
    kind: str,
    shapes: Sequence[str],
    batches: Sequence[int],
    runs: Sequence[int],
    *,
    graphs: bool,
) -> list[Pair]:
    found = []
    size = Size(_STEPS // 2, _STEPS, 1) if kind == "cuda" else Size(2, 4, 1)
    for shape in shapes:
        for batch in batches:
            words = f"dataset=digits {shape} trainer.batch_size={batch} trainer.accelerator={kind}"
            more = [*of_length(size), f"trainer.cuda_graph={'auto' if graphs else 'false'}"]
            try:
                seconds = pace.step_seconds(words, *more, size=size)
                two = Stack([_engine(words, more) for _ in range(2)], eval_rows=64)
                two.train_step(*next(two.batches.epoch(0)))
                alone, as_two = counted(_engine(words, more), two)
                for count in runs:
                    together = _stack_seconds(words, more, count, size)
                    found.append(Pair(count, alone, as_two, seconds, together))
                    note(f"{shape}, {batch}, {count} runs: {found[-1].gain:.2f}")
            except RuntimeError as error:
                note(f"LOOK: {shape}, batches of {batch}: {str(error).splitlines()[0]}")
    return found


def _engine(words: str, more: Sequence[str]) -> Engine:
    return built(words, *more).engine


def _stack_seconds(words: str, more: Sequence[str], runs: int, size: Size) -> float:
    """Seconds of a step of a stack, as its loop takes them, after as many as a warm-up takes."""
    stack = Stack([_engine(words, more) for _ in range(runs)], eval_rows=64)
    stretches = Stretches(stack, by_graphs="trainer.cuda_graph=auto" in more)
    kind, seconds = stack.device.torch_device.type, inf
    for block in (size.warm_up, size.block):
        begun, first = now(kind), stack.lead.step
        while stack.lead.step - first < block:
            stretches.advance()
            if len(stack.pending.sizes) >= block // 2:
                stack.pending = Pending()  # as after a logged point
        seconds = (now(kind) - begun) / (stack.lead.step - first)
    return seconds
