"""Which weights a run's test metrics are of, and that the commands after it use the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlrun.cli import main
from dlrun.storage.run_directory import RunDirectory
from dlrun.storage.stored_run import reported_weights

COMMON = ["dataset=wine", "model=mlp", "model.hidden=[8]", "optimizer.lr=0.3", "hydra.run.dir=run"]
COMMON += ["trainer.num_threads=1", "trainer.max_epochs=4", "tracking.tensorboard=false"]
LAST = "trainer.early_stopping.restore_best=false"


def evaluated(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["eval", "run", "--json", *words]) == 0
    return dict(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize(
    ("words", "which"),
    [
        ([], "best"),
        ([LAST], "last"),
        ([LAST, "trainer.ema_decay=0.9"], "last"),
        (["trainer.ema_decay=0.9"], "best"),
        ([LAST, "trainer.early_stopping.patience=1"], "last"),
        (["trainer.fast_dev_run=true"], "best"),
        (["dataset.test_fraction=0.4", "trainer.precision=fp64", LAST], "last"),
    ],
)
def test_eval_of_a_finished_run_gives_its_own_test_metrics(
    words: list[str],
    which: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *COMMON, *words]) == 0
    closing = capsys.readouterr().out
    summary = json.loads(Path("run/summary.json").read_text())
    found = evaluated(capsys)
    own = {name: summary["final"][name] for name in found["metrics"]}
    assert found["metrics"] == pytest.approx(own, rel=1e-5)
    assert (found["checkpoint"], summary["tested"]) == (which, which)
    assert found["epoch"] == summary["tested_epoch"]
    assert ("the last, of epoch" in closing) == (which == "last")
    for asked in ("best", "last"):
        assert evaluated(capsys, f"checkpoint={asked}")["checkpoint"] == asked


def test_eval_and_predict_say_which_weights_they_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *COMMON, LAST]) == 0
    capsys.readouterr()
    assert main(["eval", "run"]) == 0
    assert capsys.readouterr().out.startswith("run: last weights (epoch 4) on the test part, 36 ")
    Path("rows.csv").write_text(",".join("1" * 13) + "\n")
    assert main(["predict", "run", "rows.csv"]) == 0
    last = capsys.readouterr()
    assert "the last weights are used" in last.err
    assert main(["predict", "run", "rows.csv", "--checkpoint", "last"]) == 0
    again = capsys.readouterr()
    assert (again.out, again.err) == (last.out, "")


@pytest.mark.parametrize(
    ("status", "tested", "restore", "files", "expected"),
    [
        ("completed", "last", True, "best last", "last"),
        ("completed", "best", False, "best last", "best"),
        ("stopped", "last", True, "best last", "best"),  # as at its end it would have been
        ("stopped", "best", False, "best last", "last"),
        ("running", "last", True, "last", "last"),  # ended before its first evaluation
        ("failed", "best", True, "best", "best"),
    ],
)
def test_of_a_run_that_was_ended_the_weights_are_those_that_its_end_would_have_tested(
    status: str, tested: str, restore: bool, files: str, expected: str, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path)
    run.checkpoints.mkdir()
    for name in files.split():
        (run.checkpoints / f"{name}.pt").touch()
    run.write_summary({"status": status, "tested": tested})
    plain = {"trainer": {"early_stopping": {"restore_best": restore}}}
    assert reported_weights(run, plain) == expected
