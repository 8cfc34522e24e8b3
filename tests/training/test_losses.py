"""Losses against torch, scikit-learn and formulas written out; what does not fit is refused."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from dlrun.cli import main
from dlrun.config.instantiate import component
from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Spec
from dlrun.data.loaders import Split
from dlrun.errors import ConfigError
from dlrun.storage.run_directory import RunDirectory, read_metrics
from dlrun.training.losses.base import side_by_side
from dlrun.training.losses.users import UsersLoss
from dlrun.training.tasks import make_task
from losses import loss

NAMES = ("a", "b", "c")
CLASSES = Spec("multiclass", "features", (2,), 3, NAMES)
TWO = Spec("binary", "features", (2,), 1, NAMES[:2])
LABELS = Spec("multilabel", "features", (2,), 2, target_names=("x", "y"), labels=("n", "y") * 2)
NUMBERS = Spec("regression", "features", (2,), 1)
CLASS_TARGETS = torch.tensor([0, 0, 0, 1, 1, 2])
DRAWS = torch.Generator().manual_seed(0)
SCORES = torch.randn(6, 3, generator=DRAWS)
YES = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
BOTH = torch.stack((YES, torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0, 1.0])), 1)


def task_of(spec, criterion, targets=None, scale=()):
    """The task with a loss that was fitted to `targets`."""
    mean, std = zip(*scale, strict=True) if scale else ((), ())
    scaling = Scaling([0.0], [1.0], [*mean], [*std], 0.0)
    train = None if targets is None else Split(targets, targets)
    return make_task(spec, criterion, scaling, train)


def refusal(function, *arguments, **more):
    with pytest.raises(ConfigError) as caught:
        function(*arguments, **more)
    return str(caught.value)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_weights_multiply_the_loss_of_each_sample(reduction, smoothing):
    weights = [1.0, 2.0, 0.5]
    criterion = loss(
        "cross_entropy", class_weights=weights, label_smoothing=smoothing, reduction=reduction
    )
    task = task_of(CLASSES, criterion, CLASS_TARGETS)
    each = F.cross_entropy(SCORES, CLASS_TARGETS, reduction="none", label_smoothing=smoothing)
    each = each * torch.tensor(weights)[CLASS_TARGETS]
    wanted = each.mean() if reduction == "mean" else each.sum()
    torch.testing.assert_close(task.loss(SCORES, CLASS_TARGETS), wanted)
    assert task.plain_loss(SCORES, CLASS_TARGETS) == F.cross_entropy(SCORES, CLASS_TARGETS)


@pytest.mark.parametrize("option", ["cross_entropy", "focal"])
def test_balanced_weights_are_scikit_learns(option):
    criterion = loss(option, class_weights="balanced")
    task_of(CLASSES, criterion, CLASS_TARGETS)
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=CLASS_TARGETS.numpy())
    np.testing.assert_allclose(criterion.weights, wanted, rtol=1e-6)
    assert criterion.weights[CLASS_TARGETS].mean().item() == pytest.approx(1)


def test_a_class_without_rows_leaves_the_weights_of_the_others_balanced():
    criterion = loss("cross_entropy", class_weights="balanced")
    task_of(CLASSES, criterion, torch.tensor([0, 0, 0, 2]))
    assert criterion.weights.tolist() == pytest.approx([4 / 6, 1.0, 2.0])


def test_weights_by_names_leave_other_classes_at_one():
    criterion = loss("cross_entropy", class_weights={"b": 3})
    task_of(CLASSES, criterion, CLASS_TARGETS)
    assert criterion.weights.tolist() == [1.0, 3.0, 1.0]
    numbered = Spec("multiclass", "features", (2,), 3, ("0", "1", "2"))
    task_of(numbered, criterion := loss("focal", class_weights={1: 3.0}), CLASS_TARGETS)
    assert criterion.weights.tolist() == [1.0, 3.0, 1.0]


@pytest.mark.parametrize(
    ("spec", "weights", "words"),
    [
        (CLASSES, [1.0, 2.0], "loss.class_weights has 2 weights, but the data set has 3 classes (a, b, c)"),
        (CLASSES, {"d": 1.0}, "loss.class_weights.d: the data set has no class d"),
        (CLASSES, [0.0, 0.0, 0.0], "by which nothing counts"),
        (LABELS, [1.0, 2.0], "each of the 2 targets has classes of its own; set it to balanced"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_the_classes_are_refused(spec, weights, words):
    assert words in refusal(task_of, spec, loss("focal", class_weights=weights), CLASS_TARGETS)


def test_weights_that_are_none_are_refused_before_any_data_are_read():
    assert "loss.class_weights" in refusal(loss, "focal", class_weights="balancd")
    assert "loss.class_weights[1] is -1" in refusal(loss, "focal", class_weights=[1, -1])
    assert "loss.gamma is -1" in refusal(loss, "focal", gamma=-1)
    assert "loss.positive_weight" in refusal(loss, "binary_cross_entropy", positive_weight=0)


def test_tokens_of_a_text_have_no_class_weights():
    text = Spec("language", "tokens", (4,), 5, vocabulary=5)
    criterion = loss("cross_entropy", class_weights="balanced")
    assert "tokens of a text are no classes" in refusal(task_of, text, criterion, CLASS_TARGETS)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_positive_weight_is_torchs(reduction):
    criterion = loss("binary_cross_entropy", positive_weight=3.0, reduction=reduction)
    task = task_of(TWO, criterion, YES)
    wanted = F.binary_cross_entropy_with_logits(
        SCORES[:, 0], YES, pos_weight=torch.tensor(3.0), reduction=reduction
    )
    torch.testing.assert_close(task.loss(SCORES[:, :1], YES), wanted)
    plain = F.binary_cross_entropy_with_logits(SCORES[:, 0], YES)
    assert task.plain_loss(SCORES[:, :1], YES) == plain


def test_a_balanced_positive_weight_is_that_of_each_target_and_one_where_a_class_is_missing():
    criterion = loss("binary_cross_entropy", positive_weight="balanced")
    task_of(LABELS, criterion, BOTH)
    assert criterion.weight.tolist() == pytest.approx([4 / 2, 1 / 5])
    task_of(LABELS, criterion, torch.ones(3, 2))
    assert criterion.weight.tolist() == [1.0, 1.0]


def focal_by_hand(chances, weights, gamma):
    """-w (1 - p)^gamma log p."""
    return -(weights * (1 - chances) ** gamma * chances.log())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_focal_loss_is_its_formula(gamma):
    weights = torch.tensor([1.0, 2.0, 0.5])
    of_three = task_of(
        CLASSES, loss("focal", gamma=gamma, class_weights=weights.tolist()), CLASS_TARGETS
    )
    chances = SCORES.softmax(1).gather(1, CLASS_TARGETS.unsqueeze(1)).squeeze(1)
    wanted = focal_by_hand(chances, weights[CLASS_TARGETS], gamma).mean()
    torch.testing.assert_close(of_three.loss(SCORES, CLASS_TARGETS), wanted)
    plain = focal_by_hand(chances, 1.0, gamma).mean()
    torch.testing.assert_close(of_three.plain_loss(SCORES, CLASS_TARGETS), plain)
    for spec, outputs, targets in ((TWO, SCORES[:, :1], YES), (LABELS, SCORES[:, :2], BOTH)):
        task = task_of(spec, loss("focal", gamma=gamma, class_weights="balanced"), targets)
        columns = targets.reshape(6, -1)
        chances = torch.where(columns > 0.5, outputs.sigmoid(), 1 - outputs.sigmoid())
        balanced = [
            compute_class_weight("balanced", classes=np.arange(2), y=y) for y in columns.T.numpy()
        ]
        own = torch.tensor(np.array(balanced)).float()
        own = torch.where(columns > 0.5, own[:, 1], own[:, 0])
        wanted = focal_by_hand(chances, own, gamma).mean()
        torch.testing.assert_close(task.loss(outputs, targets), wanted)


def test_a_sure_sample_leaves_a_gradient_of_the_focal_loss_that_is_a_number():
    scores = torch.tensor([[200.0, 0.0, 0.0], [-200.0, 0.0, 0.0]], requires_grad=True)
    task = task_of(CLASSES, loss("focal", gamma=0.5), CLASS_TARGETS)
    task.loss(scores, torch.tensor([0, 0])).backward()
    assert bool(scores.grad.isfinite().all()) and scores.grad[1, 0] != 0


def test_huber_is_torchs_at_its_delta():
    outputs, targets = SCORES[:, :1], SCORES[:, 1:2]
    task = task_of(NUMBERS, loss("huber", delta=0.3), targets, [(0.0, 1.0)])
    assert task.loss(outputs, targets) == F.huber_loss(outputs, targets, delta=0.3)


COUNTS = np.array([0.0, 3.0, 1.0, 7.0, 2.0, 0.0])


def poisson_task(counts=COUNTS):
    mean, std = counts.mean(), counts.std()
    targets = torch.from_numpy((counts - mean) / std).float().unsqueeze(1)
    return task_of(NUMBERS, loss("poisson"), targets, [(mean, std)]), targets


def test_poisson_is_half_of_scikit_learns_deviance_and_has_the_gradient_of_torchs_loss():
    task, targets = poisson_task()
    scores = SCORES[:, :1].clone().requires_grad_()
    rates = COUNTS.mean() * scores.exp()
    found = task.loss(scores, targets)
    deviance = reference.mean_poisson_deviance(COUNTS, rates.detach().flatten().numpy())
    assert found.item() == pytest.approx(deviance / 2, rel=1e-5)
    (own,) = torch.autograd.grad(found, scores)
    counts = torch.from_numpy(COUNTS).float().unsqueeze(1)
    (wanted,) = torch.autograd.grad(F.poisson_nll_loss(rates, counts, log_input=False), scores)
    torch.testing.assert_close(own, wanted, rtol=1e-4, atol=1e-5)


def test_metrics_of_counts_are_those_of_the_rates():
    task, targets = poisson_task()
    found = task.metrics(SCORES[:, :1], targets)
    rates = COUNTS.mean() * SCORES[:, 0].double().exp().numpy()
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(COUNTS, rates), rel=1e-5)
    assert found["r2"] == pytest.approx(reference.r2_score(COUNTS, rates), rel=1e-5)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ([0.0, -1.0, 3.0], "has values below 0, as -1"),
        ([0.0, 0.0, 0.0], "is 0 in all training rows"),
    ],
)
def test_what_is_no_count_is_refused(counts, words):
    counts = np.array(counts)
    with np.errstate(invalid="ignore"):
        std = counts.std() or 1.0
    targets = torch.from_numpy((counts - counts.mean()) / std).float().unsqueeze(1)
    scale = [(counts.mean(), std)]
    assert words in refusal(task_of, NUMBERS, loss("poisson"), targets, scale)


EACH = [
    (CLASSES, CLASS_TARGETS, "cross_entropy", {"class_weights": "balanced", "label_smoothing": 0.1}),
    (CLASSES, CLASS_TARGETS, "focal", {"class_weights": "balanced"}),
    (TWO, YES, "focal", {"class_weights": "balanced", "gamma": 1.0}),
    (TWO, YES, "binary_cross_entropy", {"positive_weight": "balanced", "label_smoothing": 0.1}),
    (LABELS, BOTH, "binary_cross_entropy", {"positive_weight": "balanced", "label_smoothing": 0.1}),
    (LABELS, BOTH, "focal", {"class_weights": "balanced"}),
    (NUMBERS, SCORES[:, 1:2], "huber", {"delta": 0.4}),
    (NUMBERS, poisson_task()[1], "poisson", {}),
]  # fmt: skip


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("spec", "targets", "option", "settings"), EACH)
def test_losses_of_samples_make_the_loss_of_the_batch(spec, targets, option, settings, reduction):
    scale = [(COUNTS.mean(), COUNTS.std())] if spec is NUMBERS else ()
    task = task_of(spec, loss(option, reduction=reduction, **settings), targets, scale)
    outputs = SCORES[:, : spec.num_outputs]
    columns = side_by_side([task.criterion], outputs)
    numbers = {name: value.expand(6, *value.shape[1:]) for name, value in columns.items()}
    each = task.sample_losses(outputs, targets, numbers)
    assert each.shape == (6,)
    whole = each.mean() if reduction == "mean" else each.sum()
    torch.testing.assert_close(whole, task.loss(outputs, targets))


def users(function, **settings):
    """The user's `function` as a loss."""
    node = {"_target_": f"{function.__module__}.{function.__qualname__}", **settings}
    return UsersLoss(component("loss", node, given=("outputs", "targets")), reduction="mean")


