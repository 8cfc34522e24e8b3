"""The part of each batch, and of each evaluation, that one of several processes takes."""

from __future__ import annotations

from collections.abc import Iterator
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

    def of_batch(self, start: int, stop: int) -> tuple[int, int]:
        """Which of the rows `start` to `stop` of a batch; where too few, the first, which another takes as well."""
        own = self.of(stop - start) or range(1)
        return start + own.start, start + own.stop

    def parts(self, size: int, at_once: int) -> Iterator[slice]:
        """Its part of `size` rows, so many at a time; none where it is empty."""
        own = self.of(size)
        for start in own[::at_once]:
            yield slice(start, min(start + at_once, own.stop))


WHOLE = Share()
