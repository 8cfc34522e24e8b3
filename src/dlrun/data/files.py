"""Where files of data come from: the user's own, those that ship with dlrun, those fetched once. No torch here."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import glob, has_magic
from http.client import HTTPException
from pathlib import Path, PurePath
from typing import Any
from urllib.error import HTTPError

from dlrun.config.search_path import data_folder
from dlrun.data.cache import only_one
from dlrun.errors import ConfigError, did_you_mean

SAMPLES = Path(__file__).parent.parent / "samples"
_PACKAGED = "packaged:"
_SECONDS = 30  # without an answer, after which a download has failed
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
    if os.environ.get(_READING_BACK) and root.absolute() != data_folder().absolute():
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
    try:
        with one_download(path):
            if not path.is_file():
                print(f"dlrun: {path} is missing: downloading it from {url}…", flush=True)
                download(path, url=url, md5=md5)
    except OSError as error:
        raise ConfigError(
            f"dataset.root is {root}, which does not hold {relative}, and downloading failed ({error}); "
            f"put the file there, or point DLRUN_DATA or dataset.root to a folder that has it"
        ) from error
    return path


@contextmanager
def one_download(target: Path) -> Iterator[bool]:
    """Let one process of this machine download what belongs at `target`; whether another one has done it before."""
    # Among temporary files: the folder of the data may not be there yet, and a failed download leaves nothing in it.
    user = os.getuid() if hasattr(os, "getuid") else os.getlogin()
    name = hashlib.blake2b(os.fsencode(target.absolute()), digest_size=8).hexdigest()
    lock = Path(tempfile.gettempdir()) / f"dlrun-{user}-{name}.lock"
    with only_one(lock, f"another process downloads {target}") as waited:
        try:
            yield waited
        finally:
            lock.unlink(missing_ok=True)


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
