"""What several processes have of each batch: together the rows that one process would have, in its order."""

from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dlrun.data.arrays.scaling import Scaling
from dlrun.data.images.image_format import ImageFormat
from dlrun.data.images.streaming import FilePixels, StoredImages, StoredSplit
from dlrun.data.loaders import Split
from dlrun.data.orders import balanced
from dlrun.data.share import WHOLE, Share
from dlrun.data.tables import stored_rows
from dlrun.data.tables.stored_rows import BlockSplit, StoredInputs
from dlrun.data.text.buckets import PaddedTexts, StoredRows
from dlrun.data.text.stored import RaggedFile
from dlrun.data.text.streams import StoredTokens, StreamedText

SIZE = 75  # 9 batches of 8, and one of 3: fewer than 4 processes
CLASSES = (torch.arange(SIZE) % 7 == 0).float()
LENGTHS = torch.arange(SIZE) * 5 % 9 + 1
COUNTS = (2, 4)


def shares(count):
    return [Share(index, count) for index in range(count)]


@dataclass(frozen=True)
class Recorded:
    """Rows of a table, an image or a text by number, and which of them have been read."""

    read_rows: list[int] = field(default_factory=list)
    format = ImageFormat(1, 1, 1)

    def __len__(self):
        return SIZE

    def inputs_of(self, raw, rows):
        self.read_rows.extend(rows.tolist())
        return torch.from_numpy(rows).float().unsqueeze(1)

    def read(self, rows):
        self.read_rows.extend(rows)
        return np.asarray(rows, np.float32).reshape(-1, 1, 1, 1)

    def batches(self, rows):
        yield from map(self.read, rows)

    def numbers(self, start, stop):
        return np.arange(start, stop) % 50


def images():
    return StoredImages(pixels=Recorded(), scaling=Scaling([0.0], [1.0], [], [], 255.0))


def table(**more):
    inputs = StoredInputs(encoding=Recorded(), raw=None, rows=np.arange(SIZE), width=1)
    return BlockSplit(inputs, CLASSES, **more)


def stored_texts(folder):
    np.arange(SIZE, dtype=np.uint8).repeat(9).tofile(folder / "texts")
    return StoredRows(
        RaggedFile(folder / "texts", np.uint8),
        np.arange(SIZE) * 9,
        LENGTHS.numpy(),
        np.arange(SIZE) + 2,
        9,
    )


def characters(stored):
    numbers = torch.arange(701) % 50
    if not stored:
        return StreamedText(numbers[:-1], numbers[1:], window=6)
    tokens = StoredTokens(Recorded(), np.arange(50), 0, 700)
    return StreamedText(tokens, tokens.narrow(0, 1, 700), window=6)


def split_of(kind, folder):
    rows = torch.arange(float(SIZE)).unsqueeze(1)
    tokens = (torch.arange(9) < LENGTHS[:, None]) * (torch.arange(SIZE)[:, None] + 2)
    return {
        "rows": lambda: Split(rows, CLASSES),
        "resampled rows": lambda: Split(rows, CLASSES, resampling=balanced(CLASSES, "oversample")),
        "several targets": lambda: Split(rows, rows.repeat(1, 3)),
        "images in channels_last": lambda: Split(
            torch.randn(SIZE, 3, 2, 2).to(memory_format=torch.channels_last), CLASSES
        ),
        "images in files": lambda: StoredSplit.of(images(), CLASSES),
        "blocks in memory": lambda: BlockSplit(rows, CLASSES),
        "blocks in files": table,
        "rows in files in another order": lambda: table(in_blocks=False),
        "resampled rows in files": lambda: table(resampling=balanced(CLASSES, "oversample")),
        "texts": lambda: PaddedTexts(tokens, CLASSES, lengths=LENGTHS),
        "texts of one length": lambda: PaddedTexts(tokens, CLASSES),
        "texts in files": lambda: PaddedTexts(stored_texts(folder), CLASSES, lengths=LENGTHS),
        "texts of one length in files": lambda: PaddedTexts(stored_texts(folder), CLASSES),
        "characters": lambda: characters(stored=False),
        "characters in files": lambda: characters(stored=True),
    }[kind]()


KINDS = (
    "rows", "resampled rows", "several targets", "images in channels_last", "images in files", "blocks in memory",
    "blocks in files", "rows in files in another order", "resampled rows in files", "texts", "texts of one length",
    "texts in files", "texts of one length in files", "characters", "characters in files",
)  # fmt: skip


@pytest.fixture(autouse=True)
def few_rows_at_a_time(monkeypatch):
    monkeypatch.setattr(stored_rows, "AT_ONCE", 20)
    monkeypatch.setattr(stored_rows, "_BLOCK", 5)


