"""torch's recurrent layers step by step in plain operations, for where the fused kernels cannot go.

The fused RNN, LSTM and GRU have no rule for torch.func.vmap, show no state but the last and take no
layer norm inside; what is written out here does all three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.models.cell_norm import CellNorm

# Hidden state first; an LSTM adds its memory.
State = tuple[Tensor, ...]


_SEEN: ContextVar[list[list[Tensor]] | None] = ContextVar("seen", default=None)


@contextmanager
def watching() -> Iterator[list[list[Tensor]]]:
    """Unroll whatever is read inside, and give the hidden states of each layer and direction.

    They come in the order in which they are computed, each a list over time of (B, H), and are part
    of the graph: a loss has gradients with respect to them.
    """
    states: list[list[Tensor]] = []
    before = _SEEN.set(states)
    try:
        yield states
    finally:
        _SEEN.reset(before)


def must_unroll(rnn: nn.RNNBase, x: Tensor) -> bool:
    """Whether torch.func (vmap, grad, ...) is at work on the layer's weights or input, or somebody is watching."""
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    return wrapped(x) or wrapped(next(rnn.parameters())) or _SEEN.get() is not None


def unrolled(
    rnn: nn.RNNBase,
    x_BTF: Tensor,
    *,
    real_BT: Tensor | None = None,
    norms: Mapping[str, CellNorm] | None = None,
) -> tuple[Tensor, Tensor]:
    """What `rnn` (batch_first) computes: its outputs and the final hidden states.

    Args:
        real_BT: false where a step is padding, which leaves the state as it is.
        norms: layer norm inside the cell, for each of the layers and directions by torch's suffix.

    Shapes: B batch, T time, F features, H hidden, D directions, L layers; outputs (B, T, D * H),
    final states (L * D, B, H).
    """
    finals = []
    for layer in range(rnn.num_layers):
        outputs = []
        for direction in ("", "_reverse")[: 1 + rnn.bidirectional]:
            suffix = f"l{layer}{direction}"
            norm = norms[suffix] if norms else None
            steps = _run(rnn, x_BTF, suffix, real_BT, norm, backwards=bool(direction))
            finals.append(steps[0] if direction else steps[-1])
            outputs.append(torch.stack(steps, dim=1))
        x_BTF = torch.cat(outputs, dim=-1)
    return x_BTF, torch.stack(finals)


def _run(
    rnn: nn.RNNBase,
    x_BTF: Tensor,
    suffix: str,
    real_BT: Tensor | None,
    norm: CellNorm | None,
    *,
    backwards: bool,
) -> list[Tensor]:
    """Hidden states (B, H) of one layer in one direction, in the order of time."""
    weight_ih, weight_hh, bias_ih, bias_hh = (
        getattr(rnn, f"{name}_{suffix}")
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    step = _STEPS[rnn.mode]
    # The input's share of every step at once: only the hidden state's has to wait for its turn.
    inputs = _share(x_BTF, weight_ih, bias_ih, norm and norm.of_input).unbind(1)
    state: State = (x_BTF.new_zeros(len(x_BTF), rnn.hidden_size),) * 2
    hidden: list[Tensor] = [state[0]] * len(inputs)
    times = range(len(inputs))
    for time in reversed(times) if backwards else times:
        from_hidden = _share(state[0], weight_hh, bias_hh, norm and norm.of_hidden)
        after = step(inputs[time], from_hidden, state, norm)
        if real_BT is not None:
            real = real_BT[:, time, None]
            after = tuple(torch.where(real, *both) for both in zip(after, state, strict=False))
        state, hidden[time] = after, after[0]
    if (seen := _SEEN.get()) is not None:
        seen.append(hidden)
    return hidden


def _share(x: Tensor, weight: Tensor, bias: Tensor, norm: nn.Module | None) -> Tensor:
    """What `x` adds to the gates; the bias after the norm, which would take it out again."""
    return F.linear(x, weight, bias) if norm is None else norm(F.linear(x, weight)) + bias


def _rnn_step(
    from_input: Tensor, from_hidden: Tensor, state: State, norm: CellNorm | None
) -> State:
    return (torch.tanh(from_input + from_hidden),)


def _lstm_step(
    from_input: Tensor, from_hidden: Tensor, state: State, norm: CellNorm | None
) -> State:
    i, f, g, o = (from_input + from_hidden).chunk(4, dim=-1)
    memory = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    shown = memory if norm is None else norm.of_memory(memory)
    return torch.sigmoid(o) * torch.tanh(shown), memory


def _gru_step(
    from_input: Tensor, from_hidden: Tensor, state: State, norm: CellNorm | None
) -> State:
    (r_x, z_x, n_x), (r_h, z_h, n_h) = from_input.chunk(3, dim=-1), from_hidden.chunk(3, dim=-1)
    update = torch.sigmoid(z_x + z_h)
    candidate = torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
    return ((1 - update) * candidate + update * state[0],)


_STEPS: dict[str, Callable[[Tensor, Tensor, State, CellNorm | None], State]] = {
    "RNN_TANH": _rnn_step,
    "LSTM": _lstm_step,
    "GRU": _gru_step,
}
