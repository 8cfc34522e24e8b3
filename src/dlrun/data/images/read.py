"""One image file as an array, the same whether it is trained on or predicted for. No torch here."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlrun.data.images.archive import file_or_bytes
from dlrun.data.images.image_format import FILTER, ImageFormat
from dlrun.errors import ConfigError, first_line

if TYPE_CHECKING:
    from PIL import Image

_ORDER = re.compile(";16[BLN]$")


class BadImage(ConfigError):
    """A file that cannot be read as an image.

    Attributes:
        path: of the file.
        reason: what is wrong with it, in words that follow the path.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


def is_deep(image: Any) -> bool:
    """Whether an open image has more than 8 bits a channel."""
    if image.mode.startswith(("I", "F")):
        return True
    # The ending is an order of bytes: BGR;16 has 16 bits for all channels together.
    return image.mode in ("LA", "RGB", "RGBA") and bool(_ORDER.search(_stored_as(image)))


def is_of_16_bits(image: Any) -> bool:
    """Whether white is known to be 65,535."""
    # Pillow brings whatever is white in a PGM of more than 8 bits to 65,535.
    return "16" in _stored_as(image) or (image.mode == "I" and image.format == "PPM")


def refuse_deep_ppm(path: Path, image: Any) -> None:
    """Refuse a colour PPM of more than 8 bits, of which Pillow reads only the upper 8.

    Raises:
        ConfigError: it is one.
    """
    said = image.tile[0][3] if image.format == "PPM" and image.mode == "RGB" else None
    if isinstance(said, tuple) and isinstance(said[-1], int) and said[-1] > 255:
        reason = (
            "has more than 8 bits a channel, which of .ppm cannot be read; save it as PNG or TIFF"
        )
        raise BadImage(str(path), reason)


def deep_values(path: Path, image: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Values as they are stored, float32 (H, W, 1 or 3), and how opaque they are, from 0 to 1 (H, W), or None.

    Raises:
        ConfigError: values that are no numbers.
    """
    stored = _stored_as(image)
    if image.mode.startswith(("I", "F")):
        values = np.asarray(upright(image), np.float32)[..., None]
        if not np.isfinite(values).all():
            raise BadImage(str(path), "has pixels that are not finite numbers; mend it")
        return values, None
    # Pillow gives the upper 8 bits of each channel, or, taken for the other byte order, the lower.
    lower = {"B": "L", "L": "B", "N": "B"}[stored[-1]]
    with opened(path) as again:
        if stored == "LA;16B":  # which has no other order, but bytes as four channels have
            again._mode = "RGBA"
            _store_as(again, "RGBA")
            grey_high, grey_low, alpha_high, alpha_low = np.moveaxis(_floats(again), 2, 0)
            return (grey_high * 256 + grey_low)[..., None], (alpha_high * 256 + alpha_low) / 65535
        _store_as(again, stored[:-1] + lower)
        values = _floats(image) * 256 + _floats(again)
    return values[..., :3], values[..., 3] / 65535 if values.shape[2] == 4 else None


def _floats(image: Any) -> np.ndarray:
    return np.asarray(upright(image), np.float32)


def _stored_as(image: Any) -> str:
    """Pillow's name for how pixels lie in the file, such as RGB;16B; empty where it does not say."""
    tiles = getattr(image, "tile", None)
    said = tiles[0][3] if tiles else ""
    return str(said[0] if isinstance(said, tuple) and said else said or "")


def _store_as(image: Any, name: str) -> None:
    tiles: list[Any] = []
    for codec, box, offset, said in image.tile:
        tiles.append((codec, box, offset, (name, *said[1:]) if isinstance(said, tuple) else name))
    if hasattr(image.tile[0], "_replace"):  # named, in newer Pillow
        tiles = [type(image.tile[0])(*tile) for tile in tiles]
    image.tile = tiles


SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".pbm", ".pnm",
            ".jp2", ".tga")  # fmt: skip
_BY_SYSTEMS = ("thumbs.db", "desktop.ini", "__macosx", "__pycache__")  # left, not put there
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"RIFF")


def is_image(path: Path) -> bool:
    """Whether a file is an image by its suffix or by its first bytes."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            beginning = file.read(12)
    except OSError:
        return False
    if beginning.startswith(b"RIFF"):
        return beginning.endswith(b"WEBP")
    return beginning.startswith(_BEGINNINGS)


def is_hidden(path: Path) -> bool:
    """Whether a file or folder is hidden, or written by an operating system for itself."""
    return path.name.startswith(".") or path.name.lower() in _BY_SYSTEMS


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The image of a file, its pixels not read yet.

    Raises:
        ConfigError: there is none, or it cannot be read on.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # A picture of 90 million pixels is no attack when it is one's own; the error for twice that stays.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file_or_bytes(path)) as image:
                yield image
    except ConfigError:
        raise
    except UnidentifiedImageError as error:  # whose own words repeat the path
        empty = path.is_file() and not path.stat().st_size
        reason = "it is empty" if empty else "its content is no image of a kind that is known"
        raise BadImage(str(path), f"cannot be opened as an image: {reason}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # SyntaxError is Pillow's word for some broken PNG files.
        reason = f"cannot be opened as an image: {first_line(error)}"
        raise BadImage(str(path), reason) from error


def upright(image: Any) -> Any:
    """The image turned as it was taken, its pixels read."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


