"""The transformer of language: as many characters before each as it has context, however the text is cut."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.models.attention import attend, rotations, turned
from dlrun.training.forward import advance, on_tensors

SPEC = Spec("language", "tokens", (5,), 7, vocabulary=7)
STREAMS, TIME, CONTEXT = 3, 20, 4


@pytest.fixture
def model_of(build):
    """overrides -> a small model in float64, its weights large enough for all terms to count."""

    def make(**overrides):
        usual = {"width": 8, "heads": 2, "layers": 2, "context": CONTEXT}
        model = build("gpt", SPEC, **usual | overrides).double()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.5)
        return model

    return make


@pytest.fixture
def text():
    return torch.randint(0, SPEC.vocabulary, (STREAMS, TIME))


@pytest.mark.parametrize("window", [1, 3, 4, 7, TIME])
@pytest.mark.parametrize("more", [{}, {"activation": "swiglu", "tied": False, "context": 1}])
@torch.no_grad()
def test_windows_with_a_carried_state_are_one_long_window(window, more, model_of, text):
    model = model_of(**more).eval()
    whole, end = model(text)
    state, parts = None, []
    for part in text.split(window, dim=1):
        scores, state = model(part, state)
        parts.append(scores)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, end, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_a_token_sees_the_context_before_it_in_each_layer_and_nothing_that_comes_later(
    model_of, text
):
    model = model_of().eval()
    scores, at = model(text)[0], 9
    text[:, at] = (text[:, at] + 1) % SPEC.vocabulary
    changed = (model(text)[0] != scores).any(2).any(0)
    reach = at + 2 * CONTEXT  # of two layers
    assert changed.tolist() == [at <= step <= reach for step in range(TIME)]


@torch.no_grad()
def test_zeros_are_the_state_before_the_beginning_of_a_text(model_of, text):
    model = model_of().eval()
    scores, state = model(text)
    again, _ = model(text, on_tensors(state, torch.zeros_like))
    assert torch.equal(scores, again)


@torch.no_grad()
def test_a_layer_is_attention_and_a_feed_forward_part_as_they_are_written_down(model_of, text):
    model = model_of(layers=1, context=TIME).eval()
    found = model(text)[0]
    (block,) = model.blocks
    x = model.embedding.weight[text]
    q, k, v = F.layer_norm(x, (8,), *block.attention_norm.parameters()).matmul(
        block.attention.input.weight.T
    ).split(8, -1)  # fmt: skip
    taken = torch.zeros_like(x)
    for head in (slice(0, 4), slice(4, 8)):
        for step in range(TIME):
            fits = [_product(q[:, step, head], k[:, j, head], step - j) for j in range(step + 1)]
            weights = torch.stack(fits, 1).div(2).softmax(1)
            taken[:, step, head] = (weights[:, :, None] * v[:, : step + 1, head]).sum(1)
    x = x + taken @ block.attention.output.weight.T
    normed = F.layer_norm(x, (8,), *block.feed_forward_norm.parameters())
    forward = block.feed_forward
    x = x + F.gelu(normed @ forward.input.weight.T) @ forward.output.weight.T
    x = F.layer_norm(x, (8,), *model.norm.parameters())
    torch.testing.assert_close(found, x @ model.embedding.weight.T)


def _product(q, k, distance):
    """Of heads of 4 numbers as complex ones, the key turned back by the distance at two speeds."""
    q, k = (torch.complex(x[:, :2], x[:, 2:]) for x in (q, k))
    back = torch.polar(torch.ones(2).double(), -distance * torch.tensor([1.0, 0.01]).double())
    return (q * (k * back).conj()).real.sum(1)


def test_rotations_keep_lengths_and_tell_late_positions_apart():
    x = torch.randn(2, 3, 8)
    late = torch.tensor([5.0, 10_000_000.0, 10_000_001.0])
    turns = rotations(late, 8, like=x)
    torch.testing.assert_close(turned(x, turns).norm(dim=-1), x.norm(dim=-1))
    assert turns[0, 2, 0].item() == pytest.approx(math.cos(10_000_001), abs=1e-6)


def test_attention_in_parts_is_torch_s_own():
    q, k, v = torch.randn(3, 2, 2, 5, 4).bfloat16()
    mask = torch.zeros(5, 5).masked_fill(torch.ones(5, 5).triu(1) > 0, -torch.inf)
    expected = attend(q.float(), k.float(), v.float(), mask)
    torch.testing.assert_close(attend(q, k, v, mask).float(), expected, rtol=0.02, atol=0.02)


def test_a_gradient_goes_through_the_parts_of_a_window_and_not_into_the_one_before(model_of, text):
    model = model_of()
    _, state = advance(model, text[:, :8], None, SPEC)
    vectors = []
    model.embedding.register_forward_hook(
        lambda _, __, out: vectors.append(out) or out.retain_grad()
    )
    scores, _ = advance(model, text[:, 8:], state, SPEC)
    scores[:, -1].sum().backward()
    reached = torch.cat([part.grad for part in vectors], 1).any(2).any(0)
    assert reached.tolist() == [step >= TIME - 1 - 2 * CONTEXT for step in range(8, TIME)]
    assert not any(part.requires_grad for pair in state[1:] for part in pair)


def test_dropout_acts_in_training_alone(model_of, text):
    model = model_of(dropout=0.5)
    assert not torch.equal(model(text)[0], model(text)[0])
    model.eval()
    assert torch.equal(model(text)[0], model(text)[0])


def test_weights_begin_small_and_those_that_are_added_up_smaller(build):
    model = build("gpt", SPEC, layers=8, width=64, heads=1)
    block = model.blocks[3]
    for part in (block.attention, block.feed_forward):
        assert part.input.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert part.output.weight.std().item() == pytest.approx(0.005, rel=0.1)
    assert model.head.weight is model.embedding.weight
    assert build("gpt", SPEC, tied=False).head.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_what_does_not_fit_is_refused(build, make_spec):
    with pytest.raises(ConfigError, match="model=gpt reads a text to continue"):
        build("gpt", make_spec("tokens"))
    with pytest.raises(
        ConfigError, match=r"model\.width is 12, .* a multiple of 2 x model\.heads, .*: 8;"
    ):
        build("gpt", SPEC, width=12, heads=4)
