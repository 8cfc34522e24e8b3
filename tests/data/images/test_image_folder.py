"""Folders of images: what they become, and every folder that is refused, in one line that says why."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dlrun.data.files import SAMPLES
from dlrun.data.images import archive
from dlrun.data.images.folder import ImageFiles, image_folder
from dlrun.data.images.image_format import ImageFormat
from dlrun.data.images.read import is_image, read_image
from dlrun.errors import ConfigError

KEYS: dict[str, Any] = {
    "size": None, "color": "auto", "depth": "auto", "alpha": "auto",
    "in_memory": "auto", "memory_limit": 1.0, "workers": 0,
}  # fmt: skip


def read(folder: Path, **keys: Any) -> ImageFiles:
    return image_folder(path=str(folder), **KEYS | keys)


def refusal(folder: Path, **keys: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Writes a picture of one brightness to a path under the folder `images`."""

    def write(
        path: str, *, value: int = 100, size: tuple[int, int] = (5, 4), mode: str = "L"
    ) -> Path:
        file = tmp_path / "images" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, value if mode == "L" else (value, 0, 0)).save(file)
        return file

    return write


@pytest.fixture
def folder(put: Callable[..., Path], tmp_path: Path) -> Path:
    """Two classes, two images in each."""
    for path in ("dog/2.png", "dog/1.png", "cat/b.png", "cat/a.jpg"):
        put(path)
    return tmp_path / "images"


def test_classes_and_files_come_in_the_order_of_their_names(folder: Path) -> None:
    found = read(folder)
    assert found.class_names == ("cat", "dog")
    assert [Path(path).name for path in found.train.paths] == ["a.jpg", "b.png", "1.png", "2.png"]
    assert found.train.targets.tolist() == [0, 0, 1, 1]
    assert found.format == ImageFormat(1, 4, 5)
    assert (found.val, found.test) == (None, None)


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_parts_are_the_folders_above_the_classes(
    val: str, put: Callable[..., Path], tmp_path: Path
) -> None:
    for path in (
        "train/cat/1.png",
        "train/dog/1.png",
        "train/dog/2.png",
        f"{val}/dog/3.png",
        "test/cat/4.png",
    ):
        put(path)
    found = read(tmp_path / "images")
    assert found.train.targets.tolist() == [0, 1, 1]
    assert found.val is not None
    assert found.val.targets.tolist() == [1]
    assert found.test is not None
    assert [Path(path).name for path in found.test.paths] == ["4.png"]


def test_hidden_files_and_what_archives_of_a_mac_leave_are_no_classes(
    folder: Path, put: Callable[..., Path]
) -> None:
    put("__MACOSX/x.png")
    put(".thumbnails/x.png")
    (folder / "cat" / ".DS_Store").write_bytes(b"x")
    (folder / "cat" / "readme.txt").write_text("cats")
    assert read(folder).class_names == ("cat", "dog")
    assert len(read(folder).train) == 4


def test_one_image_in_colour_makes_all_colour_unless_grey_is_asked_for(
    folder: Path, put: Callable[..., Path]
) -> None:
    assert read(folder, color="rgb").format.channels == 3
    put("dog/3.png", mode="RGB")
    assert read(folder).format.channels == 3
    assert read(folder, color="grey").format.channels == 1


def test_a_size_is_for_images_of_any_size(folder: Path, put: Callable[..., Path]) -> None:
    put("dog/3.png", size=(9, 9))
    assert read(folder, size=6).format == ImageFormat(1, 6, 6)
    assert read(folder, size=[3, 7]).format == ImageFormat(1, 3, 7)


def test_what_the_limit_allows_is_kept_in_memory(folder: Path) -> None:
    needed = 4 * 4 * 5 * 4 / 2**30  # GiB: images, rows, columns, bytes of a number
    assert read(folder, memory_limit=needed).in_memory
    assert not read(folder, memory_limit=needed * 0.99).in_memory
    assert read(folder, memory_limit=needed / 2, in_memory=True).in_memory
    assert not read(folder, in_memory=False).in_memory


