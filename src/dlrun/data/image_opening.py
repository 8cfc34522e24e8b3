"""Image files: which they are, opened with every mistake in one line. No torch here."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlrun.errors import ConfigError, first_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".pbm", ".pnm",
            ".jp2", ".tga")  # fmt: skip
_BY_SYSTEMS = ("thumbs.db", "desktop.ini", "__macosx", "__pycache__")  # left, not put there
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"RIFF")


def is_image(path: Path) -> bool:
    """Whether a file is an image by its suffix, or else, whatever that is, by how it begins."""
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
    """Whether a file or folder is hidden, or was left by a system rather than put there."""
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
            with Image.open(path) as image:
                yield image
    except ConfigError:
        raise
    except UnidentifiedImageError as error:  # whose own words repeat the path
        empty = path.is_file() and not path.stat().st_size
        reason = "it is empty" if empty else "its content is no image of a kind that is known"
        raise ConfigError(f"{path} cannot be opened as an image: {reason}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # SyntaxError is Pillow's word for some broken PNG files.
        raise ConfigError(f"{path} cannot be opened as an image: {first_line(error)}") from error


def upright(image: Any) -> Any:
    """The image turned as it was taken, its pixels read."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)
