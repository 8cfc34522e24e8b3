"""The cache of data larger than memory: folders that are written once and read many times, each whole or absent."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from dlrun.errors import ConfigError, note

VARIABLE = "DLRUN_CACHE"
_ABOUT = "about.json"
_BLOCKS, _BLOCK = 16, 2**16  # of a file, by which its content is known, and their bytes
_PART, _LOCK = ".part", ".lock"
_SOURCES = 1000  # files that an entry names, of more some in even steps


def cache_folder() -> Path:
    """`$DLRUN_CACHE`, or dlrun's folder among the user's caches."""
    if given := os.environ.get(VARIABLE):
        return Path(given).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/dlrun"
    usual = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME")
    return (Path(usual) if usual else Path.home() / ".cache") / "dlrun"


@dataclass(frozen=True)
class Source:
    """A file that an entry was made from, and the size in bytes and time of change (ns) that it had then."""

    path: Path
    size: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """The file as it is now."""
        found = path.stat()
        return cls(path.absolute(), found.st_size, found.st_mtime_ns)

    @property
    def is_current(self) -> bool:
        """Whether the file is as it was. This reads no byte of it."""
        return self.path.is_file() and Source.of(self.path) == self

    def sample(self) -> bytes:
        """Some blocks of the file from its beginning to its end; all of a small file."""
        if self.size <= _BLOCKS * _BLOCK:
            return self.path.read_bytes()
        last = self.size - _BLOCK
        starts = [last * block // (_BLOCKS - 1) for block in range(_BLOCKS)]
        with self.path.open("rb") as file:
            return b"".join(file.read(_BLOCK) for start in starts if file.seek(start) == start)


@dataclass(frozen=True)
class Entry:
    """One folder of the cache."""

    path: Path
    sources: Sequence[Source]

    @property
    def name(self) -> str:
        """What `dlrun cache --clear` takes."""
        return self.path.name

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(file.stat().st_size for file in self.path.iterdir())

    @property
    def made(self) -> datetime:
        """When the entry was completed."""
        return datetime.fromtimestamp((self.path / _ABOUT).stat().st_mtime)

    @property
    def is_current(self) -> bool:
        """Whether all its files are as they were."""
        return all(source.is_current for source in self.sources)


def entry(name: str, sources: Sequence[Source], build: Callable[[Path], Any]) -> Entry:
    """The entry `name`. Where there is none, `build` writes it into an empty folder.

    One of several processes builds it, the others wait. The folder gets its name when it is whole, so nothing ever
    reads what a killed process left.

    Raises:
        ConfigError: the cache cannot be written.
    """
    path = cache_folder() / name
    if found := _read(path):
        return found
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        waiting = f"another process reads {sources[0].path} into the cache"
        with only_one(path.with_name(path.name + _LOCK), waiting):
            return _read(path) or _build(path, sources, build)  # another process may have built it
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror or error}): set {VARIABLE} to a folder with enough space, or "
            "dataset.memory_limit to more, if there is more memory"
        ) from error


@contextmanager
def only_one(lock_file: Path, waiting: str) -> Iterator[bool]:
    """Hold a lock, and say whether another process had it before.

    Args:
        waiting: what the other one does, for a line that says why nothing happens: minutes, where files are large.
    """
    lock = FileLock(lock_file)
    try:
        lock.acquire(blocking=False)
        waited = False
    except Timeout:
        note(f"{waiting}: waiting until it is done")
        lock.acquire()
        waited = True
    try:
        yield waited
    finally:
        lock.release()


def made_once(
    what: Path,
    files: Iterable[Path],
    settings: Iterable[Any],
    build: Callable[[Path], Any],
    *,
    act: str,
    by_content: bool = True,
) -> Path:
    """The folder of the cache in which `build` has written what is made of these files by these settings.

    Args:
        what: the file or folder that the user named, for messages.
        settings: all that decides what is made, beside the files.
        act: how it is made, for a message: read, encoded, decoded.
        by_content: whether a file of the same size and time of change is another where samples of it differ.

    Raises:
        ConfigError: the cache cannot be written, or a file was changed meanwhile.
    """
    sources = [Source.of(file) for file in files]
    digest = hashlib.blake2b(digest_size=8)
    for part in settings:
        digest.update(repr(part).encode())
    for source in sources:
        digest.update(repr((str(source.path), source.size, source.changed)).encode())
        if by_content:
            digest.update(source.sample())
    stem = re.sub(r"[^A-Za-z0-9]+", "-", what.stem).strip("-")[:40] or "data"

    def checked(folder: Path) -> None:
        note(
            f"{what} exceeds dataset.memory_limit and is {act} once, into the cache {cache_folder()}; "
            "`dlrun cache` lists it"
        )
        build(folder)
        if not all(source.is_current for source in sources):
            raise ConfigError(f"{what} has been changed while it was read: start again")

    named = sources[:: -(-len(sources) // _SOURCES)]
    return entry(f"{stem}-{digest.hexdigest()}", named, checked).path


def entries() -> list[Entry]:
    """All whole entries, the newest first."""
    folder = cache_folder()
    if not folder.is_dir():
        return []
    found = [one for path in folder.iterdir() if (one := _read(path))]
    return sorted(found, key=lambda one: (one.made, one.name), reverse=True)


def unfinished() -> int:
    """Bytes of what processes are building, or left when they were killed."""
    parts = cache_folder().glob(f"*{_PART}/*")
    return sum(file.stat().st_size for file in parts)


def clear(names: Sequence[str] = ()) -> list[tuple[str, int]]:
    """Delete the entries `names`; without names all, and what killed processes left. Their names and sizes in bytes.

    Raises:
        ConfigError: there is no entry of such a name.
    """
    found = {one.name: one for one in entries()}
    for name in names:
        if name not in found:
            raise ConfigError(f"{cache_folder()} has no entry {name}; `dlrun cache` lists them")
    cleared = []
    for one in [found[name] for name in names] if names else found.values():
        cleared.append((one.name, one.size))
        with FileLock(one.path.with_name(one.name + _LOCK)):
            shutil.rmtree(one.path)
    if not names:
        _clear_unfinished()
    return cleared


def _clear_unfinished() -> None:
    for part in cache_folder().glob(f"*{_PART}"):
        try:
            with FileLock(part.with_name(part.name.removesuffix(_PART) + _LOCK), blocking=False):
                shutil.rmtree(part)
        except Timeout:  # a process is building it
            continue


def _build(path: Path, sources: Sequence[Source], build: Callable[[Path], Any]) -> Entry:
    part = path.with_name(path.name + _PART)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        build(part)
        about = [[str(source.path), source.size, source.changed] for source in sources]
        (part / _ABOUT).write_text(json.dumps({"sources": about}), encoding="utf-8")
        part.rename(path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return Entry(path, sources)


def _read(path: Path) -> Entry | None:
    if path.suffix == _PART:
        return None
    try:
        about = json.loads((path / _ABOUT).read_text(encoding="utf-8"))
        return Entry(path, [Source(Path(p), size, time) for p, size, time in about["sources"]])
    except (OSError, ValueError, KeyError, TypeError):
        return None
