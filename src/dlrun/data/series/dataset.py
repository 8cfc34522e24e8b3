"""From series to training, validation and test windows: the past trains, what comes after it validates and tests.

No value to be forecast in one part is one of another part's. A window may look back at rows of an
earlier part, as it could in use. Of several series, each is cut and scaled by itself, and their windows
follow one another: none holds rows of two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from dlrun.config.settings import DataSettings
from dlrun.data.base import Dataset, Spec
from dlrun.data.baselines import forecast_errors
from dlrun.data.fingerprint import Parts, Rows
from dlrun.data.kind import Kind
from dlrun.data.loaders import Split
from dlrun.data.series.fitting import NothingToLearn, fit_each, fit_scaling
from dlrun.data.series.scaling import SeriesScaling
from dlrun.data.series.series import Layout, Series
from dlrun.data.series.windows import Cutting, Known, seasons_before
from dlrun.data.splits import is_folded
from dlrun.errors import ConfigError, listed, note

Bounds = tuple[int, int]  # the first row of a part, and the row after its last
Baselines = Mapping[str, Mapping[str, float]]

_SHOWN = 5  # names in a line


class _Member(NamedTuple):
    """One series, ready to be cut."""

    name: str
    scaling: SeriesScaling
    known: Known
    bounds: Mapping[str, Bounds]


def split_series(series: Series, settings: DataSettings) -> Parts:
    """The rows that each part is to forecast, one part after the other; of several series within each.

    Raises:
        ConfigError: a part too short for one window; of several series, in all of them.
    """
    if series.members:
        return _split_several(series, settings)
    bounds = _bounds(len(series), settings)
    if short := _shortage(bounds, series.cutting, settings):
        raise _too_short(series, len(series), short, settings)
    return {name: range(*ends) for name, ends in bounds.items()}


def prepare_series(
    series: Series, settings: DataSettings, parts: Parts, scaling: SeriesScaling | None
) -> Dataset:
    """Fit encoding, filling and scaling on the first part alone, where they are not yet, and cut all parts.

    Raises:
        ConfigError: nothing in the first part to fit by.
    """
    layout = scaling.layout if scaling else series.layout(_numbers(parts["train"]))
    cut = _cut(series, layout, parts)
    if scaling is None:
        training = {name: rows_RC[: bounds["train"][1]] for name, (rows_RC, bounds) in cut.items()}
        fitted = fit_each(series, layout, training, normalize=settings.normalize == "standard")
        scaling = SeriesScaling.joined(fitted) if series.members else fitted[""]
    members = _scaled(cut, scaling)
    by_row = scaling.scaled_by_row
    splits = {name: _joined(members, name, by_row=by_row) for name in parts}
    spec = Spec(
        task="regression",
        kind="sequence",
        input_shape=scaling.input_shape,
        num_outputs=len(scaling.target_mean),
        feature_names=scaling.feature_names,
        future=scaling.future,
    )
    baselines = _baselines(members, "test")
    return Dataset(
        spec, scaling, splits["train"], splits["val"], splits["test"], baselines=baselines
    )


def simple_forecasts(
    series: Series, parts: Parts, scaling: SeriesScaling
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What the windows of the test part are to forecast, and what each simple rule says of it, all (N, H, D)."""
    return _measured(_scaled(_cut(series, scaling.layout, parts), scaling), "test")


_Cut = dict[
    str, tuple[np.ndarray, dict[str, Bounds]]
]  # the rows (R, C) of each series, and of its parts


def _cut(series: Series, layout: Layout, parts: Parts) -> _Cut:
    """Each series that is not left out, by name."""
    values_RC = layout.encode(series.numbers, series.words)
    cut = {}
    for name, (first, end) in (series.bounds or {"": (0, len(series))}).items():
        bounds = {part: _within(rows, first, end) for part, rows in parts.items()}
        if bounds["train"][1] > bounds["train"][0]:  # otherwise it is left out
            cut[name] = values_RC[first:end], bounds
    return cut


def _scaled(cut: _Cut, scaling: SeriesScaling) -> list[_Member]:
    members = []
    for name, (rows_RC, bounds) in cut.items():
        own = scaling.of(name)
        members.append(_Member(name, own, own.known(rows_RC), bounds))
    return members


def forecasts_of(
    scaling: SeriesScaling, histories: Mapping[str, np.ndarray]
) -> tuple[Split, Baselines]:
    """Every whole window in the rows (R, C) of each series, and the baselines on them."""
    members = []
    for name, rows_RC in histories.items():
        own = scaling.of(name)
        members.append(_Member(name, own, own.known(rows_RC), {"test": (0, len(rows_RC))}))
    first = members[0].scaling.cutting.reach - 1
    if scaling.season is not None and scaling.season > first + 1:
        # The first windows have no season before them.
        members = [one._replace(scaling=replace(one.scaling, season=None)) for one in members]
    return _joined(members, "test", by_row=scaling.scaled_by_row), _baselines(members, "test")


