"""Where numbers and pictures of a run go: metrics.jsonl for programs, TensorBoard for people."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from dlrun.errors import first_line
from dlrun.storage.append_file import Appender
from dlrun.system.torch_internals import graph_for_tensorboard

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    from dlrun.tracking.event_file import EventFile
    from dlrun.tracking.picture import Picture

_PROTOBUF_FIELDS = {bool: "bool_value", str: "string_value"}


_CURVE = re.compile(r"(.+)/step (\d+)")  # the tag of a curve of a training step
_BINS = 64  # of a histogram
_GRAPHS: dict[str, tuple[bytes, bytes]] = {}  # by kind of model


class Tracker:
    """Appends to metrics.jsonl and to one TensorBoard event file.

    The event file is made at its first use, so that a run's first step need not wait for imports.

    Args:
        start_step: where this process begins; TensorBoard forgets what an earlier one wrote beyond.
        flush_seconds: how long lines and events may wait in memory for the next ones, as those of many
            runs at once should; 0 writes each at once.
    """

    def __init__(
        self,
        metrics_file: Path,
        tensorboard_folder: Path,
        *,
        tensorboard: bool,
        start_step: int,
        flush_seconds: float = 0.0,
    ) -> None:
        self._lines = Appender(metrics_file, flush_seconds=flush_seconds)
        self._folder, self._enabled, self._start_step = tensorboard_folder, tensorboard, start_step
        self._flush_seconds = flush_seconds
        self._made: EventFile | None = None
        self._before: set[str] = set()  # the tags of an earlier process at this one's start
        self._curves: dict[str, list[float]] = {}  # of earlier processes, by tag

    @property
    def metrics_size(self) -> int:
        """Bytes of metrics.jsonl once flushed, as a checkpoint keeps them to cut off what came later."""
        return self._lines.size

    def log(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """One point: a line in metrics.jsonl and a scalar each in TensorBoard. Not a number becomes null."""
        numbers = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._lines.write(json.dumps({"step": step, "epoch": epoch, **numbers}).encode() + b"\n")
        if (events := self._events) is not None:
            from tensorboard.compat.proto.summary_pb2 import Summary

            # One event for all: each event costs a time, a frame and two checksums.
            scalars = [
                Summary.Value(tag=name, simple_value=value) for name, value in values.items()
            ]
            events.add(step, *self._new(step, *scalars))

    def curve(self, tag: str, values: Sequence[float]) -> None:
        """Numbers along an axis of their own, which TensorBoard shows where it has steps.

        Args:
            tag: ends in `/step N`, N being the training step that it belongs to.
        """
        if (events := self._events) is not None and tag not in self._curves:
            events.add_curve(tag, values)

    def earlier_curves(self, prefix: str) -> dict[int, list[float]]:
        """By training step, the curves that earlier processes drew up to this one's start: of tags `prefix`/step N."""
        if self._events is None:
            return {}
        found = {tag: _CURVE.fullmatch(tag) for tag in self._curves}
        return {
            int(match[2]): self._curves[tag]
            for tag, match in found.items()
            if match and match[1] == prefix
        }

    def text(self, tag: str, markdown: str, step: int) -> None:
        """A page of text."""
        if (events := self._events) is None:
            return
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

        one = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        page = TensorProto(dtype="DT_STRING", string_val=[markdown.encode()], tensor_shape=one)
        plugin = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        value = Summary.Value(tag=f"{tag}/text_summary", metadata=plugin, tensor=page)
        events.add(step, *self._new(step, value))

    def image(self, tag: str, picture: Picture, step: int) -> None:
        """A picture."""
        if (events := self._events) is None:
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        image = Summary.Image(
            height=picture.height,
            width=picture.width,
            colorspace=picture.channels,
            encoded_image_string=picture.png,
        )
        events.add(step, *self._new(step, Summary.Value(tag=tag, image=image)))

    def histograms(self, model: nn.Module, step: int) -> None:
        """The distribution of every weight and, where there is one, of its gradient."""
        if (events := self._events) is None:
            return
        shown = []
        for name, parameter in model.named_parameters():
            shown.append((f"weights/{name}", parameter.detach()))
            if parameter.grad is not None:
                shown.append((f"gradients/{name}", parameter.grad))
        found = [histogram(tag, values) for tag, values in shown]
        events.add(step, *self._new(step, *(value for value in found if value is not None)))

    def graph(self, model: nn.Module, example: Tensor, *, kind: str) -> None:
        """The model as TensorBoard's graph. A model that cannot be traced is left out, with a warning.

        Models of one `kind` have one graph. It is traced once: of each trace torch keeps something for
        as long as the process lives, and the trials of a sweep are many.
        """
        if (events := self._events) is None:
            return
        if kind not in _GRAPHS:
            try:
                _GRAPHS[kind] = graph_for_tensorboard(model, example)
            except Exception as error:
                failure = f"TensorBoard has no graph of this model: {first_line(error)}"
                warnings.warn(failure, stacklevel=2)
                return
        events.add_graph(*_GRAPHS[kind])

    def hparams(
        self, settings: Mapping[str, Any], *, failed: bool = False, group: str = ""
    ) -> None:
        """The settings as this run's row in the HParams tab, beside the last value of each scalar.

        Runs of one `group` share a row: the settings of the first, the means of the metrics.
        """
        if (events := self._events) is None:
            return
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import api_pb2, metadata
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

        # A row and no list of columns: of such lists TensorBoard takes the first that it finds for all
        # runs, and without any works the columns out from all rows.
        row = HParamsPluginData()
        row.session_start_info.group_name = group
        for key, value in settings.items():
            kind = _PROTOBUF_FIELDS.get(type(value), "number_value")
            setattr(row.session_start_info.hparams[key], kind, value)
        end = HParamsPluginData()
        end.session_end_info.status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
        parts = {metadata.SESSION_START_INFO_TAG: row, metadata.SESSION_END_INFO_TAG: end}
        for tag, part in parts.items():
            about = metadata.create_summary_metadata(part)
            events.add(0, Summary.Value(tag=tag, metadata=about))

    def flush(self) -> None:
        """Make all that was logged seen, in the file and by TensorBoard."""
        self._lines.flush()
        if self._made is not None:
            self._made.flush()

    def close(self) -> None:
        """Write out what is left."""
        try:
            self._lines.close()
        finally:
            if self._made is not None:
                self._made.close()

    def _new(self, step: int, *values: Summary.Value) -> list[Summary.Value]:
        """The values without those that an earlier process wrote as well, killed between its last step and its end."""
        if not step or step != self._start_step:
            return list(values)
        return [value for value in values if value.tag not in self._before]

    @property
    def _events(self) -> EventFile | None:
        if self._enabled and self._made is None:
            self._made = self._new_file()
        return self._made

    def _new_file(self) -> EventFile:
        from dlrun.tracking.event_file import EventFile, shown

        start, folder = self._start_step, self._folder
        kept = [event for event in shown(folder) if _is_before(event, start)] if start else []
        for event in kept:
            for value in event.summary.value:
                if _CURVE.fullmatch(value.tag):
                    self._curves.setdefault(value.tag, []).append(value.simple_value)
                elif event.step == start:
                    self._before.add(value.tag)
        # A run that starts anew from its first step forgets all that it wrote before.
        anew = folder.is_dir() and any(folder.iterdir())
        purge = start + 1 if start else 0 if anew else None
        if self._curves:  # whose own axes such a step would cut: all is written anew
            purge = 0
        return EventFile(
            folder,
            purge_step=purge,
            kept=kept if self._curves else (),
            flush_seconds=self._flush_seconds,
        )


