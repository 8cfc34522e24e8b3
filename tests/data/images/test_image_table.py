"""A folder of images with a table of labels: which files its rows mean, what is refused, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from dlrun.cli import main
from dlrun.config.search_path import packaged_configs
from dlrun.config.settings import DataSettings
from dlrun.data.images.duplicates import shared
from dlrun.data.images.table import ImageTable, image_table
from dlrun.data.prepare import prepare
from dlrun.errors import ConfigError, noted

SHARED = ("_target_", "val_fraction", "test_fraction", "split_seed", "normalize", "augment")
OPTION = yaml.safe_load((packaged_configs() / "dataset/image_table.yaml").read_text("utf-8"))
KEYS = {key: value for key, value in OPTION.items() if key not in SHARED}
SPLIT = DataSettings(0.1, 0.2, 0, "standard", None)


def read(**keys: Any) -> ImageTable:
    return image_table(**KEYS | {"path": "t.csv", "image": "file", "workers": 0} | keys)


def refusal(**keys: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(**keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(autouse=True)
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve images beside a table of two classes and two quantities."""
    monkeypatch.chdir(tmp_path)
    Path("deep").mkdir()
    rows = ["file,kind,x,y,part"]
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 255, (6, 5), np.uint8)
        Image.fromarray(pixels).save(f"deep/{number}.png")
        name = ("deep/{}.png", "deep\\{}", "deep/{}")[number % 3].format(number)
        part = ("train", "train", "val", "test")[number % 4]
        rows.append(f"{name},{'ab'[number % 2]},{number / 10},{number},{part}")
    Path("t.csv").write_text("\n".join(rows))


def test_names_have_backslashes_or_no_suffix() -> None:
    found = read(target="kind")
    assert [Path(path).name for path in found.train.paths] == [f"{n}.png" for n in range(12)]
    assert found.class_names == ("a", "b") and found.train.targets.tolist() == [0, 1] * 6


def test_several_targets_are_quantities_with_the_parts_of_a_column() -> None:
    raw = read(target=["x", "y"], split_column="part")
    data = prepare(raw, SPLIT)
    assert (data.spec.task, data.spec.num_outputs) == ("regression", 2)
    assert [len(part) for part in (data.train, data.val, data.test)] == [6, 3, 3]
    assert data.preprocessing.target_mean == pytest.approx([0.45, 4.5])
    streamed = prepare(read(target=["x", "y"], split_column="part", in_memory=False), SPLIT)
    assert (streamed.test.inputs[:] == data.test.inputs).all()
    assert (streamed.test.targets == data.test.targets).all()


def test_labels_of_a_test_table_are_equal_by_value_and_in_the_order_of_numbers() -> None:
    head, *rows = Path("t.csv").read_text().splitlines()
    for name, labels in (("t.csv", "9 10"), ("test.csv", "9.0 10.0")):
        found = (
            row.replace(f",{kind},", f",{labels.split()[kind == 'b']},")
            for row in rows
            for kind in "ab"
            if f",{kind}," in row
        )
        Path(name).write_text("\n".join([head, *found]))
    raw = read(target="kind", test_path="test.csv")
    assert raw.class_names == ("9", "10")
    assert raw.train.targets.tolist() == raw.test.targets.tolist() == [0, 1] * 6


def test_rows_without_one_of_the_targets_are_refused_or_left_out() -> None:
    rows = Path("t.csv").read_text().replace("0.3,3,", ",3,").replace("0.7,7,", "0.7,?,")
    Path("t.csv").write_text(rows)
    said = refusal(target=["x", "y"])
    assert (
        "t.csv: 2 of 12 rows have no x or y: rows 5, 9, empty in 1, ? in 1; set dataset.drop_"
        in said
    )
    assert len(read(target=["x", "y"], drop_missing_target=True)) == 10
    assert "2 of 12 rows have no x or y and are left out" in noted()[-1]
    assert len(read(target="kind")) == 12


def test_several_targets_of_two_classes_are_multilabel_and_predictions_have_their_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    head, *rows = Path("t.csv").read_text().split("\n")
    marked = (f"{row},{at // 2 % 2}" for at, row in enumerate(rows))
    Path("t.csv").write_text("\n".join([f"{head},good", *marked]))
    spec = prepare(read(target=["kind", "good"]), SPLIT).spec
    assert spec.task == "multilabel" and spec.classes == (("a", "b"), ("0", "1"))
    few = ["trainer.max_epochs=1", "trainer.num_threads=1", "tracking.tensorboard=false"]
    for target, columns in (
        ("[x,y]", ["prediction_x", "prediction_y"]),
        ("[kind,good]", ["prediction_kind", "prediction_good", "p(kind)", "p(good)"]),
    ):
        words = [
            "dataset=image_table",
            "dataset.path=t.csv",
            "dataset.image=file",
            f"dataset.target={target}",
            "model=mlp",
        ]
        run = f"run_{target[1]}"
        assert main(["train", *words, *few, f"hydra.run.dir={run}"]) == 0
        assert main(["predict", run, "t.csv", "--output", "out.csv"]) == 0
        assert Path("out.csv").read_text().split("\n")[0].split(",")[2:] == columns
        assert main(["eval", run, "dataset.test_path=t.csv"]) == 0
        assert "12 images" in capsys.readouterr().out


def test_a_bad_image_is_refused_with_its_row_or_left_out() -> None:
    whole = Path("deep/3.png").read_bytes()
    Path("deep/3.png").write_bytes(whole[:-40])
    said = refusal(target="kind")
    assert "t.csv, row 5, column file: deep/3.png cannot be opened as an image" in said
    assert "dataset.drop_bad_images=true" in said
    Path("deep/3.png").unlink()
    assert "row 5, column file: deep/3.png is not in deep" in refusal(target="kind")
    assert len(read(target="kind", drop_bad_images=True)) == 11
    assert "1 of 12 rows are left out" in noted()[-1]


def test_damage_in_the_middle_of_a_file_is_found_before_the_training() -> None:
    Path("deep/2.png").unlink()
    Image.new("L", (5, 6), 99).save("deep/2.jpg")
    whole = Path("deep/2.jpg").read_bytes()
    beginning = (
        whole.index(b"\xff\xda") + 10
    )  # of the pixels, into which a second head of them comes
    head = b"\xff\xc0\x00\x0b\x08\x00\x06\x00\x05\x01\x01\x11\x00"
    Path("deep/2.jpg").write_bytes(whole[:beginning] + head + whole[beginning:])
    # Its head and its end are those of an image.
    assert len(read(target="kind", in_memory=False)) == 12
    raw = read(target="kind", in_memory=False, drop_bad_images=True)
    assert len(raw) == 11 and "row 4" in noted()[-1]
    parts = prepare(raw, replace(SPLIT, val_fraction=0.2))
    assert len(parts.train.inputs[:]) == 7  # all can be read


def test_mistakes_name_key_and_remedy() -> None:
    assert "dataset.image and dataset.target both name file" in refusal(target="file")
    assert "dataset.split_column=null" in refusal(target="x", split_column="kind")
    assert "part, which has 3 classes, but several targets must" in refusal(target=["kind", "part"])
    assert "x, which holds quantities, and kind, which holds classes" in refusal(
        target=["x", "kind"]
    )
    assert "a file; give the folder" in refusal(target="x", image_root="t.csv")


def test_copies_in_two_parts_are_found() -> None:
    Path("copy.png").write_bytes(Path("deep/1.png").read_bytes())
    assert [*shared(["deep/0.png", "deep/1.png"], ["copy.png", "deep/2.png"])] == [
        ("copy.png", "deep/1.png")
    ]
