"""`dlrun runs`: a table of the runs so far, to sort, to filter and to export."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from dlrun.commands import _filters, _text
from dlrun.commands._arguments import CommandParser, filled, whole
from dlrun.commands._runs_table import means_below, swept_keys, table
from dlrun.commands._sweep_rows import (
    Objective,
    best_first,
    collapsed,
    count_trials,
    is_sweep_row,
    read_objective,
    settings_of,
)
from dlrun.config.metrics import Direction, rank
from dlrun.errors import ConfigError
from dlrun.storage.index import OUTPUTS, find_folder, scan
from dlrun.storage.run_summary import RunSummary
from dlrun.storage.spreadsheets import cells
from dlrun.storage.sweep_directory import SweepDirectory, is_sweep, read_space

DEFAULT_ROWS = 25
_EPILOG = f"""\
Of a SWEEP, each trial is a row, the best first, with what the sweep varies.
Where runs repeat a setting (seeds, folds), mean ± standard deviation follow.
Among other runs a whole sweep is one row, with what its best setting reached,
unless --sort, --filter, --all or --csv looks at every run.

The value of a metric is that of the best epoch; of a metric that was measured
only at the end, that of the end. Each run records which way its metrics
improve; --sort puts the largest first where none does, and --reverse turns
the order round.
Columns that do not fit the terminal are left out; --csv has everything.

status is one of
  running     a process is training it now
  completed   it reached its end, or stopped early as configured
  stopped     it was interrupted, and saved: `dlrun resume RUN` continues it
  killed      its process ended without saving: `dlrun resume RUN` as well
  pruned      a trial that its sweep ended early, because others were better
  failed      it ended with an error: `dlrun show RUN` tells which
  unreadable  its summary.json is missing or damaged

examples
  dlrun runs                                    the newest {DEFAULT_ROWS}
  dlrun runs --sort val/accuracy                best first
  dlrun runs --filter model=cnn 'val/accuracy>0.9'
  dlrun runs --filter 'name=mnist*' status!=failed
  dlrun runs SWEEP                              its trials, best first
  dlrun runs SWEEP --filter 'optimizer.lr<0.01' --csv > trials.csv
"""


def main(argv: list[str]) -> int:
    """Print the runs that the arguments ask for."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.raw_cells and not arguments.csv:
        parser.error("--raw-cells says how --csv writes text: add --csv, or leave it out")
    folder = find_folder(arguments.dir) if arguments.dir else OUTPUTS
    every_run = scan(folder)
    objective = read_objective(SweepDirectory(folder)) if is_sweep(folder) else None
    conditions = [_filters.parse_condition(text) for text in arguments.filter]
    runs = _filters.filtered(every_run, conditions)
    below = ""
    if arguments.sort:
        runs = _best_first(runs, every_run, arguments.sort)
    elif objective is not None:
        runs, below = _of_sweep(runs, folder, objective)
    elif not (conditions or arguments.csv or arguments.all):
        runs = collapsed(runs, folder)
    if arguments.reverse:
        runs.reverse()
    if arguments.csv:
        _write_csv(runs[: arguments.n], raw=arguments.raw_cells)
    else:
        _print_table(runs, len(every_run), arguments, folder, objective, below)
    return 0


def _of_sweep(
    runs: list[RunSummary], folder: Path, objective: Objective
) -> tuple[list[RunSummary], str]:
    """The runs of a sweep, the best setting first, and what to say below them where they repeat settings."""
    if not runs:
        return runs, ""
    settings, repetitions = settings_of(runs, read_space(folder))
    settings = best_first(settings, objective)
    ordered = [run for setting in settings for run in setting.runs]
    if not repetitions.are_any or not any(setting.counted for setting in settings):
        return ordered, ""
    return ordered, means_below(settings, repetitions, objective)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "runs",
        "A table of the runs: newest first, or best first with --sort or of a sweep.",
        _EPILOG,
    )
    add = parser.add_argument
    help_dir = "a sweep or run: its directory, part of its name, or `last`; or any folder of runs"
    add("dir", metavar="DIR|SWEEP", nargs="?", type=filled, help=f"{help_dir} (default: outputs)")
    add(
        "--sort",
        metavar="METRIC",
        type=filled,
        help="best first by this metric, as in test/accuracy",
    )
    add("--reverse", action="store_true", help="turn the order round: oldest or worst first")
    help_filter = (
        "only runs that meet all conditions, with = != < > <= >=; in text, * stands for anything"
    )
    add("--filter", metavar="CONDITION", nargs="+", action="extend", default=[], help=help_filter)
    help_n = f"at most N rows (default: {DEFAULT_ROWS}; all in CSV)"
    how_many = parser.add_mutually_exclusive_group().add_argument
    how_many("-n", metavar="N", type=whole(1, 10**9), help=help_n)
    how_many(
        "--all", action="store_true", help="every run, however many, and each trial of a sweep"
    )
    add("--csv", action="store_true", help="as CSV, with a column for every metric and swept key")
    help_raw = "leave cells of the CSV as they are; else those that a spreadsheet takes for a formula begin with '"
    add("--raw-cells", action="store_true", help=help_raw)
    return parser


