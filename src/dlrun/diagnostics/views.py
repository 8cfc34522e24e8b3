"""What TensorBoard shows of a run besides curves, and when: at the start, at evaluations, at the end."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from torch import Tensor

from dlrun.config.settings import TrackingSettings
from dlrun.data.base import Dataset, Spec
from dlrun.data.loaders import Split
from dlrun.diagnostics.class_curves import Question, curve_pictures
from dlrun.diagnostics.confusion_matrix import confusion_picture
from dlrun.diagnostics.decision_boundary import decision_boundary
from dlrun.diagnostics.forecast_figure import drawn, forecast_pictures
from dlrun.diagnostics.gradient_flow import GradientFlow
from dlrun.diagnostics.image_grid import image_grid
from dlrun.diagnostics.latent_space import reconstruction_pictures
from dlrun.diagnostics.scatter import residual_histogram, residuals, scatter
from dlrun.errors import first_line
from dlrun.inference.generate import sample_page
from dlrun.tracking.numbers import number_text
from dlrun.tracking.picture import Picture
from dlrun.tracking.tracker import Tracker
from dlrun.training.loop import Engine
from dlrun.training.scores import class_confusion, point_scores, probabilities

log = logging.getLogger(__name__)

_SHOWN = 32  # images in a picture
_PAIRS = 24  # of an image and what it is given again as
_TARGETS = 4  # of which pictures are drawn
_KEPT = 8  # pictures of samples in memory
_SHARE = 0.01  # of the time, at most, goes into plots during training
_END = 0.01  # seconds, about what one more plot of it takes
_CURVES, _RESIDUALS = 0.1, 0.02  # seconds, about what those pictures take

_SAMPLE_PICTURES: dict[bytes, Picture] = {}  # by what they show, the last used one last


@contextmanager
def going_on(what: str) -> Iterator[None]:
    """What is only looked at never ends a run: where it fails, the log says so in one line."""
    try:
        yield
    except Exception as error:
        log.warning("%s failed and is left out: %s", what, first_line(error))


class Views:
    """The views that suit a data set. Nothing here samples a random number.

    Args:
        model: what the config says of it.
        sharded: whether other devices have parts of it: then what needs a model of its own is left out.
        trials_at_once: how many trials of a sweep share the process's time, where this run is one: the
            views of a trial are for looking back, so those during training must cost next to nothing.
    """

    def __init__(
        self,
        data: Dataset,
        settings: TrackingSettings,
        *,
        model: object,
        sharded: bool = False,
        trials_at_once: int | None = None,
    ) -> None:
        self.data, self.spec, self.settings = data, data.spec, settings
        self._sharded = sharded
        self._kind = f"{model} for {data.spec}"
        self._flow = GradientFlow() if settings.gradient_flow and settings.tensorboard else None
        self._started = time.perf_counter()
        self._trials_at_once = trials_at_once
        # Seconds, on what is drawn as long as it costs little; of a trial with what its end will cost.
        self._spent = _END if trials_at_once else 0.0

    @going_on("a picture of samples")
    def at_start(self, tracker: Tracker) -> None:
        """Sample images with their labels."""
        if self.settings.images and self.spec.kind == "image":
            part = self.data.train.first(_SHOWN)
            captions = [self._label(target) for target in part.targets]
            tracker.image("data/samples", _sample_picture(_array(part.inputs), captions), 0)

    @going_on("a view of this evaluation")
    def at_evaluation(self, engine: Engine, tracker: Tracker) -> None:
        """The decision boundary in a plane; histograms and forecasts as long as they cost next to nothing.

        The boundaries of a trial, too, are drawn only so long.
        """
        if self._sharded:
            return
        if self._flow:
            self._flow.at_evaluation(engine, tracker)
        if not self._trials_at_once:
            self._draw_boundary(engine, tracker)
        elapsed = time.perf_counter() - self._started
        if self._spent > _SHARE * elapsed / (self._trials_at_once or 1):
            return
        started = time.perf_counter()
        if self._trials_at_once:
            self._draw_boundary(engine, tracker)
        self._draw_histograms(engine, tracker)
        self._write_sample(engine, tracker)
        if self._reconstructs and len(self.data.val):
            self._draw_reconstructions(
                engine, tracker, self.data.val, engine.outputs(self.data.val)
            )
        if self.data.val.bases is not None and len(self.data.val) and self.settings.images:
            part = drawn(self.data.val)
            self._draw_forecasts(engine, tracker, "val", part, engine.outputs(part))
        self._spent += time.perf_counter() - started

    @going_on("a view of the end")
    def at_end(self, engine: Engine, tracker: Tracker, part: Split, outputs: Tensor) -> None:
        """The graph, the last histograms, a trial's boundary; on `part` forecasts, predictions, confusion, mistakes."""
        if not self._sharded:
            self._show_model(engine, tracker, part)
        if self.settings.images:
            self._draw_forecasts(engine, tracker, self.data.tested, part, outputs)
            self._draw_predictions(engine, tracker, part, outputs)
            self._draw_curves(engine, tracker, part, outputs)
        if self._reconstructs:
            self._draw_reconstructions(engine, tracker, part, outputs)
        if not self.settings.images or not self.spec.num_classes:
            return
        sure, predicted = probabilities(outputs.float(), self.spec).max(1)
        wrong = (predicted != part.targets.long()).nonzero().squeeze(1)
        if self.spec.num_classes <= 50:  # more would be no picture
            confusion = class_confusion(outputs, part.targets, self.spec) or []
            tracker.image(
                "confusion_matrix", confusion_picture(confusion, self.spec.class_names), engine.step
            )
        if self.spec.kind == "image" and len(wrong):
            worst = wrong[sure[wrong].argsort(descending=True)[:_SHOWN]]
            facts = (part.targets[worst], predicted[worst], sure[worst].tolist())
            captions = [
                f"{self._label(target)} as {self._label(seen)}, {chance:.0%}"
                for target, seen, chance in zip(*facts, strict=True)
            ]
            picture = image_grid(_array(part.inputs[worst]), captions)
            tracker.image("worst_mistakes", picture, engine.step)

    def _show_model(self, engine: Engine, tracker: Tracker, part: Split) -> None:
        self._draw_histograms(engine, tracker)
        self._write_sample(engine, tracker)
        if self._flow:
            self._flow.draw(engine, tracker)
        if self._trials_at_once:
            self._draw_boundary(engine, tracker)
        if self.settings.graph:
            tracker.graph(engine.model, part.sample(1), kind=self._kind)

    @going_on("the histograms")
    def _draw_histograms(self, engine: Engine, tracker: Tracker) -> None:
        if self.settings.histograms:
            tracker.histograms(engine.model, engine.step)

    @going_on("the sample of text")
    def _write_sample(self, engine: Engine, tracker: Tracker) -> None:
        if self.spec.carries_state and self.settings.tensorboard:
            tracker.text("sample", sample_page(engine.evaluated, self.data), engine.step)

    @going_on("a picture of forecasts")
    def _draw_forecasts(
        self, engine: Engine, tracker: Tracker, name: str, part: Split, outputs: Tensor
    ) -> None:
        for target, picture in forecast_pictures(self.data, part, outputs):
            tracker.image(f"forecasts/{name}/{target}", picture, engine.step)

    @property
    def _reconstructs(self) -> bool:
        wanted = self.settings.images and not self._sharded
        return wanted and self.spec.task == "reconstruction"

    @going_on("a picture of reconstructions")
    def _draw_reconstructions(
        self, engine: Engine, tracker: Tracker, part: Split, outputs: Tensor
    ) -> None:
        captions = [self._label(target) for target in part.first(_PAIRS).targets]
        for tag, picture in reconstruction_pictures(engine, self.data, part, outputs, captions):
            tracker.image(tag, picture, engine.step)

    @going_on("a picture of predictions")
    def _draw_predictions(
        self, engine: Engine, tracker: Tracker, part: Split, outputs: Tensor
    ) -> None:
        """Of a regression, each target with what was predicted, the median of quantiles; images of large errors."""
        if self.spec.task != "regression" or part.bases is not None or not len(part):
            return
        scaling = self.data.preprocessing
        outputs = point_scores(outputs, self.spec, scaling.target_mean, scaling.target_std)
        true, predicted = self._in_own_units(part.targets), self._in_own_units(outputs)
        errors = (predicted - true).abs()
        names = self.spec.target_names or range(1, true.shape[1] + 1)
        for at, name in enumerate(names[:_TARGETS]):
            of = f"/{name}" if len(names) > 1 else ""
            title = f"{name if of else 'predictions'}: {len(true):,} samples"
            pair = _array(true[:, at]), _array(predicted[:, at])
            tracker.image(f"predictions{of}", scatter(title, *pair), engine.step)
            if self._worth(_RESIDUALS):
                tracker.image(f"residuals{of}", residuals(title, *pair), engine.step)
                picture = residual_histogram(title, *pair)
                tracker.image(f"residual_histogram{of}", picture, engine.step)
            if self.spec.kind == "image":
                worst = errors[:, at].nan_to_num(nan=math.inf).argsort(descending=True)[:_SHOWN]
                pairs = zip(true[worst, at].tolist(), predicted[worst, at].tolist(), strict=True)
                captions = [
                    " as ".join(number_text(one, digits=3) for one in both) for both in pairs
                ]
                picture = image_grid(_array(part.inputs[worst]), captions)
                tracker.image(f"largest_errors{of}", picture, engine.step)

    @going_on("the curves of the classes")
    def _draw_curves(self, engine: Engine, tracker: Tracker, part: Split, outputs: Tensor) -> None:
        """ROC, precision and recall, calibration and histograms of the probabilities on `part`."""
        if self.spec.classes and self._worth(_CURVES):
            questions = questions_of(outputs, part.targets, self.spec)
            for name, picture in curve_pictures(questions):
                tracker.image(f"curves/{name}", picture, engine.step)

    def _worth(self, seconds: float) -> bool:
        """Whether pictures of the end that take so long are next to nothing beside the training of a trial."""
        elapsed = time.perf_counter() - self._started
        return not self._trials_at_once or seconds < _SHARE * elapsed / self._trials_at_once

    def _in_own_units(self, scores: Tensor) -> Tensor:
        """Regression targets (N, D), or what was predicted of them, in the units of the data."""
        return self.data.preprocessing.values(scores.detach().double().cpu(), None)

    @going_on("the decision boundary")
    def _draw_boundary(self, engine: Engine, tracker: Tracker) -> None:
        # Two tokens or two categories are as many numbers, but no place in a plane.
        plane = self.spec.kind == "features" and self.spec.num_features == 2
        plane = plane and not self.spec.categories
        if self.settings.images and plane and self.spec.num_classes:
            tracker.image("decision_boundary", decision_boundary(engine, self.data), engine.step)

    def _label(self, target: Tensor) -> str:
        spec = self.spec.of_data
        if spec.labels:
            pairs = zip(spec.classes, target.tolist(), strict=True)
            return ", ".join(labels[int(answer)] for labels, answer in pairs)
        if not spec.num_classes:
            values = self._in_own_units(target.reshape(1, -1))[0, :_TARGETS].tolist()
            return ", ".join(number_text(value, digits=3) for value in values)
        return spec.class_names[int(target)]


