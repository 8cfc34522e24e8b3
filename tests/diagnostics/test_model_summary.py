"""The table of layers against sizes and counts worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dlrun.data.base import Spec
from dlrun.diagnostics.model_summary import layer_table, size_rule, summarize

GREY_28 = Spec("multiclass", "image", (1, 28, 28), 10, tuple("0123456789"))


def test_lenets_sizes_and_counts_are_those_of_the_lecture() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120),
    )  # fmt: skip
    layers = summarize(model, torch.zeros(2, 1, 28, 28))
    assert [layer.output for layer in layers] == [
        "B×6×28×28", "B×6×14×14", "B×16×10×10", "B×16×5×5", "B×400", "B×120",
    ]  # fmt: skip
    assert [layer.parameters for layer in layers] == [
        6 * 25 + 6, 0, 16 * 6 * 25 + 16, 0, 0, 400 * 120 + 120,
    ]  # fmt: skip
    assert [layer.size_rule for layer in layers][:4] == [
        "(28-5+2*2)/1+1 = 28",
        "(28-2+2*0)/2+1 = 14",
        "(14-5+2*0)/1+1 = 10",
        "(10-2+2*0)/2+1 = 5",
    ]


@pytest.mark.parametrize(
    ("layer", "rule"),
    [
        (nn.Conv2d(1, 1, 3, padding=1), "(28-3+2*1)/1+1 = 28"),
        (nn.Conv2d(1, 1, 3, stride=2, padding=1), "⌊(28-3+2*1)/2⌋+1 = 14"),
        (nn.Conv2d(1, 1, 3, dilation=2), "(28-5+2*0)/1+1 = 24"),
        (nn.Conv2d(1, 1, 5, padding="same"), "(28-5+4)/1+1 = 28"),
        (nn.Conv2d(1, 1, 4, padding="valid"), "(28-4+2*0)/1+1 = 25"),
        (nn.Conv2d(1, 1, (3, 5)), "(28-3+2*0)/1+1 = 26; (28-5+2*0)/1+1 = 24"),
        (nn.MaxPool2d(3), "⌊(28-3+2*0)/3⌋+1 = 9"),
        (nn.MaxPool2d(3, ceil_mode=True), "⌈(28-3+2*0)/3⌉+1 = 10"),
        (nn.AvgPool2d(3, stride=1, padding=1), "(28-3+2*1)/1+1 = 28"),
        (nn.MaxPool2d(2, stride=(2, 1)), "(28-2+2*0)/2+1 = 14; (28-2+2*0)/1+1 = 27"),
    ],
)
def test_the_rule_gives_the_size_that_torch_gives(layer: nn.Module, rule: str) -> None:
    image = torch.zeros(1, 1, 28, 28)
    assert size_rule(layer, image) == rule
    sizes = [int(part.rpartition(" = ")[2]) for part in rule.split("; ")]
    assert list(layer(image).shape[2:]) == (sizes * 2)[:2]


def test_one_dimension_has_one_side() -> None:
    assert size_rule(nn.Conv1d(2, 3, 5, padding=4), torch.zeros(1, 2, 61)) == "(61-5+2*4)/1+1 = 65"


class Scaled(nn.Conv2d):
    """A layer of somebody's own, whose name says nothing of its dimensions."""


def test_a_class_derived_from_a_layer_has_the_rule_of_that_layer() -> None:
    model = nn.Sequential(Scaled(1, 6, 5, padding=2), type("Pool", (nn.MaxPool2d,), {})(2))
    layers = summarize(model, torch.zeros(2, 1, 28, 28))
    assert [layer.size_rule for layer in layers] == ["(28-5+2*2)/1+1 = 28", "(28-2+2*0)/2+1 = 14"]


def test_recurrent_layers_show_their_outputs() -> None:
    (layer,) = summarize(nn.LSTM(3, 5, batch_first=True), torch.zeros(2, 7, 3))
    assert (layer.name, layer.kind, layer.output) == ("(model)", "LSTM", "B×7×5")
    assert layer.parameters == 4 * 5 * (3 + 5 + 2)


class Shared(nn.Module):
    """An embedding whose vectors are also the weights of the scores; and a layer that is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight
        self.spare = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.embedding(ids)) * self.scale.sum()


def test_shared_weights_count_once_and_layers_that_are_not_called_are_told() -> None:
    model = Shared()
    layers = {layer.name: layer for layer in summarize(model, torch.ones(2, 5, dtype=torch.int64))}
    assert (layers["embedding"].parameters, layers["head"].parameters) == (28, 0)
    assert layers["(model)"].parameters == 3
    assert (layers["spare"].output, layers["spare"].parameters) == ("", 6)
    spec = Spec("multiclass", "tokens", (5,), 7, vocabulary=7)
    table = layer_table(model, spec)
    assert table.splitlines()[-1] == "37 parameters"
    assert "not called" in table


@pytest.mark.parametrize(
    ("names", "categories", "line"),
    [
        (("age", "hours", "job", "sex"), (10, 3), "inputs: 2 numbers (age, hours), 2 categories (job 9, sex 2)"),
        (("age",), (), "inputs: 1 number (age)"),
        (("job",), (10,), "inputs: 1 category (job 9)"),
        (tuple("abcdefghijklmnopqrstuv"), (), "inputs: 22 numbers (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, "
         "p, q, r, s, t and 2 more)"),
    ],
)  # fmt: skip
def test_columns_stand_above_the_layers_by_what_they_were_taken_for(
    names: tuple[str, ...], categories: tuple[int, ...], line: str
) -> None:
    spec = Spec("binary", "features", (len(names),), 1, ("a", "b"), names, categories)
    table = layer_table(nn.Linear(len(names), 1), spec)
    assert table.splitlines()[0] == line
    unnamed = Spec("binary", "features", (len(names),), 1, ("a", "b"))
    assert table.splitlines()[1:] == layer_table(nn.Linear(len(names), 1), unnamed).splitlines()


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.BatchNorm1d(10), nn.Dropout())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    layer_table(model, GREY_28)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_parameters_that_are_not_trained_are_told() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    model[1].weight.requires_grad_(False)
    assert layer_table(model, GREY_28).splitlines()[-1] == "7,850 parameters, 10 of them trained"
