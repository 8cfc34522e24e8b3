"""Batches of texts alike in length: whole epochs, decided by seed and epoch, with little padding."""

from itertools import chain

import pytest
import torch

from dlrun.data.text.buckets import Buckets, PaddedTexts


def split(lengths):
    """Row i has the target i, and as many ones as its length, padded to the longest."""
    lengths = torch.tensor(lengths)
    inputs = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    return PaddedTexts(inputs, torch.arange(len(lengths)), lengths=lengths)


@pytest.fixture
def part():
    return split(torch.randint(1, 40, (203,), generator=torch.Generator().manual_seed(0)).tolist())


def feed(part, size=10, **settings):
    return Buckets(part, size, **{"seed": 3, "shuffle": True, "drop_last": False, **settings})


def targets(batches):
    return [batch[1].tolist() for batch in batches]


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_sample_comes_once_an_epoch_cut_to_the_longest_of_its_batch(part, shuffle):
    batches = list(feed(part, shuffle=shuffle).epoch(0))
    assert sorted(chain(*targets(batches))) == list(range(203))
    for inputs, rows in batches:
        assert inputs.shape == (len(rows), int(part.lengths[rows].max()))
        assert torch.equal(inputs.sum(1), part.lengths[rows])


def test_batches_hold_texts_alike_in_length(part):
    def padding(batches):
        return sum(int((inputs == 0).sum()) for inputs, _ in batches)

    assert padding(feed(part).epoch(0)) < 0.2 * padding(feed(part, shuffle=False).epoch(0))


def test_an_epoch_can_be_started_anywhere_and_each_has_batches_and_an_order_of_its_own(part):
    whole = targets(feed(part).epoch(1))
    for skip in (0, 1, 7, len(whole)):
        assert targets(feed(part).epoch(1, skip=skip)) == whole[skip:]
    for other in (feed(part).epoch(2), feed(part, seed=4).epoch(1)):
        other = targets(other)
        assert {*map(tuple, other)} != {*map(tuple, whole)}
        assert [len(batch) for batch in other].index(3) != [len(b) for b in whole].index(3)
    lengths = [int(part.lengths[batch].max()) for batch in whole]
    assert lengths != sorted(lengths)  # not from short to long


def test_without_shuffling_samples_keep_their_order(part):
    assert [*chain(*targets(feed(part, shuffle=False).epoch(5)))] == list(range(203))


def test_a_last_batch_of_one_joins_the_one_before_and_drop_last_leaves_out_what_is_left():
    assert sorted(map(len, targets(feed(split([3] * 21), 10).epoch(0)))) == [10, 11]
    left_out = set()
    for epoch in range(30):
        batches = targets(feed(split(range(1, 25)), 10, drop_last=True).epoch(epoch))
        assert list(map(len, batches)) == [10, 10]
        left_out |= {*range(24)} - {*chain(*batches)}
    assert left_out == {*range(24)}  # not always the longest


def test_evaluation_sees_all_samples_in_order_and_cut(part):
    batches = list(part.in_order(50))
    assert [*chain(*targets(batches))] == list(range(203))
    for inputs, rows in batches:
        assert torch.equal(inputs, part.inputs[rows, : int(part.lengths[rows].max())])
