"""`dlrun runs`: a table of the runs so far, to sort, to filter and to export."""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from dlrun.commands import _filters, _text
from dlrun.commands._text import NONE, Column
from dlrun.errors import ConfigError
from dlrun.runs import OUTPUTS, RunSummary, lower_is_better, scan

DEFAULT_ROWS = 25
# The test metric to show: what a person asks for first.
_TEST_METRICS = ("test/accuracy", "test/r2", "test/roc_auc", "test/rmse", "test/mae", "test/mse")
# What gives way, in turn, while the table is wider than the terminal: at most so many characters.
_SHRINK = (
    ("run", 28),
    ("age", 0),
    ("time", 0),
    ("dataset", 10),
    ("model", 10),
    ("run", 18),
    ("epoch", 0),
    ("dataset", 0),
    ("model", 0),
    ("test", 0),
    ("best", 0),
)
_EPILOG = f"""\
A metric counts as measured at the best epoch, or at the end where it was not.
Columns that do not fit the terminal are left out; --csv has everything.

status is one of
  running     a process is training it now
  completed   it reached its end, or stopped early as configured
  stopped     it was interrupted, and saved: `dlrun resume RUN` carries it on
  killed      its process is gone without a word: `dlrun resume RUN` as well
  failed      it ended with an error: `dlrun show RUN` tells which
  unreadable  its summary.json is missing or damaged

examples
  dlrun runs                                    the newest {DEFAULT_ROWS}
  dlrun runs --sort val/accuracy                best first
  dlrun runs --filter model=cnn 'val/accuracy>0.9'
  dlrun runs --filter 'name=mnist*' status!=failed
  dlrun runs outputs/sweeps/SWEEP --csv > trials.csv
"""


def main(argv: list[str]) -> int:
    """Print the runs that the arguments ask for."""
    arguments = _parser().parse_args(argv)
    folder = Path(arguments.dir) if arguments.dir else OUTPUTS
    if arguments.dir and not folder.is_dir():
        raise ConfigError(f"DIR is {folder}, which is not a directory; leave it out for {OUTPUTS}/")
    every_run = scan(folder)
    runs = _filtered(every_run, arguments.filter)
    if arguments.sort:
        runs = _best_first(runs, every_run, arguments.sort)
    if arguments.reverse:
        runs.reverse()
    if arguments.csv:
        _write_csv(runs[: arguments.n])
    else:
        _print_table(runs, len(every_run), arguments, folder)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dlrun runs",
        description="A table of the runs: newest first, or best first with --sort.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("dir", metavar="DIR", nargs="?", help="a sweep, or any folder of runs (default: outputs)")
    add("--sort", metavar="METRIC", help="best first by this metric, as in test/accuracy")
    add("--reverse", action="store_true", help="turn the order round: oldest or worst first")
    help_filter = "only runs that meet all: = != < > <= >=; in text, * stands for anything"
    add("--filter", metavar="CONDITION", nargs="+", action="extend", default=[], help=help_filter)
    help_n = f"at most N runs (default: {DEFAULT_ROWS}; all in CSV)"
    add("-n", metavar="N", type=_row_count, help=help_n)
    add("--all", action="store_true", help="every run, however many")
    add("--csv", action="store_true", help="as CSV, with every metric in a column of its own")
    return parser


def _row_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def _filtered(runs: list[RunSummary], texts: list[str]) -> list[RunSummary]:
    conditions = [_filters.parse_condition(text) for text in texts]
    _filters.check_keys((condition.key for condition in conditions), runs, "--filter")
    return [run for run in runs if all(condition.holds(run) for condition in conditions)]


def _best_first(
    runs: list[RunSummary], every_run: list[RunSummary], metric: str
) -> list[RunSummary]:
    known = {name for run in every_run for name in run.metrics}
    if every_run and metric not in known:
        names = ", ".join(sorted(known)) or "none so far"
        raise ConfigError(f"--sort {metric}: no run has this metric; there are: {names}")
    sign = 1 if lower_is_better(metric) else -1

    def rank(run: RunSummary) -> tuple[bool, float]:
        value = run.metrics.get(metric, math.nan)
        return math.isnan(value), 0.0 if math.isnan(value) else sign * value

    return sorted(runs, key=rank)


