"""Pictures of data and of what a model makes of it, as RGB arrays (H, W, 3), uint8.

Drawn with Pillow, which torchvision brings along: a figure library would cost more time to import
than a small run takes to train.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Ten colours told apart by most eyes, also in print (Tableau's).
PALETTE = np.array(
    [
        (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189),
        (140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207),
    ],
    dtype=np.float32,
)  # fmt: skip
_INK, _PAPER, _RED = (30, 30, 30), (255, 255, 255), (190, 20, 20)


def image_grid(images_NCHW: np.ndarray, captions: Sequence[str], *, columns: int = 8) -> np.ndarray:
    """The images side by side, enlarged to about 72 pixels, each over its caption.

    Each image is stretched to the full range of brightness; three channels are colours, any other number is averaged.
    """
    enlarge = max(1, 72 // images_NCHW.shape[-1])
    tiles = [_tile(image, enlarge) for image in images_NCHW]
    tile_height, tile_width = tiles[0].shape[:2]
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    cell_width, cell_height = max(tile_width, 84) + 6, tile_height + 20
    canvas = Image.new("RGB", (columns * cell_width, rows * cell_height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(11)
    for index, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        left, top = index % columns * cell_width, index // columns * cell_height
        canvas.paste(Image.fromarray(tile), (left + (cell_width - tile_width) // 2, top + 2))
        draw.text((left + cell_width / 2, top + tile_height + 4), caption, _INK, font, anchor="ma")
    return np.asarray(canvas)


def confusion_picture(confusion: Sequence[Sequence[int]], class_names: Sequence[str]) -> np.ndarray:
    """The confusion matrix: a row for each true class, shaded by its share, the count in each cell."""
    counts = np.asarray(confusion)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    font = ImageFont.load_default(16)
    title = "rows: true class, columns: predicted"
    cell = max(48, 16 + int(font.getlength(str(counts.max()))))
    margin = 20 + int(max(font.getlength(name) for name in class_names))
    size, top = len(counts) * cell, 28 + margin
    width = max(margin + size, int(font.getlength(title))) + 16
    canvas = Image.new("RGB", (width, top + size + 12), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((width / 2, 4), title, _INK, font, anchor="ma")
    for row, name in enumerate(class_names):
        middle = row * cell + cell / 2
        draw.text((margin - 8, top + middle), name, _INK, font, anchor="rm")
        _vertical_text(canvas, name, (int(margin + middle), top - 6), font)
        for column, count in enumerate(counts[row]):
            share = float(shares[row, column])
            ends = PALETTE[0] if row == column else _RED
            colour = tuple(int(255 - (255 - end) * share) for end in ends)
            x, y = margin + column * cell, top + row * cell
            draw.rectangle((x, y, x + cell - 2, y + cell - 2), colour)
            ink = _PAPER if share > 0.5 else _INK if count else (190, 190, 190)
            draw.text((x + cell / 2, y + cell / 2), str(count), ink, font, anchor="mm")
    return np.asarray(canvas)


def boundary_picture(
    field_SSC: np.ndarray,
    points_N2: np.ndarray,
    labels_N: np.ndarray,
    extent: tuple[float, float, float, float],
) -> np.ndarray:
    """Where in the plane a classifier decides for which class, with the points it should tell apart.

    Args:
        field_SSC: class probabilities on a square grid, first row at the top.
        extent: left, right, bottom and top of the grid, in the points' units.
    """
    side, enlarge = field_SSC.shape[0], 4
    colours = PALETTE[np.arange(field_SSC.shape[2]) % len(PALETTE)]
    decided = field_SSC.argmax(2)
    paint = 255 - (255 - field_SSC @ colours) * 0.45
    edge = np.zeros((side, side), bool)
    edge[:, 1:] |= decided[:, 1:] != decided[:, :-1]
    edge[1:] |= decided[1:] != decided[:-1]
    paint[edge] = _INK
    canvas = Image.fromarray(paint.clip(0, 255).astype(np.uint8)).resize(
        (side * enlarge,) * 2, Image.Resampling.BILINEAR
    )
    draw = ImageDraw.Draw(canvas)
    left, right, bottom, top = extent
    scale = side * enlarge - 1
    for (x, y), label in zip(points_N2, labels_N, strict=True):
        across, down = (x - left) / (right - left) * scale, (top - y) / (top - bottom) * scale
        fill = tuple(int(value) for value in PALETTE[int(label) % len(PALETTE)])
        draw.ellipse((across - 3, down - 3, across + 3, down + 3), fill, _PAPER)
    return np.asarray(canvas)


def encode_png(picture_HWC: np.ndarray) -> bytes:
    """The picture as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture_HWC).save(file, format="PNG", compress_level=1)
    return file.getvalue()


def _tile(image_CHW: np.ndarray, enlarge: int) -> np.ndarray:
    image = image_CHW if len(image_CHW) == 3 else image_CHW.mean(0, keepdims=True).repeat(3, 0)
    low, high = image.min(), image.max()
    scaled = (image - low) / (high - low if high > low else 1.0) * 255
    return scaled.transpose(1, 2, 0).astype(np.uint8).repeat(enlarge, 0).repeat(enlarge, 1)


def _vertical_text(
    canvas: Image.Image,
    text: str,
    bottom: tuple[int, int],
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    """`text` reading upwards, ending above `bottom`, centred across it."""
    width, height = int(font.getlength(text)) + 2, 22
    strip = Image.new("RGB", (width, height), _PAPER)
    ImageDraw.Draw(strip).text((0, 0), text, _INK, font)
    canvas.paste(strip.rotate(90, expand=True), (bottom[0] - height // 2, bottom[1] - width))
