"""What a sweep found, in words: who won, by how much, how sure that is, and what to type for it.

The closing lines, `dlrun show` and the report all say it from here.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace

from dlrun.runner.baseline_check import shortfall_of
from dlrun.storage.index import run_paths
from dlrun.storage.run_summary import read_run
from dlrun.storage.sweep_directory import SweepDirectory, config_words
from dlrun.sweep.leaderboard import Results, Row, best_command, make_row
from dlrun.sweep.repetitions import counted, means
from dlrun.sweep.settings import Plan
from dlrun.sweep.snapshot import Snapshot
from dlrun.tracking.numbers import number_text, spread_text

_MOST_METRICS = 8
NO_BEST = "none is the best: the trials have different data or targets, and their results cannot be compared"


class Answer(Results):
    """The results of a sweep in words."""

    @property
    def repeated(self) -> Row | None:
        """The only setting of a sweep of nothing but repetitions, once one of them was completed."""
        is_one = self.comparable and self.repetitions.are_all
        only = self.settings[0] if self.settings and is_one else None
        return only if only and only.each else None

    @property
    def noun(self) -> str:
        """What is compared: trials, or settings that several trials repeat."""
        several = self.repetitions.across_trials and not self.repetitions.are_all
        return "setting" if several else "trial"

    def name(self, row: Row) -> str:
        """What a setting is called: by its trial, or by its values where it has several trials."""
        if not self.repetitions.across_trials:
            return f"trial {row.number}"
        return " ".join(f"{key}={text}" for key, text in row.swept.items()) or "the one setting"

    def value(self, row: Row) -> str:
        """Its objective; of repetitions mean ± standard deviation, and how many they are."""
        assert row.value is not None
        if not self.is_mean(row):
            return number_text(row.value)
        return f"{spread_text(row.value, row.spread)} over the {self.repetitions.noun} ({self.count(row)})"

    def is_mean(self, row: Row) -> bool:
        """Whether its values are means, be it of one repetition so far."""
        return self.repetitions.are_any or len(row.each) > 1

    def count(self, row: Row) -> str:
        """How many repetitions count, and how many do not."""
        missing = dict(row.missing)
        lost = self.repetitions.seeds - len(row.each)
        if (
            row.status != "completed" and not missing and lost > 0
        ):  # seeds of one trial, which ended with one of them
            missing["not completed"] = lost
        return counted(len(row.each), missing)

    def headline(self) -> str:
        """`best: trial 3, val/loss 0.1123`."""
        assert self.winner is not None
        return f"best: {self.name(self.winner)}, {self.objective} {self.value(self.winner)}"

    def lead(self) -> Iterator[str]:
        """By how much the winner beats the runner-up and the one in the middle, in sentences."""
        assert self.winner is not None
        across = self.repetitions.across_trials
        yield from lead_among(
            [
                (self.name(row) if across else row.number, row.value or 0.0)
                for row in self.completed
            ],
            self.winner.spread,
            minimize=self.minimize,
            noun=self.noun,
            repeated=self.repetitions.noun,
        )
        if across and len(self.winner.each) == 1:
            yield f"It was trained once: how much the {self.repetitions.noun} differ is not known."

    def others(self, row: Row) -> list[str]:
        """What else was measured, as words: of repetitions every metric with its spread."""
        if self.is_mean(row) and row.each:
            shown = means(row.each)
            # An older sweep kept each value of its objective alone.
            shown |= {k: number_text(v) for k, v in row.metrics.items() if k not in shown}
            return [f"{name} {text}" for name, text in shown.items() if name != self.objective]
        names = [name for name in row.metrics if name != self.objective]
        names.sort(key=lambda name: (not name.startswith(("val/", "test/")), name))
        return [f"{name} {number_text(row.metrics[name])}" for name in names[:_MOST_METRICS]]

    def repetition_lines(self) -> Iterator[tuple[str, str]]:
        """Every metric with mean ± standard deviation, the objective first, of a sweep of nothing but repetitions."""
        assert self.repeated is not None
        yield from means(self.repeated.each, self.objective).items()

    def repetition_head(self) -> str:
        """What these lines are: `mean ± standard deviation over the seeds (n = 3)`."""
        assert self.repeated is not None
        return (
            f"mean ± standard deviation over the {self.repetitions.noun} "
            f"({self.count(self.repeated)})"
        )


def answer_of(snapshot: Snapshot) -> Answer:
    """The answer as it stands now."""
    rows = [
        replace(
            make_row(trial, snapshot.space, snapshot.objective),
            words=snapshot.words(trial),
            swept=snapshot.texts(trial),
        )
        for trial in snapshot.judged
    ]
    return Answer(
        rows,
        snapshot.objective,
        snapshot.minimize,
        snapshot.repetitions,
        comparable=snapshot.comparable,
    )


def warning(answer: Answer, sweep: SweepDirectory) -> str:
    """That the winner, or the mean of all repetitions, is no better than what needs no model; empty where it is."""
    told = answer.winner or answer.repeated
    if told is None:
        return ""
    folders = [sweep.trial(number) for number in told.trials or [told.number]]
    runs = [read_run(path) for folder in folders for path in sorted(run_paths(folder))]
    found = shortfall_of(runs)
    return f"warning: {'its' if answer.winner else 'their'} {found}" if found else ""


def command_of(snapshot: Snapshot, row: Row) -> str:
    """The command line that trains the setting once more, alone."""
    settings = snapshot.settings
    epochs = settings.get("epochs_per_round")
    plan = Plan(len(snapshot.trials), settings.get("trials_per_round"), epochs)
    folder = config_words(list(map(str, snapshot.description.get("command") or [])))
    return best_command([*folder, *snapshot.fixed], row, plan.words(row.number))


def lead_among(
    ranked: Sequence[tuple[int | str, float]],
    deviation: float | None,
    *,
    minimize: bool,
    noun: str = "trial",
    repeated: str = "seeds",
) -> Iterator[str]:
    """The lead of the first of them, in sentences; each is a name, or a trial's number, and its objective.

    Args:
        deviation: the standard deviation over the best one's repetitions, None with one.
    """
    (_, best), *others = ranked
    if not others:
        yield f"It is the only completed {noun}: there is nothing to compare it with."
        return
    better = "lower" if minimize else "higher"
    (second, value) = others[0]
    second = f"trial {second}" if isinstance(second, int) else second
    if ahead := abs(value - best):
        gap = number_text(ahead, digits=3)
        yield f"{gap} {better} than the runner-up, {second} ({number_text(value)})."
        yield from _doubt(deviation, ahead, repeated)
    else:
        yield f"The same as the runner-up, {second}; the earlier of equals is named."
    if len(others) > 1:
        median = statistics.median(value for _, value in ranked)
        ahead = abs(median - best)
        than = f"{number_text(ahead, digits=3)} {better} than" if ahead else "The same as"
        yield f"{than} the median of the {len(ranked)} completed {noun}s ({number_text(median)})."


def _doubt(deviation: float | None, ahead: float, repeated: str) -> Iterator[str]:
    if deviation is not None and ahead < deviation:
        yield (
            f"That is less than the {repeated} differ (standard deviation"
            f" {number_text(deviation, digits=2)}): this sweep cannot distinguish the two."
        )
