"""Random changes to images against exact turns, crops and counts."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dlrun.config.settings import Augment
from dlrun.data.arrays.scaling import Scaling
from dlrun.data.images.augment import (
    Augmentation,
    Sides,
    boxes,
    by_policy,
    crop,
    cutout,
    recolour,
    rotate,
    shift,
)

OFF = {
    "shift": 0, "shift_padding": "zero", "flip": False, "rotation": 0.0, "noise": 0.0, "cutout": 0,
    "vertical_flip": False, "crop": 0.0, "colour": 0.0, "erase": 0.0, "policy": None, "mixup": 0.0, "cutmix": 0.0,
    "word_dropout": 0.0,
}  # fmt: skip
# Raw values run from 0 to 255.
SCALING = Scaling([[[100.0]]], [[[50.0]]], [], [], pixel_max=255.0)


def apply(images, seed=0, scaling=SCALING, **how):
    generator = torch.Generator().manual_seed(seed)
    return Augmentation(Augment(**(OFF | how)), scaling)(images, generator)


@pytest.fixture
def images():
    """Thirty-two images of three channels, 5 high and 7 wide."""
    return torch.randn(32, 3, 5, 7, generator=torch.Generator().manual_seed(9))


EACH = [
    {"shift": 2}, {"flip": True}, {"rotation": 30.0}, {"noise": 0.1}, {"cutout": 3}, {"vertical_flip": True},
    {"crop": 0.9}, {"colour": 0.5}, {"erase": 0.9},
]  # fmt: skip
POLICIES = [pytest.param({"policy": name}, id=name) for name in ("rand_augment", "trivial_augment")]


def test_with_everything_off_nothing_changes_and_nothing_is_drawn(images):
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert torch.equal(Augmentation(Augment(**OFF), SCALING)(images, generator), images)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("how", [*EACH, *POLICIES])
def test_each_change_keeps_shape_and_type_and_leaves_its_input_alone(how, images):
    original = images.clone()
    for x in (images, images.double()):
        changed = apply(x, **how)
        assert (changed.shape, changed.dtype) == (x.shape, x.dtype)
        assert not torch.equal(changed, x)
    assert torch.equal(images, original)


@pytest.mark.parametrize("how", [*EACH, *POLICIES])
def test_the_generator_alone_decides(how, images):
    torch.manual_seed(1)
    first = apply(images, seed=5, **how)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(apply(images, seed=5, **how), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(apply(images, seed=6, **how), first)


@pytest.mark.parametrize("how", EACH)
def test_each_image_has_its_own_draw(how):
    same = torch.arange(35.0).reshape(1, 1, 5, 7).expand(64, 1, 5, 7) + 1
    assert len(torch.unique(apply(same, **how), dim=0)) > 1


def test_flip_mirrors_about_half_of_the_images_left_to_right(images):
    images = images.repeat(10, 1, 1, 1)
    flipped = apply(images, flip=True)
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    kept = (flipped == images).flatten(1).all(1)
    assert (mirrored ^ kept).all()
    assert 0.4 < mirrored.float().mean() < 0.6


@pytest.mark.parametrize("quarters", [1, 2, 3, -1, 0, 4])
def test_quarter_turns_are_exact_and_counter_clockwise(quarters):
    square = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    turned = rotate(square, torch.full((3,), 90.0 * quarters, dtype=torch.float64))
    torch.testing.assert_close(turned, torch.rot90(square, quarters, (2, 3)))


def test_a_half_turn_of_a_wide_image_is_exact(images):
    turned = rotate(images, torch.full((32,), 180.0))
    torch.testing.assert_close(turned, images.flip(2, 3), atol=1e-4, rtol=0)


def test_a_turn_keeps_the_aspect_ratio_of_a_wide_image():
    """A point right of the centre comes to lie as far above it."""
    wide = torch.zeros(1, 1, 9, 21)
    wide[0, 0, 4, 13] = 1  # three pixels right of the centre (4, 10)
    turned = rotate(wide, torch.tensor([90.0]))
    expected = torch.zeros(1, 1, 9, 21)
    expected[0, 0, 1, 10] = 1
    torch.testing.assert_close(turned, expected, atol=1e-4, rtol=0)


def test_each_image_turns_by_its_own_angle():
    square = torch.randn(2, 1, 5, 5)
    turned = rotate(square, torch.tensor([0.0, 90.0]))
    torch.testing.assert_close(turned[0], square[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(turned[1], torch.rot90(square[1], 1, (1, 2)), atol=1e-5, rtol=0)


def test_random_turns_stay_within_their_limit_and_go_either_way():
    """Where a bright pixel ends up tells the angle."""
    images = torch.zeros(200, 1, 41, 41)
    images[:, :, 20, 38] = 1
    turned = apply(images, rotation=20.0).squeeze(1)
    rows, columns = torch.meshgrid(torch.arange(41.0), torch.arange(41.0), indexing="ij")
    y = (turned * (20 - rows)).sum((1, 2)) / turned.sum((1, 2))
    x = (turned * (columns - 20)).sum((1, 2)) / turned.sum((1, 2))
    angles = torch.rad2deg(torch.atan2(y, x))
    assert angles.abs().max() < 20.5
    assert angles.max() > 15
    assert angles.min() < -15


def test_shift_pads_with_zeros_and_crops_at_the_offset(images):
    offsets = torch.stack([torch.arange(32) % 5, torch.arange(32) % 4])
    moved = shift(images, 2, offsets, reflect=False)
    padded = F.pad(images, (2, 2, 2, 2))
    for number, (down, right) in enumerate(offsets.T.tolist()):
        expected = padded[number, :, down : down + 5, right : right + 7]
        assert torch.equal(moved[number], expected)


def test_shift_may_pad_with_the_image_mirrored_at_its_edge(images):
    moved = shift(images[:4], 3, torch.tensor([[0, 6, 3, 1], [6, 0, 3, 2]]), reflect=True)
    for number, (down, right) in enumerate([(0, 6), (6, 0), (3, 3), (1, 2)]):
        padded = np.pad(images[number].numpy(), ((0, 0), (3, 3), (3, 3)), mode="reflect")
        expected = padded[:, down : down + 5, right : right + 7]
        assert np.array_equal(moved[number].numpy(), expected)
    reflected = apply(images + 10, shift=2, shift_padding="reflect")
    assert reflected.min() > 0
    assert apply(images + 10, shift=2).min() == 0


def alternating(images, seed=0, *, names=("flip",), **how):
    """The images of four epochs, each image seen by a hash of its own."""
    sides = {
        name: Sides(images.shape[1:], seed=seed + place, device=images.device)
        for place, name in enumerate(names)
    }
    change = Augmentation(
        Augment(**(OFF | dict.fromkeys(names, "alternating") | how)), SCALING, sides
    )
    seen = []
    for epoch in range(4):
        change.begin_epoch(epoch)
        seen.append(change(images, torch.Generator().manual_seed(epoch)))
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "axis"), [("flip", 3), ("vertical_flip", 2)])
def test_alternating_flips_show_each_image_once_each_way_in_two_epochs(images, dtype, name, axis):
    images = images.repeat(10, 1, 1, 1).to(dtype) + torch.arange(320)[:, None, None, None]
    first, second, third, fourth = alternating(images, names=(name,))
    mirrored = (first == images.flip(axis)).flatten(1).all(1)
    assert 0.4 < mirrored.float().mean() < 0.6
    assert torch.equal(first[~mirrored], images[~mirrored])
    assert torch.equal(second, first.flip(axis))
    assert torch.equal(third, first)
    assert torch.equal(fourth, second)


def test_the_side_of_an_image_is_its_own_in_any_batch_and_layout_and_of_the_seed(images):
    sides = Sides(images.shape[1:], seed=0, device=images.device)
    of_all = sides(images)
    order = torch.randperm(32)
    assert torch.equal(sides(images[order][5:]), of_all[order][5:])
    assert torch.equal(sides(images.to(memory_format=torch.channels_last)), of_all)
    assert not torch.equal(Sides(images.shape[1:], seed=1, device=images.device)(images), of_all)


def test_sides_are_as_coins_thrown_for_each_image_however_alike_images_are():
    """Of 64 seeds, one image and its copy with one pixel a little brighter."""
    image = torch.full((1, 1, 8, 8), 0.5)
    pair = torch.cat([image, image])
    pair[1, 0, 4, 4] += 1 / 128
    drawn = torch.stack([Sides((1, 8, 8), seed=s, device=pair.device)(pair) for s in range(64)])
    counts = drawn.float().mean(0)
    assert counts.sub(0.5).abs().max() < 0.2
    assert 0.3 < (drawn[:, 0] == drawn[:, 1]).float().mean() < 0.7


def test_alternating_flips_go_by_the_image_as_it_was_and_draw_nothing(images):
    both = alternating(images, names=("flip", "vertical_flip"))
    assert torch.equal(both[1], both[0].flip(2, 3))
    generator = torch.Generator().manual_seed(7)
    before = generator.get_state()
    sides = {"flip": Sides(images.shape[1:], seed=0, device=images.device)}
    change = Augmentation(Augment(**(OFF | {"flip": "alternating"})), SCALING, sides)
    plain = change(images, generator)
    assert torch.equal(generator.get_state(), before)
    noisy = alternating(images, noise=0.01)[0]
    torch.testing.assert_close(noisy, plain, atol=0.1, rtol=0)


def test_random_shifts_reach_every_place_and_no_other():
    images = torch.zeros(500, 1, 7, 7)
    images[:, :, 3, 3] = 1
    moved = apply(images, shift=2).squeeze(1)
    places = {tuple(place) for place in moved.nonzero()[:, 1:].tolist()}
    assert places == {(row, column) for row in range(1, 6) for column in range(1, 6)}


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_cutout_sets_one_square_of_its_side_to_zero_in_all_channels(side):
    images = torch.ones(1, 3, 9, 9)
    hidden = cutout(images, side, torch.tensor([[4], [5]]))[0] == 0
    top, left = 4 - side // 2, 5 - side // 2
    expected = torch.zeros(9, 9, dtype=torch.bool)
    expected[top : top + side, left : left + side] = True
    assert torch.equal(hidden, expected.expand(3, 9, 9))


def test_cutout_is_cut_off_at_the_border():
    hidden = cutout(torch.ones(1, 1, 9, 9), 3, torch.tensor([[0], [8]])) == 0
    assert hidden.sum() == 4
    assert hidden[0, 0, :2, 7:].all()


def test_random_cutout_has_its_centre_anywhere():
    hidden = apply(torch.ones(500, 1, 5, 7), cutout=1).squeeze(1) == 0
    assert (hidden.sum((1, 2)) == 1).all()
    assert hidden.any(0).all()


def test_noise_has_its_standard_deviation_and_no_mean(images):
    large = torch.zeros(50, 1, 20, 20)
    noise = apply(large, noise=0.3)
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)


def test_what_is_cut_out_stays_zero_under_the_noise():
    changed = apply(torch.ones(20, 1, 8, 8), noise=1.0, cutout=3)
    zeros = (changed == 0).sum((1, 2, 3))
    assert (zeros > 0).all()
    assert zeros.max() == 9


def test_vertical_flip_turns_about_half_of_the_images_upside_down(images):
    flipped = apply(images.repeat(10, 1, 1, 1), vertical_flip=True)
    turned = (flipped == images.repeat(10, 1, 1, 1).flip(2)).flatten(1).all(1)
    assert 0.4 < turned.float().mean() < 0.6


def test_a_crop_enlarges_the_part_that_it_is_asked_for():
    """The upper left quarter of a picture of two slopes."""
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(12.0), indexing="ij")
    image = (10 * rows + columns).expand(1, 1, 8, 12)
    part = crop(image, torch.full((2, 1), 0.5), torch.full((2, 1), -1.0))
    expected = F.interpolate(image[:, :, :4, :6], size=(8, 12), mode="bilinear")
    torch.testing.assert_close(part[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])
    whole = crop(image, torch.ones(2, 1), torch.full((2, 1), 0.3))
    torch.testing.assert_close(whole, image)


def test_random_crops_leave_out_no_more_than_asked():
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    images = torch.stack([rows, columns]).expand(300, 2, 40, 40)
    cropped = apply(images, crop=0.75)
    spans = cropped.amax((2, 3)) - cropped.amin((2, 3)) + 1
    share = spans.prod(1) / 1600
    assert 0.2 < share.min() < 0.35
    assert share.max() > 0.9
    assert apply(images, crop=0.1).std() > 0


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_change_as_by_torchvision(channels):
    from torchvision.transforms.v2 import functional

    images = torch.rand(2, channels, 5, 7)
    ones = torch.ones(2)
    own = torch.tensor([0.6, 1.4])
    given = {
        "brightness": (own, ones, ones), "contrast": (ones, own, ones), "saturation": (ones, ones, own),
    }  # fmt: skip
    for name, factors in given.items():
        adjust = getattr(functional, f"adjust_{name}")
        expected = [adjust(x, f) for x, f in zip(images, own.tolist(), strict=True)]
        torch.testing.assert_close(recolour(images, *factors), torch.stack(expected))


def test_colours_are_changed_where_black_is_zero_and_stay_between_black_and_white():
    raw = torch.randint(256, (16, 3, 4, 4)).float()
    changed = apply((raw - 100) / 50, colour=0.8) * 50 + 100
    assert changed.min() > -0.01
    assert changed.max() < 255.01
    black = torch.full((8, 1, 4, 4), -2.0)  # (0 - 100) / 50
    torch.testing.assert_close(apply(black, colour=1.0), black)


def test_erasing_sets_rectangles_to_zero_in_its_share_of_the_images():
    erased = apply(torch.ones(1000, 2, 20, 30), erase=0.3) == 0
    hit = erased.flatten(1).any(1)
    assert 0.25 < hit.float().mean() < 0.35
    areas = erased[hit, 0].float().mean((1, 2))
    assert 0.01 < areas.min() < areas.max() < 0.36
    each = erased[hit, 0]
    rectangle = each.any(2)[:, :, None] & each.any(1)[:, None, :]
    assert torch.equal(each, rectangle)


def test_boxes_are_cut_off_at_the_border():
    inside = boxes(
        torch.ones(2, 1, 4, 4), torch.tensor([[-2, 1], [0, 3]]), torch.tensor([[1, 3], [2, 9]])
    )
    assert inside[0, 0].nonzero().tolist() == [[0, 0], [0, 1]]
    assert inside[1, 0].nonzero().tolist() == [[1, 3], [2, 3]]


@pytest.mark.parametrize("policy", ["rand_augment", "trivial_augment"])
def test_a_policy_draws_operations_for_each_image_from_the_given_generator(policy):
    same = torch.rand(1, 3, 16, 16).expand(24, 3, 16, 16)
    changed = by_policy(same, policy, torch.Generator().manual_seed(0), fill=[0.5, 0.5, 0.5])
    assert len(torch.unique(changed, dim=0)) > 12
    assert 0 <= changed.min() <= changed.max() <= 1