def questions_of(outputs: Tensor, targets: Tensor, spec: Spec) -> list[Question]:
    """What raw scores say of each class against the rest, of two classes of the second, or of each target."""
    chances = _array(probabilities(outputs.float(), spec))
    truth = _array(targets)
    if spec.labels:
        names = spec.target_names or [labels[1] for labels in spec.classes]
        answers = truth > 0.5
    elif spec.task == "binary":
        names, chances, answers = spec.class_names[1:], chances[:, 1:], truth[:, None] > 0.5
    else:
        names, answers = spec.class_names, truth[:, None] == np.arange(len(spec.class_names))
    return [Question(*facts) for facts in zip(names, chances.T, answers.T, strict=True)]


def _sample_picture(images_NCHW: np.ndarray, captions: list[str]) -> Picture:
    """The images with their captions, drawn once for all trials on the same data."""
    key = hashlib.sha256(images_NCHW.tobytes() + repr((images_NCHW.shape, captions)).encode())
    found = _SAMPLE_PICTURES.pop(key.digest(), None) or image_grid(images_NCHW, captions)
    _SAMPLE_PICTURES[key.digest()] = found
    if len(_SAMPLE_PICTURES) > _KEPT:
        del _SAMPLE_PICTURES[next(iter(_SAMPLE_PICTURES))]
    return found


def _array(tensor: Tensor) -> np.ndarray:
    return np.asarray(tensor.detach().cpu().float().contiguous().numpy())
