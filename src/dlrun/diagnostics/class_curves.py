"""How well probabilities tell classes apart: ROC, precision and recall, calibration, and their histograms.

Shapes: N samples; D questions of yes and no, one for each class against the rest, or for each target of yes and no.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dlrun.diagnostics.line_chart import Colour
from dlrun.diagnostics.plane import SHARES, Line, plane, ticks_of
from dlrun.diagnostics.scatter import outline
from dlrun.tracking.picture import Picture

_COLOURS: tuple[Colour, ...] = (
    (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189),
    (140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207),
)  # fmt: skip
_BINS = 15  # of a calibration curve, as in Guo et al. (2017)
_BARS = 25  # of a histogram
_LETTERS = 15  # of a name in a legend

Points = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Question:
    """Whether a sample is of a class.

    Attributes:
        chances: the probabilities (N,) that the model gives to yes.
        answers: what is true (N,), bool.
    """

    name: str
    chances: np.ndarray
    answers: np.ndarray

    @property
    def answered_both(self) -> bool:
        """Whether samples of both kinds are there: without them no curve is defined."""
        return bool(self.answers.any() and not self.answers.all())


def curve_pictures(questions: Sequence[Question]) -> Iterator[tuple[str, Picture]]:
    """The name and the picture of each view.

    Of more than ten questions, those are shown whose probabilities order the samples worst.
    """
    asked = [question for question in questions if question.answered_both]
    if not asked:
        return
    few = sorted(asked, key=_area)[: len(_COLOURS)] if len(asked) > len(_COLOURS) else asked
    of = f": {len(few)} of {len(questions)} classes, the worst" if len(few) < len(questions) else ""
    chance = ((0.0, 0.0), (1.0, 1.0))
    yield "roc", plane(
        f"ROC curve and the area under it{of}", "x: false positive rate, y: true positive rate", SHARES, SHARES,
        lines=_lines(few, roc_points, _area), guide=chance,
    )  # fmt: skip
    yield "precision_recall", plane(
        f"precision, recall and average precision{of}", "x: recall, y: precision", SHARES, SHARES,
        lines=_lines(few, precision_recall_points, average_precision),
    )  # fmt: skip
    yield "calibration", plane(
        f"calibration{of}", "x: predicted probability, y: share of samples", SHARES, SHARES,
        lines=_lines(few, calibration_points), guide=chance,
    )  # fmt: skip
    yield "scores", _histograms(few, of)


def roc_points(question: Question) -> Points:
    """False positive rates and true positive rates, ascending, a point for each different probability."""
    hits, alarms = _above_each_threshold(question)
    return np.append(0.0, alarms / alarms[-1]), np.append(0.0, hits / hits[-1])


def precision_recall_points(question: Question) -> Points:
    """Recalls, ascending, and precisions, from the highest threshold to the lowest."""
    hits, alarms = _above_each_threshold(question)
    recall, precision = hits / hits[-1], hits / (hits + alarms)
    return np.append(0.0, recall), np.append(precision[0], precision)


def calibration_points(question: Question) -> Points:
    """The mean probability and the share of yes in each of 15 bins of equal width that has samples."""
    bins = np.minimum((question.chances * _BINS).astype(int), _BINS - 1)
    counts = np.bincount(bins, minlength=_BINS)
    filled = counts > 0
    sums = [
        np.bincount(bins, weights, minlength=_BINS)
        for weights in (question.chances, question.answers.astype(float))
    ]
    mean, share = (one[filled] / counts[filled] for one in sums)
    return mean, share


def average_precision(question: Question) -> float:
    """The sum over thresholds of the precision times the gain in recall."""
    recall, precision = precision_recall_points(question)
    return float((np.diff(recall) * precision[1:]).sum())


def _area(question: Question) -> float:
    """Under the ROC curve."""
    alarms, hits = roc_points(question)
    return float((np.diff(alarms) * (hits[1:] + hits[:-1])).sum() / 2)


def _above_each_threshold(question: Question) -> Points:
    """How many samples of yes and of no have at least each probability, the highest first."""
    order = np.argsort(-question.chances, kind="stable")
    answers, chances = question.answers[order], question.chances[order]
    ends = np.append(
        np.flatnonzero(np.diff(chances)), len(chances) - 1
    )  # equal ones count together
    hits = np.cumsum(answers)[ends].astype(float)
    return hits, ends + 1 - hits


def _lines(
    questions: Sequence[Question],
    points: Callable[[Question], Points],
    figure: Callable[[Question], float] | None = None,
) -> list[Line]:
    """A curve for each question, named with the figure that sums it up."""
    return [
        Line(
            question.name[:_LETTERS] + (f"  {figure(question):.3f}" if figure else ""),
            colour,
            *points(question),
        )
        for question, colour in zip(questions, _COLOURS, strict=False)
    ]


def _histograms(questions: Sequence[Question], of: str) -> Picture:
    """The probabilities that samples get of their own class; of one question alone, of both answers."""
    if len(questions) == 1:
        question = questions[0]
        groups = [
            (f"{question.name[:_LETTERS]}: {word}", question.chances[question.answers == answer])
            for word, answer in (("no", False), ("yes", True))
        ]
    else:
        groups = [(q.name[:_LETTERS], q.chances[q.answers]) for q in questions]
    edges = np.linspace(0, 1, _BARS + 1)
    shares = [np.histogram(chances, edges)[0] / len(chances) for _, chances in groups]
    lines = [
        outline(name, colour, share, edges)
        for (name, _), colour, share in zip(groups, _COLOURS, shares, strict=False)
    ]
    title = f"probabilities{of}" if len(questions) == 1 else f"probability of the true class{of}"
    axes = "x: probability, y: share of the samples of the class"
    return plane(title, axes, SHARES, ticks_of(*shares, np.zeros(1)), lines=lines)
