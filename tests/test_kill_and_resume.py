"""Runs that are killed, stopped or damaged, and resumed: they end as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from apart import SECONDS, Result, be_dlrun, ended, kill_group, wait_for
from dlrun.cli import main
from dlrun.storage.run_directory import RunDirectory, read_metrics
from dlrun.storage.run_summary import read_run

# A model of the user's own that draws from torch and NumPy. SIGNALS="12:KILL" sends that signal
# while the process trains its step number 12; WAIT_AT="12" stands still there until `go` exists.
MODEL = """
import os, pathlib, signal, time
import numpy as np
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, spec, *, hidden: int, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(spec.num_features, hidden), nn.BatchNorm1d(hidden), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(hidden, spec.num_outputs),
        )
        self.steps = 0

    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            self.steps += 1
            self.interfere()
            x = x * (1 + 0.01 * np.random.rand())
        return self.layers(x)

    def interfere(self):
        for word in os.environ.get("SIGNALS", "").split():
            step, _, name = word.partition(":")
            if self.steps == int(step):
                os.kill(os.getpid(), signal.Signals["SIG" + name])
        if self.steps == int(os.environ.get("WAIT_AT", 0)):
            pathlib.Path("waiting").touch()
            while not pathlib.Path("go").exists():
                time.sleep(0.01)
"""
# 21 steps an epoch, an evaluation every 10. The loss falls, so by mode=max no evaluation after the
# first is better: the rate falls twice, and patience ends the run after step 60, in epoch 3 of 9.
WORDS = (
    "name=restless", "model=restless", "trainer.batch_size=64", "trainer.max_epochs=9",
    "trainer.accelerator=cpu", "trainer.num_threads=1", "trainer.ema_decay=0.9",
    "trainer.mode=max", "trainer.early_stopping.patience=5", "trainer.eval_every_steps=10",
    "trainer.log_every_steps=4", "schedule=plateau", "schedule.patience=2", "schedule.factor=0.5",
    "dataset.augment.shift=1", "dataset.augment.noise=0.1", "dataset.augment.rotation=10",
    "checkpoint.every_steps=7", "tracking.tensorboard=false",
)  # fmt: skip
LAST_STEP = 60
IRIS = (
    "name=iris", "dataset=iris", "model=logistic", "optimizer=sgd", "optimizer.lr=0.1",
    "trainer.max_epochs=2", "trainer.accelerator=cpu", "trainer.num_threads=1",
    "tracking.tensorboard=false",
)  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the model and its option."""
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "restless", raising=False)
    return tmp_path


def make_project(folder: Path) -> None:
    (folder / "restless.py").write_text(MODEL)
    option = folder / "configs" / "model" / "restless.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("_target_: restless.Net\nhidden: 16\ndropout: 0.3\n")


Start = Callable[..., BaseProcess]
Run = Callable[..., Result]


@pytest.fixture
def start(processes: Any, project: Path) -> Iterator[Start]:
    started = []

    def begin(*words: str, moment: str = "", **variables: str) -> BaseProcess:
        process: BaseProcess = processes.Process(
            target=be_dlrun, args=(list(words), str(project), variables, SABOTAGE.get(moment))
        )
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        kill_group(process)


@pytest.fixture
def dlrun(start: Start, project: Path) -> Run:
    return lambda *words, **more: ended(start(*words, **more), project)


def die_while_writing() -> None:
    """Be killed half-way through the third checkpoint's file."""
    save, count = torch.save, [0]

    def torn(state: Any, file: Any) -> None:
        count[0] += 1
        save(state, file)
        if count[0] == 3:
            file.truncate(file.tell() // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = torn


def die_while_renaming() -> None:
    """Be killed when the last checkpoint became the previous one, before the new one took its place."""
    replace, count = os.replace, [0]

    def interrupted(source: Any, target: Any) -> None:
        replace(source, target)
        count[0] += Path(target).name == "previous.pt"
        if count[0] == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = interrupted  # type: ignore[assignment]


SABOTAGE = {"writing": die_while_writing, "renaming": die_while_renaming}


@pytest.fixture(scope="module")
def whole(processes: Any, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    assert trained(processes, folder).code == 0, (folder / "err.txt").read_text()
    run = RunDirectory(folder / "run")
    summary = summary_of(run)
    assert (summary["stopped_early"], summary["step"], summary["epoch"]) == (True, LAST_STEP, 3)
    rates = {point["lr"] for point in read_metrics(run) if "lr" in point}
    assert sorted(rates) == pytest.approx([0.00025, 0.0005, 0.001])
    return run


def trained(processes: Any, folder: Path, **variables: str) -> Result:
    """The training in a process of its own, in `folder`."""
    make_project(folder)
    process = processes.Process(
        target=be_dlrun, args=(["train", *WORDS, "hydra.run.dir=run"], str(folder), variables)
    )
    process.start()
    return ended(process, folder)


def summary_of(run: RunDirectory) -> dict[str, Any]:
    return run.read_summary() or {}


def points(run: RunDirectory) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in point.items() if name != "samples_per_second"}
        for point in read_metrics(run)
    ]


