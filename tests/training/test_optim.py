"""Optimizers against the update rules of the lectures and papers, written out in NumPy (float64)."""

import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from dlrun.config.settings import GradientSettings
from dlrun.system.torch_internals import without_dynamo
from dlrun.training import optim
from dlrun.training.gradients import gradient_norm, regularise
from dlrun.training.optim import Descent, parameter_groups
from dlrun.training.schedules import Plateau

PLAIN = GradientSettings(
    weight_decay=0.0,
    decay_biases_and_norms=True,
    l1=0.0,
    clip_norm=None,
    clip_value=None,
    lr_multipliers=None,
)
SETTINGS = {
    "sgd": {"lr": 0.1},
    "momentum": {"lr": 0.1, "momentum": 0.9},
    "nesterov": {"lr": 0.1, "momentum": 0.9},
    "rmsprop": {"lr": 0.1, "alpha": 0.9, "eps": 1e-8, "momentum": 0.0, "centered": False},
    "adagrad": {"lr": 0.1, "lr_decay": 0.0, "initial_accumulator": 0.0, "eps": 1e-10},
    "adadelta": {"lr": 1.0, "rho": 0.9, "eps": 1e-6},
    "adam": {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False},
    "adamw": {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False},
    "lion": {"lr": 0.1, "beta1": 0.9, "beta2": 0.99},
}
NAMES = list(SETTINGS)
STEPS = 6

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((5, 2)), rng.standard_normal((5, 3))
START = rng.standard_normal(9)  # six weights, row by row, then three biases
IS_BIAS = np.arange(9) >= 6


def gradient(theta):
    """Of the mean squared error of a linear layer, worked out by hand."""
    weights, biases = theta[:6].reshape(3, 2), theta[6:]
    error = 2 * (X @ weights.T + biases - Y) / Y.size
    return np.concatenate([(error.T @ X).ravel(), error.sum(0)])


def make_model():
    model = nn.Linear(2, 3).double()
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(START[:6].reshape(3, 2)))
        model.bias.copy_(torch.from_numpy(START[6:]))
    return model


def make_descent(model, name, rules=PLAIN, multiplier=lambda step: 1.0, scaled=False, **changes):
    groups = parameter_groups(model, rules)
    settings = SETTINGS[name] | changes
    optimizer = without_dynamo(lambda: getattr(optim, name)(groups, **settings))
    scaler = torch.amp.GradScaler("cpu", enabled=scaled)
    return Descent(optimizer, multiplier, rules, scaler)


def step(model, descent, number):
    descent.clear()
    loss = ((model(torch.from_numpy(X)) - torch.from_numpy(Y)) ** 2).mean()
    descent.backward(loss)
    descent.update(number)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()]).numpy()


def descend(name, rules=PLAIN, **more):
    """The weights after each of a few steps with dlrun's optimizer."""
    model = make_model()
    descent = make_descent(model, name, rules, **more)
    path = []
    for number in range(STEPS):
        step(model, descent, number)
        path.append(weights(model))
    return np.stack(path)


def reference(rule, *, multiplier=lambda step: 1.0, change=lambda g, theta: g, **settings):
    """The weights after each of a few steps by `rule(theta, g, state, t, lr)`; `change` is made to g first."""
    theta, state, path = START, {}, []
    for number in range(STEPS):
        g = change(gradient(theta), theta)
        theta = rule(theta, g, state, number + 1, settings["lr"] * multiplier(number), settings)
        path.append(theta)
    return np.stack(path)


def sgd(theta, g, state, t, lr, s):
    return theta - lr * g


def momentum(theta, g, state, t, lr, s):
    state["v"] = s["momentum"] * state.get("v", 0) + g
    return theta - lr * state["v"]


def nesterov(theta, g, state, t, lr, s):
    """Sutskever's form: the gradient is taken where momentum alone leads, which is what torch calls theta."""
    velocity = s["momentum"] * state.get("velocity", 0) - lr * g
    before_momentum = theta - s["momentum"] * state.get("velocity", 0)
    state["velocity"] = velocity
    return before_momentum + velocity + s["momentum"] * velocity


def rmsprop(theta, g, state, t, lr, s):
    state["s"] = s["alpha"] * state.get("s", 0) + (1 - s["alpha"]) * g**2
    state["mean"] = s["alpha"] * state.get("mean", 0) + (1 - s["alpha"]) * g
    variance = state["s"] - state["mean"] ** 2 * s["centered"]
    state["v"] = s["momentum"] * state.get("v", 0) + g / (np.sqrt(variance) + s["eps"])
    return theta - lr * state["v"]


