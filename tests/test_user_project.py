"""dlrun in somebody else's folder: their models, their options, their runs; and runs from strangers."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from collections.abc import Callable
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from dlrun.cli import main
from dlrun.storage.run_directory import RunDirectory, read_metrics

Capture = pytest.CaptureFixture[str]
Fails = Callable[..., str]

# Neither in a package nor installed: found because it lies in the working directory.
NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, spec, *, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(spec.num_features, width), nn.Tanh(), nn.Linear(width, spec.num_outputs)
        )

    def forward(self, x):
        return self.layers(x)
"""
OPTION = "# a network of my own\n_target_: mynet.Net\nwidth: 12\n"
QUICK = (
    "dataset=iris", "trainer.max_epochs=2", "trainer.accelerator=cpu", "trainer.num_threads=1",
    "tracking.tensorboard=false",
)  # fmt: skip
FILES = {"config.yaml", "overrides.yaml", "environment.json", "metrics.jsonl", "summary.json"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model and its option."""
    (tmp_path / "mynet.py").write_text(NET)
    (tmp_path / "configs" / "model").mkdir(parents=True)
    (tmp_path / "configs" / "model" / "mine.yaml").write_text(OPTION)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # dlrun adds to it, once a command
    monkeypatch.delitem(sys.modules, "mynet", raising=False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    return tmp_path


@pytest.fixture
def fails(project: Path, capsys: Capture) -> Fails:
    """Runs dlrun, which must refuse with exit code 2; what it said."""

    def run(*words: str) -> str:
        assert main(list(words)) == 2
        return capsys.readouterr().err

    return run


def train(*words: str) -> RunDirectory:
    """A new run in `run`."""
    assert main(["train", "model=mine", *QUICK, "hydra.run.dir=run", *words]) == 0
    return RunDirectory(Path("run"))


def config_of(folder: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((folder / "config.yaml").read_text()))


def runs_in(folder: str) -> list[Path]:
    return sorted(path.parent for path in Path(folder).glob("*/config.yaml"))


def test_a_model_of_the_users_own_trains_resumes_evals_and_predicts(
    project: Path, capsys: Capture
) -> None:
    run = train()
    summary = run.read_summary() or {}
    assert summary["choices"]["model"] == "mine"
    assert summary["parameters"] == (4 * 12 + 12) + (12 * 3 + 3)

    assert main(["resume", "run", "trainer.max_epochs=3"]) == 0
    assert [point["epoch"] for point in read_metrics(run)] == [1, 2, 3, 3]

    capsys.readouterr()
    assert main(["eval", "run", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)["metrics"]
    assert measured["test/accuracy"] == (run.read_summary() or {})["final"]["test/accuracy"]

    rows = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]])
    np.save("rows.npy", rows)
    assert main(["predict", "run", "rows.npy", "--output", "out.csv"]) == 0
    with open("out.csv", newline="") as file:
        predicted = list(csv.DictReader(file))
    assert len(predicted) == 2
    assert {row["prediction"] for row in predicted} <= {"setosa", "versicolor", "virginica"}


def test_its_settings_are_checked_like_any_other(fails: Fails, project: Path) -> None:
    assert "model.widht is not a setting of model; did you mean width?" in fails(
        "train", "model=mine", "model.widht=3"
    )
    assert "model.width is wide, but must be a whole number" in fails(
        "train", "model=mine", "model.width=wide"
    )
    assert "did you mean mine?" in fails("train", "model=mein")


def test_layers_of_a_model_of_the_users_own_are_frozen_and_slowed_by_name(project: Path) -> None:
    run = train("model.freeze=[layers.1.*]", "optimizer.lr_multipliers={layers.3.bias:0.5}")
    summary = run.read_summary() or {}
    assert (summary["frozen_parameters"], summary["parameters"]) == (4 * 12 + 12, 99)
    said = run.log.read_text()
    assert "frozen: layers.1.*: 60 of 99 weights" in said
    assert "learning rates: layers.3.bias times 0.5\n" in said


def test_an_own_option_takes_the_place_of_the_packaged_one(project: Path) -> None:
    Path("configs/optimizer").mkdir()
    packaged = yaml.safe_load(Path(packaged_file("optimizer/sgd")).read_text())
    Path("configs/optimizer/sgd.yaml").write_text(yaml.safe_dump(packaged | {"lr": 0.0625}))
    run = train("optimizer=sgd")
    assert config_of(run.path)["optimizer"]["lr"] == 0.0625
    assert read_metrics(run)[0]["lr"] == 0.0625


def packaged_file(option: str) -> str:
    from dlrun.config.search_path import packaged_configs

    return str(packaged_configs() / f"{option}.yaml")


def test_another_config_folder_can_be_named(project: Path) -> None:
    Path("more/model").mkdir(parents=True)
    Path("more/model/theirs.yaml").write_text(OPTION.replace("12", "5"))
    assert main(["train", "--config-dir=more", "model=theirs", *QUICK, "hydra.run.dir=run"]) == 0
    assert config_of(Path("run"))["model"] == {"freeze": None, "_target_": "mynet.Net", "width": 5}


def test_an_experiment_of_the_users_own_is_composed(project: Path) -> None:
    Path("configs/experiment").mkdir()
    Path("configs/experiment/small.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /model: mine\nmodel:\n  width: 3\n"
    )
    words = ["experiment=small", *QUICK, "hydra.run.dir=run"]
    assert main(["train", *words]) == 0
    assert config_of(Path("run"))["model"]["width"] == 3


def test_the_config_can_be_looked_at_without_training(project: Path, capsys: Capture) -> None:
    assert main(["train", "--cfg", "job", "model=mine", "model.width=7"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["model"] == {"freeze": None, "_target_": "mynet.Net", "width": 7}
    assert not Path("outputs").exists()


def test_help_names_the_groups_and_the_users_options(project: Path, capsys: Capture) -> None:
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    for group in ("dataset", "model", "optimizer", "schedule", "trainer", "experiment"):
        assert re.search(rf"^\s*{group}\b", text, re.MULTILINE), group
    assert re.search(r"\bmine\b", text)
    assert re.search(r"\blogistic\b", text)


def test_a_multirun_leaves_a_complete_run_for_every_job(project: Path) -> None:
    words = ["model=mine", *QUICK, "optimizer.lr=0.01,0.02", "hydra.sweep.dir=sweep"]
    assert main(["train", "-m", *words]) == 0
    runs = runs_in("sweep")
    assert [run.name for run in runs] == ["0", "1"]
    assert [config_of(run)["optimizer"]["lr"] for run in runs] == [0.01, 0.02]
    for run in runs:
        assert {file.name for file in run.iterdir()} >= FILES
        assert (run / "checkpoints" / "best.pt").exists()
        summary = RunDirectory(run).read_summary() or {}
        assert summary["status"] == "completed"
        assert read_metrics(RunDirectory(run))[-1].keys() >= {"test/loss", "test/accuracy"}
        words = yaml.safe_load((run / "overrides.yaml").read_text())
        assert f"optimizer.lr={config_of(run)['optimizer']['lr']}" in words


def test_a_multirun_over_choices_trains_each(project: Path) -> None:
    words = [*QUICK, "model=mine,logistic", "trainer.fast_dev_run=true", "hydra.sweep.dir=sweep"]
    assert main(["train", "-m", *words]) == 0
    summaries = [RunDirectory(run).read_summary() or {} for run in runs_in("sweep")]
    assert [summary["choices"]["model"] for summary in summaries] == ["mine", "logistic"]
    assert [summary["name"] for summary in summaries] == ["iris_mine", "iris_logistic"]


def test_runs_started_in_the_same_second_do_not_share_a_directory(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hydra.core.utils

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Stopped:
            return cls(2026, 1, 31, 12, 0, 59)

    monkeypatch.setattr(hydra.core.utils, "datetime", Stopped)
    for _ in range(2):
        assert main(["train", "model=mine", *QUICK, "trainer.fast_dev_run=true"]) == 0
    first, second = runs_in("outputs/runs")
    name = r"2026-01-31_12-00-59_iris_mine_[0-9a-f]{6}"
    assert re.fullmatch(name, first.name)
    assert re.fullmatch(name, second.name)
    assert all((run / "checkpoints" / "last.pt").exists() for run in (first, second))


# What a stranger's run would call, were it believed: each of these leaves a file `called`.
STRANGERS = {
    "a function of the system": {"_target_": "os.system", "command": "touch called"},
    "a process": {"_target_": "subprocess.call", "args": ["touch", "called"]},
    "a module of their own": {"_target_": "trap.Net", "width": 12},
    "a nested one": {"_target_": "trap", "width": {"_target_": "trap.Net"}},
}
TRAP = "open('called', 'w').close()\nclass Net: pass\n"


@pytest.mark.parametrize("group", ["model", "dataset", "optimizer", "schedule"])
@pytest.mark.parametrize("kind", STRANGERS)
@pytest.mark.parametrize("command", ["resume", "eval", "predict"])
def test_a_run_whose_config_names_foreign_code_is_refused_unread(
    command: str, kind: str, group: str, fails: Fails, foreign: Path
) -> None:
    target = STRANGERS[kind]["_target_"]
    foreign_config = config_of(foreign) | {group: STRANGERS[kind]}
    (foreign / "config.yaml").write_text(yaml.safe_dump(foreign_config))
    text = fails(command, str(foreign), *(["rows.npy"] if command == "predict" else []))
    assert f"{group}._target_ is {target}, which no config on the search path offers" in text
    assert f"--allow {target}" in text
    assert not Path("called").exists()
    assert "trap" not in sys.modules


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert main(["train", "model=logistic", *QUICK, f"hydra.run.dir={folder}"]) == 0
    return folder


@pytest.fixture
def foreign(finished: Path, project: Path) -> Path:
    """A whole run of somebody else's, with a module that is up to no good beside it."""
    shutil.copytree(finished, "foreign")
    Path("trap.py").write_text(TRAP)
    np.save("rows.npy", np.zeros((1, 4)))
    return Path("foreign")


def test_yaml_tags_in_a_strangers_config_are_not_followed(fails: Fails, foreign: Path) -> None:
    text = (foreign / "config.yaml").read_text()
    (foreign / "config.yaml").write_text(
        text + "extra: !!python/object/apply:os.system ['touch called']\n"
    )
    assert "is not valid YAML" in fails("resume", "foreign")
    assert not Path("called").exists()


def test_a_strangers_checkpoint_cannot_run_code(fails: Fails, foreign: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, ("called", "w"))

    torch.save({"format": 1, "model": Trap()}, foreign / "checkpoints" / "best.pt")
    assert "best.pt is damaged" in fails("eval", "foreign")
    assert not Path("called").exists()


def test_a_run_that_is_trusted_can_be_read_elsewhere(project: Path, capsys: Capture) -> None:
    run = train()
    elsewhere = Path("elsewhere")
    elsewhere.mkdir()
    shutil.copy("mynet.py", elsewhere)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        path = str(Path("..") / run.path)
        assert main(["eval", path]) == 2
        assert "--allow mynet.Net" in capsys.readouterr().err
        assert main(["eval", path, "--allow", "mynet.Net"]) == 0
