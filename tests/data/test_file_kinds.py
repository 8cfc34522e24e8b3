"""Files that are not what they were given as are called what they are; texts that merely begin alike are read."""

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

from dlrun.data.tables.csv import read_csv
from dlrun.data.tables.csv_format import CsvFormat
from dlrun.data.text_files import read_text
from dlrun.errors import ConfigError

TABLE = b"a,b,y\n" + b"1,2,p\n3,4,q\n" * 9


def zipped(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, TABLE)
    return buffer.getvalue()


def tarred():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.csv"), io.BytesIO())
    return buffer.getvalue()


def saved(save, *arrays):
    buffer = io.BytesIO()
    save(buffer, *arrays)
    return buffer.getvalue()


NO_TEXTS = {
    "a zip archive": zipped("a.csv"),
    "an Excel workbook": zipped("xl/workbook.xml"),
    "a Word document": zipped("word/document.xml"),
    "an archive of NumPy arrays": saved(np.savez, np.zeros(2)),
    "a NumPy array": saved(np.save, np.zeros(2)),
    "a Python pickle": pickle.dumps({"a": 1}),
    "a tar archive": tarred(),
    "packed by bzip2": bz2.compress(TABLE),
    "packed by xz": lzma.compress(TABLE),
    "packed by zstd": b"\x28\xb5\x2f\xfd\x04\x58",
    "a 7z archive": b"7z\xbc\xaf\x27\x1c\x00\x04",
    "a Parquet file": b"PAR1\x15\x04\x15\x00",
    "a Feather (Arrow) file": b"ARROW1\x00\x00",
    "an old Excel workbook": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "an HDF5 file": b"\x89HDF\r\n\x1a\n",
    "an SQLite database": b"SQLite format 3\x00",
    "a PDF": b"%PDF-1.7\n",
    "a PNG image": b"\x89PNG\r\n\x1a\n",
    "a JPEG image": b"\xff\xd8\xff\xe0",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\n",
}
NO_TABLES = {
    "an HTML page": b"\n<!DOCTYPE html>\n<html>",
    "XML": b"<?xml version='1.0'?>",
    "an ARFF file": b"% iris\n@RELATION iris\n",
    "a table of Markdown": b"| a | b |\n|---|---|\n| 1 | 2 |\n",
    "JSON, an object a line": b'{"a": 1}\n{"a": 2}\n',
    "JSON": b'[\n {"a": 1},\n {"a": 2}]',
}


@pytest.fixture
def file(tmp_path):
    """(content, name) -> a file with it."""

    def write(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def read(path):
    return read_csv(path, CsvFormat("auto", "auto", "utf-8", [""], skip_lines="auto"))


@pytest.mark.parametrize("kind", NO_TEXTS)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_what_is_no_text_is_called_what_it_is_with_a_remedy(file, kind, encoding):
    path = file(NO_TEXTS[kind])
    with pytest.raises(ConfigError) as caught:
        read_text(path, encoding)
    message = str(caught.value)
    assert message.startswith(f"{path} is {kind}") and "; " in message
    assert "\n" not in message and "encoding" not in message


@pytest.mark.parametrize("kind", NO_TABLES)
def test_a_text_in_another_notation_is_no_table_but_a_text(file, kind):
    path = file(NO_TABLES[kind])
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path} is {kind}, not a table of rows; ")
    assert read_text(path, "utf-8") == NO_TABLES[kind].decode()


@pytest.mark.parametrize("names", ["BMI,age", "ORC,b", "PAR1,b", "RIFF,b", "[id],[x]", "{a},b"])
def test_a_table_that_merely_begins_like_another_kind_is_read(file, names):
    assert read(file(f"{names}\n1,2\n3,5\n".encode())).names == names.split(",")


def test_gzip_is_known_by_its_bytes_and_not_by_its_name(file):
    packed = gzip.compress(TABLE)
    for content in (packed, gzip.compress(packed)):
        assert read(file(content, "t.csv")).names == ["a", "b", "y"]
    with pytest.raises(ConfigError, match=r"but gzip has not packed it; rename it without \.gz"):
        read(file(TABLE, "t.csv.gz"))
    with pytest.raises(ConfigError, match="is a tar archive"):
        read(file(gzip.compress(tarred()), "t.csv.gz"))


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:20] + b"x" * 20])
def test_damaged_gzip_is_said_in_a_line(file, damage):
    with pytest.raises(ConfigError, match=r"t\.csv cannot be read: ") as caught:
        read(file(damage(gzip.compress(TABLE))))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["a", "größe", "цена"])
def test_utf_16_without_a_mark_is_told_by_its_nul_bytes(file, encoding, name):
    text = TABLE.decode().replace("a,", f"{name},")
    path = file(text.encode(encoding))
    for given in ("utf-8", "latin-1"):
        with pytest.raises(ConfigError, match=rf"; set dataset\.encoding={encoding}$"):
            read_text(path, given)
    assert read_text(path, encoding) == text


def test_a_single_nul_byte_is_named_with_its_line(file):
    with pytest.raises(ConfigError, match=r"t\.csv, line 3: a NUL byte"):
        read(file(b"a,b\n1,2\n3,\x004\n"))
    with pytest.raises(ConfigError, match=r"line 1: a NUL byte, .* no text"):
        read(file(bytes(range(256)) * 9))
