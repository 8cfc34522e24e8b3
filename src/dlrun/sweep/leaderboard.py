"""Trials in the order of their merit, as a table for programs and as the answer for people."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from dlrun.config.metrics import rank
from dlrun.errors import command
from dlrun.storage.run_directory import latest_overrides, write_whole
from dlrun.storage.spreadsheets import cells
from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep.repetitions import Repetitions, mean_and_spread, without_repetitions
from dlrun.sweep.space.parse import Space


def short_keys(keys: Sequence[str]) -> list[str]:
    """Each key's shortest end, of whole names, that no other key has: `lr` for `optimizer.lr`."""
    ends = [[key.split(".", count)[-1] for count in range(key.count(".") + 1)] for key in keys]
    used = Counter(end for mine in ends for end in mine)
    return [next((end for end in reversed(mine) if used[end] == 1), mine[0]) for mine in ends]


def setting_name(swept: Mapping[str, str]) -> str:
    """The setting of a trial in few words: `lr=0.1 momentum=0.9`; of one key alone a value that is a word."""
    if len(swept) == 1 and (text := next(iter(swept.values())))[:1].isalpha():
        return text
    pairs = zip(short_keys([*swept]), swept.values(), strict=True)
    return " ".join(f"{key}={text}" for key, text in pairs)


