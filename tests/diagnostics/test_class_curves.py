"""The curves of probabilities against scikit-learn's, and what is shown of them."""

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from dlrun.data.base import Spec
from dlrun.diagnostics.class_curves import (
    Question,
    average_precision,
    calibration_points,
    curve_pictures,
    precision_recall_points,
    roc_points,
)
from dlrun.diagnostics.scatter import residual_histogram, residuals
from dlrun.diagnostics.views import questions_of

RANDOM = np.random.default_rng(0)
ANSWERS = RANDOM.random(300) < 0.3
CHANCES = np.clip(RANDOM.normal(0.3 + 0.3 * ANSWERS, 0.2), 0, 1)


@pytest.fixture(params=["different", "ties", "extremes"])
def question(request):
    chances = {
        "different": CHANCES,
        "ties": CHANCES.round(1),
        "extremes": (CHANCES > 0.5).astype(float),
    }[request.param]
    return Question("yes", chances, ANSWERS)


def test_the_roc_curve_is_that_of_scikit_learn(question):
    alarms, hits, _ = roc_curve(question.answers, question.chances, drop_intermediate=False)
    assert np.allclose(roc_points(question), (alarms, hits))


def test_precision_and_recall_are_those_of_scikit_learn(question):
    precision, recall, _ = precision_recall_curve(question.answers, question.chances)
    found_recall, found_precision = precision_recall_points(question)
    # scikit-learn's begins at the lowest threshold, and ends with a precision of 1 that no threshold has.
    assert np.allclose(found_recall[1:], recall[-2::-1])
    assert np.allclose(found_precision[1:], precision[-2::-1])
    expected = average_precision_score(question.answers, question.chances)
    assert average_precision(question) == pytest.approx(expected)


def test_calibration_is_that_of_scikit_learn(question):
    share, mean = calibration_curve(question.answers, question.chances, n_bins=15)
    assert np.allclose(calibration_points(question), (mean, share))


def test_a_class_without_samples_has_no_curve():
    nobody = Question("nobody", CHANCES, np.zeros(300, bool))
    assert list(curve_pictures([nobody])) == []
    assert len(list(curve_pictures([nobody, Question("some", CHANCES, ANSWERS)]))) == 4


def test_of_many_classes_the_worst_are_shown():
    answers = np.arange(24) % 12
    chances = np.full((24, 12), 0.01) + 0.5 * np.eye(12)[answers]
    chances[:, 11] = 0.3  # which tells nothing
    questions = [Question(f"c{k}", chances[:, k], answers == k) for k in range(12)]
    pictures = dict(curve_pictures(questions))
    assert list(pictures) == ["roc", "precision_recall", "calibration", "scores"]
    legend = pictures["roc"].rgb_HW3[36:416, 464:]
    assert sum((legend == colour).all(-1).any() for colour in [(31, 119, 180), (23, 190, 207)]) == 2


@pytest.mark.parametrize(
    ("spec", "targets", "names", "answers"),
    [
        (
            Spec("binary", "features", (2,), 1, class_names=("no", "yes")),
            [0.0, 1.0],
            ["yes"],
            [[False, True]],
        ),
        (
            Spec("multiclass", "features", (2,), 3, class_names=("a", "b", "c")),
            [2, 0],
            ["a", "b", "c"],
            [[False, True], [False, False], [True, False]],
        ),
        (
            Spec(
                "multilabel", "features", (2,), 2, target_names=("x", "y"),
                labels=("no", "yes", "no", "yes"),
            ),
            [[1.0, 0.0], [1.0, 1.0]],
            ["x", "y"],
            [[True, True], [False, True]],
        ),
    ],
)  # fmt: skip
def test_each_task_asks_its_questions(spec, targets, names, answers):
    scores = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, -2.0]])[:, : spec.num_outputs]
    questions = questions_of(scores, torch.tensor(targets), spec)
    assert [question.name for question in questions] == names
    assert [question.answers.tolist() for question in questions] == answers
    chances = torch.sigmoid(scores) if spec.task != "multiclass" else torch.softmax(scores, 1)
    assert np.allclose(np.stack([question.chances for question in questions]), chances.T)


def test_residuals_lie_over_and_under_zero():
    predicted = np.linspace(0, 10, 60)
    picture = residuals("y", predicted + np.where(np.arange(60) % 2, 1.0, -1.0), predicted).rgb_HW3
    square = picture[36:416, 84:464].astype(int)
    distance = np.abs((square[..., 2] - square[..., 0] > 40).nonzero()[0] - 190)
    assert distance.min() > 40 and distance.max() - distance.min() <= 6


@pytest.mark.parametrize("errors", [[], [np.nan], [2.0]])
def test_few_residuals_are_drawn(errors):
    values = np.array(errors)
    for draw in (residuals, residual_histogram):
        assert draw("y", values, np.zeros(len(values))).rgb_HW3.shape[2] == 3
