from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dlrun.commands.inspect import main
from dlrun.data.inspection.series import find_seasons
from dlrun.errors import ConfigError

Dlrun = Callable[..., Any]


def inspected(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.fixture
def people(project: Path) -> str:
    lines = ["id,age,sex,gender,joined,fixed,pay,taxed,note,income"]
    for row in range(120):
        sex, pay = row % 3 == 0, (row * 37) % 101
        age = "" if row == 5 else f"{20 + row * 7 % 50}"
        lines.append(
            f"k{row},{age},{'f' if sex else 'm'},{'female' if sex else 'male'},2024-01-{row % 28 + 1:02},7,"
            f"{pay},{pay * 1.5},a note of more than five words {row},{'high' if pay > 40 else 'low'}"
        )
    lines.append(lines[1].replace("k0", "k120"))
    Path("people.csv").write_text("\n".join(lines) + "\n")
    Path("test.csv").write_text("\n".join([*lines[:4], lines[5].replace(",m,male", ",f,female")]))
    return "people.csv"


class TestTables:
    def test_rare_categories_are_counted(
        self, people: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = inspected(capsys, people, "dataset.rare_below=50", "dataset.categorical=[sex,age]")
        reasons = {one["name"]: one["reason"] for one in found["table"]["columns"]}
        assert (
            reasons["sex"] == "dataset.categorical names it, 1 in fewer than 50 rows, read as one"
        )
        assert "50 in fewer than 50 rows, read as one" in reasons["age"]
        assert reasons["gender"] == "words, 1 in fewer than 50 rows, read as one"

    def test_rows_without_a_target_become_a_setting_of_the_command(
        self, people: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = inspected(capsys, people, "--target", "age")
        assert found["target"]["missing"] == 1 and found["error"] == ""
        assert "dataset.drop_missing_target=true" in found["command"]
        assert any("1 of 121 rows have no age and are left out" in one for one in found["notes"])
        assert "drop_missing_target" not in inspected(capsys, people)["command"]
        found = inspected(capsys, people, "--target", "age", "dataset.drop_missing_target=false")
        assert "1 of 121 rows have no age: row 7; set" in found["error"]

    def test_columns(self, people: str, capsys: pytest.CaptureFixture[str]) -> None:
        found = inspected(capsys, people)
        columns = {one["name"]: one for one in found["table"]["columns"]}
        assert {name: one["kind"] for name, one in columns.items()} == {
            "id": "identifier", "age": "number", "sex": "category", "gender": "category", "joined": "date",
            "fixed": "constant", "pay": "number", "taxed": "number", "note": "text", "income": "category",
        }  # fmt: skip
        assert (columns["age"]["missing"], columns["age"]["distinct"]) == (1, 50)
        assert columns["sex"]["values"] == "m 66%, f 34%"
        assert columns["note"]["as_target"] == ""
        assert found["table"]["rows"] == 121
        assert found["table"]["constant"] == ["fixed"]
        assert found["table"]["identifiers"] == ["id"]
        assert found["table"]["same_columns"] == [["sex", "gender"]]
        assert found["table"]["duplicate_rows"] == 1
        assert any("column joined holds dates" in note for note in found["notes"])

    def test_words_by_the_day_are_classes_and_numbers_by_the_day_a_series(
        self, project: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rows = [f"2024-02-{day:02},{day % 7},{'ab'[day % 3 == 0]}" for day in range(1, 29)]
        Path("days.csv").write_text("\n".join(["when,sold,kind", *rows]))
        kinds = [
            inspected(capsys, "days.csv", "--target", name)["kind"] for name in ("sold", "kind")
        ]
        assert kinds == ["series", "table"]

    def test_target_and_what_reveals_it(
        self, people: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = inspected(capsys, people)
        assert found["target"]["name"] == "income"
        assert sum(found["target"]["classes"].values()) == 121
        assert [one["column"] for one in found["leaks"]] == ["pay", "taxed"]
        found = inspected(capsys, people, "--target", "pay")
        assert found["leaks"] == [{"column": "taxed", "how": "correlation 1.0000"}]
        found = inspected(capsys, people, "--target", "sex")
        assert [one["column"] for one in found["leaks"]] == ["gender"]

    def test_rows_of_a_test_file_in_training(
        self, people: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = inspected(capsys, people, "--test", "test.csv")
        assert found["in_training"] == 3
        assert "dataset.test_path=test.csv dataset.test_fraction=null" in found["command"]

    def test_a_column_that_train_refuses(
        self, project: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rows = [f"{row},{'high' if row == 30 else row / 3},{row % 2}" for row in range(60)]
        Path("mixed.csv").write_text("\n".join(["a,b,y", *rows]))
        assert main(["mixed.csv"]) == 0
        out = capsys.readouterr().out
        assert "high is not a number" in out
        assert "train refuses it: mixed.csv, row 32, column b" in out
        found = inspected(capsys, "mixed.csv", 'dataset.missing=["",high]')
        assert found["error"] == ""
        assert 'dataset.missing=["",high]' in shlex.split(found["command"])


def test_the_command_and_the_written_option_train(
    people: str, dlrun: Dlrun, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(inspected(capsys, people)["command"])[1:]
    short = ("trainer.max_epochs=1", "tracking.tensorboard=false")
    done = dlrun(*words, *short)
    assert done.returncode == 0, done.stderr
    assert main([people, "--write", "folk"]) == 0
    assert "dataset=folk model=mlp" in capsys.readouterr().out
    done = dlrun("train", "dataset=folk", *short)
    assert done.returncode == 0, done.stderr
    with pytest.raises(ConfigError, match="exists"):
        main([people, "--write", "folk"])
    with pytest.raises(ConfigError, match="dataset option of dlrun"):
        main([people, "--write", "iris"])


def test_series(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = [f"{100 + 10 * math.sin(2 * math.pi * day / 7):.2f}" for day in range(100)]
    start = np.datetime64("2024-01-01")
    rows = [f"{start + day},{value}" for day, value in enumerate(values) if day not in (20, 21)]
    rows[10], rows[11] = rows[11], rows[10]
    rows.append(rows[-1])
    Path("sales.csv").write_text("\n".join(["day,sales", *rows]))
    found = inspected(capsys, "sales.csv")
    assert found["kind"] == "series"
    content = found["content"]
    assert (content["step"], content["gaps"]) == ("1 day", {"2024-01-20": 2})
    assert (content["repeated"], content["unsorted"]) == (1, 1)
    assert content["seasons"] == {"sales": [7]}
    assert "2024-04-09 stands in row" in found["error"]
    assert "dataset.time=day dataset.target=sales dataset.season=7" in found["command"]


def test_seasons_are_none_of_noise_and_of_a_walk() -> None:
    noise = np.random.default_rng(0).standard_normal(1000)
    assert find_seasons(noise) == []
    assert find_seasons(np.cumsum(noise)) == []


def test_texts(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        f'"a film of many words, number {row // 2}",{"good" if row % 4 else "bad"}'
        for row in range(60)
    ]
    rows += [f'"quite another text about number {row}",bad' for row in range(60)]
    Path("reviews.csv").write_text("\n".join(["review,verdict", *rows]))
    found = inspected(capsys, "reviews.csv")
    assert (found["kind"], found["error"]) == ("texts", "")
    assert found["content"]["labels"] == {"bad": 75, "good": 45}
    assert (found["content"]["copies"], found["content"]["contradictions"]) == (30, 15)
    assert "dataset.text=review dataset.label=verdict" in found["command"]


def test_a_folder_of_texts_and_one_long_text(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        Path("docs", name).mkdir(parents=True)
        for number in range(4):
            Path("docs", name, f"{number}.txt").write_text(f"{name} größe {number}", "cp1252")
    found = inspected(capsys, "docs")
    assert found["content"]["encodings"] == {"cp1252": 8}
    assert "dataset=text_folder dataset.path=docs dataset.encoding=cp1252" in found["command"]
    lines = (f"w{row} goes{', on' * (row % 4)} and ends.\n" for row in range(99))
    Path("tale.txt").write_text("".join(lines))
    found = inspected(capsys, "tale.txt")
    assert (found["kind"], found["content"]["lines"]) == ("text", 100)
    assert "dataset=char_lm" in found["command"]


def test_images(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cat", "dog"):
        Path("photos", name).mkdir(parents=True)
        for number in range(3):
            image = Image.new("RGB" if number else "L", (8, 6 + number), number * 40 + len(name))
            image.putpixel((0, 0), 200 if name == "cat" else 100)
            image.save(Path("photos", name, f"{number}.png"))
    good = Path("photos/cat/1.png").read_bytes()
    Path("photos/dog/copy.png").write_bytes(good)
    found = inspected(capsys, "photos")
    content = found["content"]
    assert content["classes"] == {"train": {"cat": 3, "dog": 4}}
    assert (content["sizes"]["7x8"], content["modes"]) == (3, {"RGB": 5, "L": 2})
    assert content["copies"] == [["photos/cat/1.png", "photos/dog/copy.png"]]
    assert found["error"] == ""
    assert "dataset.size=7" in found["command"]
    Path("photos/dog/broken.png").write_bytes(good[:30])
    found = inspected(capsys, "photos")
    assert [*found["content"]["broken"]] == ["photos/dog/broken.png"]
    assert "broken.png" in found["error"]


def test_mistakes_are_one_line(people: str) -> None:
    for words, message in (
        (["peple.csv"], "did you mean people.csv"),
        ([people, "--target", "incme"], "did you mean income"),
        ([people, "--as", "images"], "--as is images, but people.csv is a file"),
        ([people, "model=mlp"], "only settings of the dataset are taken"),
        (
            [people, "--as", "series", "--test", "test.csv", "--time", "joined"],
            "--test is for tables",
        ),
        ([people, "--write", "a/b"], "must be a name"),
    ):
        with pytest.raises(ConfigError, match=message):
            main(words)


def test_it_imports_no_torch(people: str, dlrun: Dlrun) -> None:
    done = dlrun("inspect", people, variables={"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0
    assert " torch\n" not in done.stderr