STATUSES = {
    TrialState.COMPLETE: "completed",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
_ORDER = list(STATUSES.values())


@dataclass(frozen=True)
class Row:
    """One trial; or one setting, of which several trials were repetitions.

    Attributes:
        number: of the trial; of a setting that of its first.
        value: the objective; the mean over the repetitions where there are several.
        spread: the standard deviation over the repetitions; None with one.
        words: what the sweep varies and its values here, as overrides to type.
        swept: the same to read: each key and its value, of named cases the name.
    """

    number: int
    status: str
    value: float | None
    spread: float | None
    words: list[str]
    swept: dict[str, str]
    seconds: float | None
    metrics: dict[str, float] = field(default_factory=dict)
    error: str = ""
    diverged: bool = False  # its loss grew, beyond all numbers where it failed
    each: Sequence[Mapping[str, float]] = ()  # the metrics of each repetition that was completed
    missing: Mapping[str, int] = field(default_factory=dict)  # how many were not, by how they ended
    trials: Sequence[int] = ()  # of a setting: the numbers of those that repeat it

    def spread_of(self, metric: str) -> float | None:
        """The standard deviation of a metric over the repetitions; None where there are not several."""
        values = [metrics[metric] for metrics in self.each if metric in metrics]
        return mean_and_spread(values)[1] if len(values) > 1 else None


def merit(row: Row, *, minimize: bool) -> tuple[int, bool, bool, float, int]:
    """A key to sort rows by, the best first; a mean of those that survived stands behind whole ones."""
    place = _ORDER.index(row.status)
    return place, bool(row.missing), *rank(row.value, minimize=minimize), row.number


def make_row(trial: FrozenTrial, space: Space, objective: str = "") -> Row:
    """The row of one trial of a sweep with this objective."""
    facts: dict[str, Any] = trial.user_attrs
    values = facts.get("values", [])
    # A trial that has just begun may not have all its parameters yet.
    known = {p.name for p in space.parameters} <= set(trial.params)
    metrics = facts.get("metrics", {})
    is_complete = trial.state is TrialState.COMPLETE
    # A sweep of an earlier version has kept no more of each seed.
    before = [{objective: value} for value in values] or ([metrics] if is_complete else [])
    words = space.words(trial.params) if known else []
    return Row(
        trial.number,
        STATUSES[trial.state],
        trial.value if trial.state is TrialState.COMPLETE else None,
        mean_and_spread(values)[1] if len(values) > 1 else None,
        words,
        space.labels(trial.params) if known else {},
        facts.get("seconds"),
        metrics,
        facts.get("error", ""),
        facts.get("diverged", False),
        facts.get("each", before),
    )


@dataclass(frozen=True)
class Results:
    """The trials of a sweep that are over, and what they are compared by.

    Attributes:
        trials: best first.
        comparable: whether one of them can be called the best.
    """

    trials: Sequence[Row]
    objective: str
    minimize: bool
    repetitions: Repetitions
    comparable: bool = True

    def by_setting(self) -> list[tuple[Row, Sequence[Row]]]:
        """Each setting as one row with its trials; where nothing is repeated, each of the trials alone.

        The best mean comes first; where results are not comparable, the first trial.
        """
        found: list[tuple[Row, Sequence[Row]]] = [(row, [row]) for row in self.trials]
        if self.repetitions.across_trials:
            found = [
                (_merged(trials, self.repetitions, self.objective), trials)
                for trials in _settings(self.trials, self.repetitions)
            ]
            found.sort(key=lambda pair: merit(pair[0], minimize=self.minimize))
        if not self.comparable:
            found.sort(key=lambda pair: pair[0].number)
        return found

    @cached_property
    def settings(self) -> list[Row]:
        """A row for each setting, which is a trial where nothing is repeated; the best first, if there is one."""
        return [setting for setting, _ in self.by_setting()]

    @cached_property
    def completed(self) -> list[Row]:
        """The settings that have a result."""
        return [row for row in self.settings if row.status == "completed" and row.value is not None]

    @property
    def winner(self) -> Row | None:
        """The best setting; None before there is a result, and where there is nothing to choose by or from."""
        is_choice = self.comparable and not self.repetitions.are_all
        return self.completed[0] if self.completed and is_choice else None


def _settings(rows: Sequence[Row], repetitions: Repetitions) -> list[list[Row]]:
    """The trials of each setting in the order of their numbers."""
    settings: dict[Any, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.number):
        settings.setdefault(repetitions.setting(row.swept), []).append(row)
    return list(settings.values())


def _merged(trials: Sequence[Row], repetitions: Repetitions, objective: str) -> Row:
    """The trials of one setting as one row; a sampler may have sampled the same one twice, which counts once."""
    distinct: dict[tuple[tuple[str, str], ...], Row] = {}
    for row in trials:
        kept = distinct.setdefault(tuple(row.swept.items()), row)
        if kept.status != "completed":
            distinct[tuple(row.swept.items())] = row
    complete = [row for row in distinct.values() if row.status == "completed"]
    each = [metrics for row in complete for metrics in row.each]
    values = [metrics[objective] for metrics in each if objective in metrics]
    value, spread = mean_and_spread(values) if values else (None, None)
    names = dict.fromkeys(name for metrics in each for name in metrics)
    first = trials[0]
    return Row(
        first.number,
        min((row.status for row in distinct.values()), key=_ORDER.index),
        value,
        spread,
        without_repetitions(first.words),
        repetitions.labels([row.swept for row in trials]),
        sum(row.seconds or 0.0 for row in distinct.values()),
        {name: mean_and_spread([m[name] for m in each if name in m])[0] for name in names},
        next((row.error for row in distinct.values() if row.error), ""),
        any(row.diverged for row in distinct.values()),
        each,
        Counter(_ending(row) for row in distinct.values() if row.status != "completed"),
        [row.number for row in trials],
    )


def _ending(row: Row) -> str:
    return "diverged" if row.status == "failed" and row.diverged else row.status


def write_leaderboard(sweep: SweepDirectory, results: Results, *, raw: bool) -> None:
    """Replace leaderboard.csv: a line a trial; repetitions of one setting together, with its rank, mean and n.

    Where the trials are not `comparable`, they stand in the order of their numbers and have no rank.
    Cells that a spreadsheet would compute are quoted, unless they are to be left `raw`.
    """
    rows, objective, comparable = results.trials, results.objective, results.comparable
    keys = list(dict.fromkeys(key for row in rows for key in row.swept))
    names = sorted({name for row in rows for name in row.metrics} - {objective})
    of_setting = ["mean", "spread", "n"] if results.repetitions.across_trials else ["spread"]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    head = ["rank", "trial", "status", objective, *of_setting, *keys, *names, "seconds", "error"]
    writer.writerow(cells(head, raw=raw))
    for place, (setting, trials) in enumerate(results.by_setting(), 1):
        facts = {"mean": setting.value, "spread": setting.spread, "n": len(setting.each)}
        for row in trials:
            writer.writerow(
                cells(
                    [
                        place if comparable and row.status == "completed" else "",
                        row.number,
                        row.status,
                        row.value,
                        *(facts[name] for name in of_setting),
                        *(row.swept.get(key) for key in keys),
                        *(row.metrics.get(name) for name in names),
                        row.seconds,
                        row.error,
                    ],
                    raw=raw,
                )
            )
    write_whole(sweep.leaderboard_file, file.getvalue())


def best_command(fixed: Sequence[str], row: Row, more: Sequence[str] = ()) -> str:
    """The command line that trains the setting of `row` once more, alone."""
    return command("train", *latest_overrides([*fixed, *row.words, *more]))
