"""Charts as PNG pictures, drawn by matplotlib in the look of the page."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, MultipleLocator, NullLocator

from dlrun.sweep.report.chart import (
    BLUES,
    EDGE,
    FAINT,
    GRID,
    INK,
    Axis,
    Bands,
    Bars,
    Chart,
    Dots,
    Field,
    Layer,
    Lines,
    Notes,
)
from dlrun.sweep.report.sections import KINDS, Section
from dlrun.tracking.matplotlib_settings import library_settings
from dlrun.tracking.numbers import number_text

_DOTS_PER_INCH = 150
_PIXELS_PER_INCH = 100  # of the page
_WIDE, _COMPACT = 8.0, 4.4  # inches
_POINTS = 0.85  # of a pixel of the page
_LONGEST_NAME = 100
_COLOURS = LinearSegmentedColormap.from_list("worst to best", BLUES)

Described = Sequence[tuple[Section, Sequence[Chart]]]


def write_pictures(described: Described, folder: Path) -> list[Path]:
    """Write one PNG a chart, and remove those of an earlier report that this one does not have."""
    folder.mkdir(exist_ok=True)
    written = []
    with drawing():
        for section, charts in described:
            for panel, chart in zip(section.panels, charts, strict=True):
                file = folder / _file_name(section, panel)
                _draw(chart).savefig(file, dpi=_DOTS_PER_INCH, bbox_inches="tight")
                written.append(file)
    for file in folder.glob("*.png"):
        if file not in written and file.name.startswith(KINDS):
            file.unlink()
    return written


@contextmanager
def drawing() -> Iterator[None]:
    """No lasting change of matplotlib's settings, no warning that nobody could act on."""
    with library_settings(), warnings.catch_warnings():
        # A choice may be in a script that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _file_name(section: Section, panel: Sequence[str]) -> str:
    parts = [section.kind, *panel] if section.has_several else [section.kind]
    safe = [re.sub(r"[^\w.-]+", "_", part) for part in parts]
    return "-".join(safe)[:_LONGEST_NAME] + ".png"


def _text(content: str) -> str:
    """`content` as matplotlib shows it, which reads mathematics between dollar signs."""
    return content.replace("$", r"\$")


def _draw(chart: Chart) -> Figure:
    size = (_WIDE if chart.wide else _COMPACT, chart.height / _PIXELS_PER_INCH)
    figure = Figure(figsize=size)
    axes = figure.subplots()
    axes.set_axisbelow(True)
    axes.tick_params(colors=FAINT, labelsize=9)
    for place, spine in axes.spines.items():
        shown = {"left": chart.y.line, "bottom": chart.x.line}
        spine.set(visible=shown.get(place, False), color=EDGE)
    for order, layer in enumerate(chart.layers):
        _add(layer, axes, order)
    _set_axis(axes, "x", chart.x)
    _set_axis(axes, "y", chart.y)
    if any(isinstance(layer, Bars) for layer in chart.layers):
        axes.invert_yaxis()
    if chart.legend:
        _legend(axes, beside=chart.legend == "beside")
    return figure


def _set_axis(axes: Axes, which: str, axis: Axis) -> None:
    shown = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}label": _text(axis.title)})
    shown.label.set(color=INK, fontsize=10)
    if axis.grid:
        shown.grid(color=GRID, linewidth=0.8)
    if axis.log:
        axes.set(**{f"{which}scale": "log"})
        shown.set_minor_locator(NullLocator())
    if axis.step:
        shown.set_major_locator(MultipleLocator(axis.step))
    if axis.ticks is not None:
        shown.set_major_locator(FixedLocator(list(axis.ticks)))
        shown.set_ticklabels(list(map(_text, axis.ticks.values())))
    if axis.limits:
        axes.set(**{f"{which}lim": axis.limits})
    if axis.at_top:
        axes.tick_params(axis="x", top=False, labeltop=True, bottom=False, labelbottom=False)


def _add(layer: Layer, axes: Axes, order: int) -> None:
    match layer:
        case Lines():
            _lines(layer, axes, order)
        case Dots():
            _dots(layer, axes, order)
        case Bands():
            for left, right, low, high in layer.boxes:
                size = (right - left, high - low)
                style: dict[str, Any] = {"color": layer.colour, "alpha": layer.opacity}
                axes.add_patch(Rectangle((left, low), *size, linewidth=0, **style))
        case Bars():
            bars = axes.barh(list(map(_text, layer.names)), layer.values, 0.65, color=layer.colour)
            texts = [f"{value:.2f}" for value in layer.values]
            axes.bar_label(bars, texts, padding=3, fontsize=9, color=INK)
        case Field():
            _field(layer, axes)
        case Notes():
            paper = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6}
            for x, y, text in zip(layer.x, layer.y, layer.texts, strict=True):
                axes.annotate(_text(text), (x, y), (-4, 0), textcoords="offset points", ha="right", va="center",
                              fontsize=8, color=FAINT, bbox=paper, zorder=order + 2)  # fmt: skip


def _lines(layer: Lines, axes: Axes, order: int) -> None:
    axes.plot(
        layer.x,
        layer.y,
        label=_text(layer.name) or None,
        color=layer.colour,
        alpha=layer.opacity,
        linewidth=_POINTS * layer.width,
        linestyle="--" if layer.dashed else "-",
        drawstyle="steps-post" if layer.steps else "default",
        marker="." if len(layer.x) == 1 else "",
        zorder=order + 2,
    )


def _dots(layer: Dots, axes: Axes, order: int) -> None:
    axes.scatter(
        layer.x,
        layer.y,
        (_POINTS * layer.size) ** 2,
        layer.colours,
        marker="*" if layer.star else "o",
        label=_text(layer.name) or None,
        alpha=layer.opacity,
        edgecolors=layer.outline,
        linewidths=0.5,
        zorder=order + 2,
        clip_on=False,
    )


def _field(layer: Field, axes: Axes) -> None:
    colours = _COLOURS.reversed() if layer.less_is_better else _COLOURS
    field = axes.contourf(layer.x, layer.y, layer.z, levels=15, cmap=colours)
    axes.contour(field, colors="white", linewidths=0.4)
    assert axes.figure is not None
    bar = axes.figure.colorbar(field, ax=axes, aspect=28, format=lambda z, _: number_text(z))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, colors=FAINT)


def _legend(axes: Axes, *, beside: bool) -> None:
    """Above the figure, where no dot can lie under it, or `beside` it, one line each."""
    style: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.01), "ncols": 3}
    if beside:
        style = {"loc": "upper left", "bbox_to_anchor": (1.02, 1), "ncols": 1}
    axes.legend(fontsize=9, borderaxespad=0, frameon=False, **style)
