"""Where files of data come from: the user's own, those that ship with dlrun, those fetched once. No torch here."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import os
import tempfile
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from glob import glob, has_magic
from http.client import HTTPException
from io import BufferedReader, RawIOBase
from pathlib import Path, PurePath
from typing import IO, Any, TypeVar, cast
from urllib.error import HTTPError

from dlrun.data.file_kinds import refuse_other_kinds
from dlrun.errors import BadFile, ConfigError, did_you_mean

A = TypeVar("A")
SAMPLES = Path(__file__).parent.parent / "samples"
_PACKAGED = "packaged:"
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
# Of utf-32 first: the mark of utf-16 begins one of its two.
_MARKS = (
    ("utf-32", (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)),
    ("utf-16", (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
)
_WIDE = ("utf-16", "utf16", "utf-32", "utf32")  # whose signs have NUL bytes in them
_LARGEST = 2**30  # bytes that a packed file may unfold to
_TIMES_PACKED = 2
_PIECE = 2**23  # bytes that are read at a time
_LOOKED_AT = 2**22  # bytes of what gzip has packed, by which the rest is judged
_TIMES_ZSTD = 4  # times its bytes is what a file packed by zstd holds at least, most often
_SECONDS = 30  # without an answer, after which a download has failed
_OWN_FOLDER = (
    "DLRUN_DATA",
    "~/.cache/dlrun",
)  # as in the configs: a variable, and where it is not set
_READING_BACK = (
    "DLRUN_READING_BACK"  # in the environment, which the processes of a sweep have as well
)
# What folders of parts are called, in any case.
_PART_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


def _https_only() -> urllib.request.OpenerDirector:
    """An opener of https addresses and of those they redirect to, but of no other scheme."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


_OPENER = _https_only()


def locate(key: str, path: str) -> Path:
    """The file or folder that the setting `key` names: `packaged:NAME` ships with dlrun, all else is the user's.

    Raises:
        ConfigError: there is none, with the nearest name beside it, or it is a pipe, a socket or a device.
    """
    if not path.strip():
        raise ConfigError(f"{key} is empty, but must name a file or a folder")
    if path.startswith(_PACKAGED):
        found = SAMPLES / path.removeprefix(_PACKAGED)
    else:
        found = Path(path).expanduser()
    if not found.exists():
        beside = _names_in(found.parent)
        hint = did_you_mean(found.name, beside)
        rule = "" if hint.endswith("?") else f"; give a path from {Path.cwd()} or an absolute one"
        raise ConfigError(f"{key} is {path}, which does not exist{hint}{rule}")
    if kind := other_kind(found):
        raise ConfigError(f"{key} is {path}, {kind}; give a file or a folder")
    return found


def other_kind(path: Path) -> str | None:
    """What `path` is if neither a file nor a folder, which reading could wait for without end. Else None."""
    if path.is_file() or path.is_dir() or not path.exists():
        return None
    return "a pipe" if path.is_fifo() else "a socket" if path.is_socket() else "a device"


def _names_in(folder: Path) -> list[str]:
    """The names of all that is not hidden."""
    if not folder.is_dir():
        return []
    return [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]


def locate_file(key: str, path: str) -> Path:
    """As `locate`, of a file alone.

    Raises:
        ConfigError: as `locate`, or it is a folder.
    """
    found = locate(key, path)
    if found.is_dir():
        raise ConfigError(f"{key} is {path}, a folder; give one file")
    return found


def part_named(word: str) -> str | None:
    """Train, val or test, where `word` is a name of that part; None otherwise."""
    return _PART_NAMES.get(word.strip().lower())


def part_folders(folder: Path, inside: Sequence[Path]) -> dict[str, Path]:
    """The folders among `inside` that are named like parts of a data set, by train, val and test.

    Raises:
        ConfigError: two of one part.
    """
    parts: dict[str, Path] = {}
    for one in inside:
        if part := part_named(one.name):
            if part in parts:
                raise ConfigError(
                    f"{folder} has {parts[part].name}/ and {one.name}/; keep one of them"
                )
            parts[part] = one
    return parts


def absolute(path: Any) -> Any:
    """The absolute form of a path or glob, or of a list of them, to what exists; anything else unchanged."""
    if isinstance(path, list):
        return [absolute(one) for one in path]
    if isinstance(path, str) and path.strip():
        found = Path(path).expanduser()
        if found.exists() or (has_magic(path) and glob(str(found), recursive=True)):
            return str(found.absolute())
    return path


@contextmanager
def settings_read_back() -> Iterator[None]:
    """Within this, data are fetched into the user's own folder of data only: `dataset.root` may be a stranger's."""
    before = os.environ.get(_READING_BACK)
    os.environ[_READING_BACK] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_READING_BACK]


