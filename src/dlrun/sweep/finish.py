"""The end of a sweep: its table, its best setting to type and to keep, and what failed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dlrun.errors import ConfigError, command
from dlrun.storage.run_directory import RunDirectory, is_locked, lock, read_metrics, write_whole
from dlrun.storage.sweep_directory import config_words, early_end
from dlrun.sweep import ending
from dlrun.sweep.compose import recipe_file
from dlrun.sweep.display import Standing, draw_text, make_table, settings_text
from dlrun.sweep.leaderboard import Row, best_command, write_leaderboard
from dlrun.sweep.published_ranks import agreement, ranking_table
from dlrun.sweep.resume import allow_words
from dlrun.sweep.summary import NO_BEST, Answer, warning
from dlrun.sweep.sweep import Sweep
from dlrun.system.terminal import make_console

if TYPE_CHECKING:
    from rich.console import Console

_TABLE_ROWS = 20
_FAR_ABOVE = 2  # times the first loss that was logged
_FAILED_SHOWN = 5


def finish_once(sweep: Sweep, standing: Standing) -> bool:
    """As `finish`, unless another process has done that, or is about to; whether it was done here."""
    place = RunDirectory(sweep.directory.path)
    if is_locked(place.path):
        return False
    with suppress(ConfigError), lock(place):
        if sweep.directory.read_end() == _end(sweep, standing):
            return False
        finish(sweep, standing)
        return True
    return False


def finish(sweep: Sweep, standing: Standing) -> int:
    """Write leaderboard and best.yaml, print what it found; the exit code, 1 where a trial failed."""
    place = sweep.directory
    answer = standing.answer
    write_leaderboard(place, answer, raw=sweep.strategy.settings.raw_cells)
    print(f"\n{standing.counts()}")
    if answer.completed or answer.repeated:
        _print_table(sweep, standing, sweep.strategy.settings.columns)
    if answer.repeated is not None:
        _print_repetitions(sweep, answer)
    if answer.completed and not sweep.comparable:
        print(f"\n{NO_BEST}")
    if answer.winner is not None:
        _print_best(sweep, answer, answer.winner)
    else:  # one of an earlier version may have taken the best seed for an answer
        place.best_file.unlink(missing_ok=True)
    _print_ranking(sweep, standing)
    for row in [row for row in standing.answer.trials if row.status == "failed"][:_FAILED_SHOWN]:
        setting = f" ({settings_text(row)})" if row.swept else ""
        print(f"failed: trial {row.number}{setting}: {row.error}{_log(sweep, row)}")
    if (failed := standing.count("failed")) > _FAILED_SHOWN:
        print(f"failed: {failed - _FAILED_SHOWN} more")
    print(f"compare   {command('runs', place.path)}")
    _report(sweep)
    end = _end(sweep, standing)
    write_whole(place.end_file, json.dumps(end))
    if early := ended_early(sweep, end["ended_by"], standing):
        print(early)
    return 1 if failed else 0


def ended_early(sweep: Sweep, reason: str | None, standing: Standing) -> str | None:
    """What ended the sweep before all its trials were over, and what to type then; None where nothing did.

    Args:
        reason: as `Sweep.ended_by` says.
    """
    path = sweep.directory.path
    if reason is not None:
        more = ending.how_to_go_on(reason, sweep.strategy.node, path)
        return f"{early_end(reason, standing.ended, standing.total)}; `{more}` goes on"
    if standing.ended < standing.total:
        again = command("resume", path, *allow_words(sweep.directory))
        return f"stopped at a failed trial (sweep.fail_fast=true); continue with `{again}`"
    return None


def _end(sweep: Sweep, standing: Standing) -> dict[str, Any]:
    """What `SweepDirectory.end_file` says."""
    reason = sweep.ended_by() if standing.ended < standing.total else None
    return {"ended": standing.ended, "total": standing.total, "ended_by": reason}


def setting_command(sweep: Sweep, row: Row) -> str:
    """The command line for the setting of a trial."""
    folder = config_words(sweep.directory.read()["command"])
    more = sweep.strategy.plan.words(row.number)
    return best_command([*folder, *sweep.space.fixed], row, more)


def _print_best(sweep: Sweep, answer: Answer, best: Row) -> None:
    typed = setting_command(sweep, best)
    write_best(sweep, best, answer, typed)
    print(f"\n{answer.headline()}")
    for sentence in answer.lead():
        print(f"  {sentence}")
    if answer.is_mean(best):
        print(f"  {', '.join(answer.others(best))}")
    if found := warning(answer, sweep.directory):
        print(f"  {found}")
    print(f"  {typed}")
    print(f"  also as {sweep.directory.best_file}, to copy into configs/experiment/")


def _print_repetitions(sweep: Sweep, answer: Answer) -> None:
    """The result of a sweep of nothing but repetitions: the mean of all of them, and no best."""
    print(f"\n{answer.repetition_head()}")
    lines = list(answer.repetition_lines())
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        print(f"  {name:<{width}}  {text}")
    if found := warning(answer, sweep.directory):
        print(f"  {found}")


def write_best(sweep: Sweep, best: Row, answer: Answer, typed: str) -> None:
    """The best setting, which the command `typed` trains, as an option of the group experiment."""
    words = [*best.words, *sweep.strategy.plan.words(best.number)]
    noun = "settings" if answer.repetitions.across_trials else "trials"
    found = answer.headline().removeprefix("best: ")
    head = [f"the best of {len(answer.completed)} completed {noun}: {found}", f"Command: {typed}"]
    text = recipe_file(sweep.composer.unresolved(words), head)
    write_whole(sweep.directory.best_file, text)


def _log(sweep: Sweep, row: Row) -> str:
    """Where to read more of a failure: the log of the last seed that was begun."""
    logs = [run.log for run in sweep.runs(row.number) if run.log.exists()]
    return f"; see {logs[-1]}" if logs else ""


def _print_table(sweep: Sweep, standing: Standing, metrics: Sequence[str]) -> None:
    console = _console()
    width = console.width if sys.stdout.isatty() else None
    shown = [row for row in standing.shown if row.status != "pruned"][:_TABLE_ROWS]
    shown = [replace(row, diverged=row.diverged or _has_risen(sweep, row)) for row in shown]
    console.print(make_table(shown, standing.answer.objective, width, metrics))


def _has_risen(sweep: Sweep, row: Row) -> bool:
    """Whether the training loss of a run ended far above where it began: too large a step may do that for ever."""
    for run in (run for number in row.trials or [row.number] for run in sweep.runs(number)):
        try:
            points = read_metrics(run)
        except (ConfigError, OSError):
            continue
        losses = [point["train/loss"] for point in points if point.get("train/loss") is not None]
        if losses and losses[-1] > _FAR_ABOVE * losses[0] > 0:
            return True
    return False


def _print_ranking(sweep: Sweep, standing: Standing) -> None:
    """Ranks within each value of a key, beside those published, where the sweep asks for them."""
    settings = sweep.strategy.settings.ranking
    if settings is None:
        return
    beside = ", as published in brackets" if settings.published else ""
    print(f"\nrank of each {settings.of} by {sweep.objective}{beside}")
    values = sweep.space.listed()
    # Of settings that trials repeat the mean is ranked, unless it is the seeds that are asked for.
    of_repetitions = {settings.of, settings.within} & {*sweep.repetitions.keys}
    rows = standing.answer.trials if of_repetitions else standing.answer.settings
    _console().print(draw_text(list(ranking_table(settings, rows, values))))
    for sentence in agreement(settings, rows, values):
        print(sentence)
    print()


def _report(sweep: Sweep) -> None:
    """The report itself where the sweep asks for it, else how to have it."""
    if not sweep.strategy.settings.report:
        print(f"report    {command('report', sweep.directory.path)}")
        return
    from dlrun.sweep.report.page import write_report

    written = write_report(sweep.directory)
    print(f"report    {written.page}")
    for picture in (file for file in written.pictures if file.stem == "curves"):
        print(f"curves    {picture}")


def _console() -> Console:
    return make_console(soft_wrap=True)
