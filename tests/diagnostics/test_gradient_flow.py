"""How much gradient reaches each step of time, against an RNN written out by hand."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from dlrun.config.compose import compose
from dlrun.config.settings import parse
from dlrun.diagnostics.gradient_flow import GradientFlow, gradient_flow, norms_through_time
from dlrun.errors import ConfigError
from dlrun.models.unroll import unrolled, watching
from dlrun.training.build import assemble

QUICK = ("trainer.accelerator=cpu", "trainer.precision=fp64", "trainer.batch_size=6")
TEXTS = ("dataset=text_lines", "model.embedding_size=5", "dataset.tokens.max_length=7")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def engine_of(*words):
    plain = OmegaConf.to_container(compose(["name=flow", *QUICK, *words]), resolve=True)
    del plain["sweep"]
    return assemble(parse(plain)).engine


def test_the_gradient_at_each_step_is_that_of_the_chain_rule():
    """Elman's cell: d h_T / d h_t is the product of diag(1 - h²) U over the steps after t."""
    rnn = nn.RNN(2, 3, batch_first=True).double()
    x, v = torch.randn(4, 5, 2).double(), torch.randn(3).double()
    with watching() as states:
        outputs, _ = unrolled(rnn, x)
    loss = (outputs[:, -1] @ v).sum()
    found = norms_through_time(loss, states[0])
    hidden, _ = rnn(x)
    gradient = v.expand(4, 3)
    expected = [gradient.norm(dim=1).mean()]
    for t in range(4, 0, -1):
        gradient = (gradient * (1 - hidden[:, t] ** 2)) @ rnn.weight_hh_l0
        expected.append(gradient.norm(dim=1).mean())
    torch.testing.assert_close(torch.tensor(found), torch.stack(expected[::-1]).float().detach())


def test_steps_after_the_end_of_a_text_are_left_out_of_the_mean():
    states = [torch.ones(2, 3, requires_grad=True) for _ in range(2)]
    loss = (states[0] * 2).sum() + (states[1][0] * 5).sum()
    real = torch.tensor([[True, True], [True, False]])
    found = norms_through_time(loss, states, real_BT=real)
    assert found == pytest.approx([2 * 3**0.5, 5 * 3**0.5])


@pytest.mark.parametrize("model", ["rnn", "lstm", "gru"])
def test_the_norms_are_those_of_single_texts_each_by_itself(model):
    """Independently: the loss of one text by the fused layers, moved by a nudge of one hidden state."""
    engine = engine_of(f"model={model}", *TEXTS, "model.hidden_size=4")
    inputs, targets = next(iter(engine.batches.epoch(0)))
    found = gradient_flow(engine)
    assert len(found) == inputs.shape[1]
    net = engine.model.eval()
    t, norms = inputs.shape[1] - 3, []
    for text, target in zip(inputs, targets, strict=True):
        length = int((text != 0).sum())
        if t >= length:
            continue
        norms.append(nudged_norm(net, text[None, :length], target[None], engine.task, t))
    assert found[t] == pytest.approx(np.mean(norms), rel=1e-4)


def nudged_norm(net, ids, target, task, t):
    """Of the loss by the hidden state after step `t`, by central differences."""
    vectors = net.embedding(ids).detach()
    _, state = net.rnn(vectors[:, : t + 1])
    hidden, *memory = state if isinstance(state, tuple) else (state,)
    gradient = []
    for unit in range(hidden.shape[2]):
        losses = []
        for step in (1e-6, -1e-6):
            nudged = hidden.detach().clone()
            nudged[0, 0, unit] += step
            end = nudged[0]
            if t + 1 < ids.shape[1]:
                start = (nudged, *memory) if memory else nudged
                end = net.rnn(vectors[:, t + 1 :], start)[0][:, -1]
            losses.append(task.loss(net.head(end), target).item())
        gradient.append((losses[0] - losses[1]) / 2e-6)
    return np.linalg.norm(gradient)


def test_a_layer_that_is_frozen_has_no_gradients_to_show():
    assert gradient_flow(engine_of("model=gru", *TEXTS, "model.freeze=[rnn.*,embedding.*]")) == []


def test_looking_changes_neither_gradients_nor_random_numbers_nor_the_mode():
    engine = engine_of("model=gru", *TEXTS, "model.dropout=0.5")
    before = torch.get_rng_state()
    gradient_flow(engine)
    assert engine.model.training and torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in engine.model.parameters())


class Recorder:
    def __init__(self):
        self.curves, self.pictures = {}, []

    def earlier_curves(self, prefix):
        return {}

    def curve(self, tag, values):
        self.curves[tag] = values

    def image(self, tag, picture, step):
        assert picture.png
        self.pictures.append((tag, step))


def test_curves_come_after_evaluations_1_2_4_8_and_at_the_end_each_once():
    engine = engine_of("model=rnn", *TEXTS, "trainer.eval_every_steps=2", "trainer.max_steps=14")
    flow, seen = GradientFlow(), Recorder()
    for engine.step in range(2, 15, 2):
        flow.at_evaluation(engine, seen)
    flow.draw(engine, seen)
    flow.draw(engine, seen)
    steps = [2, 4, 8, 14]
    assert list(seen.curves) == [f"gradient_through_time/step {step}" for step in steps]
    assert seen.pictures == [("gradient_through_time/all", step) for step in steps]


def test_a_language_model_is_looked_into_as_well():
    engine = engine_of(
        "dataset=char_lm", "model=char_lstm", "dataset.window=9", "model.hidden_size=4"
    )
    norms = gradient_flow(engine)
    assert len(norms) == 9 and all(norm > 0 for norm in norms)


def test_a_model_without_recurrent_layers_is_refused():
    with pytest.raises(ConfigError) as refused:
        engine_of("dataset=iris", "model=mlp", "tracking.gradient_flow=true")
    assert str(refused.value) == (
        "tracking.gradient_flow is true, but the model has no recurrent layer; "
        "set it to false, or choose model=rnn, lstm or gru"
    )
