"""Data changed under a run: refused in one line by what would measure or train on, and nothing is written."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dlrun.cli import main

FEW = [
    "trainer.num_threads=1",
    "trainer.max_epochs=1",
    "tracking.tensorboard=false",
    "hydra.run.dir=run",
]
WORDS = {"good": "fine great lovely", "bad": "awful dull weak", "so": "fair even plain"}
Change = Callable[[], object]


def table(*, blue: str = "blue", last: str = "size", rows: int = 60, kinds: str = "xyz") -> str:
    lines = [f"colour,size,{last},kind" if last != "size" else "colour,size,kind"]
    for row in range(rows):
        more = f",{row % 7}.5" if last != "size" else ""
        lines.append(f"{['red', blue][row % 2]},{row * 37 % 11}.5{more},{kinds[row % 3]}")
    return "\n".join(lines) + "\n"


def texts(*, fine: str = "fine", so: str = "so") -> str:
    rng, rows = random.Random(0), ["label,body"]
    for row in range(60):
        label = list(WORDS)[row % 3]
        said = " ".join(rng.choice([*WORDS[label].split(), "the", "film"]) for _ in range(5))
        rows.append(f"{so if label == 'so' else label},{said.replace('fine', fine)}")
    return "\n".join(rows) + "\n"


def waves(value: float = 0.0) -> str:
    rows = [f"{t},{math.sin(t / 3) + (value if t == 30 else 0):.4f},{t % 5}" for t in range(90)]
    return "t,v,w\n" + "\n".join(rows) + "\n"


PROSE = "the quick brown fox jumps over the lazy dog.\n" * 40


def write(file: str, text: str) -> Change:
    return lambda: Path(file).write_text(text)


def swapped(text: str, first: int, second: int) -> str:
    """The same header over two columns of values that have changed places."""
    head, *rows = text.splitlines()
    cells = [row.split(",") for row in rows]
    for row in cells:
        row[first], row[second] = row[second], row[first]
    return "\n".join([head, *(",".join(row) for row in cells)]) + "\n"


def shuffled(text: str) -> str:
    head, *rows = text.splitlines()
    random.Random(1).shuffle(rows)
    return "\n".join([head, *rows]) + "\n"


def images(*, cat: str = "cat", bright: int = 0) -> None:
    shutil.rmtree("photos", ignore_errors=True)
    rng = np.random.default_rng(0)
    for name in (cat, "dog"):
        Path("photos", name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 200, (6, 6), np.uint8) + np.uint8(bright * (number == 3))
            Image.fromarray(pixels).save(f"photos/{name}/{number:02}.png")


def named_images(*, bright: int = 0, last: float = 1.0) -> None:
    images(bright=bright)
    files = sorted(map(str, Path("photos").rglob("*.png")))
    values = [*(number / 3 for number in range(len(files) - 1)), last]
    rows = [f"{file},{value}" for file, value in zip(files, values, strict=True)]
    write("d.csv", "\n".join(["file,size", *rows]))()


def code(values: str = "rng.normal(size=(60, 3))", names: str = "('a', 'b', 'c')") -> None:
    Path("my_rows.py").write_text(
        "import numpy as np\nfrom pathlib import Path\nfrom dlrun.data.arrays.source import Source\n"
        "def load() -> Source:\n"
        "    text = Path('my_rows.txt').read_text().split('|')\n"
        "    rng = np.random.default_rng(0)\n"
        "    x, names = eval(text[0]), eval(text[1])\n"
        "    y = np.arange(len(x)) % len(names)\n"
        "    return Source(x + 0.0, y, 'classification', 'features', names)\n"
    )
    Path("my_rows.txt").write_text(f"{values}|{names}")


KINDS: dict[str, tuple[Change, list[str]]] = {
    "csv": (
        write("d.csv", table()),
        ["dataset=csv", "dataset.path=d.csv", "dataset.target=kind", "model=linear"],
    ),
    "text_csv": (
        write("d.csv", texts()),
        ["dataset=text_csv", "dataset.path=d.csv", "dataset.text=body", "dataset.label=label",
         "model=bag_of_words"],
    ),
    "series": (
        write("d.csv", waves()),
        ["dataset=series", "dataset.path=d.csv", "dataset.target=v", "dataset.time=t", "model=linear"],
    ),
    "char_lm": (
        write("d.txt", PROSE),
        ["dataset=char_lm", "dataset.path=d.txt", "dataset.window=16", "model=char_rnn", "model.hidden_size=8"],
    ),
    "image_folder": (
        images,
        ["dataset=image_folder", "dataset.path=photos", "dataset.workers=0", "model=linear"],
    ),
    "image_table": (
        named_images,
        ["dataset=image_table", "dataset.path=d.csv", "dataset.target=size", "dataset.workers=0",
         "model=linear"],
    ),
    "code": (code, ["dataset=mine", "model=linear"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with a finished run, one for each kind of data, made when asked for."""

    class Made(dict[str, Path]):
        def __missing__(self, kind: str) -> Path:
            folder = self[kind] = tmp_path_factory.mktemp(kind)
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                make, words = KINDS[kind]
                Path("configs/dataset").mkdir(parents=True)
                Path("configs/dataset/mine.yaml").write_text(
                    "_target_: my_rows.load\nval_fraction: 0.2\ntest_fraction: 0.2\nsplit_seed: 0\n"
                    "normalize: standard\naugment: null\n"
                )
                make()
                patch.syspath_prepend(folder)
                assert main(["train", *words, *FEW]) == 0
            return folder

    return Made()


def snapshot(folder: Path = Path("run")) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


