"""Categories that are rare in the training part become one, other: which, by whose rows, and what new ones become."""

from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml

from dlrun.cli import main
from dlrun.config.search_path import packaged_configs
from dlrun.config.settings import DataSettings
from dlrun.data.prepare import prepare, preprocessing_from
from dlrun.data.tables.sources import csv
from dlrun.data.tables.table import Rows, Words, rare_bound
from dlrun.errors import noted
from dlrun.models.columns import Embedded

OPTION = yaml.safe_load((packaged_configs() / "dataset/table.yaml").read_text(encoding="utf-8"))
SHARED = ("_target_", "val_fraction", "test_fraction", "split_seed", "normalize", "augment")
SETTINGS = DataSettings(0.2, 0.2, 0, "standard", None)


def prepared(path: Path, words: list[str], **keys):
    rows = (f"{row % 11}.5,{word},{row * 0.25}\n" for row, word in enumerate(words))
    path.write_text("x,c,y\n" + "".join(rows))
    given = {name: value for name, value in OPTION.items() if name not in SHARED}
    table = csv(**{**given, "path": str(path), "target": "y", "categorical": ["c"], **keys})
    return prepare(table, SETTINGS)


def words_of(count: int) -> list[str]:
    """A few common words, and some that come once to six times."""
    rare = [f"r{number}" for number in range(12) for _ in range(1 + number % 6)]
    return [
        rare[row // 3] if row % 3 == 0 and row // 3 < len(rare) else "abc"[row % 3]
        for row in range(count)
    ]


def test_the_rows_of_the_training_part_alone_decide(tmp_path):
    words = words_of(200)
    data = prepared(tmp_path / "t.csv", words, rare_below=4)
    counts = Counter(words[row] for row in data.origin.parts["train"])
    kept = sorted(word for word, count in counts.items() if count >= 4)
    assert data.preprocessing.levels == [kept] and data.preprocessing.other == [True]
    # Some are rare in the training part alone: the other parts must not count.
    assert any(counts[word] < 4 <= count for word, count in Counter(words).items())
    other = len(kept) + 1
    assert data.spec.categories == (other + 1,)
    for part in ("train", "val", "test"):
        codes = data.split(part).inputs[:, 1].int().tolist()
        expected = [words[row] for row in data.origin.parts[part]]
        assert codes == [kept.index(word) + 1 if word in kept else other for word in expected]
    rows = sum(count for count in counts.values() if count < 4)
    rare = sum(count < 4 for count in counts.values())
    said = f"{rare} of {len(counts)} in column c ({rows / len(data.train):.1%} of the rows)"
    assert (
        f"categories with fewer than 4 training rows are read as one, other: {said}" in noted()[-1]
    )


def test_new_and_rare_words_share_a_code_that_is_trained(tmp_path):
    data = prepared(tmp_path / "t.csv", words_of(200), rare_below=4)
    encoding = preprocessing_from(data.preprocessing.to_dict())
    assert encoding == data.preprocessing
    new = Rows(
        [torch.zeros(3).double().numpy()],
        [Words(torch.tensor([0, 1, -1]).numpy(), ["r0", "new"], ["r0", "new"])],
    )
    other = len(encoding.levels[0]) + 1
    assert encoding.inputs(new)[:, 1].tolist() == [other] * 3
    layer = Embedded(data.spec, size=2)
    layer(data.train.inputs).sum().backward()
    assert (layer.tables[0].weight.grad[1:] != 0).all() and not layer.tables[0].weight.grad[0].any()


def test_without_a_bound_new_words_are_zeros_as_in_encodings_of_earlier_versions(tmp_path):
    data = prepared(tmp_path / "t.csv", words_of(200), rare_below=0)
    assert data.preprocessing.other == [False]
    assert data.spec.categories == (len(data.preprocessing.levels[0]) + 1,)
    older = data.preprocessing.to_dict()
    del older["other"]
    encoding = preprocessing_from(older)
    new = Rows(
        [torch.zeros(2).double().numpy()],
        [Words(torch.tensor([0, 1]).numpy(), ["a", "new"], ["a", "new"])],
    )
    assert encoding.inputs(new)[:, 1].tolist() == [1, 0]
    assert encoding.categories == data.spec.categories


def test_a_missing_category_is_joined_where_it_is_rare(tmp_path):
    words = ["ab"[row % 2] if row % 25 else "" for row in range(200)]
    assert prepared(tmp_path / "t.csv", words, rare_below=9).preprocessing.levels == [["a", "b"]]
    assert prepared(tmp_path / "t.csv", words, rare_below=0).preprocessing.levels == [
        ["a", "b", None]
    ]


def test_auto_joins_in_columns_of_thousands_alone(tmp_path):
    assert [rare_bound("auto", many) for many in (2, 1000, 1001)] == [0, 0, 10]
    words = [f"w{row % 2000}" if row % 4 else "usual" for row in range(6000)]
    data = prepared(tmp_path / "t.csv", words)
    assert data.preprocessing.levels == [["usual"]] and data.spec.categories == (3,)
    few = prepared(tmp_path / "t.csv", [f"w{row % 200}" for row in range(600)])
    assert few.preprocessing.other == [False] and len(few.preprocessing.levels[0]) > 180


@pytest.mark.parametrize("model", ["mlp", "wide_deep"])
def test_a_run_predicts_the_same_for_new_words_as_for_rare_ones(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    words = words_of(200)
    rows = [f"{row % 11}.5,{word},{row * 0.25}" for row, word in enumerate(words)]
    Path("t.csv").write_text("\n".join(["x,c,y", *rows]))
    Path("new.csv").write_text("x,c\n1.5,r0\n1.5,never\n1.5,a\n")
    assert main([
        "train", "dataset=table", "dataset.path=t.csv", "dataset.target=y", "dataset.rare_below=4", f"model={model}",
        "trainer.max_epochs=2", "trainer.num_threads=1", "tracking.tensorboard=false", "hydra.run.dir=run",
    ]) == 0  # fmt: skip
    assert "are read as one, other" in Path("run/train.log").read_text()
    assert main(["predict", "run", "new.csv", "--output", "out.csv"]) == 0
    rare, never, common = (
        line.rpartition(",")[2] for line in Path("out.csv").read_text().split()[1:]
    )
    assert rare == never != common
