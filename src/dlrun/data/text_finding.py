"""Which files in a folder hold texts, and what lies beside them. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dlrun.hints import listed, note

# What lies beside texts and is none, by its name without an ending, or by its ending.
_DOCUMENTS = {
    "readme", "license", "licence", "copying", "notice", "authors", "changelog", "contributing", "citation",
    "sources", "desktop", "thumbs", "makefile",
}  # fmt: skip
_OTHER_KINDS = {
    ".md", ".rst", ".html", ".json", ".yaml", ".yml", ".toml", ".cff", ".ini", ".cfg", ".py", ".sh", ".ipynb",
    ".log", ".db", ".feat", ".pdf", ".doc", ".docx", ".png", ".jpg", ".jpeg", ".gif", ".zip", ".tar", ".tgz",
    ".7z", ".npy", ".npz", ".pt", ".pkl", ".bak", ".tmp", ".lock",
}  # fmt: skip
_BLANK = b" \t\r\n\f\v\xef\xbb\xbf"
_SMALL = 1024  # bytes, of a file that may be blank


def texts_in(folder: Path) -> list[Path]:
    """The files in a folder that hold texts, by name: without hidden ones, what describes them and other kinds."""
    files = sorted(one for one in folder.iterdir() if one.is_file() and one.name[0] != ".")
    files = [one for one in files if one.stem.lower() not in _DOCUMENTS]
    return [one for one in files if one.suffix.lower() not in _OTHER_KINDS] or files


def is_blank(file: Path) -> bool:
    """Whether a file of one text holds none."""
    return file.stat().st_size <= _SMALL and not file.read_bytes().strip(_BLANK)


def note_no_texts(folder: Path, left_out: Sequence[str], remedy: str) -> None:
    """A line on what lies in a folder of texts and is not read, where there is any."""
    if left_out:
        note(
            f"{folder}: {len(left_out):,} left out, for not being texts: {listed(left_out)}; {remedy}"
        )
