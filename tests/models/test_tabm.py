"""TabM: members that share weights, learn side by side, and predict together."""

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from dlrun.data.loaders import Split
from dlrun.models.members import joined
from dlrun.models.numbers import PiecewiseLinear
from dlrun.training.build import fit_layers
from dlrun.training.forward import loss_and_kept

SMALL = {"members": 3, "hidden": [5, 4], "dropout": 0.0}


@pytest.fixture
def mixed(make_spec):
    """A number and two columns of categories."""
    return dataclasses.replace(
        make_spec("features", "multiclass", (3,)), feature_names=("a", "u", "v"), categories=(3, 4)
    )


X = torch.tensor([[0.3, 1.0, 3.0], [-1.2, 2.0, 0.0], [2.0, 0.0, 1.0]])


@pytest.mark.parametrize("adapters", ["all", "first"])
def test_members_are_networks_that_differ_in_factors_biases_and_heads(build, mixed, adapters):
    model = build("tabm", mixed, **SMALL, adapters=adapters, embedding="one_hot", pieces=0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    state = dict(model.state_dict())
    found = model(X)
    inputs = model.columns(X)
    assert inputs.shape == (3, 6)
    for member in range(3):

        def own(name, member=member):
            return state[name][0, member]

        x = inputs * own("start.factors")
        if adapters == "first":
            for layer in ("0", "2"):
                x = F.linear(x, state[f"layers.{layer}.weight"], state[f"layers.{layer}.bias"])
                x = x.relu()
        else:
            x = F.linear(x, state["layers.0.weight"]) * own("layers.1.factors")
            x = (x + own("layers.1.bias")).relu() * own("layers.3.factors")
            x = F.linear(x, state["layers.4.weight"]) * own("layers.5.factors")
            x = (x + own("layers.5.bias")).relu()
        scores = x @ state["heads.weight"][member] + state["heads.bias"][member, 0]
        torch.testing.assert_close(found[:, member], scores)


def test_at_first_members_differ_by_the_factors_of_the_first_layer_and_by_their_heads(build, mixed):
    model = build("tabm", mixed, **SMALL, pieces=0)
    own = {name: p for name, p in model.named_parameters() if p.ndim == 3 and len(p) == 1}
    alike = [name for name, p in own.items() if (p == p[:, :1]).all()]
    between = ["1.factors", "1.bias", "3.factors", "5.factors", "5.bias"]
    assert alike == [f"layers.{name}" for name in between]
    assert model.start.factors.abs().eq(1).all()


@pytest.mark.parametrize("task", ["binary", "multilabel", "multiclass", "regression"])
def test_the_scores_of_all_members_are_those_of_their_mean_prediction(task):
    scores = torch.randn(4, 7, 1 if task == "binary" else 3) * 5
    chances = {
        "binary": torch.sigmoid,
        "multilabel": torch.sigmoid,
        "multiclass": lambda x: x.softmax(-1),
        "regression": lambda x: x,
    }[task]
    torch.testing.assert_close(chances(joined(scores, task)), chances(scores).mean(1))
    assert joined(scores * 1e3, task).isfinite().all()


def test_the_rate_of_all_members_is_their_mean_rate():
    scores = torch.randn(4, 7, 2)
    torch.testing.assert_close(joined(scores, "regression", "log").exp(), scores.exp().mean(1))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_loss_is_the_mean_of_the_members_and_metrics_are_of_their_mean_prediction(
    build, mixed, reduction
):
    class Task:
        name = "multiclass"
        criterion = SimpleNamespace(link="identity")

        def loss(self, outputs, targets):
            return F.cross_entropy(outputs, targets, reduction=self.reduction)

        def kept(self, outputs, targets):
            return outputs

    task, targets = Task(), torch.tensor([0, 3, 1])
    task.reduction = reduction
    model = build("tabm", mixed, **SMALL)
    loss, kept = loss_and_kept(task, model, outputs := model(X), targets)
    each = [task.loss(member, targets) for member in outputs.unbind(1)]
    torch.testing.assert_close(loss, sum(each) / len(each))
    torch.testing.assert_close(kept.softmax(1), outputs.softmax(2).mean(1))
    torch.testing.assert_close(kept, model.eval()(X))


def test_a_number_is_encoded_by_how_far_it_goes_through_each_piece():
    layer = PiecewiseLinear(2, pieces=4, size=3)
    values = torch.tensor([[0.0, 5.0], [1.0, 5.0], [3.0, 5.0], [7.0, 5.0], [9.0, 5.0], [9.0, 6.0]])
    layer.fit(
        values[:5].repeat(80, 1).sort(0).values
    )  # cuts at 0, 1, 3, 7, 9; the second column has one value only
    with torch.no_grad():
        layer.weight.normal_()
    codes = torch.tensor([[1, 1, 0.25, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    x = torch.tensor([[4.0, 5.0, 8.0], [-2.0, 6.0, 9.0], [99.0, 4.0, 7.0]])
    found = layer(x)
    for row, code in enumerate(codes):
        linear = layer.slope[0] * x[row, 0] + layer.shift[0]
        torch.testing.assert_close(found[row, :3], linear + code @ layer.weight[0])
        torch.testing.assert_close(found[row, 3:6], layer.slope[1] * x[row, 1] + layer.shift[1])
        assert found[row, 6] == x[row, 2]


@pytest.mark.parametrize(("rows", "pieces", "each"), [(1601, 8, 200), (401, 4, 100), (50, 1, 50)])
def test_pieces_have_as_many_rows_of_the_training_part_each_and_no_fewer_than_100(
    build, mixed, rows, pieces, each
):
    model = build("tabm", mixed, **SMALL, pieces=8)
    before = model.state_dict()["columns.1.low"].clone()
    values = torch.rand(rows, 1, generator=torch.Generator().manual_seed(0)) ** 3
    inputs = torch.cat([values, torch.ones(rows, 2)], 1)
    fit_layers(model, Split(inputs, torch.zeros(rows)))
    low = model.state_dict()["columns.1.low"]
    assert not torch.equal(low, before)
    counts = (values >= low[0, :pieces]).sum(0).diff()
    assert counts.tolist() == [-each] * (pieces - 1)
    assert math.isclose(low[0, 0], values.min())
