"""Images side by side, each over its caption: samples of the data, and the worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlrun.tracking.picture import Picture, sentence

_INK = 30  # brightness of a letter


def image_grid(
    images_NCHW: np.ndarray, captions: Sequence[str], *, columns: int = 8, width: int = 72
) -> Picture:
    """The images side by side, enlarged to about `width` pixels, each over its caption.

    Each image is stretched to the full range of brightness; three channels are colours, any other number is averaged.
    """
    enlarge = max(1, width // images_NCHW.shape[-1])
    tiles = _tiles(images_NCHW).repeat(enlarge, 1).repeat(enlarge, 2)
    count, tile_height, tile_width = tiles.shape[:3]
    columns = min(columns, count)
    rows = -(-count // columns)
    cell_width, cell_height = max(tile_width, 84) + 6, tile_height + 20
    canvas = np.full((rows * cell_height, columns * cell_width, *tiles.shape[3:]), 255, np.uint8)
    for index, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        left, top = index % columns * cell_width, index // columns * cell_height
        inset = left + (cell_width - tile_width) // 2
        canvas[top + 2 : top + 2 + tile_height, inset : inset + tile_width] = tile
        middle = left + cell_width // 2
        _darken(canvas, sentence(caption, 11), middle, top + tile_height + 4)
    return Picture(canvas)


def _tiles(images_NCHW: np.ndarray) -> np.ndarray:
    """Brightness (N, H, W) or colours (N, H, W, 3), uint8, each image stretched to the full range."""
    if images_NCHW.shape[1] == 3:
        images = images_NCHW.transpose(0, 2, 3, 1)
    else:
        images = images_NCHW.mean(1)
    within = tuple(range(1, images.ndim))
    low, high = images.min(within, keepdims=True), images.max(within, keepdims=True)
    span = np.where(high > low, high - low, 1)
    return ((images - low) / span * 255).astype(np.uint8)


def _darken(canvas: np.ndarray, ink: np.ndarray, middle: int, top: int) -> None:
    """Write dark letters on white, centred across `middle`; what does not fit on the canvas is cut off."""
    left = middle - ink.shape[1] // 2
    ink = ink[:, max(0, -left) : canvas.shape[1] - left]
    left = max(0, left)
    shades = (255 - ink * np.float32((255 - _INK) / 255)).astype(np.uint8)
    place = canvas[top : top + ink.shape[0], left : left + ink.shape[1]]
    shades = shades[: len(place)]
    np.minimum(place, shades[..., None] if canvas.ndim == 3 else shades, out=place)
