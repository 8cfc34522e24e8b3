"""How the report's PNG pictures look: Optuna's matplotlib figures brought to the style of the page."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial

from dlrun.sweep.report.look import BLUES, FAINT, GRID, INK, WINNER, log_ticks
from dlrun.sweep.snapshot import Snapshot, is_log, label
from dlrun.tracking.matplotlib_settings import library_settings
from dlrun.tracking.numbers import number_text

COLOURS = LinearSegmentedColormap.from_list("worst to best", BLUES)


@contextmanager
def drawing() -> Iterator[None]:
    """No window, no lasting change of matplotlib's settings, no warning that nobody could act on."""
    matplotlib.use("agg")
    many = matplotlib.rc_context({"figure.max_open_warning": 0})
    with library_settings(), many, warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # all of Optuna's matplotlib figures
        # A choice may be in a script that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def text(content: str) -> str:
    """`content` as matplotlib shows it, which reads mathematics between dollar signs."""
    return content.replace("$", r"\$")


def plain(axes: Axes) -> None:
    """White paper, light lines, no heading: Optuna's are in another style."""
    axes.set_title("")
    axes.set_title("", loc="left")
    axes.set_facecolor("white")
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=FAINT, labelsize=9)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=INK, fontsize=10)
    for name, spine in axes.spines.items():
        spine.set(visible=name in ("left", "bottom"), color="#cbd2d9")


def star(axes: Axes, x: Any, y: Any, winner: FrozenTrial) -> None:
    """The mark of the winner."""
    name = f"winner, trial {winner.number}"
    axes.scatter(
        [x], [y], label=name, marker="*", s=200, color=WINNER, edgecolors="white", zorder=5
    )


def log_scale(axes: Axes, which: str, values: Sequence[float]) -> None:
    """Make the `x` or `y` axis logarithmic, with round numbers for ticks."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(log_ticks(min(values), max(values))))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number_text(value)))
    axis.set_minor_locator(NullLocator())


def objective_axis(axes: Axes, snapshot: Snapshot) -> None:
    """The vertical axis of the objective."""
    axes.set_ylabel(text(snapshot.objective))
    if snapshot.log_axis:
        log_scale(axes, "y", [snapshot.shown(trial) for trial in snapshot.ranked])


def parameter_axis(axes: Axes, which: str, snapshot: Snapshot, name: str) -> None:
    """The axis of a parameter: its label and its scale."""
    axes.set(**{f"{which}label": text(label(name))})
    drawn = [trial for trial in snapshot.ranked if name in trial.params]
    if is_log(drawn[0].distributions[name]):
        log_scale(axes, which, [trial.params[name] for trial in drawn])
