"""What every YAML of every group must do: compose, build, learn for a step, and resume as if uninterrupted.

A new option is tested by existing: the lists below are found, not written.
"""

from __future__ import annotations

import math
import pickle
import signal
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from dlrun.config import settings
from dlrun.config.compose import compose
from dlrun.config.search_path import GROUPS, packaged_configs
from dlrun.errors import ConfigError
from dlrun.runner import resume, start
from dlrun.storage.run_directory import RunDirectory, read_metrics
from dlrun.training.build import Experiment, assemble
from dlrun.training.forward import advance
from dlrun.training.loop import Engine
from older_torch import skip_without_muon

QUICK = (
    "trainer.accelerator=cpu", "trainer.max_epochs=2", "trainer.max_steps=6", "trainer.batch_size=8",
    "trainer.eval_every_steps=2", "trainer.log_every_steps=1", "tracking.tensorboard=false",
)  # fmt: skip
# 96 training rows: six steps an epoch, so that twelve steps cross from one epoch into the next.
TWO_EPOCHS = ("dataset=iris", "trainer.batch_size=16", "trainer.max_steps=12")
FITTING = ("digits", "mnist", "iris", "moons", "text_lines", "irish_tunes")
LABELLED_TEXTS = ("text_lines", "text_csv", "text_table", "text_folder", "film_reviews", "trec")
TEXTS = ("char_lm", "irish_tunes", "shakespeare")
# A few digits, and the end of a text, are enough to be judged by.
FEW = ("dataset.val_fraction=0.03", "dataset.test_fraction=0.03")
SHORT = ("dataset.val_fraction=0.01", "dataset.test_fraction=0.01", "dataset.window=8")
SMALL_BATCHES = {"shakespeare_gpt": ("trainer.batch_size=2", "trainer.eval_batch_size=256")}
SMALLER = {  # their own choices have millions of weights
    "torchvision": ("model.name=shufflenet_v2_x0_5",),
    "gpt": ("model.width=16", "model.layers=1", "model.heads=2"),
}
TIMES = "samples_per_second"
FAKE_SIZES = {"train": 60, "test": 30}
MADE = (  # of those with a folder of data
    "mnist", "fashion_mnist", "cifar10", "pollution", "sunspots", "census", "pima", "boston",
    "wine_quality", "film_reviews", "trec",
)  # fmt: skip


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (packaged_configs() / group).glob("*.yaml"))


@pytest.fixture(scope="module")
def fake_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in torchvision's layout with a few made-up images of each downloaded data set."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("MNIST", "FashionMNIST"):
        write_idx_images(root / name / "raw", rng)
    write_cifar10(root / "cifar-10-batches-py", rng)
    write_series(root / "timeseries", rng)
    write_tables(root / "tabular", rng)
    write_texts(root / "text", rng)
    return root


