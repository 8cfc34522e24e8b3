"""Checkpoints: written whole or not at all, checked when read, holding weights and plain values only."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import random
import warnings
import zipfile
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from dlrun.errors import ConfigError, first_line
from dlrun.storage.disk import disk_full, writing
from dlrun.storage.links import open_here

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
FORMAT = 1
_FIELDS: dict[str, Any] = {
    "step": int, "epoch": int, "steps_per_epoch": int, "metrics_size": int, "waited": int, "model": dict,
    "metrics": dict, "best": dict, "pending": dict, "descent": dict, "latest": dict, "random": dict,
    "unchangeable": dict, "seconds": int | float, "spec": dict, "preprocessing": dict, "origin": dict | None,
    "averaged": dict | None, "ranks": list,
}  # fmt: skip
_MOST_SECONDS = 1e11  # thousands of years: what no run takes, and no display can show
_AT_ONCE = 16  # files that are synced side by side


def save(folder: Path, state: dict[str, Any]) -> None:
    """Make `state` the last checkpoint in `folder`, keeping the one before it as the previous one.

    A kill at any moment leaves at least one of the two whole.
    """
    save_all({folder / LAST: state})


def save_best(folder: Path, state: dict[str, Any]) -> None:
    """Make `state` the best model in `folder`."""
    save_all({folder / BEST: state})


def save_all(states: Mapping[Path, dict[str, Any]], *, counted: Collection[Path] = ()) -> None:
    """What `save` and `save_best` do, for checkpoints of any number of runs, waiting for the disk but twice.

    Args:
        states: by folder / LAST or folder / BEST.
        counted: files of which the checkpoints know the size, which no power cut may then take.
    """
    temporaries = {path: _temporary(path) for path in states}
    try:
        for path, state in states.items():
            _write(temporaries[path], path, state)
        _sync([*filter(Path.exists, counted), *temporaries.values()])
        for path, temporary in temporaries.items():
            if path.name == LAST and path.exists():
                os.replace(path, path.with_name(PREVIOUS))
            os.replace(temporary, path)
    except BaseException as error:
        for folder in {path.parent for path in states}:
            remove_unfinished(folder)
        if (full := disk_full(error)) is not None:
            raise full from error
        raise
    _sync({path.parent for path in states})


def remove_unfinished(folder: Path) -> None:
    """Remove what a kill or a full disk left of checkpoints that were being written."""
    for name in (LAST, BEST):
        with suppress(OSError):
            _temporary(folder / name).unlink(missing_ok=True)


def load_latest(folder: Path) -> dict[str, Any] | None:
    """The newest whole checkpoint, or None where none was written. Warns about each damaged one it passes over.

    Raises:
        ConfigError: there are checkpoints, and all are damaged.
    """
    damaged = []
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            return load(path)
        except ConfigError as error:
            damaged.append(path.name)
            warnings.warn(f"{error}; going back to the one before it", stacklevel=2)
    if damaged:
        raise ConfigError(
            f"{folder} holds no whole checkpoint ({', '.join(damaged)} damaged): start the run again with dlrun train"
        )
    return None


def load(path: Path) -> dict[str, Any]:
    """The contents of one checkpoint, on the CPU; nothing in it can run code.

    Raises:
        ConfigError: missing, torn or altered (every member's CRC-32 is checked).
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")
        with zipfile.ZipFile(path) as archive:
            _refuse_unfolding(archive)
            if (member := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"bad checksum of {member}")
        state = torch.load(path, map_location="cpu", weights_only=True)
        _refuse_stretched(state)
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise ValueError("not a checkpoint of this version of dlrun")
        for name, kind in _FIELDS.items():
            if name in state and (not isinstance(state[name], kind) or state[name] is True):
                raise ValueError(f"its {name} is {str(state[name])[:40]}")
        if not 0 <= (seconds := state.get("seconds", 0)) <= _MOST_SECONDS:
            raise ValueError(f"its seconds is {str(seconds)[:40]}")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except pickle.UnpicklingError as error:  # whose advice is to load it all the same
        raise ConfigError(
            f"checkpoint {path} is damaged, or holds more than weights and plain values, and is not loaded"
        ) from error
    except Exception as error:
        reason = first_line(error)
        raise ConfigError(f"checkpoint {path} is damaged ({reason})") from error
    return state


def _refuse_unfolding(archive: zipfile.ZipFile) -> None:
    """Refuse a file that asks for more memory than it has bytes: torch packs nothing, and has no use for bytes.

    Raises:
        ValueError: it does.
    """
    for member in archive.infolist():
        if member.compress_type != zipfile.ZIP_STORED or member.file_size > member.compress_size:
            raise ValueError(f"{member.filename} is packed")
        if member.filename.endswith("data.pkl"):
            for operation, called, _ in pickletools.genops(archive.read(member)):
                if operation.name == "GLOBAL" and str(called).endswith(" bytearray"):
                    raise ValueError("it makes up bytes")


def _refuse_stretched(state: Any) -> None:
    """Refuse tensors that are larger than what is stored of them.

    Raises:
        ValueError: there is one.
    """
    seen, waiting = set[int](), [state]
    while waiting:
        item = waiting.pop()
        if isinstance(item, torch.Tensor):
            if item.layout is not torch.strided or item.nbytes > item.untyped_storage().nbytes():
                raise ValueError("a tensor is larger than what is stored of it")
        elif isinstance(item, dict | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            waiting += item.values() if isinstance(item, dict) else item


def random_states(generator: torch.Generator) -> dict[str, Any]:
    """Every random state that training may draw from; `generator` is the run's own, for augmentation."""
    return process_random_states(generator.device) | {"generator": generator.get_state()}


def process_random_states(device: torch.device) -> dict[str, Any]:
    """The random states that all runs of this process on `device` share; no other device is asked for its own."""
    name, keys, position, has_gauss, cached = cast(
        tuple[str, np.ndarray, int, int, float], np.random.get_state(legacy=True)
    )
    version, words, gauss = random.getstate()
    states: dict[str, Any] = {
        # Packed as tensors: a number each, they would take longer to write than a small model.
        "python": (version, torch.tensor(words), gauss),
        "numpy": (
            str(name),
            torch.from_numpy(keys.astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = [torch.cuda.get_rng_state(device)]
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def restore_random_states(states: dict[str, Any], generator: torch.Generator) -> None:
    """Put back what `random_states` took, where the run is on such a device still: that of its `generator`."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(map(int, words)), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"])
    if generator.get_state().shape == states["generator"].shape:
        generator.set_state(states["generator"])
    device = generator.device
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(_of_card(states["cuda"], device), device)
    if "mps" in states and device.type == "mps":
        torch.mps.set_rng_state(states["mps"])


def _of_card(states: Sequence[torch.Tensor], device: torch.device) -> torch.Tensor:
    """The state to go on with on `device`: the only one, or of those of all cards, which were stored once, its own."""
    at = torch.cuda.current_device() if device.index is None else device.index
    return states[at if at < len(states) else 0]


def _temporary(path: Path) -> Path:
    return path.with_suffix(".tmp")


def _write(temporary: Path, path: Path, state: dict[str, Any]) -> None:
    with writing(path), open_here(temporary, "wb", opening=_Remembering) as file:
        try:
            torch.save(_alone({"format": FORMAT, **state}), file)
        except Exception as error:
            raise file.trouble or error from error


class _Remembering(io.FileIO):
    """A file that keeps the error of a write, of which torch.save makes one that names no cause."""

    trouble: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left:
                left = left[super().write(left) :]
        except OSError as error:
            self.trouble = error
            raise
        return size


def _alone(item: Any) -> Any:
    """The same values; a tensor that is part of a larger one would be written with all of it."""
    if isinstance(item, torch.Tensor):
        return item.clone() if item.nbytes < item.untyped_storage().nbytes() else item
    if isinstance(item, dict):
        return {key: _alone(value) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return type(item)(map(_alone, item))
    return item


def _sync(paths: Collection[Path]) -> None:
    """Make the contents of files, or the names in folders, outlive a power cut.

    Side by side, so that the disk takes many at once: 128 files then wait for it as long as a few.
    """
    if len(paths) == 1:
        _sync_one(*paths)
    elif paths:
        with ThreadPoolExecutor(min(len(paths), _AT_ONCE)) as pool:
            list(pool.map(_sync_one, paths))


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