def test_a_missing_folder_is_refused_with_its_neighbour(folder: Path) -> None:
    assert "did you mean images?" in refusal(folder.parent / "image")


@pytest.mark.parametrize("name", ["photos.zip", "photos.tar.gz", "photos.TGZ"])
def test_an_archive_is_to_be_unpacked_first(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK")
    message = refusal(tmp_path / name)
    assert "an archive: unpack it first" in message


def test_a_file_is_no_folder(folder: Path) -> None:
    assert "a file; give a folder" in refusal(folder / "cat" / "a.jpg")


def test_a_folder_without_class_folders_is_refused(tmp_path: Path) -> None:
    assert f"{tmp_path} is empty, and has no class folders" in refusal(tmp_path)
    Image.new("L", (2, 2)).save(tmp_path / "1.png")
    assert f"{tmp_path} holds 1.png, and has no class folders" in refusal(tmp_path)
    (tmp_path / "1.png").rename(tmp_path / "cats.zip")
    assert refusal(tmp_path).endswith("; unpack cats.zip first")


def test_a_single_class_is_refused_with_the_folder_that_may_be_meant(folder: Path) -> None:
    shutil.rmtree(folder / "cat")
    assert "one class folder, dog/, but a classifier needs two" in refusal(folder)
    assert refusal(folder.parent).endswith(f"set dataset.path={folder}")


def test_an_empty_class_folder_is_named(folder: Path) -> None:
    (folder / "bird").mkdir()
    assert f"{folder / 'bird'} is empty; put images there" in refusal(folder)
    (folder / "bird" / "notes.txt").write_text("x")
    assert "has no images in it, only notes.txt; put" in refusal(folder)


def test_sizes_that_differ_need_a_size(folder: Path, put: Callable[..., Path]) -> None:
    odd = put("dog/3.png", size=(9, 8))
    message = refusal(folder)
    assert f"{odd} 8x9" in message
    assert "4x5 pixels" in message
    assert message.endswith("set it, as in dataset.size=[4,5]")


def test_a_size_of_three_numbers_is_refused(folder: Path) -> None:
    assert "dataset.size is [1, 2, 3], but must be [height, width]" in refusal(
        folder, size=[1, 2, 3]
    )


def test_a_file_that_is_no_image_is_named(folder: Path) -> None:
    (folder / "dog" / "bad.png").write_bytes(b"not a picture")
    assert f"{folder / 'dog' / 'bad.png'} cannot be opened as an image" in refusal(folder)


def test_a_class_that_only_a_test_part_has_is_refused(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    for path in ("train/cat/1.png", "train/dog/1.png", "test/bird/1.png"):
        put(path)
    message = refusal(tmp_path / "images")
    assert "test has the class bird, of which" in message


def test_parts_must_be_parts_have_a_train_and_be_there_once(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    put("test/cat/1.png")
    assert "has test, but no train/" in refusal(tmp_path / "images")
    put("train/cat/1.png")
    put("train/dog/1.png")
    put("extra/cat/1.png")
    assert "has the part test/ and beside it extra, which is none" in refusal(tmp_path / "images")
    shutil.rmtree(tmp_path / "images" / "extra")
    put("val/cat/1.png")
    put("valid/cat/1.png")
    assert "has val/ and valid/; keep one" in refusal(tmp_path / "images")
    shutil.rmtree(tmp_path / "images" / "valid")
    shutil.rmtree(tmp_path / "images" / "val" / "cat")
    assert "val has no class folders" in refusal(tmp_path / "images")


class TestReading:
    def test_pixels_come_channels_first(self, tmp_path: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        found = read_image(tmp_path / "a.png", ImageFormat(3, 4, 5))
        np.testing.assert_array_equal(found, pixels.transpose(2, 0, 1))

    def test_another_size_is_stretched(self, tmp_path: Path) -> None:
        half = np.repeat(np.uint8([[0, 200]]), 4, 0).repeat(4, 1)
        Image.fromarray(half).save(tmp_path / "a.png")
        found = read_image(tmp_path / "a.png", ImageFormat(1, 2, 16))
        assert found.shape == (1, 2, 16)
        assert (found[..., :4].max(), found[..., -4:].min()) == (
            2,
            198,
        )  # the filter rings a little

    def test_an_image_taken_upright_stands_upright(self, tmp_path: Path) -> None:
        picture = Image.fromarray(np.uint8([[10, 20, 30], [40, 50, 60]]))
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned clockwise
        picture.save(tmp_path / "a.png", exif=exif)
        found = read_image(tmp_path / "a.png", ImageFormat(1, 3, 2))
        np.testing.assert_array_equal(found[0], [[40, 10], [50, 20], [60, 30]])
        (tmp_path / "x").mkdir()
        (tmp_path / "y").mkdir()
        for name in ("x", "y"):
            shutil.copy(tmp_path / "a.png", tmp_path / name)
        (tmp_path / "a.png").unlink()
        assert read(tmp_path).format == ImageFormat(1, 3, 2)

    def test_sixteen_bits_keep_their_brightness(self, tmp_path: Path) -> None:
        Image.fromarray(np.full((2, 2), 0x8040, np.uint16)).save(tmp_path / "a.png")
        assert read_image(tmp_path / "a.png", ImageFormat(1, 2, 2)).max() == 0x80

    def test_a_palette_with_transparency_gives_no_warning(self, tmp_path: Path) -> None:
        picture = Image.new("P", (2, 2), 1)
        picture.putpalette([0, 0, 0, 9, 8, 7])
        picture.save(tmp_path / "a.png", transparency=b"\x00\xff")
        assert read_image(tmp_path / "a.png", ImageFormat(3, 2, 2))[:, 0, 0].tolist() == [9, 8, 7]

    def test_a_file_cut_short_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        Image.effect_noise((40, 40), 50).save(path)
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(ConfigError, match=r"a\.png cannot be opened as an image"):
            read_image(path, ImageFormat(1, 40, 40))


@pytest.mark.parametrize("suffix", [".pbm", ".pnm", ".tga", ".PPM"])
def test_a_file_is_an_image_by_the_less_usual_suffixes_too(suffix, tmp_path):
    file = tmp_path / f"a{suffix}"
    file.write_bytes(b"")
    assert is_image(file)


def test_the_sample_digits_are_read_from_their_archive_as_from_a_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(SAMPLES / "digits.zip") as packed:
        packed.extractall(tmp_path)
    samples, folder = read(Path("packaged:digits")), read(tmp_path)
    assert len(samples) == 200
    assert samples.class_names == folder.class_names == tuple("0123456789")
    assert samples.format == folder.format
    assert samples.train.targets.tolist() == folder.train.targets.tolist()
    for one, other in zip(samples.train.paths, folder.train.paths, strict=True):
        assert np.array_equal(
            read_image(Path(one), samples.format), read_image(Path(other), folder.format)
        )
    assert read(Path("packaged:digits.zip")).train.paths == samples.train.paths
    assert samples.fingerprint("train", None) == folder.fingerprint("train", None)
    assert "## digits.zip" in (SAMPLES / "README.md").read_text()


def test_a_folder_that_the_archive_of_samples_has_not_is_named() -> None:
    message = refusal(Path("packaged:digits/10"))
    assert message.startswith("dataset.path is packaged:digits/10, which is not in digits.zip")
    assert "did you mean 1?" in message or "did you mean 0?" in message


def test_a_damaged_archive_of_samples_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray((SAMPLES / "digits.zip").read_bytes())
    content[60] ^= 0xFF
    for damaged in (b"", content[:2000], content):
        (tmp_path / "digits.zip").write_bytes(damaged)
        monkeypatch.setattr(archive, "_ARCHIVE", tmp_path / "digits.zip")
        archive._members.cache_clear()
        message = refusal(Path("packaged:digits"))
        assert "is damaged" in message
        assert "install dlrun again" in message
    archive._members.cache_clear()
