"""Image sets in torchvision's layout: tiny files made here, read as torchvision reads them."""

import gzip
import hashlib
import os
import pickle
import shutil
import struct
import tarfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torchvision.datasets

from dlrun.data import arrays, files
from dlrun.data.arrays.torchvision import cifar10, fashion_mnist, mnist
from dlrun.errors import ConfigError

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
SETS = {
    "MNIST": (mnist, "_MNIST_MD5"),
    "FashionMNIST": (fashion_mnist, "_FASHION_MD5"),
}
CHECKOUT = Path(__file__).parents[3]


def idx(array):
    """The bytes of an IDX file as its format describes them."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def idx_arrays(train=12, test=5):
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 256, (train, 28, 28)),
        np.arange(train) % 10,
        rng.integers(0, 256, (test, 28, 28)),
        np.arange(test)[::-1] % 10,
    ]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """(name, packed) -> the folder of the files of a tiny MNIST, whose checksums are the expected ones."""

    def make(name="MNIST", packed=True):
        folder = tmp_path / name / "raw"
        folder.mkdir(parents=True)
        checksums = []
        for file, array in zip(FILES, idx_arrays(), strict=True):
            content = gzip.compress(idx(array)) if packed else idx(array)
            (folder / (f"{file}.gz" if packed else file)).write_bytes(content)
            checksums.append(hashlib.md5(content).hexdigest())
        monkeypatch.setattr(arrays.torchvision, SETS[name][1], tuple(checksums))
        return folder

    return make


@pytest.fixture
def no_download(monkeypatch):
    """Downloading fails as it does without a network."""

    def fail(*arguments, **more):
        raise URLError("no route to host")

    monkeypatch.setattr(files._OPENER, "open", fail)


def refusal(function, root):
    with pytest.raises(ConfigError) as caught:
        function(root=str(root))
    return str(caught.value)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", SETS)
def test_idx_files_are_read_packed_or_not(name, packed, write, tmp_path):
    write(name, packed)
    source = SETS[name][0](root=str(tmp_path))
    train_images, train_labels, test_images, test_labels = idx_arrays()
    np.testing.assert_array_equal(source.inputs, train_images[:, None])
    np.testing.assert_array_equal(source.targets, train_labels)
    np.testing.assert_array_equal(source.test_inputs, test_images[:, None])
    np.testing.assert_array_equal(source.test_targets, test_labels)
    assert (source.task, source.kind, source.pixel_max) == ("classification", "image", 255)
    assert source.targets.dtype == np.int64


def test_what_is_read_is_what_torchvision_reads(write, tmp_path):
    write(packed=False)
    source = mnist(root=str(tmp_path))
    train, test = (torchvision.datasets.MNIST(tmp_path, train=part) for part in (True, False))
    np.testing.assert_array_equal(source.inputs[:, 0], train.data)
    np.testing.assert_array_equal(source.targets, train.targets)
    np.testing.assert_array_equal(source.test_inputs[:, 0], test.data)
    np.testing.assert_array_equal(source.test_targets, test.targets)


@pytest.mark.parametrize("name", SETS)
def test_files_and_checksums_are_those_that_torchvision_knows(name):
    resources = getattr(torchvision.datasets, name).resources
    assert [file for file, _ in resources] == [f"{file}.gz" for file in FILES]
    assert [md5 for _, md5 in resources] == list(getattr(arrays.torchvision, SETS[name][1]))


def test_class_names_are_those_that_torchvision_knows(write, tmp_path):
    write("FashionMNIST")
    names = fashion_mnist(root=str(tmp_path)).class_names
    assert list(names) == torchvision.datasets.FashionMNIST.classes
    write("MNIST")
    assert mnist(root=str(tmp_path)).class_names == tuple("0123456789")


def test_the_root_may_start_at_home(write, tmp_path, monkeypatch):
    write()
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert len(mnist(root=f"~/{tmp_path.name}").targets) == 12


def test_a_packed_file_with_another_checksum_is_refused(write, tmp_path):
    file = write() / f"{FILES[2]}.gz"
    wanted = hashlib.md5(file.read_bytes()).hexdigest()
    content = file.read_bytes() + b"x"
    file.write_bytes(content)
    found = hashlib.md5(content).hexdigest()
    assert refusal(mnist, tmp_path) == (
        f"{file} has the checksum {found}, but should have {wanted}; delete it to have it downloaded again"
    )


@pytest.mark.parametrize("length", [0, 3, 7, 16, 16 + 784 * 3, -1])
def test_an_unpacked_file_cut_short_is_refused(length, write, tmp_path):
    file = write(packed=False) / FILES[0]
    file.write_bytes(file.read_bytes()[:length])
    message = refusal(mnist, tmp_path)
    assert message.startswith(f"{file} ")
    assert message.endswith("; delete it to have it downloaded again")


@pytest.mark.parametrize(
    "content",
    [b"<html>not found</html>" * 99, b"\0\0\x08\x03" + b"\xff" * 99, idx(np.zeros((2, 3))) + b"x"],
)
def test_a_file_that_is_no_idx_file_is_refused(content, write, tmp_path):
    file = write(packed=False) / FILES[1]
    file.write_bytes(content)
    assert refusal(mnist, tmp_path).startswith(f"{file} ")


def test_a_packed_file_whose_inside_is_torn_is_refused(write, tmp_path, monkeypatch):
    folder = write()
    checksums = list(arrays.torchvision._MNIST_MD5)
    file = folder / f"{FILES[3]}.gz"
    file.write_bytes(file.read_bytes()[:-9])
    checksums[3] = hashlib.md5(file.read_bytes()).hexdigest()
    monkeypatch.setattr(arrays.torchvision, "_MNIST_MD5", tuple(checksums))
    assert refusal(mnist, tmp_path).endswith("; delete it to have it downloaded again")


@pytest.mark.parametrize("name", SETS)
def test_missing_files_without_network_name_folder_files_reason_and_remedy(
    name, no_download, tmp_path, capsys
):
    wanted = ", ".join(f"{name}/raw/{file}.gz" for file in FILES)
    assert refusal(SETS[name][0], tmp_path) == (
        f"dataset.root is {tmp_path}, which does not hold {name}, and downloading failed "
        f"(<urlopen error no route to host>); put the files there ({wanted}), "
        "or point DLRUN_DATA or dataset.root to a folder that has them"
    )
    assert f"{name} is not in {tmp_path}: downloading it there" in capsys.readouterr().out


def test_one_missing_file_is_enough_to_download(write, no_download, tmp_path):
    (write() / f"{FILES[3]}.gz").unlink()
    assert "which does not hold MNIST" in refusal(mnist, tmp_path)


def test_what_was_downloaded_is_read(write, tmp_path, monkeypatch):
    elsewhere = write().rename(tmp_path / "published")
    asked = []

    def answer(url, timeout):
        asked.append(url)
        return (elsewhere / url.rpartition("/")[2]).open("rb")

    monkeypatch.setattr(files._OPENER, "open", answer)
    assert len(mnist(root=str(tmp_path)).targets) == 12
    assert asked == [f"https://ossci-datasets.s3.amazonaws.com/mnist/{file}.gz" for file in FILES]
    assert len(mnist(root=str(tmp_path)).targets) == 12
    assert len(asked) == 4


def test_several_that_miss_the_files_at_the_same_moment_download_them_once(
    write, tmp_path, monkeypatch, capsys
):
    elsewhere = write().rename(tmp_path / "published")
    asked = []

    def answer(url, timeout):
        asked.append(url)
        time.sleep(0.05)
        return (elsewhere / url.rpartition("/")[2]).open("rb")

    monkeypatch.setattr(files._OPENER, "open", answer)
    with ThreadPoolExecutor(3) as pool:
        found = [pool.submit(mnist, root=str(tmp_path)) for _ in range(3)]
    assert [len(one.result().targets) for one in found] == [12] * 3
    assert len(asked) == 4
    assert capsys.readouterr().out.count("downloading") == 1


def refuse_to_ask(*arguments, **more):
    raise AssertionError("torchvision was left to fetch something")


@pytest.mark.parametrize(
    ("function", "end"),
    [(mnist, f"{FILES[0]}.gz"), (fashion_mnist, f"{FILES[0]}.gz"), (cifar10, ".tar.gz")],
)
def test_nothing_is_asked_for_but_over_https_also_where_that_fails(
    function, end, tmp_path, monkeypatch
):
    asked = []

    def fail(url, timeout):
        asked.append(url)
        raise URLError("no route to host")

    monkeypatch.setattr(files._OPENER, "open", fail)
    monkeypatch.setattr(urllib.request, "urlopen", refuse_to_ask)
    assert "no route to host" in refusal(function, tmp_path)
    (url,) = asked
    assert url.startswith("https://")
    assert url.endswith(end)


CIFAR_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship"]
CIFAR_CLASSES.append("truck")


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """The folder of a tiny CIFAR-10 of two images a file, whose checksums torchvision expects."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)

    def entry(name, content):
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    def batch(name, labels):
        data = rng.integers(0, 256, (2, 3072)).astype(np.uint8)
        return entry(name, {"data": data, "labels": labels})

    CIFAR10 = torchvision.datasets.CIFAR10
    train = [batch(f"data_batch_{i}", [i, i + 1]) for i in range(1, 6)]
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch", [0, 9])])
    name, md5 = entry("batches.meta", {"label_names": CIFAR_CLASSES})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})
    return folder


