"""What every image of a data set is made into: channels, size, which values are black and white. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Alpha = Literal["white", "black", "channel", "ignore"]

FILTER = "LANCZOS"


@dataclass(frozen=True)
class Form:
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
    def of(cls, shape: Sequence[int], reading: Mapping[str, Any]) -> Form:
        """The form of inputs of this shape (C, H, W), with what `reading` says; of images in no files it is empty."""
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
        """Of pixels from 0 to 255: whole numbers would lose what more than 8 bits tell apart."""
        return np.uint8 if self.white is None else np.float32


def reading_steps(form: Form) -> dict[str, Any]:
    """What is done to a file, in this order, as plain values for a program that has to do the same."""
    laid = f"laid on {form.alpha}"
    transparency = {
        "ignore": "left out: the colours as they are stored",
        "channel": "kept as the last channel, 255 where opaque",
    }
    white = 65535 if form.white is None else form.white
    return {
        "orientation": "turned upright as Exif says",
        "16_bits": f"of more than 8 bits a channel: (value - {form.black:g}) * 255 / ({white:g} - {form.black:g})"
        + (", rounded" if form.white is None else ""),
        "transparency": transparency.get(form.alpha, laid),
        "mode": form.mode,
        "size": {"height": form.height, "width": form.width},
        "resize": f"{FILTER.lower()} on 8 bits, or on floats of more than 8, the whole image, proportions not kept; "
        "none where it has the size",
    }
