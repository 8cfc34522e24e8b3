"""Batches: every sample once an epoch, in an order that seed and epoch decide."""

import pytest
import torch

from dlrun.data.loaders import Batches, Split, take
from dlrun.data.orders import epoch_order


def make(samples=10, size=3, *, seed=0, shuffle=True, drop_last=False):
    numbers = torch.arange(samples)
    split = Split(numbers[:, None].float(), numbers)
    return Batches(split, size, seed=seed, shuffle=shuffle, drop_last=drop_last)


def order(batches, epoch=0, **more):
    return [targets.tolist() for _, targets in batches.epoch(epoch, **more)]


def flat(lists):
    return [item for one in lists for item in one]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("samples", "size"), [(10, 3), (9, 3), (10, 1), (10, 10), (3, 20), (1, 4)])
def test_every_sample_comes_exactly_once_an_epoch(samples, size, shuffle):
    batches = make(samples, size, shuffle=shuffle)
    for epoch in range(3):
        seen = order(batches, epoch)
        assert sorted(flat(seen)) == list(range(samples))
        assert len(seen) == len(batches)


def test_inputs_and_targets_stay_together():
    for inputs, targets in make(50, 8).epoch(3):
        assert inputs[:, 0].tolist() == targets.tolist()


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 4, 5)])
def test_a_batch_of_images_has_the_memory_layout_of_all(shape, memory):
    images = torch.randn(9, *shape).to(memory_format=memory)
    rows = torch.tensor([3, 1, 8])
    taken = take(images, rows)
    assert torch.equal(taken, images[rows])
    assert taken.stride() == images[rows].stride()


def test_without_shuffling_samples_come_in_their_own_order_in_every_epoch():
    batches = make(7, 3, shuffle=False)
    assert order(batches, 0) == order(batches, 5) == [[0, 1, 2], [3, 4, 5, 6]]


@pytest.mark.parametrize(
    ("samples", "size", "lengths"),
    [
        (11, 3, [3, 3, 3, 2]),  # a short last batch stays
        (10, 3, [3, 3, 4]),  # of one sample, it joins the one before
        (9, 3, [3, 3, 3]),
        (1, 3, [1]),  # unless there is none before
        (3, 1, [1, 1, 1]),  # or batches of one are asked for
        (2, 8, [2]),
    ],
)
def test_a_last_batch_of_one_joins_the_one_before(samples, size, lengths):
    assert [len(batch) for batch in order(make(samples, size))] == lengths


@pytest.mark.parametrize(
    ("samples", "size", "lengths"),
    [(11, 3, [3, 3, 3]), (10, 3, [3, 3, 3]), (9, 3, [3, 3, 3]), (2, 3, [2]), (3, 1, [1, 1, 1])],
)
def test_drop_last_leaves_out_what_fills_no_batch_unless_nothing_else_is_there(
    samples, size, lengths
):
    assert [len(batch) for batch in order(make(samples, size, drop_last=True))] == lengths


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_taken_up_in_the_middle_goes_on_as_it_would_have(shuffle):
    batches = make(20, 3, shuffle=shuffle)
    whole = order(batches, 4)
    for position in range(len(batches) + 1):
        assert order(batches, 4, skip=position) == whole[position:]


def test_the_order_depends_on_seed_and_epoch_only():
    first, again = make(100, 7, seed=3), make(100, 7, seed=3)
    torch.manual_seed(1)
    expected = order(first, 2)
    torch.manual_seed(2)
    order(again, 0)
    assert order(again, 2) == expected
    # The batch size only cuts the same order elsewhere.
    assert flat(order(make(100, 30, seed=3), 2)) == flat(expected)


def test_every_seed_and_epoch_has_an_order_of_its_own():
    orders = {
        tuple(epoch_order(50, seed=seed, epoch=epoch).tolist())
        for seed in (0, 1, 2, 2**32 - 1)
        for epoch in range(20)
    }
    assert len(orders) == 4 * 20


def test_shuffling_draws_nothing_from_the_global_generator():
    before = torch.get_rng_state()
    order(make(50, 7), 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_sample_comes_first_equally_often():
    """Chi-square over 2,000 epochs of 5 samples: 18.5 would be passed by chance once in a thousand."""
    firsts = torch.tensor([epoch_order(5, seed=7, epoch=epoch)[0] for epoch in range(2000)])
    counts = torch.bincount(firsts, minlength=5).double()
    assert ((counts - 400) ** 2 / 400).sum() < 18.5
