"""Whether a stack is faster than its runs in turn, worked out from the operations of one step of each.

Nothing is timed: the operations of a step are counted, with their floating-point operations and the bytes
that they read and write, and priced. So the answer follows from the shapes, the number of runs and the kind
of device, and is the same on a busy machine as on an idle one.

A step of K runs as one has the calls of a stack of two and K/2 times its work; K runs in turn have K
times the calls and the work of one. A stack wins by its calls and loses by what its copies and its unrolled
recurrent layers do beside. Hence the rule: small steps are stacked, large ones are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from dlrun.stacked.stack import Stack
from dlrun.system.torch_internals import DispatchMode, is_view, tree_leaves
from dlrun.training.cuda_graph import may_be_stacked
from dlrun.training.loop import Engine


@dataclass(frozen=True)
class Prices:
    """Seconds of a call, of a floating-point operation (flop) and of a byte read or written.

    Attributes:
        call: of an ordinary operation, with what Python and autograd do around it.
        view: of one that looks at its input in another way, and computes nothing.
        flop: of a matrix product, of one pair of matrices or of a batch of pairs.
        layer_call: of a whole layer that a library computes: a convolution, a fused LSTM.
        layer_flop: within a convolution.
        grouped_flop: within one of several groups of channels, as a stack has them.
    """

    call: float
    view: float
    flop: float
    layer_call: float
    layer_flop: float
    grouped_flop: float
    byte: float


# Fitted to 171 pairs of steps as `scripts/bench stacked --rule` takes them, on one and two threads of an AMD EPYC:
# MLPs of 64 and 784 inputs, CNNs, RNNs, LSTMs and GRUs with batches of 8 to 512, 2 to 32 runs. What counts is
# the ratio of times: its logarithm has a standard error of 0.38, and 20 came out on the wrong side of 1, nearly
# all of them between 0.8 and 1.4 (docs/performance.md).
CPU = Prices(
    call=5.3e-6,
    view=5.3e-6,
    flop=9e-12,
    layer_call=160e-6,
    layer_flop=18e-12,
    grouped_flop=18e-12,
    byte=42e-12,
)
# All prices of a GPU are assumed, not measured; `scripts/bench gpu prices` measures those of a card. Kernels of small
# models wait for their launch from Python; work is cheap and costs the same in a batch, so that the number of launches
# decides until a step fills the device.
LAUNCHED = Prices(
    call=8e-6,
    view=2e-6,
    flop=0.1e-12,
    layer_call=16e-6,
    layer_flop=0.1e-12,
    grouped_flop=0.1e-12,
    byte=1e-12,
)
# As a CUDA graph of many steps, one kernel follows another without Python, and a view is nothing at all.
REPLAYED = replace(LAUNCHED, call=2e-6, view=0.0, layer_call=2e-6)


@dataclass(frozen=True)
class Work:
    """What one step does. Its fields are those of `Prices`, in numbers of calls, flops and bytes."""

    calls: int = 0
    views: int = 0
    flops: float = 0.0
    layer_calls: int = 0
    layer_flops: float = 0.0
    grouped_flops: float = 0.0
    bytes: float = 0.0

    def seconds(self, prices: Prices, *, share: float = 1.0) -> float:
        """Its price with `share` times the work in the same calls."""
        calls = (
            self.calls * prices.call
            + self.views * prices.view
            + self.layer_calls * prices.layer_call
        )
        work = (
            self.flops * prices.flop
            + self.layer_flops * prices.layer_flop
            + self.grouped_flops * prices.grouped_flop
            + self.bytes * prices.byte
        )
        return calls + share * work


def gain(engine: Engine, two: Stack, runs: int) -> float:
    """How many times as fast `runs` runs like `engine` are as one as in turn.

    Args:
        engine: has made some more steps afterwards.
        two: a stack of two such runs that has made a step; is one further afterwards.
    """
    alone, together = counted(engine, two)
    in_turn = runs * alone.seconds(prices_of(engine, replayed=engine.captured is not None))
    as_one = prices_of(engine, replayed=is_replayed(two))
    return in_turn / together.seconds(as_one, share=runs / 2)


def counted(engine: Engine, two: Stack) -> tuple[Work, Work]:
    """What a step of `engine` does, and one of the stack, as they are once all memory is set up."""
    inputs, targets = next(engine.batches.epoch(0))
    engine.freezing.train(engine.model)
    engine.train_step(inputs, targets)  # the first one sets the optimizer's memory up
    alone = work_of(lambda: engine.train_step(inputs, targets))
    x, y = next(two.batches.epoch(0))
    return alone, work_of(lambda: two.train_step(x, y))


def prices_of(engine: Engine, *, replayed: bool) -> Prices:
    """The prices where `engine` is trained: of steps that CUDA graphs hold, or that Python launches."""
    if engine.device.torch_device.type == "cpu":
        return CPU
    return REPLAYED if replayed else LAUNCHED


def is_replayed(stack: Stack) -> bool:
    """Whether steps of the stack are CUDA graphs."""
    return may_be_stacked(stack.lead)


def work_of(step: Callable[[], None]) -> Work:
    """What `step` does, which is done once."""
    with _Counting() as counting:
        step()
    return counting.work


class _Counting(DispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.work = Work()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        outputs = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        if is_view(func):
            more: dict[str, float] = {"views": 1}
        else:
            more = _work(func.overloadpacket.__name__, inputs, outputs)
            more["bytes"] = sum(t.numel() * t.element_size() for t in (*inputs, *outputs))
        for name, amount in more.items():
            self.work = replace(self.work, **{name: getattr(self.work, name) + amount})
        return out


def _work(name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> dict[str, float]:
    """The call of the operation `name` and its flops, by the fields of Work."""
    back = 2 if "backward" in name else 1  # gradients of the inputs and of the weights
    if "convolution" in name:
        # Each number that the layer gives out, or is given back, is a product with one filter.
        numbers = outputs[0] if back == 1 else inputs[0]
        samples, filters = inputs[back - 1], inputs[back]
        flops = 2 * back * numbers.numel() * filters[0].numel()
        grouped = samples.shape[1] > filters.shape[1]
        return {"layer_calls": 1, "grouped_flops" if grouped else "layer_flops": flops}
    # A cell that a GPU computes at once is an ordinary kernel: its products come before it.
    is_cell = name.startswith("_thnn_fused")
    if not is_cell and ("rnn" in name or "lstm" in name or "gru" in name):
        # Each row at each step is multiplied with each of the matrices.
        rows = inputs[0].numel() // max(1, inputs[0].shape[-1])
        matrices = sum(t.numel() for t in inputs[1:5] if t.ndim == 2)
        return {"layer_calls": 1, "flops": 2 * back * rows * matrices}
    if name in ("mm", "addmm", "bmm", "baddbmm"):
        return {"calls": 1, "flops": 2 * outputs[0].numel() * inputs[-1].shape[-2]}
    return {"calls": 1}
