"""Where the parts of a data set come from: which rows of the raw data each has, and what was in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from dlrun.data.fingerprint import PARTS, Parts, Rows
from dlrun.errors import ConfigError

Content = Mapping[str, Sequence[Any]]  # of each part, how many rows it has, and their fingerprint


class Raw(Protocol):
    """What every kind of raw data tells of itself."""

    @property
    def traits(self) -> Mapping[str, tuple[Any, ...]]:
        """What must not change at all, by what to call it: names of columns, of classes, the shape of an input."""

    @property
    def own(self) -> tuple[str, ...]:
        """The parts that the data bring themselves, beside the rows that parts are drawn from."""

    def __len__(self) -> int:
        """Rows that parts are drawn from."""

    def fingerprint(self, part: str, rows: Rows) -> tuple[int, str]:
        """How many rows a part has and the hash of their content, `rows` being its row numbers.

        Where there are several hashes with + between them, the first ones are of less, and enough.
        """


@dataclass(frozen=True)
class Origin:
    """Where the parts of a data set come from.

    Attributes:
        count: rows that the parts are drawn from.
        parts: the row numbers of each part.
        content: how many rows each part has, and their fingerprint.
        majority: the number of the class that the training part has most of; None where there are no classes.
    """

    count: int
    parts: Parts
    content: Mapping[str, tuple[int, str]]
    majority: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values and a tensor, as a checkpoint may hold them."""
        drawn = [rows for rows in self.parts.values() if isinstance(rows, np.ndarray)]
        return {
            "count": self.count,
            "parts": {name: _plain(rows) for name, rows in self.parts.items()},
            # One tensor for all parts: each takes as long to write as a layer of a small model.
            "drawn": torch.from_numpy(np.concatenate(drawn)) if drawn else None,
            "content": {name: list(found) for name, found in self.content.items()},
            "majority": self.majority,
        }


def origin_of(raw: Raw, parts: Parts) -> Origin:
    """The origin of these parts of `raw`."""
    compact = {name: _compact(rows) for name, rows in parts.items()}
    content = {name: raw.fingerprint(name, rows) for name, rows in compact.items()}
    return Origin(len(raw), compact, content)


def origin_from(plain: Mapping[str, Any]) -> Origin:
    """What `Origin.to_dict` gave, as an object again.

    Raises:
        KeyError, TypeError: it lacks values.
    """
    drawn, parts = plain["drawn"], dict[str, Rows]()
    for name in PARTS:
        rows = plain["parts"][name]
        if isinstance(rows, int):
            parts[name], drawn = np.asarray(drawn[:rows].numpy()), drawn[rows:]
        else:
            parts[name] = None if rows is None else range(*map(int, rows))
    content = {name: (int(rows), str(found)) for name, (rows, found) in plain["content"].items()}
    return Origin(int(plain["count"]), parts, content, plain["majority"])


class DataChanged(ConfigError):
    """Data that are no longer those of a run; the message goes on after their name, as in `data.csv, `."""


def refuse_changed(raw: Raw, origin: Origin) -> None:
    """Refuse data that are not those of `origin`.

    Raises:
        DataChanged: naming the parts, and how they differ.
    """
    brought = tuple(name for name in PARTS if origin.parts[name] is None)
    if raw.own != brought:
        then, now = (f"the {_listed(x)}" if x else "no part" for x in (brought, raw.own))
        raise DataChanged(f"which brought {then} along when this run began, and now {now}")
    if len(raw) != origin.count:
        raise DataChanged(
            f"which has {len(raw):,} rows, but had {origin.count:,} when this run began"
        )
    found = {name: raw.fingerprint(name, rows) for name, rows in origin.parts.items()}
    if changed := difference(origin.content, found):
        raise DataChanged(changed)


def difference(then: Content, now: Content, *, whose: str = "run") -> str:
    """How the parts of data differ from those that a run, or what else, began with, after their name; empty if not."""
    changed = [name for name, found in then.items() if not _same(now[name], found)]
    if not changed:
        return ""
    are = "are not those" if len(changed) > 1 else "is not the one"
    before, after = (sum(content[name][0] for name in changed) for content in (then, now))
    other = ", other content" * (before == after)
    return (
        f"whose {_listed(changed)} {are} that this {whose} began with "
        f"({before:,} rows then, {after:,} now{other})"
    )


def _listed(names: Any) -> str:
    *most, last = [PARTS[name] for name in names] or [""]
    parts = "parts" if most else "part"
    return f"{', '.join(most)}{' and ' if most else ''}{last} {parts}" if last else ""


def _same(found: Sequence[Any], expected: Sequence[Any]) -> bool:
    hashes = zip(found[1].split("+"), expected[1].split("+"), strict=False)
    return found[0] == expected[0] and all(a == b for a, b in hashes)


def _compact(rows: Rows) -> Rows:
    return rows.astype(np.int32) if isinstance(rows, np.ndarray) else rows


def _plain(rows: Rows) -> Any:
    """First and last row number of those that follow each other, how many of those that were drawn."""
    if isinstance(rows, range):
        return [rows.start, rows.stop]
    return None if rows is None else len(rows)
