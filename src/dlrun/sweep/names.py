"""What trials are called in tables, legends and TensorBoard: by what tells them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence


def short_keys(keys: Sequence[str]) -> list[str]:
    """Each key's shortest end, of whole names, that no other key has: `lr` for `optimizer.lr`."""
    ends = [[key.split(".", count)[-1] for count in range(key.count(".") + 1)] for key in keys]
    used = Counter(end for mine in ends for end in mine)
    return [next((end for end in reversed(mine) if used[end] == 1), mine[0]) for mine in ends]


def setting_name(swept: Mapping[str, str]) -> str:
    """The setting of a trial in few words: `lr=0.1 momentum=0.9`; of one key alone a value that is a word."""
    if len(swept) == 1 and (text := next(iter(swept.values())))[:1].isalpha():
        return text
    pairs = zip(short_keys([*swept]), swept.values(), strict=True)
    return " ".join(f"{key}={text}" for key, text in pairs)
