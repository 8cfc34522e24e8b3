"""What figures are made of: pixels, the words in them, and the PNG file that they become.

PNG is packed for speed: no filters, the least compression, one byte a pixel where it will do. A library's
encoder tries five filters on every row, which takes several times as long as all the rest.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GREY, _RGB, _INDEXED = 0, 2, 3  # colour types of the PNG specification, section 11.2.2


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of uint8.

    Attributes:
        pixels: red, green and blue (H, W, 3); or brightness (H, W); or with a palette its rows (H, W).
        palette: colours (up to 256, 3), uint8.
    """

    pixels: np.ndarray
    palette: np.ndarray | None = None

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[1])

    @property
    def rgb_HW3(self) -> np.ndarray:
        """The colours as they are seen."""
        if self.palette is not None:
            return np.asarray(self.palette[self.pixels])
        return self.pixels if self.pixels.ndim == 3 else self.pixels[..., None].repeat(3, 2)

    @property
    def channels(self) -> int:
        """1 for greys, 3 for colours."""
        return 1 if self.pixels.ndim == 2 and self.palette is None else 3

    @cached_property
    def png(self) -> bytes:
        """The picture as a PNG file."""
        indexed = self.palette is not None
        kind = _INDEXED if indexed else _GREY if self.channels == 1 else _RGB
        rows = self.pixels.reshape(self.height, -1)
        unfiltered = np.zeros(
            (self.height, 1 + rows.shape[1]), np.uint8
        )  # 0 before each row: no filter
        unfiltered[:, 1:] = rows
        chunks = [(b"IHDR", struct.pack(">IIBBBBB", self.width, self.height, 8, kind, 0, 0, 0))]
        if self.palette is not None:
            chunks.append((b"PLTE", self.palette.astype(np.uint8).tobytes()))
        chunks += [(b"IDAT", zlib.compress(unfiltered.data, 1)), (b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


@lru_cache(maxsize=4096)
def lettering(text: str, size: int) -> np.ndarray:
    """Ink (H, W) from 0 to 255 of a line of text; every text of a size is equally high. Not to be changed."""
    font = _font(size)
    ascent, descent = font.getmetrics()
    width = max(1, math.ceil(font.getlength(text)))
    canvas = Image.new("L", (width, ascent + descent))
    ImageDraw.Draw(canvas).text((0, 0), text, 255, font)
    return np.asarray(canvas)


def sentence(text: str, size: int) -> np.ndarray:
    """As `lettering`, put together from words: for texts that are new each time and made of old words."""
    first, *more = (lettering(word, size) for word in text.split(" "))
    space = lettering(" ", size)
    return np.concatenate([first, *(part for word in more for part in (space, word))], axis=1)


def text_width(text: str, size: int) -> int:
    """In pixels."""
    return int(_font(size).getlength(text))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # so it is where a size is asked for
    return font