def refuse_foreign_folder(root: Path, missing: str) -> None:
    """Refuse to fetch into a folder that only a stored run names, not the user.

    Raises:
        ConfigError: with what to do.
    """
    own = Path(os.environ.get(*_OWN_FOLDER)).expanduser()
    if os.environ.get(_READING_BACK) and root.absolute() != own.absolute():
        raise ConfigError(
            f"dataset.root is {root}, which does not hold {missing}, and nothing is downloaded into a folder that a "
            "stored config names: put it there yourself, or give dataset.root=FOLDER for one that has it"
        )


def fetch(root: str, relative: str, *, url: str, md5: str) -> Path:
    """The file `relative` of a named data set in the folder `root`, downloaded there from `url` if it is missing.

    Address, checksum and name are the data set's own, never settings. What arrives is checked; what is
    there already is the user's own affair.

    Raises:
        ConfigError: it is not there and cannot be had, or is no file below `root`.
    """
    if not root.strip():
        raise ConfigError(
            "dataset.root is empty: unset DLRUN_DATA, or set it to the folder of the data"
        )
    if PurePath(relative).is_absolute() or ".." in PurePath(relative).parts:
        raise ConfigError(f"{relative} is no file below dataset.root ({root})")
    folder = Path(root).expanduser()
    path = folder / relative
    if path.is_file():
        return path
    refuse_foreign_folder(folder, relative)
    print(f"dlrun: {path} is missing: downloading it from {url}…", flush=True)
    try:
        download(path, url=url, md5=md5)
    except OSError as error:
        raise ConfigError(
            f"dataset.root is {root}, which does not hold {relative}, and downloading failed ({error}); "
            f"put the file there, or point DLRUN_DATA or dataset.root to a folder that has it"
        ) from error
    return path


def download(path: Path, *, url: str, md5: str) -> None:
    """Fetch a file to `path`, whole or not at all, over https alone, wherever the address may lead on.

    Raises:
        OSError: it cannot be had, or what arrived has another checksum.
    """
    try:
        with _OPENER.open(url, timeout=_SECONDS) as answer:
            content = answer.read()
    except HTTPError as error:
        error.close()  # it holds the connection open
        raise
    except (ValueError, HTTPException) as error:  # no address; no answer as of http
        raise OSError(str(error) or type(error).__name__) from error
    if (found := hashlib.md5(content, usedforsecurity=False).hexdigest()) != md5:
        raise OSError(f"what arrived has the checksum {found} instead of {md5}")
    _write(path, content)


def ahead(parts: Iterator[A]) -> Iterator[A]:
    """The same, none of them None, each made by a thread while the one before it is used."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, parts, None)
        while (part := coming.result()) is not None:
            coming = reader.submit(next, parts, None)
            yield part


def read_text(path: Path, encoding: str) -> str:
    """All of a text file with line ends as `\\n` and without a byte order mark; gzip or zstd may have packed it.

    Raises:
        ConfigError: unreadable, empty, no text, or not in this encoding, with line and column.
    """
    text = _decoded(path, _unpacked(path), encoding)
    if not text or text.isspace():
        raise _is_empty(path)
    return text


def text_pieces(path: Path, encoding: str, *, unfolds_to: float = _LARGEST) -> Iterator[str]:
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
    for content in _content_pieces(path, unfolds_to):
        text = _decoded(path, content, encoding, lines=lines)
        lines += text.count("\n")
        blank = blank and (not text or text.isspace())
        yield text
    if blank:
        raise _is_empty(path)


def _content_pieces(path: Path, unfolds_to: float) -> Iterator[bytes]:
    """The bytes of a file, unpacked; each piece but the last ends where a line does."""
    total = 0
    try:
        with path.open("rb") as file:
            begin = file.peek(4)
            packed = begin.startswith(_GZIP)
            stream: Any = open_unpacked(path) if begin.startswith(_ZSTD) else file
            if packed:
                stream = gzip.GzipFile(fileobj=file)
            again = stream.peek(4).startswith((_GZIP, _ZSTD))
            if again or (not packed and path.suffix.lower() == ".gz"):
                yield _unpacked(path)
                return
            while content := stream.read(_PIECE) + stream.readline():
                total += len(content)
                if packed and total > unfolds_to:
                    raise _unfolds(path)
                yield content
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _decoded(path: Path, content: bytes, encoding: str, *, lines: int = 0) -> str:
    """The text in some whole lines of a file, with `lines` above them."""
    if not lines:
        refuse_other_kinds(path, content)
    marked = next((name for name, marks in _MARKS if content.startswith(marks)), None)
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


def _is_wide(encoding: str) -> bool:
    return encoding.lower().replace("_", "-").startswith(_WIDE)


def _is_empty(path: Path) -> ConfigError:
    return ConfigError(f"{path} is empty: give a file with data in it")


def _unpacked(path: Path) -> bytes:
    """The bytes of a file, unpacked where its first bytes are those of gzip or zstd, whatever its name."""
    try:
        content = path.read_bytes()
        if content.startswith(_ZSTD):
            return _without_zstd(path, content)
        packed = content.startswith(_GZIP)
        for _ in range(_TIMES_PACKED):
            if content.startswith(_GZIP):
                content = _unfolded(path, content)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if content and not packed and path.suffix.lower() == ".gz":
        refuse_other_kinds(path, content)
        remedy = "rename it without .gz"
        raise BadFile(
            f"{path} cannot be read: its name ends in .gz, but gzip has not packed it",
            remedy,
            remedy,
        )
    return content


def open_unpacked(path: Path) -> IO[bytes]:
    """The bytes of a file from its begin, unpacked as they are read where gzip or zstd has packed it.

    Raises:
        OSError: it cannot be opened.
    """
    with path.open("rb") as file:
        begin = file.read(4)
    if begin.startswith(_GZIP):
        return cast(IO[bytes], gzip.open(path))
    if begin == _ZSTD:
        return BufferedReader(_Lines(path), 2**20)
    return path.open("rb")


def unpacked_size(path: Path) -> float:
    """About how many bytes a file holds: by its first ones, or by its head where zstd packed it.

    Raises:
        OSError, EOFError, zlib.error: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(18)
        file.seek(0)
        if head.startswith(_GZIP):
            first = len(gzip.GzipFile(fileobj=file).read(_LOOKED_AT))
            return size * first / file.tell()
    return max(_zstd_content(head), size * _TIMES_ZSTD) if head.startswith(_ZSTD) else size


