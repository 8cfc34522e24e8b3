"""The seven figures of a report, each described once for the page and the pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from dlrun.sweep.report.chart import (
    LINE,
    OUTLINE,
    PLAIN,
    UNFINISHED,
    WINNER,
    Axis,
    Bands,
    Bars,
    Chart,
    Dots,
    Field,
    Lines,
    Notes,
    blue,
    linear_ticks,
    log_axis_ticks,
    log_ticks,
)
from dlrun.sweep.report.sections import MOST_LINES, Contents, Section
from dlrun.sweep.snapshot import Snapshot, is_log, label, value_of
from dlrun.tracking.numbers import number_text

_MANY_DOTS = 300  # from which on they are drawn smaller
_LONGEST_CHOICE = 20  # characters on an axis
_CELLS = 30  # of a contour along each parameter: fine enough for the eye
_MOST_WHOLE_TICKS = 8
_LEAST_GAP = 0.045  # between two ticks of a parallel axis, as a share of it
_ROOM_FOR_NONE = 0.1  # below a parallel axis, where some trials lack the parameter


def describe(section: Section, contents: Contents) -> list[Chart]:
    """The figures of the section, one a panel."""
    return [_DESCRIBED[section.kind](contents, panel) for panel in section.panels]


@dataclass(frozen=True)
class _Scale:
    """A parameter as an axis: numbers as they are, a choice at its place among the choices."""

    name: str
    trials: Sequence[FrozenTrial]  # that have it
    log: bool
    choices: Sequence[Any] | None

    def at(self, trial: FrozenTrial) -> float:
        value = trial.params[self.name]
        return float(value if self.choices is None else self.choices.index(value))

    def text(self, trial: FrozenTrial) -> str:
        value = trial.params[self.name]
        return number_text(value) if self.choices is None else str(value)

    @property
    def positions(self) -> list[float]:
        return list(map(self.at, self.trials))

    @property
    def choice_ticks(self) -> dict[float, str] | None:
        return None if self.choices is None else choice_ticks(self.choices)

    def axis(self) -> Axis:
        limits = None if self.choices is None else (-0.4, len(self.choices) - 0.6)
        return Axis(label(self.name), self.log, self._ticks, limits)

    def filled_axis(self, cells: Sequence[float]) -> Axis:
        """From the first to the last of the cells; dots at the outer choices are on them, and need some room."""
        room = 0.0 if self.choices is None else 0.12
        limits = (cells[0] - room, cells[-1] + room)
        return Axis(label(self.name), self.log, self._ticks, limits, grid=False)

    @property
    def _ticks(self) -> dict[float, str] | None:
        return log_axis_ticks(self.positions) if self.log else self.choice_ticks


def _scale(snapshot: Snapshot, name: str) -> _Scale:
    trials = [trial for trial in snapshot.ranked if name in trial.params]
    kind = trials[0].distributions[name]
    choices = kind.choices if isinstance(kind, CategoricalDistribution) else None
    return _Scale(name, trials, is_log(kind), choices)


def choice_ticks(choices: Sequence[Any]) -> dict[float, str]:
    """The choices at their places, long ones without their middle, unless that makes two alike."""
    texts = list(map(str, choices))
    short = list(map(_middle_out, texts))
    return {
        float(place): text if short.count(cut) > 1 else cut
        for place, (text, cut) in enumerate(zip(texts, short, strict=True))
    }


def _middle_out(text: str) -> str:
    if len(text) <= _LONGEST_CHOICE:
        return text
    return f"{text[: _LONGEST_CHOICE - 9]}…{text[-8:]}"


def _history(contents: Contents, _: Sequence[str]) -> Chart:
    snapshot, winner = contents.snapshot, contents.snapshot.ranked[0]
    trials = sorted(snapshot.ranked, key=lambda trial: trial.number)
    x, y = [trial.number for trial in trials], list(map(snapshot.shown, trials))
    better = np.minimum if snapshot.minimize else np.maximum
    best = better.accumulate(y).tolist()
    layers: list[Lines | Dots] = [
        Lines(x, best, LINE, 2, steps=True, name="best so far", hover="best up to trial"),
        Dots(
            x,
            y,
            PLAIN,
            list(map(_told, trials)),
            _dot_size(contents),
            opacity=0.75,
            name="completed trial",
        ),
        _star(winner.number, snapshot.shown(winner), winner),
    ]
    axis = Axis("trial", step=_whole_step(x))
    return Chart(layers, axis, _objective_axis(snapshot), 380, wide=True, legend="above")


def _curves(contents: Contents, _: Sequence[str]) -> Chart:
    curves, winner = contents.curves, contents.snapshot.winner
    low, high = curves.limits
    ticks = log_axis_ticks(curves.limits) if curves.log_axis else None
    if curves.log_axis:
        margin = (high / low) ** 0.04
        limits = (low / margin, high * margin)
    else:
        limits = (low - 0.04 * (high - low), high + 0.04 * (high - low))
    return Chart(
        list(_curve_lines(contents, winner.number if winner else None)),
        Axis(curves.axis, step=_whole_step([x for curve in curves.shown for x in curve.x])),
        Axis(curves.metric, curves.log_axis, ticks, limits if low < high else None),
        420,
        wide=True,
        legend="beside" if curves.are_named else "above",
    )


def _curve_lines(contents: Contents, winner: int | None) -> Iterator[Lines]:
    for look in contents.curves.looks(winner):
        for curve in look.curves:
            yield Lines(
                curve.x,
                curve.y,
                look.colour,
                look.width,
                look.opacity,
                look.dashed,
                name=look.name if curve is look.curves[0] else "",
                hover=f"trial {curve.trial}: {curve.name}\n{contents.curves.axis}",
            )


def _parallel(contents: Contents, names: Sequence[str]) -> Chart:
    snapshot, winner = contents.snapshot, contents.snapshot.ranked[0]
    trials = snapshot.ranked[:MOST_LINES]
    columns = [_objective_column(snapshot, trials)]
    columns += [_parameter_column(snapshot, name, trials) for name in sorted(names, key=label)]
    titles = [snapshot.objective, *sorted(label(name) for name in names)]
    layers: list[Lines | Notes] = [
        Lines([i, i], [0, 1], UNFINISHED, 1) for i in range(len(columns))
    ]
    first = columns[0][0]
    for trial, *places in reversed(list(zip(trials, *(p for p, _ in columns), strict=True))):
        merit = 1 - places[0] if snapshot.minimize else places[0]
        merit = 0.5 if max(first) == min(first) else merit
        colour, width = (WINNER, 3) if trial is winner else (blue(merit), 1.4)
        told = f"{_told(trial)}\n{' '.join(snapshot.words(trial))}"
        layers.append(
            Lines(range(len(places)), places, colour, width, 1 if trial is winner else 0.75, hover=[told] * len(places))
        )  # fmt: skip
    layers += [
        Notes([i] * len(ticks), list(ticks), list(ticks.values()))
        for i, (_, ticks) in enumerate(columns)
    ]
    shown = {float(i): title.replace(".", ".\n") for i, title in enumerate(titles)}
    limits = (-0.45, len(titles) - 0.65)
    x = Axis(ticks=shown, limits=limits, grid=False, line=False, at_top=True)
    y = Axis(ticks={}, limits=(-0.05, 1.05), grid=False, line=False)
    return Chart(layers, x, y, 430, wide=True)


_Column = tuple[list[float], dict[float, str]]  # of a parallel axis: places of the trials, ticks


def _objective_column(snapshot: Snapshot, trials: Sequence[FrozenTrial]) -> _Column:
    values = list(map(snapshot.shown, trials))
    return _between_ends(values, log=snapshot.log_axis)


def _parameter_column(snapshot: Snapshot, name: str, trials: Sequence[FrozenTrial]) -> _Column:
    """From 0 to 1; trials that lack the parameter at the foot, below all others."""
    scale = _scale(snapshot, name)
    having = [trial for trial in trials if name in trial.params]
    places, ticks = _between_ends([scale.at(t) for t in having], scale.log, scale.choice_ticks)
    if len(having) == len(trials):
        return places, ticks
    found = dict(zip((trial.number for trial in having), places, strict=True))

    def raised(place: float) -> float:
        return _ROOM_FOR_NONE + (1 - _ROOM_FOR_NONE) * place

    all_places = [raised(found[t.number]) if t.number in found else 0.0 for t in trials]
    return all_places, {0.0: "none"} | {raised(place): text for place, text in ticks.items()}


def _between_ends(
    values: Sequence[float], log: bool = False, named: dict[float, str] | None = None
) -> _Column:
    """The values from 0, the least, to 1, the greatest, and ticks that do not touch each other."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    on_scale: Callable[[float], float] = math.log if log else float

    def place(value: float) -> float:
        if low == high:
            return 0.5
        return (on_scale(value) - on_scale(low)) / (on_scale(high) - on_scale(low))

    if named is not None:
        ticks = {place(at): text for at, text in named.items() if low <= at <= high}
        return list(map(place, values)), ticks
    between = [] if low == high else (log_ticks if log else linear_ticks)(low, high)
    kept = {place(end): number_text(end, digits=3) for end in (low, high)}
    for tick in between:
        if all(abs(place(tick) - other) > _LEAST_GAP for other in kept):
            kept[place(tick)] = number_text(tick, digits=3)
    return list(map(place, values)), kept


