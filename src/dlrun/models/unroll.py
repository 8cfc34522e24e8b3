"""torch's recurrent layers step by step in plain operations, for where the fused kernels cannot go.

The fused RNN, LSTM and GRU have no rule for torch.func.vmap; what is written out here has.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Hidden state first; an LSTM adds its memory.
State = tuple[Tensor, ...]


def must_unroll(rnn: nn.RNNBase, x: Tensor) -> bool:
    """Whether torch.func (vmap, grad, ...) is at work on the layer's weights or on its input."""
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    return wrapped(x) or wrapped(next(rnn.parameters()))


def unrolled(rnn: nn.RNNBase, x_BTF: Tensor) -> tuple[Tensor, Tensor]:
    """What `rnn` (batch_first) computes: its outputs and the final hidden states.

    Shapes: B batch, T time, F features, H hidden, D directions, L layers; outputs (B, T, D * H),
    final states (L * D, B, H).
    """
    finals = []
    for layer in range(rnn.num_layers):
        outputs = []
        for direction in ("", "_reverse")[: 1 + rnn.bidirectional]:
            steps = _run(rnn, x_BTF, f"l{layer}{direction}", backwards=bool(direction))
            finals.append(steps[0] if direction else steps[-1])
            outputs.append(torch.stack(steps, dim=1))
        x_BTF = torch.cat(outputs, dim=-1)
    return x_BTF, torch.stack(finals)


def _run(rnn: nn.RNNBase, x_BTF: Tensor, suffix: str, *, backwards: bool) -> list[Tensor]:
    """Hidden states (B, H) of one layer in one direction, in the order of time."""
    step = _STEPS[rnn.mode]
    weight_hh, bias_hh = getattr(rnn, f"weight_hh_{suffix}"), getattr(rnn, f"bias_hh_{suffix}")
    # The input's share of every step at once: only the hidden state's has to wait for its turn.
    inputs = F.linear(
        x_BTF, getattr(rnn, f"weight_ih_{suffix}"), getattr(rnn, f"bias_ih_{suffix}")
    ).unbind(1)
    state: State = (x_BTF.new_zeros(len(x_BTF), rnn.hidden_size),) * 2
    hidden = []
    for from_input in reversed(inputs) if backwards else inputs:
        state = step(from_input, F.linear(state[0], weight_hh, bias_hh), state)
        hidden.append(state[0])
    return hidden[::-1] if backwards else hidden


def _rnn_step(from_input: Tensor, from_hidden: Tensor, state: State) -> State:
    return (torch.tanh(from_input + from_hidden),)


def _lstm_step(from_input: Tensor, from_hidden: Tensor, state: State) -> State:
    i, f, g, o = (from_input + from_hidden).chunk(4, dim=-1)
    memory = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(memory), memory


def _gru_step(from_input: Tensor, from_hidden: Tensor, state: State) -> State:
    (r_x, z_x, n_x), (r_h, z_h, n_h) = from_input.chunk(3, dim=-1), from_hidden.chunk(3, dim=-1)
    update = torch.sigmoid(z_x + z_h)
    candidate = torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
    return ((1 - update) * candidate + update * state[0],)


_STEPS: dict[str, Callable[[Tensor, Tensor, State], State]] = {
    "RNN_TANH": _rnn_step,
    "LSTM": _lstm_step,
    "GRU": _gru_step,
}
