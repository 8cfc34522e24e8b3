"""Images larger than memory: decoded once into the cache, trained from there as from memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dlrun.cli import main
from dlrun.config.settings import DataSettings
from dlrun.data.base import Dataset
from dlrun.data.cache import entries
from dlrun.data.images import cached
from dlrun.data.images.cached import cached_pixels
from dlrun.data.images.folder import image_folder
from dlrun.data.images.image_format import ImageFormat
from dlrun.data.images.streaming import FilePixels
from dlrun.data.prepare import prepare
from dlrun.errors import ConfigError, RunFailed

FORMAT = ImageFormat(3, 4, 6)
TINY = 1e-9  # GiB
SPLIT = DataSettings(
    val_fraction=0.2, test_fraction=0.2, split_seed=3, normalize="standard", augment=None
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of 12 noisy images in colour, 4 by 6 pixels; the cache is a folder of the test."""
    monkeypatch.setenv("DLRUN_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 256, (4, 6, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number:02}.png")
    return tmp_path / "images"


def data(folder: Path, **settings: Any) -> Dataset:
    given: dict[str, Any] = {"in_memory": "auto", "memory_limit": TINY, "size": None, **settings}
    raw = image_folder(
        path=str(folder), color="auto", depth="auto", alpha="auto", workers=0, **given
    )
    return prepare(raw, SPLIT)


def feed(dataset: Dataset) -> Any:
    return dataset.train.batches(5, seed=5, shuffle=True, drop_last=False)


def assert_equal(first: Iterator[Any], second: Iterator[Any]) -> None:
    for (x, y), (u, v) in zip(first, second, strict=True):
        assert torch.equal(x, u)
        assert torch.equal(y, v)


@pytest.mark.parametrize("size", [None, 8])
def test_batches_and_scaling_are_those_in_memory_wherever_an_epoch_begins(folder, size):
    kept, stored = data(folder, memory_limit=1.0, size=size), data(folder, size=size)
    assert stored.spec == kept.spec and stored.preprocessing == kept.preprocessing
    for epoch, skip in ((1, 0), (2, 0), (2, 2)):
        assert_equal(feed(kept).epoch(epoch, skip=skip), feed(stored).epoch(epoch, skip=skip))
    for part in ("train", "val", "test"):
        assert_equal(kept.split(part).in_order(4), stored.split(part).in_order(4))
    assert torch.equal(kept.train.inputs[3:9], stored.train.inputs[3:9])


def test_images_are_decoded_once_until_a_file_or_a_setting_changes(folder, monkeypatch):
    decoded = []
    batches = FilePixels.batches

    def counted(self: FilePixels, rows: Any) -> Any:
        decoded.append(sum(map(len, rows)))
        return batches(self, rows)

    monkeypatch.setattr(FilePixels, "batches", counted)
    data(folder)
    data(folder)
    assert decoded == [24]
    data(folder, size=8)
    assert decoded == [24, 24]
    Image.fromarray(np.full((4, 6, 3), 9, np.uint8)).save(folder / "a" / "00.png")
    changed = data(folder)
    assert decoded == [24, 24, 24] and len(entries()) == 3
    assert sorted(one.is_current for one in entries()) == [False, False, True]
    expected = data(folder, memory_limit=1.0)
    assert torch.equal(changed.train.inputs[:20], expected.train.inputs[:20])


def test_in_memory_decides_without_the_limit(folder):
    assert type(data(folder, in_memory=True).train.inputs) is torch.Tensor
    data(folder, in_memory=False)
    assert not entries()


def test_more_than_half_of_free_memory_goes_into_the_cache(folder, monkeypatch):
    needed = 24 * 3 * 4 * 6 * 4
    for free, count in ((2 * needed, 0), (2 * needed - 2, 1)):
        monkeypatch.setattr("dlrun.system.hardware.free_memory", lambda free=free: free)
        data(folder, memory_limit=None)
        assert len(entries()) == count


def test_images_of_more_than_8_bits_keep_what_is_between(folder):
    for file in folder.rglob("*.png"):
        pixels = np.random.default_rng(1).integers(0, 65536, (4, 6), np.uint16)
        Image.fromarray(pixels).save(file)
    kept, stored = data(folder, memory_limit=1.0), data(folder)
    assert_equal(feed(kept).epoch(1), feed(stored).epoch(1))


def test_a_file_that_is_no_image_is_named_and_leaves_no_entry(folder):
    whole = (folder / "b" / "03.png").read_bytes()
    (folder / "b" / "03.png").write_bytes(whole[:-30])
    with pytest.raises(ConfigError, match=r"03.png cannot be opened as an image"):
        data(folder)
    assert not entries() and not list((folder.parent / "cache").glob("*.part"))


def test_a_file_changed_while_it_is_decoded_is_noticed(folder, monkeypatch):
    write = cached._write

    def late(place: Path, *how: Any) -> None:
        write(place, *how)
        os.utime(folder / "a" / "00.png", (1, 1))

    monkeypatch.setattr(cached, "_write", late)
    with pytest.raises(ConfigError, match="has been changed while it was read: start again"):
        data(folder)
    assert not entries()


def test_an_entry_deleted_during_the_training_ends_the_run_with_the_remedy(folder):
    batches = data(folder).train.batches(2, seed=5, shuffle=True, drop_last=False).epoch(1)
    next(batches)
    assert main(["cache", "--clear"]) == 0
    with pytest.raises(
        RunFailed, match=r"cannot be read \(No such file or directory\): resume the run"
    ):
        list(batches)


def test_progress_is_shown_on_a_terminal_alone(folder, monkeypatch, capsys):
    data(folder)
    assert "images decoded" not in capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    data(folder, size=8)
    assert "24 of 24 images decoded" in capsys.readouterr().err


_KILLED = """
import sys, time
import numpy as np
from dlrun.data.images.cached import cached_pixels
from dlrun.data.images.image_format import ImageFormat
def decode(rows):
    yield np.zeros((1, 3, 4, 6), np.uint8)
    print("half", flush=True)
    time.sleep(60)
cached_pixels(sys.argv[1:], ImageFormat(3, 4, 6), decode)
"""


def test_what_a_killed_process_left_is_never_read(folder):
    paths = [str(path) for path in sorted(folder.rglob("*.png"))]
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, *paths], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not entries()
    found = cached_pixels(paths, FORMAT, FilePixels(tuple(paths), FORMAT, 0).batches)
    assert found.read([0, 7]).any(axis=(1, 2, 3)).all()


def test_a_run_from_the_cache_has_the_losses_of_one_in_memory_and_resumes(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    words = [
        "train", "dataset=image_folder", f"dataset.path={folder}", "model=logistic", "dataset.workers=0",
        "trainer.accelerator=cpu", "tracking.tensorboard=false",
    ]  # fmt: skip
    for name, limit in (("kept", 1), ("stored", TINY)):
        run = [f"hydra.run.dir=outputs/{name}", f"dataset.memory_limit={limit}"]
        assert main([*words, "trainer.max_epochs=1", *run]) == 0
        assert main(["resume", f"outputs/{name}", "trainer.max_epochs=2"]) == 0
    losses = [
        [
            {
                name: value
                for name, value in json.loads(line).items()
                if name != "samples_per_second"
            }
            for line in Path("outputs", run, "metrics.jsonl").read_text().splitlines()
        ]
        for run in ("kept", "stored")
    ]
    assert len(losses[0]) > 2 and losses[0] == losses[1]