@pytest.fixture(autouse=True)
def _fake_root(fake_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DLRUN_DATA", str(fake_data))
    monkeypatch.chdir(tmp_path)


def write_idx_images(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for part, size in (("train", FAKE_SIZES["train"]), ("t10k", FAKE_SIZES["test"])):
        labels = np.arange(size, dtype=np.uint8) % 10
        images = rng.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        head = struct.pack(">BBBB3I", 0, 0, 8, 3, size, 28, 28)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = struct.pack(">BBBBI", 0, 0, 8, 1, size)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())


def write_cifar10(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir()
    sizes = {f"data_batch_{number}": FAKE_SIZES["train"] // 5 for number in range(1, 6)}
    for name, size in {**sizes, "test_batch": FAKE_SIZES["test"]}.items():
        data = rng.integers(0, 256, (size, 3072), dtype=np.uint8)
        content = {"data": data, "labels": [row % 10 for row in range(size)]}
        (folder / name).write_bytes(pickle.dumps(content))
    names = {"label_names": [f"class {number}" for number in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names))


def write_series(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir()
    rows = [f"{1749 + row // 12}-{row % 12 + 1:02},{rng.random():.3f}" for row in range(250)]
    (folder / "monthly-sunspots.csv").write_text("\n".join(["Month,Sunspots", *rows]))
    header = "No,year,month,day,hour,pm2.5,DEWP,TEMP,PRES,cbwd,Iws,Is,Ir"
    rows = [
        ",".join([str(row), "2010,1,1,1", *map(str, rng.integers(99, size=4)), "NW,1,2,3"])
        for row in range(400)
    ]
    (folder / "pollution.csv").write_text("\n".join([header, *rows]))


def write_tables(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir()
    for name, columns in (("pima-indians-diabetes", 8), ("housing", 13), ("winequality-red", 11)):
        rows = [
            ",".join([*map(str, rng.integers(1, 99, columns)), str(row % 2)]) for row in range(90)
        ]
        (folder / f"{name}.csv").write_text("\n".join(rows))
    for name, stop in (("train", ""), ("test", ".")):
        rows = []
        for row in range(FAKE_SIZES[name]):
            number, word = rng.integers(1, 99, 6), rng.choice(["a", "b", "?"], 8)
            cells = [
                number[0],
                word[0],
                number[1],
                word[1],
                number[2],
                *word[2:7],
                *number[3:],
                word[7],
            ]
            rows.append(", ".join([*map(str, cells), ("<=50K" if row % 2 else ">50K") + stop]))
        (folder / f"adult-{name}.csv").write_text("\n".join(rows) + "\n\n")


def write_texts(folder: Path, rng: np.random.Generator) -> None:
    def line() -> str:
        return " ".join(rng.choice(list("abcdefgh"), rng.integers(1, 9)))

    (folder / "rt-polarity").mkdir(parents=True)
    for label in ("neg", "pos"):
        lines = [line() for _ in range(FAKE_SIZES["train"])]
        (folder / "rt-polarity" / f"rt-polarity.{label}").write_text("\n".join(lines))
    (folder / "trec").mkdir()
    for part, size in FAKE_SIZES.items():
        lines = [f"{['HUM', 'LOC', 'NUM'][row % 3]}:a {line()}" for row in range(size)]
        (folder / "trec" / f"TREC.{part}").write_text("\n".join(lines))


def composed(*words: str) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(compose(["name=contract", *words]), resolve=True)
    del plain["sweep"]  # no part of a run
    return dict(plain)


def built(*words: str) -> Experiment:
    return assemble(settings.parse(composed(*words)))


def short(dataset: str) -> tuple[str, ...]:
    """What leaves little to be read of the texts that ship."""
    if dataset in LABELLED_TEXTS:
        return ("dataset.tokens.max_length=12",)
    return FEW if dataset == "digits" else SHORT * (dataset in TEXTS)


def fitting(model: str) -> tuple[dict[str, Any], Experiment]:
    """The model with the first of the small data sets that it can read: its config, and what that makes."""
    for dataset in FITTING:
        words = (*QUICK, f"model={model}", f"dataset={dataset}", *short(dataset))
        plain = composed(*words, *SMALLER.get(model, ()))
        try:
            return plain, assemble(settings.parse(plain))
        except ConfigError:
            continue
    raise AssertionError(f"model={model} fits none of {', '.join(FITTING)}")


def weights(run: RunDirectory) -> Mapping[str, torch.Tensor]:
    state = torch.load(run.checkpoints / "last.pt", weights_only=True)
    return dict(state["model"])


def points(run: RunDirectory) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in point.items() if name != TIMES}
        for point in read_metrics(run)
    ]


def last_step(run: RunDirectory) -> int:
    summary = run.read_summary()
    assert summary is not None
    return int(summary["step"])


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM comes while the engine takes its step number `steps`."""
    train_step, taken = Engine.train_step, [0]

    def step_and_signal(self: Engine, *batch: torch.Tensor) -> None:
        taken[0] += 1
        if taken[0] == steps:
            signal.raise_signal(signal.SIGTERM)
        train_step(self, *batch)

    monkeypatch.setattr(Engine, "train_step", step_and_signal)


def assert_resumes_identically(
    plain: dict[str, Any],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    stop_at: int | None = None,
) -> None:
    """Resumed after `stop_at` steps, or half of them, a run ends as one that nothing has stopped."""
    whole, parted = RunDirectory(folder / "whole"), RunDirectory(folder / "parted")
    assert start.train(plain, whole, overrides=[], choices={}) == 0
    stop_at = stop_at or last_step(whole) // 2
    with monkeypatch.context() as patch:
        stop_after(stop_at, patch)
        assert start.train(plain, parted, overrides=[], choices={}) == 143
    summary = parted.read_summary()
    assert summary is not None
    assert (summary["status"], summary["step"]) == ("stopped", stop_at)
    assert resume.resume(plain, parted, overrides=[]) == 0

    expected, found = weights(whole), weights(parted)
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert points(parted) == points(whole)


def assert_one_step_learns(made: Experiment) -> None:
    engine = made.engine
    inputs, targets = next(iter(engine.batches.epoch(0)))
    engine.model.eval()
    spec = made.data.spec
    outputs, _ = advance(engine.model, inputs, None, spec)
    steps = inputs.shape[1:] if spec.task == "language" else ()
    assert outputs.shape == (len(inputs), *steps, spec.num_outputs)
    engine.model.train()
    before = {name: p.detach().clone() for name, p in engine.model.named_parameters()}
    engine.train_step(inputs, targets)
    assert math.isfinite(float(engine.pending.losses[0]))
    after = dict(engine.model.named_parameters())
    trained = [name for name, p in after.items() if p.requires_grad]
    assert [name for name in trained if after[name].grad is None] == []
    assert all(bool(torch.isfinite(p).all()) for p in after.values())
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_composes_into_a_config_that_passes_the_checks(group: str) -> None:
    wrong = {}
    for option in options(group):
        try:
            parsed = settings.parse(composed(f"{group}={option}"))
            if group in settings.COMPONENTS:
                assert getattr(parsed, group)["_target_"].startswith("dlrun.")
        except Exception as error:
            wrong[option] = repr(error)
    assert options(group)
    assert not wrong


@pytest.mark.parametrize("model", options("model"))
def test_every_model_reads_fitting_data_learns_from_one_step_and_resumes_identically(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, made = fitting(model)
    assert_one_step_learns(made)
    assert_resumes_identically(plain, tmp_path, monkeypatch, stop_at=3)


@pytest.mark.parametrize("optimizer", options("optimizer"))
def test_every_optimizer_takes_a_step_and_resumes_identically(
    optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_without_muon(optimizer)
    words = (*QUICK, *TWO_EPOCHS, f"optimizer={optimizer}", "optimizer.weight_decay=0.01")
    assert_one_step_learns(built(*words))
    assert_resumes_identically(composed(*words), tmp_path, monkeypatch, stop_at=7)


@pytest.mark.parametrize("schedule", options("schedule"))
def test_every_schedule_sets_the_learning_rate_and_resumes_identically(
    schedule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = composed(*QUICK, *TWO_EPOCHS, f"schedule={schedule}", "schedule.warmup_steps=2")
    assert_resumes_identically(plain, tmp_path, monkeypatch, stop_at=7)
    rates = [point["lr"] for point in points(RunDirectory(tmp_path / "whole")) if "lr" in point]
    base = plain["optimizer"]["lr"]
    assert len(rates) == 12
    assert rates[:2] == [base / 2, base]
    assert all(0 <= rate <= base * 1.0000001 for rate in rates)
    if schedule not in ("constant", "plateau", "step"):  # these are level for the first epochs
        assert rates[-1] != rates[3]


@pytest.mark.parametrize("loss", options("loss"))
def test_every_loss_fits_some_data_and_learns_from_one_step(loss: str) -> None:
    made = None
    for dataset in ("iris", "breast_cancer", "diabetes"):
        try:
            made = built(*QUICK, f"dataset={dataset}", "model=linear", f"loss={loss}")
        except ConfigError as error:
            assert "but the data set has" in str(error)
    assert made is not None
    assert_one_step_learns(made)


@pytest.mark.parametrize("trainer", options("trainer"))
def test_every_trainer_runs_to_its_end_and_resumes_identically(
    trainer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = composed(f"trainer={trainer}", *QUICK, *TWO_EPOCHS)
    if plain["trainer"]["fast_dev_run"]:  # one step: there is no middle
        run = RunDirectory(tmp_path / "run")
        assert start.train(plain, run, overrides=[], choices={}) == 0
        assert [point["step"] for point in points(run)] == [1, 1]
        return
    assert_resumes_identically(plain, tmp_path, monkeypatch, stop_at=7)


@pytest.fixture
def readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchvision take the made-up CIFAR files, whose checksums are not the published ones."""
    import torchvision.datasets.cifar as cifar

    monkeypatch.setattr(cifar, "check_integrity", lambda *file: True)


def dataset_words(dataset: str) -> tuple[str, ...]:
    target = composed(f"dataset={dataset}")["dataset"]
    if target.get("root") and dataset not in MADE:
        pytest.skip(f"dataset={dataset} reads files, and this test makes none for it")
    if dataset in TEXTS:
        return (
            *QUICK,
            f"dataset={dataset}",
            "model=char_rnn",
            "model.hidden_size=16",
            *short(dataset),
        )
    model = "bag_of_words" if dataset in LABELLED_TEXTS else "logistic"
    words = (
        *QUICK,
        f"dataset={dataset}",
        f"model={model}",
        "trainer.batch_size=16",
        *short(dataset),
    )
    # Its own split trains on the first of five years.
    return (*words, "dataset.test_fraction=0.2") if dataset == "pollution" else words


@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize("dataset", options("dataset"))
def test_every_dataset_has_three_parts_that_fit_its_spec_and_is_standardised(dataset: str) -> None:
    made = built(*dataset_words(dataset))
    data, spec = made.data, made.data.spec
    for part in (data.train, data.val, data.test):
        assert len(part) > 0
        shape = () if spec.task == "language" else spec.input_shape
        assert part.inputs.shape == (len(part), *shape)
        assert torch.isfinite(part.inputs).all()
        if spec.task == "regression":
            assert part.targets.shape == (len(part), spec.num_outputs)
        else:
            assert part.targets.shape == (len(part),)
            known = range(spec.num_classes or spec.vocabulary)
            assert set(part.targets.long().tolist()) <= set(known)
    assert len(data.train) > max(len(data.val), len(data.test))
    usual = {"regression": 0, "language": 0, "binary": 2}
    assert spec.num_classes == usual.get(spec.task, spec.num_outputs)
    if spec.kind == "features":
        assert len(spec.feature_names) == spec.num_features
    # The windows of a series overlap: tests/data/series/test_dataset.py looks at its rows.
    if spec.kind in ("features", "image"):
        assert_standardised(data.train.inputs.double(), codes=len(spec.categories))
    assert_one_step_learns(made)


def assert_standardised(inputs: torch.Tensor, *, codes: int) -> None:
    """Every feature, or every channel of images, but for the codes of categories at the end."""
    inputs = inputs[:, : inputs.shape[1] - codes]
    axes = (0, 2, 3) if inputs.ndim == 4 else (0,)
    assert inputs.mean(axes).abs().max() < 1e-4
    assert (inputs.var(axes, correction=0) - 1).abs().max() < 1e-4


@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize("dataset", options("dataset"))
def test_every_dataset_resumes_identically(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = composed(*dataset_words(dataset))
    assert_resumes_identically(plain, tmp_path, monkeypatch)
    assert last_step(RunDirectory(tmp_path / "whole")) >= 2


@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize("name", options("experiment"))
def test_every_experiment_trains_on_cut_data(name: str, tmp_path: Path) -> None:
    words = ("trainer.fast_dev_run=true", "schedule.warmup_steps=0", "tracking.tensorboard=false")
    plain = composed(f"experiment={name}", *words, *SMALL_BATCHES.get(name, ()))
    skip_without_muon(plain["optimizer"]["_target_"])
    run = RunDirectory(tmp_path / "run")
    assert start.train(plain, run, overrides=[], choices={}) == 0
    summary = run.read_summary()
    assert summary is not None
    assert (summary["status"], summary["step"]) == ("completed", 1)
    assert all(value is None or math.isfinite(value) for value in summary["final"].values())
