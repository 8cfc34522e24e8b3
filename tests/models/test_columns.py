"""Categories as one-hot columns, as learned vectors and in crosses, against the same by hand."""

import dataclasses
from itertools import product

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F

from dlrun.errors import ConfigError
from dlrun.models.columns import Cross, Embedded, OneHot, vector_size
from dlrun.stacked.forward import lift

X = torch.tensor([[0.5, -1.0, 2.0, 1.0], [0.0, 3.0, 1.0, 0.0], [1.0, 1.0, 0.0, 3.0]])


@pytest.fixture
def mixed(make_spec):
    """(task) -> the spec of two numbers and two columns of categories, of 3 and 4 codes."""

    def make(task="multiclass"):
        return dataclasses.replace(
            make_spec("features", task, (4,)), feature_names=("a", "b", "u", "v"), categories=(3, 4)
        )

    return make


def test_one_hot_has_a_column_for_each_category_that_was_seen_and_none_for_code_0(mixed):
    layer = OneHot(mixed())
    wanted = [[0.5, -1, 0, 1, 1, 0, 0], [0, 3, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 1]]
    assert layer(X).tolist() == wanted
    assert layer.width == 7
    assert not layer.state_dict()


def test_an_embedding_is_looked_up_by_its_code_and_zero_for_code_0(mixed):
    layer = Embedded(mixed(), size=5)
    first, second = layer.tables
    y = layer(X)
    assert (y.shape, layer.width) == ((3, 12), 12)
    assert torch.equal(y[:, :2], X[:, :2])
    assert torch.equal(y[0, 2:7], first.weight[2])
    assert torch.equal(y[0, 7:], second.weight[1])
    assert y[1, 7:].count_nonzero() == y[2, 2:7].count_nonzero() == 0


@pytest.mark.parametrize(("codes", "size"), [(2, 1), (3, 2), (17, 9), (99, 50), (1000, 50)])
def test_a_vector_is_half_as_long_as_there_are_codes_up_to_50(codes, size):
    assert vector_size(codes) == size


def test_each_combination_of_a_cross_has_a_weight_of_its_own_where_there_is_room(mixed):
    cross = Cross(mixed(), ["v", "u"], key="model.crosses[0]", buckets=100)
    x = torch.tensor([[0.0, 0.0, u, v] for u, v in product(range(3), range(4))])
    assert cross.table.weight.shape == (12, 4)
    assert sorted(cross.rows(x).tolist()) == list(range(12))
    assert not cross(x).any()


def test_more_combinations_than_weights_share_them_about_evenly(make_spec):
    spec = dataclasses.replace(
        make_spec("features", shape=(2,)), feature_names=("u", "v"), categories=(90, 90)
    )
    cross = Cross(spec, ["u", "v"], key="model.crosses[0]", buckets=100)
    x = torch.tensor([[u, v] for u, v in product(range(90), range(90))], dtype=torch.float32)
    counts = cross.rows(x).bincount(minlength=100)
    assert len(counts) == 100
    assert counts.min() > 40 and counts.max() < 160


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["u"], "is ['u'], but a cross is of two columns or more"),
        (["u", "w"], "names w, which is no column of categories"),
        (["u", "a"], "names a, which is no column of categories"),
    ],
)
def test_a_cross_of_what_is_no_category_is_refused(mixed, names, words):
    with pytest.raises(ConfigError) as caught:
        Cross(mixed(), names, key="model.crosses[1]", buckets=100)
    assert str(caught.value).startswith(f"model.crosses[1] {words}")


@pytest.mark.parametrize("name", ["logistic", "linear", "mlp", "wide_deep"])
def test_without_categories_nothing_stands_before_the_layers(name, build, make_spec):
    model = build(name, make_spec("features"))
    assert not [m for m in model.modules() if isinstance(m, OneHot | Embedded | nn.Embedding)]


def test_logistic_regression_of_categories_is_a_bias_each(build, mixed):
    model = build("logistic", mixed())
    weight, bias = model[1].weight, model[1].bias
    wanted = X[:, :2] @ weight[:, :2].T + bias
    wanted[0] += weight[:, 3] + weight[:, 4]
    wanted[1] += weight[:, 2]
    wanted[2] += weight[:, 6]
    torch.testing.assert_close(model(X), wanted)


@pytest.mark.parametrize(("embedding", "width"), [("auto", 2 + 2 + 2), (3, 2 + 6), ("one_hot", 7)])
def test_an_mlp_describes_a_category_by_as_many_numbers_as_asked(embedding, width, build, mixed):
    model = build("mlp", mixed(), embedding=embedding, hidden=[5])
    assert model[1].in_features == width


MODELS = {
    "logistic": {},
    "linear": {"crosses": [["u", "v"]]},
    "mlp": {"hidden": [5]},
    "wide_deep": {"crosses": [["u", "v"]], "cross_buckets": 5, "hidden": [5]},
}


@pytest.mark.parametrize("name", MODELS)
def test_stacked_copies_give_the_scores_and_gradients_of_each_alone(name, build, mixed):
    twins = [build(name, mixed(), **MODELS[name]) for _ in range(2)]
    with torch.no_grad():
        for parameter in (p for twin in twins for p in twin.parameters()):
            parameter.normal_()
    state = stack_module_state(twins)
    targets = torch.tensor([0, 1, 3])

    def loss(parameters, buffers):
        return F.cross_entropy(functional_call(twins[0], (parameters, buffers), (X,)), targets)

    gradients = vmap(grad(loss))(*state)
    lifted = lift(twins[0])({**state[0], **state[1]}, X.expand(2, *X.shape))
    for index, twin in enumerate(twins):
        torch.testing.assert_close(lifted[index], twin(X))
        F.cross_entropy(twin(X), targets).backward()
        for path, parameter in twin.named_parameters():
            torch.testing.assert_close(gradients[path][index], parameter.grad)


@pytest.mark.parametrize("name", MODELS)
def test_what_training_has_not_seen_adds_nothing_that_was_not_learned(name, build, mixed):
    model = build(name, mixed(), **MODELS[name])
    unseen = torch.tensor([[0.5, -1.0, 0.0, 0.0]])
    before = model(unseen)
    for module in model.modules():  # weights of categories move, those of none do not
        if isinstance(module, nn.Embedding) and module.padding_idx == 0:
            with torch.no_grad():
                module.weight[1:] += 1
    torch.testing.assert_close(model(unseen), before)
