"""Whether data are still those that a run was trained on, by what its checkpoint keeps of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dlrun.data.base import Dataset, Preprocessing, Spec
from dlrun.data.fingerprint import PARTS, Content, Origin, Parts, Raw, Rows
from dlrun.errors import ConfigError, command, listed, note


class DataChanged(ConfigError):
    """Data that are no longer those of a run; the message goes on after their name, as in `data.csv, `."""


@dataclass(frozen=True)
class Kept:
    """What a checkpoint knows of its run's data.

    Attributes:
        origin: None in a checkpoint of a version of dlrun that did not write it.
        run: what to call the run on a command line.
        instead: rows to take for a part of its own, by its name.
    """

    spec: Spec
    preprocessing: Preprocessing
    origin: Origin | None
    run: str
    instead: Parts = field(default_factory=dict)

    def refuse_other(self, raw: Raw, needs: type[Preprocessing]) -> None:
        """Refuse data that the run was not trained on; say so where that cannot be known.

        Args:
            needs: what data of the kind of `raw` are encoded by.

        Raises:
            DataChanged: in words that go on after the name of the data.
        """
        if not isinstance(self.preprocessing, needs):
            raise DataChanged("whose kind is another than when this run began")
        spec = self.spec
        form = {
            "classes": spec.class_names,
            "targets": spec.target_names,
            "labels": spec.labels,
            "columns": spec.feature_names,
            "shape": spec.input_shape,
        }
        known: Mapping[str, Any] = form | dict(self.preprocessing.traits)
        for what, now in raw.traits.items():
            if (then := tuple(known.get(what, ()))) != tuple(now):
                raise DataChanged(f"whose {what} {_difference(then, tuple(now))}")
        if self.origin is not None:
            refuse_changed(raw, self.origin)
            return
        note(
            f"{self.run} has no fingerprint of its data, as it was written by an earlier version: "
            "whether they are still the same could not be checked"
        )

    def fits(self, data: Dataset) -> bool:
        """Whether `data` are the run's own, split and encoded as they were."""
        mine, its = self.origin, data.origin
        if mine is None or its is None or self.preprocessing != data.preprocessing:
            return False
        same = mine.count == its.count and mine.content == its.content
        return same and all(_equal(mine.parts[name], its.parts[name]) for name in PARTS)


def _equal(a: Rows, b: Rows) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return type(a) is type(b) and a == b


def refusal(error: DataChanged, dataset: Mapping[str, Any], run: str = "") -> str:
    """The message where the data of the config `dataset` are not those of `run`, or of a sweep."""
    key = next(name for name in ("path", "root", "_target_") if dataset.get(name))
    place = f"dataset.{key} is {dataset[key]}, "
    if dataset.get("test_path") and "test part" in str(error):
        place = (
            f"dataset.path is {dataset['path']} and dataset.test_path is {dataset['test_path']}, "
        )
    measure = ""
    if run and key != "_target_":
        measured = command("eval", run, "dataset.test_path=FILE")
        measure = f"; `{measured}` measures on new data"
    back = "the file" if key == "path" else "the data"
    anew = f"start a new {'run' if run else 'sweep'} with `{command('train')}`"
    return f"{place}{error}: put {back} back, or {anew}{measure}"


def _difference(then: tuple[Any, ...], now: tuple[Any, ...]) -> str:
    gone, new = ([x for x in a if x not in b] for a, b in ((then, now), (now, then)))
    if not gone and not new:
        return f"come in another order than when this run began: {listed(now)} instead of {listed(then)}"
    said = [f"no longer have {listed(gone)}"] * bool(gone) + [f"now have {listed(new)}"] * bool(new)
    return f"have changed since this run began: they {' and '.join(said)}"


def refuse_changed(raw: Raw, origin: Origin) -> None:
    """Refuse data that are not those of `origin`.

    Raises:
        DataChanged: naming the parts, and how they differ.
    """
    brought = tuple(name for name in PARTS if origin.parts[name] is None)
    if raw.own != brought:
        then, now = (f"the {_listed_parts(x)}" if x else "no part" for x in (brought, raw.own))
        raise DataChanged(f"which brought {then} along when this run began, and now {now}")
    if len(raw) != origin.count:
        raise DataChanged(
            f"which has {len(raw):,} rows, but had {origin.count:,} when this run began"
        )
    found = {name: raw.fingerprint(name, rows) for name, rows in origin.parts.items()}
    if changed := difference(origin.content, found):
        raise DataChanged(changed)


def difference(then: Content, now: Content, *, whose: str = "run") -> str:
    """How the parts differ from those that a run or sweep began with, to follow the name of the data; or empty."""
    changed = [name for name, found in then.items() if not same_content(now[name], found)]
    if not changed:
        return ""
    are = "are not those" if len(changed) > 1 else "is not the one"
    before, after = (sum(content[name][0] for name in changed) for content in (then, now))
    other = ", other content" * (before == after)
    return (
        f"whose {_listed_parts(changed)} {are} that this {whose} began with "
        f"({before:,} rows then, {after:,} now{other})"
    )


def _listed_parts(names: Any) -> str:
    *most, last = [PARTS[name] for name in names] or [""]
    parts = "parts" if most else "part"
    return f"{', '.join(most)}{' and ' if most else ''}{last} {parts}" if last else ""


def same_content(found: Sequence[Any], expected: Sequence[Any]) -> bool:
    """Whether two fingerprints of a part, each with its number of rows, are of the same content."""
    hashes = zip(found[1].split("+"), expected[1].split("+"), strict=False)
    return found[0] == expected[0] and all(a == b for a, b in hashes)
