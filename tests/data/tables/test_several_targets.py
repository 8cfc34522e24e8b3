"""Several target columns: quantities, or yes and no of each; a mixture is refused; new rows are read and predicted."""

from __future__ import annotations

import json
import random
from pathlib import Path

import polars as pl
import pytest
import torch
import yaml

from dlrun.cli import main
from dlrun.config.search_path import packaged_configs
from dlrun.config.settings import DataSettings
from dlrun.data.prepare import prepare
from dlrun.data.tables.sources import csv
from dlrun.errors import ConfigError, noted

OPTION = yaml.safe_load((packaged_configs() / "dataset/table.yaml").read_text(encoding="utf-8"))
SHARED = ("_target_", "val_fraction", "test_fraction", "split_seed", "normalize", "augment")
SETTINGS = DataSettings(0.2, 0.2, 0, "standard", None)
HEAD = "size,heat,price,rent,garden,pets,kind"


def rows(count: int = 90) -> list[str]:
    rng = random.Random(0)
    return [
        f"{size},{'gas' if row % 3 else 'oil'},{size * 3000 + row},{size * 9 + rng.random():.2f},"
        f"{'yes' if size > 50 else 'no'},{int(row % 2 == 0)},{'abc'[row % 3]}"
        for row, size in enumerate(rng.randrange(20, 90) for _ in range(count))
    ]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("\n".join([HEAD, *rows()]))


def read(target, **keys):
    given = {name: value for name, value in OPTION.items() if name not in SHARED}
    return csv(**{**given, "path": "t.csv", "target": target, **keys})


