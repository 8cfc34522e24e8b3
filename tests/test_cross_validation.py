"""The folds of a table as the seeds of a sweep: one command, one mean."""

import csv
import json
import statistics
from pathlib import Path

import pytest
import yaml

from dlrun.cli import main


def test_the_seeds_of_a_sweep_are_the_folds_and_its_result_is_their_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "experiment=tips", "dataset.folds=3", "dataset.fold=${seed}", "dataset.split_seed=0",
        "dataset.test_fraction=null", "sweep.seeds=3", "sweep.objective=test/mae",
        "trainer.max_epochs=2", "tracking.tensorboard=false",
    ]  # fmt: skip
    assert main(["train", "-m", *words]) == 0
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    runs = [sweep / "0" / f"seed{seed}" for seed in range(3)]
    configs = [yaml.safe_load((run / "config.yaml").read_text()) for run in runs]
    assert [config["dataset"]["fold"] for config in configs] == [0, 1, 2]
    errors = [json.loads((run / "summary.json").read_text())["final"]["test/mae"] for run in runs]
    assert len(set(errors)) == 3
    with (sweep / "leaderboard.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["test/mae"]) == pytest.approx(statistics.mean(errors))
    # All rows were tested by one of them, so that their ensemble is measured on new ones.
    assert main(["ensemble", str(sweep)]) == 0
    said = capsys.readouterr()
    assert (
        "no row is in the test part of all 3 members" in said.err and "mean of members" in said.out
    )
    assert main(["eval", "ensemble"]) == 2
    head, row = "total_bill,tip,sex,smoker,day,time,size", "16.99,1.01,Female,No,Sun,Dinner,2"
    (tmp_path / "new.csv").write_text(f"{head}\n{row}\n")
    assert main(["eval", "ensemble", "dataset.test_path=new.csv"]) == 0
