"""The text in a file, packed or not: its encoding, its line ends, some MiB of it at a time. No torch here."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from dlrun.data.file_kinds import refuse_other_kinds
from dlrun.data.packed import LARGEST, content_pieces, unpacked
from dlrun.errors import BadFile, ConfigError

# Of utf-32 first: the mark of utf-16 begins one of its two.
_MARKS = (
    ("utf-32", (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)),
    ("utf-16", (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
)
_WIDE = ("utf-16", "utf16", "utf-32", "utf32")  # whose signs have NUL bytes in them


def read_text(path: Path, encoding: str) -> str:
    """All of a text file with line ends as `\\n` and without a byte order mark; gzip or zstd may have packed it.

    Raises:
        ConfigError: unreadable, empty, no text, or not in this encoding, with line and column.
    """
    text = _decoded(path, unpacked(path), encoding)
    if not text or text.isspace():
        raise _is_empty(path)
    return text


def text_pieces(path: Path, encoding: str, *, unfolds_to: float = LARGEST) -> Iterator[str]:
    """The text that `read_text` gives, some MiB at a time; each piece but the last ends where a line does.

    A text whose line ends are no single byte is one piece.

    Args:
        unfolds_to: bytes that gzip may have packed.

    Raises:
        ConfigError: as `read_text`.
    """
    if _is_wide(encoding):
        yield read_text(path, encoding)
        return
    lines, blank = 0, True
    for content in content_pieces(path, unfolds_to):
        text = _decoded(path, content, encoding, lines=lines)
        lines += text.count("\n")
        blank = blank and (not text or text.isspace())
        yield text
    if blank:
        raise _is_empty(path)


def _decoded(path: Path, content: bytes, encoding: str, *, lines: int = 0) -> str:
    """The text in some whole lines of a file, with `lines` above them."""
    if not lines:
        refuse_other_kinds(path, content)
    marked = marked_encoding(content)
    wide = _is_wide(encoding)
    if marked and not wide and not lines:
        raise BadFile(
            f"{path} begins with the byte order mark of {marked}, but is read as {encoding}",
            f"set dataset.encoding={marked}",
            f"save it as {encoding}, as the files that this run was trained on",
        )
    if b"\0" in content and not wide:
        raise _nul_bytes(path, content, encoding, lines)
    utf_8 = encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig")
    codec = ("utf-8" if lines else "utf-8-sig") if utf_8 else encoding
    try:
        text = content.decode(codec)
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1 + lines, error.start - (before.rfind(b"\n") + 1) + 1
        raise BadFile(
            f"{path}, line {line}, byte {column}: 0x{content[error.start]:02x} is not {encoding}",
            "set dataset.encoding to the file's own, such as latin-1 or cp1252",
            f"save it as {encoding}, as the files that this run was trained on",
        ) from error
    except LookupError:
        raise ConfigError(
            f"dataset.encoding is {encoding}, which is not known; use one such as utf-8, latin-1 or cp1252"
        ) from None
    if not lines:
        text = text.removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def marked_encoding(content: bytes) -> str | None:
    """The encoding whose byte order mark a text begins with: utf-16 or utf-32; None without one of these."""
    return next((name for name, marks in _MARKS if content.startswith(marks)), None)


def unmarked_utf_16(begin: bytes) -> str | None:
    """The order of bytes of utf-16 that NUL bytes at the beginning of a text speak for; None where they do not."""
    even, odd = begin[::2].count(0), begin[1::2].count(0)
    if (even == 0) == (odd == 0) or (even + odd) * 10 <= len(begin):
        return None
    return "utf-16-le" if odd else "utf-16-be"


def _is_wide(encoding: str) -> bool:
    return encoding.lower().replace("_", "-").startswith(_WIDE)


def _is_empty(path: Path) -> ConfigError:
    return ConfigError(f"{path} is empty: give a file with data in it")


def _nul_bytes(path: Path, content: bytes, encoding: str, lines: int) -> BadFile:
    """The error of NUL bytes: those of another encoding, or of no text."""
    if other := unmarked_utf_16(content[:4096]):
        return BadFile(
            f"{path} has NUL bytes as text in utf-16 has, but is read as {encoding}",
            f"set dataset.encoding={other}",
            f"save it as {encoding}, as the files that this run was trained on",
        )
    line = content.count(b"\n", 0, content.index(0)) + 1 + lines
    remedy = "it is damaged or no text: mend the line, or give a file of text"
    return BadFile(f"{path}, line {line}: a NUL byte, which no text has", remedy, remedy)
