from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from dlrun import cli
from dlrun.commands.inspect import main
from dlrun.data.inspection.series import find_seasons
from dlrun.data.inspection.table import _REASONS
from dlrun.data.tables.column_checks import _FACTS
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
        assert reasons["gender"] == "1 in fewer than 50 rows, read as one"

    def test_rows_without_a_target_become_a_setting_of_the_command(
        self, people: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = inspected(capsys, people, "--target", "age")
        assert found["targets"][0]["missing"] == 1 and found["error"] == ""
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
        assert columns["note"]["as_target"] is None
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
        assert found["targets"][0]["name"] == "income"
        assert sum(found["targets"][0]["classes"].values()) == 121
        leaks = {(one["target"], one["column"]): one["how"] for one in found["leaks"]}
        assert [*leaks][:2] == [("income", "pay"), ("income", "taxed")]
        assert {*leaks} == {
            *(("income", one) for one in ("pay", "taxed")),
            *(("pay", "taxed"), ("taxed", "pay"), ("sex", "gender"), ("gender", "sex")),
        }
        assert leaks["pay", "taxed"] == "correlation 1.0000"
        assert found["leaks_sought"][0] == "income" and len(found["leaks_sought"]) == 6
        assert main([people]) == 0
        out = capsys.readouterr().out
        assert "taxed by pay (correlation 1.0000)" in out
        assert "sex by gender" not in out  # two columns that say the same

    def test_several_targets(self, people: str, capsys: pytest.CaptureFixture[str]) -> None:
        found = inspected(capsys, people, "--target", "pay,age")
        assert found["plan"]["settings"]["target"] == ["pay", "age"]
        assert [one["name"] for one in found["targets"]] == ["pay", "age"]
        assert found["plan"]["settings"]["drop_missing_target"] is True and found["error"] == ""
        assert ("pay", "taxed") in {(one["target"], one["column"]) for one in found["leaks"]}
        found = inspected(capsys, people, "--target", "pay, taxed")
        leaks = {(one["target"], one["column"]) for one in found["leaks"]}
        assert not leaks & {("pay", "taxed"), ("taxed", "pay")}  # targets are no inputs
        assert main([people, "--target", "pay,age"]) == 0
        out = capsys.readouterr().out
        assert "dataset.target=[pay,age]" in out.replace("'", "")
        assert re.search(r"target +pay, numbers", out) and re.search(r"target +age, ", out)
        with pytest.raises(ConfigError, match="did you mean age"):
            main([people, "--target", "pay,agee"])

    def test_a_column_with_a_comma_in_its_name_is_one_target(
        self, project: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rows = [f"{row % 7},{row * 3 % 11}" for row in range(40)]
        Path("comma.csv").write_text("\n".join(['x,"a,b"', *rows]))
        found = inspected(capsys, "comma.csv", "--target", "a,b")
        assert found["plan"]["settings"]["target"] == "a,b"

    def test_texts_have_one_label(self, project: Path) -> None:
        lines = [f"a text of five words {row},{row % 2},{row % 3}" for row in range(40)]
        Path("texts.csv").write_text("\n".join(["text,first,second", *lines]))
        with pytest.raises(ConfigError, match="read as texts, which have one label"):
            main(["texts.csv", "--target", "first,second"])

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
        assert "train refuses it as it is: row 32, column b" in out
        assert "To train, with what is said above set" in out
        found = inspected(capsys, "mixed.csv", 'dataset.missing=["",high]')
        assert found["error"] == ""
        assert 'dataset.missing=["",high]' in shlex.split(found["command"])


def test_one_screen(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"a_column_with_a_long_name_{at}" for at in range(60)]
    rows = [[f"{row * at % 7 + at}" for at in range(60)] for row in range(1, 30)]
    Path("wide.csv").write_text("\n".join(map(",".join, [names, *rows])))
    assert main(["wide.csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 80
    assert any("more columns (" in line and "--json shows all" in line for line in lines)
    words = shlex.split("".join(lines[-2:]).replace("\\", ""))
    assert words[:4] == ["dlrun", "train", "dataset=table", "dataset.path=wide.csv"]


def test_the_target_is_shown_though_it_is_far_to_the_right(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rng = np.random.default_rng(0)
    rows = [",".join(f"{value:.3f}" for value in row) for row in rng.random((40, 60))]
    lines = [
        ",".join(f"a{at}" for at in range(60)) + ",kind",
        *(f"{row},{'pq'[at % 2]}" for at, row in enumerate(rows)),
    ]
    Path("wide.csv").write_text("\n".join(lines))
    assert main(["wide.csv"]) == 0
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line]
    assert shown[shown.index("…") + 1] == "kind"


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_of_a_large_table_the_beginning_is_looked_at(
    form: str, people: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    large = f"large.{form}"
    if form == "csv":
        shutil.copy(people, large)
    else:
        pl.read_csv(people).write_parquet(large)
    monkeypatch.setattr("dlrun.data.inspection.large._LARGEST", Path(large).stat().st_size // 2)
    found = inspected(capsys, large)
    assert 0.4 < found["looked_at"] < 0.6 and 50 <= found["table"]["rows"] <= 61
    assert f"dataset.path={large} " in found["command"] and found["error"] == ""
    assert not any("/tmp" in note for note in found["notes"])
    assert main([large]) == 0
    assert f"{large}: a table, the first " in capsys.readouterr().out


def test_what_a_refusal_offers_to_type_goes_into_the_command(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{'high' if row == 30 else row / 3},{row},{row % 2}" for row in range(60)]
    Path("mixed.csv").write_text("\n".join(["a,b,y", *rows]))
    found = inspected(capsys, "mixed.csv")
    assert found["error"] == "" and "row 32, column a: high is not a number" in found["mended"][0]
    assert found["plan"]["settings"]["missing"][-1] == "high"
    assert [one["kind"] for one in found["table"]["columns"]] == ["number", "serial", "number"]
    assert found["table"]["columns"][0]["missing"] == 1


def test_the_reason_of_each_fact_of_a_column_is_in_words() -> None:
    assert {*_FACTS} <= {*_REASONS}


def test_what_is_no_table_of_inputs_is_a_series_or_texts(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("months.csv").write_text(
        "\n".join(["m,sold", *(f"1-{m:02},{m * m % 7}" for m in range(1, 37))])
    )
    found = inspected(capsys, "months.csv")
    assert (found["kind"], found["error"], "time" in found["plan"]["settings"]) == (
        "series",
        "",
        False,
    )
    Path("names.csv").write_text(
        "\n".join(["name,sex", *(f"ann{n} lee,{'mf'[n % 2]}" for n in range(60))])
    )
    found = inspected(capsys, "names.csv")
    assert (found["kind"], found["error"]) == ("texts", "")


def test_a_folder_and_a_glob_of_parts(people: str, capsys: pytest.CaptureFixture[str]) -> None:
    head, *rows = Path(people).read_text().splitlines()
    Path("parts").mkdir()
    for part in range(3):
        Path(f"parts/p{part}.csv").write_text("\n".join([head, *rows[part::3]]))
    for given in ("parts", "parts/*.csv"):
        found = inspected(capsys, given, "--target", "income")
        assert (found["kind"], found["table"]["rows"], found["error"]) == ("table", 121, "")
        assert found["plan"]["settings"]["path"] == given
    Path("parts/p0.csv").rename("parts/train.csv")
    Path("parts/p1.csv").rename("parts/test.csv")
    found = inspected(capsys, "parts")
    assert found["plan"]["settings"]["test_path"] == "parts/test.csv"
    assert found["in_training"] == 0


def test_a_workbook_names_what_it_needs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("book.xlsx").write_bytes(b"PK")
    monkeypatch.setattr("dlrun.data.tables.typed_files.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'dlrun\[excel\]'"):
        main(["book.xlsx"])


def test_the_command_and_the_written_option_train(
    people: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(inspected(capsys, people)["command"])[1:]
    short = ("trainer.max_epochs=1", "tracking.tensorboard=false")
    assert cli.main([*words, *short]) == 0
    assert main([people, "--write", "folk"]) == 0
    assert "dataset=folk model=mlp" in capsys.readouterr().out
    assert cli.main(["train", "dataset=folk", *short]) == 0
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
    assert found["error"] == ""
    assert (
        "dataset.target=sales dataset.time=day dataset.season=7 dataset.combine=first"
        in found["command"]
    )


def test_days_that_are_shuffled_and_have_words_beside_them_are_a_series(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = np.datetime64("2024-01-01")
    rows = [f"{start + day},{day * 37 % 11},{['no', 'yes'][day % 9 == 0]}" for day in range(80)]
    rows = [rows[row] for row in np.random.default_rng(0).permutation(80)]
    Path("days.csv").write_text("\n".join(["day,sold,holiday", *rows]))
    found = inspected(capsys, "days.csv")
    assert (found["kind"], found["error"]) == ("series", "")
    assert found["plan"]["settings"]["target"] == "sold"
    assert found["content"]["step"] == "1 day" and found["content"]["unsorted"] > 20


def test_several_series_in_a_file(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = np.datetime64("2024-01-01")
    rows = [
        f"{start + day},{shop},{item},{day % 5 + shop_at * 10 + item}"
        for shop_at, shop in enumerate(("oslo", "rome"))
        for item in (7, 8)
        for day in range(40 + shop_at * 10)
        if day != 20
    ]
    Path("shops.csv").write_text("\n".join(["day,shop,item,sold", *rows]))
    found = inspected(capsys, "shops.csv")
    content = found["content"]
    assert (found["kind"], content["series"]) == ("series", ["shop", "item"])
    assert content["lengths"] == {"oslo/7": 39, "oslo/8": 39, "rome/7": 49, "rome/8": 49}
    assert content["repeated"] == 0 and content["gaps"]["2024-01-20 of rome/8"] == 1
    assert found["plan"]["settings"]["series"] == ["shop", "item"]
    assert found["error"] == ""


def test_a_short_series_and_a_short_text_have_settings_that_fit(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("s.csv").write_text(
        "\n".join(["year,sold", *(f"{2000 + n},{n * n % 7}" for n in range(12))])
    )
    settings = inspected(capsys, "s.csv")["plan"]["settings"]
    assert (settings["time"], settings["window"]) == ("year", 6)
    Path("s.csv").write_text(
        "\n".join(["year,sold", *(f"{2000 + n},{max(n, 60)}" for n in range(80))])
    )
    assert (
        "sold is the same in all rows of the training part" in inspected(capsys, "s.csv")["error"]
    )
    Path("t.txt").write_text("".join(f"w{n} goes{', on' * (n % 4)} and ends.\n" for n in range(12)))
    plan = inspected(capsys, "t.txt")["plan"]
    assert (plan["settings"]["window"], plan["run_settings"]) == (8, {"trainer.batch_size": 29})
    Path("t.txt").write_text("Too short")
    found = inspected(capsys, "t.txt")
    assert found["plan"] is None and "too few to learn from" in found["error"]


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
    assert (found["kind"], found["content"]["lines"]) == ("text", 99)
    assert "dataset=char_lm" in found["command"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("digits", "images"),
        ("digits.csv", "images"),
        ("speakers.tsv.gz", "texts"),
        ("speeches", "texts"),
    ],
)
def test_what_ships_with_dlrun(
    name: str, kind: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = inspected(capsys, f"packaged:{name}")
    assert (found["kind"], found["error"]) == (kind, "")
    assert f"dataset.path=packaged:{name} " in found["command"]


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


def damaged(image: bytes) -> bytes:
    """With its first and last bytes, and others in its middle."""
    middle = len(image) // 2
    return image[:middle] + bytes(200) + image[middle + 200 :]


def test_images_that_a_table_names(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("set/png").mkdir(parents=True)
    rows = ["name,kind,size"]
    for number in range(20):
        pixels = np.random.default_rng(number).integers(0, 255, (30, 30), np.uint8)
        Image.fromarray(pixels).save(f"set/png/{number}.png")
        rows.append(f"{number}.png,{'ab'[number % 2]},{number / 3}")
    rows.append("gone.png,a,3")
    bad = Path("set/png/3.png")
    bad.write_bytes(damaged(bad.read_bytes()))
    Path("set/labels.csv").write_text("\n".join(rows))
    for given in ("set", "set/labels.csv"):
        found = inspected(capsys, given)
        assert (found["kind"], found["error"]) == ("images", "")
        assert found["plan"]["settings"] == {
            "path": "set/labels.csv", "image": "name", "target": "kind", "image_root": "set/png",
            "drop_bad_images": True,
        }  # fmt: skip
    assert [*found["content"]["broken"]] == ["row 22, column name", "set/png/3.png"]
    assert found["content"]["classes"] == {"train": {"a": 10, "b": 10}}
    assert any("2 of 21 rows are left out" in note for note in found["notes"])
    found = inspected(capsys, "set/labels.csv", "--target", "size")
    assert found["content"]["classes"] == {} and found["targets"][0]["classes"] == {}


def test_a_folder_of_images_whose_pixels_are_damaged_or_that_have_no_classes(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("cat", "dog"):
        Path("photos", name).mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 255, (30, 30, 3), np.uint8)
            Image.fromarray(pixels).save(f"photos/{name}/{number}.png")
    bad = Path("photos/dog/1.png")
    bad.write_bytes(damaged(bad.read_bytes()))
    found = inspected(capsys, "photos", "--test", "photos")
    assert [*found["content"]["broken"]] == ["photos/dog/1.png"]
    assert "take it away" in found["error"]
    assert found["in_training"] == 6
    found = inspected(capsys, "photos/cat")
    assert (found["content"]["count"], found["plan"]) == (3, None)
    assert "dataset=image_table" in found["error"]


def test_mistakes_are_one_line(people: str) -> None:
    for words, message in (
        (["peple.csv"], "did you mean people.csv"),
        ([people, "--target", "incme"], "did you mean income"),
        ([people, "--as", "images"], "no column that names image files"),
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


def test_labelled_lines_in_a_tsv_whose_texts_have_quotes(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f'{["good", "bad"][row % 2]}\t"film" number {row} of them' for row in range(60)]
    Path("reviews.tsv").write_text("\n".join(lines))
    found = inspected(capsys, "reviews.tsv")
    assert (found["plan"]["option"], found["error"]) == ("text_lines", "")
    assert found["plan"]["settings"] == {"path": "reviews.tsv", "separator": "tab"}
    assert inspected(capsys, "reviews.tsv", "--as", "texts")["plan"] == found["plan"]


def test_a_folder_of_what_is_no_data_is_refused_without_waiting(project: Path) -> None:
    for name in ("bin", "home"):
        Path(name).mkdir()
        Path(name, "empty").touch()
    with pytest.raises(ConfigError, match="has no files with a content"):
        main(["."])
    os.mkfifo("bin/pipe")  # which waits for a writer
    Path("bin/notes").write_text("words")
    with pytest.raises(ConfigError, match="is read as texts with a folder for each class, and ref"):
        main(["."])
