"""Read sequences, padded or not, by one of torch's recurrent layers, by the fastest way that is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dlrun.models.cell_norm import CellNorm
from dlrun.models.unroll import must_unroll, unrolled


class States(NamedTuple):
    """Outputs (B, T, D * H) at each step, and where each direction ended (B, D * H), of the top layer.

    Forwards ends at the last real step, backwards at step 0.
    """

    outputs: Tensor
    final: Tensor


def read(
    rnn: nn.RNNBase,
    x_BTF: Tensor,
    real_BT: Tensor | None = None,
    norms: Mapping[str, CellNorm] | None = None,
) -> States:
    """What `rnn` makes of sequences (B, T, F) padded at the end; `real_BT` is false there.

    Outputs at padded steps mean nothing.
    """
    if norms is not None or must_unroll(rnn, x_BTF):
        outputs, final = unrolled(rnn, x_BTF, real_BT=real_BT, norms=norms)
    elif real_BT is None:
        outputs, state = rnn(x_BTF)
        final = _hidden(state)
    elif rnn.bidirectional:
        outputs, final = _read_packed(rnn, x_BTF, real_BT)
    else:
        # What follows the end is read as well: that changes nothing before it, and packing takes longer.
        outputs, _ = rnn(x_BTF)
        last_B = real_BT.sum(1) - 1
        return States(outputs, outputs[torch.arange(len(outputs), device=last_B.device), last_B])
    return States(outputs, torch.cat(tuple(final[-1 - rnn.bidirectional :]), dim=1))


def _read_packed(rnn: nn.RNNBase, x_BTF: Tensor, real_BT: Tensor) -> tuple[Tensor, Tensor]:
    lengths_B = real_BT.sum(1).cpu()
    packed = pack_padded_sequence(x_BTF, lengths_B, batch_first=True, enforce_sorted=False)
    answers, state = rnn(packed)
    outputs, _ = pad_packed_sequence(answers, batch_first=True, total_length=x_BTF.shape[1])
    return outputs, _hidden(state)


def _hidden(state: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """Final hidden states (L * D, B, H): an LSTM's state is (h, c)."""
    return state[0] if isinstance(state, tuple) else state