def _zstd_content(head: bytes) -> int:
    """The size of what a frame holds; 0 where its head does not say it (RFC 8878, 3.1.1.1)."""
    flags = head[4]
    single, kind = flags >> 5 & 1, flags >> 6
    begin = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
    width = (single, 2, 4, 8)[kind]
    return int.from_bytes(head[begin : begin + width], "little") + 256 * (kind == 1)


class _Lines(RawIOBase):
    """The text in what zstd has packed, some lines at a time."""

    def __init__(self, path: Path) -> None:
        import polars as pl  # texts that are not packed do without

        super().__init__()
        self._path, self._errors = path, (pl.exceptions.PolarsError, pl.exceptions.PanicException)
        self._batches = pl.scan_lines(path).collect_batches(chunk_size=2**14)
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            try:
                lines = next(self._batches, None)
            except self._errors as error:
                raise _no_zstd(self._path, error) from error
            if lines is None:
                return 0
            self._left = "".join(f"{line}\n" for line in lines.to_series()).encode()
        some = self._left[: len(buffer)]
        buffer[: len(some)] = some
        self._left = self._left[len(some) :]
        return len(some)


def _unfolded(path: Path, content: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
        unfolded = stream.read(_LARGEST + 1)
    if len(unfolded) > _LARGEST:
        raise _unfolds(path)
    return unfolded


def _unfolds(path: Path) -> BadFile:
    remedy = "if it is meant, unpack it with gunzip and give the file that comes out"
    return BadFile(f"{path} unpacks to more than {_LARGEST / 2**30:g} GiB", remedy, remedy)


def _no_zstd(path: Path, error: BaseException) -> BadFile:
    reason = str(error).partition("\n")[0]
    remedy = "unpack it and give the file inside (unzstd)"
    return BadFile(f"{path} is packed by zstd, but cannot be unpacked: {reason}", remedy, remedy)


def _without_zstd(path: Path, content: bytes) -> bytes:
    """The text in what zstd has packed, which Python itself cannot unpack."""
    import polars as pl  # texts that are not packed do without

    try:
        lines = pl.read_lines(content).to_series()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise _no_zstd(path, error) from error
    return "\n".join(lines).encode()


def _nul_bytes(path: Path, content: bytes, encoding: str, lines: int) -> BadFile:
    """The error of NUL bytes: those of another encoding, or of no text."""
    begin = content[:4096]
    even, odd = begin[::2].count(0), begin[1::2].count(0)
    if (even == 0) != (odd == 0) and (even + odd) * 10 > len(begin):
        return BadFile(
            f"{path} has NUL bytes as text in utf-16 has, but is read as {encoding}",
            f"set dataset.encoding=utf-16-{'le' if odd else 'be'}",
            f"save it as {encoding}, as the files that this run was trained on",
        )
    line = content.count(b"\n", 0, content.index(0)) + 1 + lines
    remedy = "it is damaged or no text: mend the line, or give a file of text"
    return BadFile(f"{path}, line {line}: a NUL byte, which no text has", remedy, remedy)


def _write(path: Path, content: bytes) -> None:
    """Write the file whole or not at all: another run may look for it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
