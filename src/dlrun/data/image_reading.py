"""One image file as an array, the same whether it is trained on or predicted for. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dlrun.data.image_depth import deep_values, is_deep, is_of_16_bits, refuse_cut
from dlrun.data.image_form import FILTER, Form
from dlrun.data.image_opening import opened, upright
from dlrun.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image

_GREY_MODES = ("1", "L", "LA", "La", "I", "F")
_ALPHA_MODES = ("LA", "RGBA", "PA", "La", "RGBa")
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # as Pillow makes grey of colours
_ORIENTATION = 0x0112  # Exif's tag for how the camera was held


@dataclass(frozen=True)
class Head:
    """What a file says of its image before its pixels.

    Attributes:
        height, width: as it is seen.
        is_deep: whether it has more than 8 bits a channel.
        has_alpha: whether pixels may be transparent.
        is_first_of_many: whether other pictures follow it in the file.
    """

    height: int
    width: int
    is_grey: bool
    is_deep: bool
    has_alpha: bool
    is_first_of_many: bool


def read_head(path: Path) -> Head:
    """Size and colours of an image file.

    Raises:
        ConfigError: it cannot be opened as an image.
    """
    with opened(path) as image:
        refuse_cut(path, image)
        width, height = image.size
        # 5 to 8: the camera was held upright, and the file says so rather than turning the pixels.
        if image.getexif().get(_ORIENTATION, 1) >= 5:
            width, height = height, width
        return Head(
            height,
            width,
            is_grey=image.mode in _GREY_MODES or image.mode.startswith("I;16"),
            is_deep=is_deep(image),
            has_alpha=_has_alpha(image),
            # What a camera puts behind its photograph is the same one, smaller.
            is_first_of_many=image.format != "MPO" and bool(getattr(image, "is_animated", False)),
        )


def read_image(path: Path, form: Form) -> np.ndarray:
    """The pixels of an image file from 0 to 255, (channels, height, width) of `form.dtype`.

    Another size is resized (Lanczos), not cropped.

    Raises:
        ConfigError: it cannot be opened as an image, or has no known range of brightness.
    """
    with opened(path) as image:
        refuse_cut(path, image)
        pixels = _deep_pixels(path, image, form) if is_deep(image) else _plain_pixels(image, form)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def read_values(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The values of an image as they are stored, float32 (H, W, 1 or 3), and how opaque they are, from 0 to 1 (H, W).

    Raises:
        ConfigError: it cannot be opened as an image, or has values that are no numbers.
    """
    with opened(path) as image:
        if is_deep(image):
            return deep_values(path, image)
        colours = "LA" if image.mode in _GREY_MODES else "RGBA"
        values = np.asarray(upright(image).convert(colours), np.float32)
        return values[..., :-1], values[..., -1] / 255


def _plain_pixels(image: Image.Image, form: Form) -> np.ndarray:
    """Of 8 bits or fewer: (height, width, channels)."""
    from PIL import Image

    pixels = upright(image)
    if _has_alpha(image):  # by way of which a palette with transparent colours gives no warning
        pixels = pixels.convert("RGBA")
        if form.alpha in ("white", "black"):
            pixels = Image.alpha_composite(Image.new("RGBA", pixels.size, form.alpha), pixels)
    pixels = pixels.convert(form.mode)
    if pixels.size != (form.width, form.height):
        pixels = pixels.resize((form.width, form.height), Image.Resampling[FILTER])
    return np.asarray(pixels, form.dtype).reshape(form.height, form.width, form.channels)


def _deep_pixels(path: Path, image: Image.Image, form: Form) -> np.ndarray:
    """Of more than 8 bits: (height, width, channels)."""
    if form.white is None and image.mode in ("I", "F") and not is_of_16_bits(image):
        raise ConfigError(
            f"{path} has {image.mode} pixels, whose range is not known; "
            "save it with 8 bits a channel, or give a .npy"
        )
    values, alpha = deep_values(path, image)
    white = 65535.0 if form.white is None else form.white
    pixels = (values - form.black) * np.float32(255 / (white - form.black))
    if pixels.shape[2] != form.colours:
        pixels = pixels @ _LUMA[:, None] if form.colours == 1 else pixels.repeat(3, axis=2)
    if form.alpha == "channel":
        opaque = np.ones(pixels.shape[:2], np.float32) if alpha is None else alpha
        pixels = np.concatenate([pixels, opaque[..., None] * 255], axis=2)
    elif alpha is not None and form.alpha != "ignore":
        behind = 255.0 if form.alpha == "white" else 0.0
        pixels = behind + (pixels - behind) * alpha[..., None]
    pixels = np.stack([_resized(band, form) for band in np.moveaxis(pixels, 2, 0)], axis=2)
    return pixels.round().clip(0, 255).astype(np.uint8) if form.dtype is np.uint8 else pixels


def _resized(band: np.ndarray, form: Form) -> np.ndarray:
    from PIL import Image

    if band.shape == (form.height, form.width):
        return band
    whole = Image.fromarray(np.ascontiguousarray(band, np.float32))
    return np.asarray(whole.resize((form.width, form.height), Image.Resampling[FILTER]))


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in _ALPHA_MODES or "transparency" in image.info
