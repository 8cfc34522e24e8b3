"""What models with attention are built of: attention of several heads, a feed-forward part, rotary positions.

Shapes: B batch, T queries, K keys, D width, H heads, E = D / H.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.errors import ConfigError
from dlrun.models.dropout import Dropout
from dlrun.system.torch_internals import is_wrapped

FeedForwardName = Literal["relu", "gelu", "swiglu"]
KeysValues = tuple[Tensor, Tensor]  # (B, H, K, E) each

START_STD = 0.02  # of weights
LONGEST_WAVE = 10_000.0  # of positions, in steps over 2 pi


class Block(nn.Module):
    """Attention and a feed-forward part, each added to what it was given the layer norm of.

    Vaswani et al. (2017), with the norms in front (Xiong et al., 2020), so that no warm-up is needed for it to learn
    at all. Dropout acts on what is added. Layers have no biases. Weights begin with a standard deviation of 0.02, those
    whose outputs are added with less by sqrt(2 x `depth`) (Radford et al., 2019).

    Args:
        hidden: width of the feed-forward part between its two layers.
        depth: how many blocks the model has.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        hidden: int,
        activation: FeedForwardName,
        dropout: float,
        depth: int,
    ) -> None:
        super().__init__()
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.feed_forward = FeedForward(width, hidden, activation)
        self.dropout = Dropout(dropout) if dropout else nn.Identity()
        for part in (self.attention, self.feed_forward):
            nn.init.normal_(part.input.weight, std=START_STD)
            nn.init.normal_(part.output.weight, std=START_STD / (2 * depth) ** 0.5)

    def forward(
        self,
        x_BTD: Tensor,
        mask: Tensor | None = None,
        turns: Tensor | None = None,
        earlier: KeysValues | None = None,
    ) -> tuple[Tensor, KeysValues]:
        """(B, T, D), and keys and values; arguments as of `SelfAttention`."""
        taken, kept = self.attention(self.attention_norm(x_BTD), mask, turns, earlier)
        x_BTD = x_BTD + self.dropout(taken)
        return x_BTD + self.dropout(self.feed_forward(self.feed_forward_norm(x_BTD))), kept


def stacked_blocks(
    width: int,
    *,
    layers: int,
    heads: int,
    expansion: float,
    activation: FeedForwardName,
    dropout: float,
) -> nn.ModuleList:
    """The blocks of a model, `expansion` times as wide between the two layers of each feed-forward part."""
    hidden = max(1, round(width * expansion))
    return nn.ModuleList(
        Block(
            width, heads=heads, hidden=hidden, activation=activation, dropout=dropout, depth=layers
        )
        for _ in range(layers)
    )


class SelfAttention(nn.Module):
    """Each step asks all steps that it may see, and takes the mean of their values, weighted by how well they fit.

    Vaswani et al. (2017), section 3.2. Steps that were read before may be among those that it sees (Dai et al., 2019).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.input = nn.Linear(width, 3 * width, bias=False)  # queries, keys and values
        self.output = nn.Linear(width, width, bias=False)

    def forward(
        self,
        x_BTD: Tensor,
        mask: Tensor | None = None,
        turns: Tensor | None = None,
        earlier: KeysValues | None = None,
    ) -> tuple[Tensor, KeysValues]:
        """What each step takes (B, T, D), and the keys and values of all K steps, `earlier` ones first.

        Args:
            mask: is added to how well they fit, (T, K) or (B, 1, 1, K): -inf where one is not to be seen, 0 elsewhere.
            turns: `rotations` of the T steps.
        """
        qkv = self.input(x_BTD).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = qkv[:2] if turns is None else turned(qkv[:2], turns)
        v = qkv[2]
        if earlier is not None:
            k, v = (
                torch.cat((before.to(new.dtype), new), dim=2)
                for before, new in zip(earlier, (k, v), strict=True)
            )
        taken = attend(q, k, v, mask)
        return self.output(taken.transpose(1, 2).flatten(2)), (k, v)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k' / sqrt(E) + mask) v, (B, H, T, E)."""
    mask = None if mask is None else mask.to(q.dtype)
    if not is_wrapped(q) and (q.device.type != "cpu" or q.dtype != torch.bfloat16):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    # The fused kernel has no rule for torch.func.vmap, and takes twice as long as its parts on processors in bfloat16.
    fits = q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)
    return (fits if mask is None else fits + mask).softmax(-1) @ v


class FeedForward(nn.Module):
    """Two linear layers with an activation between them, or with a gate (swiglu: Shazeer, 2020, equation 6)."""

    def __init__(self, width: int, hidden: int, activation: FeedForwardName) -> None:
        super().__init__()
        self.activation = activation
        self.input = nn.Linear(width, hidden * (1 + (activation == "swiglu")), bias=False)
        self.output = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """In the shape of `x`."""
        hidden: Tensor = self.input(x)
        if self.activation == "swiglu":
            gate, hidden = hidden.chunk(2, dim=-1)
            hidden = F.silu(gate) * hidden
        else:
            hidden = F.gelu(hidden) if self.activation == "gelu" else F.relu(hidden)
        outputs: Tensor = self.output(hidden)
        return outputs


def rotations(positions_T: Tensor, size: int, like: Tensor) -> Tensor:
    """Cosines and sines (2, T, E / 2) by which heads of `size` E are `turned`, in the dtype of `like`."""
    pairs = torch.arange(0, size, 2, device=positions_T.device)
    waves = torch.exp(pairs * (-math.log(LONGEST_WAVE) / size))
    angles = positions_T.double()[:, None] * waves  # float32 would not tell late positions apart
    return torch.stack((angles.cos(), angles.sin())).to(like.dtype)


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """`x` (..., T, E) turned by its position: products depend on distances alone (Su et al., 2021, section 3.2)."""
    cos, sin = turns
    one, two = x.chunk(2, dim=-1)
    return torch.cat((one * cos - two * sin, two * cos + one * sin), dim=-1)


def in_autocast(x: Tensor) -> Tensor:
    """`x` in the numbers of mixed precision where that is on, so that sums with the outputs of layers stay in them."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def require_heads(width: int, heads: int, *, rotary: bool) -> None:
    """Refuse a width that cannot be shared evenly among the heads, with `rotary` in pairs of numbers.

    Raises:
        ConfigError: it is not a multiple of the heads, or of twice as many.
    """
    if width % (heads * (1 + rotary)):
        least = (
            "2 x model.heads, since rotary positions turn pairs of numbers:"
            if rotary
            else "model.heads:"
        )
        raise ConfigError(
            f"model.width is {width}, but must be a multiple of {least} {heads * (1 + rotary)}; change one of the two"
        )
