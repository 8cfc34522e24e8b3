"""One image file as an array, the same whether it is trained on or predicted for. No torch here."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlrun.errors import ConfigError, first_line

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
_FILTER = "LANCZOS"
_GREY_MODES = ("1", "L", "LA")
_SIXTEEN_BITS = "I;16"  # with its byte order after it


@dataclass(frozen=True)
class Form:
    """What every image is made into: `channels` is 1 for grey and 3 for colour; sides in pixels."""

    channels: int
    height: int
    width: int

    @property
    def mode(self) -> str:
        """Pillow's name for these channels."""
        return "L" if self.channels == 1 else "RGB"


@dataclass(frozen=True)
class Head:
    """What a file says of its image before its pixels: the size as it is seen, and whether it is grey."""

    height: int
    width: int
    is_grey: bool


def read_head(path: Path) -> Head:
    """Size and colours of an image file.

    Raises:
        ConfigError: it cannot be opened as an image.
    """
    with _opened(path) as image:
        width, height = image.size
        # 5 to 8: the camera was held upright, and the file says so rather than turning the pixels.
        if image.getexif().get(_ORIENTATION, 1) >= 5:
            width, height = height, width
        grey = image.mode in _GREY_MODES or image.mode.startswith(_SIXTEEN_BITS)
        return Head(height, width, grey)


def read_image(path: Path, form: Form) -> np.ndarray:
    """The pixels of an image file, (channels, height, width) uint8; another size is resized (Lanczos), not cropped.

    Raises:
        ConfigError: it cannot be opened as an image, or has no known range of brightness.
    """
    from PIL import Image, ImageOps

    with _opened(path) as image:
        if image.mode in ("I", "F"):
            raise ConfigError(
                f"{path} has {image.mode} pixels, whose range is not known; "
                "save it with 8 bits a channel, or give a .npy"
            )
        pixels: Image.Image = ImageOps.exif_transpose(image)
        if pixels.mode.startswith(
            _SIXTEEN_BITS
        ):  # Pillow would clip: all but the darkest are white
            pixels = Image.fromarray((np.asarray(pixels) >> 8).astype(np.uint8))
        if (
            "transparency" in pixels.info
        ):  # a palette with transparent colours, by way of which there is no warning
            pixels = pixels.convert("RGBA")
        pixels = pixels.convert(form.mode)
        if pixels.size != (form.width, form.height):
            pixels = pixels.resize((form.width, form.height), Image.Resampling[_FILTER])
        array = np.asarray(pixels).reshape(form.height, form.width, form.channels)
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def reading_steps(form: Form) -> dict[str, Any]:
    """What `read_image` does to a file, in this order, as plain values for a program that has to do the same."""
    return {
        "orientation": "turned upright as Exif says",
        "16_bits": "of grey with 16 bits the upper 8",
        "transparency": "left out: the colours as they are stored",
        "mode": form.mode,
        "size": {"height": form.height, "width": form.width},
        "resize": f"{_FILTER.lower()} on 8 bits, the whole image, proportions not kept; none where it has the size",
    }


_ORIENTATION = 0x0112  # Exif's tag for how the camera was held


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # A picture of 90 million pixels is no attack when it is one's own; the error for twice that stays.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                yield image
    except ConfigError:
        raise
    except UnidentifiedImageError as error:  # whose own words repeat the path
        reason = "its content is no image of a kind that is known"
        raise ConfigError(f"{path} cannot be opened as an image: {reason}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # SyntaxError is Pillow's word for some broken PNG files.
        raise ConfigError(f"{path} cannot be opened as an image: {first_line(error)}") from error
