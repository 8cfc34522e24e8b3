"""New texts from files: lines, or the column that training had its texts in."""

from dataclasses import asdict, replace

import polars as pl
import pytest

from dlrun.data import packed
from dlrun.data.base import Spec
from dlrun.data.kinds import files_of, read_inputs, read_pieces
from dlrun.data.tables import csv, table_files, typed_files
from dlrun.data.text.encoding import TextEncoding
from dlrun.data.text.texts import TextLayout
from dlrun.errors import ConfigError

SPEC = Spec("binary", "tokens", (5,), 1, ("a", "b"), vocabulary=4)


LINES = TextLayout("lines", separator="tab")
TABLE = TextLayout(
    "table", columns=["id", "title", "body", "stars"], texts=["title", "body"], label="stars", named=True
)  # fmt: skip
PLAIN = TextLayout("table", columns=["1", "2"], texts=["2"], label="1")


def read(path, *, column=None, file_encoding="utf-8", layout=None):
    plain = layout and asdict(layout)
    encoding = TextEncoding(["", "?", "x", "y"], "word", True, 5, file_encoding, column, plain)
    texts = read_inputs(path, SPEC, encoding)
    assert encoding.inputs(texts).shape == (len(texts), 5)
    return texts


@pytest.fixture
def write(tmp_path):
    def make(name, content, encoding="utf-8"):
        path = tmp_path / name
        path.write_text(content, encoding=encoding)
        return path

    return make


def refusal(*words, **settings):
    with pytest.raises(ConfigError) as refused:
        read(*words, **settings)
    return str(refused.value)


def test_a_line_is_a_text_and_a_blank_one_keeps_its_place(write, capsys):
    assert read(write("new.txt", "x, y\n\n  y \n")) == ["x, y", "", "y"]
    assert "new.txt: 1 of 3 lines have no text, and no prediction" in capsys.readouterr().err


def test_files_are_read_in_the_encoding_of_training(write):
    path = write("new.txt", "thé\n", encoding="latin-1")
    assert read(path, file_encoding="latin-1") == ["thé"]
    assert "line 1, byte 3: 0xe9 is not utf-8" in refusal(path)


@pytest.mark.parametrize(
    ("column", "texts"), [(None, ["x"]), ("body", ['y, "z"']), (3, ['y, "z"'])]
)
def test_of_a_table_the_column_is_read_that_training_had_or_else_text(column, texts, write):
    path = write("new.csv", 'id,text,body\n1,x,"y, ""z"""\n')
    assert read(path, column=column) == texts


def test_what_cannot_be_read_is_refused_with_its_place(write, tmp_path):
    assert "is no column of" in refusal(write("new.csv", "id,txt\n1,x\n"))
    assert "did you mean txt?" in refusal(write("new.csv", "id,txt\n1,x\n"))
    assert refusal(write("new.csv", "id,text\n1,x\n2,\n")).endswith(
        "new.csv, row 3, column text: there is no text"
    )
    assert "is empty" in refusal(write("new.txt", "\n"))
    assert refusal(tmp_path / "old.txt") == f"{tmp_path / 'old.txt'} is not a file"


def test_a_file_with_labels_gives_its_texts_and_says_so(write, capsys):
    for name in ("new.tsv", "new.txt"):
        path = write(name, "label\ttext\nb\tx, y\n\na\t\nc\ty\n")
        assert read(path, layout=LINES) == ["x, y", "", "", "y"]
        said = capsys.readouterr().err
        assert "has labels, which are left away" in said and "none called c" in said
        assert "2 of 4 lines have no text" in said


def test_a_file_without_labels_is_read_whole(write, capsys):
    assert read(write("new.txt", "a x\nx\ty\nb\n"), layout=LINES) == ["a x", "x\ty", "b"]
    assert read(write("new.csv", "id,text\n1,x\n"), layout=LINES) == ["x"]
    assert not capsys.readouterr().err


def test_a_line_without_a_label_among_labels_is_refused(write):
    words = refusal(write("new.tsv", "a\tx\nb y\na\ty\n"), layout=LINES)
    assert "new.tsv, line 2: there is no label before a text, as in the other lines" in words


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ("id,title,body,stars\n1,x,y y,5\n2,,y,4\n", True),
        ("body,title\ny y,x\ny,\n", False),
    ],
)
def test_columns_go_by_the_names_that_training_had_with_the_labels_or_without(
    content, labels, write, capsys
):
    assert read(write("new.csv", content), layout=TABLE) == ["x\ny y", "y"]
    assert ("labels in column stars, which are left away" in capsys.readouterr().err) == labels


def test_of_a_table_without_names_the_order_counts(write):
    for content in ("a,x y\nb,y\n", "x y\ny\n", "label,text\na,x y\nb,y\n"):
        assert read(write("new.csv", content), layout=PLAIN) == ["x y", "y"]
    assert "has 3 columns, but this run was trained on 2" in refusal(
        write("new.csv", "1,a,x\n"), layout=PLAIN
    )
    assert read(write("new.txt", "x\n\ny\n"), layout=PLAIN) == ["x", "", "y"]