def assert_shared(whole, parts):
    """`parts` are the shares of one batch: of too few rows for all, the last ones are the first row again."""
    for at, tensor in enumerate(whole):
        own = [part[at] for part in parts]
        assert torch.equal(torch.cat(own[: len(tensor)]), tensor)
        assert all(torch.equal(more, tensor[:1]) for more in own[len(tensor) :])
        assert all(one.dtype == tensor.dtype for one in own)
        assert max(map(len, own)) - min(map(len, own)) <= 1


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_shares_of_each_batch_are_the_whole_batch(kind, shuffle, tmp_path):
    split = split_of(kind, tmp_path)
    options = {"seed": 3, "shuffle": shuffle, "drop_last": False}
    whole = split.batches(8, **options)
    for count in COUNTS:
        feeds = [split.batches(8, **options, share=share) for share in shares(count)]
        assert {len(feed) for feed in feeds} == {len(whole)}
        for epoch, skip in ((0, 0), (1, 4), (1, len(whole))):
            batches = list(whole.epoch(epoch, skip=skip))
            sizes = [len(targets) for _, targets in batches]
            assert all(list(feed.sizes(epoch))[skip:] == sizes for feed in [whole, *feeds])
            each = zip(*(feed.epoch(epoch, skip=skip) for feed in feeds), strict=True)
            for batch, parts in zip(batches, each, strict=True):
                assert_shared(batch, parts)


@pytest.mark.parametrize("kind", KINDS[:-2])  # of characters a process has its streams
def test_the_shares_of_a_part_in_order_are_the_part(kind, tmp_path):
    split = split_of(kind, tmp_path)
    whole = [torch.cat(some) for some in zip(*map(unpadded, split.in_order(8)), strict=True)]
    for count in (*COUNTS, SIZE + 1):
        parts = [batch for share in shares(count) for batch in split.in_order(8, share)]
        joined = [torch.cat(some) for some in zip(*map(unpadded, parts), strict=True)]
        assert all(map(torch.equal, joined, whole))


def unpadded(batch):
    """A batch of texts is as wide as its longest one, and which texts it holds depends on the processes."""
    inputs, targets = batch
    if inputs.ndim == 2 and inputs.dtype == torch.int64:
        inputs = torch.nn.functional.pad(inputs, (0, 9 - inputs.shape[1]))
    return inputs, targets


@pytest.mark.parametrize("stored", [False, True])
def test_in_order_a_process_has_its_streams_of_a_text_from_begin_to_end(stored, monkeypatch):
    monkeypatch.setattr("dlrun.data.text.streams._LEAST", 100)
    split = characters(stored)
    whole = list(split.in_order(30))
    assert whole[0][0].shape == (5, 6)
    for count in (1, 2, 3, 4, 7):
        own = [list(split.in_order(30, share)) for share in shares(count)]
        assert [not some for some in own] == [index >= 5 for index in range(count)]
        for window, *parts in zip(whole, *filter(None, own), strict=True):
            assert_shared(window, parts)


def test_windows_of_a_stream_follow_one_another_for_the_process_that_reads_it():
    feed = characters(stored=True).batches(
        5, seed=1, shuffle=True, drop_last=False, share=Share(1, 2)
    )
    windows = [inputs for inputs, _ in feed.epoch(2)]
    assert {len(window) for window in windows} == {2}
    for before, after in pairwise(windows):
        assert torch.equal((before[:, -1] + 1) % 50, after[:, 0])


@pytest.mark.parametrize("kind", ["images in files", "blocks in files", "resampled rows in files"])
def test_only_own_rows_are_read(kind, tmp_path):
    for share in shares(3):
        split = split_of(kind, tmp_path)
        stored = split.inputs.pixels if kind == "images in files" else split.inputs.encoding
        feed = split.batches(8, seed=3, shuffle=True, drop_last=False, share=share)
        seen = torch.cat([inputs for inputs, _ in feed.epoch(1)]).flatten().tolist()
        assert sorted(stored.read_rows) == sorted(seen)
        stored.read_rows.clear()
        own = torch.cat([inputs for inputs, _ in split.in_order(8, share)]).flatten().tolist()
        assert stored.read_rows == own == list(share.of(SIZE))


def test_only_own_image_files_are_opened(tmp_path):
    absent = tuple(str(tmp_path / f"{row}.png") for row in range(4))
    Path(absent[1]).write_bytes(png(7))
    Path(absent[3]).write_bytes(png(9))
    pixels = FilePixels(absent, ImageFormat(1, 1, 1), workers=0)
    split = StoredSplit.of(
        StoredImages(pixels=pixels, scaling=Scaling([0.0], [1.0], [], [], 255.0)), torch.arange(4)
    )
    feed = split.batches(2, seed=0, shuffle=False, drop_last=False, share=Share(1, 2))
    assert [inputs.item() for inputs, _ in feed.epoch(0)] == [7, 9]


def png(value):
    buffer = BytesIO()
    Image.new("L", (1, 1), value).save(buffer, "png")
    return buffer.getvalue()


def test_a_share_of_one_is_all():
    assert WHOLE.of(5) == range(5)
    assert WHOLE.of_batch(3, 9) == (3, 9)
    assert [*WHOLE.parts(5, 2)] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert [*Share(2, 3).parts(2, 2)] == []
