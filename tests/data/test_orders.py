"""Rows that are drawn for each epoch: how often, by seed and epoch alone, in every kind of batches."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from dlrun.data.images.streaming import StreamedBatches
from dlrun.data.loaders import Batches, Split
from dlrun.data.orders import Resampling, balanced
from dlrun.data.tables import stored_rows
from dlrun.data.tables.stored_rows import BlockBatches, BlockSplit
from dlrun.data.text.buckets import PaddedTexts

CLASSES = torch.tensor([0] * 50 + [1] * 7 + [2] * 20)[torch.randperm(77)]
HOW = ("oversample", "undersample")


@pytest.mark.parametrize(("how", "each"), [("oversample", 50), ("undersample", 7)])
def test_all_classes_come_equally_often_and_rows_of_a_class_as_equally_as_can_be(how, each):
    resampling = balanced(CLASSES, how)
    for epoch in range(5):
        order = resampling.order(seed=3, epoch=epoch)
        assert CLASSES[order].bincount().tolist() == [each] * 3
        times = order.bincount(minlength=77)
        for number, count in enumerate(CLASSES.bincount().tolist()):
            assert {*times[number == CLASSES].tolist()} <= {each // count, -(-each // count)}


def test_seed_and_epoch_decide_which_rows_come_and_in_which_order():
    orders = [
        tuple(balanced(CLASSES, "undersample").order(seed=seed, epoch=epoch).tolist())
        for seed in range(3)
        for epoch in range(3)
    ]
    assert len({*orders}) == 9 == len({frozenset(order) for order in orders})
    assert orders[4] == tuple(balanced(CLASSES, "undersample").order(seed=1, epoch=1).tolist())


def test_a_class_without_rows_is_left_out():
    targets = torch.tensor([0.0, 0.0, 0.0])
    assert sorted(balanced(targets, "oversample").order(seed=0, epoch=0).tolist()) == [0, 1, 2]
    order = balanced(torch.tensor([0, 0, 0, 2]), "oversample").order(seed=0, epoch=0)
    assert (order == 3).sum() == 3 == (order < 3).sum()


def test_each_row_comes_on_average_as_often_as_its_weight_says():
    weights = torch.tensor([0.0, 1.0, 2.0, 0.5, 6.5])
    resampling = Resampling(weights, 20)
    times = [resampling.order(seed=0, epoch=e).bincount(minlength=5) for e in range(1500)]
    counts = torch.stack(times).double()
    due = weights.double() * 20 / 10
    assert bool((counts >= due.floor()).all()) and bool((counts <= due.ceil()).all())
    np.testing.assert_allclose(counts.mean(0), due, atol=0.05)


@dataclass(frozen=True)
class ReadSplit(Split):
    """As a split of images in files, which gives batches of rows."""

    def read(self, rows):
        yield from ((self.inputs[part], self.targets[part]) for part in rows)


def seen(feed, epoch, skip=0):
    """The rows of an epoch, which are their own inputs, batch by batch."""
    return [batch[0][:, 0].tolist() for batch in feed.epoch(epoch, skip=skip)]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("in_blocks", [True, False])
def test_batches_that_are_read_from_files_are_those_of_memory(how, in_blocks, monkeypatch):
    monkeypatch.setattr(stored_rows, "AT_ONCE", 16)
    inputs = torch.arange(77.0).unsqueeze(1)
    resampling = balanced(CLASSES, how)
    settings = {"seed": 1, "shuffle": True, "drop_last": False}
    kinds = {
        Batches: Split(inputs, CLASSES, resampling=resampling),
        StreamedBatches: ReadSplit(inputs, CLASSES, resampling=resampling),
        BlockBatches: replace(
            BlockSplit(inputs, CLASSES, resampling=resampling), in_blocks=in_blocks
        ),
    }
    feeds = [
        split.batches(8, **settings) for split in kinds.values() if type(split) is not ReadSplit
    ]
    feeds.append(StreamedBatches(kinds[StreamedBatches], 8, **settings))
    assert {type(feed) for feed in feeds} == {*kinds}
    for feed in feeds:
        assert seen(feed, 2) == seen(feeds[0], 2)
        assert seen(feed, 2, skip=2) == seen(feeds[0], 2)[2:]
    rows = torch.tensor([row for batch in seen(feeds[0], 2) for row in batch]).long()
    assert len({*CLASSES[rows].bincount().tolist()}) == 1


@pytest.mark.parametrize("how", HOW)
def test_texts_in_batches_of_one_length_are_balanced(how):
    lengths = torch.randint(1, 9, (77,))
    inputs = torch.arange(77).unsqueeze(1).expand(77, 8)
    resampling = balanced(CLASSES, how)
    split = PaddedTexts(inputs, CLASSES, lengths=lengths, resampling=resampling)
    feed = split.batches(8, seed=1, shuffle=True, drop_last=False)
    rows = torch.tensor([row for batch in seen(feed, 0) for row in batch])
    assert rows.sort().values.equal(resampling.order(seed=1, epoch=0).sort().values)
    assert seen(feed, 0, skip=3) == seen(feed, 0)[3:]


def test_some_rows_of_a_part_are_not_drawn():
    part = Split(CLASSES, CLASSES, resampling=balanced(CLASSES, "oversample"))
    assert part.first(5).resampling is None
