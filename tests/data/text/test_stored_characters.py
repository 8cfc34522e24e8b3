"""A text larger than memory gives the characters, statistics and batches of the same text in memory."""

import os
import shutil

import pytest
import torch

from dlrun.config.settings import DataSettings
from dlrun.data import packed
from dlrun.data.cache import entries
from dlrun.data.prepare import prepare
from dlrun.data.text import character_encoding, stored, streams
from dlrun.data.text.characters import char_lm
from dlrun.data.text.stored import StoredText
from dlrun.errors import ConfigError, RunFailed

SETTINGS = DataSettings(
    val_fraction=0.1, test_fraction=0.2, split_seed=0, normalize="none", augment=None
)
WINDOW = 5
ASCII = "".join(f"the {n} old {n * n} men, " for n in range(200)) + "zz top"
WIDE = "".join(f"über {chr(0x4E00 + n)} 😀 " for n in range(600))


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Read some bytes, characters and windows at a time."""
    monkeypatch.setenv("DLRUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packed, "_PIECE", 500)
    for module in (stored, streams, character_encoding):
        monkeypatch.setattr(module, "_AT_ONCE", 100)
    path = tmp_path / "text.txt"
    path.write_text(ASCII)
    return path


def read(path, limit):
    return char_lm(path=str(path), encoding="utf-8", window=WINDOW, memory_limit=limit)


@pytest.mark.parametrize("text", [ASCII, WIDE])
def test_parts_statistics_and_batches_are_those_in_memory(text, file, capsys):
    file.write_text("\ufeff" + text.replace("z", "\r\n"))
    kept, whole = read(file, 1e-9), read(file, 1.0)
    assert isinstance(kept.text, StoredText) and isinstance(whole.text, str)
    one, other = prepare(kept, SETTINGS), prepare(whole, SETTINGS)
    assert one.preprocessing == other.preprocessing
    assert one.origin == other.origin
    assert one.baselines == other.baselines
    assert one.spec == other.spec
    for name in ("train", "val", "test"):
        a, b = one.split(name), other.split(name)
        assert not isinstance(a.inputs, torch.Tensor)
        for x, y in zip(a.in_order(40), b.in_order(40), strict=True):
            assert all(map(torch.equal, x, y))
        assert torch.equal(a.sample(7), b.sample(7))
    for epoch, skip, shuffle in ((0, 0, True), (1, 3, True), (2, 20, False)):
        feeds = [
            part.batches(8, seed=3, shuffle=shuffle, drop_last=False).epoch(epoch, skip=skip)
            for part in (one.train, other.train)
        ]
        for x, y in zip(*feeds, strict=True):
            assert all(map(torch.equal, x, y))


def test_characters_that_training_does_not_have_stay_unknown(file, capsys):
    data = prepare(read(file, 1e-9), SETTINGS)
    assert not {"z", "p"} & {*data.preprocessing.characters}
    assert "3 of 870 characters of the test part" in capsys.readouterr().err
    assert int((data.test.targets[:] == 0).sum()) == 3


def test_the_text_is_encoded_again_where_the_file_or_a_setting_has_changed(file):
    read(file, 1e-9)
    made = entries()[0].made
    assert prepare(read(file, 1e-9), SETTINGS).origin
    assert [one.made for one in entries()] == [made]
    char_lm(path=str(file), encoding="latin-1", window=WINDOW, memory_limit=1e-9)
    assert len(entries()) == 2
    file.write_text(ASCII.replace("men", "two"))
    os.utime(file, ns=(1, 1))
    assert "two" in read(file, 1e-9).text[:]
    assert len(entries()) == 3
    file.write_text(ASCII.replace("men", "six"))  # as long and, by its time, as old
    os.utime(file, ns=(1, 1))
    assert "six" in read(file, 1e-9).text[:]


def test_what_a_killed_process_left_is_not_read(file):
    read(file, 1e-9)
    folder = entries()[0].path
    (folder / "numbers").write_bytes(b"")
    folder.rename(folder.with_name(f"{folder.name}.part"))
    assert read(file, 1e-9).text[:] == ASCII


def test_a_cache_cleared_meanwhile_is_said_in_a_line(file):
    data = prepare(read(file, 1e-9), SETTINGS)
    shutil.rmtree(entries()[0].path)
    feed = data.train.batches(8, seed=3, shuffle=True, drop_last=False)
    with pytest.raises(
        RunFailed, match=r"cannot be read \(No such file or directory\): resume the run"
    ):
        next(feed.epoch(0))


def test_a_bad_text_is_refused_and_leaves_nothing(file):
    file.write_bytes(ASCII.encode() + b"\n\xff")
    with pytest.raises(ConfigError, match="line 2, byte 1: 0xff is not utf-8"):
        read(file, 1e-9)
    assert not entries()
