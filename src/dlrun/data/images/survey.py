"""One format for all images of a data set, found in their heads and, of some kinds, in their pixels. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from dlrun.data.images.image_format import Alpha, ImageFormat
from dlrun.data.images.read import Head, read_values
from dlrun.errors import ConfigError, note

Depth = Literal["auto"] | Annotated[int, Ge(1), Le(32)]

_LOOKED_AT = 1000  # images, evenly from all, whose pixels are looked at
_BITS = (8, 10, 12, 14, 16, 18, 20, 22, 24, 28, 32)


def common_format(
    paths: Sequence[str],
    heads: Sequence[Head],
    *,
    size: int | list[int] | None,
    color: Literal["auto", "grey", "rgb"],
    depth: Depth,
    alpha: Literal["auto"] | Alpha,
) -> ImageFormat:
    """The format that all images are brought to; what no setting gives is found, and noted where it changes the pixels.

    Args:
        heads: of all files, in their order.

    Raises:
        ConfigError: sizes that differ where no setting gives one, a depth that no image has.
    """
    sides = [size, size] if isinstance(size, int) else size or _common_size(paths, heads)
    grey = color == "grey" or (color == "auto" and all(head.is_grey for head in heads))
    deep = [path for path, head in zip(paths, heads, strict=True) if head.is_deep]
    black, white = _range(deep, depth)
    clear = {path: head for path, head in zip(paths, heads, strict=True) if head.has_alpha}
    behind = _background(clear, alpha, white=white or 255.0)
    _note_many([path for path, head in zip(paths, heads, strict=True) if head.is_first_of_many])
    channels = (1 if grey else 3) + (behind == "channel")
    return ImageFormat(channels, sides[0], sides[1], black, white, behind)


def _common_size(paths: Sequence[str], heads: Sequence[Head]) -> list[int]:
    first = heads[0]
    for path, head in zip(paths, heads, strict=True):
        if (head.height, head.width) != (first.height, first.width):
            raise ConfigError(
                f"dataset.size is null, but {paths[0]} has {first.height}x{first.width} pixels and {path} "
                f"{head.height}x{head.width}; set it, as in dataset.size=[{first.height},{first.width}]"
            )
    return [first.height, first.width]


def _range(deep: list[str], depth: Depth) -> tuple[float, float | None]:
    """Black and white of the images with more than 8 bits a channel."""
    if not deep:
        if depth != "auto":
            raise ConfigError(
                f"dataset.depth is {depth}, but no image has more than 8 bits a channel; leave it at auto"
            )
        return 0.0, None
    if depth != "auto":
        return 0.0, 2.0**depth - 1
    ranges = [_range_of(path) for path in _some(deep)]
    least, most = min(low for low, _, _ in ranges), max(high for _, high, _ in ranges)
    black, white = _rounded(least, most, whole=all(whole for _, _, whole in ranges))
    note(
        f"{len(deep)} images have more than 8 bits a channel, and values from {least:g} to {most:g}: {black:g} is "
        f"taken as black and {white:g} as white; dataset.depth sets the bits that they use"
    )
    return black, white


def _range_of(path: str) -> tuple[float, float, bool]:
    values, _ = read_values(Path(path))
    return float(values.min()), float(values.max()), bool((values == np.floor(values)).all())


def _rounded(least: float, most: float, *, whole: bool) -> tuple[float, float]:
    """The range that values from `least` to `most` are likely to be of."""
    if least >= 0 and whole and most > 1:
        return 0.0, next(2.0**bits - 1 for bits in _BITS if most < 2.0**bits)
    if least >= 0 and most <= 1:
        return 0.0, 1.0
    return min(least, 0.0), max(most, 0.0)


def _background(
    clear: Mapping[str, Head], alpha: Literal["auto"] | Alpha, *, white: float
) -> Alpha:
    """What lies behind transparent pixels: as set, or else what the images stand out from."""
    whites = {path: white if head.is_deep else 255.0 for path, head in clear.items()}
    looked_at = _some(list(clear))
    found = [one for path in looked_at if (one := _visible(path, whites[path])) is not None]
    if not found:
        return "white" if alpha == "auto" else alpha
    chosen: Alpha = alpha if alpha != "auto" else "white"
    if alpha == "auto" and np.mean(found) > 0.5:
        chosen = "black"
    what = {
        "ignore": "taken by the colours that they have there",
        "channel": "have their transparency as a channel",
    }.get(chosen, f"laid on {chosen}")
    others = [one for one in ("white", "black", "channel", "ignore") if one != chosen]
    least = "at least " if len(clear) > _LOOKED_AT else ""
    note(
        f"{least}{len(found)} images are transparent in places, and {what}; "
        f"dataset.alpha takes {', '.join(others)} as well"
    )
    return chosen


def _visible(path: str, white: float) -> float | None:
    """The mean brightness, up to 1, of what is seen of an image; None where nothing is transparent."""
    values, alpha = read_values(Path(path))
    if alpha is None or (alpha == 1).all():
        return None
    return float((values.mean(2) / white * alpha).sum() / max(float(alpha.sum()), 1e-6))


def _note_many(paths: list[str]) -> None:
    if paths:
        note(
            f"{len(paths)} files hold several pictures, of which the first is taken, such as {paths[0]}; "
            "save the others as files of their own to take them"
        )


def _some(paths: list[str]) -> list[str]:
    places = np.linspace(0, len(paths) - 1, min(len(paths), _LOOKED_AT)).astype(int)
    return [paths[place] for place in places]