def _importance(contents: Contents, names: Sequence[str]) -> Chart:
    shares = [contents.importance.shares[name] for name in names]
    bars = Bars(list(map(label, names)), shares)
    x = Axis("share", limits=(0, 1.15 * max(shares)))
    return Chart([bars], x, Axis(grid=False), 100 + 34 * len(names), wide=True)


def _slice(contents: Contents, names: Sequence[str]) -> Chart:
    snapshot, winner = contents.snapshot, contents.snapshot.ranked[0]
    scale = _scale(snapshot, names[0])
    trials = sorted(scale.trials, key=lambda trial: trial.number)
    last = max(1, trials[-1].number)
    dots = Dots(
        [scale.at(trial) for trial in trials],
        list(map(snapshot.shown, trials)),
        [blue(trial.number / last) for trial in trials],
        [f"{_told(trial)}\n{label(scale.name)} {scale.text(trial)}" for trial in trials],
        _dot_size(contents),
        opacity=0.85,
    )
    layers = [dots]
    if scale.name in winner.params:
        layers.append(_star(scale.at(winner), snapshot.shown(winner), winner))
    return Chart(layers, scale.axis(), _objective_axis(snapshot), 300)


def _contour(contents: Contents, names: Sequence[str]) -> Chart:
    snapshot, winner = contents.snapshot, contents.snapshot.ranked[0]
    x, y = (_scale(snapshot, name) for name in sorted(names, key=label))
    both = [trial for trial in snapshot.ranked if {x.name, y.name} <= set(trial.params)]
    dots = Dots(
        [x.at(trial) for trial in both],
        [y.at(trial) for trial in both],
        "white",
        list(map(_told, both)),
        _dot_size(contents) - 2,
        outline=OUTLINE,
    )
    field = _field(snapshot, x, y, both)
    layers: list[Field | Dots] = [field, dots]
    if winner in both:
        layers.append(_star(x.at(winner), y.at(winner), winner))
    return Chart(layers, x.filled_axis(field.x), y.filled_axis(field.y), 340)


