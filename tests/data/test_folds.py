"""Cross-validation of every kind of data: each row is held out once, and no row is learned from where it is."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from dlrun.config.compose import compose
from dlrun.config.settings import DataSettings, parse
from dlrun.data import splits
from dlrun.errors import ConfigError
from dlrun.training.build import prepared

FOLDS = 3


def data(*words, fold=0):
    """The data of these words, one of the folds held out."""
    own = ["name=x", f"dataset.folds={FOLDS}", f"dataset.fold={fold}"]
    plain = OmegaConf.to_container(compose([*words, *own]), resolve=True)
    plain.pop("sweep")
    return prepared(parse(plain))


def rows(data, part):
    found = data.origin.parts[part]
    return [] if found is None else [row % data.origin.count for row in np.asarray(found).tolist()]


def settings(**changes):
    usual = {
        "val_fraction": 0.2,
        "test_fraction": None,
        "split_seed": 0,
        "normalize": "none",
        "augment": None,
    }
    return DataSettings(**{**usual, "folds": FOLDS, **changes})


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLRUN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "t.csv").write_text(
        "a,b,sunny,warm\n"
        + "".join(f"{n},{n % 7},{'yn'[n % 2]},{'yn'[n % 3 == 0]}\n" for n in range(30))
    )
    (tmp_path / "s.csv").write_text("y\n" + "".join(f"{n % 5 + n / 10}\n" for n in range(80)))
    (tmp_path / "some.csv").write_text(
        "shop,y\n" + "".join(f"{shop},{n % 5 + n / 10}\n" for shop in "ab" for n in range(40))
    )
    (tmp_path / "text.txt").write_text("".join("abcdefgh"[n * n % 8] for n in range(301)))
    return tmp_path


TABLE = ("dataset=table", "dataset.path=t.csv", "dataset.test_fraction=null")
SHUFFLED = {
    "points": ("dataset=moons", "dataset.size=60", "dataset.test_fraction=null"),
    "images with a table": ("dataset=image_table", "dataset.test_fraction=null"),
    "images out of memory": (
        "dataset=image_table", "dataset.test_fraction=null", "dataset.in_memory=false", "dataset.workers=0",
    ),
    "texts": ("dataset=text_folder", "dataset.test_fraction=null"),
    "texts out of memory": ("dataset=text_folder", "dataset.test_fraction=null", "dataset.memory_limit=1e-9"),
    "several targets": (*TABLE, "dataset.target=[sunny,warm]"),
    "a table out of memory": (*TABLE, "dataset.target=sunny", "dataset.memory_limit=1e-9"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SHUFFLED)
def test_each_row_is_tested_once_and_trains_or_validates_otherwise(here, kind):
    every = [data(*SHUFFLED[kind], fold=fold) for fold in range(FOLDS)]
    tested = [rows(one, "test") for one in every]
    count = every[0].origin.count
    assert sorted(row for one in tested for row in one) == [*range(count)]
    assert max(map(len, tested)) - min(map(len, tested)) <= 1
    for one in every:
        parts = [row for part in ("train", "val", "test") for row in rows(one, part)]
        assert sorted(parts) == [*range(count)] and len(one.val)


def test_where_data_have_a_test_part_the_folds_validate():
    strata = np.arange(60) % 3
    every = [
        splits.split_rows(60, strata, settings(fold=fold), has_test=True) for fold in range(FOLDS)
    ]
    assert sorted(np.concatenate([val for _, val, _ in every])) == [*range(60)]
    for train, val, test in every:
        assert sorted([*train, *val]) == [*range(60)] and not len(test)
        assert (
            np.bincount(strata[val]).tolist() == [7, 7, 6] or len({*np.bincount(strata[val])}) <= 2
        )
    with pytest.raises(ConfigError, match="no part can be a fold"):
        splits.split_rows(60, strata, settings(), has_test=True, has_val=True)


@pytest.mark.parametrize(
    "words",
    [
        ("dataset.path=s.csv",),
        ("dataset.path=some.csv", "dataset.series=shop"),
    ],
)
def test_the_folds_of_a_series_follow_one_another_and_only_what_is_before_one_trains(here, words):
    series = (
        "dataset=series",
        *words,
        "dataset.target=y",
        "dataset.window=3",
        "dataset.test_fraction=null",
    )
    every = [data(*series, fold=fold) for fold in range(FOLDS)]
    for start in (0, 40) if len(words) > 1 else (0,):
        length = 40 if len(words) > 1 else 80
        before = length // 4
        for one in every:
            train, val, test = (
                [row - start for row in rows(one, part) if start <= row < start + length]
                for part in ("train", "val", "test")
            )
            assert [*train, *val] == [*range(before)] and len(val) == round(0.2 * before)
            assert test == [*range(before, before + length // 4)]
            before += length // 4
        assert before == length


def test_the_folds_of_a_text_are_blocks_and_all_that_is_not_in_one_trains_or_validates(here):
    words = (
        "dataset=char_lm",
        "dataset.path=text.txt",
        "dataset.window=5",
        "dataset.test_fraction=null",
    )
    text, tested = (here / "text.txt").read_text(), []
    for fold in range(FOLDS):
        whole, stored = (
            data(*words, f"dataset.memory_limit={gib}", fold=fold) for gib in (1, 1e-9)
        )
        assert whole.origin == stored.origin and whole.baselines == stored.baselines
        read = {}
        for part in ("train", "val", "test"):
            numbers = rows(whole, part)
            a, b = whole.split(part), stored.split(part)
            assert a.inputs[:].tolist() == b.inputs[:].tolist()
            read[part] = whole.preprocessing.text(a.inputs[:]) + whole.preprocessing.text(
                a.targets[-1:]
            )
            assert read[part] == "".join(text[row] for row in numbers)
        tested.append(read["test"])
        assert sorted("".join(read.values())) == sorted(text)
        # What validates comes right before what is tested.
        assert (rows(whole, "val")[-1] + 1) % len(text) == rows(whole, "test")[0]
    assert "".join(tested) == text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fold": 3}, "dataset.fold is 3, but dataset.folds is 3: give one from 0 to 2"),
        ({"folds": None, "fold": 1}, "dataset.fold is 1, but dataset.folds is null"),
        ({"test_fraction": 0.2}, "set dataset.test_fraction=null"),
        ({"folds": 61}, "dataset.folds is 61, but there are only 60 rows"),
    ],
)
def test_folds_that_cannot_be_are_refused_in_a_line(changes, words):
    with pytest.raises(ConfigError, match=words):
        splits.split_rows(60, None, settings(**changes), has_test=False)


def test_folds_of_a_series_that_are_too_short_are_refused_with_what_to_change(here):
    words = (
        "dataset=series",
        "dataset.path=s.csv",
        "dataset.target=y",
        "dataset.test_fraction=null",
    )
    with pytest.raises(ConfigError, match=r"lower dataset\.folds from 3 or change"):
        data(*words, "dataset.window=20")


def test_a_text_and_a_series_refuse_a_fraction_beside_folds(here, capsys):
    for words in (
        ("dataset=char_lm", "dataset.path=text.txt"),
        ("dataset=series", "dataset.path=s.csv", "dataset.target=y"),
    ):
        with pytest.raises(ConfigError, match=r"set dataset\.test_fraction=null"):
            data(*words)
