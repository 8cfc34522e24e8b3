"""How the values of one swept key rank within each value of another, beside ranks published elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from dlrun.config.schema import Count
from dlrun.errors import ConfigError, did_you_mean

if TYPE_CHECKING:  # it loads NumPy, and settings must answer at once
    from dlrun.sweep.leaderboard import Row


@dataclass(frozen=True)
class RankingSettings:
    """What is ranked within what; `published` are the ranks of somebody else, in the order of the values."""

    of: str
    within: str
    published: dict[str, list[Count]]  # by the value of `within`; empty where there are none

    @property
    def published_for(self) -> dict[str, list[int]]:
        """`published` by the value as typed, which YAML may take for a number."""
        return {str(within): ranks for within, ranks in self.published.items()}


def check_ranking(settings: RankingSettings, values: Mapping[str, Sequence[str]]) -> None:
    """Refuse a ranking of what is not swept; `values` are those of each key on a grid, as typed.

    Raises:
        ConfigError: naming the key, and what it may be.
    """
    for name in ("of", "within"):
        key = getattr(settings, name)
        if key not in values:
            raise ConfigError(
                f"sweep.ranking.{name} is {key}, which is not swept{did_you_mean(key, values)}"
            )
    count = len(values[settings.of])
    for within, ranks in settings.published_for.items():
        key = f"sweep.ranking.published.{within}"
        if within not in values[settings.within]:
            hint = did_you_mean(within, values[settings.within])
            raise ConfigError(f"{key} is for no value of {settings.within}{hint}")
        if sorted(ranks) != list(range(1, count + 1)):
            names = ", ".join(values[settings.of])
            raise ConfigError(
                f"{key} is {ranks}, but must have each rank from 1 to {count} once, for {names}"
            )


def ranking_table(
    settings: RankingSettings,
    rows: Sequence[Row],
    values: Mapping[str, Sequence[str]],
) -> Iterator[list[str]]:
    """The lines of the table, the heads first: `1 (2)` is rank 1 here, published as 2; – has no result."""
    yield [settings.within, *values[settings.of]]
    for within, ranks in _ranks(settings, rows, values).items():
        published: Sequence[Any] = settings.published_for.get(within, ())
        yield [within, *_cells(values[settings.of], ranks, published)]


def agreement(
    settings: RankingSettings, rows: Sequence[Row], values: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """How far ranks here and published ranks agree, in sentences; none where there are not both."""
    same, taus = 0, {}
    found = _ranks(settings, rows, values)
    for within, published in settings.published_for.items():
        ranks = [found[within].get(value) for value in values[settings.of]]
        if None in ranks:
            continue
        same += sum(a == b for a, b in zip(ranks, published, strict=True))
        taus[within] = kendall_tau([rank for rank in ranks if rank is not None], published)
    if taus:
        yield f"{same} of {len(taus) * len(values[settings.of])} ranks are the published ones"
        each = ", ".join(f"{tau:+.2f} {within}" for within, tau in taus.items())
        mean = sum(taus.values()) / len(taus)
        yield f"Kendall's tau {mean:+.2f} in the mean ({each}); 1 is the same order, -1 the reverse"


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Pairs in the same order less those in the other, over all pairs: from -1 to 1 (Kendall, 1938); no ties."""
    pairs = list(combinations(zip(first, second, strict=True), 2))
    agreeing = [(a - c) * (b - d) > 0 for (a, b), (c, d) in pairs]
    return (2 * sum(agreeing) - len(pairs)) / len(pairs)


def _ranks(
    settings: RankingSettings, rows: Sequence[Row], values: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, int]]:
    """Of each value of `of`, by that of `within`: its place among the rows, which come best first.

    Where other keys are swept as well, its best row counts.
    """
    ranks: dict[str, dict[str, int]] = {within: {} for within in values[settings.within]}
    for row in rows:
        if row.status == "completed":
            mine = ranks[row.swept[settings.within]]
            mine.setdefault(row.swept[settings.of], len(mine) + 1)
    return ranks


def _cells(
    names: Sequence[str], ranks: Mapping[str, int], published: Sequence[int]
) -> Iterator[str]:
    for place, name in enumerate(names):
        beside = f" ({published[place]})" if published else ""
        yield f"{ranks.get(name, '–')}{beside}"
