"""Stretches of steps of a stack as CUDA graphs: what all runs do from one event to the next, launched as a whole.

As of one run, in dlrun.training.stretches. What a graph reads of the next steps, their rows of the data and the numbers
that depend on the step, is sent to where it looks for them before each replay.

Shapes: K runs, B rows of a batch, S steps, C outputs.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dlrun.errors import first_line
from dlrun.stacked.optim import StepNumbers, Table
from dlrun.stacked.stack import Stack
from dlrun.stacked.trace import Trace, difference
from dlrun.training.evaluation import Repeated
from dlrun.training.graph import Recorder
from dlrun.training.logged_points import Pending
from dlrun.training.stretches import WARM_UPS, WORTH, usual_counts

log = logging.getLogger(__name__)

# Of batches and outputs of all runs in a graph, at most, where it has more than one step.
_BYTES = 2**29


@dataclass
class Left:
    """What steps leave behind: losses (S, K), outputs and targets (K, S * B, ...)."""

    losses: Tensor
    outputs: Tensor
    targets: Tensor

    @classmethod
    def of(cls, pending: Pending) -> Left:
        """Of all steps that are pending."""
        outputs, targets = torch.cat(pending.outputs, 1), torch.cat(pending.targets, 1)
        return cls(torch.stack(pending.losses), outputs, targets)

    def clone(self) -> Left:
        """Copies, which no replay fills."""
        return Left(self.losses.clone(), self.outputs.clone(), self.targets.clone())


class Stretches:
    """Takes the steps of a stack: one by one, or graphs of many where nothing is due in between.

    Each graph is verified where it is first used: its steps are taken one by one, undone, and taken by the graph, which
    must come to the same for each run. Where one cannot be recorded, or does something else, the stack goes on step by
    step, and the log says so.

    Args:
        by_graphs: whether to record any.
    """

    def __init__(self, stack: Stack, *, by_graphs: bool) -> None:
        self.stack, self.by_graphs = stack, by_graphs
        sizes = [stop - start for start, stop in stack.batches.bounds]
        room = min(stack.lead.intervals.until_due(0), sizes.count(sizes[0]))
        self.counts = usual_counts(room)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget all graphs: the stack has other runs, or none any more."""
        self.graphs: dict[tuple[int, int], tuple[torch.cuda.CUDAGraph, Left]] = {}
        self.warm_ups, self.bytes = Counter[int](), dict[int, int]()
        # Anew as well: its generators are those of all runs that there were.
        self.recorder: Recorder | None = None
        self.rows: Tensor | None = None  # of the next steps, one batch after another
        self._repeat_evaluations()

    def _repeat_evaluations(self) -> None:
        stack = self.stack
        if stack.repeated is not None:
            stack.repeated.close()
            stack.repeated = None
        if self.by_graphs and stack.engines and Repeated.fits(stack.lead.data.val, stack.eval_rows):
            drawn_from, precision = stack.lead.generator, stack.device.precision
            part = stack.lead.data.val
            stack.repeated = Repeated(part, drawn_from, precision, required=False)

    def advance(self) -> None:
        """Take the next step, or the next ones up to where something is due."""
        stack = self.stack
        epoch, position = divmod(stack.lead.step, stack.lead.steps_per_epoch)
        orders, bounds = stack.batches.orders(epoch), stack.batches.bounds[position:]
        bounds = bounds[: self.counts[0]]
        start, stop = bounds[0]
        size = stop - start
        alike = next((n for n, (a, b) in enumerate(bounds) if b - a != size), len(bounds))
        if not self.by_graphs:
            stack.train_step(*stack.batches.read(orders[:, start:stop]))
        elif self.warm_ups[size] < WARM_UPS:
            self._warm_up(orders[:, start:stop])
        else:
            count = self._count(size, alike)
            self._take(orders[:, start : start + count * size], count, size)

    def _warm_up(self, rows: Tensor) -> None:
        """A step by itself."""
        self.recorder = self.recorder or Recorder(self.stack.drawn_from)
        stack, before = self.stack, len(self.stack.pending.outputs)
        batch = stack.batches.read(rows)
        self.recorder.rehearse(partial(stack.train_step, *batch))
        size = rows.shape[1]
        self.warm_ups[size] += 1
        left = (*batch, *stack.pending.outputs[before:])
        self.bytes[size] = sum(tensor.nbytes for tensor in left)

    def _count(self, size: int, alike: int) -> int:
        """How many steps the next graph takes."""
        lead = self.stack.lead
        room, left = min(lead.intervals.until_due(lead.step), alike), lead.total_steps - lead.step
        for count in self.counts:
            fits = count <= room and count * self.bytes[size] <= _BYTES
            if fits and ((count, size) in self.graphs or left >= WORTH * count):
                return count
        return 1

    def _take(self, rows: Tensor, count: int, size: int) -> None:
        """So many steps, on these rows of the data."""
        stack = self.stack
        if self.graphs and self.recorder is not None and not self.recorder.is_sound:
            self.graphs.clear()  # an evaluation could not be recorded
            self.recorder.begin_anew()
        self._send(rows, (stack.descent.advance(stack.lead.step + at) for at in range(count)))
        if (count, size) in self.graphs:
            graph, left = self.graphs[count, size]
            graph.replay()
            left = left.clone()
        else:
            left = self._begin_graph(count, size)
        stack.pending.losses += left.losses.unbind()
        stack.pending.outputs.append(left.outputs)
        stack.pending.targets.append(left.targets)
        stack.pending.sizes += [size] * count
        stack.count(count)

    def _send(self, rows: Tensor, numbers: Iterable[StepNumbers]) -> None:
        """Put what graphs read of the next steps where they look for it."""
        if self.rows is None:
            longest = max(stop - start for start, stop in self.stack.batches.bounds)
            self.rows = rows.new_zeros(len(rows), longest * self.counts[0])
            self.table = Table(self.counts[0], self.stack.weights.values)
        self.rows[:, : rows.shape[1]].copy_(rows)
        self.table.fill(numbers)

    def _work(self, count: int, size: int) -> Left:
        """What a graph does: the steps whose rows and numbers were sent."""
        stack, rows = self.stack, self.rows
        assert rows is not None
        pending, stack.pending = stack.pending, Pending()
        try:
            for at in range(count):
                batch = stack.batches.read(rows[:, at * size : (at + 1) * size])
                stack.learn(*batch, self.table.numbers(at))
            return Left.of(stack.pending)
        finally:
            stack.pending = pending

    def _begin_graph(self, count: int, size: int) -> Left:
        """Take the steps that were sent one by one, and by a graph as well, unless that fails."""
        assert self.recorder is not None
        stack, work = self.stack, partial(self._work, count, size)
        before = Trace.of(stack)
        try:
            graph, filled = self.recorder.record(work)
        except RuntimeError as error:
            left = work()
            self._give_up(f"cannot be captured as CUDA graphs ({first_line(error)})")
            return left
        left = self.recorder.rehearse(work)
        alone = Trace.of(stack)
        before.restore(stack)
        graph.replay()
        replayed = Trace.of(stack)
        pairs = [(left.outputs, filled.outputs), (left.losses.T, filled.losses.T)]
        found = difference(before, alone, replayed, pairs, stack.device.precision)
        if found is None:
            self.graphs[count, size] = graph, filled
            runs = len(stack.engines)
            log.info("a CUDA graph holds %s steps of %s runs, batches of %s", count, runs, size)
        else:
            self._give_up(f"come to something else as CUDA graphs ({found})")
            alone.restore(stack)
        return left

    def _give_up(self, what: str) -> None:
        runs = len(self.stack.engines)
        log.warning("the steps of %s runs as one %s: going on without", runs, what)
        self.by_graphs = False
        self.begin_anew()
