"""Digits with a group that is no class and is rare in training: images that are black on white."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from dlrun.config.schema import Fraction
from dlrun.data.arrays.scikit_learn import digits
from dlrun.data.arrays.source import Source

_TESTED = 0.4  # share of the images
_GROUPS = ("common", "rare")


def unbalanced_digits(*, rare: Fraction, seed: Annotated[int, Ge(0), Le(2**32 - 1)]) -> Source:
    """1,797 digits as (1, 8, 8) images, 10 classes, some of them inverted (black on white).

    A share `rare` of the images to train and validate on is inverted, and half of the test part, which is 40 % of all
    images. Which group an image is of is known for measuring alone.
    """
    whole = digits()
    order = np.random.default_rng(seed).permutation(len(whole))
    tested = round(_TESTED * len(order))
    test, train = order[:tested], order[tested:]
    groups = np.zeros(len(order), np.int64)
    groups[test[: tested // 2]] = 1
    groups[train[: round(rare * len(train))]] = 1
    inverted = (groups == 1)[:, None, None, None]
    images = np.where(inverted, np.float32(whole.pixel_max) - whole.inputs, whole.inputs)
    return Source(
        inputs=images[train],
        targets=whole.targets[train],
        task="classification",
        kind="image",
        class_names=whole.class_names,
        test_inputs=images[test],
        test_targets=whole.targets[test],
        pixel_max=whole.pixel_max,
        group_names=_GROUPS,
        groups=groups[train],
        test_groups=groups[test],
    )
