"""Charts as the data that plotly.js draws on the page: interactive, in the page's look."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from typing import Any

from dlrun.sweep.report.chart import (
    BLUES,
    EDGE,
    FAINT,
    GRID,
    INK,
    WINNER_ON,
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

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_SCALE = [[index / (len(BLUES) - 1), colour] for index, colour in enumerate(BLUES)]
_CLEAR = "rgba(0,0,0,0)"


def plotly_figure(chart: Chart) -> dict[str, Any]:
    """`data` and `layout` of the chart."""
    layout: dict[str, Any] = {
        "font": {"family": _FONT, "size": 13, "color": INK},
        "paper_bgcolor": _CLEAR,
        "plot_bgcolor": _CLEAR,
        "margin": {"l": 16, "r": 16, "t": 16, "b": 16},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "showlegend": bool(chart.legend),
        "hovermode": "closest",
        "hoverlabel": {"font": {"family": _FONT, "size": 13}, "align": "left"},
        "height": chart.height,
        "bargap": 0.35,
        "xaxis": _axis(chart.x),
        "yaxis": _axis(chart.y),
        "annotations": [
            note for layer in chart.layers if isinstance(layer, Notes) for note in _notes(layer)
        ],
    }
    if any(isinstance(layer, Bars) for layer in chart.layers):
        layout["yaxis"] |= {"autorange": "reversed", "ticksuffix": "  "}
    traces = [_trace(layer) for layer in chart.layers if not isinstance(layer, Notes)]
    return {"data": traces, "layout": layout}


def _text(content: str) -> str:
    """`content` as plotly shows it, which reads a little HTML, and mathematics between dollar signs."""
    return html.escape(content, quote=False).replace("$", "&#36;").replace("\n", "<br>")


def _axis(axis: Axis) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gridcolor": GRID,
        "linecolor": EDGE,
        "showline": axis.line,
        "showgrid": axis.grid,
        "zeroline": False,
        "automargin": True,
        "exponentformat": "power",
        "title": {"text": _text(axis.title), "font": {"size": 13, "color": INK}, "standoff": 10},
        "tickfont": {"size": 12, "color": FAINT},
    }
    if axis.log:
        found["type"] = "log"
    if axis.limits:
        found["range"] = [math.log10(end) if axis.log else end for end in axis.limits]
    if axis.ticks is not None:
        found |= {"tickvals": list(axis.ticks), "ticktext": list(map(_text, axis.ticks.values()))}
    if axis.step:
        found |= {"tick0": 0, "dtick": axis.step}
    if axis.at_top:
        found |= {"side": "top", "fixedrange": True}
    return found


def _trace(layer: Layer) -> dict[str, Any]:
    match layer:
        case Lines():
            return _lines(layer)
        case Dots():
            return _dots(layer)
        case Bands():
            return _bands(layer)
        case Bars():
            return _bars(layer)
        case Field():
            return _field(layer)
    raise AssertionError(layer)


def _points(layer: Lines | Dots, mode: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": mode,
        "x": list(layer.x),
        "y": [None if math.isnan(y) else y for y in layer.y],
        "opacity": layer.opacity,
        "name": _text(layer.name),
        "showlegend": bool(layer.name),
        "legendgroup": _text(layer.name),
    }


def _lines(layer: Lines) -> dict[str, Any]:
    found = _points(layer, "lines" if len(layer.x) > 1 else "markers")
    found["line"] = {
        "color": layer.colour,
        "width": layer.width,
        "dash": "dash" if layer.dashed else "solid",
        "shape": "hv" if layer.steps else "linear",
    }
    if found["mode"] == "markers":
        found["marker"] = {"color": layer.colour}
    return found | _hover(layer.hover, then=" %{x}: %{y:.4g}")


def _hover(hover: str | Sequence[str], then: str = "") -> dict[str, Any]:
    """One text for all points, with what follows it; a text each; or nothing."""
    if not hover:
        return {"hoverinfo": "skip"}
    if isinstance(hover, str):
        # A text of one's own must not be read as plotly's template.
        return {"hovertemplate": f"{_text(hover).replace('%{', '%&#123;')}{then}<extra></extra>"}
    shown = list(map(_text, hover))
    one = shown[0] if len(set(shown)) == 1 else shown
    return {"text": one, "hovertemplate": "%{text}<extra></extra>"}


def _dots(layer: Dots) -> dict[str, Any]:
    colours = layer.colours
    marker = {
        "size": layer.size,
        "color": colours if isinstance(colours, str) else list(colours),
        "symbol": "star" if layer.star else "circle",
        "line": {"width": 1 if layer.star else 0.6, "color": WINNER_ON if layer.star else layer.outline},
    }  # fmt: skip
    return _points(layer, "markers") | {"marker": marker, "cliponaxis": False} | _hover(layer.hover)


def _bands(layer: Bands) -> dict[str, Any]:
    x: list[float | None] = []
    y: list[float | None] = []
    for left, right, low, high in layer.boxes:
        x += [left, right, right, left, left, None]
        y += [low, low, high, high, low, None]
    red, green, blue = (int(layer.colour[at : at + 2], 16) for at in (1, 3, 5))
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": y,
        "fill": "toself",
        "fillcolor": f"rgba({red},{green},{blue},{layer.opacity})",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _bars(layer: Bars) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "x": list(layer.values),
        "y": list(map(_text, layer.names)),
        "marker": {"color": layer.colour},
        "texttemplate": "%{x:.2f}",
        "textposition": "outside",
        "hovertemplate": "%{y}: %{x:.2f}<extra></extra>",
    }


def _field(layer: Field) -> dict[str, Any]:
    return {
        "type": "contour",
        "x": list(layer.x),
        "y": list(layer.y),
        "z": [list(row) for row in layer.z],
        "colorscale": _SCALE,
        "reversescale": layer.less_is_better,
        "line": {"width": 0.5, "color": "white"},
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickfont": {"size": 11, "color": FAINT}},
        "hoverinfo": "skip",
    }


def _notes(layer: Notes) -> Iterator[dict[str, Any]]:
    for x, y, text in zip(layer.x, layer.y, layer.texts, strict=True):
        yield {
            "x": x,
            "y": y,
            "text": _text(text),
            "showarrow": False,
            "xanchor": "right",
            "xshift": -4,
            "font": {"size": 11, "color": FAINT},
            "bgcolor": "rgba(255,255,255,0.75)",
        }
