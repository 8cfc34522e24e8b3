"""What the report's page, its figures and its pictures share: colours, numbers, ticks."""

from __future__ import annotations

import math

INK, FAINT, GRID = "#1f2933", "#616e7c", "#e4e7eb"
WINNER = "#e8590c"
PLAIN, LINE = "#4a7fb5", "#1864ab"
UNFINISHED = "#adb5bd"
# From worst to best; the lightest can still be seen on white, unlike that of Optuna's own scale.
BLUES = ("#d3e2f1", "#9dc3e2", "#5c9dcc", "#2a72b0", "#08306b")

# Ten colours told apart by most eyes, for curves that are named one by one.
NAMED = (
    "#1f77b4", "#e8590c", "#2b8a3e", "#c92a2a", "#7048e8", "#8c564b", "#d6336c", "#5c636a", "#949005", "#0c8599",
)  # fmt: skip

MANY_DOTS = 300  # from which on they are drawn smaller
_MOST_TICKS = 6


def blue(share: float) -> str:
    """The colour at `share` of the way from worst, 0, to best, 1."""
    place = min(max(share, 0.0), 1.0) * (len(BLUES) - 1)
    index = min(int(place), len(BLUES) - 2)
    pair = (_channels(BLUES[index]), _channels(BLUES[index + 1]))
    mixed = [round(a + (b - a) * (place - index)) for a, b in zip(*pair, strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def log_ticks(low: float, high: float) -> list[float]:
    """Few round numbers from `low` to `high` for a logarithmic axis: 1, 2 and 5 times a power of ten, if they fit."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{step}e{power}") for power in powers for step in steps]
        ticks = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(ticks) <= _MOST_TICKS:
            break
    return ticks if len(ticks) > 1 else [low, high]


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
