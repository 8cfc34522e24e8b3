"""Words drawn once and kept: how much ink each pixel of a text gets."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont


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


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # so it is where a size is asked for
    return font
