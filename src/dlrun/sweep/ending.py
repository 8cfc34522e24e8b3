"""The answer of a sweep: its table, its best setting to type and to keep, and what failed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from dlrun.hints import command
from dlrun.run_directory import write_whole
from dlrun.sweep.leaderboard import Row, best_command, write_leaderboard
from dlrun.sweep.live import Standing, make_table
from dlrun.sweep.opened import Sweep
from dlrun.sweep.recipe import recipe_file

_TABLE_ROWS = 5
_FAILED_SHOWN = 5


def conclude(sweep: Sweep, standing: Standing) -> int:
    """Write leaderboard and best.yaml, print the answer; the exit code, 1 where a trial failed."""
    place = sweep.directory
    write_leaderboard(place, standing.rows, sweep.objective)
    print(f"\n{standing.counts()}")
    best = standing.best
    if best is not None:
        from rich.console import Console

        Console(soft_wrap=True, highlight=False).print(
            make_table(standing.rows[:_TABLE_ROWS], sweep.objective)
        )
        write_best(sweep, best, standing)
        print(
            f"\nbest: trial {best.number}, {sweep.objective} {_value(best)}{_lead(standing.rows)}"
        )
        print(f"  {setting_command(sweep, best)}")
        print(f"  also as {place.best_file}, to copy into configs/experiment/")
    for row in [row for row in standing.rows if row.status == "failed"][:_FAILED_SHOWN]:
        print(f"failed: trial {row.number} ({' '.join(row.words)}): {row.error}")
    if (failed := standing.count("failed")) > _FAILED_SHOWN:
        print(f"failed: {failed - _FAILED_SHOWN} more")
    print(f"compare   {command('runs', place.path)}")
    print(f"report    {command('report', place.path)}")
    return 1 if failed else 0


def setting_command(sweep: Sweep, row: Row) -> str:
    """The command line for the setting of a trial."""
    return best_command(sweep.space.fixed, row, sweep.strategy.plan.words(row.number))


def write_best(sweep: Sweep, best: Row, standing: Standing) -> None:
    """The best setting as an option of the group experiment."""
    words = [*best.words, *sweep.strategy.plan.words(best.number)]
    head = [
        f"the best of {standing.count('completed')} completed trials: trial {best.number}, "
        f"{sweep.objective} {_value(best)}",
        f"Command: {setting_command(sweep, best)}",
    ]
    text = recipe_file(sweep.composer.unresolved(words), head)
    write_whole(sweep.directory.best_file, text)


def _value(row: Row) -> str:
    spread = f" ± {row.spread:.2g} over the seeds" if row.spread is not None else ""
    return f"{row.value:.4g}{spread}"


def _lead(rows: Sequence[Row]) -> str:
    """By how much it won."""
    completed = [row for row in rows if row.status == "completed"]
    if len(completed) < 2:
        return ""
    values = [row.value for row in completed if row.value is not None]
    ahead, median = abs(values[0] - values[1]), statistics.median(values)
    return f", {ahead:.2g} ahead of trial {completed[1].number} (median of all completed: {median:.4g})"