_GREY_MODES = ("1", "L", "LA", "La", "I", "F")
_ALPHA_MODES = ("LA", "RGBA", "PA", "La", "RGBa")
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # as Pillow makes grey of colours
_END = 12  # bytes: the last chunk of a PNG
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
        refuse_deep_ppm(path, image)
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


def read_head_of_whole(path: Path) -> Head:
    """As `read_head`, of a file that goes on to its end: one that does not end as it should has its pixels read.

    Raises:
        ConfigError: it cannot be opened as an image, or is cut off.
    """
    head = read_head(path)
    if not _ends_whole(path):
        refuse_damaged(path)
    return head


def refuse_damaged(path: Path) -> None:
    """Read an image to its end.

    Raises:
        ConfigError: its pixels are damaged.
    """
    with opened(path) as image:
        upright(image).load()


def _ends_whole(path: Path) -> bool:
    source = file_or_bytes(path)
    with source.open("rb") if isinstance(source, Path) else source as file:
        beginning = file.read(4)
        file.seek(-min(_END, file.seek(0, os.SEEK_END)), os.SEEK_END)
        end = file.read()
    if beginning == b"\x89PNG":
        return b"IEND" in end
    return beginning.startswith(b"\xff\xd8") and end.endswith(b"\xff\xd9")


def read_image(path: Path, format: ImageFormat) -> np.ndarray:
    """The pixels of an image file from 0 to 255, (channels, height, width) of `format.dtype`.

    Another size is resized (Lanczos), not cropped.

    Raises:
        ConfigError: it cannot be opened as an image, or has no known range of brightness.
    """
    with opened(path) as image:
        refuse_deep_ppm(path, image)
        pixels = (
            _deep_pixels(path, image, format) if is_deep(image) else _plain_pixels(image, format)
        )
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


def _plain_pixels(image: Image.Image, format: ImageFormat) -> np.ndarray:
    """Of 8 bits or fewer: (height, width, channels)."""
    from PIL import Image

    pixels = upright(image)
    if _has_alpha(image):  # by way of which a palette with transparent colours gives no warning
        pixels = pixels.convert("RGBA")
        if format.alpha in ("white", "black"):
            pixels = Image.alpha_composite(Image.new("RGBA", pixels.size, format.alpha), pixels)
    pixels = pixels.convert(format.mode)
    if pixels.size != (format.width, format.height):
        pixels = pixels.resize((format.width, format.height), Image.Resampling[FILTER])
    return np.asarray(pixels, format.dtype).reshape(format.height, format.width, format.channels)


def _deep_pixels(path: Path, image: Image.Image, format: ImageFormat) -> np.ndarray:
    """Of more than 8 bits: (height, width, channels)."""
    if format.white is None and image.mode in ("I", "F") and not is_of_16_bits(image):
        raise ConfigError(
            f"{path} has {image.mode} pixels, whose range is not known; "
            "save it with 8 bits a channel, or give a .npy"
        )
    values, alpha = deep_values(path, image)
    white = 65535.0 if format.white is None else format.white
    pixels = (values - format.black) * np.float32(255 / (white - format.black))
    if pixels.shape[2] != format.colours:
        pixels = pixels @ _LUMA[:, None] if format.colours == 1 else pixels.repeat(3, axis=2)
    if format.alpha == "channel":
        opaque = np.ones(pixels.shape[:2], np.float32) if alpha is None else alpha
        pixels = np.concatenate([pixels, opaque[..., None] * 255], axis=2)
    elif alpha is not None and format.alpha != "ignore":
        behind = 255.0 if format.alpha == "white" else 0.0
        pixels = behind + (pixels - behind) * alpha[..., None]
    pixels = np.stack([_resized(band, format) for band in np.moveaxis(pixels, 2, 0)], axis=2)
    return pixels.round().clip(0, 255).astype(np.uint8) if format.dtype is np.uint8 else pixels


def _resized(band: np.ndarray, format: ImageFormat) -> np.ndarray:
    from PIL import Image

    if band.shape == (format.height, format.width):
        return band
    whole = Image.fromarray(np.ascontiguousarray(band, np.float32))
    return np.asarray(whole.resize((format.width, format.height), Image.Resampling[FILTER]))


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in _ALPHA_MODES or "transparency" in image.info
