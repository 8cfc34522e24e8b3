"""Metrics of classes against scikit-learn: ties, a class that is missing, one sample, two classes, many, several."""

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from dlrun.data.base import Spec
from dlrun.training.metrics.classes import Classified, formula


def spec_of(task, outputs):
    classes = {"binary": 2, "multiclass": outputs}.get(task, 0)
    return Spec(task, "features", (2,), outputs, class_names=tuple(map(str, range(classes))))


def measured(name, outputs, targets, task):
    spec = spec_of(task, outputs.shape[-1])
    return formula(name, spec)(Classified.of(outputs, targets, spec)).tolist()


def chances_of(outputs):
    if outputs.shape[1] > 1:
        return torch.softmax(outputs.double(), 1).numpy()
    yes = torch.sigmoid(outputs.double()).numpy()
    return np.concatenate([1 - yes, yes], 1)


def of_likeliest(function, **how):
    return lambda true, chances: function(true, chances.argmax(1), **how)


def of_yes(function):
    return lambda true, chances: function(true, chances[:, 1])


def expected_calibration_error(true, chances):
    sure, right = chances[:, 1], true
    if chances.shape[1] > 2:
        sure, right = chances.max(1), true == chances.argmax(1)
    often, confidence = calibration_curve(right, sure, n_bins=15)
    sizes = np.histogram(sure, np.linspace(0, 1, 16))[0]
    return (np.abs(often - confidence) * sizes[sizes > 0]).sum() / len(true)


def ranked(true, scores, k):
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return (best == true[:, None]).any(1).mean()


REFERENCES = {
    "balanced_accuracy": of_likeliest(reference.balanced_accuracy_score),
    "macro_f1": of_likeliest(reference.f1_score, average="macro"),
    "micro_f1": of_likeliest(reference.f1_score, average="micro"),
    "weighted_f1": of_likeliest(reference.f1_score, average="weighted"),
    "macro_precision": of_likeliest(reference.precision_score, average="macro", zero_division=0),
    "macro_recall": of_likeliest(reference.recall_score, average="macro", zero_division=0),
    "mcc": of_likeliest(reference.matthews_corrcoef),
    "cohen_kappa": of_likeliest(reference.cohen_kappa_score),
    "calibration_error": expected_calibration_error,
    "log_loss": lambda true, chances: reference.log_loss(
        true, chances, labels=range(chances.shape[1])
    ),
}
OF_TWO = {
    "brier": of_yes(reference.brier_score_loss),
    "roc_auc": of_yes(reference.roc_auc_score),
    "average_precision": of_yes(reference.average_precision_score),
    "precision": of_likeliest(reference.precision_score, zero_division=0),
    "recall": of_likeliest(reference.recall_score, zero_division=0),
    "f1": of_likeliest(reference.f1_score, zero_division=0),
}
OF_MANY = {
    "brier": lambda true, chances: ((chances - np.eye(chances.shape[1])[true]) ** 2).sum(1).mean(),
    "roc_auc": lambda true, chances: reference.roc_auc_score(true, chances, multi_class="ovr"),
    "average_precision": lambda true, chances: reference.average_precision_score(
        np.eye(chances.shape[1])[true], chances
    ),
    "top_2_accuracy": lambda true, chances: ranked(true, chances, 2),
    "f1": of_likeliest(reference.f1_score, average="macro"),
}
CASES = [(name, "binary", 1) for name in {**REFERENCES, **OF_TWO}]
CASES += [(name, "multiclass", 4) for name in {**REFERENCES, **OF_MANY}]


