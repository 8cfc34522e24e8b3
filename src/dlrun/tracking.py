"""Where numbers and pictures of a run go: metrics.jsonl for programs, TensorBoard for people."""

from __future__ import annotations

import contextlib
import json
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from dlrun.errors import first_line

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_PROTOBUF_FIELDS = {bool: "bool_value", str: "string_value"}


_GRAPHS: dict[str, Any] = {}  # by kind of model


class Tracker:
    """Appends to metrics.jsonl and to one TensorBoard event file.

    The event writer is made at its first use, so that a run's first step need not wait for its import.

    Args:
        start_step: where this process begins; TensorBoard forgets what an earlier one wrote beyond.
    """

    def __init__(
        self, metrics_file: Path, tensorboard_folder: Path, *, tensorboard: bool, start_step: int
    ) -> None:
        self._file = metrics_file.open("ab")
        self._folder, self._enabled, self._start_step = tensorboard_folder, tensorboard, start_step
        self._made: SummaryWriter | None = None

    @property
    def metrics_size(self) -> int:
        """Bytes of metrics.jsonl so far, as a checkpoint keeps them to cut off what came later."""
        return self._file.tell()

    def log(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """One point: a line in metrics.jsonl and a scalar each in TensorBoard. Not a number becomes null."""
        numbers = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, "epoch": epoch, **numbers}).encode() + b"\n")
        self._file.flush()
        if (writer := self._writer) is not None:
            from tensorboard.compat.proto.summary_pb2 import Summary

            # One event for all: each event costs a checksum in plain Python.
            scalars = [
                Summary.Value(tag=name, simple_value=value) for name, value in values.items()
            ]
            writer._get_file_writer().add_summary(Summary(value=scalars), step)

    def text(self, tag: str, markdown: str) -> None:
        """A page of text."""
        if self._writer is not None:
            self._writer.add_text(tag, markdown, 0)

    def image(self, tag: str, picture_HWC: np.ndarray, step: int) -> None:
        """An RGB picture, uint8."""
        if self._writer is not None:
            self._writer.add_image(tag, picture_HWC, step, dataformats="HWC")

    def histograms(self, model: nn.Module, step: int) -> None:
        """The distribution of every weight and, where there is one, of its gradient."""
        if self._writer is None:
            return
        for name, parameter in model.named_parameters():
            self._histogram(f"weights/{name}", parameter.detach(), step)
            if parameter.grad is not None:
                self._histogram(f"gradients/{name}", parameter.grad, step)

    def graph(self, model: nn.Module, example: Tensor, *, kind: str) -> None:
        """The model as TensorBoard's graph. A model that cannot be traced is left out, with a warning.

        Models of one `kind` have one graph. It is traced once: of each trace torch keeps something for
        as long as the process lives, and the trials of a sweep are many.
        """
        if self._writer is None:
            return
        if kind not in _GRAPHS:
            try:
                _GRAPHS[kind] = _trace(model, example)
            except Exception as error:
                failure = f"TensorBoard has no graph of this model: {first_line(error)}"
                warnings.warn(failure, stacklevel=2)
                return
        self._writer._get_file_writer().add_graph(_GRAPHS[kind])

    def hparams(
        self, settings: Mapping[str, Any], *, failed: bool = False, group: str = ""
    ) -> None:
        """The settings as this run's row in the HParams tab, beside the last value of each scalar.

        Runs of one `group` share a row: the settings of the first, the means of the metrics.
        """
        if self._writer is None:
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
            value = Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(part))
            self._writer._get_file_writer().add_summary(Summary(value=[value]))

    def flush(self) -> None:
        """Make TensorBoard see all that was logged."""
        if self._made is not None:
            self._made.flush()

    def close(self) -> None:
        """Write out what is left."""
        self._file.close()
        if self._made is not None:
            self._made.close()

    @property
    def _writer(self) -> SummaryWriter | None:
        if self._enabled and self._made is None:
            from torch.utils.tensorboard import SummaryWriter

            purge = self._start_step + 1 if self._start_step else None
            self._made = SummaryWriter(str(self._folder), purge_step=purge, flush_secs=10)
        return self._made

    def _histogram(self, tag: str, values: Tensor, step: int) -> None:
        # As float32 in float64: the span of any two float32 values can be cut in 64 there.
        numbers = values.detach().cpu().float().double().flatten().numpy()
        numbers = numbers[np.isfinite(numbers)]
        assert self._made is not None
        if not len(numbers):
            return
        # Binned here: the writer's own 1,500 bins and their trimming cost ten times as much.
        counts, edges = np.histogram(numbers, bins=64)
        self._made.add_histogram_raw(
            tag,
            min=float(numbers.min()),
            max=float(numbers.max()),
            num=numbers.size,
            sum=float(numbers.sum()),
            sum_squares=float((numbers**2).sum()),
            bucket_limits=edges[1:].tolist(),
            bucket_counts=counts.tolist(),
            global_step=step,
        )


def _trace(model: nn.Module, example: Tensor) -> Any:
    """The graph of `model` in TensorBoard's form."""
    from torch.utils.tensorboard._pytorch_graph import graph

    with warnings.catch_warnings(), open(os.devnull, "w") as void:
        # Tracing is deprecated in torch, and TensorBoard has nothing newer.
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(void):
            return graph(model, example)
