"""`dlrun summary` and `dlrun lr-find` as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrun.cli import main

Capture = pytest.CaptureFixture[str]
SMALL = ["dataset=iris", "model=mlp", "model.hidden=[4]", "trainer.accelerator=cpu"]


def test_a_summary_builds_what_train_would_and_leaves_nothing(
    project: Path, capsys: Capture
) -> None:
    assert main(["summary", "model=cnn", "dataset=digits", "model.filters=[4]"]) == 0
    text = capsys.readouterr().out
    assert "(8-3+2*1)/1+1 = 8" in text
    assert text.splitlines()[-1] == "4,850 parameters"
    assert not list(project.iterdir())


def test_a_summary_of_a_run_is_that_of_its_config_and_stands_in_its_log(
    project: Path, capsys: Capture
) -> None:
    assert main(["train", *SMALL, "trainer.max_epochs=1", "hydra.run.dir=outputs/one"]) == 0
    capsys.readouterr()
    assert main(["summary", "one"]) == 0
    of_run = capsys.readouterr().out
    assert main(["summary", *SMALL]) == 0
    assert of_run == capsys.readouterr().out
    log = Path("outputs/one/train.log").read_text()
    assert f"the model\n{of_run}" in log
    assert "96 samples to train on, 24 to validate, 30 to test, in memory" in log


@pytest.mark.parametrize("command", ["summary", "lr-find"])
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model=cn", "the group model has no such option; did you mean cnn?"),
        ("model.hiden=[1]", "did you mean hidden?"),
        ("trainer.batch_size=0", "trainer.batch_size is 0, but must be"),
        ("model=mlp,cnn", "several values make a sweep"),
    ],
)
def test_words_are_refused_as_train_refuses_them(
    command: str, word: str, message: str, project: Path, capsys: Capture
) -> None:
    assert main([command, word]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_lr_find_suggests_a_rate_with_the_command_to_type_and_leaves_no_run(
    project: Path, capsys: Capture
) -> None:
    words = ["lr-find", *SMALL, "optimizer.lr=1", "--steps", "60", "--output", "found"]
    assert main(words) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    rate = lines["suggested"].split()[0]
    assert (
        lines["next"]
        == f"dlrun train dataset=iris model=mlp 'model.hidden=[4]' {SMALL[-1]} optimizer.lr={rate}"
    )
    assert sorted(path.name for path in Path("found").iterdir()) == ["lr_find.csv", "lr_find.png"]
    assert [path.name for path in project.iterdir()] == ["found"]


def test_where_the_loss_still_falls_lr_find_suggests_to_test_higher_rates_and_no_rate(
    project: Path, capsys: Capture
) -> None:
    options = ["--from", "1e-6", "--to", "0.01", "--steps", "30"]
    assert main(["lr-find", *SMALL, "trainer.batch_size=full", *options]) == 0
    out = capsys.readouterr().out
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert list(lines) == ["suggested", "tested", "took", "curve", "next"]
    assert lines["suggested"].startswith("none")
    assert lines["tested"] == "1e-06 to 0.01, where the loss still falls"
    assert lines["next"].startswith("dlrun lr-find dataset=iris")
    assert lines["next"].endswith("--from 1e-06 --to 0.1 --steps 30")
    assert "optimizer.lr=" not in out


def test_a_curve_goes_to_a_folder_of_its_own(project: Path) -> None:
    assert main(["lr-find", *SMALL, "--steps", "30"]) == 0
    (folder,) = Path("outputs/lr_find").iterdir()
    assert "_iris_mlp_" in folder.name
    assert main(["runs"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from", "1", "--to", "0.1"], "--from is 1 and --to is 0.1"),
        (["--from", "0"], "--from is 0, but must be a number of at least"),
        (["--to", "nan"], "--to is nan"),
        (["--steps", "3"], "--steps is 3, but must be a whole number from 10"),
    ],
)
def test_a_range_that_is_none_is_refused(
    words: list[str], message: str, project: Path, capsys: Capture
) -> None:
    assert main(["lr-find", *words]) == 2
    assert message in capsys.readouterr().err
