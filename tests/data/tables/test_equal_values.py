"""1, 1.0 and "1" are one class and one category, whichever form of file they stand in; so are true and TRUE."""

import inspect
from pathlib import Path

import polars as pl
import pytest
import yaml

from dlrun.config.settings import DataSettings
from dlrun.data.prepare import prepare
from dlrun.data.tables.encoding import TableEncoding
from dlrun.data.tables.number_format import Notation
from dlrun.data.tables.sources import csv
from dlrun.errors import ConfigError

VALUES = [9, 10, 11, 10, 9, 11] * 5
SETTINGS = DataSettings(0.2, None, 0, "standard", None)  # with a test file of its own
ALONE = DataSettings(0.2, 0.2, 0, "standard", None)


def spelled(form):
    """(30,) the values as a file of this form has them."""
    kind, _, _ = form.partition(".")
    texts = {
        "whole": map(str, VALUES),
        "gaps": (f"{one}.0" for one in VALUES),  # as pandas writes a column with gaps
        "comma": (f"{one},00" for one in VALUES),
        "mixed": (f"{one}.0" if at % 2 else f"{one}" for at, one in enumerate(VALUES)),
    }
    types = {
        "int": pl.Int64, "small": pl.UInt8, "float": pl.Float64, "single": pl.Float32,
    }  # fmt: skip
    return list(texts[kind]) if kind in texts else pl.Series(VALUES, dtype=types[kind])


def write(path: Path, column, **more) -> str:
    x = [0.5 * (at % 7) for at in range(len(column))]
    frame = pl.DataFrame({"x": x, "c": column, **more})
    if path.suffix == ".csv":
        frame = (
            frame.with_columns(pl.col("x").map_elements(_comma, pl.String))
            if "comma" in path.name
            else frame
        )
        frame.write_csv(path, separator=";")
    else:
        for module in ("fastexcel", "xlsxwriter") if path.suffix == ".xlsx" else ():
            pytest.importorskip(module)
        writers = {
            ".parquet": frame.write_parquet, ".feather": frame.write_ipc, ".jsonl": frame.write_ndjson,
            ".xlsx": frame.write_excel,
        }  # fmt: skip
        writers[path.suffix](path)
    return str(path)


def _comma(value: float) -> str:
    return f"{value:.1f}".replace(".", ",")


def load(path: str, **settings):
    option = yaml.safe_load(Path("configs/dataset/table.yaml").read_text())
    given = {name: option[name] for name in inspect.signature(csv).parameters}
    return csv(**{**given, "path": path, **settings})


FORMS = [
    "whole.csv", "gaps.csv", "mixed.csv", "int.parquet", "single.parquet", "gaps.parquet", "small.feather",
    "float.jsonl", "int.xlsx",
]  # fmt: skip
COMMA = [("comma.csv", other) for other in ("comma.csv", "int.parquet", "gaps.jsonl")]
COMMA += [("float.parquet", "comma.csv")]


def pairs(*train):
    """Each of these forms with all."""
    return [(one, other) for one in train for other in FORMS] + COMMA


@pytest.mark.parametrize(("train", "test"), pairs("whole.csv", "gaps.jsonl"))
def test_labels_are_equal_by_value_in_all_forms(tmp_path, train, test):
    files = [
        write(tmp_path / f"{part}-{form}", spelled(form))
        for part, form in (("a", train), ("b", test))
    ]
    table = load(files[0], test_path=files[1], target="c", task="classification", delimiter="auto")
    assert [float(name.replace(",", ".")) for name in table.class_names] == [9, 10, 11]
    assert table.targets.tolist() == table.test_targets.tolist() == [one - 9 for one in VALUES]


@pytest.mark.parametrize(("train", "test"), pairs("gaps.csv", "int.parquet"))
def test_categories_are_equal_by_value_in_all_forms(tmp_path, train, test):
    y = [float(at) if at % 3 else at + 0.5 for at in range(len(VALUES))]
    files = [
        write(
            tmp_path / f"{part}-{form}",
            spelled(form),
            y=[_comma(one) for one in y] if "comma" in form else y,
        )
        for part, form in (("a", train), ("b", test))
    ]
    table = load(files[0], test_path=files[1], target="y", categorical=["c"], task="regression")
    data = prepare(table, SETTINGS)
    assert data.spec.categories == (4,)
    codes = [["10", "11", "9"].index(str(one)) + 1 for one in VALUES]
    assert data.test.inputs[:, 1].tolist() == codes


