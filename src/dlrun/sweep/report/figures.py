"""The report's figures for the page, in plotly: Optuna's own wherever it has them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import optuna.visualization as optuna_plots
import plotly.graph_objects as go

from dlrun.sweep.report.look import BLUES, FAINT, LINE, MANY_DOTS, PLAIN, UNFINISHED, WINNER, blue
from dlrun.sweep.report.plotly_style import (
    log_axis,
    objective_axis,
    parameter_axis,
    star,
    styled,
    text,
)
from dlrun.sweep.report.sections import Contents, Section
from dlrun.sweep.report.studies import readable, readable_choices, shortened
from dlrun.sweep.snapshot import label, value_of
from dlrun.tracking.numbers import number_text

_SCALE = [[index / (len(BLUES) - 1), colour] for index, colour in enumerate(BLUES)]


def draw(section: Section, contents: Contents) -> list[go.Figure]:
    """The figures of the section, one a panel."""
    return [styled(_PAINTERS[section.kind](contents, panel)) for panel in section.panels]


def _history(contents: Contents, _: Sequence[str]) -> go.Figure:
    snapshot, winner = contents.snapshot, contents.snapshot.ranked[0]
    objective, study = text(snapshot.objective), contents.studies(text).completed
    figure = optuna_plots.plot_optimization_history(study, target_name=objective)
    dots, best = figure.data[:2]
    dots.update(
        name="completed trial",
        marker={"color": PLAIN, "size": _dot_size(contents), "opacity": 0.75},
    )
    dots.hovertemplate = "trial %{x}<br>%{y:.4g}<extra></extra>"
    best.update(name="best so far", line={"color": LINE, "width": 2, "shape": "hv"})
    best.hovertemplate = "best up to trial %{x}<br>%{y:.4g}<extra></extra>"
    mark = star(winner.number, snapshot.shown(winner), winner).update(showlegend=True)
    figure.data = (best, dots)
    figure.add_trace(mark)
    figure.update_layout(height=380, showlegend=True)
    figure.update_xaxes(title="trial")
    objective_axis(figure, snapshot, dots.y)
    return figure


def _curves(contents: Contents, _: Sequence[str]) -> go.Figure:
    figure, winner = go.Figure(), contents.snapshot.winner
    for layer in contents.curves.layers(winner.number if winner else None):
        name = text(layer.name)
        for curve in layer.curves:
            figure.add_scatter(
                x=curve.x,
                y=[None if math.isnan(value) else value for value in curve.y],
                mode="lines" if len(curve.x) > 1 else "markers",
                line={
                    "color": layer.colour,
                    "width": layer.width,
                    "dash": "dash" if layer.dashed else "solid",
                },
                marker={"color": layer.colour},
                opacity=layer.opacity,
                name=name,
                legendgroup=f"{name} {layer.colour} {layer.dashed}",
                showlegend=curve is layer.curves[0],
                hovertemplate=f"trial {curve.trial}: {text(curve.name)}<br>%{{x}}: %{{y:.4g}}<extra></extra>",
            )
    figure.update_layout(height=420, showlegend=True, hovermode="closest")
    figure.update_xaxes(title=contents.curves.axis)
    figure.update_yaxes(title=text(contents.curves.metric))
    low, high = contents.curves.limits
    if contents.curves.log_axis:
        log_axis(figure, "yaxis", (low, high))
        low, high = math.log10(low), math.log10(high)
    figure.update_yaxes(range=(low - 0.04 * (high - low), high + 0.04 * (high - low)))
    return figure


def _parallel(contents: Contents, names: Sequence[str]) -> go.Figure:
    snapshot = contents.snapshot
    study = contents.studies(text).lines
    figure = optuna_plots.plot_parallel_coordinate(study, target_name=text(snapshot.objective))
    merits = [
        (1 - trace.y[0] if snapshot.minimize else trace.y[0], trace)
        for trace in figure.data
        if trace.mode == "lines"
    ]
    merits.sort(key=lambda pair: pair[0])
    for merit, line in merits:
        line.update(line={"color": blue(merit), "width": 1.4}, opacity=0.75)
    merits[-1][1].update(line={"color": WINNER, "width": 3}, opacity=1)
    figure.data = [line for _, line in merits]
    labels = [snapshot.objective, *sorted(label(name) for name in names)]
    figure.update_xaxes(
        ticktext=[text(label).replace(".", ".<br>") for label in labels],
        range=(-0.45, len(labels) - 0.65),
        side="top",
        showline=False,
        fixedrange=True,
    )
    figure.layout.annotations = _apart(figure.layout.annotations)
    figure.update_annotations(font={"size": 11, "color": FAINT}, bgcolor="rgba(255,255,255,0.75)")
    figure.update_yaxes(range=(-0.05, 1.05))
    figure.update_layout(height=430, plot_bgcolor=None, legend=None)
    return figure


def _apart(annotations: Sequence[Any]) -> list[Any]:
    """The numbers along the axes without those that would cover the one at an end."""
    kept: list[Any] = []
    for note in sorted(annotations, key=lambda note: (note.x, -abs(note.y - 0.5))):
        if all(note.x != other.x or abs(note.y - other.y) > 0.045 for other in kept):
            kept.append(note)
    return kept


def _importance(contents: Contents, names: Sequence[str]) -> go.Figure:
    studies = contents.studies(text)
    figure = optuna_plots.plot_param_importances(studies.having_each, studies.known)
    figure.update_traces(marker={"color": LINE}, hovertemplate="%{y}: %{x:.2f}<extra></extra>")
    figure.update_xaxes(title="share", range=(0, 1.15 * max(figure.data[0].x)))
    figure.update_yaxes(title=None, showgrid=False, ticksuffix="  ")
    figure.update_layout(height=100 + 34 * len(names), bargap=0.35)
    return figure


def _slice(contents: Contents, names: Sequence[str]) -> go.Figure:
    snapshot, name, winner = contents.snapshot, names[0], contents.snapshot.ranked[0]
    params, study = [text(label(name))], contents.studies(text).completed
    figure = optuna_plots.plot_slice(study, params, target_name=text(snapshot.objective))
    dots = figure.data[0]
    if (choices := readable_choices(snapshot, name, text)) is not None:
        # Optuna labels them as Python would write them.
        plain = {repr(choice): str(choice) for choice in choices}
        dots.x = [plain[x] for x in dots.x]
        figure.update_xaxes(categoryarray=list(plain.values()), range=(-0.4, len(choices) - 0.6))
    dots.marker.update(size=_dot_size(contents), colorscale=_SCALE, showscale=False, opacity=0.85)
    dots.marker.line.update(width=0.5, color="white")
    at = "%{x}" if choices else "%{x:.4g}"
    dots.hovertemplate = f"trial %{{marker.color}}<br>{at}<br>%{{y:.4g}}<extra></extra>"
    if name in winner.params:
        x = readable(winner, name, text)
        x = x if choices is None else str(x)
        figure.add_trace(star(x, snapshot.shown(winner), winner))
    figure.update_layout(height=300)
    parameter_axis(figure, "xaxis", snapshot, name)
    objective_axis(figure, snapshot, dots.y)
    return figure


def _contour(contents: Contents, names: Sequence[str]) -> go.Figure:
    snapshot, winner = contents.snapshot, contents.snapshot.ranked[0]
    cells, params = contents.studies(text).cells, [text(label(name)) for name in names]
    figure = optuna_plots.plot_contour(cells, params, target_name=text(snapshot.objective))
    x_name, y_name = sorted(names, key=lambda name: text(label(name)))
    both = [trial for trial in snapshot.ranked if {x_name, y_name} <= set(trial.params)]
    field, dots = figure.data[:2]
    field.update(colorscale=_SCALE, line={"width": 0.5, "color": "white"}, hoverinfo="skip")
    field.colorbar.update(thickness=10, outlinewidth=0, title=None, tickfont={"size": 11})
    dots.update(
        x=[readable(trial, x_name, text) for trial in both],
        y=[readable(trial, y_name, text) for trial in both],
        marker={
            "size": _dot_size(contents) - 2,
            "color": "white",
            "line": {"width": 1, "color": "#243b53"},
        },
        text=[f"trial {trial.number}: {number_text(value_of(trial))}" for trial in both],
        hovertemplate="%{text}<extra></extra>",
        cliponaxis=False,
    )
    figure.data = (field, dots)
    if winner in both:
        x, y = (readable(winner, name, text) for name in (x_name, y_name))
        figure.add_trace(star(x, y, winner))
    figure.update_layout(height=340)
    figure.update_xaxes(showgrid=False, showline=False)
    figure.update_yaxes(showgrid=False, showline=False)
    parameter_axis(figure, "xaxis", snapshot, x_name)
    parameter_axis(figure, "yaxis", snapshot, y_name)
    return figure


def _rounds(contents: Contents, names: Sequence[str]) -> go.Figure:
    rounds, name = contents.rounds, names[0]
    assert rounds is not None, "planned for a search from coarse to fine alone"
    figure = go.Figure()
    edges_x, edges_y = [], []
    for left, right, low, high in rounds.boxes(name):
        edges_x += [left, right, right, left, left, None]
        edges_y += [low, low, high, high, low, None]
    figure.add_scatter(
        x=edges_x,
        y=edges_y,
        mode="lines",
        fill="toself",
        fillcolor="rgba(74,127,181,0.16)",
        line={"width": 0},
        hoverinfo="skip",
    )
    dots, winner = rounds.dots(name), contents.snapshot.winner
    figure.add_scatter(
        x=[dot.x for dot in dots],
        y=[dot.y for dot in dots],
        mode="markers",
        marker={
            "size": 7,
            "color": [UNFINISHED if dot.merit is None else blue(dot.merit) for dot in dots],
            "line": {"width": 0.5, "color": "#243b53"},
        },
        text=[f"trial {dot.trial}" for dot in dots],
        hovertemplate="%{text}<extra></extra>",
    )
    for dot in dots:
        if winner is not None and dot.trial == winner.number:
            figure.add_trace(star(dot.x, dot.y, winner))
    figure.update_layout(height=300, showlegend=False)
    count = len(rounds.ranges)
    figure.update_xaxes(title="round", tickvals=list(range(1, count + 1)), showgrid=False)
    figure.update_yaxes(title=text(label(name)))
    choices = rounds.choices(name)
    if choices is not None:
        shown = [text(str(shortened(choice, choices))) for choice in choices]
        figure.update_yaxes(tickvals=list(range(len(choices))), ticktext=shown)
    elif rounds.is_log(name):
        log_axis(figure, "yaxis", [edge for box in rounds.boxes(name) for edge in box[2:]])
    return figure


def _dot_size(contents: Contents) -> int:
    """Pixels; less where dots would cover each other."""
    return 7 if len(contents.snapshot.ranked) <= MANY_DOTS else 5


_PAINTERS: dict[str, Callable[[Contents, Sequence[str]], go.Figure]] = {
    "history": _history,
    "curves": _curves,
    "parallel": _parallel,
    "importance": _importance,
    "slice": _slice,
    "contour": _contour,
    "rounds": _rounds,
}