def state(run: RunDirectory, name: str) -> dict[str, Any]:
    return dict(torch.load(run.checkpoints / f"{name}.pt", weights_only=True))


def same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def assert_ended_alike(run: RunDirectory, whole: RunDirectory) -> None:
    last, expected = state(run, "last"), state(whole, "last")
    assert last["step"] == expected["step"]
    for part in ("model", "averaged"):
        assert same(last[part], expected[part]), part
    assert same(state(run, "best")["model"], state(whole, "best")["model"])
    assert points(run) == points(whole)
    summary, wanted = summary_of(run), summary_of(whole)
    for field in ("status", "step", "stopped_early", "best", "final", "confusion", "choices"):
        assert summary[field] == wanted[field], field


@pytest.mark.parametrize(
    ("step", "checkpoint"),
    [
        pytest.param(1, None, marks=pytest.mark.cluster),  # before anything was learned
        (6, None),  # before the first checkpoint
        pytest.param(8, 7, marks=pytest.mark.cluster),  # just after a checkpoint
        (10, 7),  # during the step that an evaluation follows
        (27, 21),  # in the middle of the second epoch, at the start of which there is a checkpoint
        (48, 42),  # after the rate fell, with the patience half gone
    ],
)
def test_a_killed_run_resumes_to_the_very_same_end(
    step: int, checkpoint: int | None, dlrun: Run, whole: RunDirectory
) -> None:
    killed = dlrun("train", *WORDS, "hydra.run.dir=run", SIGNALS=f"{step}:KILL")
    run = RunDirectory(Path("run"))
    assert killed.code == -signal.SIGKILL
    assert read_run(run.path).status == "killed"
    assert (run.checkpoints / "last.pt").exists() == (checkpoint is not None)
    if checkpoint is not None:
        assert state(run, "last")["step"] == checkpoint

    resumed = dlrun("resume", "run")
    assert (resumed.code, resumed.err) == (0, "")
    assert f"at step {checkpoint or 0} of" in resumed.out
    assert_ended_alike(run, whole)


@pytest.mark.slow
def test_a_run_killed_again_and_again_resumes_to_the_very_same_end(
    dlrun: Run, whole: RunDirectory
) -> None:
    assert dlrun("train", *WORDS, "hydra.run.dir=run", SIGNALS="9:KILL").code == -signal.SIGKILL
    for steps in ("5:KILL", "12:KILL", "16:KILL"):
        assert dlrun("resume", "run", SIGNALS=steps).code == -signal.SIGKILL
    assert dlrun("resume", "run").code == 0
    assert_ended_alike(RunDirectory(Path("run")), whole)


def test_a_run_killed_before_its_first_evaluation_goes_on_from_the_last_interval_of_seconds(
    dlrun: Run, project: Path
) -> None:
    words = [word for word in WORDS if not word.startswith("checkpoint.")]
    words += ["checkpoint.every_seconds=0", "hydra.run.dir=run"]
    assert dlrun("train", *words, SIGNALS="8:KILL").code == -signal.SIGKILL
    assert state(RunDirectory(project / "run"), "last")["step"] == 7


@pytest.mark.parametrize("moment", SABOTAGE)
def test_a_kill_while_a_checkpoint_is_saved_leaves_a_whole_one(
    moment: str, dlrun: Run, whole: RunDirectory
) -> None:
    killed = dlrun("train", *WORDS, "hydra.run.dir=run", moment=moment)
    assert killed.code == -signal.SIGKILL
    assert dlrun("resume", "run").code == 0
    assert_ended_alike(RunDirectory(Path("run")), whole)