def test_a_missing_category_stays_one_of_its_own_among_numbers(tmp_path):
    column = [None if one == 11 else one for one in VALUES]
    gaps = ["" if one is None else f"{one}.0" for one in column]
    y = [at / 7 for at in range(30)]
    files = [write(tmp_path / "a.parquet", column, y=y), write(tmp_path / "b.csv", gaps, y=y)]
    table = load(files[0], test_path=files[1], target="y", categorical=["c"])
    data = prepare(table, SETTINGS)
    assert data.preprocessing.levels == [["10", "9", None]]
    whole = [{9: 2, 10: 1, None: 3}[one] for one in column]
    assert data.test.inputs[:, 1].tolist() == whole


def test_words_of_yes_and_no_are_one_class_and_one_category_but_no_numbers(tmp_path):
    truth = [at % 3 == 0 for at in range(30)]
    forms = {
        "a.parquet": truth, "b.csv": ["True" if one else "False" for one in truth],
        "c.csv": ["TRUE" if one else "FALSE" for one in truth], "d.jsonl": truth,
    }  # fmt: skip
    y = [at / 7 for at in range(30)]
    files = [write(tmp_path / name, column, y=y) for name, column in forms.items()]
    ones = write(tmp_path / "ones.csv", [int(one) for one in truth], y=y)
    for train in files:
        for test in files:
            table = load(train, test_path=test, target="c")
            assert table.class_names[0].lower() == "false"
            assert table.test_targets.tolist() == list(map(int, truth))
            table = load(train, test_path=test, target="y", categorical=["c"], infer=[])
            inputs = prepare(table, SETTINGS).test.inputs[:, 1]
            assert inputs.tolist() == [1 + one for one in truth]
        with pytest.raises(ConfigError, match="column c: 1 is no class of the training file"):
            load(train, test_path=ones, target="c")
        with pytest.raises(ConfigError, match="1 is neither yes nor no"):
            load(train, test_path=ones, target="y")


def test_codes_with_zeros_before_them_and_words_with_points_are_what_they_are_written_as(tmp_path):
    y = [at / 7 for at in range(30)]
    for words in (["01", "1", "10"], ["1.1", "1.10", "2a"]):
        path = write(tmp_path / "t.csv", words * 10, y=y)
        data = prepare(load(path, target="y", categorical=["c"]), ALONE)
        assert data.preprocessing.levels == [sorted(words)]


def test_whole_numbers_that_no_float_holds_are_different(tmp_path):
    words = [str(2**53), str(2**53 + 1)] * 15
    table = load(write(tmp_path / "t.csv", words), target="c", task="classification")
    assert table.class_names == (str(2**53), str(2**53 + 1))
    typed = write(tmp_path / "t.parquet", [2**53, 2**53 + 1] * 15)
    assert load(typed, target="c", task="classification").class_names == table.class_names


def test_a_number_of_32_bits_is_the_one_that_was_meant(tmp_path):
    values = [0.1, 0.25, 1e-7] * 10
    y = [at / 7 for at in range(30)]
    files = [
        write(tmp_path / "a.csv", values, y=y),
        write(tmp_path / "b.parquet", pl.Series(values, dtype=pl.Float32), y=y),
    ]
    table = load(files[0], test_path=files[1], target="y", categorical=["c"])
    data = prepare(table, SETTINGS)
    assert (data.test.inputs[:, 1] > 0).all()


def test_one_spelling_stands_for_a_value():
    point, comma = Notation(), Notation("comma", "point")
    cells = [
        "1",
        "1.0",
        "+1",
        "01.0",
        "1e0",
        "-0.0",
        "0.50",
        ".5",
        "1e20",
        "TRUE",
        "No",
        "x",
        "1_000",
    ]
    spellings = ["1", "1", "1", "1", "1", "0", "0.5", "0.5", "1e+20", "true", "no", "x", "1_000"]
    assert list(map(point.spelled, cells)) == spellings
    assert list(map(comma.spelled, ["1,50", "1.000", "1,0"])) == ["1.5", "1000", "1"]


def test_an_encoding_of_an_earlier_version_tells_words_apart_as_it_did(tmp_path):
    path = write(tmp_path / "a.csv", spelled("mixed.csv"), y=[at / 7 for at in range(30)])
    table = load(path, target="y", categorical=["c"])
    encoding = prepare(table, ALONE).preprocessing
    older = TableEncoding(**{**vars(encoding), "levels": [["10", "10.0", "11", "11.0", "9", "9.0"]],
                             "reading": {**encoding.reading, "by_value": []}})  # fmt: skip
    from dlrun.data.tables.new_rows import NewRows

    rows = NewRows().read(Path(path), None, older)
    codes = older.inputs(rows)[:, 1].int().tolist()
    assert [older.levels[0][code - 1] for code in codes] == spelled("mixed.csv")