def refusal(target, **keys):
    with pytest.raises(ConfigError) as caught:
        read(target, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_several_quantities_are_scaled_each_by_its_own_training_rows():
    data = prepare(read(["price", "rent"], drop=["garden", "pets", "kind"]), SETTINGS)
    spec, encoding = data.spec, data.preprocessing
    assert (spec.task, spec.num_outputs, spec.target_names) == ("regression", 2, ("price", "rent"))
    assert spec.feature_names == ("size", "heat")
    table = pl.read_csv("t.csv")[data.origin.parts["train"].tolist()]
    means = [table["price"].mean(), table["rent"].mean()]
    assert encoding.target_mean == pytest.approx(means)
    tested = pl.read_csv("t.csv")[data.origin.parts["test"].tolist()].select("price", "rent")
    values = encoding.values(data.test.targets.double(), None)
    torch.testing.assert_close(values, tested.to_torch().double(), rtol=1e-5, atol=1e-3)
    baseline = data.baselines["training mean"]
    each = [
        float((tested[name] - mean).abs().mean())
        for name, mean in zip(("price", "rent"), means, strict=True)
    ]
    assert [baseline["mae/price"], baseline["mae/rent"]] == pytest.approx(each, rel=1e-4)
    assert baseline["mae"] == pytest.approx(sum(each) / 2, rel=1e-4)


def test_several_targets_of_two_classes_are_multilabel():
    data = prepare(read(["garden", "pets"]), SETTINGS)
    spec = data.spec
    assert (spec.task, spec.num_outputs, spec.class_names) == ("multilabel", 2, ())
    assert spec.classes == (("no", "yes"), ("0", "1")) and spec.target_names == ("garden", "pets")
    table = pl.read_csv("t.csv")[data.origin.parts["test"].tolist()]
    truths = torch.stack([(table["garden"] == "yes").to_torch(), table["pets"].to_torch()], 1)
    assert torch.equal(data.test.targets, truths.float())
    train = pl.read_csv("t.csv")[data.origin.parts["train"].tolist()]
    most = torch.tensor(
        [float((train["garden"] == "yes").mean() > 0.5), float(train["pets"].mean() > 0.5)]
    )
    right = data.test.targets == most
    baseline = data.baselines["majority class"]
    assert baseline["accuracy/garden"] == pytest.approx(right[:, 0].double().mean().item())
    assert baseline["accuracy"] == pytest.approx(right.double().mean().item())
    assert baseline["exact_match"] == pytest.approx(right.all(1).double().mean().item())


def test_numbers_of_two_values_are_quantities_where_that_is_said():
    data = prepare(read(["price", "pets"], task="regression"), SETTINGS)
    assert data.spec.task == "regression" and len(data.preprocessing.target_std) == 2


def test_mixtures_and_other_mistakes_are_refused():
    both = "dataset.target names price, which holds quantities, and garden, which holds classes; predict each"
    assert both in refusal(["price", "garden"]) and both in refusal(["garden", "price"])
    assert "set dataset.task=regression where all are quantities, or predict" in refusal(
        ["price", "pets"]
    )
    assert "kind, which has 3 classes, but several targets must" in refusal(["garden", "kind"])
    assert "is an empty list" in refusal([])
    assert "dataset.target names rent twice" in refusal(["rent", 4])
    assert "dataset.drop names rent, which dataset.target names too" in refusal(
        ["price", "rent"], drop=["rent"]
    )


def test_a_row_needs_all_targets():
    lines = rows()
    lines[4] = lines[4].replace(",yes,", ",,").replace(",no,", ",,")
    lines[7] = lines[7].rpartition(",")[0][:-1] + "?," + "a"
    Path("t.csv").write_text("\n".join([HEAD, *lines]))
    assert "t.csv: 2 of 90 rows have no garden or pets: rows 6, 9," in refusal(["garden", "pets"])
    assert len(read(["garden", "pets"], drop_missing_target=True)) == 88


def test_a_part_without_yes_of_a_target_is_said():
    lines = [
        row.replace(",yes,", ",no,") if at else row.replace(",no,", ",yes,")
        for at, row in enumerate(rows())
    ]
    Path("t.csv").write_text("\n".join([HEAD, *lines]))
    prepare(read(["garden", "pets"]), SETTINGS)
    assert "a class of garden has too few rows for every part: yes has none to" in noted()[-1]


def train(*words: str) -> dict[str, float]:
    few = [
        "trainer.num_threads=1",
        "trainer.max_epochs=3",
        "tracking.tensorboard=false",
        "hydra.run.dir=run",
    ]
    assert main(["train", "dataset=table", "dataset.path=t.csv", "model=mlp", *words, *few]) == 0
    return json.loads(Path("run/summary.json").read_text())


def test_a_run_on_quantities_measures_and_predicts_each(capsys):
    found = train(
        "dataset.target=[price,rent]",
        "dataset.drop=[garden,pets,kind]",
        "trainer.monitor=val/mae/rent",
    )
    assert found["monitor"] == "val/mae/rent" and found["mode"] == "min"
    measured = found["best"]["metrics"]
    for name in ("loss", "rmse", "mae", "r2"):
        each = [measured[f"test/{name}/{target}"] for target in ("price", "rent")]
        assert measured[f"test/{name}"] == pytest.approx(sum(each) / 2, rel=1e-5)
    origin = torch.load("run/checkpoints/best.pt", weights_only=True)["origin"]
    sizes = [origin["parts"][name] for name in ("train", "val", "test")]
    tested = origin["drawn"].split(sizes)[2].tolist()
    table = pl.read_csv("t.csv")[tested]
    table.reverse().select(reversed(table.columns)).write_csv("new.csv")
    capsys.readouterr()
    assert main(["eval", "run", "--json", "dataset.test_path=new.csv"]) == 0
    own = {name: value for name, value in measured.items() if name.startswith("test/")}
    assert json.loads(capsys.readouterr().out)["metrics"] == pytest.approx(own, rel=1e-4)
    table.write_csv("new.csv")
    for output in ("out.csv", "out.parquet"):
        assert main(["predict", "run", "new.csv", "--output", output]) == 0
        predicted = pl.read_csv(output) if output.endswith("csv") else pl.read_parquet(output)
        assert predicted.columns == ["input", "row", "prediction_price", "prediction_rent"]
        for target in ("price", "rent"):
            mae = float((predicted[f"prediction_{target}"] - table[target]).abs().mean())
            assert mae == pytest.approx(measured[f"test/mae/{target}"], rel=1e-4)


def test_a_run_on_yes_and_no_measures_and_predicts_each(capsys):
    found = train(
        "dataset.target=[garden,pets]", "dataset.drop=[price,rent]", "loss.label_smoothing=0.1"
    )
    measured = found["best"]["metrics"]
    each = [measured[f"test/accuracy/{target}"] for target in ("garden", "pets")]
    assert measured["test/accuracy"] == pytest.approx(sum(each) / 2)
    assert measured["test/exact_match"] <= min(each)
    assert {"test/f1", "test/f1/garden", "test/roc_auc/pets"} <= {*measured}
    Path("new.csv").write_text("heat,size,kind\ngas,80,a\noil,21,b\n")
    assert main(["predict", "run", "new.csv", "--output", "out.json"]) == 0
    first, second = json.loads(Path("out.json").read_text())
    for record in (first, second):
        for target, labels in (("garden", ("no", "yes")), ("pets", ("0", "1"))):
            assert record["prediction"][target] == labels[record["probabilities"][target] > 0.5]
    assert first["prediction"]["garden"] == "yes" and second["prediction"]["garden"] == "no"
    assert main(["predict", "run", "new.csv", "--output", "out.csv"]) == 0
    assert pl.read_csv("out.csv").columns[2:] == [
        "prediction_garden",
        "prediction_pets",
        "p(garden)",
        "p(pets)",
    ]
    capsys.readouterr()
    assert main(["predict", "run", "new.csv"]) == 0
    assert "garden yes (" in capsys.readouterr().out
    # Labels of a new file are equal by value, as those of one target.
    lines = (
        row.replace(",yes,", ",Yes,").replace(",1,", ",1.0,").replace(",0,", ",0.0,")
        for row in rows()
    )
    Path("new.csv").write_text("\n".join([HEAD, *lines]))
    assert main(["eval", "run", "dataset.test_path=new.csv"]) == 0
    assert "on new.csv, 90 rows" in capsys.readouterr().out
