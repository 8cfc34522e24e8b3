"""New texts from files: lines, or the column that training had its texts in."""

import pytest

from dlrun.data.base import Spec
from dlrun.data.text_encoding import TextEncoding
from dlrun.errors import ConfigError
from dlrun.inputs.reading import read_inputs

SPEC = Spec("binary", "tokens", (5,), 1, ("a", "b"), vocabulary=4)


def read(path, *, column=None, file_encoding="utf-8"):
    encoding = TextEncoding(["", "?", "x", "y"], "word", True, 5, file_encoding, column)
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