def test_cifar10_is_fetched_as_one_archive_in_place_of_a_damaged_one(cifar, tmp_path, monkeypatch):
    published = tmp_path / "published.tar.gz"
    with tarfile.open(published, "w:gz") as archive:
        archive.add(cifar, cifar.name)
    shutil.rmtree(cifar)
    (tmp_path / torchvision.datasets.CIFAR10.filename).write_bytes(b"half of it")
    md5 = hashlib.md5(published.read_bytes()).hexdigest()
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", md5)
    monkeypatch.setattr(files._OPENER, "open", lambda url, timeout: published.open("rb"))
    monkeypatch.setattr(urllib.request, "urlopen", refuse_to_ask)
    assert len(cifar10(root=str(tmp_path)).targets) == 10


def test_cifar10_is_read_with_channels_first(cifar, tmp_path):
    source = cifar10(root=str(tmp_path))
    first = pickle.loads((cifar / "data_batch_1").read_bytes())["data"]
    test = pickle.loads((cifar / "test_batch").read_bytes())["data"]
    # The format: 1,024 reds, then greens, then blues, each row by row.
    np.testing.assert_array_equal(source.inputs[:2], first.reshape(2, 3, 32, 32))
    np.testing.assert_array_equal(source.test_inputs, test.reshape(2, 3, 32, 32))
    assert source.targets.tolist() == [1, 2, 2, 3, 3, 4, 4, 5, 5, 6]
    assert source.test_targets.tolist() == [0, 9]
    assert source.class_names == tuple(CIFAR_CLASSES)
    assert (source.task, source.kind, source.pixel_max) == ("classification", "image", 255)