def _best_first(
    runs: list[RunSummary], every_run: list[RunSummary], metric: str
) -> list[RunSummary]:
    known = {name for run in every_run for name in run.metrics}
    if every_run and metric not in known:
        names = ", ".join(sorted(known)) or "none so far"
        raise ConfigError(f"--sort {metric}: no run has this metric; there are: {names}")
    minimize = _direction(metric, every_run) == "min"
    return sorted(runs, key=lambda run: rank(run.metrics.get(metric), minimize=minimize))


def _direction(metric: str, runs: Sequence[RunSummary]) -> Direction:
    """Which way the metric improves, as a run says that has it; the largest comes first where none does."""
    said = (run.direction(metric) for run in runs if metric in run.metrics)
    return next((way for way in said if way is not None), "max")


def _print_table(
    runs: list[RunSummary],
    total: int,
    arguments: argparse.Namespace,
    folder: Path,
    objective: Objective | None,
    below: str,
) -> None:
    if not total:
        print(f"No runs in {folder}/ yet. Start one:\n\n  dlrun train")
        return
    limit = len(runs) if arguments.all else arguments.n or DEFAULT_ROWS
    if runs:
        print(table(runs[:limit], arguments.sort, objective) + "\n")
    if below:
        print(below + "\n")
    print(_count_line(runs, total, limit, arguments, objective))


def _count_line(
    runs: Sequence[RunSummary],
    total: int,
    limit: int,
    arguments: argparse.Namespace,
    objective: Objective | None,
) -> str:
    sweeps = sum(map(is_sweep_row, runs))
    line = _text.plural(total, "run")
    if arguments.filter:
        line = f"{len(runs):,} of {line} {'fits' if len(runs) == 1 else 'fit'} the filter"
    elif objective is not None:
        line = _text.plural(count_trials(runs), "trial")
    elif sweeps:
        lone = len(runs) - sweeps
        counts = [_text.plural(lone, "run")] if lone else []
        line = " and ".join([*counts, _text.plural(sweeps, "sweep")])
    if limit < len(runs):
        orders = ("best", "worst") if arguments.sort else ("newest", "oldest")
        if not arguments.sort and objective is not None:
            orders = ("best", "worst") if objective.comparable else ("first", "last")
        line += f", the {limit} {orders[arguments.reverse]} shown; --all shows all"
        line += " and each trial" if sweeps else ""
    elif sweeps:
        line += "; `dlrun runs SWEEP` shows the trials of one"
    return line


def _write_csv(runs: list[RunSummary], *, raw: bool) -> None:
    groups = sorted({group for run in runs for group in run.choices})
    metrics = sorted({name for run in runs for name in run.metrics})
    plain = ("seed", "parameters", "device", "epoch", "max_epochs", "step", "seconds", "monitor")
    swept = [key for key in swept_keys(runs) if key not in (*groups, *plain)]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    first = ("run", "status", "name", "created")
    head = [*first, *groups, *swept, *plain, "best_epoch", *metrics, "path"]
    writer.writerow(cells(head, raw=raw))
    for run in runs:
        created = datetime.fromtimestamp(run.created).astimezone().isoformat(timespec="seconds")
        writer.writerow(
            cells(
                [
                    *(run.short_name, run.status, run.name, created),
                    *(run.choices.get(group) for group in groups),
                    *(run.swept.get(key) for key in swept),
                    *(run.data.get(name) for name in plain),
                    run.best.get("epoch"),
                    *(run.metrics.get(name) for name in metrics),
                    str(run.path),
                ],
                raw=raw,
            )
        )
