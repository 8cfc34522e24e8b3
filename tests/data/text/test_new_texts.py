"""New texts from files: lines, or the column that training had its texts in."""

from dataclasses import asdict, replace

import polars as pl
import pytest

from dlrun.data.base import Spec
from dlrun.data.kinds import files_of, read_inputs
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
