"""The frame around a picture of the plane: its names, its ends and its classes, and nothing else changed."""

from __future__ import annotations

import numpy as np

from dlrun.diagnostics.decision_boundary import PALETTE, boundary_picture, framed
from dlrun.tracking.picture import Picture, lettering

_WHITE = (255, 255, 255)


def plane() -> Picture:
    field = np.zeros((50, 50, 2), np.float32)
    field[:, :25, 0] = field[:, 25:, 1] = 1
    return boundary_picture(field, np.zeros((0, 2)), np.zeros(0), (-1, 1, -1, 1))


def frame(**changes: object) -> Picture:
    given = {"names": ("left", "up"), "extent": (-3, 4, 0, 2), "class_names": ("no", "yes")}
    return framed(plane(), **(given | changes))  # type: ignore[arg-type]


def test_the_picture_within_is_as_it_was() -> None:
    inner = plane()
    picture = frame()
    assert picture.width == inner.width + 48
    np.testing.assert_array_equal(picture.rgb_HW3[24:-24, 24:-24], inner.rgb_HW3)


def test_the_axis_across_has_its_name_in_the_middle_and_its_ends_beside() -> None:
    strip = frame().rgb_HW3[-24:, 24:-24].min(-1)
    ends = [lettering("-3", 14), lettering("4", 14)]
    for ink, place in zip(
        ends, (strip[:, : ends[0].shape[1]], strip[:, -ends[1].shape[1] :]), strict=True
    ):
        written = place[(24 - ink.shape[0]) // 2 :][: ink.shape[0]]
        np.testing.assert_array_equal(written < 128, ink >= 128)
    assert (strip[:, 90:110] < 128).any()
    assert (strip[:, 30:80] == 255).all()


def test_the_axis_upwards_is_written_from_bottom_to_top() -> None:
    strip = frame(names=("x", "y"), extent=(0, 1, 7, 88)).rgb_HW3[24:-24, :24].min(-1)
    upright = np.rot90(strip, -1)
    ink = lettering("7", 14)
    written = upright[(24 - ink.shape[0]) // 2 :][: ink.shape[0], : ink.shape[1]]
    np.testing.assert_array_equal(written < 128, ink >= 128)


def test_each_class_has_its_colour_above_as_long_as_there_is_room() -> None:
    names = [f"a longer name {number}" for number in range(8)]
    strip = frame(class_names=names).rgb_HW3[:24]
    shown = [(strip == colour.astype(np.uint8)).all(-1).any() for colour in PALETTE[:8]]
    assert shown == [True, *[False] * 7]
    few = frame().rgb_HW3[:24]
    assert [(few == PALETTE[n].astype(np.uint8)).all(-1).sum() for n in (0, 1, 2)] == [100, 100, 0]
    assert (few[:, -30:] == _WHITE).all()
