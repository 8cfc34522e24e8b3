"""Texts larger than memory give the vocabulary, statistics and batches of the same texts in memory."""

import gzip
import random
import shutil
from dataclasses import replace

import polars as pl
import pytest
import torch

from dlrun.config.settings import DataSettings
from dlrun.data import packed
from dlrun.data.base import Dataset
from dlrun.data.cache import entries
from dlrun.data.changed_data import Kept
from dlrun.data.prepare import prepare
from dlrun.data.tables import csv, table_files
from dlrun.data.text import stored, tokens
from dlrun.data.text.files import text_csv, text_lines
from dlrun.data.text.folder import text_folder
from dlrun.data.text.new_texts import NewTexts
from dlrun.data.text.stored import RaggedFile, StoredTexts
from dlrun.data.text.tokens import TokenSettings
from dlrun.errors import ConfigError, RunFailed, forget_notes

TOKENS = TokenSettings("word", True, 1, None, None, True)
SETTINGS = DataSettings(
    val_fraction=0.2, test_fraction=0.2, split_seed=1, normalize="none", augment=None
)
SMALL, LARGE = 1e-9, 1.0
LABELS = ("good", "bad", "so so")


def made(count=120):
    rng = random.Random(0)
    rows = []
    for number in range(count):
        words = [f"Wörd{min(int(rng.expovariate(0.1)), 60)}" for _ in range(rng.randint(1, 9))]
        rows.append((rng.choice(LABELS), " ".join([*words, f"n{number}", "😀", "end."])))
    return [*rows, *rows[:5]]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files are read some bytes and rows at a time."""
    monkeypatch.setenv("DLRUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packed, "_PIECE", 300)
    monkeypatch.setattr(table_files, "_WHOLE", 0)
    monkeypatch.setattr(csv, "_ROWS", 10)
    monkeypatch.setattr(csv, "_FEW", 5)
    for module in (stored, tokens):
        monkeypatch.setattr(module, "_BUDGET" if module is stored else "_AT_ONCE", 64)
    rows = made()
    lines = "".join(f"{label}\t{text}\n" for label, text in rows)
    (tmp_path / "t.tsv").write_text(f"label\ttext\n{lines}")
    (tmp_path / "t.gz").write_bytes(gzip.compress(lines.encode()))
    frame = pl.DataFrame({"text": [text for _, text in rows], "label": [one for one, _ in rows]})
    nothing = pl.DataFrame({"text": ["left out", ""], "label": ["NA", "nan"]})
    pl.concat([frame[:60], nothing, frame[60:]]).write_csv(tmp_path / "t.csv")
    frame.write_parquet(tmp_path / "t.parquet")
    for part, some in (("train", rows[:100]), ("test", rows[100:])):
        for number, (label, text) in enumerate(some):
            path = tmp_path / "texts" / part / label / f"{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return tmp_path


def read(path, limit, **settings):
    tokens = replace(TOKENS, **settings)
    how = {
        "path": str(path), "test_path": None, "encoding": "utf-8", "memory_limit": limit, "tokens": tokens
    }  # fmt: skip
    if path.name == "texts":
        return text_folder(**how)
    if path.name in ("t.tsv", "t.gz"):
        return text_lines(**how, separator="tab", header="auto")
    return text_csv(
        **how, text="text", label="label", header="auto", skip_lines="auto", comment=None,
        delimiter="auto", missing=["NA", "nan"], merge_labels=True, drop_missing_target=True,
    )  # fmt: skip


def same(one: Dataset, other: Dataset, shuffled=True):
    assert one.preprocessing == other.preprocessing
    assert one.spec == other.spec
    assert one.baselines == other.baselines
    assert one.origin and one.origin.content == other.origin.content
    for name in ("train", "val", "test"):
        a, b = one.split(name), other.split(name)
        assert not isinstance(a.inputs, torch.Tensor)
        for x, y in zip(a.in_order(7), b.in_order(7), strict=True):
            assert all(map(torch.equal, x, y))
        assert torch.equal(a.sample(3), b.sample(3))
        assert torch.equal(a.first(3).inputs.long(), b.first(3).inputs.long())
    for epoch, skip, shuffle in ((0, 0, True), (1, 3, True), (2, 5, False)):
        feeds = [
            part.batches(8, seed=3, shuffle=shuffle, drop_last=False).epoch(epoch, skip=skip)
            for part in (one.train, other.train)
        ]
        for x, y in zip(*feeds, strict=True):
            assert all(map(torch.equal, x, y))


@pytest.mark.parametrize("name", ["t.tsv", "t.gz", "t.csv", "t.parquet", "texts"])
def test_vocabulary_statistics_and_batches_are_those_in_memory(name, folder, capsys):
    settings = SETTINGS if name != "texts" else replace(SETTINGS, test_fraction=None)
    said = []
    for limit in (SMALL, LARGE, SMALL):
        forget_notes()
        raw = read(folder / name, limit)
        assert isinstance(raw.texts, StoredTexts) == (limit == SMALL)
        said.append((raw, prepare(raw, settings), capsys.readouterr().err))
    (_, one, first), (_, other, whole), (_, again, later) = said
    assert "exceeds dataset.memory_limit" in first
    assert (
        later
        == whole
        == "".join(f"{line}\n" for line in first.splitlines() if "exceeds" not in line)
    )
    same(one, other)
    same(again, other)


@pytest.mark.parametrize(
    "settings", [{"level": "character"}, {"bucketing": False}, {"max_length": 4, "min_count": 2}]
)
def test_any_setting_of_tokens_gives_the_same(settings, folder):
    one, other = (
        prepare(read(folder / "t.tsv", limit, **settings), SETTINGS) for limit in (SMALL, LARGE)
    )
    same(one, other)


def test_words_of_other_parts_are_unknown(folder):
    data = prepare(read(folder / "t.tsv", SMALL), SETTINGS)
    raw = read(folder / "t.tsv", SMALL)
    kept = {
        word
        for text in raw.texts.take(raw.texts.rows[data.origin.parts["train"]])
        for word in text.lower().split()
    }
    numbered = {word for word in data.preprocessing.vocabulary if word.startswith("n")}
    assert numbered == {word for word in kept if word.startswith("n")}
    assert any(int((batch == 1).sum()) for batch, _ in data.test.in_order(50))


def test_another_limit_is_no_other_data(folder):
    one = prepare(read(folder / "t.csv", LARGE), SETTINGS)
    kept = Kept(one.spec, one.preprocessing, one.origin, "last")
    same(prepare(read(folder / "t.csv", SMALL), SETTINGS, kept), one)


def test_new_labelled_texts_are_read_from_the_cache(folder):
    data = prepare(read(folder / "t.tsv", SMALL), SETTINGS)
    kept = Kept(data.spec, data.preprocessing, data.origin, "last")
    parts = []
    for limit in (SMALL, LARGE):
        dataset = {"separator": "tab", "encoding": "utf-8", "memory_limit": limit}
        parts.append(NewTexts().labelled(str(folder / "t.gz"), kept, dataset).part)
    for x, y in zip(*(part.in_order(9) for part in parts), strict=True):
        assert all(map(torch.equal, x, y))
    assert not isinstance(parts[0].inputs, torch.Tensor)


def test_the_entry_follows_files_and_settings(folder):
    path = folder / "t.tsv"
    read(path, SMALL)
    read(path, SMALL, min_count=3, max_length=2)  # of the vocabulary, which is not kept
    assert len(entries()) == 1
    read(path, SMALL, lower=False)
    assert len(entries()) == 2
    path.write_text(path.read_text().replace("end.", "last."))
    assert "last." in next(iter(read(path, SMALL).texts))
    assert len(entries()) == 3
    entries()[0].path.rename(folder / "cache" / "x.part")
    assert "last." in next(iter(read(path, SMALL).texts))


def test_a_cache_cleared_meanwhile_is_said_in_a_line(folder):
    data = prepare(read(folder / "t.tsv", SMALL), SETTINGS)
    shutil.rmtree(entries()[0].path)
    with pytest.raises(
        RunFailed, match=r"cannot be read \(No such file or directory\): resume the run"
    ):
        next(data.train.batches(8, seed=3, shuffle=True, drop_last=False).epoch(0))


def test_a_mistake_is_named_with_its_place(folder):
    path = folder / "t.tsv"
    path.write_text(path.read_text() + "good\t \n")
    with pytest.raises(ConfigError, match=r"t\.tsv, line 127: there is no text"):
        read(path, SMALL)
    path.write_text("no separator\n")
    with pytest.raises(ConfigError, match=r"t\.tsv, line 1: there is no tab"):
        read(path, SMALL)
    assert len(entries()) == 1


def test_runs_on_texts_in_files_are_not_stacked(folder):
    for bucketing in (True, False):
        data = prepare(read(folder / "t.tsv", SMALL, bucketing=bucketing), SETTINGS)
        assert data.train.batches(8, seed=0, shuffle=True, drop_last=False).not_stacked


def test_pieces_of_a_file_are_read_near_and_far(tmp_path):
    import numpy as np

    np.arange(10_000, dtype=np.int32).tofile(tmp_path / "numbers")
    file = RaggedFile(tmp_path / "numbers", np.int32)
    for begins in ([9000, 0, 5000, 9000], [12, 3, 10]):
        lengths = np.arange(len(begins))
        expected = [
            n for b, count in zip(begins, lengths, strict=True) for n in range(b, b + count)
        ]
        assert file.taken(np.array(begins), lengths).tolist() == expected
    assert not len(file.taken(np.array([], int), np.array([], int)))
