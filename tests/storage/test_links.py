"""Runs of strangers with symbolic links in them: nothing is written through one, by any command."""

import io
import os
import shutil
from pathlib import Path

import pytest

from dlrun.cli import main
from dlrun.errors import ConfigError
from dlrun.storage.append_file import Appender
from dlrun.storage.checkpoint import save
from dlrun.storage.links import refuse_links
from dlrun.storage.run_directory import is_locked, write_whole

QUICK = (
    *("dataset=iris", "model=logistic", "trainer.max_epochs=1", "trainer.num_threads=1"),
    *("hydra.run.dir=run", "tracking.graph=false"),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small run, to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", *QUICK]) == 0
    return folder / "run"


@pytest.fixture
def victim(tmp_path):
    """A file of the user's own, which must stay as it is."""
    file = tmp_path / "precious"
    file.write_text("precious")
    yield file
    assert file.read_text() == "precious"


@pytest.mark.parametrize(
    "name",
    [
        *("metrics.jsonl", "train.log", "summary.json", "config.yaml", "overrides.yaml", ".lock"),
        *("checkpoints/last.tmp", "checkpoints/best.tmp", "checkpoints/last.pt", "tensorboard/x"),
    ],
)
def test_a_resume_refuses_a_link_in_one_line(name, trained, victim, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    link = run / name
    if name in ("config.yaml", "summary.json"):  # which are read: a copy of them is led to
        victim.write_bytes(link.read_bytes())
    before = victim.read_bytes()
    link.unlink(missing_ok=True)
    link.symlink_to(victim)
    assert main(["resume", str(run), "trainer.max_epochs=2"]) == 2
    assert capsys.readouterr().err.startswith(f"dlrun: error: {link} is a symbolic link, ")
    assert victim.read_bytes() == before
    victim.write_text("precious")


@pytest.mark.parametrize("name", ["metrics.jsonl", "train.log", ".lock"])
def test_a_resume_refuses_a_file_with_another_name_elsewhere(
    name, trained, victim, tmp_path, capsys
):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / name).unlink()
    os.link(victim, run / name)
    assert main(["resume", str(run), "trainer.max_epochs=2"]) == 2
    assert "(a hard link)" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["checkpoints", "tensorboard", "export"])
def test_a_folder_that_is_a_link_is_refused(folder, trained, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    elsewhere = tmp_path / "elsewhere"
    if (run / folder).exists():
        (run / folder).rename(elsewhere)
    elsewhere.mkdir(exist_ok=True)
    before = sorted(elsewhere.iterdir())
    (run / folder).symlink_to(elsewhere, target_is_directory=True)
    for command in (["resume", "trainer.max_epochs=2"], ["export", "--format=torch_export"]):
        assert main([command[0], str(run), *command[1:]]) == 2
        assert f"{run / folder} is a symbolic link" in capsys.readouterr().err
    assert sorted(elsewhere.iterdir()) == before


def test_a_file_that_becomes_a_link_meanwhile_is_not_written_through(victim, tmp_path):
    link = tmp_path / "log"
    link.symlink_to(victim)
    with pytest.raises(ConfigError, match="is a symbolic link"):
        Appender(link).write(b"x")
    temporary = tmp_path / "last.tmp"
    temporary.symlink_to(victim)
    with pytest.raises(ConfigError, match="is a symbolic link"):
        save(tmp_path, {"step": 1})
    whole = tmp_path / "summary.json"
    whole.symlink_to(victim)
    write_whole(whole, "new")  # in the place of the link
    assert whole.read_text() == "new" and not whole.is_symlink()


def test_looking_whether_a_run_is_trained_leaves_a_linked_lock_alone(victim, tmp_path):
    (tmp_path / ".lock").symlink_to(victim)
    assert not is_locked(tmp_path)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("summary.json", "runs"),
        ("summary.json", "show"),
        ("overrides.yaml", "show"),
        ("metrics.jsonl", "resume"),
        ("config.yaml", "eval"),
        ("checkpoints/best.pt", "eval"),
    ],
)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(name, command, trained, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "runs" / "run")
    (run / name).unlink()
    os.mkfifo(run / name)
    code = main([command, str(run.parent if command == "runs" else run)])
    output = capsys.readouterr()
    assert "Traceback" not in output.err
    if command in ("resume", "eval"):
        assert code == 2
        assert len(output.err.splitlines()) == 1


def test_a_folder_whose_name_is_not_utf8_is_resumed_and_not_exported_into(
    trained, tmp_path, monkeypatch, capsys
):
    # As dlrun's own streams are.
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), errors="backslashreplace"))
    run = shutil.copytree(trained, tmp_path / os.fsdecode(b"run\xff"))
    assert main(["resume", str(run), "trainer.max_epochs=2"]) == 0
    assert "Logging error" not in capsys.readouterr().err
    assert "\\udcff" in (run / "train.log").read_text()
    assert main(["export", str(run), "--format", "torch_export"]) == 2
    assert "is not UTF-8" in capsys.readouterr().err


def test_a_directory_without_links_may_itself_be_reached_by_one(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a").write_text("")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "run", target_is_directory=True)
    refuse_links(link)
    assert Path(link / "a").exists()
