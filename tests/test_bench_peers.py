"""The benchmark against peers compares like with like, and says what it needs."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from dlrun.config import compose
from dlrun.config.instantiate import split_component
from dlrun.config.settings import ModelSettings
from dlrun.data.base import Spec

BENCHMARKS = Path(__file__).resolve().parents[1] / "scripts" / "benchmarks"


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import peers

    return peers


def call(*arguments: str, data: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DLRUN_DATA"}
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "peers.py"), *arguments],
        env=environment if data is None else environment | {"DLRUN_DATA": data},
        capture_output=True,
        text=True,
    )


def write_mnist(root: Path, *, train: int, test: int) -> None:
    """MNIST's four files, some packed; the images of a class all have its own shade."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, size in (("train", train), ("t10k", test)):
        labels = np.random.default_rng(size).permutation(np.arange(size) % 10).astype(np.uint8)
        images = np.broadcast_to(25 * labels[:, None, None], (size, 28, 28)).astype(np.uint8)
        write_idx(raw / f"{part}-images-idx3-ubyte", images)
        write_idx(raw / f"{part}-labels-idx1-ubyte", labels)


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.tobytes())


@pytest.mark.parametrize("data", [None, "/none"])
def test_without_the_data_there_is_one_line_and_exit_code_2(data: str | None) -> None:
    answer = call(data=data)
    assert answer.returncode == 2
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    assert "DLRUN_DATA" in line


@pytest.mark.parametrize("words", [["mpl"], ["--peers", "bare,karas"]])
def test_an_unknown_name_is_refused_with_the_known_ones(words: list[str]) -> None:
    answer = call(*words, data=None)
    assert answer.returncode == 2
    assert "mlp" in answer.stderr or "keras" in answer.stderr


def test_ratios_are_taken_within_a_turn_and_only_of_turns_that_both_took(peers: ModuleType) -> None:
    def results(*seconds: float) -> list[object]:
        return [peers.Result(0.0, value, 90.0, 1.0) for value in seconds]

    # The machine is twice as slow in the second turn, and the slow program leaves the third out.
    turns = {"bare": results(1, 2, 9), "dlrun": results(1.5, 3, 9), "keras": results(4, 8)}
    assert peers.ratio(turns, "dlrun", "bare", "training") == "1.50 (1.00–1.50)"
    assert peers.ratio(turns, "keras", "bare", "training") == "4.00 (4.00–4.00)"
    assert peers.ratio(turns, "bare", "bare", "training") == "–"
    assert peers.ratio(turns, "keras", "lightning", "training") == "–"


def test_an_accuracy_out_of_line_with_the_bare_loops_is_named(peers: ModuleType) -> None:
    accuracies = {"dlrun": (97.4, 97.6), "bare": (97.5,), "keras": (98.5, 97.5), "tutorial": (96,)}
    turns = {
        name: [peers.Result(0.0, 1.0, value, 1.0) for value in values]
        for name, values in accuracies.items()
    }
    assert peers.out_of_line(turns) == ["tutorial"]


def test_the_files_are_unpacked_into_a_folder_of_the_benchmarks_own(
    peers: ModuleType, tmp_path: Path
) -> None:
    from peer_programs import mnist

    write_mnist(tmp_path / "given", train=20, test=10)
    raw = tmp_path / "given" / "MNIST" / "raw"
    packed = raw / "train-images-idx3-ubyte"
    packed.with_name(f"{packed.name}.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    before = sorted(raw.iterdir())

    peers.unpack(peers.mnist_folder(str(tmp_path / "given")), tmp_path / "own")
    assert sorted(raw.iterdir()) == before
    labels = mnist.labels(tmp_path / "own", "train")
    images = mnist.images(tmp_path / "own", "train")
    assert sorted(labels) == sorted([*range(10), *range(10)])
    shades = (25 * labels / 255 - 0.1307) / 0.3081
    np.testing.assert_allclose(
        images, np.broadcast_to(shades[:, None, None], (20, 28, 28)), atol=1e-5
    )


def shapes(parameters: object) -> list[tuple[int, ...]]:
    """Of all weights, in a form that does not tell (in, out) from (out, in)."""
    return sorted(tuple(sorted(parameter.shape)) for parameter in parameters)  # type: ignore[attr-defined]


@pytest.mark.parametrize("case", ["logistic", "mlp", "cnn", "lstm"])
def test_all_programs_train_the_same_architecture(
    peers: ModuleType, case: str, tmp_path: Path
) -> None:
    from peer_programs import by_hand, dlrun, job

    work = job.Job(case, epochs=1, seed=0, words=[], accelerator="cpu", data=tmp_path)
    config: Any = OmegaConf.to_container(compose.compose(dlrun.words(work)))
    classes = tuple("0123456789")
    spec = Spec("multiclass", "image", (1, 28, 28), num_outputs=10, class_names=classes)
    ours = split_component("model", config["model"], ModelSettings, given=("spec",))[0](spec)
    assert shapes(ours.parameters()) == shapes(by_hand.MODELS[case]().parameters())
    assert config["trainer"]["batch_size"] == job.BATCH_SIZE
    assert config["trainer"]["precision"] == "fp32"
    assert config["optimizer"]["lr"] == job.LEARNING_RATE
    assert config["dataset"]["val_fraction"] == job.VALIDATION / 60_000


@pytest.mark.slow
@pytest.mark.parametrize("program", ["bare", "dlrun"])
def test_a_program_reports_what_it_took_and_reached(
    peers: ModuleType, tmp_path: Path, program: str
) -> None:
    from peer_programs.launch import Running

    # Enough images to leave two batches beside the validation part, and each class in one shade.
    write_mnist(tmp_path, train=6_256, test=100)
    running = Running(tmp_path, epochs=2, accelerator="cpu")
    result = running.train(program, [], "logistic", seed=1)
    assert 10 < result.accuracy <= 100
    assert 0 < result.training < result.start + 60
    assert 1e8 < result.peak < 1e10
    assert running.start(program, [], "logistic").accuracy == 0  # it ended before
