"""The table engine reads what the exact reader reads, or leaves the file to it."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlrun.data.tables import csv, csv_engine
from dlrun.data.tables.column import Decimals
from dlrun.data.tables.csv_format import CsvFormat
from dlrun.data.tables.number_format import Notation, as_number
from dlrun.errors import ConfigError

CELL = st.one_of(
    st.sampled_from(
        ["", " ", "NA", "na", "?", "x", "a b", "1", "2.5", " 3", "007", "1,5", "inf", "nan"]
    ),
    st.sampled_from(
        ['"', '""', '"a,b"', ' "q"', '"a\nb"', "1e400", "-0", "1_0", "٣", "\r", "\x1f", "\0"]
    ),
    st.sampled_from(["é", "#x", "total"]),
    st.text(alphabet='abc,"\n\r 019.-é', max_size=4),
    st.floats(-1e6, 1e6).map("{:.3f}".format),
)
LINE = st.lists(CELL, min_size=1, max_size=4).map(",".join)


@pytest.fixture
def small_files_too(monkeypatch):
    """The engine takes files of any size, some bytes at a time, and columns of few numbers as numbers."""
    monkeypatch.setattr(csv, "_LARGE", 0)
    monkeypatch.setattr(csv_engine, "_PIECE", 40)
    monkeypatch.setattr(csv_engine, "_MANY", 2)


def form(**given):
    usual = {
        "header": "auto",
        "delimiter": "auto",
        "encoding": "utf-8",
        "missing": ["", "NA", "?", "nan"],
    }
    return CsvFormat(**{**usual, "skip_lines": "auto", **given})


def told(read, path, how):
    """What a reader finds, or refuses."""
    try:
        cells = read(path, how)
    except ConfigError as error:
        return str(error)
    numbers = [column.numbers(Notation()) for column in cells.columns]
    values = [
        column.as_list if values is None else np.round(values, 9).tolist()
        for column, values in zip(cells.columns, numbers, strict=True)
    ]
    return repr(
        (
            cells.names,
            cells.named,
            values,
            [*cells.lines],
            cells.notation,
            cells.first,
            cells.delimiter,
        )
    )


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(LINE, min_size=2, max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_any_file_is_read_as_cell_by_cell(tmp_path, small_files_too, lines, end, header):
    path = tmp_path / "t.csv"
    path.write_bytes(end.join(["a,b", *lines]).encode("utf-8", "surrogatepass"))
    how = form(header=header)
    exact = told(lambda *given: csv._read_exactly(*given, None), path, how)
    fast = told(
        lambda *given: csv._read_fast(*given, None) or csv._read_exactly(*given, None), path, how
    )
    assert fast == exact


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_the_engine_takes_plain_files(tmp_path, small_files_too, end):
    rows = [
        f'{row}.5,word {row % 3},"{row}, quoted",{"NA" if row == 2 else row}' for row in range(9)
    ]
    path = tmp_path / "t.csv"
    path.write_text("a,b,c,d\n" + end.join(rows) + end)
    cells = csv._read_fast(path, form(), None)
    assert cells is not None and cells.names == ["a", "b", "c", "d"] and len(cells) == 9
    assert isinstance(cells.columns[0], Decimals)
    assert cells.row(2) == ["2.5", "word 2", "2, quoted", None]
    assert cells.columns[3].blanks() == {"NA": 1}


@given(st.text(alphabet="0123456789+-.eE_ xinfa", max_size=12))
def test_the_engine_and_python_read_the_same_numbers(cell):
    cell = cell.strip()
    values = csv.Column.of([cell], {""}).numbers(Notation())
    number = as_number(cell) if cell else float("nan")
    assert (values is None) == (number is None)
    if values is not None:
        np.testing.assert_array_equal(values, [number])


def test_a_delimiter_of_several_bytes_is_left_to_the_exact_reader(tmp_path, small_files_too):
    path = tmp_path / "t.csv"
    path.write_text("a¦b\n1.5¦x\n2.5¦y\n", "utf-8")
    assert csv._read_fast(path, form(delimiter="¦"), None) is None
    assert csv.read_csv(path, form(delimiter="¦")).names == ["a", "b"]


def test_a_number_may_stand_for_a_missing_cell_among_decimals(tmp_path, small_files_too):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{row}.5,x\n-999,y\n" for row in range(5)))
    cells = csv._read_fast(path, form(missing=["", "-999"]), None)
    assert cells is not None
    assert np.isnan(cells.columns[0].numbers(Notation())).tolist() == [False, True] * 5
