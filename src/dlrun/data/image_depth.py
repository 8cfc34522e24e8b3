"""Images of more than 8 bits a channel: some Pillow gives in full, of others the upper bits. No torch here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.data.image_opening import opened, upright
from dlrun.errors import ConfigError

_ORDER = re.compile(";16[BLN]$")


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


def refuse_cut(path: Path, image: Any) -> None:
    """Refuse a PPM of more than 8 bits in colour, of which Pillow gives the upper 8 alone.

    Raises:
        ConfigError: it is one.
    """
    said = image.tile[0][3] if image.format == "PPM" and image.mode == "RGB" else None
    if isinstance(said, tuple) and isinstance(said[-1], int) and said[-1] > 255:
        raise ConfigError(
            f"{path} has more than 8 bits a channel, which of .ppm cannot be read; save it as PNG or TIFF"
        )


def deep_values(path: Path, image: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Values as they are stored, float32 (H, W, 1 or 3), and how opaque they are, from 0 to 1 (H, W), or None.

    Raises:
        ConfigError: values that are no numbers.
    """
    stored = _stored_as(image)
    if image.mode.startswith(("I", "F")):
        values = np.asarray(upright(image), np.float32)[..., None]
        if not np.isfinite(values).all():
            raise ConfigError(f"{path} has pixels that are not finite numbers; mend it")
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
