"""CSV files in all the forms that people write them, and in those that must be refused."""

import csv
import gzip

import pytest

from dlrun.data.tables.csv import read_csv
from dlrun.data.tables.csv_format import CsvFormat
from dlrun.errors import ConfigError


@pytest.fixture
def read(tmp_path):
    """(content, settings of the form) -> the cells of a file with that content."""

    def make(content, *, name="t.csv", **form):
        path = tmp_path / name
        content = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(content)
        given = {
            "header": "auto", "delimiter": "auto", "encoding": "utf-8", "missing": ["", "?"],
            "skip_lines": "auto",
        }  # fmt: skip
        return read_csv(path, CsvFormat(**{**given, **form}))

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
    assert [*cells.lines] == [2, 4]


def test_empty_lines_are_left_out_and_rows_keep_their_line_numbers(read):
    cells = read("\na,b\n1,2\n\n3,4\n , \n\n")
    assert (cells.rows, [*cells.lines]) == ([["1", "2"], ["3", "4"]], [3, 5])


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


BODY = "".join(f"0.{n},1.{n},{'pq'[n % 2]}\n" for n in range(10, 30))


@pytest.mark.parametrize(
    ("above", "names", "left_out"),
    [
        ("sep=;\na;b;y\n", "a,b,y", ""),
        ('"sep=;"\na;b;y\n', "a,b,y", ""),
        ("# made by tool\na,b,y\n", "a,b,y", "line 1 (# made by tool) left out as comments"),
        ("# made by tool, v2, ok\na,b,y\n", "a,b,y", "line 1 (# made by tool, v2, ok)"),
        ("# 2024\n# by x, y\n\na,b,y\n", "a,b,y", "lines 1 to 2 (# 2024)"),
        ('"# made by, tool"\na,b,y\n', "a,b,y", "line 1"),
        ("% by x\na,b,y\n", "a,b,y", "line 1"),
        ("#a,b,y\n", "a,b,y", ""),
        ("# by x\n#a,b,y\n", "a,b,y", "line 1 (# by x)"),
        ("#,b,y\n", "#,b,y", ""),
        ("Sales of 2024\na,b,y\n", "a,b,y", "line 1 (Sales of 2024) left out as a title"),
        ("Sales of 2024,,\n\na,b,y\n", "a,b,y", "lines 1 to 2 (Sales of 2024)"),
        ("Sales\nby X\na,b,y\n", "a,b,y", "lines 1 to 2 (Sales)"),
        ("Sales\n", "1,2,3", "line 1 (Sales)"),
    ],
)
def test_what_stands_above_a_table_is_left_out_with_a_message(read, capsys, above, names, left_out):
    cells = read(above + (BODY.replace(",", ";") if ";" in above else BODY))
    assert cells.names == names.split(",")
    assert (len(cells.rows), cells.lines[0]) == (20, above.count("\n") + 1)
    said = capsys.readouterr().err
    assert (left_out in said and said.count("\n") == 1) if left_out else not said


def test_names_after_a_mark_and_a_blank_are_found_too(read):
    assert read("# a b y\n" + BODY.replace(",", " ")).names == ["a", "b", "y"]


def test_texts_that_begin_like_comments_are_rows(read, capsys):
    cells = read("#love it,pos\n#hate it,neg\nfine,pos\n#bad,neg\n")
    assert [row[0] for row in cells.rows] == ["#love it", "#hate it", "fine", "#bad"]
    assert not capsys.readouterr().err


def test_comments_below_those_above_are_left_out_as_well(read, capsys):
    cells = read(f"# by x\na,b,y\n{BODY}# the end\n")
    assert len(cells.rows) == 20
    assert "and 1 more below left out" in capsys.readouterr().err


@pytest.mark.parametrize(("comment", "mark"), [("hash", "#"), ("slashes", "//"), ("--", "--")])
def test_lines_that_begin_as_told_are_left_out_but_not_inside_of_quotes(read, comment, mark):
    cells = read(
        f'{mark} x\ntext,y\n"one\n{mark}two",p\n  {mark} gone, too\nsix,q\n', comment=comment
    )
    assert cells.rows == [[f"one\n{mark}two", "p"], ["six", "q"]]
    assert [*cells.lines] == [3, 6]