def _numbers(rows: Rows) -> range | np.ndarray:
    assert rows is not None, "a series is cut where it stands"
    return rows


def _within(rows: Rows, first: int, end: int) -> Bounds:
    """Where the rows of a part begin and end in the series of the rows from `first` to `end`, counted from its own."""
    if isinstance(rows, range):
        return rows.start, rows.stop
    numbers = np.asarray(_numbers(rows))
    begin, stop = np.searchsorted(numbers, np.array([first, end], numbers.dtype))
    count = int(stop - begin)
    start = int(numbers[begin]) - first if count else 0
    return start, start + count


def _bounds(rows: int, settings: DataSettings) -> dict[str, Bounds]:
    """The rows that each part of a series is to forecast.

    Of folds, one block after the first is the test part, and all rows before it train and validate: an expanding
    window, so that nothing is learned from what comes later.
    """
    if is_folded(settings):
        assert settings.folds is not None, "asked for"
        validated, end = (
            (settings.fold + after) * rows // (settings.folds + 1) for after in (1, 2)
        )
        trained = validated - round(settings.val_fraction * validated)
        return {"train": (0, trained), "val": (trained, validated), "test": (validated, end)}
    if settings.test_fraction is None:
        raise ConfigError(
            "dataset.test_fraction is null, but a series has no test part of its own: set it, as in 0.2, or "
            "dataset.folds"
        )
    validated = rows - round(settings.test_fraction * rows)
    trained = validated - round(settings.val_fraction * validated)
    return {"train": (0, trained), "val": (trained, validated), "test": (validated, rows)}


def _shortage(
    bounds: Mapping[str, Bounds], cutting: Cutting, settings: DataSettings
) -> tuple[str, int, int] | None:
    """The first part that is too short for a window: its name, its rows, and how many it needs."""
    # Two forecasts to train on: one has no spread.
    needed = {"train": cutting.reach + cutting.horizon + 1, "test": cutting.horizon}
    if settings.val_fraction:
        needed["val"] = cutting.horizon
    for name, least in needed.items():
        first, end = bounds[name]
        if end - first < least:
            return name, end - first, least
    return None


def _too_short(
    series: Series, rows: int, short: tuple[str, int, int], settings: DataSettings
) -> ConfigError:
    cutting, (name, count, least) = series.cutting, short
    which = " of the longest series" if series.members else ""
    remedy = "change dataset.val_fraction and dataset.test_fraction"
    if settings.folds is not None:
        remedy = f"lower dataset.folds from {settings.folds} or change dataset.val_fraction"
    why = " with these differences" if cutting.reach > cutting.window else ""
    return ConfigError(
        f"{series.source}: dataset.window is {cutting.window} and dataset.horizon is {cutting.horizon}: "
        f"the {name} part has {count} of the {rows} rows{which}, but needs {least}{why}; "
        f"lower them, {remedy}, or give more rows"
    )


def _split_several(series: Series, settings: DataSettings) -> Parts:
    """The parts of each series that is long enough and has something to learn from; the others are named."""
    counts, starts = dict(series.members), series.bounds
    bounds = {name: _bounds(count, settings) for name, count in counts.items()}
    short = {
        name: lack for name in bounds if (lack := _shortage(bounds[name], series.cutting, settings))
    }
    if len(short) == len(bounds):
        longest = max(counts, key=counts.__getitem__)
        raise _too_short(series, counts[longest], short[longest], settings)
    _note_left_out(
        series,
        "too short for dataset.window, dataset.horizon and these fractions",
        [f"{name} ({counts[name]} rows)" for name in short],
    )
    taken = {name: ends for name, ends in bounds.items() if name not in short}
    constant = _without_content(series, taken)
    if len(constant) == len(taken):
        raise next(iter(constant.values()))
    _note_left_out(
        series, "a column has no value or a target is constant in training", list(constant)
    )
    taken = {name: ends for name, ends in taken.items() if name not in constant}
    early = [name for name, ends in taken.items() if ends["test"][0] < (series.season or 0)]
    if len(early) < len(taken):  # otherwise the baseline is refused
        _note_left_out(
            series, f"fewer than dataset.season={series.season} rows before the test part", early
        )
        taken = {name: ends for name, ends in taken.items() if name not in early}
    return {
        part: np.concatenate(
            [np.arange(*ends[part]) + starts[name][0] for name, ends in taken.items()]
        )
        for part in ("train", "val", "test")
    }


