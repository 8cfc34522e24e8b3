"""Images read from files as they are needed: the same as in memory, in the same order, with errors in one line."""

from __future__ import annotations

import os
import signal
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
from dlrun.data.copied_ahead import copied_ahead
from dlrun.data.images.folder import image_folder
from dlrun.data.images.streaming import StoredImages, StreamedBatches
from dlrun.data.loaders import Batches
from dlrun.data.prepare import prepare
from dlrun.errors import RunFailed
from dlrun.training.loop import Engine

SETTINGS = DataSettings(
    val_fraction=0.2, test_fraction=0.2, split_seed=3, normalize="standard", augment=None
)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 12, 10 and 8 noisy images in colour, 4 by 6 pixels."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, count in (("a", 12), ("b", 10), ("c", 8)):
        (root / name).mkdir()
        for number in range(count):
            pixels = rng.integers(0, 256, (4, 6, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number:02}.png")
    return root


def data(folder: Path, *, in_memory: bool, workers: int = 0, **settings: Any) -> Dataset:
    raw = image_folder(
        path=str(folder), size=None, color="auto", depth="auto", alpha="auto", in_memory=in_memory, memory_limit=1.0,
        workers=workers,
    )  # fmt: skip
    return prepare(raw, DataSettings(**vars(SETTINGS) | settings))


def feeds(folder: Path, *, size: int = 4, **more: Any) -> tuple[Any, Any]:
    options = {"seed": 5, "shuffle": True, "drop_last": False} | more
    workers = options.pop("workers", 0)
    made = (data(folder, in_memory=True), data(folder, in_memory=False, workers=workers))
    kept, streamed = (one.train.batches(size, **options) for one in made)
    assert type(kept) is Batches
    assert type(streamed) is StreamedBatches
    return kept, streamed


def assert_equal(first: Iterator[Any], second: Iterator[Any]) -> None:
    for (x, y), (u, v) in zip(first, second, strict=True):
        assert torch.equal(x, u)
        assert torch.equal(y, v)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
def test_batches_are_those_of_the_same_images_in_memory(
    shuffle: bool, drop_last: bool, folder: Path
) -> None:
    kept, streamed = feeds(folder, shuffle=shuffle, drop_last=drop_last)
    assert len(kept) == len(streamed)
    for epoch in (0, 1):
        assert_equal(kept.epoch(epoch), streamed.epoch(epoch))


def test_workers_give_what_the_process_itself_would_and_draw_nothing_from_the_run(
    folder: Path,
) -> None:
    kept, streamed = feeds(folder, workers=2)
    state = torch.get_rng_state()
    assert_equal(kept.epoch(1, skip=2), streamed.epoch(1, skip=2))
    assert torch.equal(torch.get_rng_state(), state)


def test_an_epoch_starts_anywhere(folder: Path) -> None:
    _, streamed = feeds(folder)
    whole = list(streamed.epoch(2))
    assert_equal(iter(whole[3:]), streamed.epoch(2, skip=3))


def test_parts_spec_and_scaling_are_those_in_memory(folder: Path) -> None:
    kept, streamed = data(folder, in_memory=True), data(folder, in_memory=False)
    assert kept.spec == streamed.spec
    assert kept.preprocessing == streamed.preprocessing
    assert kept.baselines == streamed.baselines
    pixels = kept.train.inputs.double()
    assert pixels.mean((0, 2, 3)).abs().max() < 1e-6
    assert (pixels.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-6
    for name in ("train", "val", "test"):
        one, other = kept.split(name), streamed.split(name)
        assert len(one) == len(other)
        assert_equal(one.in_order(4), other.in_order(4))


def test_stored_images_are_looked_at_like_a_tensor(folder: Path) -> None:
    kept = data(folder, in_memory=True).train.inputs
    stored: Any = data(folder, in_memory=False).train.inputs
    assert isinstance(stored, StoredImages)
    assert (len(stored), stored.ndim, stored.shape) == (len(kept), 4, tuple(kept.shape))
    assert torch.equal(stored[:3], kept[:3])
    rows = torch.tensor([7, 0, 7])
    assert torch.equal(stored[rows], kept[rows])


def test_device_number_kind_and_layout_are_kept(folder: Path) -> None:
    part = data(folder, in_memory=False).to(CPU, torch.float64, channels_last=True)
    expected = data(folder, in_memory=True).to(CPU, torch.float64, channels_last=True)
    found = part.train.inputs[:5]
    assert found.dtype == torch.float64
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, expected.train.inputs[:5])


def test_pixels_are_normalised_on_a_gpu_as_on_the_cpu(folder: Path) -> None:
    """Where they are copied as they are; the copy itself waits for no step (tests/training/test_unread.py)."""
    stored: Any = data(folder, in_memory=False).train.inputs
    raw, scaling = stored.pixels.read(range(9)), stored.scaling
    arrays = np.array_split(raw, [4, 7])
    found = [*copied_ahead(iter(arrays), CPU, scaling.on(CPU))]
    assert [len(part) for part in found] == [4, 3, 2]
    assert torch.equal(torch.cat(found), scaling.inputs(raw))


def test_a_cut_for_a_quick_check_is_an_ordinary_tensor(folder: Path) -> None:
    quick = data(folder, in_memory=False).limited(train=4, evaluation=2)
    assert isinstance(quick.train.inputs, torch.Tensor)
    assert len(quick.val) == 2


def test_a_folders_own_parts_stand_for_the_fractions(tmp_path: Path) -> None:
    for path in ("train/a/1", "train/a/2", "train/b/1", "train/b/2", "val/a/3", "test/b/4"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (3, 3), int(path[-1])).save(tmp_path / f"{path}.png")
    found = data(tmp_path, in_memory=True, normalize="none")
    assert sorted(found.train.inputs[:, 0, 0, 0].tolist()) == [1, 1, 2, 2]
    assert found.val.inputs[:, 0, 0, 0].tolist() == [3]
    assert found.test.inputs[:, 0, 0, 0].tolist() == [4]
    assert found.spec.task == "binary"
    assert found.test.targets.tolist() == [1.0]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_breaks_during_training_is_named_in_one_line(
    workers: int, tmp_path: Path
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.new("L", (3, 3), 50 * number).save(tmp_path / name / f"{number}.png")
    images = data(tmp_path, in_memory=False, workers=workers, val_fraction=0.0, test_fraction=0.25)
    stored: Any = images.train.inputs
    broken = Path(stored.pixels.paths[0])
    broken.write_bytes(b"no picture")
    feed = images.train.batches(2, seed=0, shuffle=True, drop_last=False)
    with pytest.raises(RunFailed) as failure:
        list(feed.epoch(0))
    assert str(failure.value).startswith(f"{broken} cannot be opened as an image")
    assert "\n" not in str(failure.value)


def test_the_first_images_of_files_are_a_part_in_memory(folder: Path) -> None:
    part = data(folder, in_memory=False).train
    few = part.first(6)
    options: Any = {"seed": 5, "shuffle": True, "drop_last": False}
    batches = list(few.batches(4, **options).epoch(0))
    assert [len(targets) for _, targets in batches] == [4, 2]
    assert_equal(few.in_order(4), part.first(6).batches(4, **options | {"shuffle": False}).epoch(0))
    assert torch.equal(few.inputs, part.inputs[:6])


@pytest.mark.slow  # torch looks after its workers every 5 seconds
def test_a_worker_that_is_killed_ends_the_run_in_one_line(folder: Path) -> None:
    _, streamed = feeds(folder, workers=1, size=1)
    epoch = streamed.epoch(0)
    next(epoch)
    (worker,) = [t for t in _workers() if t != os.getpid()]
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(RunFailed, match="a process that reads images has ended"):
        list(epoch)


def test_workers_live_through_a_signal_and_end_with_their_epoch(folder: Path) -> None:
    others = {*_workers()}  # of joblib's, say
    _, streamed = feeds(folder, workers=1, size=1)
    epoch = streamed.epoch(0)
    next(epoch)
    (worker,) = {*_workers()} - others
    os.kill(worker, signal.SIGINT)
    assert next(epoch)[0].shape == (1, 3, 4, 6)
    epoch.close()
    assert {*_workers()} <= others


def test_a_streamed_run_resumes_in_the_middle_of_an_epoch_as_if_uninterrupted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "dataset=image_folder", f"dataset.path={folder}", "dataset.in_memory=false",
             "dataset.workers=0", "model=logistic", "trainer.max_epochs=2", "trainer.batch_size=4",
             "trainer.accelerator=cpu", "tracking.tensorboard=false"]  # fmt: skip
    assert main([*words, "hydra.run.dir=whole"]) == 0
    step, taken = Engine.train_step, []

    def step_and_signal(self: Engine, *batch: torch.Tensor) -> None:
        taken.append(1)
        if len(taken) == 3:
            signal.raise_signal(signal.SIGTERM)
        step(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "train_step", step_and_signal)
        assert main([*words, "hydra.run.dir=parted"]) == 143
    assert main(["resume", "parted", "dataset.workers=1"]) == 0
    weights = [
        torch.load(f"{run}/checkpoints/last.pt", weights_only=True)["model"]
        for run in ("whole", "parted")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert "read from their files" in Path("whole/train.log").read_text()


def _workers() -> list[int]:
    import multiprocessing

    return [child.pid for child in multiprocessing.active_children() if child.pid]
