"""The part of each batch, and of each evaluation, that one of several processes takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """One of `count` processes that train a model together, by its `index` from 0."""

    index: int = 0
    count: int = 1

    def of(self, size: int) -> range:
        """Which of `size` rows this process takes: a block of them, of which the first ones are longer by a row.

        Empty for the last processes where there are fewer rows than processes.
        """
        least, longer = divmod(size, self.count)
        start = self.index * least + min(self.index, longer)
        return range(start, start + least + (self.index < longer))


WHOLE = Share()
