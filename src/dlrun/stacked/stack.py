"""K runs of one shape as one program: a step, an evaluation, a logged point of all at a time.

Shapes: K runs, B batch, N samples, C outputs, P weights a run, S steps.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from dlrun.data.images.mixing import Mixed
from dlrun.data.loaders import Split
from dlrun.errors import RunFailed
from dlrun.models.dropout import Dropout, RandomLayer, use_generators
from dlrun.models.members import joined, members_of
from dlrun.stacked.forward import lift
from dlrun.stacked.loaders import StackedBatches, together
from dlrun.stacked.optim import StackedDescent, StepNumbers, Table
from dlrun.stacked.point import StackedPoint, Values, diverged
from dlrun.stacked.weights import StackedWeights
from dlrun.training.copied import Copied, DeviceClock, HostClock
from dlrun.training.divergence import Diverged
from dlrun.training.evaluation import Repeated
from dlrun.training.forward import sample_losses
from dlrun.training.logged_points import Pending, Rate
from dlrun.training.loop import Engine
from dlrun.training.losses.base import side_by_side
from dlrun.training.task import stacked_metrics


class Stack:
    """Trains K engines in step; all are at the same step.

    The engines remain what is evaluated, saved and read from outside; the arithmetic is done here.

    Args:
        eval_rows: samples of each run in one forward pass of an evaluation.

    Attributes:
        repeated: what evaluates the validation parts by a graph, where something does.
    """

    def __init__(self, engines: Sequence[Engine], *, eval_rows: int) -> None:
        self.engines, self.eval_rows = list(engines), eval_rows
        lead = self.engines[0]
        self.task, self.settings, self.device = lead.task, lead.settings, lead.device
        self.pending = _merged([engine.pending for engine in engines])
        self.weights = StackedWeights(engines)
        self.template = copy.deepcopy(lead.model)
        lead.freezing.train(self.template)
        self._forward = lift(self.template)
        self.repeated: Repeated | None = None
        self._arrange()
        clock = DeviceClock() if self.device.torch_device.type == "cuda" else HostClock()
        self.rate = Rate(uncounted=sum(self.pending.sizes), clock=clock)

    @property
    def lead(self) -> Engine:
        """One of the engines, for what is the same in all."""
        return self.engines[0]

    def train_step(self, inputs: Tensor, targets: Tensor) -> None:
        """One update of every run's weights, from batches (K, B, ...)."""
        numbers = self.descent.advance(self.lead.step)
        if self.device.torch_device.type != "cpu":
            self._table.fill([numbers])
            numbers = self._table.numbers(0)
        self.learn(inputs, targets, numbers)
        self.count(1)

    def learn(self, inputs: Tensor, targets: Tensor, numbers: StepNumbers) -> None:
        """What a step does on the device: all of it, so that a CUDA graph can hold it."""
        targets = self._aims(inputs, targets)
        if self.lead.augmentation is not None:
            inputs = self._augmented(inputs)
        mixed = None
        if self.lead.mixing is not None:
            inputs, mixed = self._mixed(inputs, targets)
        size, weights = targets.shape[1], self.weights
        part = -(-size // self.settings.accumulate)
        losses: list[Tensor] = []
        x_parts, y_parts = inputs.split(part, 1), targets.split(part, 1)
        mixed_parts = [None] * len(x_parts) if mixed is None else mixed.parts(part, 1)
        for x, y, m in zip(x_parts, y_parts, mixed_parts, strict=True):
            share = y.shape[1] / size if self.task.reduction == "mean" else 1.0
            losses.append(self._forward_backward(x, y, m, share, first=not losses))
        self.pending.losses.append(sum(losses[1:], losses[0]))
        self.pending.sizes.append(size)
        self.descent.update(weights.values, weights.gradients, numbers)

    def count(self, steps: int) -> None:
        """Note that so many steps were made."""
        for engine in self.engines:
            engine.step += steps

    def changing(self) -> dict[str, list[Tensor]]:
        """What steps change in place, (K, ...), by what it is."""
        weights = self.weights
        return {
            "weights": [weights.values],
            "gradients": [weights.gradients],
            "running statistics": list(weights.others.values()),
            "what the optimizer remembers": [
                t for rule in weights.rules for t in rule.state.values()
            ],
        }

    @property
    def drawn_from(self) -> list[torch.Generator]:
        """The generators that a step draws random numbers from."""
        lead = self.lead
        layers = [layer for layer in self.template.modules() if isinstance(layer, RandomLayer)]
        draws = any(not (isinstance(layer, Dropout) and layer.is_keyed) for layer in layers)
        if draws or lead.augmentation is not None or lead.mixing is not None:
            return [engine.generator for engine in self.engines]
        return []

    def training_values(self) -> list[Values | Diverged]:
        """What each run has to log of the steps since its last logged point, which they end."""
        return self.point().values()

    def point(self) -> StackedPoint:
        """The same, to be read later."""
        pending, self.pending = self.pending, Pending()
        return StackedPoint(self.engines, pending, self.weights.gradients, self.rate)

    def validation_metrics(self) -> list[Values | RunFailed]:
        """The metrics of each run on its validation part; nothing where there is none."""
        table, rows = self._validation
        if not len(table):
            return [{} for _ in self.engines]
        targets = table.targets[rows].expand(len(self.engines), *[-1] * table.targets.ndim)
        variances = [engine.variance["val"] for engine in self.engines]
        compute = partial(self.outputs, table, rows)
        if self.repeated is None:
            outputs = compute()
        else:
            outputs = self.repeated.outputs(self.template, compute)
        metrics = stacked_metrics(self._tasks, outputs, targets, variances)
        truths = [
            engine.truth for engine in self.engines[: len(rows)]
        ]  # one where all are the same
        chosen = self.lead.chosen.measure_each(outputs, truths)
        self.rate.restart()
        return [_joined(*pair) for pair in zip(metrics, chosen, strict=True)]

    def outputs(self, table: Split, rows: Tensor) -> Tensor:
        """Outputs (K, N, C) in evaluation mode for the `rows` of `table`, (K, N) or (1, N) for all alike."""
        self.template.eval()
        self._average()
        averages = self.lead.averaged is not None
        leaves = self.weights.judged() if averages else self.weights.leaves
        weights = leaves | self.weights.others
        with torch.inference_mode(), self.device.autocast():
            parts = []
            for some in rows.split(self.eval_rows, 1):
                inputs, targets = table.inputs[some], table.targets[some]
                x, y = (
                    tensor.expand(len(self.engines), *tensor.shape[1:])
                    for tensor in (inputs, self._aims(inputs, targets))
                )
                outputs = self._forward(weights, x).to(self.device.dtype)
                parts.append(self._kept(outputs, y))
        self.lead.freezing.train(self.template)
        return torch.cat(parts, 1)

    def keep(self, engines: Sequence[Engine]) -> None:
        """Go on with these only."""
        self.share_pending()
        rows = [row for row, engine in enumerate(self.engines) if engine in engines]
        self.engines = [self.engines[row] for row in rows]
        if self.engines:
            self.pending = _merged([engine.pending for engine in self.engines])
            self.weights.keep(rows, self.engines)
            self._arrange()

    def share_pending(self) -> None:
        """Give each engine its part of what is pending, and its averaged weights, as a checkpoint needs them."""
        self._average()
        tensors = {name: getattr(self.pending, name) for name in ("losses", "outputs", "targets")}
        for row, engine in enumerate(self.engines):
            parts = {name: [tensor[row] for tensor in kept] for name, kept in tensors.items()}
            engine.pending = Pending(sizes=list(self.pending.sizes), **parts)

    def _average(self) -> None:
        """Let the weights that an optimizer averages follow those that it trains; no other average is stacked."""
        for engine in self.engines:
            engine.average()

    def not_finite(self) -> list[Diverged | None]:
        """Of each run, whether a loss or the weights are not finite numbers."""
        losses, failures = self.pending.losses, {}
        asked = [self.weights.values.isfinite().all(1), *([torch.stack(losses)] if losses else [])]
        finite, *of_steps = Copied(asked).read()
        if of_steps:
            failures = diverged(of_steps[0], self.engines, self.lead.step)
        for row, is_finite in enumerate(finite.tolist()):
            if not is_finite:
                engine = self.engines[row]
                failures.setdefault(row, Diverged(engine.step, engine.latest))
        return [failures.get(row) for row in range(len(self.engines))]

    def _arrange(self) -> None:
        """Set up what depends on which runs there are."""
        self.batches = StackedBatches([engine.batches for engine in self.engines])
        use_generators(self.template, [engine.generator for engine in self.engines])
        # Once: runs with data of their own have it laid side by side here.
        self._validation = _rows([engine.data.val for engine in self.engines])
        self.descent = StackedDescent(self.engines, self.weights.values, self.weights.rules)
        self._table = Table(1, self.weights.values)
        self._tasks = [engine.task for engine in self.engines]
        losses = [task.criterion for task in self._tasks]
        self._alike = len({loss.unit for loss in losses}) == 1
        self._loss_numbers = side_by_side(losses, self.weights.values)

    def _augmented(self, inputs: Tensor) -> Tensor:
        """Each run's batch, augmented with random numbers from its own generator, as alone."""
        # Its own augmentation too: it knows the scaling of the run's own training part.
        augmented = [
            engine.augmentation(x, engine.generator)
            for x, engine in zip(inputs, self.engines, strict=True)
            if engine.augmentation is not None
        ]
        return torch.stack(augmented)

    def _mixed(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Mixed]:
        """Each run's batch, mixed with random numbers from its own generator, as alone; shares (K, 1)."""
        mixing = self.lead.mixing
        assert mixing is not None
        batches = zip(inputs, targets, self.engines, strict=True)
        mixed = [mixing(x, y, engine.generator) for x, y, engine in batches]
        others = torch.stack([second.targets for _, second in mixed])
        shares = torch.stack([second.share for _, second in mixed])
        return torch.stack([x for x, _ in mixed]), Mixed(others, shares.unsqueeze(1))

    def _forward_backward(
        self, x: Tensor, y: Tensor, mixed: Mixed | None, share: float, *, first: bool
    ) -> Tensor:
        """Losses (K,) of a part of a batch; its gradients go to the weights' gradients."""
        leaves = self.weights.leaves
        with self.device.autocast():
            outputs = self._forward(leaves | self.weights.others, x)
        if outputs.dtype != self.device.dtype:
            outputs = outputs.to(self.device.dtype)
        each = self._sample_losses(outputs, y)
        if mixed is not None:
            each = torch.lerp(self._sample_losses(outputs, mixed.targets), each, mixed.share)
        losses = each.mean(1) * share if self.task.reduction == "mean" else each.sum(1)
        self.weights.collect(torch.autograd.grad(losses.sum(), list(leaves.values())), first=first)
        outputs = outputs.detach()
        if members_of(self.template):
            outputs = joined(outputs, self.task.name, self.task.criterion.link, axis=2)
        self.pending.outputs.append(self._kept(outputs, y))
        self.pending.targets.append(self._flat(self.task.kept_targets, y))
        return losses.detach()

    def _sample_losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """(K, B), of outputs (K, B, ...)."""
        numbers = {
            name: column.unsqueeze(1).expand(*y.shape[:2], *column.shape[1:]).flatten(0, 1)
            for name, column in self._loss_numbers.items()
        }
        model, task = self.template, self.task
        each = sample_losses(task, model, outputs.flatten(0, 1), y.flatten(0, 1), numbers)
        return each.view(y.shape[:2])

    def _aims(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return self._flat(self.task.aims, inputs, targets)

    def _kept(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self._alike:
            return self._flat(self.task.kept, outputs, targets)
        each = zip(self._tasks, outputs, targets, strict=True)
        return torch.stack([task.kept(*pair) for task, *pair in each])

    @staticmethod
    def _flat(of_samples: Callable[..., Tensor], *stacked: Tensor) -> Tensor:
        """What the task makes of the samples of one run, for those of all runs (K, B, ...) at once."""
        flat = of_samples(*(tensor.flatten(0, 1) for tensor in stacked))
        return flat.unflatten(0, stacked[0].shape[:2])


def _joined(usual: Values, chosen: Values | RunFailed) -> Values | RunFailed:
    """The usual metrics of a run with those of its own choice, or what kept these from being measured."""
    if not isinstance(chosen, RunFailed):
        return usual | chosen
    return chosen if math.isfinite(usual["loss"]) else usual  # what has diverged says so itself


def _merged(pending: Sequence[Pending]) -> Pending:
    """What is pending of K runs, with K in front."""
    columns = {
        name: [
            torch.stack(parts) for parts in zip(*(getattr(p, name) for p in pending), strict=True)
        ]
        for name in ("losses", "outputs", "targets")
    }
    return Pending(sizes=list(pending[0].sizes), **columns)


def _rows(parts: Sequence[Split]) -> tuple[Split, Tensor]:
    """The parts as one table, and the rows of each in it: (K, N), or (1, N) where all are the same."""
    table, firsts = together(parts)
    starts = torch.tensor(firsts if len(set(firsts)) > 1 else firsts[:1]).unsqueeze(1)
    return table, (starts + torch.arange(len(parts[0]))).to(table.inputs.device)