def adagrad(theta, g, state, t, lr, s):
    state["s"] = state.get("s", s["initial_accumulator"]) + g**2
    return theta - lr / (1 + (t - 1) * s["lr_decay"]) * g / (np.sqrt(state["s"]) + s["eps"])


def adadelta(theta, g, state, t, lr, s):
    rho, eps = s["rho"], s["eps"]
    state["g"] = rho * state.get("g", 0) + (1 - rho) * g**2
    update = np.sqrt(state.get("u", 0) + eps) / np.sqrt(state["g"] + eps) * g
    state["u"] = rho * state.get("u", 0) + (1 - rho) * update**2
    return theta - lr * update


def adam(theta, g, state, t, lr, s):
    state["m"] = s["beta1"] * state.get("m", 0) + (1 - s["beta1"]) * g
    state["v"] = s["beta2"] * state.get("v", 0) + (1 - s["beta2"]) * g**2
    state["largest"] = np.maximum(state.get("largest", 0), state["v"])
    v = state["largest"] if s["amsgrad"] else state["v"]
    m_hat, v_hat = state["m"] / (1 - s["beta1"] ** t), v / (1 - s["beta2"] ** t)
    return theta - lr * m_hat / (np.sqrt(v_hat) + s["eps"])


def adamw(theta, g, state, t, lr, s):
    return adam(theta, g, state, t, lr, s) - lr * s.get("weight_decay", 0) * theta


def lion(theta, g, state, t, lr, s):
    mean = state.get("m", 0)
    state["m"] = s["beta2"] * mean + (1 - s["beta2"]) * g
    move = np.sign(s["beta1"] * mean + (1 - s["beta1"]) * g)
    return theta - lr * (move + s.get("weight_decay", 0) * theta)


RULES = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
    "adadelta": adadelta,
    "adam": adam,
    "adamw": adamw,
    "lion": lion,
}


@pytest.mark.parametrize("name", NAMES)
def test_steps_follow_the_update_rule(name):
    expected = reference(RULES[name], **SETTINGS[name])
    np.testing.assert_allclose(descend(name), expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("momentum", {"momentum": 0.5}),
        ("nesterov", {"momentum": 0.5}),
        ("rmsprop", {"alpha": 0.5, "eps": 0.1}),
        ("rmsprop", {"momentum": 0.9}),
        ("rmsprop", {"centered": True}),
        ("adagrad", {"lr_decay": 0.5}),
        ("adagrad", {"initial_accumulator": 0.5, "eps": 0.1}),
        ("adadelta", {"rho": 0.5, "eps": 0.01, "lr": 0.5}),
        ("adam", {"beta1": 0.5, "beta2": 0.6, "eps": 0.1}),
        ("adam", {"amsgrad": True, "beta2": 0.1}),
        ("adamw", {"beta1": 0.5, "beta2": 0.6, "eps": 0.1}),
        ("adamw", {"amsgrad": True, "beta2": 0.1}),
        ("lion", {"beta1": 0.1}),
        ("lion", {"beta1": 0.99, "beta2": 0.1}),
    ],
)
def test_every_setting_of_an_optimizer_takes_its_place_in_the_rule(name, changes):
    settings = SETTINGS[name] | changes
    changed = descend(name, **changes)
    np.testing.assert_allclose(changed, reference(RULES[name], **settings), rtol=1e-10)
    assert not np.allclose(changed, descend(name))


