"""The format that every image of a data set is brought to: channels, size, black and white. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Alpha = Literal["white", "black", "channel", "ignore"]

FILTER = "LANCZOS"


@dataclass(frozen=True)
class ImageFormat:
    """What every image is made into.

    Attributes:
        channels: 1 for grey and 3 for colour, and one more where `alpha` is channel.
        height, width: in pixels.
        black, white: the values of images with more than 8 bits that become 0 and 255; `white` is None where a data
            set has none, and one of 16 bits is then white at 65,535.
        alpha: what lies behind transparent pixels; or channel, to keep them so, or ignore, to take their colours.
    """

    channels: int
    height: int
    width: int
    black: float = 0.0
    white: float | None = None
    alpha: Alpha = "white"

    @classmethod
    def of(cls, shape: Sequence[int], reading: Mapping[str, Any]) -> ImageFormat:
        """The format of inputs of this shape (C, H, W), with what `reading` says; of images in no files it is empty."""
        channels, height, width = shape
        return cls(channels, height, width, **reading)

    @property
    def reading(self) -> dict[str, Any]:
        """What besides the shape decides how files are read, as plain values."""
        return {"black": self.black, "white": self.white, "alpha": self.alpha}

    @property
    def colours(self) -> int:
        """Channels without transparency."""
        return self.channels - (self.alpha == "channel")

    @property
    def mode(self) -> str:
        """Pillow's name for these channels."""
        return ("L" if self.colours == 1 else "RGB") + ("A" if self.alpha == "channel" else "")

    @property
    def dtype(self) -> type[np.generic]:
        """Of pixels from 0 to 255: whole numbers would lose what is in more than 8 bits."""
        return np.uint8 if self.white is None else np.float32


def reading_steps(format: ImageFormat) -> dict[str, Any]:
    """What is done to a file, in this order, as plain values for a program that has to do the same."""
    laid = f"laid on {format.alpha}"
    transparency = {
        "ignore": "left out: the colours as they are stored",
        "channel": "kept as the last channel, 255 where opaque",
    }
    white = 65535 if format.white is None else format.white
    return {
        "orientation": "turned upright as Exif says",
        "16_bits": f"of more than 8 bits a channel: (value - {format.black:g}) * 255 / ({white:g} - {format.black:g})"
        + (", rounded" if format.white is None else ""),
        "transparency": transparency.get(format.alpha, laid),
        "mode": format.mode,
        "size": {"height": format.height, "width": format.width},
        "resize": f"{FILTER.lower()} on 8 bits, or on floats of more than 8, the whole image, proportions not kept; "
        "none where it has the size",
    }
