"""Dropout: its law, and the same masks for a trial alone and among others trained as one."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.optim.swa_utils import AveragedModel

from dlrun.models import keyed_words
from dlrun.models.dropout import Dropout, counts_of_masks, load_counts_of_masks, use_generators

RATES = [0.1, 0.45, 0.8]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawing(p, seed=0):
    """A Dropout with a generator of its own."""
    layer = Dropout(p)
    use_generators(layer, [generator(seed)])
    return layer


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_values_are_dropped_independently_with_probability_p_and_the_rest_scaled(p):
    n = 2**18
    y = drawing(p)(torch.ones(n, dtype=torch.float64))
    dropped = (y == 0).double()
    # Four standard deviations of a binomial share, and of the product of neighbours.
    assert dropped.mean().item() == pytest.approx(p, abs=4 * (p * (1 - p) / n) ** 0.5)
    for lag in range(1, 9):
        both = ((dropped[lag:] - p) * (dropped[:-lag] - p)).mean().item()
        assert both == pytest.approx(0, abs=4 * p * (1 - p) / n**0.5)
    scales = y[y != 0].unique()
    assert scales.tolist() == [pytest.approx(1 / (1 - p), rel=2**-16 / (1 - p))]


@pytest.mark.parametrize("p", [0.3, 0.001, 0.9999])
def test_the_mean_is_kept_exactly_by_the_rounded_rate(p):
    layer = drawing(p)
    scale = layer(torch.ones(2**18, dtype=torch.float64)).max().item()
    assert scale * layer.kept.item() / 2**16 == pytest.approx(1, rel=1e-15)


def test_the_gradient_is_the_mask():
    layer, x = drawing(0.4), torch.randn(30, 7, requires_grad=True)
    y = layer(x)
    weight = torch.randn_like(y)
    (y * weight).sum().backward()
    torch.testing.assert_close(x.grad, weight * (y / x).detach())


def test_evaluation_gives_the_input_back_and_draws_nothing():
    draws, layer = generator(), Dropout(0.5).eval()
    use_generators(layer, [draws])
    x, before = torch.randn(5), draws.get_state()
    assert layer(x) is x
    assert torch.equal(draws.get_state(), before)


@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (3, 2, 7)])
def test_p_0_keeps_everything_and_p_1_nothing_in_any_shape(shape):
    x = torch.randn(shape)
    assert torch.equal(drawing(0.0)(x), x)
    assert torch.equal(drawing(1.0)(x), torch.zeros(shape))


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(p):
    with pytest.raises(ValueError, match="must be a probability, from 0 to 1"):
        Dropout(p)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_mask_is_that_of_float32_whatever_the_dtype(dtype):
    x = torch.ones(9, 5)
    layer = Dropout(0.3).to(dtype)  # which leaves the rate as it is
    use_generators(layer, [generator()])
    y = layer(x.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y, drawing(0.3)(x).to(dtype))


def test_the_mask_does_not_depend_on_the_memory_layout():
    x = torch.randn(2, 3, 4, 5)
    last = x.to(memory_format=torch.channels_last)
    assert torch.equal(drawing(0.5)(x), drawing(0.5)(last))


def test_masks_follow_the_generator_whatever_the_global_state():
    x = torch.ones(40)
    torch.manual_seed(1)
    first = drawing(0.5)(x)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(drawing(0.5)(x), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(drawing(0.5, seed=1)(x), first)


def test_without_a_generator_masks_come_from_the_global_state():
    layer, x = Dropout(0.5), torch.ones(40)
    torch.manual_seed(1)
    first = layer(x)
    assert not torch.equal(layer(x), first)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)


def test_copies_draw_from_the_same_generator():
    model = nn.Sequential(Dropout(0.5))
    shared = generator()
    use_generators(model, [shared])
    for other in (copy.deepcopy(model)[0], AveragedModel(model).module[0]):
        assert other.generators[0] is shared


def test_the_rate_is_in_no_checkpoint_and_in_what_is_printed():
    assert not Dropout(0.3).state_dict()
    assert repr(Dropout(0.3)) == "Dropout(p=0.3)"


@pytest.mark.parametrize(
    ("name", "kind", "settings"),
    [
        ("mlp", "features", {"hidden": [6, 5], "batch_norm": "before"}),
        ("cnn", "image", {"filters": [2, 3], "dense": [4], "dense_dropout": 0.5}),
    ],
)
def test_the_names_of_the_weights_are_those_with_torchs_dropout(
    name, kind, settings, build, make_spec
):
    model = build(name, make_spec(kind), **settings, dropout=0.5)
    twin = copy.deepcopy(model)
    for path, module in model.named_modules():
        if isinstance(module, Dropout):
            twin.set_submodule(path, nn.Dropout(0.5))
    assert [*model.state_dict()] == [*twin.state_dict()]


# Trials trained as one.

KINDS = {
    "mlp": ("features", {"hidden": [6, 5], "activation": "tanh"}),
    "cnn": ("image", {"filters": [2, 3], "dense": [5], "dense_dropout": 0.3}),
    "lstm": ("sequence", {"layers": 2, "hidden_size": 3, "bidirectional": True}),
}


@pytest.fixture(params=KINDS)
def trials(request, build, make_spec):
    """Three models with their own weights and rates, and a batch of inputs, in float64."""
    kind, settings = KINDS[request.param]
    spec = make_spec(kind, shape={"image": (2, 8, 8)}.get(kind))
    own = [{"dropout": p} | ({"input_dropout": p / 2} if kind == "features" else {}) for p in RATES]
    models = [build(request.param, spec, **settings, **rates).double() for rates in own]
    return models, torch.randn(4, *spec.input_shape, dtype=torch.float64)


def stack(models):
    """The first of `models` with all their generators, and the state of all."""
    base = copy.deepcopy(models[0])
    use_generators(base, [generator(seed) for seed in range(len(models))])
    return base, *stack_module_state(models)


def alone(model, seed, inputs, steps):
    use_generators(model, [generator(seed)])
    return [model(inputs) for _ in range(steps)]


@pytest.mark.parametrize("stacked_inputs", [False, True])
def test_trials_trained_as_one_score_and_learn_as_each_alone(trials, stacked_inputs):
    models, inputs = trials
    base, parameters, buffers = stack(models)
    many = torch.stack([inputs * (1 + k) for k in range(3)])

    def scores(p, b, x):
        return functional_call(base, (p, b), (x,))

    forward = vmap(scores, in_dims=(0, 0, 0 if stacked_inputs else None), randomness="error")
    steps = [forward(parameters, buffers, many if stacked_inputs else inputs) for _ in range(2)]
    gradients = torch.autograd.grad(steps[1].square().sum(), [*parameters.values()])
    for k, model in enumerate(models):
        expected = alone(model, k, many[k] if stacked_inputs else inputs, steps=2)
        torch.testing.assert_close([step[k] for step in steps], expected)
        own = torch.autograd.grad(expected[1].square().sum(), [*model.parameters()])
        torch.testing.assert_close([g[k] for g in gradients], [*own])


def test_gradients_inside_vmap_are_those_of_each_alone(trials):
    models, inputs = trials
    base, parameters, buffers = stack(models)

    def loss(p, b):
        return functional_call(base, (p, b), (inputs,)).square().sum()

    gradients = vmap(grad(loss), randomness="error")(parameters, buffers)
    for k, model in enumerate(models):
        (scores,) = alone(model, k, inputs, steps=1)
        own = torch.autograd.grad(scores.square().sum(), [*model.parameters()])
        torch.testing.assert_close([g[k] for g in gradients.values()], [*own])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_masks_of_a_stack_are_bit_for_bit_those_alone_with_all_rates(dtype):
    rates = [0.0, 1 / 3, 0.9, 1.0]
    x = torch.ones(3, 5, dtype=dtype)  # 15 values: no multiple of what is drawn at once
    base, _, buffers = stack([Dropout(p) for p in rates])
    forward = vmap(lambda b, x: functional_call(base, b, (x,)), in_dims=(0, None))
    twice = [forward(buffers, x) for _ in range(2)]
    for k, p in enumerate(rates):
        layer = drawing(p, seed=k)
        for masks in twice:
            assert torch.equal(masks[k], layer(x))


def test_the_trials_may_stand_along_any_axis_of_the_input():
    layer, x = Dropout(0.5), torch.randn(4, 3, 2)
    use_generators(layer, [generator(k) for k in range(3)])
    stacked = vmap(layer, in_dims=1)(x)
    for k in range(3):
        assert torch.equal(stacked[k], drawing(0.5, seed=k)(x[:, k]))


def test_as_many_generators_as_trials_are_asked_for():
    layer = Dropout(0.5)
    use_generators(layer, [generator(), generator()])
    with pytest.raises(RuntimeError, match="dropout has 2 generators for 3 trained"):
        vmap(layer)(torch.ones(3, 4))
    with pytest.raises(RuntimeError, match="dropout has 2 generators for 1 trained"):
        layer(torch.ones(3, 4))


def by_key(p, *seeds, place=0):
    """A Dropout that draws as on a GPU."""
    layer = Dropout(p)
    layers = nn.ModuleList([*(Dropout(p) for _ in range(place)), layer])
    use_generators(layers, [generator(seed) for seed in seeds])
    layer.draw_by_key()
    return layer


def splitmix64(seed, count):
    """The first numbers of Steele, Lea and Flood's generator, as in their paper."""
    mask, found = 2**64 - 1, []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        found.append(z ^ (z >> 31))
    return found


