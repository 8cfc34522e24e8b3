"""Disks without room, as a limit on the size of files: what counts stays whole, and all can be carried on."""

import resource
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from dlrun.cli import main
from dlrun.commands._predictions_file import write
from dlrun.commands.generate import _deliver
from dlrun.inference.predictions import Predictions
from dlrun.storage.append_file import Appender
from dlrun.storage.disk import DiskFull
from dlrun.storage.run_directory import RunDirectory

WORDS = (
    "dataset=iris", "model=mlp", "trainer.max_epochs=3", "trainer.accelerator=cpu",
    "trainer.num_threads=1", "tracking.tensorboard=false",
)  # fmt: skip
LARGE = (
    "model.hidden=[100,100]"  # whose checkpoint is above the limit; that of the small one is not
)
SMALL = "model.hidden=[4]"
LIMIT = 60_000


@contextmanager
def little_room(limit=LIMIT):
    """A signal would come with the error, which Python ignores."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def leftovers():
    return [f for f in Path("outputs").rglob("*") if f.suffix == ".tmp" or ".json." in f.name]


def test_a_run_stops_with_one_line_and_goes_on_once_there_is_room(capfd):
    with little_room():
        assert main(["train", *WORDS, LARGE, "hydra.run.dir=outputs/run"]) == 1
    assert capfd.readouterr().err.splitlines()[-1] == (
        "dlrun: error: outputs/run/checkpoints/last.pt could not be written (File too large): raise the limit on "
        "the size of files (ulimit -f); then continue with `dlrun resume outputs/run`"
    )
    run = RunDirectory(Path("outputs/run"))
    assert run.read_summary()["status"] == "stopped"
    assert not leftovers()
    assert main(["resume", "outputs/run"]) == 0
    assert run.read_summary()["status"] == "completed"


@pytest.mark.parametrize("stack", ["off", "on"])
def test_a_sweep_stops_without_a_failed_trial_however_often_it_is_resumed(stack, capfd):
    swept = [LARGE, "seed=1,2"] if stack == "on" else ["model.hidden=[4],[100,100]"]
    asked = ["-m", *WORDS, *swept, f"sweep.stack={stack}", "hydra.sweep.dir=outputs/sweep"]
    done = 0 if stack == "on" else 1
    with little_room():
        assert main(["train", *asked]) == 1
        for _ in range(4 if stack == "off" else 1):  # as a trial dies before it is to blame
            assert main(["resume", "outputs/sweep"]) == 1
    last = capfd.readouterr().err.splitlines()[-2:]
    assert "checkpoints/last.pt could not be written (File too large)" in last[0]
    assert last[1].startswith(f"dlrun: stopped with {done} of 2 done; continue with `dlrun resume ")
    assert not leftovers()
    assert main(["resume", "outputs/sweep"]) == 0
    assert "2 of 2 done" in capfd.readouterr().out


def test_the_status_is_changed_even_where_nothing_can_be_written(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_summary({"status": "running", "name": "x"})
    with little_room(44):  # room for what is there, and for nothing more
        run.write_summary({"status": "stopped", "name": "x" * 100})
    assert run.read_summary() == {"status": "stopped", "name": "x"}
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


def test_pictures_and_the_log_may_lack_room():
    words = [word for word in WORDS if "tensorboard" not in word]
    with little_room(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Histograms fill the event file, not the checkpoint.
        code = main(
            [
                "train",
                *words,
                SMALL,
                "trainer.max_epochs=30",
                "tracking.histograms=true",
                "hydra.run.dir=outputs/run",
            ]
        )
    assert code == 0
    run = RunDirectory(Path("outputs/run"))
    assert run.read_summary()["status"] == "completed"
    assert LIMIT // 2 < sum(f.stat().st_size for f in run.tensorboard.iterdir()) <= LIMIT


@pytest.mark.parametrize("name", ["o.csv", "o.parquet", "o.txt"])
def test_output_without_room_is_no_wrong_command_line(name):
    one = Predictions({}, np.array([[1.0]]))
    with (
        little_room(0),
        pytest.raises(DiskFull, match=rf"{name} could not be written \(File too"),
    ):
        if name == "o.txt":
            _deliver(["text"], Path(name))
        else:
            write([one], Path(name), raw=False)


def test_an_addition_is_made_whole_or_not_at_all(tmp_path):
    file = Appender(tmp_path / "f")
    file.write(b"abc\n")
    with (
        little_room(6),
        pytest.raises(DiskFull, match=r"f could not be written \(File too large\)"),
    ):
        file.write(b"defg\n")
    assert (tmp_path / "f").read_bytes() == b"abc\n"
    assert file.size == 4
    file.write(b"defg\n")
    file.close()
    assert (tmp_path / "f").read_bytes() == b"abc\ndefg\n"


def test_what_is_not_needed_is_left_out_with_one_warning(tmp_path):
    file = Appender(tmp_path / "f", needed=False)
    with little_room(2), pytest.warns(UserWarning, match="what it lacks is left out") as said:
        file.write(b"abc")
        file.write(b"def")
    assert len(said) == 1
    file.write(b"ghi")
    file.close()
    assert (tmp_path / "f").read_bytes() == b"ghi"