def test_missing_cifar10_without_network_names_folder_files_and_remedy(no_download, tmp_path):
    message = refusal(cifar10, tmp_path)
    assert message.startswith(f"dataset.root is {tmp_path}, which does not hold CIFAR10, ")
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]
    assert ", ".join(f"cifar-10-batches-py/{name}" for name in names) in message
    assert message.endswith("or point DLRUN_DATA or dataset.root to a folder that has them")


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_an_altered_cifar10_file_is_not_opened(name, cifar, no_download, tmp_path):
    (cifar / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert "which does not hold CIFAR10" in refusal(cifar10, tmp_path)


def real_folder():
    """The folder of the real MNIST: DLRUN_DATA, or shared/data beside the checkout."""
    folders = [os.environ.get("DLRUN_DATA"), CHECKOUT.parent / "shared" / "data"]
    for folder in filter(None, folders):
        if all(Path(folder, "MNIST", "raw", f"{file}.gz").is_file() for file in FILES):
            return folder
    return pytest.skip("the real MNIST is not here: point DLRUN_DATA to a folder that holds it")


def test_the_real_mnist_has_its_published_sizes_shares_and_moments():
    source = mnist(root=str(real_folder()))
    assert source.inputs.shape == (60_000, 1, 28, 28)
    assert np.bincount(source.targets).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert np.bincount(source.test_targets).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert source.targets[:5].tolist() == [5, 0, 4, 1, 9]
    assert round(source.inputs.mean() / 255, 4) == 0.1307
    assert source.inputs.max() == 255
