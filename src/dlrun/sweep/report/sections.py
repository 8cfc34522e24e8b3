"""Which figures the report of a sweep has, with their captions; a sentence where one cannot be drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from optuna.trial import TrialState

from dlrun.sweep.report.curves import Curves, learning_curves
from dlrun.sweep.report.importance import Importance, count_best, importance
from dlrun.sweep.report.rounds import Rounds, read_rounds
from dlrun.sweep.snapshot import Snapshot, label, settled
from dlrun.tracking.numbers import number_text

KINDS = ("history", "curves", "parallel", "importance", "slice", "contour", "rounds")
MOST_LINES = 200  # trials in parallel coordinates, where each is a line across the whole figure
MOST_SLICES = 12
_CONTOURED = 3  # parameters of which every pair gets a contour


@dataclass(frozen=True)
class Section:
    """One kind of figure.

    Attributes:
        kind: one of `KINDS`.
        caption: how to read it; or, without panels, why there is nothing to see.
        panels: what each figure shows: the names of the parameters that it is about.
    """

    kind: str
    title: str
    caption: str
    panels: tuple[tuple[str, ...], ...] = ()

    @property
    def has_several(self) -> bool:
        """Whether there may be a figure for each parameter or pair of them."""
        return self.kind in ("slice", "contour", "rounds")


class Contents:
    """What there is to draw of a snapshot, each thing worked out once for the page and the pictures."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._as_it_is, self.snapshot = snapshot, settled(snapshot)

    @property
    def _curved(self) -> Snapshot:
        """The trials that get a curve each: also those that repeat the only setting, as none hides another."""
        return self._as_it_is if self.snapshot.repetitions.are_all else self.snapshot

    @cached_property
    def curves(self) -> Curves:
        """The learning curves."""
        return learning_curves(self._curved)

    @cached_property
    def importance(self) -> Importance:
        """The importance of the parameters."""
        return importance(self.snapshot)

    @cached_property
    def rounds(self) -> Rounds | None:
        """The rounds of a search from coarse to fine, None for other strategies."""
        return read_rounds(self._as_it_is)

    @cached_property
    def by_importance(self) -> list[str]:
        """The parameters that varied, the most important first."""
        shares = self.importance.shares
        return sorted(self.snapshot.varied, key=lambda name: -shares.get(name, 0.0))

    def sections(self) -> list[Section]:
        """The report's figures in their order."""
        found = [
            self._history(),
            self._curves(),
            self._parallel(),
            self._importance(),
            self._slices(),
            self._contours(),
        ]
        return found + ([self._rounds(self.rounds)] if self.rounds else [])

    def _history(self) -> Section:
        title = "Optimization history"
        if reason := self._too_few():
            return Section("history", title, reason)
        caption = (
            "Each dot is a completed trial; the line is the best value so far, and where it goes flat more trials"
            " have not helped." + self._edge_note() + self._axis_note()
        )
        return Section("history", title, caption, ((),))

    def _curves(self) -> Section:
        title, curves = "Learning curves", self.curves
        metric = curves.metric
        if not curves.shown:
            gone = "No trial has logged it yet, or their directories have been deleted."
            return Section("curves", title, f"There is no curve of {metric} to draw. {gone}")
        if max(len(curve.x) for curve in curves.shown) < 2:
            once = f"{metric} was measured only once in each trial, so there is no curve to draw."
            return Section("curves", title, once)
        return Section("curves", title, " ".join(self._curve_notes()), ((),))

    def _curve_notes(self) -> Iterator[str]:
        curves = self.curves
        yield f"Each line is a trial: {curves.metric} at each {curves.axis}."
        if any(curve.state is TrialState.PRUNED for curve in curves.shown):
            yield "Grey lines did not complete, and end where they were cut off."
        elif any(curve.state is not TrialState.COMPLETE for curve in curves.shown):
            yield "Grey lines have not completed."
        if any(len(trial.user_attrs.get("values", ())) > 1 for trial in self._curved.ranked):
            yield f"A line is the mean over the {self.snapshot.repetitions.noun}."
        if curves.left_out:
            first = "best" if self.snapshot.comparable else "first"
            yield f"Only the {first} {len(curves.shown)} are drawn; {curves.left_out} are left out."
        if curves.axis == "evaluation":
            yield "The run directories are gone: this is what the study itself remembers."
        elif curves.without:
            yield f"Without a curve, or deleted since: {_trials(curves.without)}."

    def _parallel(self) -> Section:
        title = "Parallel coordinates"
        if reason := self._too_little(2):
            return Section("parallel", title, reason)
        caption = (
            "Each line is a trial and crosses every axis at its value there; the stronger its blue, the better it"
            " did. Where strong lines meet on an axis, that value matters." + self._edge_note()
        )
        if (hidden := len(self.snapshot.ranked) - MOST_LINES) > 0:
            caption += f" Only the best {MOST_LINES} trials are drawn; {hidden} are left out."
        return Section("parallel", title, caption, (tuple(self.snapshot.varied),))

    def _importance(self) -> Section:
        title = "Which parameter matters"
        reason = self._no_choice() or self.importance.reason
        if reason:
            return Section("importance", title, reason)
        best = count_best(self.snapshot)
        caption = (
            f"The share of each parameter in what sets the best {best} trials apart: PED-ANOVA, Optuna's usual"
            " measure, compares how a parameter's values are spread among them with how they are spread among all."
        )
        if len(self.snapshot.ranked) < 30:
            caption += " With so few trials, take it as a hint."
        return Section("importance", title, caption, (tuple(self.importance.shares),))

    def _slices(self) -> Section:
        title = "Each parameter on its own"
        if reason := self._too_little(1):
            return Section("slice", title, reason)
        names = self.by_importance[:MOST_SLICES]
        caption = (
            "Each dot is a trial, stronger in colour the later it came; a valley or a peak shows which values do well."
            + self._edge_note()
            + self._axis_note()
        )
        if (hidden := len(self.by_importance) - len(names)) > 0:
            caption += f" {_parameters(hidden)} of less importance are left out."
        return Section("slice", title, caption, tuple((name,) for name in names))

    def _contours(self) -> Section:
        title = "Parameters in pairs"
        if reason := self._too_little(2):
            return Section("contour", title, reason)
        if len({self.snapshot.shown(trial) for trial in self.snapshot.ranked}) == 1:
            same = f"{self.snapshot.objective} is the same in all completed trials."
            return Section("contour", title, same)
        pairs = combinations(self.by_importance[:_CONTOURED], 2)
        drawable = tuple(pair for pair in pairs if self._vary_together(*pair))
        if not drawable:
            together = "No two parameters varied together in three completed trials."
            return Section("contour", title, together)
        caption = (
            f"{self.snapshot.objective} over two parameters, filled in between the trials (the dots); the stronger"
            " the blue, the better." + self._edge_note()
        )
        if len(self.by_importance) > _CONTOURED:
            caption += f" Only pairs of the {_CONTOURED} most important parameters are drawn."
        return Section("contour", title, caption, drawable)

    def _rounds(self, rounds: Rounds) -> Section:
        title = "From coarse to fine"
        if not rounds.ranges:
            return Section("rounds", title, "No round has begun yet.")
        caption = (
            "The bands are what each round drew from, the dots its trials, the stronger in colour the better: the"
            " search narrows to the values with good results."
        )
        if len(self.snapshot.ranked) < sum(t.state.is_finished() for t in self.snapshot.trials):
            caption += " Grey ones gave no result."
        return Section("rounds", title, caption, tuple((name,) for name in rounds.names))

    def _too_little(self, parameters: int) -> str:
        """Why a figure of so many parameters cannot be drawn; empty where it can."""
        if reason := self._too_few():
            return reason
        varied = len(self.snapshot.varied)
        if not varied:
            return "No parameter took different values in the completed trials."
        if varied < parameters:
            only = label(self.snapshot.varied[0])
            return f"It takes {parameters} parameters; only {only} took different values."
        return ""

    def _too_few(self) -> str:
        """Why nothing can be compared, or not yet; empty where it can."""
        if not self.snapshot.ranked:
            return "No trial has completed yet."
        if reason := self._no_choice():
            return reason
        return "" if len(self.snapshot.ranked) > 1 else "One completed trial is too few to compare."

    def _no_choice(self) -> str:
        """Why there is nothing to choose by or from; empty where there is."""
        if not self.snapshot.comparable:
            return "The trials have different data or targets: a figure of all results would compare them."
        if not self.snapshot.repetitions.are_all:
            return ""
        return "All runs repeat one setting: there is nothing to compare it with."

    def _vary_together(self, first: str, second: str) -> bool:
        both = [t.params for t in self.snapshot.ranked if {first, second} <= set(t.params)]
        differ = all(len({params[name] for params in both}) > 1 for name in (first, second))
        return len(both) > 2 and differ

    def _edge_note(self) -> str:
        note = ""
        if self.snapshot.repetitions.across_trials:
            note = f" Trials that repeat a setting are one, at their mean over the {self.snapshot.repetitions.noun}."
        if not (beyond := self.snapshot.beyond_edge):
            return note
        are = "is" if beyond == 1 else "are"
        edge = number_text(self.snapshot.edge or 0.0)
        return f"{note} {_trials(beyond)} worse than {edge} {are} drawn at that value."

    def _axis_note(self) -> str:
        return " The vertical axis is logarithmic." if self.snapshot.log_axis else ""


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def _parameters(count: int) -> str:
    return "1 parameter" if count == 1 else f"{count} parameters"
