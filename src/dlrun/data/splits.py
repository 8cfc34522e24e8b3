"""Which rows train, validate and test: drawn from a seed, classes in their shares."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from dlrun.config.settings import DataSettings
from dlrun.data.fingerprint import PARTS, Parts
from dlrun.errors import ConfigError


def parted(rows: tuple[np.ndarray, np.ndarray, np.ndarray], own: Collection[str]) -> Parts:
    """Row numbers as `Parts`, without those of the parts that the data bring themselves."""
    return {name: None if name in own else part for name, part in zip(PARTS, rows, strict=True)}


_Three = tuple[np.ndarray, np.ndarray, np.ndarray]  # row numbers of train, val and test


def split_rows(
    count: int,
    strata: np.ndarray | None,
    settings: DataSettings,
    *,
    has_test: bool,
    has_val: bool = False,
    rare: str = "",
) -> _Three:
    """Row numbers of the training, validation and test part, disjoint; test is empty where the data has its own.

    With `settings.folds`, one fold is the test part, or where the data has its own, the validation part.

    Args:
        strata: (count,) class numbers, which keep their shares in every part.
        has_val: whether the data has a validation part of its own; `val_fraction` is 0 then.
        rare: what else can be done where classes are too small for that.

    Raises:
        ConfigError: a part would have too few rows, or a test part is asked for twice.
    """
    if is_folded(settings):
        if has_test and has_val:
            raise ConfigError(
                f"dataset.folds is {settings.folds}, but this data set has a validation part and a test part of its "
                "own, so that no part can be a fold; set dataset.folds=null"
            )
        return _split_folds(count, strata, settings, has_test=has_test, rare=rare)
    return _split(count, strata, settings, has_test=has_test, rare=rare)


def is_folded(settings: DataSettings) -> bool:
    """Whether the rows are cut into folds.

    Raises:
        ConfigError: a fold that is none of them, or a share for the test part as well.
    """
    folds, fold = settings.folds, settings.fold
    if folds is None:
        if fold:
            raise ConfigError(
                f"dataset.fold is {fold}, but dataset.folds is null: set dataset.folds as well, or no fold"
            )
        return False
    if fold >= folds:
        raise ConfigError(
            f"dataset.fold is {fold}, but dataset.folds is {folds}: give one from 0 to {folds - 1}"
        )
    if settings.test_fraction is not None:
        raise ConfigError(
            f"dataset.test_fraction is {settings.test_fraction}, but dataset.folds is {folds}, of which "
            "dataset.fold is held out; set dataset.test_fraction=null"
        )
    return True


def _split_folds(
    count: int, strata: np.ndarray | None, settings: DataSettings, *, has_test: bool, rare: str
) -> _Three:
    assert settings.folds is not None, "asked for"
    if settings.folds > count:
        raise ConfigError(
            f"dataset.folds is {settings.folds}, but there are only {count} rows; lower it"
        )
    seed = settings.split_seed
    rest, held = take_fold(count, strata, folds=settings.folds, fold=settings.fold, seed=seed)
    if has_test:
        rng = np.random.default_rng(seed)
        return rng.permutation(rest), rng.permutation(held), held[:0]
    left = None if strata is None else strata[rest]
    train, val, _ = _split(len(rest), left, settings, has_test=True, rare=rare)
    return rest[train], rest[val], held


def take_fold(
    count: int, strata: np.ndarray | None, *, folds: int, fold: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(rest, held out): row numbers of `fold` of `folds` parts, as alike in size and in classes as can be."""
    order = np.random.default_rng(seed).permutation(count)
    if strata is not None:
        order = order[np.argsort(strata[order], kind="stable")]
    of_row = np.empty(count, np.int64)
    of_row[order] = np.arange(count) % folds
    return np.flatnonzero(of_row != fold), np.flatnonzero(of_row == fold)


def _split(
    count: int, strata: np.ndarray | None, settings: DataSettings, *, has_test: bool, rare: str
) -> _Three:
    if has_test and settings.test_fraction is not None:
        raise ConfigError(
            f"dataset.test_fraction is {settings.test_fraction}, but this data set has a test part of its own; "
            "leave it at null"
        )
    if not has_test and settings.test_fraction is None:
        raise ConfigError(
            "dataset.test_fraction is null, but this data set has no test part: set it, as in 0.2"
        )
    rng = np.random.default_rng(settings.split_seed)
    rows = rng.permutation(count)
    classes = strata
    strata = np.zeros(count, np.int64) if strata is None else strata
    test, rest = _take(rows, strata, settings.test_fraction or 0.0)
    val, train = _take(rest, strata, settings.val_fraction)
    if (
        len(train) < 2
        or (settings.val_fraction and not len(val))
        or (settings.test_fraction and not len(test))
    ):
        raise ConfigError(
            f"dataset.val_fraction is {settings.val_fraction} and dataset.test_fraction is {settings.test_fraction}: "
            f"of {len(rows)} rows that leaves {len(train)} to train, {len(val)} to validate and {len(test)} to test; "
            + _remedy(None if len(train) < 2 else classes, settings, rare)
        )
    # Shuffle again: after a part is taken, the rows of a rare class stand late in the rest.
    train, val, test = (rng.permutation(part) for part in (train, val, test))
    return train, val, test


def _remedy(strata: np.ndarray | None, settings: DataSettings, rare: str) -> str:
    if strata is not None:
        sizes = np.unique(strata, return_counts=True)[1]
        asked = [part for part in (settings.val_fraction, settings.test_fraction) if part]
        if sizes.max() <= len(asked):
            return (
                f"classes keep their shares, but none of the {len(sizes)} has a row for each part, the largest "
                f"{sizes.max()}: give more rows a class{rare}"
            )
    return "change the fractions so that at least 2 are left to train and 1 in each other part asked for"


def _take(rows: np.ndarray, strata: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """(taken, left): `fraction` of the shuffled `rows` of each stratum, both in shuffled order."""
    taken = np.zeros(len(rows), bool)
    of_rows = strata[rows]
    for stratum in np.unique(of_rows):
        members = np.flatnonzero(of_rows == stratum)
        taken[members[: round(fraction * len(members))]] = True
    return rows[taken], rows[~taken]