@pytest.mark.parametrize(("name", "code"), [("INT", 130), ("TERM", 143)])
def test_a_stop_signal_saves_says_how_to_resume_and_loses_nothing(
    name: str, code: int, dlrun: Run, whole: RunDirectory
) -> None:
    stopped = dlrun("train", *WORDS, "hydra.run.dir=run", SIGNALS=f"25:{name}")
    run = RunDirectory(Path("run"))
    assert stopped.code == code
    note, said = stopped.err.splitlines()
    assert note.startswith("dlrun: trainer.mode asks for the highest val/loss")
    assert f"stopped by SIG{name} at step 25 " in said
    assert "`dlrun resume run`" in said
    assert summary_of(run)["status"] == "stopped"
    assert state(run, "last")["step"] == 25

    resumed = dlrun("resume", "run")
    assert resumed.code == 0
    assert "at step 25 of" in resumed.out
    assert_ended_alike(run, whole)


def test_a_stopped_resume_is_stopped_just_the_same(dlrun: Run, whole: RunDirectory) -> None:
    assert dlrun("train", *WORDS, "hydra.run.dir=run", SIGNALS="25:TERM").code == 143
    assert dlrun("resume", "run", SIGNALS="15:INT").code == 130
    assert dlrun("resume", "run").code == 0
    assert_ended_alike(RunDirectory(Path("run")), whole)


def test_a_second_signal_ends_at_once(dlrun: Run, whole: RunDirectory) -> None:
    ended = dlrun("train", *WORDS, "hydra.run.dir=run", SIGNALS="25:INT 25:INT")
    run = RunDirectory(Path("run"))
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert state(run, "last")["step"] == 21
    assert read_run(run.path).status == "killed"
    assert dlrun("resume", "run").code == 0
    assert_ended_alike(run, whole)


