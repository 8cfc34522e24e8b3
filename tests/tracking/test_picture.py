"""Pictures as PNG files: Pillow, which knows nothing of how they were made, reads what was to be written."""

import io

import numpy as np
import pytest
from PIL import Image

from dlrun.tracking.picture import Picture

DRAW = np.random.default_rng(0)


def noise(*shape):
    return DRAW.integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (300, 2), (64, 64)])
@pytest.mark.parametrize("kind", ["grey", "rgb", "indexed"])
def test_pixels_are_read_back_as_they_were(kind, size):
    pixels = noise(*size, 3) if kind == "rgb" else noise(*size)
    palette = noise(256, 3) if kind == "indexed" else None
    picture = Picture(pixels, palette)
    read = Image.open(io.BytesIO(picture.png))
    assert read.mode == {"grey": "L", "rgb": "RGB", "indexed": "P"}[kind]
    assert (read.height, read.width) == size == (picture.height, picture.width)
    np.testing.assert_array_equal(np.asarray(read.convert("RGB")), picture.rgb_HW3)
    assert picture.channels == (1 if kind == "grey" else 3)


def test_a_palette_may_be_short():
    picture = Picture(np.array([[0, 2, 1]], np.uint8), np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]]))
    read = np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"))
    assert read.tolist() == [[[1, 2, 3], [7, 8, 9], [4, 5, 6]]]


def test_a_view_that_is_not_contiguous_is_written_too():
    pixels = noise(9, 8)[::2, ::-1]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(Picture(pixels).png))), pixels)
