from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dlrun.commands import show
from dlrun.errors import ConfigError
from dlrun.run_directory import RunDirectory

Dlrun = Callable[..., subprocess.CompletedProcess[str]]
MakeRun = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


def config(*words: str, capsys: Capture) -> dict[str, object]:
    assert show.main([*words]) == 0
    loaded = yaml.safe_load(capsys.readouterr().out)
    assert isinstance(loaded, dict)
    return loaded


def test_alone_it_shows_the_config_of_train(project: Path, capsys: Capture) -> None:
    composed = config(capsys=capsys)
    assert {"dataset", "model", "optimizer", "schedule", "trainer", "name", "seed"} <= set(composed)
    assert "hydra" not in composed
    assert "${" not in str(composed["name"])


@pytest.mark.parametrize("word", ["model=cnn", "model/cnn"])
def test_an_option_and_changes_are_composed(word: str, project: Path, capsys: Capture) -> None:
    composed = config(word, "trainer.max_epochs=3", "seed=7", capsys=capsys)
    assert composed["model"]["_target_"] == "dlrun.models.cnn.CNN"  # type: ignore[index]
    assert composed["trainer"]["max_epochs"] == 3  # type: ignore[index]
    assert composed["seed"] == composed["dataset"]["split_seed"] == 7  # type: ignore[index]


def test_what_only_a_run_can_resolve_stays_as_written(project: Path, capsys: Capture) -> None:
    for key in ("runtime.output_dir", "runtime.nothing", "job.num"):
        composed = config(f"name='in ${{hydra:{key}}}'", capsys=capsys)
        assert composed["name"] == f"in ${{hydra:{key}}}"


def test_composing_twice_in_one_process_is_possible(project: Path, capsys: Capture) -> None:
    assert config(capsys=capsys) == config(capsys=capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=cnnn"], "cnnn.*did you mean cnn"),
        (["trainer.max_epoch=3"], "trainer.max_epoch .*did you mean .*max_epochs"),
        (["mlp"], "mlp is no experiment, .*; did you mean model/mlp"),
        (["model/cnnn", "seed=1"], "did you mean model/cnn"),
        (["folder"], "folder is a directory, but not a run"),
    ],
)
def test_a_slip_is_one_line_with_the_nearest_name(
    words: list[str], said: str, project: Path
) -> None:
    Path("folder").mkdir()
    with pytest.raises(ConfigError, match=said):
        show.main(words)


def test_a_hydra_error_comes_out_as_one_line_and_2(dlrun: Dlrun) -> None:
    result = dlrun("show", "model.kernel=[1")
    assert result.returncode == 2
    assert result.stderr.startswith("dlrun: error: model.kernel=[1")
    assert result.stderr.count("\n") == 1


@pytest.fixture
def finished_run(make_run: MakeRun) -> RunDirectory:
    run = RunDirectory(make_run("2026-01-31_12-00-00_digits_cnn_12ab"))
    run.overrides_file.write_text("- model=cnn\n- trainer.max_epochs=20\n")
    facts = {"dlrun": "0.1.0", "python": "3.11.7", "torch": "2.6.0", "threads": 2,
             "git_commit": "0123456789abcdef", "git_dirty": True, "command": "dlrun train a=1"}  # fmt: skip
    run.environment_file.write_text(json.dumps(facts))
    run.checkpoints.mkdir()
    (run.checkpoints / "best.pt").write_bytes(b"x" * 1500)
    run.tensorboard.mkdir()
    return run


@pytest.mark.parametrize(
    "word", ["last", "12ab", "outputs/runs/2026-01-31_12-00-00_digits_cnn_12ab"]
)
def test_a_run_is_told_in_full(word: str, finished_run: RunDirectory, capsys: Capture) -> None:
    assert show.main([word]) == 0
    text = capsys.readouterr().out
    words = " ".join(text.split())
    assert text.startswith("digits_cnn_12ab  completed\n")
    assert "changed trainer.max_epochs=20 seed 0 parameters 12,345" in words
    assert "metrics best, epoch 17 final, epoch 20" in words
    assert "val/loss (monitored) 0.2500 0.5000" in words
    assert "test/accuracy - 0.8750" in words
    assert "took 3m20s, 200 steps, 20 of 20 epochs device cpu (2 threads)" in words
    assert "dlrun 0.1.0, python 3.11.7, torch 2.6.0" in words
    assert "commit 0123456789ab with changes not committed" in words
    assert "best.pt 1.5 kB" in words
    for command in ("resume", "eval", "tensorboard"):
        assert f"dlrun {command} {finished_run.path}" in text


def test_a_failed_run_shows_its_error_first(make_run: MakeRun, capsys: Capture) -> None:
    error = {"kind": "Diverged", "message": "train/loss is nan", "step": 1300}
    make_run("2026-01-31_12-00-00_digits_cnn_12ab", status="failed", error=error)
    show.main(["last"])
    text = capsys.readouterr().out
    assert text.startswith(
        "digits_cnn_12ab  failed at step 1,300\n\n  Diverged: train/loss is nan\n"
    )


def test_a_killed_run_says_how_to_carry_it_on(make_run: MakeRun, capsys: Capture) -> None:
    path = make_run("2026-01-31_12-00-00_digits_cnn_12ab", status="running")
    show.main(["last"])
    text = capsys.readouterr().out
    assert text.startswith("digits_cnn_12ab  killed: its process is gone")
    assert f"dlrun resume {path}\n" in text


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"best": 3, "final": [1], "choices": "x", "error": "y"}']
)
def test_a_damaged_run_is_told_as_far_as_it_goes(
    text: str, make_run: MakeRun, capsys: Capture
) -> None:
    run = RunDirectory(make_run("2026-01-31_12-00-00_digits_cnn_12ab"))
    for file in (run.summary_file, run.environment_file, run.overrides_file):
        file.write_text(text)
    assert show.main(["last"]) == 0
    assert capsys.readouterr().out.startswith("digits_cnn_12ab  unreadable: its summary.json is")


class TestOneWord:
    """What one word means: a directory of a run, an experiment, GROUP/OPTION, part of a name."""

    @pytest.fixture(autouse=True)
    def everything_is_called_the_same(self, make_run: MakeRun) -> None:
        Path("configs/experiment").mkdir(parents=True)
        Path("configs/experiment/same.yaml").write_text("# @package _global_\nseed: 42\n")
        make_run("2026-01-31_12-00-00_same_model_12ab")

    def test_an_experiment_comes_before_part_of_a_name(self, capsys: Capture) -> None:
        assert config("same", capsys=capsys)["seed"] == 42

    def test_an_experiment_can_be_changed(self, capsys: Capture) -> None:
        composed = config("same", "model=cnn", capsys=capsys)
        assert composed["seed"] == 42
        assert composed["model"]["_target_"] == "dlrun.models.cnn.CNN"  # type: ignore[index]

    def test_the_directory_of_a_run_comes_first(self, make_run: MakeRun, capsys: Capture) -> None:
        make_run("same", ".")
        show.main(["same"])
        assert capsys.readouterr().out.startswith("same  completed\n")

    def test_part_of_a_name_comes_last(self, capsys: Capture) -> None:
        show.main(["same_model"])
        assert capsys.readouterr().out.startswith("same_model_12ab  completed\n")

    def test_part_of_several_names_is_refused(self, make_run: MakeRun) -> None:
        make_run("2026-01-31_12-00-00_same_model_34cd")
        with pytest.raises(ConfigError, match="same_model fits 2 runs"):
            show.main(["same_model"])
