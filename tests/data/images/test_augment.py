"""Random changes to images against exact turns, crops and counts."""

import pytest
import torch
from torch.nn import functional as F

from dlrun.config.settings import Augment
from dlrun.data.images.augment import augment, cutout, rotate, shift

OFF = {"shift": 0, "flip": False, "rotation": 0.0, "noise": 0.0, "cutout": 0}


def apply(images, seed=0, **how):
    generator = torch.Generator().manual_seed(seed)
    return augment(images, generator, how=Augment(**(OFF | how)))


@pytest.fixture
def images():
    """Thirty-two images of two channels, 5 high and 7 wide."""
    return torch.randn(32, 2, 5, 7, generator=torch.Generator().manual_seed(9))


EACH = [{"shift": 2}, {"flip": True}, {"rotation": 30.0}, {"noise": 0.1}, {"cutout": 3}]


def test_with_everything_off_nothing_changes_and_nothing_is_drawn(images):
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert torch.equal(augment(images, generator, how=Augment(**OFF)), images)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("how", EACH)
def test_each_change_keeps_shape_and_type_and_leaves_its_input_alone(how, images):
    original = images.clone()
    for x in (images, images.double()):
        changed = apply(x, **how)
        assert (changed.shape, changed.dtype) == (x.shape, x.dtype)
        assert not torch.equal(changed, x)
    assert torch.equal(images, original)


@pytest.mark.parametrize("how", EACH)
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
    moved = shift(images, 2, offsets)
    padded = F.pad(images, (2, 2, 2, 2))
    for number, (down, right) in enumerate(offsets.T.tolist()):
        expected = padded[number, :, down : down + 5, right : right + 7]
        assert torch.equal(moved[number], expected)


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
