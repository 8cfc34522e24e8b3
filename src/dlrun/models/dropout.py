"""Dropout from the run's own generator: the same masks alone and among trials trained as one.

On a GPU masks come from the seed of the generator and from how often a layer has drawn: so one kernel makes those of
all trials, and a CUDA graph need not know their generators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.models.keyed_words import spread, words
from dlrun.system.torch_internals import in_torch_func

# A value is kept or dropped by 16 random bits, and 64 are drawn at once: this is most of the cost.
_LEVELS = 2**16
_LANES = 4
_LOWEST_16, _LOWEST_64 = -(2**15), -(2**63)


class RandomLayer(nn.Module):
    """A layer that draws random numbers: from `generators`, or until it has any from torch's global random state."""

    def __init__(self) -> None:
        super().__init__()
        self.generators = Generators()

    def take(self, generators: Generators, place: int) -> None:
        """Draw from these from now on, as the layer at a `place` among those that draw."""
        self.generators = generators


class Dropout(RandomLayer):
    """Zero each value with probability `p` in training, scale the rest by 1 / (1 - p).

    Srivastava et al. (2014). `p` is rounded to a multiple of 1/65536, in the scale as well, so that
    the mean is exact. The masks depend on the generator, the shape and `p` alone, not on the dtype.

    `kept` is `p` in a form that torch.func can stack: the number of levels of 65536 that are kept.
    Trials trained as one under vmap may so differ in it; an integer survives a change of dtype.
    """

    kept: Tensor
    drawn: Tensor  # how often it has drawn, where masks come from that and a seed

    def __init__(self, p: float) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"p is {p}, but must be a probability, from 0 to 1")
        super().__init__()
        self.p = p
        self._kept = round((1 - p) * _LEVELS)
        self._scale = _LEVELS / max(self._kept, 1)
        self.register_buffer("kept", torch.tensor(self._kept, dtype=torch.int32), persistent=False)
        self.place, self.seeds = 0, torch.empty(0)  # (K,), once they are asked for

    @property
    def is_keyed(self) -> bool:
        """Whether masks come from seeds, and from how often the layer has drawn."""
        return "drawn" in self._buffers

    def take(self, generators: Generators, place: int) -> None:
        """As of every layer that draws; on a GPU it draws from their seeds from now on."""
        super().take(generators, place)
        self.place, self.seeds = place, torch.empty(0)
        if generators and generators[0].device.type == "cuda":
            self.draw_by_key()

    def draw_by_key(self) -> None:
        """Take masks from the seeds of the generators, and not from their states."""
        if not self.is_keyed:
            none = torch.zeros((), dtype=torch.int64, device=self.kept.device)
            self.register_buffer("drawn", none, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`x` itself in evaluation.

        Raises:
            RuntimeError: there are generators, but not one for each of the trials.
        """
        if not self.training:
            return x
        if self.is_keyed:
            mask = self._keyed_mask(x)
        elif in_torch_func():
            mask = _Mask.apply(x.detach(), self.kept, self.generators)
        else:
            # Python's number does not make the device wait.
            mask = _mask(x, self._kept, self._scale, self.generators)
        return x * mask

    def _keyed_mask(self, x: Tensor) -> Tensor:
        if not len(
            self.seeds
        ):  # asked late: those of several ranks are set apart after the model was made
            numbers = [generator.initial_seed() for generator in self.generators]
            self.seeds = spread(numbers, self.place).to(self.kept.device)
        self.drawn.add_(1)
        if in_torch_func():
            mask: Tensor = _KeyedMask.apply(x.detach(), self.kept, self.drawn, self.seeds)
            return mask
        _require_each(len(self.seeds), 1)
        size = x.numel()
        lanes = words(self.seeds, self.drawn, _words(size)).view(torch.int16)[0, :size].view_as(x)
        return _compared(lanes, x.dtype, self._kept, self._scale)

    def extra_repr(self) -> str:
        """The rate, for print."""
        return f"p={self.p}"


class Generators(tuple[torch.Generator, ...]):
    """One a trial. A copy of a model uses the same ones."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Generators:
        return self

    def of(self, trials: int) -> Sequence[torch.Generator | None]:
        """One for each of the `trials`; None is torch's global random state."""
        if self:
            _require_each(len(self), trials)
        return self or [None] * trials


def _require_each(generators: int, trials: int) -> None:
    if generators != trials:
        raise RuntimeError(
            f"dropout has {generators} generators for {trials} trained as one; give use_generators one for each"
        )


def use_generators(model: nn.Module, generators: Sequence[torch.Generator]) -> None:
    """Give every layer in `model` that draws its `generators`: one for a run alone, one for each trial of a stack."""
    layers = (layer for layer in model.modules() if isinstance(layer, RandomLayer))
    for place, layer in enumerate(layers):
        layer.take(Generators(generators), place)


def counts_of_masks(model: nn.Module) -> list[int]:
    """How often each layer of dropout has drawn, of those whose masks come from that: a resume needs it."""
    return [int(layer.drawn) for layer in _keyed(model)]


def load_counts_of_masks(model: nn.Module, counts: Sequence[int]) -> None:
    """Go on from there; where there are other layers now, with masks that none had before."""
    layers = _keyed(model)
    alike = counts if len(counts) == len(layers) else [max(counts, default=0)] * len(layers)
    for layer, count in zip(layers, alike, strict=True):
        layer.drawn.fill_(count)


def _keyed(model: nn.Module) -> list[Dropout]:
    return [layer for layer in model.modules() if isinstance(layer, Dropout) and layer.is_keyed]


class _Mask(torch.autograd.Function):
    """What `_mask` gives, also under torch.func."""

    @staticmethod
    def forward(like: Tensor, kept: Tensor, generators: Generators) -> Tensor:
        return _mask(like, kept, _scale(kept, like), generators)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], like: Tensor, kept: Tensor, generators: Generators
    ) -> tuple[Tensor, int]:
        trials = info.batch_size
        shape = like.shape if in_dims[0] is None else like.movedim(in_dims[0], 0).shape[1:]
        size = shape.numel()
        draws = torch.empty(trials, _words(size), dtype=torch.int64, device=like.device)
        for draw, generator in zip(draws.unbind(), generators.of(trials), strict=True):
            draw.random_(_LOWEST_64, None, generator=generator)
        lanes = draws.view(torch.int16)[:, :size].view(trials, *shape)
        kept = kept.expand(trials).view(-1, *[1] * len(shape))
        return _compared(lanes, like.dtype, kept, _scale(kept, like)), 0