def test_words_of_a_key_are_those_of_a_known_generator():
    seeds = torch.tensor([5, -(2**63), 2**62 + 12345])
    found = keyed_words.words(seeds, torch.tensor(0), 9)
    for row, seed in zip(found.tolist(), seeds.tolist(), strict=True):
        # Its first number is that of one step on.
        assert [number % 2**64 for number in row[1:]] == splitmix64(seed % 2**64, 8)
    third = keyed_words.words(seeds, torch.tensor([0, 3, 7]), 2)
    begun = 2**62 + 12345 + 7 * 2**34 * 0x9E3779B97F4A7C15
    assert third[2, 1].item() % 2**64 == splitmix64(begun, 1)[0]


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_what_is_dropped_by_key_is_independent_from_layer_to_layer_and_step_to_step(p):
    n = 2**16
    drawn = [by_key(p, seed, place=place) for seed in (0, 1) for place in (0, 1)]
    masks = [layer(torch.ones(n)) for layer in drawn for _ in range(2)]
    dropped = [(mask == 0).double() - p for mask in masks]
    for row, one in enumerate(dropped):
        assert one.mean().item() == pytest.approx(0, abs=4 * (p * (1 - p) / n) ** 0.5)
        others = [*dropped[row + 1 :], one.roll(1), one.roll(4)]
        for other in others:
            assert (one * other).mean().item() == pytest.approx(0, abs=5 * p * (1 - p) / n**0.5)
    assert masks[0].unique()[1].item() == pytest.approx(1 / (1 - p), rel=2**-16 / (1 - p))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_masks_by_key_are_bit_for_bit_those_alone_with_all_rates(dtype):
    rates = [0.0, 1 / 3, 0.9, 1.0]
    x = torch.ones(3, 5, dtype=dtype)
    layers = [by_key(p, k) for k, p in enumerate(rates)]
    _, buffers = stack_module_state(layers)
    base = by_key(0.5, *range(4))
    forward = vmap(lambda b, x: functional_call(base, b, (x,)), in_dims=(0, None))
    for masks in [forward(buffers, x) for _ in range(3)]:
        for mask, layer in zip(masks, layers, strict=True):
            assert torch.equal(mask, layer(x))
    assert buffers["drawn"].tolist() == [3] * 4