def test_as_many_lines_as_told_are_no_part_of_the_table(read):
    content = "a,b,y\nu,v,w\n" + BODY
    assert read(content, skip_lines=1).names == ["u", "v", "w"]
    assert read("# x\n" + BODY, skip_lines=0, header=False, delimiter=";").rows[0] == ["# x"]
    assert "dataset.skip_lines" in refusal(read, content, skip_lines=99)
    assert "dataset.comment is empty" in refusal(read, content, comment=" ")


@pytest.mark.parametrize("header", ["a,b,y,", "a,b,y"])
def test_delimiters_at_the_ends_of_rows_make_no_column(read, capsys, header):
    cells = read(f"{header}\n" + BODY.replace("\n", ",\n"))
    assert (cells.names, cells.rows[0]) == (["a", "b", "y"], ["0.10", "1.10", "p"])
    assert "each row ends in a delimiter" in capsys.readouterr().err


def test_cells_of_any_length_are_read_and_the_readers_bound_stays_what_it_was(read):
    usual = csv.field_size_limit()
    long = "word, " * 50_000
    cells = read(f'text,y\n"{long}",p\nshort,q\n')
    assert cells.rows[0] == [long.strip(), "p"]
    assert read(f"p\t{long}\nq\tshort, too\np\tand, yes\n").names == ["1", "2"]
    assert csv.field_size_limit() == usual


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"a,b,y\n{BODY}a,b,y\n{BODY}", "row 22 repeats the header; take it out"),
        (f"a,b,y\n{BODY}# end\n", "row 22: its columns are 1, but those of the header are 3; set "
         "dataset.comment=hash"),
        (f"a,b,y\n{BODY}20 rows\n", "mend the row, or take it out where it stands below the table"),
        ("a,y\n" + BODY, "row 2: its columns are 3, but those of the header are 2; each row has one more"),
    ],
)  # fmt: skip
def test_rows_that_are_none_of_the_table_are_named(read, content, words):
    assert words in refusal(read, content)


def test_a_sum_below_the_table_is_said_to_be_read_as_data(read, capsys):
    assert len(read(f"a,b,y\n{BODY}Total,9,\n").rows) == 21
    assert "row 22 begins with Total and is read as data" in capsys.readouterr().err


def test_what_may_or_may_not_be_a_header_is_said_with_the_key(read, capsys):
    assert read("x,y\nfine,good\ndull,bad\n").named
    said = capsys.readouterr().err
    assert "row 1 (x, y) is read as a header; dataset.header=false reads it as data" in said
    assert not read("x,y\nfine,good\n", header=False).named
    assert not capsys.readouterr().err


def test_a_number_that_names_a_column_does_not_count_it_and_that_is_said(read, capsys):
    cells = read("0,1,2,3\n0.1,0.2,0.3,7.5\n0.3,0.2,0.5,1.5\n0.4,0.1,0.3,1.5\n")
    assert cells.names == ["0", "1", "2", "3"] and not capsys.readouterr().err
    assert cells.position("dataset.target", 3) == 3
    said = capsys.readouterr().err
    assert (
        "dataset.target=3 is the column called 3, which is number 4; number 3 is called 2" in said
    )
    assert (cells.position("dataset.target", -1), cells.position("dataset.target", "2")) == (3, 2)
    assert not capsys.readouterr().err


def test_a_name_that_is_not_found_says_that_no_header_was(read):
    cells = read("1,2,x\n1,3,y\n1,2,x\n")
    with pytest.raises(ConfigError) as caught:
        cells.position("dataset.target", "price")
    assert "no header was found in row 1 (1, 2, x): set dataset.header=true" in str(caught.value)


def test_an_index_without_a_name_gets_one_that_no_other_column_has(read):
    rows = "".join(f"{n},0.{n},1.{n}\n" for n in range(20))
    assert read(",0,1\n" + rows).names == ["unnamed_1", "0", "1"]