class _KeyedMask(torch.autograd.Function):
    """The mask of a layer that is keyed, under torch.func."""

    @staticmethod
    def forward(like: Tensor, kept: Tensor, drawn: Tensor, seeds: Tensor) -> Tensor:
        return _keyed_masks(like.unsqueeze(0), kept, drawn, seeds)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[Any, ...],
        like: Tensor,
        kept: Tensor,
        drawn: Tensor,
        seeds: Tensor,
    ) -> tuple[Tensor, int]:
        _require_each(len(seeds), info.batch_size)
        stacked = like.unsqueeze(0) if in_dims[0] is None else like.movedim(in_dims[0], 0)
        stacked = stacked.expand(info.batch_size, *stacked.shape[1:])
        return _keyed_masks(stacked, kept, drawn, seeds), 0


def _keyed_masks(like: Tensor, kept: Tensor, drawn: Tensor, seeds: Tensor) -> Tensor:
    """Masks in the shape of `like` (K, ...)."""
    trials, shape = len(like), like.shape[1:]
    size = shape.numel()
    lanes = words(seeds, drawn, _words(size)).view(torch.int16)[:, :size].view(trials, *shape)
    kept = kept.expand(trials).view(-1, *[1] * len(shape))
    return _compared(lanes, like.dtype, kept, _scale(kept, like))


def _mask(
    like: Tensor, kept: Tensor | int, scale: Tensor | float, generators: Generators
) -> Tensor:
    """`scale` or 0 in the shape of `like`, from the only generator."""
    size = like.numel()
    draws = torch.empty(_words(size), dtype=torch.int64, device=like.device)
    draws.random_(_LOWEST_64, None, generator=generators.of(1)[0])
    lanes = draws.view(torch.int16)[:size].view_as(like)
    return _compared(lanes, like.dtype, kept, scale)


def _words(size: int) -> int:
    """Draws for `size` values."""
    return -(-size // _LANES)


def _compared(
    lanes: Tensor, dtype: torch.dtype, kept: Tensor | int, scale: Tensor | float
) -> Tensor:
    mask = torch.empty_like(lanes, dtype=dtype)
    # The threshold is a float: 16 bits do not hold the one that keeps everything.
    return torch.lt(lanes, kept + float(_LOWEST_16), out=mask).mul_(scale)


def _scale(kept: Tensor, like: Tensor) -> Tensor:
    """As Python's, rounded to float32 at the coarsest; where nothing is kept any number will do."""
    return _LEVELS / kept.clamp(min=1).to(torch.promote_types(like.dtype, torch.float32))
