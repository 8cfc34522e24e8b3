"""The bytes in a file, unpacked where gzip or zstd has packed it. No torch here."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import IO, Any, cast

from dlrun.data.file_kinds import refuse_other_kinds
from dlrun.errors import BadFile, ConfigError

GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
LARGEST = 2**30  # bytes that a packed file may unfold to
_TIMES_PACKED = 2
_PIECE = 2**23  # bytes that are read at a time
_LOOKED_AT = 2**22  # bytes of what gzip has packed, by which the rest is judged
_TIMES_ZSTD = 4  # times its bytes is what a file packed by zstd holds at least, most often


def content_pieces(path: Path, unfolds_to: float) -> Iterator[bytes]:
    """The bytes of a file, unpacked; each piece but the last ends where a line does."""
    total = 0
    try:
        with path.open("rb") as file:
            begin = file.peek(4)
            packed = begin.startswith(GZIP)
            stream: Any = open_unpacked(path) if begin.startswith(_ZSTD) else file
            if packed:
                stream = gzip.GzipFile(fileobj=file)
            again = stream.peek(4).startswith((GZIP, _ZSTD))
            if again or (not packed and path.suffix.lower() == ".gz"):
                yield unpacked(path)
                return
            while content := stream.read(_PIECE) + stream.readline():
                total += len(content)
                if packed and total > unfolds_to:
                    raise _unfolds(path)
                yield content
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def unpacked(path: Path) -> bytes:
    """The bytes of a file, unpacked where its first bytes are those of gzip or zstd, whatever its name."""
    try:
        content = path.read_bytes()
        if content.startswith(_ZSTD):
            return _without_zstd(path, content)
        packed = content.startswith(GZIP)
        for _ in range(_TIMES_PACKED):
            if content.startswith(GZIP):
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
    if begin.startswith(GZIP):
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
        if head.startswith(GZIP):
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
        unfolded = stream.read(LARGEST + 1)
    if len(unfolded) > LARGEST:
        raise _unfolds(path)
    return unfolded


def _unfolds(path: Path) -> BadFile:
    remedy = "if it is meant, unpack it with gunzip and give the file that comes out"
    return BadFile(f"{path} unpacks to more than {LARGEST / 2**30:g} GiB", remedy, remedy)


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
