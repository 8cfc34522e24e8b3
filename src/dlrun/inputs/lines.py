"""New texts to classify: one a line, or a column of a CSV file."""

from __future__ import annotations

from pathlib import Path

from dlrun.data.csv_file import read_csv
from dlrun.data.csv_form import Form
from dlrun.data.files import read_text
from dlrun.data.text_encoding import TextEncoding
from dlrun.errors import ConfigError

_TABLES = (".csv", ".tsv")


def read_lines(path: Path, encoding: TextEncoding) -> list[str]:
    """The texts in a file: its lines but for blank ones; of a .csv or .tsv one column.

    That is the column which training had its texts in, or else the one called text.

    Raises:
        ConfigError: missing, empty, not in the encoding of the training files, or without the column.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is not a file")
    if path.suffix.lower() in _TABLES:
        return _read_column(path, encoding)
    lines = read_text(path, encoding.file_encoding).split("\n")
    return [line.strip() for line in lines if line.strip()]


def _read_column(path: Path, encoding: TextEncoding) -> list[str]:
    column = "text" if encoding.column is None else encoding.column
    form = Form(
        header=True if isinstance(column, str) else "auto",
        delimiter="auto",
        encoding=encoding.file_encoding,
        missing=[""],
        skip_lines="auto",
    )
    cells = read_csv(path, form)
    position = cells.position("the column of texts", column)
    texts = []
    for row, text in enumerate(cells.column(position)):
        if text is None:
            raise ConfigError(f"{cells.place(row, position)}: there is no text")
        texts.append(text)
    return texts
