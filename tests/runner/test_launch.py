"""A run that is prepared for its processes: what is in its directory, what is printed, what is left of one refused."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from dlrun.cli import main
from dlrun.commands._train_words import composed_run
from dlrun.runner import launch
from dlrun.runner.peers import RankEnded
from dlrun.storage.index import find_run
from dlrun.storage.run_directory import RunDirectory
from dlrun.storage.run_summary import read_run

IRIS = ("dataset=iris", "model=logistic", "trainer.max_epochs=2", "trainer.accelerator=cpu",
    "tracking.tensorboard=false")  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepare(*words: str, code: int = 0) -> None:
    assert main(["train", "--prepare", *IRIS, "hydra.run.dir=r", *words]) == code


def test_a_prepared_run_is_listed_and_begins_as_any_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepare("trainer.devices=4")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith(" resume r")
    assert "torchrun --nnodes=N --nproc-per-node=4 " in lines[3]
    assert lines[3].endswith(" -m dlrun.worker r")
    assert read_run(Path("r")).status == "prepared"
    assert find_run("r").path == Path("r")
    assert main(["show", "r"]) == 0
    shown = capsys.readouterr().out
    assert "r  prepared: not begun yet" in shown and "begin it" in shown
    assert main(["resume", "r", "trainer.devices=1"]) == 0
    summary = RunDirectory(Path("r")).read_summary() or {}
    assert summary["status"] == "completed" and summary["devices"] == 1
    assert "resuming" not in Path("r/train.log").read_text()


def test_a_prepared_run_is_not_prepared_twice(capsys: pytest.CaptureFixture[str]) -> None:
    prepare()
    prepare(code=2)
    assert "already holds a run" in capsys.readouterr().err


def test_what_trains_a_prepared_run_can_be_typed_as_it_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepare("hydra.run.dir='my runs/großer 1'")
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert words[-4:] == ["--rdzv-id=großer 1", "-m", "dlrun.worker", "my runs/großer 1"]


def test_a_sweep_is_not_prepared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--prepare", "-m", "seed=1,2"]) == 2
    assert "--prepare makes the directory of one run" in capsys.readouterr().err


def test_a_worker_may_call_what_the_command_line_had_from_elsewhere(here: Path) -> None:
    plain = composed_run([*IRIS])
    assert launch.worker_words(plain) == []
    foreign = {**plain, "model": {**plain["model"], "_target_": "elsewhere.Net"}}
    assert launch.worker_words(foreign) == ["--allow=elsewhere.Net"]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines of workers, which are not started but end at once."""
    from dlrun.runner import processes

    found: list[list[str]] = []

    def run(run: RunDirectory, count: int, words: list[str]) -> int:
        found.append([str(run.path), str(count), *words])
        return 130

    monkeypatch.setattr(processes, "run_processes", run)
    return found


def test_a_run_that_did_not_begin_leaves_nothing_but_what_was_there(
    launched: list[list[str]], here: Path
) -> None:
    Path("r").mkdir()
    Path("r/mine.txt").touch()
    assert main(["train", *IRIS, "hydra.run.dir=r", "trainer.devices=2"]) == 130
    assert [file.name for file in Path("r").iterdir()] == ["mine.txt"]
    assert main(["train", *IRIS, "hydra.run.dir=new/run", "trainer.devices=2"]) == 130
    assert not Path("new").exists()
    assert launched == [["r", "2"], ["new/run", "2"]]


def test_a_new_run_of_which_a_rank_was_killed_stays_to_be_resumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(*_: object) -> int:
        raise RankEnded("rank 1 of 2 was ended by SIGKILL; continue with `dlrun resume r`")

    monkeypatch.setattr(launch, "train_in_processes", killed)
    assert main(["train", *IRIS, "hydra.run.dir=r", "trainer.devices=2"]) == 1
    assert read_run(Path("r")).status == "prepared"


def test_a_resume_gives_its_changes_to_the_workers(launched: list[list[str]]) -> None:
    prepare()
    words = ["trainer.devices=3", "optimizer.lr=0.5"]
    assert main(["resume", "r", *words]) == 130
    assert launched == [["r", "3", *words]]
    assert read_run(Path("r")).status == "prepared"


def test_more_processes_than_cores_are_said(
    launched: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["train", *IRIS, "hydra.run.dir=r", "trainer.devices=512"])
    assert "trainer.devices is 512: more processes than the " in capsys.readouterr().err
    assert shlex.join(launched[0]) == "r 512"


def test_a_worker_outside_of_a_launcher_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    prepare()
    assert main(["_worker", "r"]) == 2
    assert "RANK, WORLD_SIZE" in capsys.readouterr().err
