"""The fingerprint of rows: what changes it, and what does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlrun.config.settings import DataSettings
from dlrun.data.arrays.source import Source
from dlrun.data.changed_data import DataChanged, Kept
from dlrun.data.fingerprint import Fingerprint, origin_from
from dlrun.data.images.folder import ImageFiles, image_folder
from dlrun.data.prepare import kept_from, prepare

SPLIT = DataSettings(0.2, 0.2, 0, "standard", None)
RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(70_000, 5))  # more than are hashed at once


def of(
    values: np.ndarray, rows: np.ndarray | range | None = None, *, computed: bool = False
) -> str:
    return str(Fingerprint().numbers(values, rows, computed=computed))


def test_the_same_rows_have_the_same_fingerprint_however_they_are_given() -> None:
    rows = np.arange(3, 60_000)
    expected = of(NUMBERS[3:60_000])
    assert of(NUMBERS, rows) == of(NUMBERS, rows.astype(np.int32)) == expected
    assert of(NUMBERS, range(3, 60_000)) == expected
    assert of(np.asfortranarray(NUMBERS), rows) == expected
    assert of(NUMBERS.astype(">f8"), rows) == expected


def test_one_changed_number_another_order_and_another_shape_change_it() -> None:
    changed = NUMBERS.copy()
    changed[69_999, 4] = np.nextafter(changed[69_999, 4], 9)
    assert len({of(NUMBERS), of(changed), of(NUMBERS[::-1]), of(NUMBERS.reshape(-1, 10))}) == 4
    assert of(changed, np.arange(69_999)) == of(NUMBERS, np.arange(69_999))


def test_a_zero_is_a_zero_and_a_whole_number_has_no_width() -> None:
    assert of(np.array([0.0, np.nan])) == of(np.array([-0.0, np.nan]))
    assert of(np.array([1, 2], np.int32)) == of(np.array([1, 2], np.int64))


def test_the_last_bits_of_computed_numbers_are_the_machines() -> None:
    other = NUMBERS * (1 + 2e-16)
    assert of(other) != of(NUMBERS)
    assert of(other, computed=True) == of(NUMBERS, computed=True)
    assert of(NUMBERS + 1e-5, computed=True) != of(NUMBERS, computed=True)


def test_words_end_where_they_end_and_a_missing_one_is_no_empty_one() -> None:
    texts: list[list[str | None]] = [["ab", "c"], ["a", "bc"], ["abc"], ["", "abc"], [None, "abc"]]
    assert len({str(Fingerprint().words(words)) for words in texts}) == len(texts)


def kept(raw: object) -> Kept:
    """As it is read back from a checkpoint."""
    data = prepare(raw, SPLIT)
    assert data.origin is not None
    assert origin_from(data.origin.to_dict()).content == data.origin.content
    spec, encoding = vars(data.spec), data.preprocessing.to_dict()
    return kept_from(
        {"spec": spec, "preprocessing": encoding, "origin": data.origin.to_dict()}, "a run"
    )


def source(inputs: np.ndarray, *, test: bool = False) -> Source:
    targets = np.arange(len(inputs)) % 3
    own = {"test_inputs": inputs[:9], "test_targets": targets[:9]} if test else {}
    return Source(inputs, targets, "classification", "features", ("a", "b", "c"), **own)


def test_kept_parts_and_encoding_are_used_whatever_the_settings_say_now() -> None:
    raw = source(NUMBERS[:60])
    before = prepare(raw, SPLIT)
    again = prepare(raw, DataSettings(0.5, 0.1, 7, "none", None), kept(raw))
    for name in ("train", "val", "test"):
        assert getattr(again, name).inputs.equal(getattr(before, name).inputs)
    assert kept(raw).fits(before)
    assert kept(raw).fits(again)
    assert not kept(raw).fits(prepare(raw, DataSettings(0.2, 0.2, 1, "standard", None)))


def test_a_test_part_that_comes_or_goes_is_another_one() -> None:
    with pytest.raises(DataChanged, match=r"brought no part along when .* and now the test part"):
        prepare(source(NUMBERS[:60], test=True), SPLIT, kept(source(NUMBERS[:60])))


def photos(folder: Path, *, in_memory: bool) -> ImageFiles:
    return image_folder(
        path=str(folder),
        size=None,
        color="auto",
        depth="auto",
        alpha="auto",
        in_memory=in_memory,
        memory_limit=1.0,
        workers=0,
    )


@pytest.mark.parametrize("in_memory", [True, False])
def test_of_streamed_images_the_beginning_counts_and_of_those_in_memory_all(
    in_memory: bool, tmp_path: Path
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(8):
            pixels = RNG.integers(0, 256, (90, 90, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.bmp")
    before = kept(photos(tmp_path, in_memory=in_memory))
    # How much of them is looked at may have changed: what both have looked at is compared.
    prepare(photos(tmp_path, in_memory=not in_memory), SPLIT, before)
    file = tmp_path / "cat/3.bmp"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    after = photos(tmp_path, in_memory=in_memory)
    if in_memory:
        with pytest.raises(DataChanged):
            prepare(after, SPLIT, before)
    else:
        prepare(after, SPLIT, before)
    content[5000] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataChanged):
        prepare(after, SPLIT, before)
