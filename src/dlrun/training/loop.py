"""The training loop: one visible loop over steps, with everything that happens in it called by name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.config.settings import CheckpointSettings, TrainerSettings
from dlrun.data.base import Dataset
from dlrun.data.images.mixing import Mixed, Mixing
from dlrun.data.loaders import Feed, Split
from dlrun.data.share import WHOLE, Share
from dlrun.storage.checkpoint import random_states
from dlrun.system.signals import StopRequest
from dlrun.system.torch_internals import norms
from dlrun.training import sharding
from dlrun.training.augmentation import Augmentation
from dlrun.training.averaging import Averaged
from dlrun.training.balance import LatentBalance
from dlrun.training.device import Device
from dlrun.training.divergence import Diverged, refuse_divergence
from dlrun.training.evaluation import Evaluation
from dlrun.training.forward import (
    State,
    advance,
    in_parts,
    loss_and_kept,
    on_tensors,
)
from dlrun.training.freezing import Freezing
from dlrun.training.gradients import gradient_norm
from dlrun.training.interruptions import Interruptions
from dlrun.training.intervals import Intervals, Steps
from dlrun.training.logged_points import Pending, Point, gathered
from dlrun.training.metrics.chosen import ChosenMetrics
from dlrun.training.optim import Descent
from dlrun.training.point_log import Observer, PointLog
from dlrun.training.ranks import ALONE, Ranks
from dlrun.training.replica import Replica
from dlrun.training.schedules import plateau_of
from dlrun.training.task import Task


@dataclass
class Best:
    """The best evaluation so far by the monitored metric, with its weights."""

    value: float | None = None
    epoch: int = 0
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)


class Engine:
    """Trains one model; its state goes into a checkpoint and comes out of it, bit for bit."""

    def __init__(
        self,
        *,
        model: nn.Module,
        freezing: Freezing,
        averaged: Averaged | None,
        task: Task,
        chosen: ChosenMetrics,
        data: Dataset,
        batches: Feed,
        descent: Descent,
        total_steps: int,
        device: Device,
        settings: TrainerSettings,
        saving: CheckpointSettings,
        augmentation: Augmentation | None,
        mixing: Mixing | None,
        generator: torch.Generator,
        balance: LatentBalance | None = None,
        ranks: Ranks = ALONE,
        replica: Replica | None = None,
    ) -> None:
        self.model, self.averaged, self.task, self.data = model, averaged, task, data
        self.batches, self.descent, self.total_steps = batches, descent, total_steps
        self.freezing, self.device, self.settings, self.chosen = freezing, device, settings, chosen
        self.augmentation, self.mixing, self.generator = augmentation, mixing, generator
        self.balance, self.ranks, self.replica = balance, ranks, replica
        self.captured: Steps | None = None
        self.steps_per_epoch = len(batches)
        self.intervals = Intervals(settings, saving, self.steps_per_epoch, total_steps)
        declared = task.declared.direction(settings.monitor)
        self.minimize = (declared if settings.mode == "auto" else settings.mode) == "min"
        self.variance = {"train": task.variance(data.train), "val": task.variance(data.val)}
        self.truth = chosen.truth(data.val)
        self.evaluation = Evaluation(
            freezing, device, spec=data.spec, task=task, size=settings.eval_batch_size
        )
        self.step = 0
        self.waited = 0  # evaluations in a row without improvement
        self.best = Best()
        self.carried: State = None  # what the model remembers of the text before the next batch
        self.pending, self.points = Pending(), PointLog.of(device.torch_device, ranks)
        self.of_ranks: list[dict[str, Any]] = []  # what each rank alone had at the last checkpoint
        self.unsharded: dict[str, Any] | None = None  # what is trained, while it is saved
        self.latest: dict[str, float] = {}  # the newest value of every metric
        self.seconds = 0.0  # trained so far, over all processes of this run

    @property
    def epoch(self) -> int:
        """The epoch that the last step belongs to, counted from 1; 0 before the first step."""
        return -(-self.step // self.steps_per_epoch)

    @property
    def reported(self) -> str:
        """`best` or `last`: the weights that the run is tested with at its end."""
        wanted = self.settings.early_stopping.restore_best and bool(self.best.weights)
        return "best" if wanted else "last"

    @property
    def evaluations(self) -> int:
        """How many evaluations the steps so far came to."""
        return self.intervals.evaluations(self.step)

    @property
    def evaluations_in_all(self) -> int:
        """How many evaluations the whole run comes to, unless it stops early."""
        return self.intervals.evaluations(self.total_steps)

    @property
    def stopped_early(self) -> bool:
        """Whether patience has run out."""
        patience = self.settings.early_stopping.patience
        return patience is not None and self.waited >= patience

    @property
    def evaluated(self) -> nn.Module:
        """The model that is judged and kept: the running average of the weights, where there is one."""
        return self.model if self.averaged is None else self.averaged.module

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.step >= self.total_steps or self.stopped_early

    def fit(self, *, save: Callable[[], None], observer: Observer, stop: StopRequest) -> None:
        """Train until finished, or until `stop` notes a signal.

        `save` is called when a checkpoint is due, and at the end; it and the observer on the first rank alone. All
        ranks go on, save and end at the same steps.

        Raises:
            Diverged: the loss is no longer a finite number.
        """
        self.freezing.train(self.model)
        started = time.perf_counter()
        interruptions = Interruptions(self.ranks, self.intervals, stop)
        # A new run saves its first evaluation as well: one that diverges soon has something to go back to.
        first_best_unsaved = not self.best.step
        self.points.begin(sum(self.pending.sizes))
        before = self.seconds
        while not self.finished and not interruptions.stopping:
            epoch, position = divmod(self.step, self.steps_per_epoch)
            self.begin_epoch(epoch, position)
            for count in self.steps(epoch, position):
                self.step += count
                observer.stepped(count)
                interruptions.stepped()
                self.seconds = before + time.perf_counter() - started
                if self.intervals.evaluation_due(self.step):
                    self.points.write(self.latest, observer)
                    values = self._evaluate()
                    self.ranks.by_first(partial(observer.evaluated, values))
                elif self.intervals.logging_due(self.step):
                    self.points.log(self._point(), self.latest, observer)
                if self.finished or interruptions.stopping:
                    break
                if interruptions.saving_due(self.step) or (first_best_unsaved and self.best.step):
                    self._save(save, observer)
                    interruptions.saved()
                    first_best_unsaved = first_best_unsaved and not self.best.step
        self.seconds = before + time.perf_counter() - started
        self._save(save, observer)

    def steps(self, epoch: int, position: int) -> Iterator[int]:
        """Take the steps of an epoch but for the first `position`: so many each time, which the caller counts."""
        if self.captured is not None:
            yield from self.captured.epoch(epoch, position)
            return
        for inputs, targets in self.batches.epoch(epoch, skip=position):
            self.train_step(inputs, targets)
            yield 1

    def begin_epoch(self, epoch: int, position: int) -> None:
        """Set up what changes from one epoch to the next, before the batch at `position` of it."""
        self.freezing.enter(epoch)
        if self.augmentation is not None:
            self.augmentation.begin_epoch(epoch)
        if self.balance is not None and position == 0:
            self.balance.begin_epoch(self.ranks)
            self.freezing.train(self.model)
        if self.replica is not None and self.replica.enter(epoch):
            self.points.rate.restart()

    def train_step(self, inputs: Tensor, targets: Tensor) -> None:
        """One update of the weights from one batch, taken in `accumulate` parts where that is above 1."""
        self.descent.schedule(self.step)
        if self.step % self.steps_per_epoch == 0:
            self.carried = None
        self.learn(inputs, targets)

    def learn(self, inputs: Tensor, targets: Tensor) -> None:
        """What a step does at its learning rate: all on the device, so that a CUDA graph can hold it."""
        self.descent.clear()
        if self.replica is not None:
            self.replica.begin_batch(self.step % self.steps_per_epoch)
        targets = self.task.aims(inputs, targets)
        if self.augmentation is not None:
            inputs = self.augmentation(inputs, self.generator)
        mixed = None
        if self.mixing is not None:
            inputs, mixed = self.mixing(inputs, targets, self.generator)
        count, mean = self.settings.accumulate, self.task.reduction == "mean"
        least = None if self.replica is None else self.replica.least
        parts = in_parts(inputs, targets, mixed, count=count, mean=mean, least=least)
        losses = [self._forward_backward(*part, last=part is parts[-1]) for part in parts]
        self.pending.losses.append(losses[0] if len(parts) == 1 else torch.stack(losses).sum())
        self.pending.sizes.append(self.task.size(targets))
        if self.replica is not None:
            self.pending.end_step(counts=self.replica.counts)
        self.descent.move()
        self.average()

    def average(self) -> None:
        """Let the running average of the weights, where there is one, follow them."""
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)

    def outputs(self, split: Split, share: Share = WHOLE) -> Tensor:
        """What metrics need of the model's outputs for every sample of a split, in order, in evaluation mode.

        Of several ranks the one that calls this computes all of them, or its `share`.
        """
        return self.evaluation.outputs(self.evaluated, split, share)

    def outputs_of_all(self, split: Split) -> Tensor:
        """`outputs`, each rank computing its share: all of them on rank 0, on the others their own."""
        if self.ranks.size == 1:
            return self.outputs(split)
        self.ranks.tell_tensors([*self.evaluated.buffers()])
        return self.ranks.rows_to_first(self.outputs(split, self.ranks.share))

    def test(self) -> Tensor:
        """`outputs_of_all` for the part that the run is tested on, by the weights that it is tested with."""
        if self.reported == "best":
            self.restore_best()
        return self.outputs_of_all(self.data.split(self.data.tested))

    def note(self, values: dict[str, float]) -> None:
        """Keep the values of a point as the newest."""
        self.latest |= values

    def close(self) -> None:
        """Let go of graphs and of their memory: they and the engine name each other. It takes no more steps."""
        for graphs in (self.captured, self.evaluation.repeated):
            if graphs is not None:
                graphs.close()
        self.captured = self.evaluation.repeated = None

    def restore_best(self) -> None:
        """Give the model to evaluate the weights of the best evaluation, where there was one."""
        if self.best.weights:
            sharding.load_weights(self.evaluated, self.best.weights)

    def loss(self, inputs: Tensor, targets: Tensor, mixed: Mixed | None) -> tuple[Tensor, Tensor]:
        """The training loss of a part of a batch, and what metrics need of its outputs."""
        with self.device.autocast():
            outputs, self.carried = advance(self.model, inputs, self.carried, self.data.spec)
        if outputs.dtype != self.device.dtype:
            outputs = outputs.to(self.device.dtype)
        loss, kept = loss_and_kept(self.task, self.model, outputs, targets)
        if mixed is not None:
            other, _ = loss_and_kept(self.task, self.model, outputs, mixed.targets)
            loss = torch.lerp(other, loss, mixed.share)
        return loss, kept

    def _forward_backward(
        self,
        inputs: Tensor,
        targets: Tensor,
        mixed: Mixed | None,
        weight: float | None,
        *,
        last: bool,
    ) -> Tensor:
        if self.replica is None:
            loss, kept = self.loss(inputs, targets, mixed)
        else:
            loss, kept = self.replica.loss(self.loss, inputs, targets, mixed, last=last)
        if weight is not None:
            loss = loss * weight
        self.descent.backward(loss if self.replica is None else self.replica.weighted(loss))
        self.pending.outputs.append(kept)
        self.pending.targets.append(self.task.kept_targets(targets))
        return loss.detach()

    def _evaluate(self) -> dict[str, float]:
        values = self._training_values() if self.pending.losses else {}
        measure: Callable[[], dict[str, float]] = dict
        if len(part := self.data.val):
            seen = self.outputs_of_all(part), part, self.variance["val"], self.truth
            measure = partial(self.chosen.metrics, self.task, *seen)
        values, metrics = self.ranks.by_first(lambda: (values, measure()))
        self.points.rate.restart()
        return self.judge(values, metrics)

    def judge(self, values: dict[str, float], metrics: dict[str, float]) -> dict[str, float]:
        """Take note of an evaluation: training `values` and the `metrics` of the validation part, as one point to log.

        Raises:
            Diverged: the validation loss is not a finite number.
        """
        if not math.isfinite(metrics.get("loss", 0.0)):
            raise Diverged(self.step, self.latest)
        values = values | {f"val/{name}": value for name, value in metrics.items()}
        self.note(values)
        self._compare()
        return values

    def _compare(self) -> None:
        """Keep the weights where the monitored metric improved, or count one more wait."""
        value = self.latest[self.settings.monitor]
        margin = self.settings.early_stopping.min_delta
        best = self.best.value
        gain = 0.0 if best is None else (best - value if self.minimize else value - best)
        improved = not math.isnan(value) and (best is None or gain > margin)
        if improved:
            weights = sharding.kept_weights(self.evaluated, first=self.ranks.first)
            self.best = Best(value, self.epoch, self.step, dict(self.latest), weights)
        self.waited = 0 if improved else self.waited + 1
        if plateau := plateau_of(self.descent.multiplier):
            plateau.observe(improved=improved)

    def _training_values(self) -> dict[str, float]:
        """Means over the steps since the last logged point, which they end; of several ranks known to the first."""
        point = self._point()
        return {} if point is None else point.values(self.latest)

    def _point(self) -> Point | None:
        """What the steps since the last logged point, which they end, come to; of several ranks on the first."""
        pending = gathered(self.pending, self.ranks, self.task)
        if not self.points.delayed:
            refuse_divergence(pending.losses, step=self.step, latest=self.latest)
        self.pending = Pending()
        norm = gradient_norm(self.descent.parameters)
        if not self.ranks.first:
            return None
        return Point(
            self.step,
            pending,
            self.task,
            self.variance["train"],
            gradient_norm=norm,
            learning_rate=self.descent.learning_rate,
            rate=self.points.rate.end(sum(pending.sizes)),
        )

    def gather(self) -> None:
        """Bring to rank 0 what a checkpoint needs of the others; all must call it."""
        self.pending = gathered(self.pending, self.ranks, self.task)
        if self.ranks.size > 1:
            carried = on_tensors(self.carried, torch.Tensor.cpu)
            own = {"carried": carried, "random": random_states(self.generator)}
            self.of_ranks = self.ranks.to_first(own)
            trained = self.model, self.averaged, self.descent
            self.unsharded = sharding.whole_states(*trained, first=self.ranks.first)

    def _save(self, save: Callable[[], None], observer: Observer) -> None:
        """Save, unless weights are not finite, or come from a loss that was not."""
        self.points.write(self.latest, observer)
        self.gather()
        refuse_divergence(self.pending.losses, step=self.step, latest=self.latest)
        sizes = norms([p.detach() for p in self.model.parameters()])
        if not sharding.whole(torch.stack(sizes)).isfinite().all():
            raise Diverged(self.step, self.latest)
        self.ranks.by_first(save)
        self.unsharded = None