@pytest.mark.cluster
def test_ctrl_c_stops_the_installed_program_and_the_command_it_names_finishes(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.replace("max_epochs=2", "max_epochs=100000") for word in IRIS]
    words = ["train", *words, "hydra.run.dir=run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dlrun.cli", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        wait_for(lambda: len(points_written(Path("run"))) > 5)
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == 130
    assert message.startswith("dlrun: stopped by SIGINT at step ")
    command = message.split("`")[1].split()
    assert command == ["dlrun", "resume", "run"]

    run = RunDirectory(Path("run"))
    epochs = summary_of(run)["epoch"] + 2
    assert main([*command[1:], f"trainer.max_epochs={epochs}"]) == 0
    assert main(["train", *IRIS, f"trainer.max_epochs={epochs}", "hydra.run.dir=whole"]) == 0
    uninterrupted = RunDirectory(Path("whole"))
    assert same(state(run, "last")["model"], state(uninterrupted, "last")["model"])
    assert points(run) == points(uninterrupted)


def points_written(folder: Path) -> list[bytes]:
    file = folder / "metrics.jsonl"
    return file.read_bytes().splitlines() if file.exists() else []


def test_two_processes_cannot_resume_the_same_run(
    start: Start, dlrun: Run, project: Path, whole: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dlrun("train", *WORDS, "hydra.run.dir=run", SIGNALS="25:KILL").code == -signal.SIGKILL
    first = start("resume", "run", WAIT_AT="3")
    wait_for(lambda: Path("waiting").exists() or not first.is_alive())
    before = snapshot(Path("run"))
    assert main(["resume", "run"]) == 2
    assert "is being trained by another process" in capsys.readouterr().err
    assert snapshot(Path("run")) == before
    Path("go").touch()
    assert ended(first, project).code == 0
    assert_ended_alike(RunDirectory(Path("run")), whole)


def snapshot(folder: Path) -> dict[str, bytes]:
    """The files of a run that a refused command must leave as they are."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != ".lock")
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in files
        if file.name != "train.log"
    }


@pytest.fixture(scope="module")
def stopped_once(processes: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped")
    assert trained(processes, folder, SIGNALS="25:TERM").code == 143
    return folder / "run"


@pytest.fixture
def stopped(stopped_once: Path, project: Path) -> RunDirectory:
    """A run stopped at step 25; the checkpoint before that one was taken at step 21."""
    shutil.copytree(stopped_once, "run")
    return RunDirectory(Path("run"))


def tear(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip_bits(file: Path) -> None:
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    for position in range(middle, middle + 128):  # more than the padding between two records
        content[position] ^= 1
    file.write_bytes(content)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("damage", [tear, flip_bits, lambda file: file.write_bytes(b"")])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_with_a_warning(
    damage: Callable[[Path], None],
    stopped: RunDirectory,
    whole: RunDirectory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(stopped.checkpoints / "last.pt")
    assert main(["resume", "run"]) == 0
    said = capsys.readouterr()
    assert "at step 21 of" in said.out
    assert "dlrun: warning: checkpoint run/checkpoints/last.pt is damaged" in said.err
    assert "last.pt is damaged" in stopped.log.read_text()
    assert_ended_alike(stopped, whole)


@pytest.mark.filterwarnings("default")
def test_without_any_whole_checkpoint_a_resume_is_refused(
    stopped: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("last.pt", "previous.pt"):
        tear(stopped.checkpoints / name)
    before = snapshot(stopped.path)
    assert main(["resume", "run"]) == 2
    assert "holds no whole checkpoint (last.pt, previous.pt damaged)" in capsys.readouterr().err
    assert snapshot(stopped.path) == before


def test_a_torn_last_line_of_the_metrics_is_cut_off(
    stopped: RunDirectory, whole: RunDirectory
) -> None:
    with stopped.metrics_file.open("a") as file:
        file.write('{"step": 26, "epoch": 2, "train/lo')
    assert main(["resume", "run"]) == 0
    assert_ended_alike(stopped, whole)


@pytest.fixture(scope="module")
def completed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completed") / "run"
    assert main(["train", *IRIS, f"hydra.run.dir={folder}"]) == 0
    return folder


@pytest.fixture
def completed(completed_once: Path, project: Path) -> RunDirectory:
    """A plain run of two epochs, three steps each, that is complete."""
    shutil.copytree(completed_once, "run")
    return RunDirectory(Path("run"))


def test_resuming_a_complete_run_says_what_to_raise(
    completed: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(completed.path)
    assert main(["resume", "run"]) == 2
    text = capsys.readouterr().err
    assert "run is complete: 2 of trainer.max_epochs=2 are done" in text
    assert "`dlrun resume run trainer.max_epochs=4`" in text
    assert snapshot(completed.path) == before


def test_resuming_a_run_that_stopped_early_speaks_of_its_patience(
    whole: RunDirectory, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole.path, "run")
    assert main(["resume", "run", "trainer.max_epochs=50"]) == 2
    text = capsys.readouterr().err
    assert "stopped early after 5 evaluations without improvement" in text
    assert "trainer.early_stopping.patience=" in text
    assert main(["resume", "run", "trainer.early_stopping.patience=7"]) == 0
    assert summary_of(RunDirectory(Path("run")))["step"] == LAST_STEP + 20


def test_a_complete_run_goes_on_to_more_epochs_as_if_they_had_been_planned(
    completed: RunDirectory,
) -> None:
    assert main(["resume", "run", "trainer.max_epochs=4"]) == 0
    assert main(["train", *IRIS, "trainer.max_epochs=4", "hydra.run.dir=planned"]) == 0
    planned = RunDirectory(Path("planned"))
    assert_ended_alike_without_average(completed, planned)
    assert yaml.safe_load(completed.config_file.read_text())["trainer"]["max_epochs"] == 4
    assert yaml.safe_load(completed.overrides_file.read_text())[-1] == "trainer.max_epochs=4"


def assert_ended_alike_without_average(run: RunDirectory, expected: RunDirectory) -> None:
    assert same(state(run, "last")["model"], state(expected, "last")["model"])
    assert points(run) == points(expected)
    for field in ("status", "step", "best", "final", "confusion", "max_epochs"):
        assert summary_of(run)[field] == summary_of(expected)[field], field


def test_choices_and_creation_survive_a_kill_before_the_first_summary(
    completed: RunDirectory,
) -> None:
    before = summary_of(completed)
    completed.summary_file.unlink()
    shutil.rmtree(completed.checkpoints)
    assert main(["resume", "run"]) == 0
    after = summary_of(completed)
    assert before["choices"]["dataset"] == "iris"
    for field in ("created", "choices", "best", "final"):
        assert after[field] == before[field], field


def test_a_changed_learning_rate_holds_from_the_resume_on(completed: RunDirectory) -> None:
    assert main(["resume", "run", "trainer.max_epochs=4", "optimizer.lr=0.01"]) == 0
    rates = [point["lr"] for point in points(completed) if "lr" in point]
    assert rates == [0.1, 0.1, 0.01, 0.01]
    assert yaml.safe_load(completed.config_file.read_text())["optimizer"]["lr"] == 0.01


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model=mlp", "a resume can change values, not choices"),
        ("dataset=wine", "a resume can change values, not choices"),
        ("experiment=digits_cnn", "a resume can change values, not choices"),
        ("optimizer.lrr=0.1", "optimizer.lrr is not a setting of this run; did you mean optimizer.lr?"),
        ("trainer.max_epoch=9", "did you mean trainer.max_epochs?"),
        ("+optimizer.nesterov=true", "a resume takes plain values only"),
        ("~optimizer.lr", "a resume takes plain values only"),
        ("optimizer.lr=0.1,0.2", "a resume takes plain values only"),
        ("optimizer.lr=[", "not an override"),
        ("optimizer.lr=fast", "optimizer.lr is fast, but must be a number above 0"),
        ("trainer.batch_size=10", "3 steps an epoch, but its config now makes 10"),
        ("dataset.val_fraction=0.6", "dataset.val_fraction is 0.6, but was 0.2 when this run began"),
        ("loss.name=mse", "loss.name is not a setting of this run"),
        ("model._target_=nowhere.Net", "nowhere.Net, which cannot be imported"),
    ],
)  # fmt: skip
def test_a_resume_refuses_what_it_cannot_change_and_changes_nothing(
    word: str, message: str, completed: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(completed.path)
    assert main(["resume", "run", "trainer.max_epochs=4", word]) == 2
    text = capsys.readouterr().err
    assert message in text
    assert text.count("\n") == 1
    assert snapshot(completed.path) == before


@pytest.mark.parametrize(
    "word",
    [
        "trainer.batch_size=40",
        "dataset.split_seed=1",
        "dataset.normalize=none",
        "seed=9",
        "trainer.shuffle=false",
    ],
)
def test_a_resume_refuses_other_data_even_where_the_number_of_steps_stays(
    word: str, completed: RunDirectory
) -> None:
    assert main(["resume", "run", "trainer.max_epochs=4", word]) == 2


def test_a_resume_refuses_another_shape_of_the_model(
    stopped: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(stopped.path)
    assert main(["resume", "run", "model.hidden=17"]) == 2
    text = capsys.readouterr().err
    assert "the checkpoint does not fit the model or optimizer as configured now" in text
    assert "start a new run with `dlrun train`" in text
    assert snapshot(stopped.path) == before


def test_a_new_run_never_writes_into_an_old_one(
    completed: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(completed.path)
    assert main(["train", *IRIS, "hydra.run.dir=run"]) == 2
    assert "already holds a run: continue it with `dlrun resume run`" in capsys.readouterr().err
    assert snapshot(completed.path) == before


def write_table(path: Path, rows: int) -> None:
    lines = [f"{row % 7},{row % 3}" for row in range(rows)]
    path.write_text("\n".join(["size,kind", *lines]))


def test_a_run_on_a_file_goes_on_from_any_folder_and_after_the_file_has_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_table(Path("mine.csv"), 60)
    words = ["dataset=csv", "dataset.path=mine.csv", "dataset.target=kind", "model=linear"]
    words += ["trainer.max_epochs=1", "dataset.task=classification", "hydra.run.dir=../run"]
    assert main(["train", *words, "tracking.tensorboard=false"]) == 0
    monkeypatch.chdir(tmp_path / "there")
    assert main(["eval", "../run"]) == 0
    assert main(["resume", "../run", "trainer.max_epochs=2"]) == 0
    (tmp_path / "here/mine.csv").rename("moved.csv")
    capsys.readouterr()
    assert main(["resume", "../run", "trainer.max_epochs=3"]) == 2
    assert "mine.csv, which does not exist" in capsys.readouterr().err
    assert main(["resume", "../run", "trainer.max_epochs=3", "dataset.path=moved.csv"]) == 0
    write_table(Path("other.csv"), 80)
    capsys.readouterr()
    assert main(["resume", "../run", "trainer.max_epochs=4", "dataset.path=other.csv"]) == 2
    assert "which has 80 rows, but had 60 when this run began" in capsys.readouterr().err
