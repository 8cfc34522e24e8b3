"""Read sequences, padded or not, by one of torch's recurrent layers, by the fastest way that is right."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dlrun.models.cell_norm import CellNorm
from dlrun.models.unroll import must_unroll, unrolled


def read(
    rnn: nn.RNNBase,
    x_BTF: Tensor,
    real_BT: Tensor | None = None,
    norms: Mapping[str, CellNorm] | None = None,
) -> Tensor:
    """Outputs (B, T, D * H) of the top layer of `rnn` (batch_first) for sequences (B, T, F) padded at the end.

    `real_BT` is false at padding, where outputs mean nothing.
    """
    if norms is not None or must_unroll(rnn, x_BTF):
        return unrolled(rnn, x_BTF, real_BT=real_BT, norms=norms)[0]
    if real_BT is None or not rnn.bidirectional:
        # Forwards, padding is read after all else and changes none of it; to pack would take longer.
        outputs: Tensor = rnn(x_BTF)[0]
        return outputs
    lengths_B = real_BT.sum(1).cpu()
    packed = pack_padded_sequence(x_BTF, lengths_B, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(rnn(packed)[0], batch_first=True, total_length=x_BTF.shape[1])[0]
