"""Random words that are worked out from a seed and from how often it has been drawn from, for all trials at once.

SplitMix64 (Steele, Lea and Flood, 2014), whose n-th number is a mix of the seed and n times a constant: each number is
found by itself. On a GPU one kernel does it, which torch compiles where it is first used; elsewhere, and where that
kernel gives anything else, operations of torch do.

Shapes: K trials, W words.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dlrun.errors import first_line
from dlrun.system.torch_internals import elementwise_kernel

log = logging.getLogger(__name__)

_GAMMA, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_LONGEST = 34  # bits of the number of a word within one draw
_KERNEL = f"""
template <typename T> T word(T at, T seed, T drawn) {{
    unsigned long long x = (unsigned long long)at + ((unsigned long long)drawn << {_LONGEST});
    x = (unsigned long long)seed + x * {_GAMMA:#x}ULL;
    x = (x ^ (x >> 30)) * {_FIRST:#x}ULL;
    x = (x ^ (x >> 27)) * {_SECOND:#x}ULL;
    return (T)(x ^ (x >> 31));
}}
"""
_Words = Callable[[Tensor, Tensor, Tensor], Tensor]


def words(seeds: Tensor, drawn: Tensor, count: int) -> Tensor:
    """Words (K, W) of 64 bits: the draw number `drawn`, (K,) or (), of each of the `seeds` (K,), all int64."""
    at = torch.arange(count, device=seeds.device)
    kernel = _plain if torch.compiler.is_compiling() else _kernel_of(seeds.device.type)
    return kernel(at, seeds.unsqueeze(1), drawn.view(-1, 1))


def spread(seeds: Sequence[int], place: int) -> Tensor:
    """Seeds (K,) that lie anywhere among all numbers, of the seeds of trials and one `place` among their layers."""
    rows = torch.tensor([_signed(seed % 2**64) for seed in seeds]).unsqueeze(1)
    mixed = _plain(torch.zeros(1, dtype=torch.int64), rows, torch.zeros(1, 1, dtype=torch.int64))
    place_1 = torch.tensor([[place + 1]])
    return _plain(torch.zeros(1, dtype=torch.int64), mixed, place_1)[:, 0]


def _plain(at: Tensor, seed: Tensor, drawn: Tensor) -> Tensor:
    x = seed + (at + (drawn << _LONGEST)) * _signed(_GAMMA)
    x = (x ^ _shifted(x, 30)) * _signed(_FIRST)
    x = (x ^ _shifted(x, 27)) * _signed(_SECOND)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """To the right, zeros from the left: torch repeats the sign."""
    return (x >> bits) & (2 ** (64 - bits) - 1)


def _signed(number: int) -> int:
    """The bits of a number without a sign as torch's int64 has them."""
    return number - 2**64 if number >= 2**63 else number


@functools.cache
def _kernel_of(device: str) -> _Words:
    """What works out words on a kind of device; asked first where nothing is captured."""
    if device != "cuda":
        return _plain
    at = torch.arange(1000, device=device)
    seeds, drawn = torch.tensor([[-(2**62) - 5], [3]], device=device), at[5:7].unsqueeze(1)
    try:
        kernel = elementwise_kernel(_KERNEL)
        if torch.equal(kernel(at, seeds, drawn), _plain(at, seeds, drawn)):
            return kernel
        reason = "it gives other numbers"
    except Exception as error:  # of torch's own compiler, whatever it says
        reason = first_line(error)
    log.warning("masks of dropout go without a kernel of their own (%s), which is slower", reason)
    return _plain