def test_a_table_that_lacks_a_text_or_its_column_is_refused(write):
    assert "no column body, which this run reads texts from" in refusal(
        write("new.csv", "id,title\n1,x\n"), layout=TABLE
    )
    assert "row 3, column title and body: there is no text" in refusal(
        write("new.csv", "id,title,body\n1,x,\n2,,\n"), layout=TABLE
    )


def test_a_folder_of_texts_is_for_runs_that_had_one(write, tmp_path):
    for name in ("b/2.txt", "a/1.txt", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(name, "x\n\ny\n")
    (tmp_path / "a" / "0.txt").touch()
    encoding = TextEncoding(["", "?"], "word", True, 5, "utf-8", None, asdict(TextLayout("folder")))
    files = files_of(tmp_path, SPEC, encoding)
    assert [str(file.relative_to(tmp_path)) for file in files] == ["a/0.txt", "a/1.txt", "b/2.txt"]
    assert [read_inputs(file, SPEC, encoding) for file in files] == [[""], ["x\n\ny"], ["x\n\ny"]]
    with pytest.raises(ConfigError, match="trained on texts, each a line; give its files one by"):
        files_of(tmp_path, SPEC, replace(encoding, layout=None))


@pytest.mark.parametrize("form", ["parquet", "feather", "jsonl", "csv", "tsv"])
def test_new_texts_are_read_from_every_form_of_table(form, tmp_path):
    frame = pl.DataFrame({"id": [1, 2], "body": ["fine, really", "dull"], "title": ["A", None]})
    path = tmp_path / f"new.{form}"
    {
        "parquet": frame.write_parquet, "feather": frame.write_ipc, "jsonl": frame.write_ndjson,
        "csv": frame.write_csv, "tsv": lambda path: frame.write_csv(path, separator="\t"),
    }[form](path)  # fmt: skip
    layout = TextLayout(
        "table",
        columns=["body", "title", "label"],
        texts=["title", "body"],
        label="label",
        named=True,
    )
    assert read(path, layout=layout) == ["A\nfine, really", "dull"]
    assert read(path, column="body") == ["fine, really", "dull"]


@pytest.fixture
def small_pieces(monkeypatch):
    """Every file is a large one, of pieces of few lines or rows."""
    monkeypatch.setattr(packed, "_PIECE", 20)
    monkeypatch.setattr(table_files, "_WHOLE", 0)
    for module in (csv, typed_files):
        monkeypatch.setattr(module, "_ROWS", 3)
    monkeypatch.setattr(csv, "_FEW", 3)


def pieces(path, keep=(), *, layout=None):
    plain = layout and asdict(layout)
    encoding = TextEncoding(["", "?"], "word", True, 5, "utf-8", None, plain)
    return list(read_pieces([path], SPEC, encoding, list(keep)))


def test_lines_of_a_large_file_are_numbered_on(write, small_pieces, capsys):
    path = write("new.txt", "".join(f"text {n}\n" if n % 4 else "\n" for n in range(20)))
    found = pieces(path)
    assert len(found) > 3
    assert [text for piece in found for text in piece.raw] == read(path)
    assert [row for piece in found for row in piece.rows] == list(range(20))
    assert capsys.readouterr().err.count("5 of 20 lines have no text") == 1


def test_labels_of_a_large_file_are_left_away_in_all_pieces(write, small_pieces, capsys):
    path = write(
        "new.tsv", "label\ttext\n" + "".join(f"{'abc'[n % 3]}\ttext {n}\n" for n in range(20))
    )
    found = pieces(path, layout=LINES)
    assert [text for piece in found for text in piece.raw] == [f"text {n}" for n in range(20)]
    assert "training had none called c" in capsys.readouterr().err
    path.write_text(path.read_text() + "no label\n")
    with pytest.raises(ConfigError, match="line 22: there is no label before a text"):
        pieces(path, layout=LINES)


@pytest.mark.parametrize("name", ["new.csv", "new.parquet"])
def test_rows_of_a_large_table_of_texts_are_given_with_the_columns_to_keep(
    tmp_path, small_pieces, name
):
    table = pl.DataFrame(
        {
            "body": [f"b{n}" for n in range(10)],
            "id": [f"{n:03d}" for n in range(10)],
            "title": ["x"] * 10,
        }
    )
    table.write_csv(tmp_path / name) if name == "new.csv" else table.write_parquet(tmp_path / name)
    found = pieces(tmp_path / name, ["id"], layout=TABLE)
    assert len(found) > 2
    assert [text for piece in found for text in piece.raw] == [f"x\nb{n}" for n in range(10)]
    assert [cell for piece in found for cell in piece.kept["id"]] == [f"{n:03d}" for n in range(10)]


def test_lines_have_no_columns_to_keep(write):
    with pytest.raises(
        ConfigError, match=r"--keep names id, a column, but .*new.txt is an input without columns"
    ):
        pieces(write("new.txt", "x\n"), ["id"])