def test_momentum_at_the_worked_example():
    """lr 0.1, momentum 0.9 and a gradient of 1 throughout: steps of 0.1, 0.19 and 0.271."""
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    descent = Descent(
        optim.momentum([{"params": [parameter]}], **SETTINGS["momentum"]),
        lambda step: 1.0,
        PLAIN,
        torch.amp.GradScaler("cpu", enabled=False),
    )
    places = []
    for number in range(3):
        parameter.grad = torch.ones(1, dtype=torch.float64)
        descent.update(number)
        places.append(parameter.item())
    assert places == pytest.approx([-0.1, -0.29, -0.561])


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adam"])
def test_weight_decay_is_an_l2_penalty_in_the_gradient(name):
    rules = replace(PLAIN, weight_decay=0.3)
    expected = reference(RULES[name], change=lambda g, theta: g + 0.3 * theta, **SETTINGS[name])
    np.testing.assert_allclose(descend(name, rules), expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_decoupled_weight_decay_is_taken_off_the_weights_themselves(name):
    rules = replace(PLAIN, weight_decay=0.3)
    expected = reference(RULES[name], weight_decay=0.3, **SETTINGS[name])
    np.testing.assert_allclose(descend(name, rules), expected, rtol=1e-10)


def test_decoupled_weight_decay_is_not_that_of_adam():
    rules = replace(PLAIN, weight_decay=0.3)
    path = descend("adamw", rules)
    assert not np.allclose(path, descend("adam", rules))


def test_decoupled_weight_decay_shrinks_with_the_learning_rate():
    rules, multiplier = replace(PLAIN, weight_decay=0.3), lambda step: 0.5**step
    expected = reference(adamw, multiplier=multiplier, weight_decay=0.3, **SETTINGS["adamw"])
    path = descend("adamw", rules, multiplier=multiplier)
    np.testing.assert_allclose(path, expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_biases_can_be_spared_the_weight_decay(name):
    rules = replace(PLAIN, weight_decay=0.3, decay_biases_and_norms=False)
    expected = reference(
        RULES[name], change=lambda g, theta: g + 0.3 * theta * ~IS_BIAS, **SETTINGS[name]
    )
    np.testing.assert_allclose(descend(name, rules), expected, rtol=1e-10)


def test_the_gains_of_norms_count_as_biases_and_matrices_and_filters_do_not():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    rules = replace(PLAIN, weight_decay=0.3, decay_biases_and_norms=False)
    matrices, vectors = parameter_groups(model, rules)
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.3, 0.0)
    assert {id(p) for p in matrices["params"]} == {id(model[0].weight), id(model[3].weight)}
    assert {id(p) for p in vectors["params"]} == {
        id(p) for p in (model[0].bias, model[1].weight, model[1].bias, model[3].bias)
    }


def test_parameters_that_are_frozen_are_left_alone():
    model = make_model()
    model.bias.requires_grad_(False)
    before = weights(model)
    (group,) = parameter_groups(model, replace(PLAIN, weight_decay=0.3))
    assert group["params"] == [model.weight]
    step(model, make_descent(model, "sgd"), 0)
    after = weights(model)
    assert (after[IS_BIAS] == before[IS_BIAS]).all()
    assert (after[~IS_BIAS] != before[~IS_BIAS]).all()


def test_a_model_of_vectors_only_is_one_group_without_decay():
    rules = replace(PLAIN, weight_decay=0.3, decay_biases_and_norms=False)
    (group,) = parameter_groups(nn.BatchNorm1d(3), rules)
    assert group["weight_decay"] == 0


def test_the_l1_penalty_adds_its_subgradient_on_all_weights():
    rules = replace(PLAIN, l1=0.2)
    expected = reference(sgd, change=lambda g, theta: g + 0.2 * np.sign(theta), **SETTINGS["sgd"])
    np.testing.assert_allclose(descend("sgd", rules), expected, rtol=1e-10)


def test_the_l1_penalty_does_not_move_a_weight_that_is_zero():
    parameter = nn.Parameter(torch.tensor([0.0, 2.0, -2.0]))
    parameter.grad = torch.zeros(3)
    regularise([parameter], replace(PLAIN, l1=0.5))
    assert parameter.grad.tolist() == [0.0, 0.5, -0.5]


def test_clipping_by_value_limits_every_component():
    rules = replace(PLAIN, clip_value=0.1)
    expected = reference(
        sgd, change=lambda g, theta: np.minimum(np.maximum(g, -0.1), 0.1), **SETTINGS["sgd"]
    )
    np.testing.assert_allclose(descend("sgd", rules), expected, rtol=1e-10)


def clip_norm(g, limit):
    return g * min(1.0, limit / np.sqrt((g**2).sum()))


def test_clipping_by_norm_keeps_the_direction_over_all_parameters_together():
    rules = replace(PLAIN, clip_norm=0.5)
    expected = reference(sgd, change=lambda g, theta: clip_norm(g, 0.5), **SETTINGS["sgd"])
    np.testing.assert_allclose(descend("sgd", rules), expected, rtol=1e-5)
    loose = descend("sgd", replace(PLAIN, clip_norm=1e3))
    np.testing.assert_array_equal(loose, descend("sgd"))


def test_the_penalty_comes_before_clipping_by_value_and_that_before_clipping_by_norm():
    parameter = nn.Parameter(torch.tensor([1.0, -1.0], dtype=torch.float64))
    parameter.grad = torch.tensor([4.0, 0.5], dtype=torch.float64)
    regularise([parameter], replace(PLAIN, l1=1.0, clip_value=3.0, clip_norm=1.0))
    # 4 + 1 = 5, cut to 3; 0.5 - 1 = -0.5; then scaled to length 1.
    expected = np.array([3.0, -0.5]) / np.sqrt(9.25)
    np.testing.assert_allclose(parameter.grad.numpy(), expected, rtol=1e-5)


def test_rules_pass_over_parameters_without_a_gradient():
    idle, used = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(1))
    used.grad = torch.tensor([3.0])
    regularise([idle, used], replace(PLAIN, l1=1.0, clip_value=2.0, clip_norm=1.0))
    assert idle.grad is None
    assert used.grad.item() == pytest.approx(1)


