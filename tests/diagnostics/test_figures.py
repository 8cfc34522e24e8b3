"""Pictures: their sizes, and the colours at places that tell what was drawn."""

import numpy as np
import pytest

from dlrun.diagnostics import confusion_matrix, decision_boundary
from dlrun.diagnostics import image_grid as grid
from dlrun.diagnostics.decision_boundary import PALETTE
from dlrun.diagnostics.scatter import scatter

WHITE = (255, 255, 255)


def image_grid(*args, **more):
    return grid.image_grid(*args, **more).rgb_HW3


def confusion_picture(*args):
    return confusion_matrix.confusion_picture(*args).rgb_HW3


def boundary_picture(*args):
    return decision_boundary.boundary_picture(*args).rgb_HW3


def has(picture, colour):
    """Whether any pixel has exactly this colour."""
    return (picture == np.asarray(colour, np.uint8)).all(-1).any()


def share(picture, colour):
    return (picture == np.asarray(colour, np.uint8)).all(-1).mean()


def assert_is_rgb(picture):
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert picture.dtype == np.uint8


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 32), (2, 5), (4, 5), (1, 100)])
def test_images_of_any_size_and_number_of_channels_make_a_grid(channels, side):
    images = np.random.default_rng(0).standard_normal((3, channels, side, side))
    assert_is_rgb(image_grid(images.astype(np.float32), ["a", "b", "c"]))


def test_each_image_is_stretched_to_the_full_range_of_brightness():
    image = np.array([[-3.0, 1.0], [1.0, 5.0]], np.float32).reshape(1, 1, 2, 2)
    picture = image_grid(image, [""])
    # Two pixels enlarged to 36 each, centred in a cell of 84 + 6 behind a margin of 2 above.
    left = (picture.shape[1] - 72) // 2
    corners = [picture[2 + 18 + 36 * row, left + 18 + 36 * column] for row, column in
               ((0, 0), (0, 1), (1, 0), (1, 1))]  # fmt: skip
    assert [corner.tolist() for corner in corners] == [[0] * 3, [127] * 3, [127] * 3, [255] * 3]


def test_three_channels_are_colours():
    image = np.zeros((1, 3, 8, 8), np.float32)
    image[0, 0] = 1
    picture = image_grid(image, [""])
    assert share(picture, (255, 0, 0)) == pytest.approx(72 * 72 / picture[..., 0].size)


def test_an_image_of_one_brightness_is_drawn_too():
    assert_is_rgb(image_grid(np.full((1, 1, 8, 8), 3.0, np.float32), ["flat"]))


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (8, 8, 1), (9, 8, 2), (17, 8, 3)]
)
def test_images_stand_in_rows_of_eight(count, columns, rows):
    one = image_grid(np.zeros((1, 1, 8, 8), np.float32), ["x"])
    many = image_grid(np.zeros((count, 1, 8, 8), np.float32), ["x"] * count)
    assert many.shape == (rows * one.shape[0], columns * one.shape[1], 3)


def test_each_image_has_its_own_caption_below_it():
    images = np.ones((2, 1, 8, 8), np.float32)
    blank = image_grid(images, ["", ""])
    picture = image_grid(images, ["", "label"])
    changed = np.argwhere((picture != blank).any(-1))
    assert changed[:, 0].min() >= 72
    assert changed[:, 1].min() >= picture.shape[1] // 2


def test_a_caption_too_few_is_refused():
    with pytest.raises(ValueError, match="zip"):
        image_grid(np.zeros((2, 1, 8, 8), np.float32), ["only one"])


def test_right_counts_are_blue_and_wrong_ones_red_in_their_rows_share():
    blue, red = tuple(PALETTE[0].astype(int)), (190, 20, 20)
    right = confusion_picture([[5, 0], [0, 7]], ["a", "b"])
    wrong = confusion_picture([[0, 5], [7, 0]], ["a", "b"])
    assert has(right, blue) and not has(right, red)
    assert has(wrong, red) and not has(wrong, blue)
    half = confusion_picture([[5, 5], [0, 7]], ["a", "b"])
    assert has(half, [int(255 - (255 - end) * 0.5) for end in red])


def place_of_red(confusion):
    """Row and column of the middle of what is shown as wholly wrong."""
    picture = confusion_picture(confusion, ["a", "b"])
    return np.argwhere((picture == (190, 20, 20)).all(-1)).mean(0)


