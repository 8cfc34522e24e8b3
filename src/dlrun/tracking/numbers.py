"""How a measured number is written for people: four significant digits, whatever its size. No torch here.

Files for programs (JSON, CSV) keep every digit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_POWERS_FROM = 1_000_000  # is written with a power of ten
_WIDEST = 7  # digits of a number in a column of equal decimals


def number_text(value: float, digits: int = 4) -> str:
    """The value to so many significant digits: `0.9889`, `1.234e-05`, `51235`, `2.702e+09`, `nan`, `inf`.

    Below a million the ones are never taken away; no zeros stand at the end.
    """
    size = abs(value)
    if not math.isfinite(value):
        return str(value)
    if 10 ** (digits - 1) <= size < _POWERS_FROM - 0.5:
        return f"{value:.0f}"
    return f"{value or 0.0:.{digits}g}"  # no minus before a zero


def column_texts(values: Sequence[float | None], none: str = "") -> list[str]:
    """The values as they stand in one column: with equal decimals, so that points are below each other.

    The smallest has four significant digits, below a tenth three. Where the largest would take more than seven
    for that, each value is written on its own. `none` stands for a value that is missing.
    """
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    decimals = _shared_decimals(sizes) if sizes else 0
    return [
        none
        if value is None
        else number_text(value)
        if decimals is None or not math.isfinite(value)
        else f"{value or 0.0:.{decimals}f}"
        for value in values
    ]


def spread_text(mean: float, spread: float | None) -> str:
    """`0.8421 ± 0.058`: a mean and the sample standard deviation around it, None of one value alone."""
    more = "" if spread is None else f" ± {number_text(spread, digits=2)}"
    return f"{number_text(mean)}{more}"


def _shared_decimals(sizes: Sequence[float]) -> int | None:
    """Decimals that suit all of these magnitudes, None where there are none."""
    largest, smallest = max(sizes), min(sizes)
    if largest < _POWERS_FROM and all(size.is_integer() for size in map(float, sizes)):
        return 0
    whole = math.floor(math.log10(largest)) + 1  # digits before the point
    power = math.floor(math.log10(smallest))
    decimals = max(0, (3 if power >= -1 else 2) - power)
    return decimals if max(whole, 1) + decimals <= _WIDEST else None


def is_number(text: str) -> bool:
    """Whether the text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def bytes_text(count: float) -> str:
    """A number of bytes, rounded, in MB or GB."""
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{max(1, round(count / 2**20))} MB"