def test_as_many_seeds_as_trials_are_asked_for():
    layer = by_key(0.5, 0, 1)
    for call in (lambda: vmap(layer)(torch.ones(3, 4)), lambda: layer(torch.ones(3, 4))):
        with pytest.raises(RuntimeError, match="dropout has 2 generators for"):
            call()


def test_masks_by_key_go_on_from_where_they_were():
    first, second = by_key(0.5, 0), by_key(0.5, 0)
    for _ in range(3):
        first(torch.ones(9))
    load_counts_of_masks(second, counts_of_masks(first))
    assert torch.equal(first(torch.ones(99)), second(torch.ones(99)))
    load_counts_of_masks(nn.ModuleList([second, by_key(0.5, 1)]), [7])
    assert counts_of_masks(second) == [7]
    assert "drawn" not in first.state_dict()


def test_the_kernel_of_a_gpu_can_be_read_by_its_compiler():
    parsed = torch.cuda.jiterator._CodeParser(keyed_words._KERNEL)
    assert (parsed.template_params, parsed.return_type) == ("<typename T>", "T")
    assert parsed.function_params == "(T at, T seed, T drawn)"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_one_kernel_gives_the_words_that_operations_of_torch_give():
    kernel = keyed_words._kernel_of("cuda")
    assert kernel is not keyed_words._plain
    at, seeds = torch.arange(10**6), torch.tensor([[-1], [2**62], [7]])
    drawn = torch.tensor([[0], [1], [2**20]])
    found = kernel(at.cuda(), seeds.cuda(), drawn.cuda())
    assert torch.equal(found.cpu(), keyed_words._plain(at, seeds, drawn))