def squared(outputs, targets):
    return ((outputs - targets) ** 2).mean()


def by_sample(outputs, targets):
    return (outputs - targets) ** 2


def endless(outputs, targets):
    return (outputs - targets).mean() / 0


def without_gradient(outputs, targets):
    return torch.tensor(1.0)


def broken(outputs, targets):
    raise KeyError("missing")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (by_sample, "loss by_sample gives a result of shape (6, 1), but must give one number: return losses.mean()"),
        (endless, "for the first batch, but must be a finite number"),
        (without_gradient, "loss without_gradient has no gradient"),
        (broken, "loss broken cannot take outputs of shape (6, 1) and targets of shape (6, 1): 'missing'"),
    ],
)  # fmt: skip
def test_a_function_that_gives_no_loss_is_refused_in_one_line(function, words):
    assert words in refusal(users(function).try_out, SCORES[:, :1], SCORES[:, 1:2])


def test_a_loss_of_the_users_own_is_that_of_training_and_of_evaluations():
    task = task_of(NUMBERS, users(squared), SCORES[:, 1:2], [(0.0, 1.0)])
    wanted = F.mse_loss(SCORES[:, :1], SCORES[:, 1:2])
    assert task.loss(SCORES[:, :1], SCORES[:, 1:2]) == wanted
    assert task.metrics(SCORES[:, :1], SCORES[:, 1:2])["loss"] == wanted
    several = Spec("regression", "features", (2,), 2, target_names=("x", "y"))
    of_both = task_of(several, users(squared), SCORES[:, :2], [(0.0, 1.0)] * 2)
    found = of_both.metrics(SCORES[:, :2], SCORES[:, 1:])
    assert {*found} == {*of_both.declared.always} and "loss/x" not in found and "mae/x" in found


