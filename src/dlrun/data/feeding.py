"""How a part of the data is cut into batches: by what it is."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from dlrun.data.base import Dataset, Spec, Split
from dlrun.data.images.streaming import StoredImages, StreamedBatches, streamed_in_order
from dlrun.data.loaders import Batches, Buckets, Feed, Streams, at_once, cut_in_order, text_in_order


def training_batches(
    data: Dataset, size: int, *, seed: int, shuffle: bool, drop_last: bool
) -> Feed:
    """The batches of the training part, of `size` samples each; of language, of `size` streams."""
    if data.spec.task == "language":
        window = data.spec.input_shape[0]
        return Streams(
            data.train, size, window=window, seed=seed, shuffle=shuffle, drop_last=drop_last
        )
    if data.train.lengths is not None:
        return Buckets(data.train, size, seed=seed, shuffle=shuffle, drop_last=drop_last)
    kind = StreamedBatches if isinstance(data.train.inputs, StoredImages) else Batches
    return kind(data.train, size, seed=seed, shuffle=shuffle, drop_last=drop_last)


def in_order(split: Split, size: int, spec: Spec) -> Iterator[tuple[Tensor, Tensor]]:
    """(inputs, targets) of all samples from first to last, `size` at a time."""
    if spec.task == "language":
        yield from text_in_order(split, size, window=spec.input_shape[0])
        return
    if split.lengths is not None:
        yield from cut_in_order(split, size)
        return
    if isinstance(split.inputs, StoredImages):
        yield from streamed_in_order(split, size)
        return
    if spec.kind == "tokens":
        size = at_once(size, split.inputs.shape[1])
    yield from zip(split.inputs.split(size), split.targets.split(size), strict=True)


def a_few(split: Split, count: int, spec: Spec) -> Tensor:
    """Inputs as a model sees them, `count` of them, to try it on."""
    if spec.task == "language":
        return split.inputs[:count].unsqueeze(1)
    return split.inputs[:count]
