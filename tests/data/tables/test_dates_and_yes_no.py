"""Columns of dates and of yes and no become numbers, of new rows as of the training rows."""

from math import cos, pi, sin
from pathlib import Path

import numpy as np
import pytest

from dlrun.cli import main
from dlrun.data.tables.column import Column
from dlrun.data.tables.dates import NotADate, date_form, date_numbers


def parts(cells: list[str], format: str = "auto") -> dict[str, list[float]]:
    column = Column.of(cells, missing=("",))
    form = date_form(column, format)
    found = date_numbers(column, form)
    return dict(zip(form.parts, (values.tolist() for values in found), strict=True))


def test_a_date_has_a_year_a_month_a_day_of_the_week_and_days_since_1970() -> None:
    found = parts(["2023-01-02", "2024-04-07", ""])  # a Monday, a Sunday
    assert list(found) == ["year", "month_sin", "month_cos", "weekday_sin", "weekday_cos", "days"]
    assert found["year"][:2] == [2023, 2024]
    assert found["month_sin"][:2] == pytest.approx([0, 1])
    assert found["weekday_cos"][:2] == pytest.approx([1, cos(2 * pi * 6 / 7)])
    assert found["days"][:2] == [19359, 19820]
    assert all(np.isnan(values[2]) for values in found.values())


@pytest.mark.parametrize(
    ("cells", "format", "names"),
    [
        (["2024-01-01 06:00", "2024-01-01 18:30"], "auto", ["hour_sin", "hour_cos", "days"]),
        (["2024-01-31T10:00:00+02:00", "2024-01-31T10:00:00Z"], "auto", ["days"]),
        (["10:30", "22:15"], "auto", ["hour_sin", "hour_cos"]),
        (["202401", "202412"], "auto", ["month_sin", "month_cos", "days"]),
        (["2024-Q1", "2023-Q1"], "auto", ["year", "days"]),
        (["03/04/2024", "04/04/2024"], "%d/%m/%Y", ["weekday_sin", "weekday_cos", "days"]),
        (["03/04/2024", "04/04/2024"], "%m/%d/%Y", ["month_sin", "month_cos", "weekday_sin", "weekday_cos", "days"]),
        (["1704067200", "1704103200"], "epoch", ["hour_sin", "hour_cos", "days"]),
    ],
)  # fmt: skip
def test_parts_that_never_change_are_left_out(
    cells: list[str], format: str, names: list[str]
) -> None:
    assert list(parts(cells, format)) == names


def test_an_hour_has_its_minutes() -> None:
    found = parts(["00:00", "06:30"])
    assert found["hour_sin"] == pytest.approx([0, sin(2 * pi * 6.5 / 24)])


@pytest.mark.parametrize(
    ("cells", "formats"),
    [(["03/04/2024", "04/05/2024"], 2), (["2024-02-30", "2024-02-28"], 0), (["x", "y"], 0)],
)
def test_what_has_several_forms_or_none_is_not_read(cells: list[str], formats: int) -> None:
    with pytest.raises(NotADate) as caught:
        parts(cells)
    assert (caught.value.cell, len(caught.value.formats)) == (cells[0], formats)


ROWS = [
    f"{2023 + row // 30}-{row % 12 + 1:02d}-{row % 28 + 1:02d},{['No', 'yes'][row % 2]},{row % 7}.5,{row % 5}.25"
    for row in range(60)
]  # fmt: skip
WORDS = ["dataset=csv", "dataset.path=t.csv", "dataset.target=y", "model=linear", "trainer.max_epochs=2"]  # fmt: skip


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("\n".join(["when,member,z,y", *ROWS]))
    assert main(["train", *WORDS]) == 0
    return tmp_path


def test_new_rows_are_read_as_the_training_rows_were(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One row gives the same prediction in one file and among others, and eval gives the run's own loss."""
    cells = [row.split(",") for row in ROWS]
    rows = [f"{z},{when},{member}" for when, member, z, _ in cells]
    Path("all.csv").write_text("\n".join(["z,when,member", *rows]))
    Path("one.csv").write_text("\n".join(["member,when,z", "YES,2023-04-04,3.5"]))
    capsys.readouterr()
    assert main(["predict", "last", "all.csv"]) == 0
    fourth = capsys.readouterr().out.splitlines()[3]
    assert main(["predict", "last", "one.csv"]) == 0
    assert capsys.readouterr().out.split()[-1] == fourth.split()[-1]
    assert main(["eval", "last", "dataset.test_path=t.csv"]) == 0


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("no,31.01.2024,1", "new.csv, row 2, column when: 31.01.2024 is no date in the format %Y-%m-%d; mend it"),
        ("perhaps,2024-01-31,1", "new.csv, row 2, column member: perhaps is neither yes nor no"),
    ],
)  # fmt: skip
def test_a_cell_that_is_no_date_or_no_answer_is_refused(
    trained: Path, capsys: pytest.CaptureFixture[str], row: str, said: str
) -> None:
    Path("new.csv").write_text(f"member,when,z\n{row}\n")
    capsys.readouterr()
    assert main(["predict", "last", "new.csv"]) == 2
    assert said in capsys.readouterr().err


def test_a_format_may_be_named_and_must_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"0{row % 9 + 1}/0{row % 5 + 1}/2024,{row % 5}.25" for row in range(60)]
    Path("t.csv").write_text("\n".join(["when,y", *rows]))
    assert main(["train", *WORDS, 'dataset.dates={when: "%d/%m/%Y"}']) == 0
    assert main(["train", *WORDS, "dataset.dates={when: auto}"]) == 2
    assert (
        "may be read as %d/%m/%Y and %m/%d/%Y alike; set 'dataset.dates={when:"
        in capsys.readouterr().err
    )
    assert main(["train", *WORDS, "dataset.dates={when: number}"]) == 2
    assert "which is none" in capsys.readouterr().err


def test_a_column_may_have_one_role_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("\n".join(["when,member,z,y", *ROWS]))
    assert main(["train", *WORDS, "dataset.dates={when: auto}", "dataset.drop=[when]"]) == 2
    assert "both name when" in capsys.readouterr().err
