"""The columns of `dlrun runs`, and which of them fit."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from dlrun.commands import _text
from dlrun.commands._sweep_rows import SPREADS, Objective, Setting
from dlrun.commands._text import NONE, Column
from dlrun.config.metrics import COMPARABLE
from dlrun.storage.run_summary import RunSummary
from dlrun.sweep.repetitions import Repetitions, counted, means
from dlrun.tracking.numbers import column_texts, is_number, number_text

Columns = dict[str, Column]

# The test metric to show: one that means the same in every run on the same data.
_TEST_METRICS = tuple(f"test/{name}" for name in (*COMPARABLE, "mae", "mse", "r2", "roc_auc"))
# What gives way, in turn, while the table is wider than the terminal: at most so many characters.
_SHRINK = (
    ("run", 28),
    ("swept", 16),
    ("age", 0),
    ("time", 0),
    ("dataset", 10),
    ("model", 10),
    ("run", 18),
    ("epoch", 0),
    ("swept", 10),
    ("dataset", 0),
    ("model", 0),
    ("test", 0),
    ("best", 0),
    ("swept", 6),
    ("status", 6),
    ("swept", 0),
)
_SWEPT = "swept "  # begins the name of a column for what a sweep varies
_LONGEST_NUMBER = 10  # characters; others are rounded


def table(runs: Sequence[RunSummary], sort: str | None, objective: Objective | None) -> str:
    """The runs as a table that fits the terminal; with an objective, they are those of one sweep."""
    columns = _columns(runs) if objective is None else _sweep_columns(runs, objective.metric)
    if sort and not any("/".join(column.head).endswith(sort) for column in columns.values()):
        columns["sort"] = _metric(sort, runs)
    return _text.table(_fit(columns, _text.terminal_width()))


def means_below(settings: Sequence[Setting], repetitions: Repetitions, objective: Objective) -> str:
    """Of runs that repeat settings each setting's mean ± standard deviation, the best first; every metric of one."""
    if len(settings) == 1:
        (only,) = settings
        head = f"mean ± standard deviation over the {repetitions.noun} ({_count(only)})"
        shown = means([run.metrics for run in only.counted], objective.metric)
        return f"{head}\n{_text.pairs(shown.items())}"
    texts = [means([run.metrics for run in setting.counted]) for setting in settings]
    labels = [repetitions.labels([run.swept for run in setting.runs]) for setting in settings]
    names = [objective.metric]
    names += [name for name in _TEST_METRICS if any(name in text for text in texts)][:1]
    columns = [
        Column(("setting",), [_text_of(label) for label in labels]),
        Column(("n",), [str(len(setting.counted)) for setting in settings], right=True),
        *(Column((name,), [text.get(name, NONE) for text in texts]) for name in names),
    ]
    if any(setting.missing for setting in settings):
        columns.append(Column(("missing",), [_missing(setting) for setting in settings]))
    head = f"mean ± standard deviation over the {repetitions.noun}"
    return f"{head}\n{_text.table(columns)}"


def _text_of(labels: Mapping[str, str]) -> str:
    return " ".join(f"{key}={text}" for key, text in labels.items()) or NONE


def _count(setting: Setting) -> str:
    return counted(len(setting.counted), setting.missing)


def _missing(setting: Setting) -> str:
    return ", ".join(f"{number} {status}" for status, number in setting.missing.items())


def swept_keys(runs: Sequence[RunSummary]) -> list[str]:
    """What is varied, in the order of the sweep."""
    return list(dict.fromkeys(key for run in runs for key in run.swept))


def _columns(runs: Sequence[RunSummary]) -> Columns:
    names = [run.short_name for run in runs]
    return {
        "run": Column(("run",), names, keep_end=True),
        "status": _status(runs),
        "dataset": _choice("dataset", runs),
        "model": _choice("model", runs),
        "epoch": _epochs(runs),
        "best": _best(runs),
        "test": _test(runs),
        **_times(runs),
    }


def _sweep_columns(runs: Sequence[RunSummary], objective: str) -> Columns:
    """Of one sweep: what it varies, rather than what all its trials share."""
    keys = swept_keys(runs)
    names = ["/".join(run.short_name.split("/")[1:]) for run in runs]
    columns = {"run": Column(("trial",), names, keep_end=True), "status": _status(runs)}
    columns |= {f"{_SWEPT}{key}": _swept(key, runs) for key in keys}
    for group in ("dataset", "model"):
        if group not in keys and len({run.choices.get(group) for run in runs}) > 1:
            columns[group] = _choice(group, runs)
    columns["epoch"] = _epochs(runs)
    columns["objective"] = _metric(objective, runs, title="objective")
    if not _tells(test := _test(runs), objective):
        columns["test"] = test
    return columns | _times(runs)


def _tells(column: Column, metric: str) -> bool:
    return "/".join(column.head).endswith(metric)