CHANGES: dict[str, tuple[str, Change, str]] = {
    "a category renamed": ("csv", write("d.csv", table(blue="zinc")), "training, validation and test parts"),
    "a class renamed": ("csv", write("d.csv", table(kinds="xyw")), "they no longer have z and now have w"),
    "one class less": ("csv", write("d.csv", table(kinds="xyx")), "no longer have z"),
    "columns swapped": ("csv", write("d.csv", swapped(table(), 0, 1)), "columns"),
    "one column more": ("csv", write("d.csv", table(last="more")), "columns have changed since this run"),
    "rows shuffled": ("csv", write("d.csv", shuffled(table())), "other content"),
    "one row more": ("csv", write("d.csv", table(rows=61)), "which has 61 rows, but had 60 when this run began"),
    "rows gone": ("csv", write("d.csv", table(rows=30)), "which has 30 rows"),
    "the target gone": ("csv", write("d.csv", texts()), "no column of"),
    "the file gone": ("csv", lambda: Path("d.csv").unlink(), "does not exist"),
    "words of texts changed": ("text_csv", write("d.csv", texts(fine="swell")), "60 rows then, 60 now, other"),
    "a class of texts renamed": ("text_csv", write("d.csv", texts(so="a")), "no longer have so and now have a"),
    "one value of a series": ("series", write("d.csv", waves(0.5)), "training part is not the one"),
    "columns of a series swapped": ("series", write("d.csv", swapped(waves(), 1, 2)), "other content"),
    "a letter of a text": ("char_lm", write("d.txt", PROSE[:-9] + "L" + PROSE[-8:]), "whose test part is not the one"),
    "a text cut": ("char_lm", write("d.txt", PROSE[:-9]), "rows, but had"),
    "a class folder renamed": ("image_folder", lambda: images(cat="zcat"), "no longer have cat and now have zcat"),
    "an image changed": ("image_folder", lambda: images(bright=50), "other content"),
    "an image more": ("image_folder", lambda: shutil.copy("photos/cat/00.png", "photos/cat/99.png"), "25 rows"),
    "an image that a table names": ("image_table", lambda: named_images(bright=50), "other content"),
    "what a table says of an image": ("image_table", lambda: named_images(last=2.0), "other content"),
    "code with other values": ("code", lambda: code("rng.normal(size=(60, 3)) + np.eye(60, 3)"), "my_rows.load, whose"),
    "code with more columns": ("code", lambda: code("rng.normal(size=(60, 4))"), "shape"),
    "code with other classes": ("code", lambda: code(names="('a', 'b')"), "no longer have c"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_changed_data_are_refused_in_one_line_and_nothing_is_written(
    change: str,
    trained: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind, alter, message = CHANGES[change]
    monkeypatch.chdir(shutil.copytree(trained[kind], tmp_path / "here"))
    monkeypatch.syspath_prepend(trained[kind])
    moved = {"csv": "d.csv", "char_lm": "d.txt", "image_folder": "photos"}
    place = moved.get(kind, "d.csv")
    where = [] if kind == "code" else [f"dataset.path={place}"]
    alter()
    before = snapshot()
    capsys.readouterr()
    for command in (["eval", "run", *where], ["resume", "run", "trainer.max_epochs=2", *where]):
        assert main(command) == 2, command
        *notes, said = capsys.readouterr().err.splitlines()
        assert message in said
        assert said.startswith("dlrun: error: ")
        assert not any("error" in line for line in notes)
        assert snapshot() == before


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_data_elsewhere_are_the_same(
    kind: str,
    trained: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(shutil.copytree(trained[kind], tmp_path / "here"))
    monkeypatch.syspath_prepend(trained[kind])
    where = [word for word in KINDS[kind][1] if word.startswith("dataset.path=")]
    capsys.readouterr()
    assert main(["eval", "run", "--json", *where]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]
    own = json.loads(Path("run/summary.json").read_text())["best"]["metrics"]
    assert found == pytest.approx({name: own[name] for name in found}, rel=1e-5)
    assert main(["resume", "run", "trainer.max_epochs=2", *where]) == 0


def test_line_ends_are_no_content(
    trained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shutil.copytree(trained["csv"], tmp_path / "here"))
    Path("d.csv").write_bytes(table().replace("\n", "\r\n").encode())
    assert main(["eval", "run", "dataset.path=d.csv"]) == 0


def test_a_run_of_an_earlier_version_is_measured_and_it_is_said_that_its_data_could_not_be_checked(
    trained: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(shutil.copytree(trained["csv"], tmp_path / "here"))
    for file in Path("run/checkpoints").iterdir():
        state = torch.load(file, weights_only=True)
        del state["origin"]
        torch.save(state, file)
    capsys.readouterr()
    assert main(["eval", "run", "dataset.path=d.csv"]) == 0
    assert "run has no fingerprint of its data" in capsys.readouterr().err
    Path("d.csv").write_text(table(last="more"))
    assert main(["eval", "run", "dataset.path=d.csv"]) == 2
    assert "columns have changed" in capsys.readouterr().err


def test_a_sweep_goes_on_with_the_data_that_it_began_with_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("d.csv").write_text(table())
    words = [*KINDS["csv"][1], *FEW[:3], "hydra.sweep.dir=sweep", "sweep=random", "sweep.trials=2"]
    assert main(["train", *words, "optimizer.lr=interval(0.001,0.1)"]) == 0
    before = snapshot(Path("sweep"))
    Path("d.csv").write_text(table(blue="zinc"))
    capsys.readouterr()
    assert main(["resume", "sweep", "sweep.trials=3"]) == 2
    said = capsys.readouterr().err
    assert "are not those that this sweep began with (60 rows then, 60 now, other content)" in said
    assert said.count("\n") == 1
    assert snapshot(Path("sweep")) == before
    Path("d.csv").write_text(table())
    assert main(["resume", "sweep", "sweep.trials=3"]) == 0
