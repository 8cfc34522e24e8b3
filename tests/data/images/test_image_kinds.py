"""Images of every kind that a folder may hold: depth, transparency, palettes, many pictures, other files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dlrun.config.settings import DataSettings
from dlrun.data.base import Dataset
from dlrun.data.images.folder import ImageFiles, image_folder
from dlrun.data.images.image_format import ImageFormat
from dlrun.data.images.read import is_image, read_image
from dlrun.data.kinds import files_of, read_inputs
from dlrun.data.prepare import prepare
from dlrun.errors import ConfigError

KEYS: dict[str, Any] = {
    "size": None, "color": "auto", "depth": "auto", "alpha": "auto", "in_memory": "auto", "memory_limit": 1.0,
    "workers": 0,
}  # fmt: skip
SETTINGS = DataSettings(
    val_fraction=0.25, test_fraction=0.25, split_seed=0, normalize="standard", augment=None
)
Read = Callable[..., tuple[ImageFiles, list[str]]]
KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels, of the PNG format


def write_png(path: Path, pixels: np.ndarray) -> None:
    """A PNG of 16 bits a channel, (H, W, C), which Pillow can read but not write; rows as differences to the left."""
    height, width, channels = pixels.shape
    rows = pixels.astype(">u2").reshape(height, -1).view(np.uint8).reshape(height, -1).copy()
    rows[:, 2 * channels :] -= rows[:, : -2 * channels].copy()
    data = b"".join(b"\x01" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, 16, KINDS[channels], 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            for name, body in chunks
        )
    )


def random(*shape: int, high: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[Callable[[Path, int], None]], Path]:
    """(write, which is given a path and a number) -> a folder of two classes with four images each."""

    def make(write: Callable[[Path, int], None], suffix: str = ".png") -> Path:
        for number in range(8):
            file = tmp_path / "images" / "ab"[number % 2] / f"{number}{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            write(file, number)
        return tmp_path / "images"

    return make


@pytest.fixture
def read(capsys: pytest.CaptureFixture[str]) -> Read:
    """(folder, keys) -> what image_folder gives, and the lines that are said."""

    def make(folder: Path, **keys: Any) -> tuple[ImageFiles, list[str]]:
        capsys.readouterr()
        found = image_folder(path=str(folder), **KEYS | keys)
        return found, capsys.readouterr().err.splitlines()

    return make


def prepared(files: ImageFiles) -> Dataset:
    return prepare(files, SETTINGS)


class TestDepth:
    @pytest.mark.parametrize(
        ("high", "white"), [(4, 255), (256, 255), (900, 1023), (4096, 4095), (65536, 65535)]
    )
    def test_white_is_the_largest_value_of_the_fewest_bits_that_hold_all(
        self, high: int, white: int, folder: Any, read: Read
    ) -> None:
        def write(path: Path, number: int) -> None:
            pixels = random(4, 5, high=high, seed=number)
            pixels[0, :2] = 0, high - 1
            Image.fromarray(pixels.astype(np.uint16)).save(path)

        found, said = read(folder(write))
        assert found.format == ImageFormat(1, 4, 5, 0.0, white)
        assert said == [
            f"dlrun: 8 images have more than 8 bits a channel, and values from 0 to {high - 1}: 0 is taken as black "
            f"and {white} as white; dataset.depth sets the bits that they use"
        ]
        pixels = np.asarray(Image.open(found.train.paths[0]), np.float32)
        np.testing.assert_allclose(
            read_image(Path(found.train.paths[0]), found.format)[0],
            pixels * (255 / white),
            rtol=1e-6,
        )

    def test_a_depth_that_is_told_is_taken(self, folder: Any, read: Read) -> None:
        images = folder(lambda path, number: Image.new("I;16", (3, 3), number).save(path))
        found, said = read(images, depth=12)
        assert (found.format.white, said) == (4095, [])
        plain = folder(lambda path, number: Image.new("L", (3, 3), number).save(path))
        with pytest.raises(
            ConfigError, match=r"dataset\.depth is 12, but no image has more than 8 bits"
        ):
            read(plain, depth=12)

    @pytest.mark.parametrize(
        ("low", "high", "scale"),
        [(0, 1, (0, 1)), (-1000, 3000, (-1000, 3000)), (5, 80.5, (0, 80.5))],
    )
    def test_floats_are_scaled_by_their_own_range(
        self, low: float, high: float, scale: tuple[float, float], folder: Any, read: Read
    ) -> None:
        pixels = np.linspace(low, high, 12, dtype=np.float32).reshape(3, 4)
        found, _ = read(folder(lambda path, _: Image.fromarray(pixels).save(path), ".tif"))
        assert (found.format.black, found.format.white) == pytest.approx(scale)
        image = read_image(Path(found.train.paths[0]), found.format)[0]
        expected = 255 * (pixels - scale[0]) / (scale[1] - scale[0])
        np.testing.assert_allclose(image, expected, atol=1e-3)

    def test_pixels_that_are_no_numbers_are_refused(self, folder: Any, read: Read) -> None:
        images = folder(
            lambda path, _: Image.fromarray(np.full((3, 3), np.nan, np.float32)).save(path), ".tif"
        )
        with pytest.raises(ConfigError, match=r"0\.tif has pixels that are not finite numbers"):
            read(images)

    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_all_sixteen_bits_of_every_channel_are_read(
        self, channels: int, tmp_path: Path
    ) -> None:
        pixels = random(5, 4, channels, high=200)
        if channels in (2, 4):
            pixels[..., -1] = 65535
        write_png(tmp_path / "a.png", pixels)
        colours = 1 if channels < 3 else 3
        found = read_image(tmp_path / "a.png", ImageFormat(colours, 5, 4, 0.0, 255.0))
        np.testing.assert_allclose(found, pixels[..., :colours].transpose(2, 0, 1), rtol=1e-5)

    def test_sixteen_bits_for_all_channels_together_are_not_deep(self, tmp_path: Path) -> None:
        head = struct.pack("<IiiHHIIiiII", 40, 2, 2, 1, 16, 3, 8, 0, 0, 0, 0)
        masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
        pixels = struct.pack("<4H", 0xF800, 0x07E0, 0x001F, 0xFFFF)
        start = 14 + len(head) + len(masks)
        body = struct.pack("<2sIHHI", b"BM", start + 8, 0, 0, start) + head + masks + pixels
        (tmp_path / "a.bmp").write_bytes(body)
        assert read_image(tmp_path / "a.bmp", ImageFormat(3, 2, 2))[:, 1, 0].tolist() == [255, 0, 0]

    def test_a_ppm_whose_lower_bits_would_be_lost_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.ppm").write_bytes(b"P6 2 2 4095\n" + bytes(24))
        with pytest.raises(ConfigError, match=r"a\.ppm has more than 8 bits a channel, which of"):
            read_image(tmp_path / "a.ppm", ImageFormat(3, 2, 2))
        (tmp_path / "a.pgm").write_bytes(b"P5 2 2 4095\n" + bytes([15, 255] * 4))
        assert read_image(tmp_path / "a.pgm", ImageFormat(1, 2, 2)).min() == 255

    def test_a_file_of_eight_bits_beside_deeper_ones_keeps_its_own_white(
        self, folder: Any, read: Read
    ) -> None:
        def write(path: Path, number: int) -> None:
            (Image.new("L", (3, 3), 100) if number % 2 else Image.new("I;16", (3, 3), 4000)).save(
                path
            )

        found, _ = read(folder(write))
        values = {read_image(Path(path), found.format).max() for path in found.train.paths}
        assert values == {100.0, np.float32(4000 * 255 / 4095)}

    def test_another_size_is_resized_in_full_depth(self, tmp_path: Path) -> None:
        Image.new("I;16", (9, 7), 3).save(tmp_path / "a.png")
        found = read_image(tmp_path / "a.png", ImageFormat(3, 4, 4, 0.0, 255.0))
        np.testing.assert_allclose(found, np.full((3, 4, 4), 3.0), rtol=1e-5)


class TestTransparency:
    @pytest.mark.parametrize(("colour", "behind"), [(0, "white"), (255, "black")])
    def test_shapes_that_are_in_the_alpha_channel_alone_are_seen(
        self, colour: int, behind: str, folder: Any, read: Read
    ) -> None:
        def write(path: Path, _: int) -> None:
            pixels = np.full((4, 4, 4), colour, np.uint8)
            pixels[..., 3] = np.eye(4) * 255
            Image.fromarray(pixels).save(path)

        found, said = read(folder(write))
        assert said == [
            f"dlrun: 8 images are transparent in places, and laid on {behind}; dataset.alpha takes "
            f"{'black' if behind == 'white' else 'white'}, channel, ignore as well"
        ]
        image = read_image(Path(found.train.paths[0]), found.format)
        np.testing.assert_array_equal(image[0] == colour, np.eye(4, dtype=bool))
        assert set(np.unique(image)) == {0, 255}

    @pytest.mark.parametrize(
        ("alpha", "seen"), [("white", 255 - 155 * 0.2), ("black", 20), ("ignore", 100)]
    )
    @pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "16 bits"])
    def test_what_lies_behind_is_told(
        self, alpha: Any, seen: float, mode: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.png"
        if mode == "P":
            picture = Image.new("P", (3, 3), 1)
            picture.putpalette([0, 0, 0, 100, 100, 100])
            picture.save(path, transparency=b"\xff\x33")
        elif mode == "16 bits":
            write_png(path, np.full((3, 3, 4), [25700, 25700, 25700, 13107]))
        else:
            Image.new(mode, (3, 3), (100,) * (len(mode) - 1) + (51,)).save(path)
        assert read_image(path, ImageFormat(1, 3, 3, alpha=alpha))[0, 0, 0] == pytest.approx(
            seen, abs=1
        )

    @pytest.mark.parametrize(("color", "channels"), [("grey", 2), ("rgb", 4)])
    def test_transparency_may_be_a_channel(
        self, color: str, channels: int, folder: Any, read: Read
    ) -> None:
        def write(path: Path, number: int) -> None:
            mode, value = ("RGBA", (9, 9, 9, 77)) if number else ("RGB", (9, 9, 9))
            Image.new(mode, (3, 3), value).save(path)

        found, said = read(folder(write), color=color, alpha="channel")
        assert found.format.channels == channels
        assert (
            "7 images are transparent in places, and have their transparency as a channel"
            in said[0]
        )
        pixels = {
            tuple(read_image(Path(path), found.format)[[0, -1], 0, 0]) for path in found.train.paths
        }
        assert pixels == {(9, 77), (9, 255)}
        assert prepared(found).spec.input_shape == (channels, 3, 3)

    def test_an_alpha_channel_without_transparency_is_not_spoken_of(
        self, folder: Any, read: Read
    ) -> None:
        images = folder(lambda path, n: Image.new("RGBA", (3, 3), (n, n, n, 255)).save(path))
        assert read(images)[1] == []

    def test_images_of_one_colour_are_said(
        self, folder: Any, read: Read, capsys: pytest.CaptureFixture[str]
    ) -> None:
        images = folder(lambda path, n: Image.new("RGBA", (3, 3), (0, 0, 0, n)).save(path))
        prepared(read(images, alpha="ignore")[0])
        assert "all training images have the same colour" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["deep", "transparent"])
def test_training_streaming_and_prediction_see_the_same(
    kind: str, folder: Any, read: Read, tmp_path: Path
) -> None:
    def write(path: Path, number: int) -> None:
        if kind == "deep":
            pixels = random(6, 5, high=1000, seed=number).astype(np.uint16)
        else:
            pixels = random(6, 5, 4, high=256, seed=number).astype(np.uint8)
        Image.fromarray(pixels).save(path)

    images = folder(write)
    kept, streamed = (prepared(read(images, size=4, in_memory=yes)[0]) for yes in (True, False))
    assert kept.preprocessing == streamed.preprocessing
    for part in ("train", "val", "test"):
        stored: Any = streamed.split(part).inputs
        np.testing.assert_array_equal(kept.split(part).inputs, stored[:])
    files, _ = read(images, size=4)
    scaling: Any = kept.preprocessing
    raw = [read_inputs(Path(path), kept.spec, scaling) for path in files.train.paths]
    predicted = {scaling.inputs(one).numpy().tobytes() for one in raw}
    trained = {one.numpy().tobytes() for one in kept.train.inputs}
    assert trained < predicted


@pytest.mark.parametrize(
    ("mode", "suffix", "channels"),
    [("1", ".png", 1), ("P", ".png", 3), ("CMYK", ".jpg", 3), ("CMYK", ".tif", 3), ("LA", ".png", 1)],
)  # fmt: skip
def test_grey_and_colour_are_found_in_every_mode(
    mode: str, suffix: str, channels: int, folder: Any, read: Read
) -> None:
    found, _ = read(folder(lambda path, _: Image.new(mode, (4, 4)).save(path), suffix))
    assert found.format.channels == channels
    assert len(prepared(found).train) > 0


def test_of_several_pictures_in_a_file_the_first_is_taken(folder: Any, read: Read) -> None:
    def write(path: Path, _: int) -> None:
        first, second = (Image.new("L", (4, 4), value) for value in (10, 200))
        first.save(path, save_all=True, append_images=[second])

    found, said = read(folder(write, ".tif"))
    assert "8 files hold several pictures, of which the first is taken, such as" in said[0]
    assert read_image(Path(found.train.paths[0]), found.format).max() == 10


class TestFilesLeftOut:
    def test_they_are_counted_by_kind_with_an_example(self, folder: Any, read: Read) -> None:
        images = folder(lambda path, n: Image.new("L", (4, 4), n).save(path))
        for name in ("a/x.heic", "a/y.HEIC", "b/notes.txt", "b/raw"):
            (images / name).write_bytes(b"no image")
        (images / "a" / "more").mkdir()
        Image.new("L", (4, 4)).save(images / "loose.png")
        found, said = read(images)
        assert len(found.train) == 8
        assert said[0].startswith(
            f"dlrun: {images}: 6 files and folders are left out (images beside class folders: 1, such as loose.png; "
            "folders in class folders: 1, such as a/more; .heic: 2, such as a/x.heic; .txt: 1, such as b/notes.txt; "
            "without a suffix: 1, such as b/raw); what is taken lies right in the folder of a class"
        )  # fmt: skip

    def test_what_systems_leave_is_not_spoken_of(self, folder: Any, read: Read) -> None:
        images = folder(lambda path, n: Image.new("L", (4, 4), n).save(path))
        for name in ("a/Thumbs.db", "b/.DS_Store", "b/desktop.ini", "b/._1.png"):
            (images / name).write_bytes(b"x")
        (images / "__MACOSX").mkdir()
        assert read(images)[1] == []

    @pytest.mark.parametrize("suffix", [".jfif", "", ".PNG", ".JPE", ".download"])
    def test_an_image_is_one_by_its_content_whatever_its_suffix(
        self, suffix: str, folder: Any, read: Read
    ) -> None:
        found, said = read(
            folder(lambda path, n: Image.new("L", (4, 4), n).save(path, "jpeg"), suffix)
        )
        assert (len(found.train), said) == (8, [])

    def test_other_files_are_none(self, tmp_path: Path) -> None:
        for name, content in (
            ("a", b"RIFF....WAVE"),
            ("b.txt", b"GI"),
            ("c.heic", b"\0\0\0\x18ftypheic"),
        ):
            (tmp_path / name).write_bytes(content)
            assert not is_image(tmp_path / name)
        assert not is_image(tmp_path)

    def test_a_file_without_content_is_called_empty(self, folder: Any, read: Read) -> None:
        images = folder(lambda path, n: Image.new("L", (4, 4), n).save(path))
        (images / "a" / "0.png").write_bytes(b"")
        with pytest.raises(ConfigError, match=r"0\.png cannot be opened as an image: it is empty"):
            read(images)

    def test_training_and_testing_are_parts(self, tmp_path: Path, read: Read) -> None:
        for part in ("Training", "Testing"):
            for name in "ab":
                (tmp_path / part / name).mkdir(parents=True)
                Image.new("L", (4, 4)).save(tmp_path / part / name / "1.png")
        found, _ = read(tmp_path)
        assert found.class_names == ("a", "b")
        assert found.test is not None

    def test_they_are_counted_in_a_folder_to_predict_for(
        self, folder: Any, read: Read, capsys: pytest.CaptureFixture[str]
    ) -> None:
        images = folder(lambda path, n: Image.new("L", (4, 4), n).save(path, "jpeg"), ".jfif")
        data = prepared(read(images)[0])
        (images / "a" / "x.heic").write_bytes(b"x")
        (images / "Thumbs.db").write_bytes(b"x")
        capsys.readouterr()
        assert len(files_of(images, data.spec, data.preprocessing)) == 8
        assert "1 files are left out, such as a/x.heic" in capsys.readouterr().err