def test_rows_of_the_confusion_picture_are_true_classes():
    above, right = place_of_red([[0, 9], [0, 0]])
    below, left = place_of_red([[0, 0], [9, 0]])
    assert above < below
    assert right > left


@pytest.mark.parametrize("classes", [1, 2, 10, 50])
def test_confusion_of_any_number_of_classes_is_square_cells(classes):
    names = [f"class {number}" for number in range(classes)]
    assert_is_rgb(confusion_picture(np.eye(classes, dtype=int).tolist(), names))


def test_a_class_without_samples_and_large_counts_are_drawn():
    names = [f"class {number}" for number in range(6)]
    counts = np.zeros((6, 6), int)
    counts[0, 0] = 3
    small = confusion_picture(counts, names)
    large = confusion_picture(counts * 1_000_000, names)
    assert_is_rgb(small)
    assert large.shape[1] > small.shape[1]


def test_long_class_names_have_room():
    names = ["a", "an uncommonly long name"]
    picture = confusion_picture([[1, 0], [0, 1]], names)
    left_edge = picture[:, :4]
    assert (left_edge == 255).all()
    assert picture.shape[1] > confusion_picture([[1, 0], [0, 1]], ["a", "b"]).shape[1]


def halves(side=20):
    """Class 0 on the left half of the plane, class 1 on the right."""
    field = np.zeros((side, side, 2), np.float32)
    field[:, : side // 2, 0] = 1
    field[:, side // 2 :, 1] = 1
    return field


NO_POINTS = (np.zeros((0, 2)), np.zeros(0))


def test_each_side_of_the_boundary_has_the_tint_of_its_class():
    picture = boundary_picture(halves(), *NO_POINTS, (-1, 1, -1, 1))
    assert_is_rgb(picture)
    assert picture.shape == (80, 80, 3)
    for column, number in ((10, 0), (70, 1)):
        tint = 255 - (255 - PALETTE[number]) * 0.45
        np.testing.assert_allclose(picture[40, column], tint, atol=1)


def test_the_boundary_is_a_dark_line():
    picture = boundary_picture(halves(), *NO_POINTS, (-1, 1, -1, 1)).astype(int)
    darkest = picture.sum(-1).argmin(1)
    assert (np.abs(darkest - 41) <= 2).all()


@pytest.mark.parametrize(
    ("point", "row", "column"),
    [((-1, 3), 0, 0), ((1, 3), 0, 79), ((-1, -3), 79, 0), ((1, -3), 79, 79), ((0, 0), 40, 40)],
)
def test_points_lie_where_their_coordinates_say_first_up_then_right(point, row, column):
    points, labels = np.array([point]), np.array([3])
    picture = boundary_picture(halves(), points, labels, (-1, 1, -3, 3))
    found = np.argwhere((picture == PALETTE[3].astype(np.uint8)).all(-1)).mean(0)
    np.testing.assert_allclose(found, (row, column), atol=3)


def test_more_classes_than_colours_start_over():
    field = np.zeros((10, 10, 13), np.float32)
    field[..., 12] = 1
    picture = boundary_picture(field, np.array([[0.0, 0.0]]), np.array([12.0]), (-1, 1, -1, 1))
    assert has(picture, PALETTE[2].astype(int))


def test_what_is_predicted_right_lies_on_the_diagonal():
    right = np.linspace(0, 10, 60)
    picture = scatter("y: 60 samples", right, right).rgb_HW3
    assert_is_rgb(picture)
    square = picture[36:416, 84:464]  # 380 pixels a side
    blue = square[..., 2].astype(int) - square[..., 0] > 40
    down, across = blue.nonzero()
    assert len(down) > 200 and np.abs(down + across - 380).max() <= 4
    high = scatter("y", right, right + 5).rgb_HW3  # on axes from 0 to 15
    down, across = (high[36:416, 84:464, 2].astype(int) - high[36:416, 84:464, 0] > 40).nonzero()
    assert np.abs(down + across + 380 * 5 / 15 - 380).max() <= 4


def test_predictions_that_are_not_finite_are_left_out():
    nothing = scatter("y", np.array([1.0, 2]), np.array([np.nan, np.inf])).rgb_HW3
    assert (nothing[36:416, 84:464].std(-1) < 1).all()  # grey