def samples(task, outputs, count=70, *, ties=False):
    generator = torch.Generator().manual_seed(count)
    scores = torch.randn(count, outputs, generator=generator)
    classes = 2 if task == "binary" else outputs
    targets = torch.randint(classes, (count,), generator=generator)
    scores[torch.arange(count), targets.clamp(max=outputs - 1)] += 0.7
    return (scores.round() if ties else scores), targets


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize(("name", "task", "outputs"), CASES)
def test_a_metric_is_what_scikit_learn_computes(name, task, outputs, ties):
    scores, targets = samples(task, outputs, ties=ties)
    wanted = {**REFERENCES, **(OF_TWO if task == "binary" else OF_MANY)}[name]
    expected = wanted(targets.numpy(), chances_of(scores))
    truth = targets.float() if task == "binary" else targets
    assert measured(name, scores, truth, task) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize(("task", "outputs"), [("binary", 1), ("multiclass", 4)])
def test_a_class_that_never_occurs_counts_as_scikit_learn_counts_it(name, task, outputs):
    scores, targets = samples(task, outputs)
    targets = targets.clamp(max=0) if task == "binary" else targets.clamp(max=2)
    if task == "multiclass":
        scores[:, 3] = -9.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = REFERENCES[name](targets.numpy(), chances_of(scores))
    assert measured(name, scores, targets, task) == pytest.approx(expected, rel=1e-9, nan_ok=True)


def test_the_order_of_scores_says_nothing_of_a_class_without_samples():
    scores, targets = samples("multiclass", 4)
    targets = targets.clamp(max=2)
    chances = torch.log_softmax(scores.double(), 1).numpy()
    for name, function in (
        ("roc_auc", reference.roc_auc_score),
        ("average_precision", reference.average_precision_score),
    ):
        each = [function((targets == c).numpy(), chances[:, c]) for c in range(3)]
        assert measured(name, scores, targets, "multiclass") == pytest.approx(np.mean(each))
        assert math.isnan(measured(name, scores[:, :1], torch.zeros(70), "binary"))


@pytest.mark.parametrize("name", [*REFERENCES, "brier"])
def test_one_sample_is_enough_for_all_that_needs_no_order(name):
    value = measured(name, torch.tensor([[0.2, 1.0, -1.0]]), torch.tensor([1]), "multiclass")
    best = {"brier": None, "log_loss": None, "calibration_error": None, "mcc": 0.0}
    if name == "cohen_kappa":
        assert math.isnan(value)
    elif (wanted := best.get(name, 1.0)) is not None:
        assert value == wanted
    else:
        assert 0 < value < 1


def test_metrics_of_several_targets_of_yes_and_no_are_those_of_each_column():
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(50, 3, generator=generator)
    targets = (torch.rand(50, 3, generator=generator) > 0.6).float()
    targets[:, 2] = 0.0  # nobody says yes
    said = (scores > 0).int().numpy()
    true = targets.int().numpy()
    for name in ("balanced_accuracy", "mcc", "log_loss", "brier", "calibration_error"):
        wanted = {**REFERENCES, **OF_TWO}[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            each = [wanted(true[:, c], chances_of(scores[:, [c]])) for c in range(3)]
        assert measured(name, scores, targets, "multilabel") == pytest.approx(each)
    for average in ("macro", "micro", "weighted"):
        expected = reference.f1_score(true, said, average=average, zero_division=0)
        assert measured(f"{average}_f1", scores, targets, "multilabel") == pytest.approx([expected])
    expected = reference.f1_score(true, said, average=None, zero_division=0)
    assert measured("f1", scores, targets, "multilabel") == pytest.approx(list(expected))


@pytest.mark.parametrize(("task", "outputs"), [("binary", 1), ("multiclass", 4), ("multilabel", 3)])
def test_many_models_are_measured_as_each_of_them_alone(task, outputs):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 40, outputs, generator=generator)
    shape = (3, 40, outputs) if task == "multilabel" else (3, 40)
    classes = outputs if task == "multiclass" else 2
    targets = torch.randint(classes, shape, generator=generator)
    for name in [*REFERENCES, "roc_auc", "average_precision", "brier", "f1"]:
        together = measured(name, scores, targets, task)
        alone = [measured(name, *pair, task) for pair in zip(scores, targets, strict=True)]
        np.testing.assert_allclose(together, alone, rtol=1e-12)
