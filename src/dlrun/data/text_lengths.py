"""How far texts are read where no setting says so. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from dlrun.hints import note

_MOST_TEXTS = 0.95  # of the training part: a length that so many keep within is no exception
_BEYOND = 8  # times that length, and a text is an exception
_SHORT = 512  # tokens, which any text may have
_MOST_TOKENS = 8192  # a batch of 32 such texts takes a gigabyte or two to train on
_BYTES = 2 * 2**30  # of all texts, padded to one length
_TOKEN_BYTES = 8


def reading_length(lengths: Sequence[int], *, texts: int, given: int | None) -> int:
    """Tokens that are read of a text: as many as `given`, or as the longest has, unless that is out of all proportion.

    Without `given` at most 8 times what 95 % of the training texts keep within, though never fewer than
    512; at most 8,192; and so many that all texts, padded, fit into 2 GiB. A line on the error stream
    says so where that cuts a training text.

    Args:
        lengths: tokens of each training text.
        texts: how many there are in all parts.
    """
    ordered = sorted(lengths)
    longest = ordered[-1]
    if given is not None:
        return min(longest, given)
    # Rounded down: of a few texts the longest is the exception.
    usual = ordered[int(_MOST_TEXTS * (len(ordered) - 1))]
    padded = max(1, _BYTES // (_TOKEN_BYTES * texts))
    limit = min(max(_SHORT, _BEYOND * usual), _MOST_TOKENS, padded)
    if longest > limit:
        within = sum(length <= usual for length in ordered)
        others = f", {within:,} of {len(ordered):,} have at most {usual:,}" * (usual < longest)
        note(
            f"the longest training text has {longest:,} tokens{others}: the first {limit:,} of each text are read; "
            "dataset.tokens.max_length=… sets another bound"
        )
    return min(longest, limit)
