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
from dlrun.training.loop import Engine


@dataclass(frozen=True)
class Prices:
    """Seconds of a call, of a floating-point operation (flop) and of a byte read or written.

    Attributes:
        call: of an ordinary operation, with what Python and autograd do around it.
        flop: of a matrix product, of one pair of matrices or of a batch of pairs.
        layer_call: of a whole layer that a library computes: a convolution, a fused LSTM.
        layer_flop: within a convolution.
    """

    call: float
    flop: float
    layer_call: float
    layer_flop: float
    byte: float


# Fitted to 171 pairs of steps as `scripts/bench stacked --rule` takes them, on one and two threads of an AMD EPYC:
# MLPs of 64 and 784 inputs, CNNs, RNNs, LSTMs and GRUs with batches of 8 to 512, 2 to 32 runs. What counts is
# the ratio of times: its logarithm has a standard error of 0.38, and 20 came out on the wrong side of 1, nearly
# all of them between 0.8 and 1.4 (docs/performance.md).
CPU = Prices(call=5.3e-6, flop=9e-12, layer_call=160e-6, layer_flop=18e-12, byte=42e-12)
# Not measured yet. Kernels of small models wait for their launch, some 8 µs each from Python; work is cheap,
# and costs the same in a batch, so that the number of launches decides until a step fills the device.
ACCELERATOR = Prices(call=8e-6, flop=0.1e-12, layer_call=16e-6, layer_flop=0.1e-12, byte=1e-12)
# A step alone that is replayed as a CUDA graph launches its kernels without Python.
_REPLAYED_CALL = 2e-6


@dataclass(frozen=True)
class Work:
    """What one step does."""

    calls: int = 0
    flops: float = 0.0
    layer_calls: int = 0
    layer_flops: float = 0.0
    bytes: float = 0.0

    def seconds(self, prices: Prices, *, share: float = 1.0) -> float:
        """Its price with `share` times the work in the same calls."""
        work = (
            self.flops * prices.flop
            + self.layer_flops * prices.layer_flop
            + self.bytes * prices.byte
        )
        return self.calls * prices.call + self.layer_calls * prices.layer_call + share * work


def gain(engine: Engine, two: Stack, runs: int) -> float:
    """How many times as fast `runs` runs like `engine` are as one as in turn.

    Args:
        engine: has made a few more steps afterwards.
        two: a stack of two such runs that has made a step; is one further afterwards.
    """
    inputs, targets = next(engine.batches.epoch(0))
    engine.freezing.train(engine.model)
    engine.train_step(inputs, targets)  # the first one sets the optimizer's memory up
    alone = work_of(lambda: engine.train_step(inputs, targets))
    x, y = next(two.batches.epoch(0))
    together = work_of(lambda: two.train_step(x, y))
    prices = CPU if engine.device.torch_device.type == "cpu" else ACCELERATOR
    single = (
        prices
        if engine.captured is None
        else replace(prices, call=_REPLAYED_CALL, layer_call=_REPLAYED_CALL)
    )
    return runs * alone.seconds(single) / together.seconds(prices, share=runs / 2)


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
        more = _work(func.overloadpacket.__name__, inputs, outputs)
        if not is_view(func):
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
        flops = 2 * back * numbers.numel() * inputs[back][0].numel()
        return {"layer_calls": 1, "layer_flops": flops}
    if "rnn" in name or "lstm" in name or "gru" in name:
        # Each row at each step is multiplied with each of the matrices.
        rows = inputs[0].numel() // max(1, inputs[0].shape[-1])
        matrices = sum(t.numel() for t in inputs[1:5] if t.ndim == 2)
        return {"layer_calls": 1, "flops": 2 * back * rows * matrices}
    if name in ("mm", "addmm", "bmm", "baddbmm"):
        return {"calls": 1, "flops": 2 * outputs[0].numel() * inputs[-1].shape[-2]}
    return {"calls": 1}
