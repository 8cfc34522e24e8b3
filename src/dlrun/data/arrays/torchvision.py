"""MNIST, Fashion-MNIST and CIFAR-10 in torchvision's folder layout, downloaded over https.

The IDX files are read here, packed or not: that works on a read-only folder, and a run whose files
are there need not import torchvision, which takes about as long as `import torch` itself.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.data.arrays.source import Source
from dlrun.data.files import download, one_download, refuse_foreign_folder
from dlrun.errors import ConfigError

_DIGITS = tuple("0123456789")
_CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
# Where the packed files are published. torchvision has an address of http for the second.
_ADDRESSES = {
    "MNIST": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "FashionMNIST": "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
}
# MD5 of the packed files as published; the same that torchvision checks after a download.
_MNIST_MD5 = (
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)
_FASHION_MD5 = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)


def mnist(*, root: str) -> Source:
    """70,000 handwritten digits, (1, 28, 28), values 0 to 255, 10 classes; test part of 10,000 (LeCun et al., 1998)."""
    return _idx_images("MNIST", _folder(root), _MNIST_MD5, _DIGITS)


def fashion_mnist(*, root: str) -> Source:
    """70,000 pictures of clothes in MNIST's form, 10 classes; test part of 10,000 (Xiao et al., 2017)."""
    return _idx_images("FashionMNIST", _folder(root), _FASHION_MD5, _CLOTHES)


def cifar10(*, root: str) -> Source:
    """60,000 colour photographs, (3, 32, 32), values 0 to 255, 10 classes; test part of 10,000 (Krizhevsky, 2009)."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity, extract_archive

    folder = _folder(root)

    def load() -> list[Any]:
        return [CIFAR10(str(folder), train=train, download=False) for train in (True, False)]

    try:
        train, test = load()
    except RuntimeError:  # torchvision's word for files that are missing or fail their checksum
        meta = (CIFAR10.meta["filename"], CIFAR10.meta["md5"])
        files = [*CIFAR10.train_list, *CIFAR10.test_list, meta]
        wanted = {f"{CIFAR10.base_folder}/{name}": md5 for name, md5 in files}
        packed = folder / CIFAR10.filename

        def fetch() -> None:
            if all(check_integrity(folder / file, md5) for file, md5 in wanted.items()):
                return  # by now: another process has fetched them
            # torchvision itself would try http where https fails.
            if not check_integrity(packed, CIFAR10.tgz_md5):
                download(packed, url=CIFAR10.url, md5=CIFAR10.tgz_md5)
            # Each file is whole at once: another process may be reading it.
            with tempfile.TemporaryDirectory(dir=folder) as fresh:
                extract_archive(packed, fresh)
                (folder / CIFAR10.base_folder).mkdir(exist_ok=True)
                for file in wanted:
                    Path(fresh, file).replace(folder / file)

        _download("CIFAR10", folder, [*wanted], fetch)
        train, test = load()
    return Source(
        inputs=train.data.transpose(0, 3, 1, 2),
        targets=np.asarray(train.targets),
        task="classification",
        kind="image",
        class_names=tuple(train.classes),
        test_inputs=test.data.transpose(0, 3, 1, 2),
        test_targets=np.asarray(test.targets),
        pixel_max=255.0,
    )


def _idx_images(
    name: str, root: Path, checksums: tuple[str, ...], class_names: tuple[str, ...]
) -> Source:
    folder = root / name / "raw"
    if any(_find(folder, file) is None for file in _IDX_FILES):
        wanted = [f"{name}/raw/{file}.gz" for file in _IDX_FILES]
        _download(name, root, wanted, lambda: _fetch_idx(name, folder, checksums))
    arrays = [_read_idx(folder, file, md5) for file, md5 in zip(_IDX_FILES, checksums, strict=True)]
    train_inputs, train_targets, test_inputs, test_targets = arrays
    if len(train_inputs) != len(train_targets) or len(test_inputs) != len(test_targets):
        raise ConfigError(
            f"{folder} holds {len(train_inputs)} and {len(test_inputs)} images, but {len(train_targets)} and "
            f"{len(test_targets)} labels; delete its files to have them downloaded again"
        )
    return Source(
        inputs=train_inputs[:, None],
        targets=train_targets.astype(np.int64),
        task="classification",
        kind="image",
        class_names=class_names,
        test_inputs=test_inputs[:, None],
        test_targets=test_targets.astype(np.int64),
        pixel_max=255.0,
    )


def _fetch_idx(name: str, folder: Path, checksums: tuple[str, ...]) -> None:
    """Fetch those of the packed files that are missing."""
    for file, md5 in zip(_IDX_FILES, checksums, strict=True):
        if _find(folder, file) is None:
            packed = f"{file}.gz"
            download(folder / packed, url=_ADDRESSES[name] + packed, md5=md5)


def _folder(root: str) -> Path:
    if not root.strip():
        raise ConfigError(
            "dataset.root is empty: unset DLRUN_DATA, or set it to the folder of the data"
        )
    return Path(root).expanduser()


def _find(folder: Path, file: str) -> Path | None:
    candidates = (folder / f"{file}.gz", folder / file)
    return next((path for path in candidates if path.is_file()), None)


def _download(name: str, root: Path, files: list[str], fetch: Callable[[], Any]) -> None:
    """Fetch, with a message before and what to do where that fails.

    Raises:
        ConfigError: naming the folder, the files and the remedy.
    """
    refuse_foreign_folder(root, name)
    before = {root, *root.glob("**/")} if root.exists() else set()
    try:
        with one_download(root / name) as waited:
            if not waited:
                print(f"dlrun: {name} is not in {root}: downloading it there…", flush=True)
            fetch()
    except Exception as error:  # network, proxy, disk: whatever it was, the remedy is the same
        _remove_empty(root, before)
        reason = next(
            (line for line in reversed(str(error).splitlines()) if line.strip()),
            type(error).__name__,
        )
        raise ConfigError(
            f"dataset.root is {root}, which does not hold {name}, and downloading failed ({reason.strip()}); "
            f"put the files there ({', '.join(files)}), or point DLRUN_DATA or dataset.root to a folder that has them"
        ) from error


def _remove_empty(root: Path, before: set[Path]) -> None:
    """Take away the folders that a failed download made and left empty; those that were there before stay."""
    for folder in sorted({*root.glob("**/")} - before, reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def _read_idx(folder: Path, file: str, md5: str) -> np.ndarray:
    """The array in an IDX file of bytes: a magic number with the rank, big-endian sizes, the data."""
    path = _find(folder, file)
    assert path is not None
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            _verify(path, content, md5)
            content = gzip.decompress(content)
        rank = content[3]
        shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
        return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, IndexError, struct.error, EOFError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}); delete it to have it downloaded again"
        ) from error
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"{path} is cut short or damaged; delete it to have it downloaded again"
        ) from error


def _verify(path: Path, content: bytes, md5: str) -> None:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise ConfigError(
            f"{path} has the checksum {found}, but should have {md5}; delete it to have it downloaded again"
        )
