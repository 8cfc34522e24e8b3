"""What a file is, by its first bytes, where it is not the text that it was given as. No torch here."""

from __future__ import annotations

import json
import re
from pathlib import Path

from dlrun.errors import BadFile

_UNPACK = "unpack it and give the file inside"
_TABLE = "save it as CSV"
_OPEN = "open it in the program that wrote it and save it as CSV or text"
_PICTURE = "give a file of text; images are read by dataset=image_folder"

# (first bytes, what it is, remedy). The first that fits counts.
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x05\x06", "an empty zip archive", "give a file with data in it"),
    (b"BZh", "packed by bzip2", f"{_UNPACK} (bunzip2)"),
    (b"\xfd7zXZ\x00", "packed by xz", f"{_UNPACK} (unxz)"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", f"{_UNPACK} (unzstd)"),
    (b"\x04\x22\x4d\x18", "packed by lz4", f"{_UNPACK} (unlz4)"),
    (b"\x1f\x9d", "packed by compress", f"{_UNPACK} (uncompress)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a rar archive", _UNPACK),
    (b"PAR1", "a Parquet file", f"{_TABLE} (pandas: read_parquet, then to_csv)"),
    (b"ARROW1", "a Feather (Arrow) file", f"{_TABLE} (pandas: read_feather, then to_csv)"),
    (b"FEA1", "a Feather file", f"{_TABLE} (pandas: read_feather, then to_csv)"),
    (b"ORC", "an ORC file", f"{_TABLE} (pandas: read_orc, then to_csv)"),
    (b"Obj\x01", "an Avro file", _TABLE),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _TABLE),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file", _TABLE),
    (b"SQLite format 3\x00", "an SQLite database", "save the table in it as CSV"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (.xls) or another Office file", _TABLE),
    (b"\x93NUMPY", "a NumPy array (.npy)", f"{_TABLE} (numpy.savetxt)"),
    (b"RDX2\n", "a file of R's data", f"{_TABLE} (R: write.csv)"),
    (b"RDX3\n", "a file of R's data", f"{_TABLE} (R: write.csv)"),
    (b"X\n\x00\x00\x00", "a file of R's data", f"{_TABLE} (R: write.csv)"),
    (b"<stata_dta>", "a Stata file", _TABLE),
    (b"$FL2", "an SPSS file", _TABLE),
    (b"%PDF-", "a PDF", _OPEN),
    (b"{\\rtf", "an RTF document", _OPEN),
    (b"\x89PNG\r\n\x1a\n", "a PNG image", _PICTURE),
    (b"\xff\xd8\xff", "a JPEG image", _PICTURE),
    (b"GIF8", "a GIF image", _PICTURE),
    (b"II*\x00", "a TIFF image", _PICTURE),
    (b"MM\x00*", "a TIFF image", _PICTURE),
    (b"RIFF", "a RIFF file, of sound or an image", "give a file of text"),
    (b"\x7fELF", "a program", "give a file of text"),
    (b"version https://git-lfs.github.com/spec", "a pointer of Git LFS", "fetch the file itself (git lfs pull)"),
)  # fmt: skip
# Of a zip archive, by the name of what is in it.
_ZIPPED: tuple[tuple[bytes, str, str], ...] = (
    (b"xl/", "an Excel workbook", _TABLE),
    (b"opendocument.spreadsheet", "an OpenDocument spreadsheet", _TABLE),
    (b"word/", "a Word document", _OPEN),
    (b".npy", "an archive of NumPy arrays (.npz)", f"{_TABLE} (numpy.savetxt)"),
)
_OFFICE = {
    ".xlsx": "an Excel workbook",
    ".xlsm": "an Excel workbook",
    ".ods": "an OpenDocument spreadsheet",
}
_PICKLE = re.compile(rb"\x80[\x02-\x05][\x95cKX}\]()]")
_TAR = slice(257, 262)
_LOOKED_AT = 4096


def refuse_other_kinds(path: Path, content: bytes) -> None:
    """Refuse the content of a file that is no text.

    Raises:
        BadFile: saying what it is and what to do with it.
    """
    if found := _kind(path, content):
        what, remedy = found
        raise BadFile(f"{path} is {what}, not a text", remedy, remedy)


def refuse_markup(path: Path, text: str) -> None:
    """Refuse a text that is no table but another notation.

    Raises:
        BadFile: saying which.
    """
    if found := _markup(text[:_LOOKED_AT].lstrip()):
        what, remedy = found
        raise BadFile(f"{path} is {what}, not a table of rows", remedy, remedy)


def _kind(path: Path, content: bytes) -> tuple[str, str] | None:
    if content.startswith(b"PK\x03\x04"):
        return _zip_kind(path, content)
    for begin, what, remedy in _KINDS:
        # Letters alone may begin a text as well: no text goes on with what is no text.
        if content.startswith(begin) and (len(begin) >= 5 or _is_binary(content)):
            return what, remedy
    if content[_TAR] == b"ustar":
        return "a tar archive", _UNPACK
    if _PICKLE.match(content):
        return "a Python pickle", f"{_TABLE} (pandas: to_csv)"
    return None


def _zip_kind(path: Path, content: bytes) -> tuple[str, str]:
    if what := _OFFICE.get(path.suffix.lower()):
        return what, _TABLE
    # Names stand at the beginning and, all of them, at the end.
    names = content[:_LOOKED_AT] + content[-16 * _LOOKED_AT :]
    for inside, what, remedy in _ZIPPED:
        if inside in names:
            return what, remedy
    return "a zip archive", f"{_UNPACK}, or {_TABLE} where it is an Excel workbook"


def _is_binary(content: bytes) -> bool:
    begin = content[:_LOOKED_AT]
    try:
        begin.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(begin) - 3:  # the last sign may have been cut in two
            return True
    return any(byte < 9 or 13 < byte < 27 for byte in begin)


def _markup(text: str) -> tuple[str, str] | None:
    lower = text[:200].lower()
    if lower.startswith(("<!doctype html", "<html", "<head", "<body", "<table")):
        return "an HTML page", "download the file itself, or save the table in it as CSV"
    if lower.startswith(("<?xml", "<!doctype")):
        return "XML", "save the table in it as CSV"
    if re.match(r"(%.*\n|\s)*@relation\b", text, re.IGNORECASE):
        return "an ARFF file", "save it as CSV"
    if re.match(r"\|.*\|[ \t]*\n\|[ \t]*:?--[-:| \t]*\n", text):
        return "a table of Markdown", "save it as CSV"
    if text.startswith("{") and _is_json(text.partition("\n")[0]):
        return (
            "JSON, an object a line",
            "save it as CSV (pandas: read_json(lines=True), then to_csv)",
        )
    if re.match(r'(\{\s*["}]|\[\s*[\[{])', text) and _goes_on_as_json(text):
        return "JSON", "save it as CSV (pandas: read_json, then to_csv)"
    return None


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _goes_on_as_json(text: str) -> bool:
    """Whether a text that begins as JSON has a key with its value, or a list in a list."""
    return bool(re.match(r'\[?\s*\{\s*("(\\.|[^"\\])*"\s*:|\})|\[\s*\[\s*["\d\-\[{]', text))
