"""The report's figures as PNG, in matplotlib: Optuna's own wherever it has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna.visualization.matplotlib as optuna_plots
from matplotlib import pyplot
from matplotlib.collections import PathCollection
from matplotlib.contour import QuadContourSet
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from dlrun.sweep.report.look import FAINT, LINE, MANY_DOTS, PLAIN, UNFINISHED, WINNER, blue
from dlrun.sweep.report.pyplot_style import (
    COLOURS,
    drawing,
    log_scale,
    objective_axis,
    parameter_axis,
    plain,
    star,
    text,
)
from dlrun.sweep.report.sections import Contents, Section
from dlrun.sweep.report.studies import readable, readable_choices, shortened
from dlrun.sweep.snapshot import label

_DOTS_PER_INCH = 150
_LONGEST_NAME = 100


def write_pictures(sections: Sequence[Section], contents: Contents, folder: Path) -> list[Path]:
    """Write one PNG a figure, and remove those of an earlier report that this one does not have."""
    folder.mkdir(exist_ok=True)
    written = []
    with drawing():
        for section in sections:
            for panel in section.panels:
                axes = _PAINTERS[section.kind](contents, panel)
                file = folder / _file_name(section.kind, panel)
                axes.figure.savefig(file, dpi=_DOTS_PER_INCH, bbox_inches="tight")
                pyplot.close(axes.figure)
                written.append(file)
    kinds = tuple(_PAINTERS)
    for file in folder.glob("*.png"):
        if file not in written and file.name.startswith(kinds):
            file.unlink()
    return written


def _file_name(kind: str, panel: Sequence[str]) -> str:
    parts = [kind, *panel] if kind in ("slice", "contour", "rounds") else [kind]
    safe = [re.sub(r"[^\w.-]+", "_", part) for part in parts]
    return "-".join(safe)[:_LONGEST_NAME] + ".png"


def _history(contents: Contents, _: Sequence[str]) -> Any:
    snapshot, winner = contents.snapshot, contents.snapshot.ranked[0]
    study = contents.studies(text).completed
    axes: Any = optuna_plots.plot_optimization_history(study, target_name=text(snapshot.objective))
    axes.collections[0].set(
        color=PLAIN, alpha=0.75, sizes=_sizes(contents), label="completed trial"
    )
    axes.lines[0].set(
        color=LINE, alpha=1, linewidth=1.6, drawstyle="steps-post", label="best so far"
    )
    star(axes, winner.number, snapshot.shown(winner), winner)
    _wide(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    objective_axis(axes, snapshot)
    _legend(axes)
    return axes


def _curves(contents: Contents, _: Sequence[str]) -> Any:
    axes: Any = pyplot.subplots()[1]
    curves, winner = contents.curves, contents.snapshot.winner
    for layer in curves.layers(winner.number if winner else None):
        style = {"color": layer.colour, "alpha": layer.opacity, "linewidth": 0.85 * layer.width}
        style |= {"linestyle": "--"} if layer.dashed else {}
        for curve in layer.curves:
            named = text(layer.name) if curve is layer.curves[0] else None
            marker = "." if len(curve.x) == 1 else ""
            axes.plot(curve.x, curve.y, label=named, marker=marker, **style)
    _wide(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel=curves.axis, ylabel=text(curves.metric))
    low, high = curves.limits
    if curves.log_axis:
        log_scale(axes, "y", curves.limits)
        axes.set_ylim(low / 1.1, high * 1.1)
    elif low < high:
        axes.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
    _legend(axes, beside=curves.are_named)
    return axes


def _parallel(contents: Contents, names: Sequence[str]) -> Any:
    snapshot = contents.snapshot
    study = contents.studies(text).lines
    axes: Any = optuna_plots.plot_parallel_coordinate(study, target_name=text(snapshot.objective))
    (lines,) = axes.collections
    lines.colorbar.remove()
    values = [segment[0][1] for segment in lines.get_segments()]
    best, worst = (min(values), max(values)) if snapshot.minimize else (max(values), min(values))
    merits = [(value - worst) / (best - worst) if best != worst else 0.5 for value in values]
    order = sorted(range(len(values)), key=lambda index: merits[index])
    lines.set_array(None)
    lines.set_segments([lines.get_segments()[index] for index in order])
    lines.set(
        color=[*(blue(merits[index]) for index in order[:-1]), WINNER],
        linewidth=[*(1.2 for _ in order[:-1]), 2.6],
        alpha=0.85,
    )
    _wide(axes, height=4.2)
    labels = [snapshot.objective, *sorted(label(name) for name in names)]
    shown = [text(name).replace(".", ".\n") for name in labels]
    axes.set_xticks(range(len(labels)), shown, rotation=0)
    axes.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False)
    for each in axes.figure.axes:
        plain(each)
        if each.get_yscale() == "log":
            log_scale(each, "y", each.get_ylim())
        each.grid(False)
        for tick in each.get_yticklabels():
            tick.set_bbox({"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6})
        each.spines[["left", "bottom"]].set_visible(False)
        each.spines["left" if each is axes else "right"].set_visible(True)
    return axes


def _importance(contents: Contents, names: Sequence[str]) -> Any:
    studies = contents.studies(text)
    axes: Any = optuna_plots.plot_param_importances(studies.having_each, studies.known)
    for bar in axes.patches:
        bar.set(color=LINE)
    axes.get_legend().remove()
    _wide(axes, height=1 + 0.35 * len(names))
    axes.set(xlabel="share", ylabel="")
    axes.grid(False, axis="y")
    return axes


def _slice(contents: Contents, names: Sequence[str]) -> Any:
    snapshot, name, winner = contents.snapshot, names[0], contents.snapshot.ranked[0]
    params, study = [text(label(name))], contents.studies(text).completed
    axes: Any = optuna_plots.plot_slice(study, params, target_name=text(snapshot.objective))
    dots = axes.collections[0]
    dots.set(cmap=COLOURS, edgecolors="white", linewidths=0.5, sizes=_sizes(contents))
    dots.colorbar.remove()
    _compact(axes)
    parameter_axis(axes, "x", snapshot, name)
    objective_axis(axes, snapshot)
    at = {
        trial.number: readable(trial, name, text)
        for trial in snapshot.ranked
        if name in trial.params
    }
    if (choices := readable_choices(snapshot, name, text)) is not None:
        used = [choice for choice in choices if choice in at.values()]
        axes.set_xticks(range(len(used)), [str(choice) for choice in used])
        at = {number: used.index(choice) for number, choice in at.items()}
    if winner.number in at:
        star(axes, at[winner.number], snapshot.shown(winner), winner)
    return axes


def _contour(contents: Contents, names: Sequence[str]) -> Any:
    snapshot, winner = contents.snapshot, contents.snapshot.ranked[0]
    params, study = [text(label(name)) for name in names], contents.studies(text).completed
    axes: Any = optuna_plots.plot_contour(study, params, target_name=text(snapshot.objective))
    fields = [shape for shape in axes.collections if isinstance(shape, QuadContourSet)]
    dots = [shape for shape in axes.collections if isinstance(shape, PathCollection)]
    fields[0].set(edgecolor="white", linewidth=0.4)
    fields[1].set_cmap(COLOURS.reversed() if snapshot.minimize else COLOURS)
    dots[0].set(facecolor="white", edgecolor="#243b53", linewidth=0.8, sizes=_sizes(contents, 0.6))
    dots[1].remove()
    _compact(axes)
    colours: Any = fields[1].colorbar
    colours.outline.set_visible(False)
    colours.ax.tick_params(labelsize=8, colors=FAINT)
    axes.grid(False)
    at = []
    for which, name in zip("xy", sorted(names, key=lambda name: text(label(name))), strict=True):
        parameter_axis(axes, which, snapshot, name)
        values = [readable(trial, name, text) for trial in snapshot.ranked if name in trial.params]
        value = readable(winner, name, text) if name in winner.params else None
        at.append(sorted({*values}).index(value) if isinstance(value, str) else value)
    if None not in at:
        star(axes, at[0], at[1], winner)
    return axes


def _rounds(contents: Contents, names: Sequence[str]) -> Any:
    rounds, name, winner = contents.rounds, names[0], contents.snapshot.winner
    assert rounds is not None, "planned for a search from coarse to fine alone"
    axes: Any = pyplot.subplots()[1]
    boxes = rounds.boxes(name)
    for left, right, low, high in boxes:
        axes.add_patch(Rectangle((left, low), right - left, high - low, color=PLAIN, alpha=0.16))
    dots = rounds.dots(name)
    colours = [UNFINISHED if dot.merit is None else blue(dot.merit) for dot in dots]
    edge = {"edgecolors": "#243b53", "linewidths": 0.4, "s": 24, "zorder": 3}
    axes.scatter([dot.x for dot in dots], [dot.y for dot in dots], c=colours, **edge)
    for dot in dots:
        if winner is not None and dot.trial == winner.number:
            star(axes, dot.x, dot.y, winner)
    _compact(axes)
    axes.set(xlabel="round", ylabel=text(label(name)), xticks=range(1, len(rounds.ranges) + 1))
    axes.grid(False, axis="x")
    if (choices := rounds.choices(name)) is not None:
        shown = [text(str(shortened(choice, choices))) for choice in choices]
        axes.set_yticks(range(len(choices)), shown)
    elif rounds.is_log(name):
        log_scale(axes, "y", [edge for box in boxes for edge in box[2:]])
    return axes


def _sizes(contents: Contents, times: float = 1) -> list[float]:
    """Of dots, in square points; less where they would cover each other."""
    return [times * (24 if len(contents.snapshot.ranked) <= MANY_DOTS else 10)]


def _wide(axes: Any, height: float = 3.6) -> None:
    plain(axes)
    axes.figure.set_size_inches(8, height)


def _compact(axes: Any) -> None:
    plain(axes)
    axes.figure.set_size_inches(4.4, 3.2)


def _legend(axes: Any, *, beside: bool = False) -> None:
    """Above the figure, where no dot can lie under it, or `beside` it, one line each."""
    style: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.01), "ncols": 3}
    if beside:
        style = {"loc": "upper left", "bbox_to_anchor": (1.02, 1), "ncols": 1}
    style["frameon"] = False
    axes.legend(fontsize=9, borderaxespad=0, **style)


_PAINTERS: dict[str, Callable[[Contents, Sequence[str]], Any]] = {
    "history": _history,
    "curves": _curves,
    "parallel": _parallel,
    "importance": _importance,
    "slice": _slice,
    "contour": _contour,
    "rounds": _rounds,
}