def _field(snapshot: Snapshot, x: _Scale, y: _Scale, trials: Sequence[FrozenTrial]) -> Field:
    """The objective on a grid over both parameters: the mean of a cell's trials, smooth between them."""
    columns, at_x = _cells(x, trials)
    rows, at_y = _cells(y, trials)
    total, count = np.zeros((len(rows), len(columns))), np.zeros((len(rows), len(columns)))
    values = list(map(snapshot.shown, trials))
    np.add.at(total, (at_y, at_x), values)
    np.add.at(count, (at_y, at_x), 1)
    with np.errstate(invalid="ignore"):
        known = total / count
    return Field(columns, rows, _filled(known).tolist(), snapshot.minimize)


def _cells(scale: _Scale, trials: Sequence[FrozenTrial]) -> tuple[list[float], list[int]]:
    """The middles of the cells along a parameter, and the cell of each trial."""
    values = [scale.at(trial) for trial in trials]
    if scale.choices is not None:
        used = sorted(set(values))
        return used, [used.index(value) for value in values]
    placed = np.log(values) if scale.log else np.asarray(values)
    step = (placed.max() - placed.min()) / _CELLS
    middles = placed.min() + step * np.arange(-1, _CELLS + 2)  # one more on each side
    cells = np.rint((placed - middles[0]) / step).astype(int)
    return (np.exp(middles) if scale.log else middles).tolist(), cells.tolist()


