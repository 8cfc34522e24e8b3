"""Runs by trainer.strategy=fsdp as a user starts them: a model of the user's own, and one of torchvision's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dlrun.cli import main
from dlrun.storage import checkpoint
from dlrun.storage.run_directory import RunDirectory

pytestmark = pytest.mark.cluster

OWN = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x):
        return x + torch.relu(self.linear(self.norm(x)))

class Net(nn.Module):
    def __init__(self, spec, *, reads_outside: bool):
        super().__init__()
        self.stem, self.blocks = nn.Linear(spec.num_features, 16), nn.ModuleList(Block(16) for _ in range(3))
        self.head, self.reads_outside = nn.Linear(16, spec.num_outputs), reads_outside

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x @ self.blocks[0].linear.weight if self.reads_outside else x)
"""
WORDS = (
    "trainer.devices=2", "trainer.strategy=fsdp", "trainer.accelerator=cpu", "trainer.num_threads=1",
    "tracking.tensorboard=false",
)  # fmt: skip
SECONDS = 300  # for a run to end, on a machine with much else to do


@pytest.fixture(scope="module", autouse=True)
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "sharded_own.py").write_text(OWN)
    option = folder / "configs" / "model" / "own.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("_target_: sharded_own.Net\nreads_outside: false\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def dlrun(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dlrun", *words],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )


def train(name: str, *words: str) -> RunDirectory:
    done = dlrun("train", *WORDS, f"name={name}", f"hydra.run.dir={name}", *words)
    assert done.returncode == 0, done.stderr
    return RunDirectory(Path(name))


@pytest.fixture(scope="module")
def own(project: Path) -> RunDirectory:
    return train("own_run", "dataset=iris", "model=own", "trainer.max_epochs=2")


def evaluated(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["eval", str(run.path), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_model_of_the_users_own_is_evaluated_by_one_process_as_by_two(
    own: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = own.read_summary() or {}
    assert summary["status"] == "completed"
    found = evaluated(own, capsys)
    assert found["metrics"]["test/loss"] == pytest.approx(summary["final"]["test/loss"], rel=1e-4)


def test_its_checkpoints_have_whole_weights_and_plain_tensors(own: RunDirectory) -> None:
    state = checkpoint.load(own.checkpoints / checkpoint.LAST)
    assert state["model"]["blocks.0.linear.weight"].shape == (16, 16)
    assert {type(tensor) for tensor in state["model"].values()} == {torch.Tensor}
    remembered = state["descent"]["optimizer"]["state"][0]["exp_avg"]
    assert remembered.shape == state["model"]["stem.weight"].shape


def test_it_goes_on_by_one_process(own: RunDirectory) -> None:
    done = dlrun("resume", str(own.path), "trainer.devices=1", "trainer.max_epochs=3")
    assert done.returncode == 0, done.stderr
    assert (own.read_summary() or {})["epoch"] == 3
    assert "same data order, other rounding" in own.log.read_text()


def test_a_model_of_torchvision_is_evaluated_by_one_process_as_by_two(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = train(
        "torchvision_run", "dataset=digits", "model=torchvision", "model.name=shufflenet_v2_x0_5", "model.weights=null",
        "trainer.sync_batch_norm=true", "trainer.max_steps=2", "trainer.batch_size=64",
    )  # fmt: skip
    summary = run.read_summary() or {}
    found = evaluated(run, capsys)
    assert found["metrics"]["test/loss"] == pytest.approx(summary["final"]["test/loss"], rel=1e-4)


def test_a_model_that_reads_weights_outside_of_their_block_is_refused_in_one_line() -> None:
    done = dlrun("train", *WORDS, "dataset=iris", "model=own", "model.reads_outside=true")
    assert done.returncode == 2
    assert "reads weights of one of its blocks outside of that block" in done.stderr
    assert "Traceback" not in done.stderr
