"""Images of one part that are in the training part as well, byte for byte. No torch here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from dlrun.data.images.archive import file_or_bytes
from dlrun.errors import note

_HEAD = 2**14  # bytes that are compared before all of a file is
_Measure = Callable[[str], object]


def note_duplicates(train: Sequence[str], others: Mapping[str, Sequence[str]]) -> None:
    """Note how many images of the parts `others`, by name, the training part has as well."""
    for part, paths in others.items():
        found = list(shared(train, paths))
        if found:
            mine, its = found[0]
            same = f"{mine} twice" if mine == its else f"{mine} as {its}"
            note(
                f"{len(found):,} of {len(paths):,} images of the {part} part are in the training part as well, such as "
                f"{same}: its metrics are better than on new images; keep copies of an image in one part"
            )


def shared(train: Sequence[str], others: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(other, the same in `train`) for each of `others` whose content is there too.

    Files are read only as far as they can be the same: by size, then by how they begin, then whole.
    """
    measures: Sequence[_Measure] = (_size, _head, _content)
    yield from _alike(dict.fromkeys(train), others, measures)


def _alike(
    train: Mapping[str, None], others: Sequence[str], measures: Sequence[_Measure]
) -> Iterator[tuple[str, str]]:
    measure, *finer = measures
    groups: dict[object, tuple[dict[str, None], list[str]]] = {}
    wanted = {path: measure(path) for path in dict.fromkeys(others)}
    for path in others:
        groups.setdefault(wanted[path], ({}, []))[1].append(path)
    for path in train:
        if (group := groups.get(measure(path))) is not None:
            group[0][path] = None
    for same, paths in groups.values():
        if same and finer:
            yield from _alike(same, paths, finer)
        elif same:
            yield from ((path, path if path in same else next(iter(same))) for path in paths)


def _size(path: str) -> int:
    source = file_or_bytes(Path(path))
    return source.stat().st_size if isinstance(source, Path) else source.getbuffer().nbytes


def _head(path: str) -> bytes:
    source = file_or_bytes(Path(path))
    with source.open("rb") if isinstance(source, Path) else source as file:
        return file.read(_HEAD)


def _content(path: str) -> bytes:
    source = file_or_bytes(Path(path))
    with source.open("rb") if isinstance(source, Path) else source as file:
        digest = hashlib.blake2b()
        while block := file.read(2**20):
            digest.update(block)
        return digest.digest()
