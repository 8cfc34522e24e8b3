"""Every command of the README and of the guides is typed, in order, in a folder with the files that they show.

No part needs anything of an earlier one, so each part has a folder of its own.
"""

import functools
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dlrun import cli
from dlrun.data.arrays import scikit_learn
from older_torch import skip_without_muon

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = README + (ROOT / "docs/sweeps.md").read_text(encoding="utf-8")
CUTS = (  # a new part begins
    "## Your own data",
    "## Sweeps",
    "## Several devices, several machines",
    "## Predict and export",
    "# Sweeps",
)
PARTS = re.split(f"^(?:{'|'.join(CUTS)})$", GUIDE, flags=re.MULTILINE)
TRAINING = (ROOT / "docs/training.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TRAINING, re.MULTILINE | re.DOTALL)
FILES = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", GUIDE + TRAINING, re.DOTALL)


@pytest.fixture(autouse=True)
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second digit alone: the commands are what is tried, and most of them train on digits."""
    all_of_them = scikit_learn.digits()
    few = replace(all_of_them, inputs=all_of_them.inputs[::2], targets=all_of_them.targets[::2])
    monkeypatch.setattr(scikit_learn, "digits", functools.wraps(scikit_learn.digits)(lambda: few))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: the files that the README shows, and a file of inputs."""
    for name, content in FILES:
        monkeypatch.delitem(sys.modules, Path(name).stem, raising=False)  # of another test
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    np.save(tmp_path / "rows.npy", np.zeros((2, 64), np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("part", "runs", "sweeps"),
    [
        pytest.param(PARTS[0], 3, [], id="runs"),
        pytest.param(PARTS[1], 7, [], id="own data and models"),
        # the grid of -m, random, tuning with its three more
        pytest.param(PARTS[2], 0, [4, 6, 30], id="sweeps"),
        pytest.param(PARTS[3], 1, [6], id="devices and machines", marks=pytest.mark.cluster),
        pytest.param(PARTS[4], 1, [], id="predictions"),
        # my_study, five folds and their ensemble, the grid of two seeds, tpe, stacked
        pytest.param(PARTS[5], 1, [4, 5, 6, 12, 32], id="the guide to sweeps"),
    ],
)
def test_every_command_does_what_the_readme_says(
    part: str,
    runs: int,
    sweeps: list[int],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert len(PARTS) == len(CUTS) + 1
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert commands_of(part)
    type_all(part, capsys)
    assert len(list(project.glob("outputs/runs/*"))) == runs
    found = project.glob("outputs/sweeps/*")
    assert sorted(len(list(sweep.rglob("summary.json"))) for sweep in found) == sweeps


@pytest.mark.parametrize("part", [pytest.param(text, id=title) for title, text in SECTIONS])
def test_every_command_does_what_the_guide_to_training_says(
    part: str,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    skip_without_muon(part)
    monkeypatch.setattr(sys, "path", list(sys.path))
    type_all(part, capsys)


def type_all(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command of a part, in the working folder: all but those that are to be refused succeed."""
    for command in commands_of(part):
        program, *words = shlex.split(command)
        assert program in ("dlrun", "scripts/dlrun"), command
        if words[0] == "tensorboard":  # a server: tests/test_tensorboard_http.py starts it
            continue
        code = cli.main(words)
        printed = capsys.readouterr()
        refused = "modle=cnn" in words
        assert code == (2 if refused else 0), f"{command}\n{printed.out}{printed.err}"
        if refused:
            assert printed.err.strip() in README


def commands_of(part: str) -> list[str]:
    console = re.findall(r"```console\n(.*?)```", part, re.DOTALL)
    return re.findall(r"^\$ (.+)$", "\n".join(console), re.MULTILINE)


def test_the_run_directory_of_the_readme_is_the_one_that_runs_leave(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "model=logistic", "trainer.max_epochs=1", "hydra.run.dir=run"]) == 0
    listing = README.split("outputs/runs/<date>")[1].split("\n\n")[0]
    named = re.findall(r"^ {6}(\S+)", listing, re.MULTILINE)
    assert len(named) == 8
    assert {name.rstrip("/") for name in named} == {
        path.name for path in (project / "run").iterdir() if not path.name.startswith(".")
    }


def test_every_option_is_named_in_the_readme() -> None:
    table = README.split("| group | options |")[1].split("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", table))
    configs = Path(__file__).parents[1] / "configs"
    groups = ("dataset", "model", "optimizer", "loss", "schedule", "trainer", "sweep")
    offered = {file.stem for group in groups for file in (configs / group).glob("*.yaml")}
    assert offered <= named


def test_every_experiment_is_among_the_laboratories_with_its_recorded_result() -> None:
    root = Path(__file__).parents[1]
    laboratories = (root / "docs/laboratories.md").read_text(encoding="utf-8")
    for file in (root / "configs/experiment").glob("*.yaml"):
        assert f"`{file.stem}`" in laboratories
        result = file.read_text().partition("# Result:")[2].strip()
        assert result and not result.startswith("to be"), (
            f"{file.name} does not say what it reached"
        )