MODULE = """
import torch
from torch import nn

def above(outputs, targets, *, over: float):
    error = outputs - targets
    return torch.where(error > 0, over * error, -error).mean()

class Learning(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, outputs, targets):
        return self.scale * (outputs - targets).abs().mean()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of the user's, with losses of their own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_losses.py").write_text(MODULE)
    options = tmp_path / "configs" / "loss"
    options.mkdir(parents=True)
    (options / "above.yaml").write_text("_target_: own_losses.above\nover: 3.0\nreduction: mean\n")
    (options / "learning.yaml").write_text("_target_: own_losses.Learning\nreduction: mean\n")
    return tmp_path


QUICK = (
    "model=linear", "tracking.tensorboard=false", "trainer.max_epochs=2", "trainer.num_threads=1",
    "trainer.accelerator=cpu",
)  # fmt: skip


def test_a_run_with_a_loss_of_the_users_own_is_trained_measured_and_resumed(folder, capsys):
    words = ("dataset=diabetes", "loss=above", "loss.over=2", *QUICK)
    assert main(["train", *words, "hydra.run.dir=whole", "trainer.max_epochs=3"]) == 0
    assert main(["train", *words, "hydra.run.dir=two"]) == 0
    assert main(["resume", "two", "trainer.max_epochs=3"]) == 0
    whole, two = (read_metrics(RunDirectory(folder / name)) for name in ("whole", "two"))
    names = ("step", "train/loss", "val/loss")
    kept = [[{n: point.get(n) for n in names} for point in points] for points in (whole, two)]
    assert kept[0] == kept[1]
    assert main(["eval", "two"]) == 0
    capsys.readouterr()
    assert main(["train", "dataset=diabetes", "loss=learning", *QUICK]) == 2
    assert "weights of its own, which no optimizer trains" in capsys.readouterr().err


def test_counts_of_a_table_are_predicted_as_rates(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draws = np.random.default_rng(0)
    x = draws.uniform(-1, 1, 300)
    counts = draws.poisson(np.exp(1 + x))
    rows = [f"{a:.4f},{b}" for a, b in zip(x, counts, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["x,visits", *rows]) + "\n")
    words = ("dataset=table", "dataset.path=t.csv", "dataset.target=visits", "loss=poisson", *QUICK)
    more = ("optimizer=adam", "optimizer.lr=0.05", "trainer.max_epochs=20", "hydra.run.dir=r")
    assert main(["train", *words, *more]) == 0
    (tmp_path / "new.csv").write_text("x\n-1\n0\n1\n")
    assert main(["predict", "r", "new.csv", "--output", "p.jsonl"]) == 0
    lines = (tmp_path / "p.jsonl").read_text().splitlines()
    found = [json.loads(line)["prediction"] for line in lines]
    assert found == pytest.approx([1, math.e, math.e**2], rel=0.25)
