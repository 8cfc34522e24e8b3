"""Classes that are too small for every part of the data: said, for what is measured without them says less."""

from __future__ import annotations

from dlrun.data.base import Dataset
from dlrun.hints import listed, note

_USES = {"train": "train on", "val": "validate on", "test": "test on"}


def note_missing_classes(data: Dataset) -> None:
    """A line on the error stream, where an evaluation's JSON is not, if a part has no row of a class."""
    names = data.spec.class_names
    lacking: dict[str, list[str]] = {}
    for part, use in _USES.items():
        targets = data.split(part).targets if len(getattr(data, part)) else None
        present = range(len(names)) if targets is None else {*targets.long().unique().tolist()}
        if missing := [name for number, name in enumerate(names) if number not in present]:
            lacking.setdefault(listed(missing), []).append(use)
    if lacking:
        said = "; ".join(f"{of} has none to {' or '.join(uses)}" for of, uses in lacking.items())
        alone = ", and of one class alone roc_auc is nan" if len(names) == 2 else ""
        note(f"a class has too few rows for every part: {said}{alone}")
