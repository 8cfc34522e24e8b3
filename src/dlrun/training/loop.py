"""The training loop: one visible loop over steps, with everything that happens in it called by name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dlrun.config.settings import CheckpointSettings, TrainerSettings
from dlrun.data.base import Dataset
from dlrun.data.images.mixing import Mixed, Mixing
from dlrun.data.loaders import Feed, Split
from dlrun.system.signals import StopRequest
from dlrun.system.torch_internals import norms
from dlrun.training.augmentation import Augmentation
from dlrun.training.balance import LatentBalance
from dlrun.training.device import Device
from dlrun.training.divergence import Diverged, find_divergence
from dlrun.training.forward import State, advance, loss_and_kept, on_tensors, outputs_in_order
from dlrun.training.freezing import Freezing
from dlrun.training.intervals import Intervals
from dlrun.training.logged_points import Pending, Rate, mean_losses, training_point
from dlrun.training.metrics.chosen import ChosenMetrics
from dlrun.training.optim import Descent, gradient_norm
from dlrun.training.optimizer_classes import ScheduleFreeAverage
from dlrun.training.ranks import ALONE, Ranks
from dlrun.training.schedules import plateau_of
from dlrun.training.task import Task

Averaged = AveragedModel | ScheduleFreeAverage
Step = Callable[[Tensor, Tensor], None]  # from inputs and targets of one batch


@dataclass
class Best:
    """The best evaluation so far by the monitored metric, with its weights."""

    value: float | None = None
    epoch: int = 0
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)


class Observer(Protocol):
    """Follows a run and shows it: the loop itself writes and plots nothing."""

    def stepped(self) -> None:
        """A step was made."""

    def logged(self, values: dict[str, float]) -> None:
        """A point is due: `values` of the training steps since the one before."""

    def evaluated(self, values: dict[str, float]) -> None:
        """An evaluation was made, of these `values`. What this raises ends the run."""


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
    ) -> None:
        self.model, self.averaged, self.task, self.data = model, averaged, task, data
        self.freezing = freezing
        self.batches, self.descent, self.total_steps = batches, descent, total_steps
        self.device, self.settings, self.chosen = device, settings, chosen
        self.augmentation, self.mixing, self.generator = augmentation, mixing, generator
        self.balance, self.ranks = balance, ranks
        self.captured: Step | None = None  # does what train_step does, sooner
        self.steps_per_epoch = len(batches)
        self.intervals = Intervals(settings, saving, self.steps_per_epoch, total_steps)
        declared = task.declared.direction(settings.monitor)
        self.minimize = (declared if settings.mode == "auto" else settings.mode) == "min"
        self.variance = {"train": task.variance(data.train), "val": task.variance(data.val)}
        self.truth = chosen.truth(data.val)
        self.step = 0
        self.waited = 0  # evaluations in a row without improvement
        self.best = Best()
        self.carried: State = None  # what the model remembers of the text before the next batch
        self.pending, self.rate = Pending(), Rate()
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

    def fit(
        self,
        *,
        save: Callable[[], None],
        observer: Observer,
        stop: StopRequest,
    ) -> None:
        """Train until finished, or until `stop` notes a signal.

        `save` is called when a checkpoint is due, and at the end.

        Raises:
            Diverged: the loss is no longer a finite number.
        """
        self.freezing.train(self.model)
        started = time.perf_counter()
        saved = started
        # A new run saves its first evaluation as well: one that diverges soon has something to go back to.
        first_best_unsaved = not self.best.step
        self.rate = Rate(uncounted=sum(self.pending.sizes))
        before = self.seconds
        train_step = self.captured or self.train_step
        while not self.finished and stop.signal is None:
            epoch, position = divmod(self.step, self.steps_per_epoch)
            self.freezing.enter(epoch)
            if self.balance is not None and position == 0:
                self.balance.begin_epoch()
                self.freezing.train(self.model)
            for inputs, targets in self.batches.epoch(epoch, skip=position):
                train_step(inputs, targets)
                self.step += 1
                observer.stepped()
                self.seconds = before + time.perf_counter() - started
                if self.intervals.evaluation_due(self.step):
                    observer.evaluated(self._evaluate())
                elif self.intervals.logging_due(self.step):
                    self.note(values := self._training_values())
                    observer.logged(values)
                if self.finished or stop.signal is not None:
                    break
                if self.intervals.saving_due(self.step, saved) or (
                    first_best_unsaved and self.best.step
                ):
                    self._check_finite()
                    save()
                    saved = time.perf_counter()
                    first_best_unsaved = first_best_unsaved and not self.best.step
        self.seconds = before + time.perf_counter() - started
        self._check_finite()
        save()

    def train_step(self, inputs: Tensor, targets: Tensor) -> None:
        """One update of the weights from one batch, taken in `accumulate` parts where that is above 1."""
        self.descent.schedule(self.step)
        if self.step % self.steps_per_epoch == 0:
            self.carried = None
        self.learn(inputs, targets)
        self.average()

    def learn(self, inputs: Tensor, targets: Tensor) -> None:
        """What a step does at its learning rate: all on the device, so that a CUDA graph can hold it."""
        self.descent.clear()
        targets = self.task.aims(inputs, targets)
        if self.augmentation is not None:
            inputs = self.augmentation(inputs, self.generator)
        mixed = None
        if self.mixing is not None:
            inputs, mixed = self.mixing(inputs, targets, self.generator)
        if self.settings.accumulate == 1:
            loss = self._forward_backward(inputs, targets, mixed)
        else:
            loss = self._accumulate(inputs, targets, mixed)
        self.pending.losses.append(loss)
        self.pending.sizes.append(self.task.size(targets))
        self.descent.move()

    def average(self) -> None:
        """Let the running average of the weights, where there is one, follow them."""
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)

    def outputs(self, split: Split) -> Tensor:
        """What metrics need of the model's outputs for every sample of a split, in order, in evaluation mode."""
        model = self.evaluated.eval()
        with torch.inference_mode(), self.device.autocast():
            outputs = outputs_in_order(
                model,
                split,
                spec=self.data.spec,
                task=self.task,
                size=self.settings.eval_batch_size,
                dtype=self.device.dtype,
            )
        self.freezing.train(model)
        return outputs

    def note(self, values: dict[str, float]) -> None:
        """Keep the values of a point as the newest."""
        self.latest |= values

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resume needs, but for the random states."""
        return {
            "step": self.step,
            "steps_per_epoch": self.steps_per_epoch,
            "model": self.model.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "descent": self.descent.state_dict(),
            "waited": self.waited,
            "best": dict(vars(self.best)),
            "pending": dict(vars(self.pending)),
            "carried": self.carried,
            "rarity": None if self.balance is None else self.balance.rarity,
            "latest": dict(self.latest),
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.step, self.waited, self.seconds = state["step"], state["waited"], state["seconds"]
        self.model.load_state_dict(state["model"])
        if self.averaged is not None and state["averaged"] is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.descent.load_state_dict(state["descent"])
        move = partial(on_tensors, change=lambda tensor: tensor.to(self.device.torch_device))
        self.pending = Pending(
            **{name: [*map(move, kept)] for name, kept in state["pending"].items()}
        )
        self.carried = move(state.get("carried"))
        if self.balance is not None:
            self.balance.rarity = state.get("rarity")
        self.best, self.latest = Best(**state["best"]), dict(state["latest"])

    def restore_best(self) -> None:
        """Give the model to evaluate the weights of the best evaluation, where there was one."""
        if self.best.weights:
            self.evaluated.load_state_dict(self.best.weights)

    def _forward_backward(
        self,
        inputs: Tensor,
        targets: Tensor,
        mixed: Mixed | None,
        weight: float | None = None,
    ) -> Tensor:
        with self.device.autocast():
            outputs, self.carried = advance(self.model, inputs, self.carried, self.data.spec)
        if outputs.dtype != self.device.dtype:
            outputs = outputs.to(self.device.dtype)
        loss, kept = loss_and_kept(self.task, self.model, outputs, targets)
        if mixed is not None:
            other, _ = loss_and_kept(self.task, self.model, outputs, mixed.targets)
            loss = torch.lerp(other, loss, mixed.share)
        if weight is not None:
            loss = loss * weight
        self.descent.backward(loss)
        self.pending.outputs.append(kept)
        self.pending.targets.append(self.task.kept_targets(targets))
        return loss.detach()

    def _accumulate(self, inputs: Tensor, targets: Tensor, mixed: Mixed | None) -> Tensor:
        """The same gradient as the whole batch at once, a share of the memory (batch norm sees the parts)."""
        size = -(-len(targets) // self.settings.accumulate)
        x_parts, y_parts = inputs.split(size), targets.split(size)
        mixed_parts = [None] * len(x_parts) if mixed is None else mixed.parts(size)
        parts = zip(x_parts, y_parts, mixed_parts, strict=True)
        # The last part may be short: weight by size, or the mean leans towards it.
        mean = self.task.reduction == "mean"
        losses = [
            self._forward_backward(x, y, m, len(y) / len(targets) if mean else None)
            for x, y, m in parts
        ]
        return torch.stack(losses).sum()

    def _evaluate(self) -> dict[str, float]:
        values = self._training_values() if self.pending.losses else {}
        metrics = {}
        if len(self.data.val):
            outputs, targets = self.outputs(self.data.val), self.data.val.targets
            metrics = self.task.metrics(outputs, targets, variance=self.variance["val"])
            if math.isfinite(metrics["loss"]):  # what has diverged is not worth measuring
                metrics |= self.chosen.measure(outputs, self.truth)
        self.rate.restart()
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
            state = self.evaluated.state_dict()
            weights = {name: tensor.detach().clone() for name, tensor in state.items()}
            self.best = Best(value, self.epoch, self.step, dict(self.latest), weights)
        self.waited = 0 if improved else self.waited + 1
        if plateau := plateau_of(self.descent.multiplier):
            plateau.observe(improved=improved)

    def _training_values(self) -> dict[str, float]:
        """Means over the steps since the last logged point, which they end."""
        self._check_pending()
        pending, self.pending = self.pending, Pending()
        losses = torch.stack(pending.losses).cpu().double()
        loss = mean_losses(self.task, losses, pending.sizes).item()
        outputs, targets = torch.cat(pending.outputs), torch.cat(pending.targets)
        metrics = self.task.metrics(outputs, targets, loss=loss, variance=self.variance["train"])
        return training_point(
            metrics,
            learning_rate=self.descent.learning_rate,
            rate=self.rate.ended(sum(pending.sizes)),
            gradient_norm=gradient_norm(self.descent.parameters).item(),
        )

    def _check_pending(self) -> None:
        """Refuse to log or save what a step without a finite loss has touched."""
        if not self.pending.losses:
            return
        losses = torch.stack(self.pending.losses)
        if failure := find_divergence(losses, step=self.step, latest=self.latest):
            raise failure

    def _check_finite(self) -> None:
        """Refuse to save weights that are not finite, or come from a loss that was not."""
        self._check_pending()
        sizes = norms([p.detach() for p in self.model.parameters()])
        if not torch.stack(sizes).isfinite().all():
            raise Diverged(self.step, self.latest)
