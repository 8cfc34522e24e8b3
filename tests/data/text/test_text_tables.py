"""Texts in columns of tables of every form, read at once or in pieces: the same rows from all."""

import gzip

import polars as pl
import pytest

from dlrun.data import packed
from dlrun.data.tables import csv, table_files, typed_files
from dlrun.data.tables.csv_format import CsvFormat
from dlrun.data.tables.table_files import read_cells, table_pieces
from dlrun.data.text.files import text_csv
from dlrun.data.text.tokens import TokenSettings
from dlrun.data.text_files import read_text, text_pieces
from dlrun.errors import ConfigError

TOKENS = TokenSettings("word", True, 1, None, None, True)
FRAME = pl.DataFrame(
    {
        "id": range(8),
        "text": ["fine, really", "dull", 'so "so"', "two\nlines", "x", "grim", "ok", "good"],
        "stars": [5, 1, 3, 5, None, 1, 3, 5],
    }
)


@pytest.fixture
def in_pieces(monkeypatch):
    """Files are read in pieces of two rows or some bytes."""
    monkeypatch.setattr(table_files, "_WHOLE", 0)
    monkeypatch.setattr(csv, "_ROWS", 2)
    monkeypatch.setattr(csv, "_FEW", 2)
    monkeypatch.setattr(typed_files, "_ROWS", 2)
    monkeypatch.setattr(packed, "_PIECE", 16)


def read(path, **settings):
    defaults = {
        "test_path": None, "text": "text", "label": "stars", "header": "auto", "skip_lines": "auto",
        "comment": None, "delimiter": "auto", "encoding": "utf-8", "missing": ["", "nan", "None"],
        "merge_labels": True, "drop_missing_target": True, "memory_limit": 1.0, "tokens": TOKENS,
    }  # fmt: skip
    return text_csv(path=str(path), **{**defaults, **settings})


def write_all(folder):
    FRAME.write_csv(folder / "t.csv")
    FRAME.write_csv(folder / "t.tsv", separator="\t")
    (folder / "t.csv.gz").write_bytes(gzip.compress((folder / "t.csv").read_bytes()))
    FRAME.write_parquet(folder / "t.parquet")
    FRAME.write_ipc(folder / "t.feather")
    FRAME.write_ndjson(folder / "t.jsonl")
    for name in ("parts", "typed"):
        (folder / name).mkdir()
    FRAME[:3].write_csv(folder / "parts" / "a.csv")
    FRAME[3:].select("text", "stars", "id").write_csv(folder / "parts" / "b.csv")
    FRAME[:3].write_parquet(folder / "typed" / "a.parquet")
    FRAME[3:].write_parquet(folder / "typed" / "b.parquet")


def expected():
    kept = FRAME.drop_nulls()
    return kept["text"].to_list(), kept["stars"].to_list()


def same_from_all(folder):
    write_all(folder)
    texts, stars = expected()
    for name in (
        "t.csv",
        "t.tsv",
        "t.csv.gz",
        "t.parquet",
        "t.feather",
        "t.jsonl",
        "parts",
        "typed/*.parquet",
    ):
        raw = read(folder / name)
        assert raw.texts == texts, name
        assert [int(raw.class_names[label]) for label in raw.labels] == stars, name


def test_every_form_of_table_gives_the_same_texts(tmp_path):
    same_from_all(tmp_path)


def test_every_form_of_table_gives_the_same_texts_in_pieces(tmp_path, in_pieces):
    same_from_all(tmp_path)


def test_a_row_is_named_wherever_it_stands(tmp_path, in_pieces):
    write_all(tmp_path)
    for name, place in (
        ("t.csv", "t.csv: 1 of 8 rows have no stars: row 7;"),  # a text has two lines
        ("t.parquet", "t.parquet: 1 of 8 rows have no stars: row 5;"),
        ("parts", "parts: 1 of 8 rows have no stars: row 4 of b.csv;"),
    ):
        with pytest.raises(ConfigError, match=place):
            read(tmp_path / name, drop_missing_target=False)
    (tmp_path / "t.csv").write_text('text,stars\n"a\nb",1\nc,2\n,2\nd,1\ne,1\n')
    with pytest.raises(ConfigError, match=r"t.csv, row 5, column text: there is no text"):
        read(tmp_path / "t.csv")


TABLES = {
    "plain": "a,b\n" + "".join(f"{n},w{n % 3}\n" for n in range(9)),
    "quoted": 'a,b\n1,"x\n\ny"\n2,"z ""q"""\n\n3,w\n',
    "titles": "A report\n\na,b,c\n1,2,x\n3,4,y\n5,6,z\n",
    "comments": "# by me\na;b\n1;x\n2;y\n3;z\n",
    "no header": "1,2\n3,4\n5,6\n7,8\n",
    "ends": "a,b,\n1,x,\n2,y,\n3,z,\n",
    "crlf": "a\tb\r\n1\tx\r\n2\ty\r\n3\tz\r\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_pieces_of_a_table_are_its_rows(name, tmp_path, in_pieces):
    path = tmp_path / "t.csv"
    path.write_bytes(TABLES[name].encode())
    format = CsvFormat("auto", "auto", "utf-8", ["", "w1"], skip_lines="auto")
    whole, pieces = read_cells(path, format), list(table_pieces(path, format))
    assert len(pieces) > 1
    assert [row for piece in pieces for row in piece.rows] == whole.rows
    assert [place for piece in pieces for place in piece.lines.all()] == whole.lines.all().tolist()
    assert {(tuple(piece.names), piece.named, piece.delimiter) for piece in pieces} == {
        (tuple(whole.names), whole.named, whole.delimiter)
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,x\n2,y\n3\n", "row 4: its columns are 1"),
        ("a,b\n1,x\n2,y\na,b\n", "row 4 repeats the header"),
        ('a,b\n1,x\n2,y\n3,"z\n', "row 4: a quote opened in it is never closed"),
    ],
)
def test_a_mistake_in_a_later_piece_is_named(text, words, tmp_path, in_pieces, monkeypatch):
    monkeypatch.setattr(csv, "_HEAD", 2)
    (tmp_path / "t.csv").write_text(text)
    format = CsvFormat("auto", ",", "utf-8", [""], skip_lines="auto")
    with pytest.raises(ConfigError, match=words):
        list(table_pieces(tmp_path / "t.csv", format))


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16", "utf-8-sig"])
def test_pieces_of_a_text_are_the_text(encoding, tmp_path, in_pieces):
    text = "".join(f"line {n} é\ufeff\r\n" if n % 3 else "\n" for n in range(20)).replace(
        "\ufeff", "" if encoding == "latin-1" else "\ufeff"
    )
    for name, content in (
        ("a", text.encode(encoding)),
        ("b.gz", gzip.compress(text.encode(encoding))),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        pieces = list(text_pieces(path, encoding))
        assert "".join(pieces) == read_text(path, encoding)
        assert encoding == "utf-16" or len(pieces) > 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"fine\n" * 9 + b"caf\xe9\n", "line 10, byte 4: 0xe9 is not utf-8"),
        (b"fine\n" * 9 + b"\0\0\n", "line 10: a NUL byte"),
        (b"\n\n \n" * 9, "is empty"),
        (b"PK\x03\x04" + b"x" * 40, "is a zip archive"),
    ],
)
def test_a_mistake_in_a_later_piece_of_a_text_has_its_line(content, words, tmp_path, in_pieces):
    (tmp_path / "a.txt").write_bytes(content)
    for reading in (lambda *a: list(text_pieces(*a)), read_text):
        with pytest.raises(ConfigError, match=words):
            reading(tmp_path / "a.txt", "utf-8")