def _filled(known: np.ndarray) -> np.ndarray:
    """The grid with each unknown cell where it bends the surface least, within the range of what is known."""
    index = np.arange(known.size).reshape(known.shape)
    bending = np.zeros((known.size, known.size))
    for one, other in ((index[1:], index[:-1]), (index[:, 1:], index[:, :-1])):
        bending[one.ravel(), other.ravel()] = bending[other.ravel(), one.ravel()] = -1
    bending -= np.diag(bending.sum(axis=1))
    bending = bending @ bending
    flat = known.ravel().copy()
    missing = np.isnan(flat)
    if missing.any():
        pull = -bending[np.ix_(missing, ~missing)] @ flat[~missing]
        found = np.linalg.solve(bending[np.ix_(missing, missing)], pull)
        flat[missing] = np.clip(found, np.nanmin(known), np.nanmax(known))
    return flat.reshape(known.shape)


def _rounds(contents: Contents, names: Sequence[str]) -> Chart:
    rounds, name, winner = contents.rounds, names[0], contents.snapshot.winner
    assert rounds is not None, "planned for a search from coarse to fine alone"
    boxes, dots = rounds.boxes(name), rounds.dots(name)
    layers: list[Bands | Dots] = [
        Bands(boxes),
        Dots(
            [dot.x for dot in dots],
            [dot.y for dot in dots],
            [UNFINISHED if dot.merit is None else blue(dot.merit) for dot in dots],
            [f"trial {dot.trial}" for dot in dots],
            outline=OUTLINE,
        ),
    ]
    layers += [_star(d.x, d.y, winner) for d in dots if winner and d.trial == winner.number]
    choices, log = rounds.choices(name), rounds.is_log(name)
    ticks = choice_ticks(choices) if choices is not None else None
    if log:
        ticks = log_axis_ticks([edge for box in boxes for edge in box[2:]])
    x = Axis("round", step=_whole_step([1, len(rounds.ranges)]), grid=False)
    return Chart(layers, x, Axis(label(name), log, ticks), 300)


def _whole_step(counted: Sequence[float]) -> float | None:
    """1 where the axis is so short that ticks would fall between whole numbers."""
    return 1 if max(counted) - min(counted) <= _MOST_WHOLE_TICKS else None


def _objective_axis(snapshot: Snapshot) -> Axis:
    shown = list(map(snapshot.shown, snapshot.ranked))
    ticks = log_axis_ticks(shown) if snapshot.log_axis else None
    return Axis(snapshot.objective, snapshot.log_axis, ticks)


def _star(x: float, y: float, winner: FrozenTrial) -> Dots:
    """The mark of the winner."""
    name = f"winner, trial {winner.number}"
    return Dots([x], [y], WINNER, [name], 16, star=True, name=name)


def _told(trial: FrozenTrial) -> str:
    return f"trial {trial.number}: {number_text(value_of(trial))}"


def _dot_size(contents: Contents) -> int:
    """Pixels; less where dots would cover each other."""
    return 7 if len(contents.snapshot.ranked) <= _MANY_DOTS else 5


_DESCRIBED: dict[str, Callable[[Contents, Sequence[str]], Chart]] = {
    "history": _history,
    "curves": _curves,
    "parallel": _parallel,
    "importance": _importance,
    "slice": _slice,
    "contour": _contour,
    "rounds": _rounds,
}
