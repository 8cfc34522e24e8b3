"""Streams: windows that go on where the ones before ended."""

import pytest
import torch

from dlrun.data.text.streams import StreamedText, Streams
from dlrun.errors import ConfigError


def text(size, window=64):
    numbers = torch.arange(size + 1)
    return StreamedText(numbers[:-1], numbers[1:], window=window)


def make(size=100, streams=3, window=5, *, seed=0, shuffle=True, drop_last=False):
    return Streams(text(size, window), streams, seed=seed, shuffle=shuffle, drop_last=drop_last)


def joined(windows):
    inputs, targets = zip(*windows, strict=True)
    assert torch.equal(torch.cat(inputs, 1) + 1, torch.cat(targets, 1))
    return torch.cat(inputs, 1)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("size", "streams", "window"), [(100, 3, 5), (15, 3, 5), (1000, 16, 7)])
def test_each_stream_is_one_piece_of_the_text_without_a_gap(size, streams, window, shuffle):
    feed = make(size, streams, window, shuffle=shuffle)
    for epoch in range(4):
        windows = list(feed.epoch(epoch))
        assert len(windows) == len(feed)
        read = joined(windows)
        assert (read.diff(dim=1) == 1).all()
        # Side by side: the next stream begins where this one ends.
        assert (read[1:, 0] == read[:-1, -1] + 1).all()
        assert size - read.numel() < streams * window + window


def test_an_epoch_begins_where_seed_and_epoch_say():
    starts = {
        (seed, epoch): int(next(make(seed=seed).epoch(epoch))[0][0, 0])
        for seed in (0, 1)
        for epoch in range(30)
    }
    again = {key: int(next(make(seed=key[0]).epoch(key[1]))[0][0, 0]) for key in starts}
    assert again == starts
    assert set(starts.values()) == set(range(11))  # 100 characters, of which an epoch reads 90
    assert [starts[0, epoch] for epoch in range(30)] != [starts[1, epoch] for epoch in range(30)]


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_may_be_started_anywhere(shuffle):
    feed = make(shuffle=shuffle)
    whole = list(feed.epoch(2))
    for skip in range(len(whole) + 1):
        left = list(feed.epoch(2, skip=skip))
        assert len(left) == len(whole) - skip
        for mine, expected in zip(left, whole[skip:], strict=True):
            assert torch.equal(mine[0], expected[0]) and torch.equal(mine[1], expected[1])


def test_without_shuffling_the_last_window_may_be_shorter_unless_it_is_dropped():
    def widths(**more):
        return [inputs.shape[1] for inputs, _ in make(100, 3, 5, shuffle=False, **more).epoch(0)]

    assert widths() == [5] * 6 + [3]  # 33 characters a stream
    assert widths(drop_last=True) == [5] * 6


def test_an_evaluation_reads_all_but_fewer_characters_than_there_are_streams():
    split = text(3 * 4096 + 2)
    windows = list(split.in_order(1024))
    read = joined(windows)
    assert read.shape == (
        3,
        4096,
    )  # not 1024 / 64 = 16, each of which would begin without knowing anything
    assert (read.flatten() == torch.arange(3 * 4096)).all()


@pytest.mark.parametrize(
    ("size", "shape"),
    [(5000, (1, 1024)), (20_000, (4, 256)), (10**6, (16, 64)), (10, (1, 10))],
)
def test_an_evaluation_has_as_many_streams_as_make_up_a_batch_and_are_long(size, shape):
    assert next(text(size).in_order(1024))[0].shape == shape


@pytest.mark.parametrize(("size", "shuffle"), [(14, True), (2, False)])
def test_more_streams_than_the_text_is_long_are_refused(size, shuffle):
    with pytest.raises(ConfigError, match=r"trainer.batch_size is 3.*only"):
        make(size, 3, 5, shuffle=shuffle)
