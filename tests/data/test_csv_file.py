"""CSV files in all the forms that people write them, and in those that must be refused."""

import gzip

import pytest

from dlrun.data.csv_file import read_csv
from dlrun.data.csv_form import Form
from dlrun.errors import ConfigError


@pytest.fixture
def read(tmp_path):
    """(content, settings of the form) -> the cells of a file with that content."""

    def make(content, *, name="t.csv", **form):
        path = tmp_path / name
        content = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(content)
        given = {"header": "auto", "delimiter": "auto", "encoding": "utf-8", "missing": ["", "?"]}
        return read_csv(path, Form(**{**given, **form}))

    return make


def refusal(read, content, **form):
    with pytest.raises(ConfigError) as caught:
        read(content, **form)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("content", "form", "named", "rows"),
    [
        ("a,b\n1,x\n2,y\n", {}, True, [["1", "x"], ["2", "y"]]),
        ("1,x\n2,y\n", {}, False, [["1", "x"], ["2", "y"]]),
        ("a,b\nx,u\ny,v\n", {}, True, [["x", "u"], ["y", "v"]]),
        ("yes,no\nyes,yes\nno,no\n", {}, False, [["yes", "no"], ["yes", "yes"], ["no", "no"]]),
        ("yes,no\nyes,yes\n", {"header": True}, True, [["yes", "yes"]]),
        ("a,b\n1,x\n", {"header": False}, False, [["a", "b"], ["1", "x"]]),
    ],
    ids=["names", "numbers", "words", "words again", "told so", "told not"],
)
def test_a_header_is_a_first_row_of_new_words_unless_it_is_said(read, content, form, named, rows):
    cells = read(content, **form)
    assert (cells.named, cells.rows) == (named, rows)
    assert cells.names == (rows and ["1", "2"] if not named else content.split("\n")[0].split(","))


@pytest.mark.parametrize(
    "content",
    ["a;b\n1,5;2\n", "a\tb\n1,5\t2\n", "a|b\n1,5|2\n", 'a,b\n"1,5",2\n', "  a   b\n 1,5 2  \n"],
    ids=["semicolon", "tab", "pipe", "comma", "blanks"],
)
def test_what_is_between_cells_is_found(read, content):
    cells = read(content)
    assert (cells.names, cells.rows) == (["a", "b"], [["1,5", "2"]])


@pytest.mark.parametrize("delimiter", ["~", "tab"])
def test_what_is_between_cells_may_be_said(read, delimiter):
    character = {"tab": "\t"}.get(delimiter, delimiter)
    assert read(f"a{character}b\n1,5{character}2\n", delimiter=delimiter).names == ["a", "b"]


def test_cells_are_stripped_and_words_for_missing_are_none(read):
    assert read("a,b,c\n 1 , ?,\n").rows == [["1", None, None]]


def test_quoted_cells_keep_delimiters_quotes_and_line_ends(read):
    cells = read('a,b\n"x, ""y""\nz",1\n2,3\n')
    assert cells.rows == [['x, "y"\nz', "1"], ["2", "3"]]
    assert cells.lines == [2, 4]


def test_empty_lines_are_left_out_and_rows_keep_their_line_numbers(read):
    cells = read("\na,b\n1,2\n\n3,4\n , \n\n")
    assert (cells.rows, cells.lines) == ([["1", "2"], ["3", "4"]], [3, 5])


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ("name\nZoë\n".encode("latin-1"), {"encoding": "latin-1"}),
        ("\ufeffname\r\nZoë\r\n".encode(), {}),
        (gzip.compress("name\nZoë\n".encode()), {"name": "t.csv.gz"}),
    ],
    ids=["latin-1", "byte order mark", "packed"],
)
def test_encodings_marks_line_ends_and_packing_are_read(read, content, form):
    cells = read(content, **form)
    assert (cells.names, cells.rows) == (["name"], [["Zoë"]])


def test_a_column_without_a_name_is_called_by_its_number(read):
    assert read(",a\n1,2\n").names == ["1", "a"]


@pytest.mark.parametrize(
    ("column", "position"), [("b", 1), (1, 0), (3, 2), (-1, 2), (-3, 0), (2019, 1)]
)
def test_a_column_is_found_by_name_or_number(read, column, position):
    header = "a,2019,c" if column == 2019 else "a,b,c"
    assert read(f"{header}\n1,2,3\n", header=True).position("dataset.target", column) == position


@pytest.mark.parametrize(
    ("content", "form", "words"),
    [
        ("", {}, ["t.csv is empty"]),
        ("\n \n", {}, ["t.csv is empty"]),
        ("a,b\n", {"header": True}, ["t.csv, row 1: a header and no rows"]),
        (
            "a,b\n1,2\n3,4,5\n",
            {},
            ["t.csv, row 3: its columns are 3, but those of the header are 2"],
        ),
        ("1,2\n3\n", {}, ["t.csv, row 2: its columns are 1, but those of the table are 2"]),
        ("a,b,a\n1,2,3\n", {}, ["t.csv, row 1: columns 1 and 3 are both called a"]),
        ("a,b\n1,\xe4\n".encode("latin-1"), {}, ["t.csv, line 2, byte 3", "dataset.encoding"]),
        ('a,b\n1,2\n"3,4\n', {}, ["t.csv, row 3: a quote opened in it is never closed"]),
        ("a\n1\n", {"delimiter": "::"}, ["dataset.delimiter is ::", "semicolon"]),
        ("a\n1\n", {"encoding": "klingon"}, ["dataset.encoding is klingon"]),
        (b"not gzip", {"name": "t.csv.gz"}, ["t.csv.gz cannot be read"]),
    ],
)
def test_a_bad_file_is_one_line_that_says_where_and_what(read, content, form, words):
    message = refusal(read, content, **form)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("column", "hint"),
    [("colour", "; did you mean color?"), (4, "numbered from 1 to 3"), (0, "-1 at the end")],
)
def test_a_column_that_is_not_there_is_named_with_what_is(read, column, hint):
    cells = read("color,size,x\nred,1,2\n")
    with pytest.raises(ConfigError, match=f"^dataset.target is {column}, which is no column of"):
        cells.position("dataset.target", column)
    with pytest.raises(ConfigError) as caught:
        cells.position("dataset.target", column)
    assert hint in str(caught.value)