def test_the_gradient_norm_is_that_of_all_gradients_together():
    model = make_model()
    assert gradient_norm(model.parameters()).item() == 0
    loss = ((model(torch.from_numpy(X)) - torch.from_numpy(Y)) ** 2).mean()
    loss.backward()
    expected = np.sqrt((gradient(START) ** 2).sum())
    assert gradient_norm(model.parameters()).item() == pytest.approx(expected)


def test_the_learning_rate_is_the_base_times_the_multiplier_of_the_step():
    multiplier = lambda step: 1 / (1 + step)  # noqa: E731
    expected = reference(sgd, multiplier=multiplier, **SETTINGS["sgd"])
    np.testing.assert_allclose(descend("sgd", multiplier=multiplier), expected, rtol=1e-10)
    model = make_model()
    descent = make_descent(model, "sgd", multiplier=multiplier)
    step(model, descent, 3)
    assert descent.learning_rate == pytest.approx(0.1 / 4)


def test_both_groups_follow_the_schedule():
    model = make_model()
    rules = replace(PLAIN, weight_decay=0.3, decay_biases_and_norms=False)
    descent = make_descent(model, "sgd", rules, multiplier=lambda step: 0.5)
    step(model, descent, 0)
    assert [group["lr"] for group in descent.optimizer.param_groups] == [0.05, 0.05]


def test_backward_adds_up_and_clear_forgets():
    model = make_model()
    descent = make_descent(model, "sgd")
    loss = lambda: ((model(torch.from_numpy(X)) - torch.from_numpy(Y)) ** 2).mean()  # noqa: E731
    descent.backward(loss())
    descent.backward(loss())
    summed = torch.cat([p.grad.flatten() for p in model.parameters()]).numpy()
    np.testing.assert_allclose(summed, 2 * gradient(START), rtol=1e-10)
    descent.clear()
    assert all(p.grad is None for p in model.parameters())


def test_loss_scaling_changes_no_step_and_clips_the_true_gradient():
    rules = replace(PLAIN, clip_norm=0.5)
    np.testing.assert_allclose(
        descend("sgd", rules, scaled=True), descend("sgd", rules), rtol=1e-10
    )


def test_loss_scaling_skips_a_step_whose_gradient_overflows_and_lowers_the_scale():
    model = make_model()
    descent = make_descent(model, "sgd", scaled=True)
    scale = descent.scaler.get_scale()
    descent.backward(model(torch.from_numpy(X)).sum() * float("inf"))
    descent.update(0)
    np.testing.assert_array_equal(weights(model), START)
    assert descent.scaler.get_scale() < scale


def stock(name, parameters):
    """torch's own optimizer with the same settings, as its documentation would make it."""
    lr = SETTINGS[name]["lr"]
    match name:
        case "sgd":
            return torch.optim.SGD(parameters, lr=lr)
        case "momentum":
            return torch.optim.SGD(parameters, lr=lr, momentum=0.9)
        case "nesterov":
            return torch.optim.SGD(parameters, lr=lr, momentum=0.9, nesterov=True)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr=lr, alpha=0.9)
        case "adagrad":
            return torch.optim.Adagrad(parameters, lr=lr)
        case "adadelta":
            return torch.optim.Adadelta(parameters, lr=lr)
        case "adam":
            return torch.optim.Adam(parameters, lr=lr)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "lion"])