def _is_before(event: Event, start: int) -> bool:
    """Whether a process that begins at step `start` has the event behind it."""
    curves = [_CURVE.fullmatch(value.tag) for value in event.summary.value]
    step = int(curves[0][2]) if curves and curves[0] else event.step
    return bool(step <= start)


def histogram(tag: str, values: Tensor) -> Summary.Value | None:
    """How the finite ones of the values are distributed; None where there are none."""
    from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary

    # As float32 in float64: the span of any two float32 values can be cut in 64 there.
    numbers = values.detach().cpu().float().double().flatten().numpy()
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return None
    low, high = float(numbers.min()), float(numbers.max())
    left, right = (low, high) if low < high else (low - 0.5, high + 0.5)
    # As np.histogram, which takes three times as long over what matters only at the edges' last bits.
    scaled = (numbers - left) * (_BINS / (right - left))
    counts = np.bincount(scaled.astype(np.int64).clip(0, _BINS - 1), minlength=_BINS)
    found = HistogramProto(
        min=low,
        max=high,
        num=numbers.size,
        sum=float(numbers.sum()),
        sum_squares=float(numbers @ numbers),
        bucket_limit=np.linspace(left, right, _BINS + 1)[1:].tolist(),
        bucket=counts.tolist(),
    )
    return Summary.Value(tag=tag, histo=found)
