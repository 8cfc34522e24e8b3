"""How a backtest is shown: a table of its origins, one of the steps of its horizon, and the values for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlrun.commands._text import Column, table
from dlrun.inference.backtest import mean_and_spread, mean_errors
from dlrun.runner.baseline_check import find_shortfall
from dlrun.tracking.numbers import column_texts

if TYPE_CHECKING:
    from dlrun.inference.backtest import Backtest

_MOST_STEPS = 30  # of a table; JSON has them all


def page(found: Backtest) -> str:
    """The tables, and a warning where no model is better."""
    parts = [_origins(found), _steps(found)]
    means, _ = mean_and_spread([origin.metrics for origin in found.origins])
    measured = {f"test/{name}": value for name, value in means.items()}
    if shortfall := find_shortfall(measured, mean_errors(found.origins)):
        parts.append(f"warning: over the origins, {str(shortfall).removeprefix('test/')}")
    return "\n\n".join(parts)


def facts(found: Backtest) -> dict[str, Any]:
    """All of it as plain values."""
    origins = found.origins
    mean, spread = mean_and_spread([origin.metrics for origin in origins])
    return {
        "checkpoint": found.which,
        "epoch": found.epoch,
        "origins": [
            {
                "trained_rows": origin.trained,
                "rows": origin.rows,
                "times": origin.times,
                "forecasts": origin.forecasts,
                "metrics": origin.metrics,
                "steps": origin.steps,
                "baselines": origin.rules,
                "baseline_steps": origin.rule_steps,
            }
            for origin in origins
        ],
        "mean": mean,
        "spread": spread,
        "baselines": mean_errors(origins),
        "steps": [
            dict(zip(("mean", "spread"), mean_and_spread(step), strict=True))
            for step in _by_step(found)
        ],
    }


def _by_step(found: Backtest) -> list[list[Mapping[str, float]]]:
    """The metrics of each origin, for each step."""
    return [list(step) for step in zip(*(origin.steps for origin in found.origins), strict=True)]


def _origins(found: Backtest) -> str:
    origins = found.origins
    columns = [Column(("origin",), [f"{n}" for n in range(1, len(origins) + 1)], right=True)]
    if origins[0].rows is not None:
        known = [f"1-{origin.trained:,}" for origin in origins]
        rows = ["{:,}-{:,}".format(*origin.rows) for origin in origins if origin.rows]
        head = "trained on rows" if found.which == "refit" else "rows before it"
        columns.append(Column((head,), known, right=True))
        if not all(origin.times for origin in origins):
            columns.append(Column(("forecast rows",), rows, right=True))
    if all(origin.times for origin in origins):
        first, last = zip(*(origin.times for origin in origins if origin.times), strict=True)
        columns += [Column(("forecasts from",), [*first]), Column(("to",), [*last])]
    counts = [f"{origin.forecasts:,}" for origin in origins]
    columns.append(Column(("forecasts",), counts, right=True))
    for column in columns:
        column.cells += [
            "mean" if column is columns[0] else "",
            "± sd" if column is columns[0] else "",
        ]
    values = [
        origin.metrics
        | {f"{name} rmse": origin.rules[name]["rmse"] for name in _shown_rules(found)}
        for origin in origins
    ]
    return table([*columns, *_numbers(values)])


def _shown_rules(found: Backtest) -> list[str]:
    """Those in the tables: the mean of the training part is no rule that a forecaster would choose."""
    return [name for name in found.origins[0].rules if name != "training mean"]


def _numbers(values: Sequence[Mapping[str, float]]) -> list[Column]:
    """A column of each name, with its mean and spread below."""
    mean, spread = mean_and_spread(values)
    every = [*values, mean, spread]
    return [
        Column(tuple(name.rsplit(" ", 1)), column_texts([one[name] for one in every]), right=True)
        for name in mean
    ]


def _steps(found: Backtest) -> str:
    """A row for each step: means over the origins, and their spread."""
    by_step = [mean_and_spread(step) for step in _by_step(found)][:_MOST_STEPS]
    steps = [f"{number}" for number in range(1, len(by_step) + 1)]
    columns = [Column(("step",), steps, right=True)]
    for name in by_step[0][0]:
        columns.append(_column((name,), [mean[name] for mean, _ in by_step]))
        columns.append(_column(("± sd",), [spread[name] for _, spread in by_step]))
    for rule in _shown_rules(found):
        every = zip(*(origin.rule_steps[rule] for origin in found.origins), strict=True)
        means = [mean_and_spread(step)[0]["rmse"] for step in every]
        columns.append(_column((rule, "rmse"), means[:_MOST_STEPS]))
    more = len(found.origins[0].steps) - len(by_step)
    return table(columns) + (f"\nand {more} steps more, which --json has" if more else "")


def _column(head: tuple[str, ...], values: list[float]) -> Column:
    return Column(head, column_texts(values), right=True)