def _status(runs: Sequence[RunSummary]) -> Column:
    return Column(("status",), [run.status for run in runs])


def _choice(group: str, runs: Sequence[RunSummary]) -> Column:
    return Column((group,), [run.choices.get(group, NONE) for run in runs])


def _swept(key: str, runs: Sequence[RunSummary]) -> Column:
    """Numbers to the right; under the last part of the key, so that it is no wider than need be."""
    cells = [_rounded(run.swept.get(key, NONE)) for run in runs]
    are_numbers = all(cell == NONE or is_number(cell) for cell in cells)
    return Column(tuple(key.rsplit(".", 1)), cells, right=are_numbers)


def _rounded(text: str) -> str:
    """A long number with four digits: cut off, it would lose its power of ten."""
    return number_text(float(text)) if len(text) > _LONGEST_NUMBER and is_number(text) else text


def _epochs(runs: Sequence[RunSummary]) -> Column:
    return Column(("epoch",), [_epoch(run) for run in runs], right=True)


def _epoch(run: RunSummary) -> str:
    epoch, last = run.number("epoch"), run.number("max_epochs")
    if epoch is None:
        return NONE
    return f"{epoch:g}" if last is None else f"{epoch:g}/{last:g}"


def _metric(name: str, runs: Sequence[RunSummary], *, title: str = "") -> Column:
    cells = column_texts([run.metrics.get(name) for run in runs], NONE)
    return Column((title, name) if title else tuple(name.split("/", 1)), cells, right=True)


def _best(runs: Sequence[RunSummary]) -> Column:
    """The monitored metric, named at the head where all runs share it, else with each value."""
    named = [
        (run.monitor, run.best_metrics.get(run.monitor), _spread(run, "best", run.monitor))
        for run in runs
    ]
    return _named_metric("best", named)


def _test(runs: Sequence[RunSummary]) -> Column:
    """The main test metric, named likewise."""
    names = [_test_metric(run) for run in runs]
    named = [
        (
            name.removeprefix("test/"),
            run.final_metrics.get(name),
            _spread(run, "final", name),
        )
        for name, run in zip(names, runs, strict=True)
    ]
    return _named_metric("test", named)


def _test_metric(run: RunSummary) -> str:
    measured = [name for name in run.final_metrics if name.startswith("test/")]
    preferred = (name for name in _TEST_METRICS if name in measured)
    return next(preferred, next(iter(measured), ""))


def _spread(run: RunSummary, part: str, name: str) -> str:
    """` ± 0.012` in the row of a sweep whose trials or seeds repeat a setting; else empty."""
    spreads = run.mapping(SPREADS).get(part, {})
    return "" if spreads.get(name) is None else f" ± {number_text(spreads[name], digits=2)}"


def _named_metric(title: str, named: list[tuple[str, float | None, str]]) -> Column:
    """The column of values with their names and spreads; points stand below each other, spread or not."""
    names = {name for name, value, _ in named if value is not None}
    width = max((len(spread) for *_, spread in named), default=0)
    spreads = [f"{spread:<{width}}" for *_, spread in named]
    if len(names) == 1:
        values = column_texts([value for _, value, _ in named], NONE)
        longest = max(map(len, values))
        cells = [f"{a:>{longest}}{b}" for a, b in zip(values, spreads, strict=True)]
        return Column((title, names.pop()), cells, right=True)
    cells = [
        (NONE if value is None else f"{name} {number_text(value)}") + spread
        for (name, value, _), spread in zip(named, spreads, strict=True)
    ]
    return Column((title,), cells, right=True)


def _times(runs: Sequence[RunSummary]) -> Columns:
    now = time.time()
    return {
        "time": Column(("time",), [_text.duration(run.number("seconds")) for run in runs], True),
        "age": Column(("age",), [_text.age(now - run.created) for run in runs], right=True),
    }


def _fit(columns: Columns, width: int) -> list[Column]:
    """The columns narrowed or left out until they fit."""
    for name, least in _steps(columns):
        excess = _text.table_width(columns.values()) - width
        if excess <= 0:
            break
        if not least:
            columns.pop(name)
        elif columns[name].width > least:
            columns[name].limit = max(least, columns[name].width - excess)
    return list(columns.values())


def _steps(columns: Columns) -> Iterator[tuple[str, int]]:
    """`_SHRINK` for the columns there are; of what is swept the last gives way first."""
    swept = [name for name in reversed(columns) if name.startswith(_SWEPT)]
    for step, least in _SHRINK:
        for name in swept if step == "swept" else [step]:
            if name in columns:
                yield name, least and max(least, _uncuttable(columns[name], step))


def _uncuttable(column: Column, step: str) -> int:
    """Characters of the longest number in a column of what is swept: half a number is another."""
    return max(map(len, column.cells)) if step == "swept" and column.right else 0
