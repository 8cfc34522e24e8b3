"""What an ensemble and its members reach, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from dlrun.commands import _text
from dlrun.commands._text import NONE, Column
from dlrun.runner.baseline_check import shortfall_of
from dlrun.storage.run_summary import RunSummary, short_name
from dlrun.sweep.repetitions import mean_and_spread
from dlrun.tracking.numbers import column_texts, spread_text

_MOST_MEMBERS, _MOST_METRICS = 20, 6
_MEAN = "mean of members"


def members_table(ensemble: RunSummary) -> str:
    """A row for each member, then their mean ± standard deviation, the ensemble and what needs no model.

    Its summary may be anybody's: what has not the form of members is left out.
    """
    given = ensemble.data.get("members")
    members = [one for one in given if isinstance(one, Mapping)] if isinstance(given, list) else []
    shown = members[:_MOST_MEMBERS]
    every = [_numbers(one.get("metrics")) for one in members]
    final = ensemble.final_metrics
    names = [n for n in dict.fromkeys(chain(final, *every)) if n.count("/") == 1][:_MOST_METRICS]
    baselines = {
        f"{rule} (baseline)": _numbers(values)
        for rule, values in ensemble.mapping("baselines").items()
    }
    labels = [*_labels(shown), *_more(members), _MEAN, "ensemble", *baselines]
    columns = [Column(("",), labels, keep_end=True)]
    for name in names:
        part, _, metric = name.partition("/")
        values = [one.get(name) for one in (*every[: len(shown)], final)]
        rules = [one.get(metric) for one in baselines.values()]
        texts = column_texts([*values, *rules], NONE)
        *own, whole = texts[: len(values)]
        mean = _mean([one.get(name) for one in every])
        cells = [*own, *("" for _ in _more(members)), mean, whole, *texts[len(values) :]]
        columns.append(Column((part, metric), cells))
    table = _text.table(columns)
    found = shortfall_of([ensemble]) if ensemble.final_metrics else None
    return f"{table}\n{_text.wrapped(f'warning: {found}', '  ', '')}" if found else table


def _labels(members: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the members, each with its share where these differ."""
    names = [short_name(Path(str(one.get("name")))) for one in members]
    if len({one.get("share") for one in members}) < 2:
        return names
    shares = [_share(one.get("share")) for one in members]
    return [f"{name} ({share})" for name, share in zip(names, shares, strict=True)]


def _more(members: Sequence[Any]) -> list[str]:
    """The label of a row for those that are not shown, where there are any."""
    return [f"and {len(members) - _MOST_MEMBERS} more"] if len(members) > _MOST_MEMBERS else []


def _mean(values: Sequence[float | None]) -> str:
    """Of all members; nothing where one was not measured by the metric."""
    known = [value for value in values if value is not None]
    return spread_text(*mean_and_spread(known)) if known and len(known) == len(values) else NONE


def _share(value: Any) -> str:
    return f"{value:.0%}" if isinstance(value, float) else NONE


def _numbers(values: Any) -> dict[str, float]:
    if not isinstance(values, Mapping):
        return {}
    return {
        str(name): float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