def _without_content(
    series: Series, bounds: Mapping[str, Mapping[str, Bounds]]
) -> dict[str, NothingToLearn]:
    """Why nothing can be learned from some of the series, by name."""
    starts = series.bounds
    training = {
        name: range(starts[name][0], starts[name][0] + ends["train"][1])
        for name, ends in bounds.items()
    }
    layout = series.layout(row for rows in training.values() for row in rows)
    values_RC = layout.encode(series.numbers, series.words)
    found = {}
    for name, rows in training.items():
        try:
            fit_scaling(series, layout, values_RC[rows.start : rows.stop], normalize=False)
        except NothingToLearn as error:
            found[name] = error
    return found


def _note_left_out(series: Series, why: str, names: Sequence[str]) -> None:
    if names:
        note(
            f"{series.source}: {len(names)} of {len(series.members)} series left out, {why}: "
            f"{listed(names, most=_SHOWN)}"
        )


def _joined(members: Sequence[_Member], part: str, *, by_row: bool) -> Split:
    """The windows of a part, series by series."""
    pieces = [_split(member.scaling, member.known, member.bounds[part]) for member in members]
    if not by_row:
        return pieces[0]
    stds, means, numbers = [], [], []
    for number, (member, piece) in enumerate(zip(members, pieces, strict=True)):
        stds.append(torch.tensor(member.scaling.target_std).expand(len(piece), -1))
        means.append(
            torch.tensor(member.scaling.target_mean, dtype=torch.float64).expand(len(piece), -1)
        )
        numbers.append(torch.full((len(piece),), number))
    targets = torch.cat([piece.targets for piece in pieces])
    bases = torch.cat([piece.bases for piece in pieces if piece.bases is not None])
    naive = [piece.naive for piece in pieces if piece.naive is not None]
    return Split(
        torch.cat([piece.inputs for piece in pieces]),
        torch.cat([targets, torch.cat(stds)], 1),
        bases=bases + torch.cat(means),
        series=torch.cat(numbers),
        naive=torch.cat(naive) if naive else None,
    )


def _split(scaling: SeriesScaling, known: Known, bounds: Bounds) -> Split:
    """The windows of a part of one series, from the row `bounds[0]` up to before `bounds[1]`."""
    origins = scaling.cutting.origins(*bounds)
    values = scaling.cutting.values_after(known, origins, bounds[1])
    values = values[:, :, scaling.layout.target_places].reshape(
        len(origins), len(scaling.target_mean)
    )
    bases = scaling.bases(known, origins)
    scaled = (values - bases - scaling.target_mean) / scaling.target_std
    targets = torch.from_numpy(scaled.astype(np.float32))
    return Split(
        scaling.windows(known, origins),
        targets,
        bases=torch.from_numpy(bases),
        naive=scaling.naive_errors(len(origins)),
    )


def _baselines(members: Sequence[_Member], part: str) -> Baselines:
    """The errors of simple rules on exactly the windows of a part, in the series' own units."""
    values, rules = _measured(members, part)
    return {name: forecast_errors(values, rule) for name, rule in rules.items()}


def _measured(members: Sequence[_Member], part: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """As `_rules`, of all series, one after the other."""
    measured = [_rules(member, member.bounds[part]) for member in members]
    values = np.concatenate([values for values, _ in measured])
    rules = {
        name: np.concatenate([np.broadcast_to(rules[name], of.shape) for of, rules in measured])
        for name in measured[0][1]
    }
    return values, rules


def _rules(member: _Member, tested: Bounds) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What is to be forecast (N, H, D), and what simple rules say of it, by name."""
    scaling, known = member.scaling, member.known
    cutting, places = scaling.cutting, scaling.layout.target_places
    origins = cutting.origins(*tested)
    values = cutting.values_after(known, origins, tested[1])[:, :, places]
    rules = {
        "training mean": np.asarray(scaling.fallback)[places],
        "persistence": known.at(origins, origins)[:, None, places],
    }
    if scaling.season is not None:
        if scaling.season > origins[0] + 1:
            of = f" of the series {member.name}" if member.name else ""
            raise ConfigError(
                f"dataset.season is {scaling.season}, but only {origins[0] + 1} rows{of} come before the test part; "
                "set it to null, or lower dataset.test_fraction"
            )
        before = seasons_before(known, origins, cutting.horizon, scaling.season)
        rules["seasonal"] = before[:, :, places]
    if cutting.difference and cutting.seasonal_difference:
        rules["differencing alone"] = cutting.bases(known, origins)[:, :, places]
    return values, rules


SERIES = Kind(
    raw=Series,
    split=split_series,
    encode=prepare_series,
    preprocessing=SeriesScaling,
    units={"sequence": "forecasts"},
    reader="dlrun.data.series.history.NewSeries",
)