def _print_table(
    runs: list[RunSummary], total: int, arguments: argparse.Namespace, folder: Path
) -> None:
    if not total:
        print(f"No runs in {folder}/ yet. Start one:\n\n  dlrun train")
        return
    limit = len(runs) if arguments.all else arguments.n or DEFAULT_ROWS
    if runs:
        columns = _fit(_columns(runs[:limit], arguments.sort), _text.terminal_width())
        print(_text.table(columns) + "\n")
    print(_count_line(len(runs), total, limit, arguments))


def _count_line(found: int, total: int, limit: int, arguments: argparse.Namespace) -> str:
    line = _text.plural(total, "run")
    if arguments.filter:
        line = f"{found:,} of {line} {'fits' if found == 1 else 'fit'} the filter"
    if limit < found:
        orders = ("best", "worst") if arguments.sort else ("newest", "oldest")
        line += f", the {limit} {orders[arguments.reverse]} shown; --all shows all"
    return line


def _columns(runs: list[RunSummary], sort: str | None) -> dict[str, Column]:
    now = time.time()
    columns = {
        "run": Column(("run",), [run.short_name for run in runs], keep_end=True),
        "status": Column(("status",), [run.status for run in runs]),
        "dataset": Column(("dataset",), [run.choices.get("dataset", NONE) for run in runs]),
        "model": Column(("model",), [run.choices.get("model", NONE) for run in runs]),
        "epoch": Column(("epoch",), [_epoch(run) for run in runs], right=True),
        "best": _best_column(runs),
        "test": _test_column(runs),
        "time": Column(("time",), [_text.duration(run.number("seconds")) for run in runs], True),
        "age": Column(("age",), [_text.age(now - run.created) for run in runs], right=True),
    }
    if sort and not any("/".join(column.head).endswith(sort) for column in columns.values()):
        cells = [_text.number(run.metrics.get(sort)) for run in runs]
        columns["sort"] = Column(tuple(sort.split("/", 1)), cells, right=True)
    return columns


def _best_column(runs: Sequence[RunSummary]) -> Column:
    """The monitored metric, named at the head where all runs share it, else with each value."""
    named = [(run.monitor, run.best_metrics.get(run.monitor)) for run in runs]
    return _metric_column("best", named)


def _test_column(runs: Sequence[RunSummary]) -> Column:
    """The main test metric, named likewise."""
    names = [_test_metric(run) for run in runs]
    named = [
        (name.removeprefix("test/"), run.final_metrics.get(name))
        for name, run in zip(names, runs, strict=True)
    ]
    return _metric_column("test", named)


def _test_metric(run: RunSummary) -> str:
    measured = [name for name in run.final_metrics if name.startswith("test/")]
    preferred = (name for name in _TEST_METRICS if name in measured)
    return next(preferred, next(iter(measured), ""))


def _metric_column(title: str, named: list[tuple[str, float | None]]) -> Column:
    names = {name for name, value in named if value is not None}
    if len(names) == 1:
        values = [_text.number(value) for _, value in named]
        return Column((title, names.pop()), values, right=True)
    cells = [NONE if value is None else f"{name} {_text.number(value)}" for name, value in named]
    return Column((title,), cells, right=True)


def _epoch(run: RunSummary) -> str:
    epoch, last = run.number("epoch"), run.number("max_epochs")
    if epoch is None:
        return NONE
    return f"{epoch:g}" if last is None else f"{epoch:g}/{last:g}"


def _fit(columns: dict[str, Column], width: int) -> list[Column]:
    """The columns narrowed or left out until they fit."""
    for name, least in _SHRINK:
        excess = _text.table_width(columns.values()) - width
        if excess <= 0:
            break
        if not least:
            columns.pop(name)
        elif columns[name].width > least:
            columns[name].limit = max(least, columns[name].width - excess)
    return list(columns.values())


def _write_csv(runs: list[RunSummary]) -> None:
    groups = sorted({group for run in runs for group in run.choices})
    metrics = sorted({name for run in runs for name in run.metrics})
    plain = ("seed", "parameters", "device", "epoch", "max_epochs", "step", "seconds", "monitor")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(
        ["run", "status", "name", "created", *groups, *plain, "best_epoch", *metrics, "path"]
    )
    for run in runs:
        created = datetime.fromtimestamp(run.created).astimezone().isoformat(timespec="seconds")
        writer.writerow(
            [
                *(run.short_name, run.status, run.name, created),
                *(run.choices.get(group) for group in groups),
                *(run.data.get(name) for name in plain),
                run.best.get("epoch"),
                *(run.metrics.get(name) for name in metrics),
                run.path,
            ]
        )
