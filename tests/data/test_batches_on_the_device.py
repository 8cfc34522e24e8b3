"""Batches that a device reads by itself are those of the feed."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from dlrun.data.ahead import ahead
from dlrun.data.loaders import Feed, Split
from dlrun.data.text.streams import StreamedText

ROWS = torch.arange(23)
TABLE = Split(torch.randn(23, 3), ROWS)
PICTURES = Split(torch.randn(23, 4, 2, 2).to(memory_format=torch.channels_last), ROWS)
TEXT = StreamedText(torch.arange(101).byte(), torch.arange(1, 102).byte(), window=4)


def feeds() -> list[Feed]:
    sizes: list[tuple[Split, int]] = [(TABLE, 4), (PICTURES, 5), (PICTURES, 16), (TEXT, 3)]
    return [
        split.batches(size, seed=1, shuffle=shuffle, drop_last=drop_last)
        for (split, size), shuffle, drop_last in itertools.product(
            sizes, (True, False), (True, False)
        )
    ]


def assert_equal_batches(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other) and one.dtype == other.dtype
        assert one.ndim < 4 or one.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("feed", feeds())
def test_batches_that_a_device_reads_are_those_of_the_feed(feed: Feed) -> None:
    batches = ahead(feed)
    assert batches is not None
    for epoch in (0, 3):
        batches.enter(epoch)
        expected = [*feed.epoch(epoch)]
        for position, batch in enumerate(expected):
            assert_equal_batches(batches.batch(position), batch)
            start = torch.tensor(batches.start(position))
            size = batches.size(position)
            for count in {1, batches.alike(position)}:
                place = start.clone()
                read = batches.read(place, size, count)
                for found, other in zip(read, expected[position : position + count], strict=True):
                    assert_equal_batches(found, other)
                if position + count < len(expected):  # else the epoch is over
                    assert place == batches.start(position + count)


def test_batches_of_one_shape_are_counted() -> None:
    uneven = ahead(TABLE.batches(4, seed=0, shuffle=True, drop_last=False))
    even = ahead(TABLE.batches(4, seed=0, shuffle=True, drop_last=True))
    assert uneven is not None and even is not None
    assert [uneven.alike(at) for at in range(6)] == [5, 4, 3, 2, 1, 1]
    assert [even.alike(at) for at in range(5)] == [5, 4, 3, 2, 1]
    text = ahead(TEXT.batches(3, seed=0, shuffle=False, drop_last=False))
    assert text is not None
    assert [text.alike(at) for at in range(9)] == [8, 7, 6, 5, 4, 3, 2, 1, 1]
