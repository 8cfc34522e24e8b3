"""Losses against the lectures' closed forms, metrics against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from dlrun.config.metrics import direction
from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Spec
from dlrun.data.loaders import Split
from dlrun.errors import ConfigError
from dlrun.training.scores import (
    class_confusion,
    confusion_matrix,
    precision_recall_f1,
    probabilities,
    roc_auc,
)
from dlrun.training.tasks import make_task
from losses import loss

LN2 = 0.6931471806
# Raw scores whose sigmoid is 0.5, 0.75 and 0.25.
SCORES_3 = torch.tensor([[0.0], [math.log(3)], [-math.log(3)]])


def make_spec(task, outputs):
    count = {"binary": 2, "multiclass": outputs}.get(task, 0)
    return Spec(task, "features", (2,), outputs, class_names=tuple(f"c{i}" for i in range(count)))


def task_of(kind, outputs=1, *, name="auto", scale=(), **settings):
    """The task of a problem; `scale` is the (mean, std) of each regression target."""
    scale = scale or [(0.0, 1.0)] * outputs
    preprocessing = Scaling([0.0], [1.0], [m for m, _ in scale], [s for _, s in scale], 0.0)
    return make_task(make_spec(kind, outputs), loss(name, **settings), preprocessing)


def several(kind, *names, labels=(), **settings):
    """The task of several named targets."""
    spec = Spec(kind, "features", (2,), len(names), target_names=names, labels=labels)
    scale = len(names) if kind == "regression" else 0
    preprocessing = Scaling(
        [0.0], [1.0], [3.0] * scale, [2.0 * (at + 1) for at in range(scale)], 0.0
    )
    return make_task(spec, loss(**settings), preprocessing)


def test_metrics_of_several_quantities_are_those_of_each_and_their_mean():
    torch.manual_seed(0)
    outputs, targets = torch.randn(40, 3), torch.randn(40, 3)
    task = several("regression", "price", "rent", "a/b")
    found = task.metrics(outputs, targets)
    assert {*found} == {*task.declared.always} == {*task.declared.directions}
    scale = np.array([2.0, 4.0, 6.0])
    true, predicted = targets.double().numpy() * scale, outputs.double().numpy() * scale
    expected = {
        "mae": reference.mean_absolute_error(true, predicted, multioutput="raw_values"),
        "rmse": reference.root_mean_squared_error(true, predicted, multioutput="raw_values"),
        "r2": reference.r2_score(true, predicted, multioutput="raw_values"),
        "loss": ((outputs - targets) ** 2).mean(0).numpy(),
    }
    for name, values in expected.items():
        assert [found[f"{name}/{of}"] for of in ("price", "rent", "a/b")] == pytest.approx(
            list(values), rel=1e-5
        )
        assert found[name] == pytest.approx(values.mean(), rel=1e-5)
    assert found["mse"] == pytest.approx(((true - predicted) ** 2).mean())


def test_metrics_of_several_labels_are_those_of_each_and_their_mean():
    torch.manual_seed(0)
    outputs, targets = torch.randn(60, 2), (torch.rand(60, 2) > 0.6).float()
    task = several("multilabel", "garden", "pets", labels=("no", "yes", "0", "1"))
    found = task.final_metrics(outputs, targets)
    assert {*found} == {*task.declared.directions}
    true, predicted = targets.int().numpy(), (outputs > 0).int().numpy()
    assert found["exact_match"] == pytest.approx(reference.accuracy_score(true, predicted))
    macro = {
        "precision": reference.precision_score, "recall": reference.recall_score, "f1": reference.f1_score,
    }  # fmt: skip
    for name, function in macro.items():
        assert found[name] == pytest.approx(function(true, predicted, average="macro"))
    assert found["roc_auc"] == pytest.approx(reference.roc_auc_score(true, outputs.numpy()))
    for at, name in enumerate(("garden", "pets")):
        assert found[f"accuracy/{name}"] == pytest.approx((true[:, at] == predicted[:, at]).mean())
        assert found[f"f1/{name}"] == pytest.approx(
            reference.f1_score(true[:, at], predicted[:, at])
        )
        log_loss = reference.log_loss(true[:, at], torch.sigmoid(outputs[:, at]).double().numpy())
        assert found[f"loss/{name}"] == pytest.approx(log_loss, rel=1e-5)
    assert found["loss"] == pytest.approx((found["loss/garden"] + found["loss/pets"]) / 2)
    assert found["accuracy"] == pytest.approx(
        (found["accuracy/garden"] + found["accuracy/pets"]) / 2
    )


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_of_samples_of_several_labels_make_the_loss_of_the_batch(reduction):
    torch.manual_seed(0)
    outputs, targets = torch.randn(8, 3), (torch.rand(8, 3) > 0.5).float()
    for share in (0.0, 0.3):
        settings = {"reduction": reduction, "label_smoothing": share}
        task = several("multilabel", *"abc", labels=("0", "1") * 3, **settings)
        each = task.sample_losses(outputs, targets, {"label_smoothing": torch.full((8,), share)})
        whole = each.mean() if reduction == "mean" else each.sum()
        torch.testing.assert_close(whole, task.loss(outputs, targets))


def test_a_target_without_variance_has_no_r2_and_does_not_spoil_the_mean():
    outputs, targets = torch.randn(9, 2), torch.randn(9, 2)
    targets[:, 1] = 1.0
    found = several("regression", "a", "b").metrics(outputs, targets)
    assert math.isnan(found["r2/b"]) and found["r2"] == pytest.approx(found["r2/a"])


def test_softmax_of_the_lectures_scores():
    scores = torch.tensor([[5.0, 2.0, -1.0, 3.0]])
    chances = probabilities(scores, make_spec("multiclass", 4))
    assert [round(p, 3) for p in chances[0].tolist()] == [0.842, 0.042, 0.002, 0.114]


def test_probabilities_of_two_classes_are_the_sigmoid_and_its_complement():
    chances = probabilities(SCORES_3, make_spec("binary", 1))
    torch.testing.assert_close(chances, torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.75, 0.25]]))


def test_cross_entropy_is_minus_the_log_of_the_true_classs_probability():
    scores = torch.tensor([[5.0, 2.0, -1.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
    task = task_of("multiclass", 4)
    assert task.loss(scores[:1], torch.tensor([0])).item() == pytest.approx(0.17194, abs=1e-5)
    assert task.loss(scores[:1], torch.tensor([2])).item() == pytest.approx(6.17194, abs=1e-5)
    assert task.loss(scores[1:], torch.tensor([3])).item() == pytest.approx(2 * LN2)
    mean = task.loss(scores, torch.tensor([0, 3])).item()
    assert mean == pytest.approx((0.17194 + 1.38629) / 2, abs=1e-5)


def test_binary_cross_entropy_is_minus_the_log_of_the_true_sides_probability():
    task = task_of("binary")
    for targets, expected in [
        ([1.0, 1.0, 1.0], [0.5, 0.75, 0.25]),
        ([0.0, 0.0, 0.0], [0.5, 0.25, 0.75]),
    ]:
        mean = sum(-math.log(p) for p in expected) / 3
        assert task.loss(SCORES_3, torch.tensor(targets)).item() == pytest.approx(mean)


def test_binary_cross_entropy_stays_finite_where_the_sigmoid_is_0_or_1():
    scores, targets = torch.tensor([[1000.0], [-1000.0]]), torch.tensor([0.0, 1.0])
    assert task_of("binary").loss(scores, targets).item() == pytest.approx(1000)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mse", (0.25 + 9) / 2),
        ("auto", (0.25 + 9) / 2),
        ("mae", 1.75),
        ("huber", (0.125 + 2.5) / 2),
    ],
)
def test_regression_losses_by_hand(name, expected):
    outputs, targets = torch.tensor([[1.5], [0.0]]), torch.tensor([[1.0], [3.0]])
    assert task_of("regression", name=name).loss(outputs, targets).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "outputs", "targets"),
    [
        ("multiclass", torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]]), torch.tensor([0, 2])),
        ("binary", torch.tensor([[1.0], [-2.0]]), torch.tensor([1.0, 1.0])),
        ("regression", torch.tensor([[1.0], [-2.0]]), torch.tensor([[0.0], [1.0]])),
    ],
)
def test_sum_is_the_mean_times_the_samples(kind, outputs, targets):
    mean = task_of(kind, outputs.shape[1]).loss(outputs, targets)
    total = task_of(kind, outputs.shape[1], reduction="sum").loss(outputs, targets)
    torch.testing.assert_close(total, 2 * mean)


def test_losses_of_unequal_batches_add_up_to_the_sum_over_samples():
    losses, sizes = torch.tensor([1.0, 2.0]), torch.tensor([10, 3])
    assert task_of("binary").total(losses, sizes).tolist() == [10.0, 6.0]
    assert task_of("binary", reduction="sum").total(losses, sizes).tolist() == [1.0, 2.0]


def test_label_smoothing_spreads_its_share_over_all_classes():
    scores = torch.tensor([[5.0, 2.0, -1.0, 3.0]])
    log_p = np.log(np.exp(scores.numpy()) / np.exp(scores.numpy()).sum())
    wanted = np.array([0.925, 0.025, 0.025, 0.025])
    task = task_of("multiclass", 4, label_smoothing=0.1)
    expected = -(wanted * log_p).sum()
    assert task.loss(scores, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_of_two_classes_draws_the_targets_towards_a_half():
    task = task_of("binary", label_smoothing=0.2)
    expected = -(0.9 * math.log(0.75) + 0.1 * math.log(0.25))
    assert task.loss(SCORES_3[1:2], torch.tensor([1.0])).item() == pytest.approx(expected)
    expected = -(0.1 * math.log(0.75) + 0.9 * math.log(0.25))
    assert task.loss(SCORES_3[1:2], torch.tensor([0.0])).item() == pytest.approx(expected)


def test_two_classes_smooth_alike_with_one_score_or_two():
    scores, targets = torch.tensor([[1.3], [-0.4]]), torch.tensor([1.0, 1.0])
    both = torch.cat([torch.zeros(2, 1), scores], 1)
    torch.testing.assert_close(
        task_of("binary", label_smoothing=0.3).loss(scores, targets),
        task_of("multiclass", 2, label_smoothing=0.3).loss(both, targets.long()),
    )


def test_metrics_are_means_without_label_smoothing_whatever_the_training_loss():
    scores, targets = torch.tensor([[5.0, 2.0], [0.0, 0.0]]), torch.tensor([0, 0])
    metrics = task_of("multiclass", 2, label_smoothing=0.5, reduction="sum").metrics
    expected = (math.log(1 + math.exp(-3)) + LN2) / 2
    assert metrics(scores, targets)["loss"] == pytest.approx(expected)
    binary = task_of("binary", label_smoothing=0.5, reduction="sum").metrics
    expected = (LN2 - math.log(0.75)) / 2
    assert binary(SCORES_3[:2], torch.ones(2))["loss"] == pytest.approx(expected)


@pytest.mark.parametrize(("kind", "outputs"), [("multiclass", 3), ("binary", 1), ("regression", 2)])
def test_metrics_return_the_names_they_promise(kind, outputs):
    task = task_of(kind, outputs)
    scores = torch.randn(6, outputs, generator=torch.Generator().manual_seed(0))
    targets = {
        "multiclass": torch.arange(6) % 3,
        "binary": torch.arange(6) % 2 * 1.0,
        "regression": scores.flip(0),
    }[kind]
    metrics = task.metrics(scores, targets)
    assert tuple(metrics) == tuple(task.declared.always)
    final = task.final_metrics(scores, targets)
    assert {name: final[name] for name in metrics} == metrics
    assert all(type(value) is float for value in final.values())


@pytest.mark.parametrize("present", [4, 3])  # with three, class 3 is never true and never predicted
def test_multiclass_metrics_are_scikit_learns_macro_averages(present):
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(50, 4, generator=generator)
    scores[:, present:] = -9
    targets = torch.randint(present, (50,), generator=generator)
    predicted = scores.argmax(1).numpy()
    final = task_of("multiclass", 4).final_metrics(scores, targets)
    precision, recall, f1, _ = reference.precision_recall_fscore_support(
        targets, predicted, labels=range(4), average="macro", zero_division=0
    )
    assert final["accuracy"] == pytest.approx(reference.accuracy_score(targets, predicted))
    assert (final["precision"], final["recall"], final["f1"]) == pytest.approx(
        (precision, recall, f1)
    )
    log_loss = reference.log_loss(targets, torch.softmax(scores.double(), 1), labels=range(4))
    assert final["loss"] == pytest.approx(log_loss, rel=1e-5)


@pytest.mark.parametrize("decimals", [0, 1, 5])  # the fewer, the more ties
def test_binary_metrics_are_scikit_learns_of_the_second_class(decimals):
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(60, 1, generator=generator).round(decimals=decimals)
    targets = (torch.rand(60, generator=generator) < 0.3).float()
    predicted = (scores[:, 0] > 0).float()
    final = task_of("binary").final_metrics(scores, targets)
    assert final == pytest.approx(
        {
            "loss": reference.log_loss(targets, torch.sigmoid(scores.double())),
            "accuracy": reference.accuracy_score(targets, predicted),
            "precision": reference.precision_score(targets, predicted),
            "recall": reference.recall_score(targets, predicted),
            "f1": reference.f1_score(targets, predicted),
            "roc_auc": reference.roc_auc_score(targets, scores),
        },
        rel=1e-5,
    )


def test_roc_auc_counts_pairs_and_ties_half():
    targets = torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert roc_auc(torch.tensor([3.0, 2.0, 1.0, 0.0]), targets) == 1
    assert roc_auc(torch.tensor([0.0, 1.0, 2.0, 3.0]), targets) == 0
    assert roc_auc(torch.zeros(4), targets) == 0.5
    assert roc_auc(torch.tensor([2.0, 1.0, 1.0, 0.0]), targets) == 3.5 / 4


@pytest.mark.parametrize("only", [0.0, 1.0])
def test_roc_auc_of_a_single_class_is_not_a_number(only):
    final = task_of("binary").final_metrics(torch.tensor([[1.0], [-1.0]]), torch.full((2,), only))
    assert math.isnan(final["roc_auc"])
    assert final["accuracy"] == 0.5
    assert final["precision"] == only
    assert final["recall"] == only / 2


def test_a_class_that_is_never_predicted_has_a_precision_of_zero():
    assert precision_recall_f1([[3, 0], [2, 0]], 1) == (0.0, 0.0, 0.0)
    assert precision_recall_f1([[0, 0], [0, 0]], 0) == (0.0, 0.0, 0.0)
    assert precision_recall_f1([[3, 1], [2, 4]], 1) == pytest.approx((4 / 5, 4 / 6, 8 / 11))


def test_the_confusion_matrix_is_scikit_learns():
    generator = torch.Generator().manual_seed(3)
    predicted, targets = torch.randint(4, (2, 40), generator=generator)
    expected = reference.confusion_matrix(targets, predicted, labels=range(5)).tolist()
    assert confusion_matrix(predicted, targets, 5) == expected


def test_rows_of_the_confusion_matrix_are_the_true_classes():
    scores = torch.tensor([[0.0, 1.0, 0.0]])
    confusion = class_confusion(scores, torch.tensor([2]), make_spec("multiclass", 3))
    assert confusion == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]
    confusion = class_confusion(SCORES_3, torch.tensor([0.0, 0.0, 1.0]), make_spec("binary", 1))
    assert confusion == [[1, 1], [1, 0]]


def test_numbers_to_predict_have_no_confusion_matrix():
    outputs = torch.zeros(2, 1)
    assert class_confusion(outputs, outputs, make_spec("regression", 1)) is None


def test_regression_metrics_are_scikit_learns_in_the_targets_own_units():
    generator = torch.Generator().manual_seed(4)
    outputs, targets = torch.randn(2, 30, 1, generator=generator)
    task = task_of("regression", scale=[(150.0, 77.0)])
    metrics = task.metrics(outputs, targets)
    predicted, true = (t.double().numpy() * 77 + 150 for t in (outputs, targets))
    assert metrics["mse"] == pytest.approx(reference.mean_squared_error(true, predicted))
    assert metrics["mae"] == pytest.approx(reference.mean_absolute_error(true, predicted))
    assert metrics["r2"] == pytest.approx(reference.r2_score(true, predicted))
    standardised = reference.mean_squared_error(targets, outputs)
    assert metrics["loss"] == pytest.approx(standardised, rel=1e-5)


def test_several_targets_each_have_their_own_units():
    generator = torch.Generator().manual_seed(5)
    outputs, targets = torch.randn(2, 30, 2, generator=generator)
    metrics = task_of("regression", 2, scale=[(0.0, 10.0), (5.0, 0.1)]).metrics(outputs, targets)
    predicted, true = (t.double().numpy() * [10, 0.1] + [0, 5] for t in (outputs, targets))
    assert metrics["mse"] == pytest.approx(reference.mean_squared_error(true, predicted))
    assert metrics["mae"] == pytest.approx(reference.mean_absolute_error(true, predicted))
    weighted = reference.r2_score(true, predicted, multioutput="variance_weighted")
    assert metrics["r2"] == pytest.approx(weighted)


def test_r2_of_changes_is_that_of_the_values_they_lead_to():
    generator = torch.Generator().manual_seed(5)
    outputs, targets = torch.randn(2, 30, 2, generator=generator)
    bases = 20 * torch.randn(30, 2, generator=generator, dtype=torch.float64)
    task = task_of("regression", 2, scale=[(0.0, 10.0), (5.0, 3.0)])
    part = Split(targets, targets, bases=bases)
    metrics = task.metrics(outputs, targets, variance=task.variance(part))
    told, true = (t.double().numpy() * [10, 3] + [0, 5] + bases.numpy() for t in (outputs, targets))
    weighted = reference.r2_score(true, told, multioutput="variance_weighted")
    assert metrics["r2"] == pytest.approx(weighted)
    assert metrics["r2"] > task.metrics(outputs, targets)["r2"]


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression", "language"])
def test_every_metric_that_a_task_returns_has_a_declared_direction(kind):
    task = task_of(kind, 3 if kind == "multiclass" else 1)
    assert all(direction(f"test/{name}") == way for name, way in task.declared.directions.items())
    assert task.declared.comparable in task.declared.always


def test_r2_is_not_a_number_where_all_targets_are_the_same():
    metrics = task_of("regression").metrics(torch.randn(4, 1), torch.ones(4, 1))
    assert math.isnan(metrics["r2"])


@pytest.mark.parametrize(
    ("kind", "outputs", "name", "message"),
    [
        (
            "multiclass", 4, "mse",
            "loss is mse, but the data set has 4 classes: use loss=cross_entropy or focal or auto",
        ),
        ("multiclass", 4, "binary_cross_entropy", "has 4 classes: use loss=cross_entropy or focal or auto"),
        (
            "binary", 1, "cross_entropy",
            "loss is cross_entropy, but the data set has 2 classes: use loss=binary_cross_entropy or focal or auto",
        ),
        (
            "regression", 1, "cross_entropy",
            "loss is cross_entropy, but the data set has numbers to predict: use loss=mse or mae or "
            "huber or quantile or poisson or auto",
        ),
    ],
)  # fmt: skip
def test_a_loss_for_another_kind_of_problem_is_refused(kind, outputs, name, message):
    with pytest.raises(ConfigError) as caught:
        task_of(kind, outputs, name=name)
    assert str(caught.value).endswith(message)


def test_label_smoothing_of_numbers_is_refused():
    with pytest.raises(ConfigError) as caught:
        task_of("regression", label_smoothing=0.1)
    assert str(caught.value) == (
        "loss.label_smoothing is 0.1, but regression has no labels; set it to 0"
    )


def test_language_is_measured_by_the_chance_given_to_each_token_that_came():
    task = task_of("language", 3)
    chances = torch.tensor([[[0.5, 0.25, 0.25], [0.125, 0.5, 0.375]]])
    targets = torch.tensor([[0, 2]])
    kept = task.kept(chances.log(), targets)
    torch.testing.assert_close(kept, torch.tensor([[math.log(0.5), 1.0], [math.log(0.375), 0.0]]))
    nats = -(math.log(0.5) + math.log(0.375)) / 2
    assert task.loss(chances.log(), targets).item() == pytest.approx(nats)
    assert task.metrics(kept, targets.flatten()) == {
        "loss": pytest.approx(nats),
        "accuracy": 0.5,
        "perplexity": pytest.approx(math.exp(nats)),
        "bits": pytest.approx(nats / LN2),
    }


def test_a_batch_of_language_is_as_large_as_its_tokens():
    assert task_of("language", 3).size(torch.zeros(4, 5)) == 20
    assert task_of("multiclass", 3).size(torch.zeros(4)) == 4


def test_the_root_of_the_mean_squared_error_is_in_the_units_of_the_target():
    metrics = task_of("regression", scale=[(5.0, 2.0)]).metrics(
        torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [0.0]])
    )
    assert metrics["rmse"] == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind, outputs", [("multiclass", 7), ("binary", 1), ("regression", 3)])
def test_losses_of_many_models_are_those_that_vmap_gives_bit_for_bit(kind, outputs, dtype):
    task, draws = task_of(kind, outputs), torch.Generator().manual_seed(0)
    for models, samples in ((1, 1), (3, 17), (8, 400)):
        scores = 10 * torch.randn(models, samples, outputs, dtype=dtype, generator=draws)
        targets = {
            "multiclass": torch.randint(0, 7, (models, samples), generator=draws),
            "binary": torch.randint(0, 2, (models, samples), generator=draws).to(dtype),
            "regression": torch.randn(scores.shape, dtype=dtype, generator=draws),
        }[kind]
        together = task.plain_losses(scores, targets)
        assert torch.equal(together, torch.vmap(task.plain_loss)(scores, targets))
        alone = [task.plain_loss(*one) for one in zip(scores, targets, strict=True)]
        assert torch.allclose(together, torch.stack(alone), rtol=1e-5, atol=1e-6)
