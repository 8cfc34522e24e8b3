"""Stretches of steps as CUDA graphs: what a run does from one event to the next, with a launch for many steps.

As in "Whole-network capture" of torch's notes on CUDA semantics: some steps first on a stream of their own, then the
recording there, with gradients that do not exist yet, and tensors that stay where they are. A graph reads its batches,
and its learning rates, from where it finds them on the device; so nothing is copied there between two stretches but
rates that change.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dlrun.data.ahead import Ahead
from dlrun.errors import RunFailed, first_line
from dlrun.system.torch_internals import tree_leaves
from dlrun.training.capturable import make_capturable
from dlrun.training.device import send
from dlrun.training.forward import State, on_tensors
from dlrun.training.graph import Recorder
from dlrun.training.logged_points import Pending
from dlrun.training.loop import Engine
from dlrun.training.verification import Trace, difference, places

log = logging.getLogger(__name__)

WARM_UPS = 3  # steps that choose kernels and make the optimizer's memory
_MOST = 25  # steps of a graph: the 50 from one logged point to the next are two replays
_FEWER = (5, 1)  # of the graphs for what is left over
_BYTES = 2**27  # of batches and outputs in a graph, at most, where it has more than one step
_TIMES = 3  # of what steps take, the least that the GPU has: more is left to single steps, whose kernels are long
WORTH = 4  # how many times its steps must be left for a graph to be worth its recording


@dataclass
class Stretch:
    """A graph of `count` steps, and the tensors that each replay fills.

    Attributes:
        losses, outputs, targets: of all its steps.
        sizes: of each step's batch.
        gradients: of the last step.
    """

    graph: torch.cuda.CUDAGraph
    count: int
    losses: Tensor
    outputs: Tensor
    targets: Tensor
    sizes: list[int]
    gradients: list[Tensor | None]


class Stretches:
    """Takes the steps of a run: graphs of many where nothing is due in between, single ones where there is none.

    Each graph is verified where it is first used: its steps are taken one by one, undone, and taken by the graph, which
    must come to the same. Where one cannot be recorded, or does something else, the run goes on step by step, and the
    log says so.

    Args:
        batches: of the engine, as the device reads them.
        required: a graph that fails ends the run.
    """

    def __init__(self, engine: Engine, batches: Ahead, *, required: bool) -> None:
        self.engine, self.batches, self.required = engine, batches, required
        self.recorder: Recorder | None = None  # from the first step on
        self.graphs: dict[tuple[int, int], Stretch] = {}  # by steps and size of batches
        self.failed = False

    def epoch(self, number: int, position: int) -> Iterator[int]:
        """Take the steps of an epoch but for the first `position`; how many were taken each time.

        The engine counts them before the next ones are taken.

        Raises:
            RunFailed: the steps cannot be replayed, but must be.
        """
        if self.recorder is None:
            self._begin()
        if self.stage != self.engine.freezing.stage or (
            self.graphs and self.places != places(self.engine)
        ):
            self._forget()
        self.batches.enter(number)
        self.device_at = -1  # where the device is in the epoch: anywhere
        while position < self.engine.steps_per_epoch:
            count = self._advance(position)
            position += count
            yield count

    def close(self) -> None:
        """Let all graphs go, with their memory."""
        self._forget()
        del self.engine

    def _begin(self) -> None:
        engine, device = self.engine, self.engine.device.torch_device
        self.recorder = Recorder([engine.generator])
        make_capturable(engine.descent, device)
        groups = len(engine.descent.optimizer.param_groups)
        self.counts = usual_counts(min(engine.intervals.until_due(0), self.batches.alike(0)))
        self.table = torch.zeros(self.counts[0], groups, device=device)  # learning rates
        self.rates: list[list[float]] = []  # in the table
        self.start = torch.zeros((), dtype=torch.int64, device=device)
        self.carried: State = None
        self._forget()

    def _forget(self) -> None:
        """Let go of graphs that do not fit what is trained now: the next ones begin with warm-ups."""
        self.graphs.clear()
        self.warm_ups, self.bytes = Counter[int](), dict[int, int]()
        self.engine.descent.clear()  # gradients that lie in the memory of a graph
        if self.recorder is not None:
            self.recorder.begin_anew()
        self.stage = self.engine.freezing.stage

    def _advance(self, position: int) -> int:
        """Take one step or more; how many."""
        size = self.batches.size(position)
        if self.graphs and self.recorder is not None and not self.recorder.is_sound:
            self._forget()  # an evaluation could not be recorded
        if self.failed or self.warm_ups[size] < WARM_UPS or (position == 0 and self._carries):
            self._take_one(position)
            return 1
        count = self._count(position, size)
        stretch = self.graphs.get((count, size))
        if stretch is not None:
            self._replay(stretch, position)
        elif not self._begin_graph(count, size, position):
            self._take_one(position)
            return 1
        return count

    @property
    def _carries(self) -> bool:
        return self.engine.data.spec.carries_state

    def _count(self, position: int, size: int) -> int:
        """How many steps the next graph takes."""
        engine = self.engine
        room = min(engine.intervals.until_due(engine.step), self.batches.alike(position))
        for count in self.counts:
            if count <= room and count * self.bytes[size] <= _BYTES:
                left = engine.total_steps - engine.step
                if (count, size) in self.graphs or left >= WORTH * count:
                    return count
        return 1

    def _take_one(self, position: int) -> None:
        assert self.recorder is not None
        engine, batch = self.engine, self.batches.batch(position)
        before = len(engine.pending.outputs)
        self.recorder.rehearse(partial(engine.train_step, *batch))
        size = self.batches.size(position)
        self.warm_ups[size] += 1
        left = (*batch, *engine.pending.outputs[before:])
        self.bytes[size] = sum(tensor.nbytes for tensor in left)

    def _begin_graph(self, count: int, size: int, position: int) -> bool:
        """Record a graph, and take its steps; False where that fails, and nothing is done.

        The steps are taken one by one, undone, and taken by the graph. Where that comes to something else, they are
        those that were taken one by one.
        """
        if not self.required and not _has_room(self.engine.device.torch_device):
            self._give_up("take too much of the GPU's memory to have a CUDA graph beside them")
            return False
        self._aim(position)
        try:
            stretch, before = self._record(count, size), Trace.of(self.engine)
        except RuntimeError as error:
            self._give_up(f"cannot be captured as a CUDA graph ({first_line(error)})", error)
            return False
        self._take_alone(count, position)
        alone, found = None, None
        try:
            alone = Trace.of(self.engine)
            before.restore(self.engine)
            self._replay(stretch, position)
            found = difference(before, alone, Trace.of(self.engine), self.engine.device.precision)
        except RuntimeError as error:
            found = first_line(error)
        if found is None:
            self.graphs[count, size], self.places = stretch, places(self.engine)
            log.info("a CUDA graph holds %s training steps of batches of %s", count, size)
            return True
        self._give_up(f"come to something else as a CUDA graph ({found})")
        if alone is not None:
            alone.restore(self.engine)
        return True

    def _take_alone(self, count: int, position: int) -> None:
        """Take steps one by one that the engine does not count yet."""
        begin = self.engine.step
        for at in range(count):
            self.engine.step = begin + at
            self._take_one(position + at)
        self.engine.step = begin

    def _give_up(self, what: str, error: RuntimeError | None = None) -> None:
        said = f"the training steps {what}"
        if self.required:
            raise RunFailed(f"{said}; set trainer.cuda_graph=false") from error
        log.warning("%s: going on without", said)
        self.failed = True
        self._forget()

    def _record(self, count: int, size: int) -> Stretch:
        assert self.recorder is not None
        engine, descent = self.engine, self.engine.descent
        pending, carried = engine.pending, engine.carried
        if self.carried is None:
            self.carried = on_tensors(carried, torch.clone)
        engine.pending, engine.carried = Pending(), self.carried
        descent.clear()
        try:
            graph, left = self.recorder.record(partial(self._work, count, size))
            gradients = [parameter.grad for parameter in descent.parameters]
            return Stretch(graph, count, *left, engine.pending.sizes, gradients)
        finally:
            engine.pending, engine.carried = pending, carried
            descent.take_rates(descent.rates)
            descent.clear()

    def _work(self, count: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """What the graph does; the losses, outputs and targets of all its steps."""
        engine, left = self.engine, self.engine.pending
        batches = self.batches.read(self.start, size, count)
        for batch, rates in zip(batches, self.table[:count].unbind(), strict=True):
            engine.descent.take_rates(rates.unbind())
            engine.learn(*batch)
        _put(engine.carried, self.carried)
        return torch.stack(left.losses), torch.cat(left.outputs), torch.cat(left.targets)

    def _aim(self, position: int) -> None:
        if position != self.device_at:
            self.start.fill_(self.batches.start(position))
            self.engine.descent.count_from(self.engine.step)
            self.device_at = position

    def _replay(self, stretch: Stretch, position: int) -> None:
        """Take the steps of a graph: nothing waits for the device, and there are few launches."""
        engine, pending, count = self.engine, self.engine.pending, stretch.count
        self._aim(position)
        self.device_at += count
        rates = [engine.descent.rates_at(engine.step + at) for at in range(count)]
        if rates != self.rates[:count]:
            send(torch.tensor(rates, dtype=self.table.dtype), self.table[:count])
            self.rates = rates
        _put(engine.carried, self.carried)
        engine.carried = self.carried
        stretch.graph.replay()
        # Others have put theirs there.
        for parameter, gradient in zip(engine.descent.parameters, stretch.gradients, strict=True):
            parameter.grad = gradient
        pending.losses += stretch.losses.clone().unbind()
        pending.outputs.append(stretch.outputs.clone())
        pending.targets.append(stretch.targets.clone())
        pending.sizes += stretch.sizes


def usual_counts(room: int) -> list[int]:
    """How many steps a graph may have: the parts, all equal, of the `room` between two events; and fewer."""
    part = -(-room // -(-room // _MOST))
    return [part, *(count for count in _FEWER if count < part)]


def _has_room(device: torch.device) -> bool:
    """Whether the GPU has room for what steps take twice over: a graph has memory of its own, which it keeps."""
    if device.type != "cuda":
        return True
    _, whole = torch.cuda.mem_get_info(device)
    return _TIMES * torch.cuda.max_memory_allocated(device) <= whole


def _put(state: State, place: State) -> None:
    """Copy what a model remembers to where graphs read it.

    Raises:
        RuntimeError: it has another form there.
    """
    values, places = tree_leaves(state), tree_leaves(place)
    if [getattr(v, "shape", v) for v in values] != [getattr(p, "shape", p) for p in places]:
        raise RuntimeError("what the model remembers of a text changes its form")
    for one, other in zip(values, places, strict=True):
        if one is not other and isinstance(one, Tensor):
            other.copy_(one)
