"""`dlrun eval RUN dataset.test_path=FILE`: new rows measured by the encoding that the run has learned."""

from __future__ import annotations

import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dlrun.cli import main

FEW = [
    "trainer.num_threads=1",
    "trainer.max_epochs=2",
    "tracking.tensorboard=false",
    "hydra.run.dir=run",
]


def train(*words: str) -> None:
    assert main(["train", *words, *FEW]) == 0


def own_metrics() -> dict[str, float]:
    metrics = json.loads(Path("run/summary.json").read_text())["best"]["metrics"]
    return {name: value for name, value in metrics.items() if name.startswith("test/")}


def rows_of(part: str) -> np.ndarray:
    """The row numbers of a part, as the run keeps them."""
    origin = torch.load("run/checkpoints/best.pt", weights_only=True)["origin"]
    sizes = [origin["parts"][name] for name in ("train", "val", "test")]
    if isinstance(sizes[0], list):
        return np.arange(*sizes[("train", "val", "test").index(part)])
    parts = dict(zip(("train", "val", "test"), origin["drawn"].split(sizes), strict=True))
    return parts[part].numpy()


def measured(capsys: pytest.CaptureFixture[str], given: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["eval", "run", "--json", f"dataset.test_path={given}"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["eval", "run", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


HEAD = "colour,size,weight,price,kind"


def table() -> list[str]:
    rng, rows = random.Random(0), []
    for row in range(80):
        size = rng.random()
        colour = rng.choice(["red", "blue", ""])
        price = 3 * size + 5 * (colour == "red") + rng.random()
        rows.append(f"{colour},{size:.3f},{row % 7},{price:.3f},{'a' if price > 3 else 'b'}")
    return rows


@pytest.mark.parametrize("target", ["price", "kind"])
def test_the_rows_of_the_test_part_in_a_file_of_their_own_give_the_runs_own_metrics(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = table()
    Path("d.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    train("dataset=csv", "dataset.path=d.csv", f"dataset.target={target}", "model=mlp")
    tested = [rows[row] for row in rows_of("test")]
    Path("d.csv").unlink()  # what was learned from it is kept
    # In another order of columns, which go by their names; what is not read may be there as well.
    cells = [[*reversed(row.split(",")), "0"] for row in tested]
    head = [*reversed(HEAD.split(",")), "more"]
    Path("new.csv").write_text("\n".join(";".join(row) for row in [head, *cells]) + "\n")
    Path("same.csv").write_text("\n".join([HEAD, *tested]) + "\n")
    found = measured(capsys, "same.csv")
    assert found["metrics"] == pytest.approx(own_metrics(), rel=1e-5)
    assert (found["rows"], found["file"]) == (len(tested), "same.csv")
    own = json.loads(Path("run/summary.json").read_text())["baselines"]
    for name, values in own.items():
        assert found["baselines"][name] == pytest.approx(values, rel=1e-3)
    Path("new.csv").write_text("\n".join(",".join(row) for row in [head, *cells]) + "\n")
    assert measured(capsys, "new.csv")["metrics"] == pytest.approx(own_metrics(), rel=1e-5)


def test_mistakes_in_new_rows_are_one_line_and_rows_without_target_are_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = table()
    Path("d.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    train("dataset=csv", "dataset.path=d.csv", "dataset.target=kind", "model=linear")
    new = Path("new.csv")

    def refusal(*lines: str) -> str:
        new.write_text("\n".join(lines) + "\n")
        return refused(capsys, "dataset.test_path=new.csv")

    assert "row 3, column kind: c is no class" in refusal(HEAD, rows[0], "red,1,2,3,c")
    assert "row 2, column size: big is not a number" in refusal(HEAD, "red,big,2,3,a")
    assert "no column size" in refusal("colour,weight,price,kind", "red,2,3,a")
    assert "no column kind" in refusal("colour,size,weight,price", "red,1,2,3")
    assert "its columns are 2" in refusal("1,2", "3,4")
    new.write_text("\n".join([HEAD, *rows[:4], "red,1,2,3,", "green,1,2,3,a"]) + "\n")
    drop = "dataset.drop_missing_target=true"
    assert f"1 of 6 rows have no kind: row 6; set {drop}" in refused(
        capsys, "dataset.test_path=new.csv"
    )
    assert "for the new rows of dataset.test_path" in refused(capsys, drop)
    assert main(["eval", "run", "dataset.test_path=new.csv", drop]) == 0
    said = capsys.readouterr()
    assert "1 of 6 rows" in said.err
    assert "on new.csv, 5 rows" in said.out
    assert "majority class" in said.out
    assert "does not exist" in refused(capsys, "dataset.test_path=none.csv")
    assert "are all a test" in refused(capsys, "dataset.test_path=new.csv", "split=val")
    both = refused(capsys, "dataset.test_path=new.csv", "dataset.path=d.csv")
    assert "leave out dataset.path" in both


def test_a_table_with_a_test_file_of_its_own_keeps_it_and_takes_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = table()
    Path("d.csv").write_text("\n".join([HEAD, *rows[:60]]) + "\n")
    Path("own.csv").write_text("\n".join([HEAD, *rows[60:]]) + "\n")
    words = ["dataset.path=d.csv", "dataset.test_path=own.csv", "dataset.test_fraction=null"]
    train("dataset=csv", *words, "dataset.target=price", "model=linear")
    assert measured(capsys, "own.csv")["metrics"] == pytest.approx(own_metrics(), rel=1e-5)
    Path("own.csv").rename("moved.csv")
    capsys.readouterr()
    assert main(["eval", "run", *words[:1], "dataset.test_path=moved.csv", "split=train"]) == 0
    Path("moved.csv").write_text("\n".join([HEAD, *rows[59:79]]) + "\n")
    said = refused(capsys, *words[:1], "dataset.test_path=moved.csv")
    assert "whose test part is not the one that this run began with (20 rows then, 20 now" in said


def test_a_named_set_whose_test_labels_end_in_a_full_stop(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def rows(count: int, end: str) -> str:
        rng, middle = random.Random(count), "9, Married, Sales, Husband, White, Male, 0, 0, 40, US"
        lines = []
        for _ in range(count):
            age, school = rng.randint(20, 60), rng.choice(["HS", "BA"])
            income = "<=50K" if age < 40 else ">50K"
            lines.append(f"{age}, Private, 1000, {school}, {middle}, {income}{end}\n")
        return "".join(lines)

    Path("tabular").mkdir()
    Path("tabular/adult-train.csv").write_text(rows(60, ""))
    Path("tabular/adult-test.csv").write_text(rows(30, "."))
    train("dataset=census", "dataset.root=.", "model=logistic")
    assert measured(capsys, "tabular/adult-test.csv")["metrics"] == pytest.approx(own_metrics())
    Path("tabular").rename("moved")
    Path("new.csv").write_text(rows(30, ""))  # the full stop need not be there
    assert measured(capsys, "new.csv")["metrics"] == pytest.approx(own_metrics())


@pytest.mark.parametrize("form", ["text_lines", "text_csv"])
def test_new_texts(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    rng, between = random.Random(0), "\t" if form == "text_lines" else ","
    words = {"good": "fine great film", "bad": "dull weak film", "so": "fair plain film"}
    rows = []
    for row in range(60):
        label = list(words)[row % 3]
        rows.append(f"{label}{between}{' '.join(rng.choices(words[label].split(), k=4))}")
    head = [] if form == "text_lines" else ["label,body"]
    Path("d.txt").write_text("\n".join([*head, *rows]) + "\n")
    names = [] if form == "text_lines" else ["dataset.text=body", "dataset.label=label"]
    train(f"dataset={form}", "dataset.path=d.txt", *names, "model=bag_of_words")
    Path("new.txt").write_text("\n".join([*head, *(rows[row] for row in rows_of("test"))]) + "\n")
    found = measured(capsys, "new.txt")
    assert found["metrics"] == pytest.approx(own_metrics(), rel=1e-5)
    assert found["baselines"]["majority class"]["accuracy"] == pytest.approx(1 / 3, abs=0.05)
    Path("new.txt").write_text("\n".join([*head, *rows[:3], f"god{between}fine"]) + "\n")
    said = refused(capsys, "dataset.test_path=new.txt")
    assert f"{'row 5' if head else 'line 4'}" in said
    assert "the label god is none of this run's; did you mean good?" in said


def test_new_rows_of_a_series_bring_their_own_history(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{t},{math.sin(t / 3) + t / 50:.4f}" for t in range(120)]
    Path("d.csv").write_text("\n".join(["t,v", *rows]) + "\n")
    words = ["dataset.path=d.csv", "dataset.target=v", "dataset.time=t", "dataset.horizon=2"]
    train("dataset=series", *words, "dataset.window=6", "model=linear")
    first = int(rows_of("test")[0])
    Path("new.csv").write_text("\n".join(["t,v", *rows[first - 6 :]]) + "\n")
    found = measured(capsys, "new.csv")
    assert found["metrics"] == pytest.approx(own_metrics(), rel=1e-4)
    assert found["rows"] == 120 - first - 1
    own = json.loads(Path("run/summary.json").read_text())["baselines"]
    assert found["baselines"]["persistence"] == pytest.approx(own["persistence"])
    Path("new.csv").write_text("\n".join(["t,v", *rows[:7]]) + "\n")
    assert "has 7 rows, but this run needs 6 to forecast from, and 2 to forecast" in refused(
        capsys, "dataset.test_path=new.csv"
    )


def test_a_new_text_for_a_language_model(capsys: pytest.CaptureFixture[str]) -> None:
    text = "the quick brown fox jumps over the lazy dog.\n" * 40
    Path("d.txt").write_text(text)
    model = ["model=char_rnn", "model.hidden_size=8"]
    train("dataset=char_lm", "dataset.path=d.txt", "dataset.window=16", *model)
    tested = rows_of("test")
    Path("new.txt").write_text(text[tested[0] : tested[-1] + 1])
    assert measured(capsys, "new.txt")["metrics"] == pytest.approx(own_metrics(), rel=1e-5)


def test_a_folder_of_new_images_whose_classes_go_by_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = np.random.default_rng(0)
    files = []
    for name in ("cat", "dog"):
        Path("photos", name).mkdir(parents=True)
        for number in range(15):
            files.append(Path("photos", name, f"{number:02}.png"))
            pixels = rng.integers(0, 200, (6, 6), np.uint8)
            Image.fromarray(pixels).save(files[-1])
    train("dataset=image_folder", "dataset.path=photos", "dataset.workers=0", "model=linear")
    for row in rows_of("test"):
        Path("new", files[row].parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(files[row], Path("new", files[row].parent.name))
    found = measured(capsys, "new")
    assert found["metrics"] == pytest.approx(own_metrics(), rel=1e-5)
    shutil.rmtree("new/cat")  # the numbers of classes are the run's, not the folder's
    assert measured(capsys, "new")["confusion"][0] == [0, 0]
    Path("new/dog").rename("new/dogs")
    said = refused(capsys, "dataset.test_path=new")
    assert "new has the class dogs, which this run does not know; did you mean dog?" in said


def test_data_from_code_have_no_file_to_be_measured_on(capsys: pytest.CaptureFixture[str]) -> None:
    train("dataset=iris", "model=linear")
    Path("new.csv").write_text("1,2\n")
    said = refused(capsys, "dataset.test_path=new.csv")
    assert "the data of this run come from code, dlrun.data.arrays.scikit_learn.iris" in said
