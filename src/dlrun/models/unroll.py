"""torch's recurrent layers step by step in plain operations, for where the fused kernels cannot go.

The fused RNN, LSTM and GRU have no rule for torch.func.vmap, show no state but the last and take no
layer norm inside; what is written out here does all three.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.models.cells import STEPS, CellNorm, State
from dlrun.system.torch_internals import is_wrapped

_SEEN: ContextVar[list[list[Tensor]] | None] = ContextVar("seen", default=None)
_ASKED: ContextVar[bool] = ContextVar("asked", default=False)


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


@contextmanager
def unrolling() -> Iterator[None]:
    """Unroll whatever is read inside, as a program must that is written down step by step."""
    before = _ASKED.set(True)
    try:
        yield
    finally:
        _ASKED.reset(before)


def must_unroll(rnn: nn.RNNBase, x: Tensor) -> bool:
    """Whether torch.func (vmap, grad, ...) is at work on the layer's weights or input, or somebody asked for it."""
    asked = _ASKED.get() or _SEEN.get() is not None
    return asked or is_wrapped(x) or is_wrapped(next(rnn.parameters()))


def read_on(
    rnn: nn.RNNBase, x_BTF: Tensor, state: Tensor | State | None
) -> tuple[Tensor, Tensor | State]:
    """What `rnn(x, state)` gives, by torch's fused kernel where it can go."""
    outputs, after = (partial(unrolled, rnn) if must_unroll(rnn, x_BTF) else rnn)(x_BTF, state)
    return outputs, after


def unrolled(
    rnn: nn.RNNBase,
    x_BTF: Tensor,
    state: Tensor | State | None = None,
    *,
    real_BT: Tensor | None = None,
    norms: Mapping[str, CellNorm] | None = None,
) -> tuple[Tensor, Tensor | State]:
    """What `rnn(x, state)` (batch_first) gives: its outputs, and the final state in the form of `state`.

    Args:
        state: before the first step: hidden, of an LSTM with its memory; zeros where it is None.
        real_BT: false where a step is padding, which leaves the state as it is.
        norms: layer norm inside the cell, for each of the layers and directions by torch's suffix.

    Shapes: B batch, T time, F features, H hidden, D directions, L layers; outputs (B, T, D * H),
    states (L * D, B, H).
    """
    directions = 1 + rnn.bidirectional
    before = _parts(rnn, x_BTF, state)
    finals: list[State] = []
    for layer in range(rnn.num_layers):
        outputs = []
        for direction in ("", "_reverse")[:directions]:
            suffix, first = f"l{layer}{direction}", tuple(part[len(finals)] for part in before)
            norm = norms[suffix] if norms else None
            hidden, final = _run(rnn, x_BTF, suffix, first, real_BT, norm)
            finals.append(final)
            outputs.append(torch.stack(hidden, dim=1))
        x_BTF = torch.cat(outputs, dim=-1)
    after = tuple(torch.stack(part) for part in zip(*finals, strict=True))
    return x_BTF, after if rnn.mode == "LSTM" else after[0]


def _parts(rnn: nn.RNNBase, x_BTF: Tensor, state: Tensor | State | None) -> State:
    """Hidden state, and of an LSTM its memory, of all layers and directions (L * D, B, H)."""
    if state is None:
        rows = rnn.num_layers * (1 + rnn.bidirectional)
        zeros = x_BTF.new_zeros(rows, len(x_BTF), rnn.hidden_size)
        return (zeros, zeros) if rnn.mode == "LSTM" else (zeros,)
    return (state,) if isinstance(state, Tensor) else state


def _run(
    rnn: nn.RNNBase,
    x_BTF: Tensor,
    suffix: str,
    state: State,
    real_BT: Tensor | None,
    norm: CellNorm | None,
) -> tuple[list[Tensor], State]:
    """Hidden states (B, H) of one layer in one direction, in the order of time, and the state at its end."""
    weight_ih, weight_hh, bias_ih, bias_hh = (
        getattr(rnn, f"{name}_{suffix}")
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    step = STEPS[rnn.mode]
    # The input's share of every step at once: only the hidden state's has to wait for its turn.
    inputs = _share(x_BTF, weight_ih, bias_ih, norm and norm.of_input).unbind(1)
    hidden: list[Tensor] = [state[0]] * len(inputs)
    times = range(len(inputs))
    for time in reversed(times) if suffix.endswith("reverse") else times:
        from_hidden = _share(state[0], weight_hh, bias_hh, norm and norm.of_hidden)
        after = step(inputs[time], from_hidden, state, norm)
        if real_BT is not None:
            real = real_BT[:, time, None]
            after = tuple(torch.where(real, *both) for both in zip(after, state, strict=True))
        state, hidden[time] = after, after[0]
    if (seen := _SEEN.get()) is not None:
        seen.append(hidden)
    return hidden, state


def _share(x: Tensor, weight: Tensor, bias: Tensor, norm: nn.Module | None) -> Tensor:
    """What `x` adds to the gates; the bias after the norm, which would take it out again."""
    return F.linear(x, weight, bias) if norm is None else norm(F.linear(x, weight)) + bias