def test_steps_are_those_of_torchs_own_optimizer(name):
    model = make_model()
    optimizer = stock(name, model.parameters())
    path = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        ((model(torch.from_numpy(X)) - torch.from_numpy(Y)) ** 2).mean().backward()
        optimizer.step()
        path.append(weights(model))
    np.testing.assert_allclose(descend(name), np.stack(path), rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_taking_the_wrappers_off_changes_no_bit_of_the_weights(name):
    paths = []
    for made_by in (without_dynamo, lambda build: build()):
        model = make_model()
        groups = parameter_groups(model, PLAIN)
        optimizer = made_by(partial(getattr(optim, name), groups, **SETTINGS[name]))
        for _ in range(STEPS):
            optimizer.zero_grad()
            ((model(torch.from_numpy(X)) - torch.from_numpy(Y)) ** 2).mean().backward()
            optimizer.step()
        paths.append(weights(model))
    np.testing.assert_array_equal(*paths)


def test_an_optimizer_from_elsewhere_keeps_its_own_step():
    class Mine(torch.optim.SGD):
        pass

    optimizer = without_dynamo(lambda: Mine(make_model().parameters(), lr=0.1))
    assert "step" not in vars(optimizer)


def test_descending_and_resuming_import_no_compiler():
    """The compiler takes longer to import than a small run to train."""
    code = f"""
import sys, torch
from torch import nn
from dlrun.system.torch_internals import without_dynamo
from dlrun.training import optim
from dlrun.training.gradients import gradient_norm
from dlrun.config.settings import GradientSettings

rules = GradientSettings(0.1, False, 0.1, 1.0, 1.0, None)
muon = dict(
    lr=0.1, adamw_lr=None, momentum=0.9, nesterov=True, adjust_lr="original", beta1=0.9, beta2=0.99, eps=1e-8,
)
names = {SETTINGS!r} | (dict(muon=muon) if hasattr(torch.optim, "Muon") else dict())
for name, settings in names.items():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3))
    if name == "muon":
        settings = settings | dict(model=model)
    groups = optim.parameter_groups(model, rules)
    optimizer = without_dynamo(lambda: getattr(optim, name)(groups, **settings))
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    descent = optim.Descent(optimizer, lambda step: 1.0, rules, scaler)
    for step in range(2):
        descent.clear()
        descent.backward(model(torch.ones(4, 2)).sum())
        gradient_norm(descent.parameters)
        descent.update(step)
        descent.load_state_dict(descent.state_dict())
print("torch._dynamo" in sys.modules)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_resume_goes_on_as_if_never_interrupted(name):
    rules = replace(PLAIN, weight_decay=0.1, decay_biases_and_norms=False)
    model = make_model()
    first = make_descent(model, name, rules)
    for number in range(3):
        step(model, first, number)
    resumed = make_model()
    resumed.load_state_dict(model.state_dict())
    second = make_descent(resumed, name, rules)
    second.load_state_dict(first.state_dict())
    for number in range(3, STEPS):
        step(resumed, second, number)
    np.testing.assert_array_equal(weights(resumed), descend(name, rules)[-1])


def test_a_resume_takes_changed_settings_and_keeps_the_momentum():
    model = make_model()
    first = make_descent(model, "momentum")
    step(model, first, 0)
    changed = make_descent(
        model, "momentum", replace(PLAIN, weight_decay=0.2), lr=0.01, momentum=0.5
    )
    changed.load_state_dict(first.state_dict())
    step(model, changed, 1)
    v = gradient(START)
    theta = START - 0.1 * v
    v = 0.5 * v + gradient(theta) + 0.2 * theta
    np.testing.assert_allclose(weights(model), theta - 0.01 * v, rtol=1e-10)
    assert changed.learning_rate == 0.01


def test_a_resume_carries_the_plateau_and_the_loss_scale_on():
    make = lambda: Plateau(factor=0.1, patience=1, minimum=0)  # noqa: E731
    model = make_model()
    first = make_descent(model, "sgd", multiplier=make(), scaled=True)
    first.multiplier.observe(improved=False)
    first.backward(model(torch.from_numpy(X)).sum() * float("inf"))
    first.update(0)
    second = make_descent(model, "sgd", multiplier=make(), scaled=True)
    second.load_state_dict(first.state_dict())
    assert second.multiplier(0) == pytest.approx(0.1)
    assert second.scaler.get_scale() == first.scaler.get_scale() == 2.0**15


def test_a_state_with_other_groups_than_configured_is_refused():
    model = make_model()
    first = make_descent(model, "sgd")
    rules = replace(PLAIN, weight_decay=0.1, decay_biases_and_norms=False)
    with pytest.raises(ValueError, match="different number of parameter groups"):
        make_descent(model, "sgd", rules).load_state_dict(first.state_dict())
