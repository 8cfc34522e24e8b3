"""How the page's figures look: font, colours, axes, and the star that marks the winner everywhere."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from dlrun.sweep.report.look import FAINT, GRID, INK, WINNER, log_ticks
from dlrun.sweep.snapshot import Snapshot, is_log, label
from dlrun.tracking.numbers import number_text

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_AXIS = {
    "gridcolor": GRID,
    "linecolor": "#cbd2d9",
    "showline": True,
    "zeroline": False,
    "automargin": True,
    "exponentformat": "power",
    "title": {"font": {"size": 13, "color": INK}, "standoff": 10},
    "tickfont": {"size": 12, "color": FAINT},
}
_LAYOUT = {
    "font": {"family": _FONT, "size": 13, "color": INK},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "margin": {"l": 16, "r": 16, "t": 16, "b": 16},
    "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    "hoverlabel": {"font": {"family": _FONT, "size": 13}, "align": "left"},
    "xaxis": _AXIS,
    "yaxis": _AXIS,
}
_TEMPLATE = go.layout.Template(layout=_LAYOUT)


def styled(figure: go.Figure) -> go.Figure:
    """The figure in the page's look; its heading stands in the page."""
    return figure.update_layout(template=_TEMPLATE, title=None, autosize=True, width=None)


def text(content: str) -> str:
    """`content` as plotly shows it, which reads a little HTML, and mathematics between dollar signs."""
    return html.escape(content, quote=False).replace("$", "&#36;")


def star(x: Any, y: Any, winner: FrozenTrial) -> go.Scatter:
    """The mark of the winner."""
    return go.Scatter(
        x=[x],
        y=[y],
        mode="markers",
        name=f"winner, trial {winner.number}",
        showlegend=False,
        marker={
            "symbol": "star",
            "size": 16,
            "color": WINNER,
            "opacity": 1,
            "line": {"width": 1, "color": "white"},
        },
        hovertemplate=f"winner, trial {winner.number}<extra></extra>",
    )


def log_axis(figure: go.Figure, axis: str, values: Sequence[float]) -> None:
    """Make `xaxis` or `yaxis` logarithmic, with round numbers for ticks."""
    ticks = log_ticks(min(values), max(values))
    figure.update_layout(
        {
            axis: {
                "type": "log",
                "tickvals": ticks,
                "ticktext": [number_text(tick) for tick in ticks],
            }
        }
    )


def objective_axis(figure: go.Figure, snapshot: Snapshot, values: Sequence[float]) -> None:
    """The vertical axis of an objective that takes these values."""
    figure.update_yaxes(title=text(snapshot.objective))
    if snapshot.log_axis:
        log_axis(figure, "yaxis", values)


def parameter_axis(figure: go.Figure, axis: str, snapshot: Snapshot, name: str) -> None:
    """The axis of a parameter, numeric or of categories: its label and its scale."""
    figure.update_layout({axis: {"title": text(label(name))}})
    drawn = [trial for trial in snapshot.ranked if name in trial.params]
    if is_log(drawn[0].distributions[name]):
        log_axis(figure, axis, [trial.params[name] for trial in drawn])
