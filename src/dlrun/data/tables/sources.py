"""Tables: any file of rows, and well-known ones fetched once into the folder of the data. No torch here."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from dlrun.config.schema import Positive
from dlrun.data.files import fetch, locate_file
from dlrun.data.tables.column_roles import ColumnName, ColumnRoles, Inferred
from dlrun.data.tables.csv_format import CsvFormat, Header, SkipLines
from dlrun.data.tables.number_format import Decimal, Thousands
from dlrun.data.tables.read import read_table
from dlrun.data.tables.table import Fill, RareBelow, Table
from dlrun.data.tables.table_files import locate_table, refuse_settings_of_texts
from dlrun.data.tables.target_column import Labelling, TableTask
from dlrun.errors import ConfigError

PLOTLY = "plotly:"
_REPOSITORY = (
    "https://raw.githubusercontent.com/jbrownlee/Datasets/d20fcb6402ae34e653d4513b00f39257bb37ed7f"
)


def csv(
    *,
    path: str,
    test_path: str | None,
    target: ColumnName | list[ColumnName],
    task: TableTask,
    strip_label: str,
    merge_labels: bool,
    drop_missing_target: bool,
    header: Header,
    skip_lines: SkipLines,
    comment: str | None,
    delimiter: str,
    decimal: Decimal,
    thousands: Thousands,
    encoding: str,
    missing: list[str | int | float],
    drop: list[ColumnName],
    categorical: list[ColumnName],
    numeric: list[ColumnName],
    dates: dict[str, str] | None,
    infer: list[Inferred],
    zero_is_missing: list[ColumnName],
    rare_below: RareBelow,
    fill: Fill,
    memory_limit: Positive | None,
) -> Table:
    """The table in `path`, a file or parts: absolute, from the working folder, `packaged:NAME` or `plotly:NAME`."""
    settings = locals()
    test = None if test_path is None else find("dataset.test_path", test_path)
    train = find("dataset.path", path)
    refuse_settings_of_texts(settings, train, test)
    return read_table(
        train,
        test,
        CsvFormat.of(settings, missing=[str(word) for word in missing]),
        ColumnRoles.of(settings),
        Labelling.of(settings),
        fill=fill,
        rare_below=rare_below,
        memory_limit=memory_limit,
    )


def census(*, root: str, drop: list[ColumnName], fill: Fill) -> Table:
    """48,842 adults, 8 words and 6 numbers, income above $50,000 or not; test file of 16,281 (Kohavi, 1996)."""
    format = _format(
        "age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation",
        "relationship", "race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country",
        "income",
    )  # fmt: skip
    # The labels of the test file, and only those, end in a full stop.
    labelling = Labelling("classification", strip_label=".")
    train, test = (
        _fetch(root, f"adult-{part}.csv", md5)
        for part, md5 in (
            ("train", "5d7c39d7b8804f071cdd1f2a7c460872"),
            ("test", "366c746021dc50ad9d933d2817612fc9"),
        )
    )
    return read_table(train, test, format, ColumnRoles("income", drop=drop), labelling, fill=fill)


def pima(
    *,
    root: str,
    drop: list[ColumnName],
    zero_is_missing: list[ColumnName],
    fill: Fill,
) -> Table:
    """768 women of Pima ancestry, 8 measurements, diabetes within five years or not (Smith et al., 1988)."""
    format = _format(
        "pregnancies", "glucose", "blood_pressure", "skin_thickness", "insulin", "bmi", "pedigree", "age",
        "diabetes",
    )  # fmt: skip
    roles = ColumnRoles("diabetes", drop=drop, zero_is_missing=zero_is_missing)
    labelling = Labelling("classification")
    file = _fetch(root, "pima-indians-diabetes.csv", "56a8d8ae619fcc223941e54f361b8406")
    return read_table(file, None, format, roles, labelling, fill=fill)


def boston(*, root: str, drop: list[ColumnName], fill: Fill) -> Table:
    """506 districts of Boston, 13 measurements, median price of a house in $1000 (Harrison and Rubinfeld, 1978)."""
    format = _format(
        "CRIM", "ZN", "INDUS", "CHAS", "NOX", "RM", "AGE", "DIS", "RAD", "TAX", "PTRATIO", "B", "LSTAT",
        "MEDV",
    )  # fmt: skip
    roles, labelling = ColumnRoles("MEDV", drop=drop), Labelling("regression")
    file = _fetch(root, "housing.csv", "5978b0ed7d7b7178eeff97cc6a7aada7")
    return read_table(file, None, format, roles, labelling, fill=fill)


def wine_quality(
    *,
    root: str,
    task: TableTask,
    drop: list[ColumnName],
    fill: Fill,
) -> Table:
    """1,599 red wines, 11 chemical measurements, the tasters' mark from 3 to 8 (Cortez et al., 2009)."""
    format = _format(
        "fixed_acidity", "volatile_acidity", "citric_acid", "residual_sugar", "chlorides",
        "free_sulfur_dioxide", "total_sulfur_dioxide", "density", "pH", "sulphates", "alcohol", "quality",
    )  # fmt: skip
    roles, labelling = ColumnRoles("quality", drop=drop), Labelling(task)
    file = _fetch(root, "winequality-red.csv", "18625f38d0ab8a40b7d642ae69679a80")
    return read_table(file, None, format, roles, labelling, fill=fill)


def _format(*names: str) -> CsvFormat:
    return CsvFormat(header=False, delimiter=",", encoding="utf-8", missing=["", "?"], names=names)


def _fetch(root: str, name: str, md5: str) -> Path:
    return fetch(root, f"tabular/{name}", url=f"{_REPOSITORY}/{name}", md5=md5)


def find(key: str, path: str) -> Path:
    """The file or parts that the setting `key` names; `plotly:NAME` is a data set inside the installed plotly.

    Raises:
        ConfigError: as `locate_table`, or plotly is not installed.
    """
    if not path.startswith(PLOTLY):
        return locate_table(key, path)
    package = importlib.util.find_spec("plotly")  # does not import it
    if package is None or not package.submodule_search_locations:
        raise ConfigError(f"{key} is {path}, whose file is part of plotly: pip install plotly")
    folder = Path(package.submodule_search_locations[0], "package_data", "datasets")
    name = path.removeprefix(PLOTLY)
    return locate_file(key, str(folder / name))
