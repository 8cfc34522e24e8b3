"""Runs that begin with the weights of another run: how it is named, what is said and kept, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dlrun.cli import main
from dlrun.storage.run_directory import ENSEMBLE, SUMMARY, RunDirectory

Capture = pytest.CaptureFixture[str]
QUICK = (
    "dataset=iris", "model=mlp", "model.hidden=[8]", "trainer.accelerator=cpu", "trainer.num_threads=1",
    "trainer.max_epochs=2", "tracking.tensorboard=false",
)  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(name: str, *words: str) -> RunDirectory:
    path = Path("outputs/runs", name)
    assert main(["train", *QUICK, f"hydra.run.dir={path}", *words]) == 0
    return RunDirectory(path)


def refused(*words: str, capsys: Capture) -> str:
    capsys.readouterr()
    assert main(["train", *QUICK, *words]) == 2
    return capsys.readouterr().err


def weights(run: RunDirectory, which: str) -> dict[str, torch.Tensor]:
    state: dict[str, Any] = torch.load(run.checkpoints / f"{which}.pt", weights_only=True)
    return dict(state["model"])


def config(run: RunDirectory) -> dict[str, Any]:
    return dict(yaml.safe_load(run.config_file.read_text()))


def test_a_run_begins_with_the_best_weights_of_another_and_says_so(capsys: Capture) -> None:
    source = train(
        "source", "trainer.monitor=train/loss", "trainer.mode=max"
    )  # so that the first is the best
    best, last = weights(source, "best"), weights(source, "last")
    assert not torch.equal(best["0.weight"], last["0.weight"])
    still = ("optimizer=sgd", "optimizer.lr=1e-30")  # which moves no weight
    capsys.readouterr()
    run = train("tuned", *still, "init_from=last")
    said = f"weights of {source.path.absolute()} (best, epoch 1): 4 of 4 tensors are taken"
    assert f"dlrun: {said}\n" in capsys.readouterr().err
    assert run.log.read_text().count(said) == 1
    assert all(torch.equal(tensor, best[name]) for name, tensor in weights(run, "last").items())
    assert config(run)["init_from"] == str(source.path.absolute())
    assert json.loads(run.summary_file.read_text())["init_from"] == str(source.path.absolute())


def test_the_running_average_of_weights_is_what_is_taken() -> None:
    source = train("source", "trainer.ema_decay=0.5", "trainer.early_stopping.restore_best=false")
    run = train("tuned", "optimizer=sgd", "optimizer.lr=1e-30", "init_from=source")
    state = torch.load(source.checkpoints / "last.pt", weights_only=True)["averaged"]
    assert all(torch.equal(t, state[f"module.{name}"]) for name, t in weights(run, "last").items())


def test_a_resume_needs_the_run_before_no_more_and_goes_on_bit_for_bit(
    folder: Path, capsys: Capture
) -> None:
    source = train("source")
    whole = train("whole", "init_from=source", "trainer.max_epochs=4")
    train("tuned", "init_from=source")
    shutil.rmtree(source.path)
    assert main(["resume", "tuned", "trainer.max_epochs=4"]) == 0
    resumed = weights(RunDirectory(Path("outputs/runs/tuned")), "last")
    assert all(torch.equal(t, resumed[name]) for name, t in weights(whole, "last").items())
    assert main(["eval", "tuned"]) == 0
    capsys.readouterr()
    assert main(["resume", "tuned", "init_from=whole", "trainer.max_epochs=5"]) == 2
    assert "a resume cannot change what its steps see" in capsys.readouterr().err


def test_what_cannot_be_begun_with_is_refused_in_one_line(capsys: Capture) -> None:
    assert "init_from: there are no runs in outputs/ yet" in refused(
        "init_from=last", capsys=capsys
    )
    source = train("source")
    said = refused("init_from=source", "model.hidden=[9]", "dataset=digits", capsys=capsys)
    assert (
        f"init_from is {source.path.absolute()}, which has no tensor that fits this model, by name and shape "
        "(there 0.weight 8×4, 0.bias 8, 2.weight 3×8, 2.bias 3; here"
    ) in said
    ensemble = Path("outputs/runs/ensemble")
    ensemble.mkdir()
    for name in (ENSEMBLE, SUMMARY):
        (ensemble / name).write_text("{}")
    said = refused(f"init_from={ensemble}", capsys=capsys)
    assert f"init_from is {ensemble}, an ensemble, which has the weights of several models" in said
    (source.checkpoints / "best.pt").write_bytes(b"PK")
    assert "best.pt is damaged" in refused("init_from=source", capsys=capsys)


def test_layers_for_other_columns_are_said_to_be_new(capsys: Capture) -> None:
    train("source")
    capsys.readouterr()
    train("wines", "dataset=wine", "init_from=source")
    said = capsys.readouterr().err
    assert "3 of 4 tensors are taken; new is 0.weight; the columns of the data are others" in said


def test_trials_of_a_stack_begin_with_it_as_alone(capsys: Capture) -> None:
    source = train("source")
    capsys.readouterr()
    words = (
        "-m",
        "init_from=null,last",
        "optimizer.lr=0.01,0.1",
        "sweep.stack=on",
        "sweep.report=false",
    )
    assert main(["train", *QUICK, *words, "hydra.sweep.dir=outputs/sweeps/s"]) == 0
    assert "4 runs as one" in capsys.readouterr().out
    alone = train("alone", f"init_from={source.path}", "optimizer.lr=0.1")
    trial = RunDirectory(Path("outputs/sweeps/s/3"))
    assert config(trial)["init_from"] == str(source.path.absolute())
    for name, tensor in weights(alone, "last").items():
        torch.testing.assert_close(weights(trial, "last")[name], tensor)
    assert main(["resume", "s", "sweep.report=false"]) == 0  # though `last` is the sweep by now


def test_the_config_of_a_sweep_names_a_run_by_its_directory(folder: Path, capsys: Capture) -> None:
    train("source")
    (folder / "configs/experiment").mkdir(parents=True)
    file = folder / "configs/experiment/mine.yaml"
    text = "# @package _global_\ndefaults:\n  - override /sweep: grid\nsweep:\n  space:\n    init_from: [null, {}]\n"
    file.write_text(text.replace("{}", "last"))
    said = refused("experiment=mine", capsys=capsys)
    assert "init_from is last, which is not the directory of a run" in said
    file.write_text(text.replace("{}", "outputs/runs/source"))
    assert main(["train", *QUICK, "experiment=mine", "--dry-run"]) == 0
